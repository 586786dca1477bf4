//! What a `merchant_uid` says: whose debt, of which period, and which attempt at it.

use jiff::civil::Date;

/// Hexadecimal digits of a subscription's id.
const ID_DIGITS: usize = 32;
/// Digits of the period and of the attempt: `YYMMDDNN`.
const REST_DIGITS: usize = 8;

/// The debt that an attempt is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Debt {
    /// As the book writes an id: with hyphens.
    pub(crate) subscription: String,
    pub(crate) period: Date,
}

impl Debt {
    /// Takes a name apart; `None` if it isn't one of billd's.
    pub(crate) fn of(merchant_uid: &str) -> Option<Self> {
        if merchant_uid.len() != ID_DIGITS.saturating_add(REST_DIGITS) {
            return None;
        }
        let (id, rest) = merchant_uid.split_at_checked(ID_DIGITS)?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !id.bytes().all(is_hex) || !rest.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
        let subscription = [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ];
        let number = |from: usize, to: usize| rest.get(from..to)?.parse::<i16>().ok();
        let year = number(0, 2)?.checked_add(2000)?;
        let month = i8::try_from(number(2, 4)?).ok()?;
        let day = i8::try_from(number(4, 6)?).ok()?;
        Some(Self {
            subscription: subscription.join("-"),
            period: Date::new(year, month, day).ok()?,
        })
    }
}
