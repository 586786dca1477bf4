//! One request for money: what is asked, and what can become of it.

use std::sync::Arc;

use crate::domain::card::Card;
use crate::domain::decline::DeclineClass;
use crate::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use crate::domain::money::Money;

/// What the gateway is asked for: one request for money, whoever asks and whatever is charged.
///
/// Carries the buyer's details, so it has no `Debug`.
#[derive(Clone)]
pub struct ChargeRequest {
    /// Our number for this attempt.
    pub merchant_uid: MerchantUid,
    /// What is charged.
    pub instrument: Instrument,
    /// The sum.
    pub money: Money,
    /// What the buyer's statement says, at most 40 characters.
    pub name: String,
    /// Everything else that the gateway takes, most of it optional.
    pub terms: ChargeTerms,
}

/// What a request for money is charged to.
#[derive(Clone)]
pub enum Instrument {
    /// A billing key.
    BillingKey(CustomerUid),
    /// The card itself. It is wiped from memory with the last clone of the request.
    Card {
        /// The card.
        card: Arc<Card>,
        /// Under which name the gateway stores it as a billing key; `None` does not store it.
        store_as: Option<CustomerUid>,
        /// `provider` or `provider.MID`, for a merchant with several.
        provider: Option<String>,
    },
    /// A card that was sent and is not kept, so that nothing can be sent again.
    CardGone {
        /// As above.
        store_as: Option<CustomerUid>,
    },
}

impl Instrument {
    /// The billing key that is charged, or that this request stores.
    pub fn customer_uid(&self) -> Option<&CustomerUid> {
        match self {
            Self::BillingKey(customer_uid) => Some(customer_uid),
            Self::Card { store_as, .. } | Self::CardGone { store_as } => store_as.as_ref(),
        }
    }

    /// The call that charges it.
    pub fn call(&self) -> ChargeCall {
        match self {
            Self::BillingKey(_) => ChargeCall::Again,
            Self::Card { .. } | Self::CardGone { .. } => ChargeCall::Onetime,
        }
    }
}

words! {
    /// The gateway's two calls that ask for money.
    pub enum ChargeCall {
        /// With the card itself.
        Onetime = "onetime",
        /// With a billing key.
        Again = "again",
    }
}

/// The optional fields of a request for money, as the subscription holds them. `None` is not sent.
///
/// The store fills them and the gateway reads them. They are here, between the two, because neither
/// may know the other; no rule looks at any but the two parts of tax.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChargeTerms {
    /// The tax-free part of the amount, in minor units.
    pub tax_free: Option<i64>,
    /// The value-added tax within the amount, in minor units; `None` lets the gateway compute it.
    pub vat_amount: Option<i64>,
    /// At most 16 characters.
    pub buyer_name: Option<String>,
    /// At most 64 characters.
    pub buyer_email: Option<String>,
    /// At most 16 characters.
    pub buyer_tel: Option<String>,
    /// At most 128 characters.
    pub buyer_addr: Option<String>,
    /// At most 8 characters.
    pub buyer_postcode: Option<String>,
    /// Months to pay in; 0 is at once.
    pub card_quota: Option<i16>,
    /// Text that comes back with every answer.
    pub custom_data: Option<String>,
    /// Where the gateway reports this payment.
    pub notice_url: Option<String>,
    /// Which channel of a billing key that spans several.
    pub channel_key: Option<String>,
    /// `real` or `digital`.
    pub product_type: Option<String>,
    /// The rarely used fields, as the text of one JSON object.
    pub extra: String,
}

words! {
    /// How far a request for money has come, as its row says.
    pub enum AttemptState {
        /// Written down; it may be on its way.
        Started = "started",
        /// Money moved.
        Paid = "paid",
        /// Refused; no money moved.
        Declined = "declined",
        /// It never left; no money moved.
        NotSent = "not_sent",
        /// Nobody can tell yet.
        Unknown = "unknown",
    }
}

/// What became of one request for money.
///
/// There is no error beside it: whoever charges must handle all four. `Unknown` is the default;
/// the other three have to be proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// Money moved: our `merchant_uid`, amount, currency and card stood in the answer.
    Paid(Payment),
    /// Refused; no money moved.
    Declined(Decline),
    /// The request never left us; no money moved.
    NotSent(NotSent),
    /// Nobody can tell yet. Only asking the gateway turns this into something else.
    Unknown(Unknown),
}

