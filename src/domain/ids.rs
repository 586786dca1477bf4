//! Names: of subscriptions, cards, attempts and payments.
//!
//! PortOne's names keep PortOne's spelling. Every type here is valid or does not exist.

use std::fmt;

use jiff::civil::Date;
use uuid::Uuid;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing in it.
    #[error("{kind} is empty")]
    Empty {
        /// Which name.
        kind: &'static str,
    },
    /// More characters than PortOne takes.
    #[error("{kind} is longer than {characters_max} characters")]
    TooLong {
        /// Which name.
        kind: &'static str,
        /// PortOne's limit.
        characters_max: usize,
    },
    /// A control character.
    #[error("{kind} has a character that can't be seen")]
    Unseen {
        /// Which name.
        kind: &'static str,
    },
    /// Neither kind of number that a payment has.
    #[error(
        "{0:?} is no payment's number: give PortOne's, which begins with imp_, or the merchant_uid, 1 to 40 letters \
         and digits"
    )]
    NoPayment(String),
    /// A subscription's.
    #[error(
        "{0} is the id of a subscription; its payments have numbers of their own: \
         select merchant_uid from billd.attempts_of('{0}')"
    )]
    OfSubscription(Uuid),
    /// A character that some gateway would refuse or cut off.
    #[error("{kind} has a character other than an ASCII letter or digit")]
    Alphabet {
        /// Which name.
        kind: &'static str,
    },
}

/// The number of an attempt within its billing cycle: 1 for the first, at most 99.
///
/// The limit keeps a [`MerchantUid`] within PortOne's 40 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptNo(u8);

impl AttemptNo {
    /// The last number a cycle can give out.
    pub const MAX: u8 = 99;

    /// The first one of a cycle.
    pub const FIRST: Self = Self(1);

    /// Accepts 1 to 99.
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The number itself.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for AttemptNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A subscription's own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub Uuid);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The merchant's name for one billing key, so for one card: 1 to 80 characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CustomerUid(String);

impl CustomerUid {
    /// PortOne's limit.
    pub const CHARACTERS_MAX: usize = 80;

    /// Accepts 1 to 80 characters.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        bounded(text.into(), "customer_uid", Self::CHARACTERS_MAX).map(Self)
    }

    /// The name as PortOne knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Stands for a card, so it does not print itself: log the subscription instead.
impl fmt::Debug for CustomerUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerUid(…)")
    }
}

/// The merchant's number for one charge attempt.
///
/// PortOne accepts at most 40 characters, and one of its gateways accepts letters and digits only
/// and cuts off the rest, so the type admits nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MerchantUid(String);

impl MerchantUid {
    /// PortOne's limit.
    pub const CHARACTERS_MAX: usize = 40;

    /// Names attempt `attempt_no` of the cycle of `subscription` whose period starts on `period`.
    ///
    /// The subscription's 32 hexadecimal digits, the period as `YYMMDD`, the attempt in two
    /// digits: 40 characters from committed facts only. Whoever repeats the same attempt, even on
    /// a stand-by that lost the last commits, arrives at the same name, and PortOne refuses a name
    /// that has been paid. `billd.merchant_uid` in the schema is the same function.
    pub fn derive(subscription: SubscriptionId, period: Date, attempt_no: AttemptNo) -> Self {
        let year = period.year().rem_euclid(100);
        Self(format!(
            "{}{year:02}{:02}{:02}{:02}",
            subscription.0.as_simple(),
            period.month(),
            period.day(),
            attempt_no.get(),
        ))
    }

    /// Accepts 1 to 40 ASCII letters and digits.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let kind = "merchant_uid";
        let text = bounded(text.into(), kind, Self::CHARACTERS_MAX)?;
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(text))
        } else {
            Err(NameError::Alphabet { kind })
        }
    }

    /// Whether an attempt for a subscription could bear this name. One-off charges must not.
    pub fn is_of_a_subscription(&self) -> bool {
        period_and_number(&self.0).is_some()
    }

    /// The number as it stands on the wire and in the console.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MerchantUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The last eight digits of a text of the form that [`MerchantUid::derive`] gives, if it has that form:
/// behind the 32 digits of the subscription, the period's `YYMMDD` and the attempt.
pub(super) fn period_and_number(text: &str) -> Option<&str> {
    let (id, rest) = text.split_at_checked(32)?;
    let is_number = rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_digit());
    Some(rest).filter(|_| is_number && is_id(id))
}

