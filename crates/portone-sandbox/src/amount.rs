//! Sums as the wire has them: a JSON number, whole for KRW, with decimals for others.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sum in ten-thousandths of the currency's unit: no minor unit is smaller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i64);

impl Amount {
    pub(super) const ZERO: Self = Self(0);

    /// Reads `9900`, `9900.0` or `9.99`. More than four decimals are refused.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, cents) = text.split_once('.').unwrap_or((text, ""));
        let cents = cents.trim_end_matches('0');
        if cents.len() > 4 || !cents.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let cents: i64 = format!("{cents:0<4}").parse().ok()?;
        let parts = whole.parse::<i64>().ok()?.checked_mul(10_000)?;
        let signed_cents = if whole.starts_with('-') {
            cents.checked_neg()?
        } else {
            cents
        };
        Some(Self(parts.checked_add(signed_cents)?))
    }

    pub(super) fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The whole units; a currency with decimals loses them.
    pub(super) fn whole(self) -> i64 {
        self.0.div_euclid(10_000)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.rem_euclid(10_000) == 0 {
            return serializer.serialize_i64(self.whole());
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let text = format!(
            "{sign}{}.{:04}",
            size.div_euclid(10_000),
            size.rem_euclid(10_000)
        );
        serializer.serialize_f64(text.parse().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        Self::parse(&number.to_string()).ok_or_else(|| D::Error::custom("not a sum of money"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_back_as_they_were_sent() {
        for (text, json) in [
            ("9900", "9900"),
            ("9900.00", "9900"),
            ("9.99", "9.99"),
            ("0.5", "0.5"),
            ("1.234", "1.234"),
            ("-1", "-1"),
        ] {
            let amount = Amount::parse(text).unwrap();
            assert_eq!(serde_json::to_string(&amount).unwrap(), json);
        }
        for wrong in ["", "x", "1.23456", "1,000", "{}", "9223372036854775807"] {
            assert_eq!(Amount::parse(wrong), None, "{wrong}");
        }
    }
}
