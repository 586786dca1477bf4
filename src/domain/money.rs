//! Money: a positive whole number of a currency's minor unit.

use std::fmt;

/// Why a number or text is not money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Nothing, less than nothing, or more than any charge may be.
    #[error("amount {0} is not between 1 and {max}", max = Money::AMOUNT_MAX)]
    Amount(i64),
    /// Not three capital letters.
    #[error("currency {0:?} is not three capital letters")]
    Currency(String),
}

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The Korean won, which has no minor unit.
    pub const KRW: Self = Self(*b"KRW");

    /// Accepts three capital ASCII letters.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            Ok(_) | Err(_) => Err(MoneyError::Currency(text.to_owned())),
        }
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimal digits the minor unit has: 0 for KRW, JPY and VND, 2 otherwise.
    ///
    /// PortOne V1 charges in won; the few foreign currencies it takes are covered by this rule.
    pub fn minor_digits(self) -> u32 {
        match &self.0 {
            b"KRW" | b"JPY" | b"VND" => 0,
            _ => 2,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A sum that can be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    amount: i64,
    currency: Currency,
}

impl Money {
    /// The largest amount of one charge, in minor units. No card in Korea takes a tenth of it; it
    /// is here to stop a slipped finger, and a test of the schema holds the same number.
    pub const AMOUNT_MAX: i64 = 1_000_000_000;

    /// Accepts 1 to [`Money::AMOUNT_MAX`] minor units.
    pub fn new(amount: i64, currency: Currency) -> Result<Self, MoneyError> {
        if (1..=Self::AMOUNT_MAX).contains(&amount) {
            Ok(Self { amount, currency })
        } else {
            Err(MoneyError::Amount(amount))
        }
    }

    /// The amount in minor units.
    pub fn amount(self) -> i64 {
        self.amount
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_positive_and_bounded() {
        assert_eq!(Money::new(0, Currency::KRW), Err(MoneyError::Amount(0)));
        assert_eq!(Money::new(-1, Currency::KRW), Err(MoneyError::Amount(-1)));
        assert!(Money::new(Money::AMOUNT_MAX, Currency::KRW).is_ok());
        assert!(Money::new(Money::AMOUNT_MAX + 1, Currency::KRW).is_err());
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert_eq!(Currency::parse("KRW"), Ok(Currency::KRW));
        for text in ["krw", "KR", "KRWW", "원화", ""] {
            assert!(Currency::parse(text).is_err(), "{text}");
        }
    }
}