impl ChargeOutcome {
    /// How far the attempt has come by it.
    pub fn state(&self) -> AttemptState {
        match self {
            Self::Paid(_) => AttemptState::Paid,
            Self::Declined(_) => AttemptState::Declined,
            Self::NotSent(_) => AttemptState::NotSent,
            Self::Unknown(_) => AttemptState::Unknown,
        }
    }

    /// The word for why no money moved, or for the doubt.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Paid(_) => None,
            Self::Declined(decline) => Some(decline.class.as_str()),
            Self::NotSent(why) => Some(why.as_str()),
            Self::Unknown(doubt) => Some(doubt.reason.as_str()),
        }
    }

    /// What the gateway said, or we say for it.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Paid(_) => None,
            Self::Declined(decline) => Some(decline.message.clone()),
            Self::NotSent(why) => Some(why.to_string()),
            Self::Unknown(doubt) => Some(doubt.detail.clone()),
        }
    }

    /// The receipt, if money moved.
    pub fn payment(&self) -> Option<&Payment> {
        match self {
            Self::Paid(payment) => Some(payment),
            Self::Declined(_) | Self::NotSent(_) | Self::Unknown(_) => None,
        }
    }

    /// The refusal, if it is one.
    pub fn decline(&self) -> Option<&Decline> {
        match self {
            Self::Declined(decline) => Some(decline),
            Self::Paid(_) | Self::NotSent(_) | Self::Unknown(_) => None,
        }
    }

    /// The gateway's number, if it gave one.
    pub fn imp_uid(&self) -> Option<&ImpUid> {
        let refused = self.decline().and_then(|decline| decline.imp_uid.as_ref());
        self.payment().map(|payment| &payment.imp_uid).or(refused)
    }
}

/// The gateway's receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// PortOne's number.
    pub imp_uid: ImpUid,
    /// The provider behind PortOne, `html5_inicis` for instance.
    pub pg_provider: Option<String>,
    /// The provider's own number.
    pub pg_tid: Option<String>,
    /// Where the buyer's receipt is shown.
    pub receipt_url: Option<String>,
    /// How much of it has been given back since, in minor units. Not 0 only in a look-up, where it
    /// may be [`Payment::CANCELLED_UNREADABLE`].
    pub cancelled_amount: i64,
}

impl Payment {
    /// In place of a figure that can't be read: below every figure that the book may know, so that
    /// it proves nothing and changes nothing.
    pub const CANCELLED_UNREADABLE: i64 = -1;
}

#[cfg(test)]
impl Payment {
    /// A receipt for the tests, with so much given back since.
    pub(crate) fn example(imp_uid: &str, cancelled_amount: i64) -> Self {
        Self {
            imp_uid: ImpUid::parse(imp_uid).unwrap(),
            pg_provider: None,
            pg_tid: None,
            receipt_url: None,
            cancelled_amount,
        }
    }
}

/// A refusal. The policy sees the class; the row and the log keep code and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decline {
    /// What kind of refusal, so what may follow.
    pub class: DeclineClass,
    /// The provider that refused, if the answer named it.
    pub pg_provider: Option<String>,
    /// The provider's code, if the message held one.
    pub code: Option<String>,
    /// The message, word for word, cut at [`MESSAGE_CHARACTERS_MAX`].
    pub message: String,
    /// PortOne's number of the failed payment, if it made one.
    pub imp_uid: Option<ImpUid>,
}

/// Why a request never left. Nothing was asked, so the same debt may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Too little of the lease was left for a call to end within it.
    #[error("the lease would have run out during the call")]
    LeaseTooShort,
    /// Under the rate cap: the database could not be asked for a place.
    #[error("no place under the rate cap: {0}")]
    NoSlot(String),
    /// No connection was made: refused, no route, no name, no TLS, or too slow.
    #[error("no connection to the gateway: {0}")]
    NoConnection(String),
    /// The gateway gave no access token, so the charge was not even tried.
    #[error("no access token: {0}")]
    NoToken(String),
    /// The gateway refused the access token, before it looked at the charge.
    #[error("the gateway refused the access token")]
    Unauthorized,
    /// An earlier attempt of the same debt turned out to be paid.
    #[error("{0}, an earlier attempt of the same debt, is paid after all")]
    PaidBefore(String),
    /// What became of the debt's earlier attempts could not be looked up once more.
    #[error("the earlier attempts of this debt can't be looked up: {0}")]
    NotLookedUp(String),
    /// The row holds something that `again` does not take.
    #[error("the request can't be built: {0}")]
    Unbuildable(String),
}

