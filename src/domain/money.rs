//! Money: a positive whole number of a currency's minor unit.

use std::fmt;

/// Why a number or text is not money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Nothing, less than nothing, or more than any charge may be.
    #[error("amount {0} is not between 1 and {max}", max = Money::AMOUNT_MAX)]
    Amount(i64),
    /// No currency of ISO 4217, so nobody knows its minor unit.
    #[error("{0:?} is no currency of ISO 4217, in three capital letters")]
    Currency(String),
}

/// The currencies of ISO 4217 by how many decimal digits their minor unit has. What a wrong one costs is a power of
/// ten, so there is no default.
const BY_DIGITS: [(u32, &str); 4] = [
    (
        0,
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    ),
    (
        2,
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE \
         CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL \
         HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR \
         MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK \
         SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD \
         YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: [u8; 3],
    minor_digits: u32,
}

impl Currency {
    /// The Korean won, which has no minor unit.
    pub const KRW: Self = Self {
        code: *b"KRW",
        minor_digits: 0,
    };

    /// Accepts the code of a currency of ISO 4217.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::Currency(text.to_owned());
        let code = <[u8; 3]>::try_from(text.as_bytes()).map_err(|_length| unknown())?;
        let listed = |(_, codes): &&(u32, &str)| codes.split(' ').any(|code| code == text);
        let (minor_digits, _) = *BY_DIGITS.iter().find(listed).ok_or_else(unknown)?;
        Ok(Self { code, minor_digits })
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or_default()
    }

    /// How many decimal digits the minor unit has.
    pub fn minor_digits(self) -> u32 {
        self.minor_digits
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
    fn a_currency_has_the_minor_unit_of_iso_4217_or_is_none() {
        assert_eq!(Currency::parse("KRW"), Ok(Currency::KRW));
        for (code, digits) in [
            ("KRW", 0),
            ("JPY", 0),
            ("CLP", 0),
            ("USD", 2),
            ("KWD", 3),
            ("CLF", 4),
        ] {
            assert_eq!(Currency::parse(code).unwrap().minor_digits(), digits);
        }
        for text in ["krw", "KR", "KRWW", "원화", "", "   ", "W J", "XYZ", "KWR"] {
            assert!(Currency::parse(text).is_err(), "{text}");
        }
    }
}