/// The subscription whose attempt bears this name, if it is of the form that [`MerchantUid::derive`] gives.
pub fn subscription_named_in(merchant_uid: &str) -> Option<SubscriptionId> {
    period_and_number(merchant_uid)?;
    let id = Uuid::try_parse(merchant_uid.get(..32)?).ok()?;
    Some(SubscriptionId(id))
}

/// Whether a text is an identifier in 32 hexadecimal digits, as we write them.
pub(super) fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 32 && text.bytes().all(is_digit)
}

/// PortOne's number for one payment: 1 to 32 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImpUid(String);

impl ImpUid {
    /// PortOne's limit.
    pub const CHARACTERS_MAX: usize = 32;

    /// Accepts 1 to 32 characters that can be seen.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let kind = "imp_uid";
        let text = bounded(text.into(), kind, Self::CHARACTERS_MAX)?;
        if text.chars().any(char::is_control) {
            return Err(NameError::Unseen { kind });
        }
        Ok(Self(text))
    }

    /// The number of a payment that is proved in all else: what no row takes of it is left out, because that money
    /// moved must be written down. `None` if nothing is left.
    pub fn of_proved(text: &str) -> Option<Self> {
        let seen = text.chars().filter(|c| !c.is_control());
        let text: String = seen.take(Self::CHARACTERS_MAX).collect();
        Self::parse(text).ok()
    }

    /// The number as PortOne gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImpUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn bounded(text: String, kind: &'static str, characters_max: usize) -> Result<String, NameError> {
    if text.is_empty() {
        Err(NameError::Empty { kind })
    } else if text.chars().count() > characters_max {
        Err(NameError::TooLong {
            kind,
            characters_max,
        })
    } else {
        Ok(text)
    }
}

/// A payment by either of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentName {
    /// The gateway's.
    Imp(ImpUid),
    /// Ours.
    Merchant(MerchantUid),
}

impl PaymentName {
    /// PortOne's numbers begin with `imp_`, which no number of ours can.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.starts_with("imp_") {
            ImpUid::parse(text).map(Self::Imp)
        } else {
            MerchantUid::parse(text)
                .map(Self::Merchant)
                .map_err(|_other| match Uuid::try_parse(text) {
                    Ok(id) => NameError::OfSubscription(id),
                    Err(_) => NameError::NoPayment(text.chars().take(80).collect()),
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_merchant_uid_is_a_pure_function_of_subscription_period_and_attempt() {
        let id = SubscriptionId(Uuid::from_u128(0x0190_f3c8_d2b8_4e6f_8a1b_2c3d_4e5f_6a7b));
        let uid = MerchantUid::derive(id, date(2026, 11, 30), AttemptNo::new(1).unwrap());
        assert_eq!(uid.as_str(), "0190f3c8d2b84e6f8a1b2c3d4e5f6a7b26113001");
        assert_eq!(
            uid,
            MerchantUid::derive(id, date(2026, 11, 30), AttemptNo::new(1).unwrap())
        );
    }

    #[test]
    fn a_derived_merchant_uid_always_fits_the_gateway() {
        for number in [0, 1, u128::MAX] {
            for (period, attempt) in [(date(2000, 1, 1), 1), (date(2099, 12, 31), AttemptNo::MAX)] {
                let id = SubscriptionId(Uuid::from_u128(number));
                let uid = MerchantUid::derive(id, period, AttemptNo::new(attempt).unwrap());
                assert_eq!(uid.as_str().len(), MerchantUid::CHARACTERS_MAX);
                assert_eq!(MerchantUid::parse(uid.as_str()), Ok(uid));
            }
        }
    }

    #[test]
    fn a_merchant_uid_admits_only_what_every_gateway_takes() {
        let kind = "merchant_uid";
        assert_eq!(MerchantUid::parse(""), Err(NameError::Empty { kind }));
        assert_eq!(MerchantUid::parse("a-1"), Err(NameError::Alphabet { kind }));
        assert_eq!(
            MerchantUid::parse("주문1"),
            Err(NameError::Alphabet { kind })
        );
        assert!(MerchantUid::parse("a".repeat(41)).is_err());
        assert!(MerchantUid::parse("a".repeat(40)).is_ok());
    }

    #[test]
    fn attempts_are_numbered_from_1_to_99() {
        assert_eq!(AttemptNo::new(0), None);
        assert_eq!(AttemptNo::new(100), None);
        assert_eq!(AttemptNo::new(99).map(AttemptNo::get), Some(99));
    }
}