impl NotSent {
    /// The word for rows, logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::LeaseTooShort => "lease_too_short",
            Self::NoSlot(_) => "no_slot",
            Self::NoConnection(_) => "no_connection",
            Self::NoToken(_) => "no_token",
            Self::Unauthorized => "unauthorized",
            Self::PaidBefore(_) => "paid_before",
            Self::NotLookedUp(_) => "not_looked_up",
            Self::Unbuildable(_) => "unbuildable",
        }
    }
}

/// An answer that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What kind of doubt.
    pub reason: UnknownReason,
    /// What was seen, for the row and the log; cut at [`MESSAGE_CHARACTERS_MAX`].
    pub detail: String,
}

words! {
    /// Kinds of doubt.
    pub enum UnknownReason {
        /// No whole answer within the gateway time-out.
        Timeout = "timeout",
        /// The connection broke after it had been made.
        ConnectionLost = "connection_lost",
        /// HTTP 429. That it was not read is likely, and nowhere promised.
        TooManyRequests = "too_many_requests",
        /// Any other HTTP status that proves nothing: 5xx, 404 and the rest.
        HttpStatus = "http_status",
        /// HTTP 200, but not the JSON of the contract.
        Unreadable = "unreadable",
        /// The gateway knows this `merchant_uid` as paid or cancelled.
        DuplicateMerchantUid = "duplicate_merchant_uid",
        /// "Paid", but not for our number, amount, currency or card. An alarm.
        Mismatch = "mismatch",
        /// A refusal that does not exclude a charge: time-out behind the gateway, "already processed".
        UnclearDecline = "unclear_decline",
        /// Neither paid nor failed: `ready`, or a status of tomorrow.
        NotFinal = "not_final",
        /// The process ended between sending and recording.
        Abandoned = "abandoned",
    }
}

/// What the gateway knows of one `merchant_uid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// At least one record is paid or was cancelled after payment: money moved.
    Paid(Payment),
    /// All records are failed.
    Failed {
        /// What was refused, and how.
        decline: Decline,
        /// How many records there are: one for each request that the gateway has decided so far.
        records: u16,
    },
    /// The gateway has no record. Not a proof: its look-up has been hours behind.
    NotFound,
    /// Records exist that prove nothing, or that contradict what we asked for.
    Unclear(Unknown),
}

impl Lookup {
    /// Whether the gateway shows fewer refusals than requests that may have left. The others may be
    /// approved and not yet in its books, or never have arrived.
    pub fn misses_one_of(&self, sends: u8) -> bool {
        match self {
            Self::NotFound => true,
            Self::Failed { records, .. } => *records < u16::from(sends),
            Self::Paid(_) | Self::Unclear(_) => false,
        }
    }
}

/// Longest text of a gateway that is kept, in characters: enough for every known message, and a
/// bound on what a broken gateway can put into a row.
pub const MESSAGE_CHARACTERS_MAX: usize = 500;

/// Cuts a gateway's text at [`MESSAGE_CHARACTERS_MAX`] characters, and takes out the card's name where
/// PortOne is known to quote it: a message goes into the log. What can't be seen is left out: rows take no NUL, and
/// a terminal obeys others.
pub fn bounded_message(text: &str) -> String {
    let quoted = "customer_uid(";
    let text = match text.split_once(quoted) {
        None => text.to_owned(),
        Some((before, rest)) => {
            let after = rest.split_once(')').map_or("", |(_card, after)| after);
            format!("{before}{quoted}…){after}")
        }
    };
    let seen = |c: char| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c => Some(c).filter(|c| !c.is_control()),
    };
    text.chars()
        .filter_map(seen)
        .take(MESSAGE_CHARACTERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_does_not_quote_the_card() {
        assert_eq!(
            bounded_message("요청하신 customer_uid(card-minji)로 등록된 정보를 찾을 수 없습니다."),
            "요청하신 customer_uid(…)로 등록된 정보를 찾을 수 없습니다."
        );
        assert_eq!(bounded_message("[1254]잔액부족"), "[1254]잔액부족");
        assert_eq!(bounded_message("a\0b\u{1b}[2Jc\nd"), "ab[2Jc d");
        assert_eq!(
            bounded_message(&"가".repeat(9999)).chars().count(),
            MESSAGE_CHARACTERS_MAX
        );
    }
}
