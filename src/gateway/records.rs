//! What a gateway shows of payments, billing keys and reservations.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Number;

use crate::domain::audit::BookEntry;

/// A span of time: both ends belong to it, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub from: Timestamp,
    /// Its last second.
    pub to: Timestamp,
}

/// One page of the gateway's payments.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BookPage {
    /// The records that can be read.
    pub entries: Vec<BookEntry>,
    /// How many can't.
    pub unreadable: usize,
    /// How many records the whole window holds, as far as the gateway says.
    pub total: u64,
    /// Whether another page follows.
    pub has_next: bool,
}

/// One charge that the gateway is going to make by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The billing key.
    pub customer_uid: String,
    /// Under which number.
    pub merchant_uid: String,
    /// The sum in minor units, if it is a whole number of them.
    pub amount: Option<i64>,
    /// Its currency, as written there.
    pub currency: String,
    /// When.
    pub at: Option<Timestamp>,
}

/// One page of reservations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReservationPage {
    /// The reservations that wait.
    pub reservations: Vec<Reservation>,
    /// Whether another page may follow.
    pub has_next: bool,
}

/// One payment as the gateway shows it, without the buyer's details. Sums are in major units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentRecord {
    /// The gateway's number.
    pub imp_uid: String,
    /// The merchant's number.
    pub merchant_uid: String,
    /// `ready`, `paid`, `cancelled` or `failed`.
    pub status: String,
    /// What was asked for.
    pub amount: Number,
    /// How much of it was given back.
    pub cancel_amount: Option<Number>,
    /// Three letters.
    pub currency: String,
    /// The billing key, if one was charged or issued.
    pub customer_uid: Option<String>,
    /// What the buyer's statement says.
    pub name: Option<String>,
    /// The provider behind the gateway.
    pub pg_provider: Option<String>,
    /// The provider's number.
    pub pg_tid: Option<String>,
    /// The issuer's name.
    pub card_name: Option<String>,
    /// Masked by the gateway.
    pub card_number: Option<String>,
    /// Why it failed, without a card number that the provider may have quoted.
    pub fail_reason: Option<String>,
    /// Unix seconds; 0 if it did not happen.
    pub started_at: i64,
    /// Unix seconds; 0 if it did not happen.
    pub paid_at: i64,
    /// Unix seconds; 0 if it did not happen.
    pub failed_at: i64,
    /// Unix seconds; 0 if it did not happen.
    pub cancelled_at: i64,
    /// Where the buyer's receipt is shown.
    pub receipt_url: Option<String>,
}

/// A billing key as the gateway describes it. The card's number is masked by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BillingKey {
    /// The merchant's name for it.
    pub customer_uid: String,
    /// The provider that holds it.
    pub pg_provider: Option<String>,
    /// The merchant's number at that provider.
    pub pg_id: Option<String>,
    /// The issuer's name.
    pub card_name: Option<String>,
    /// Masked.
    pub card_number: Option<String>,
    /// The cardholder's name, as the merchant gave it.
    pub customer_name: Option<String>,
    /// Unix seconds of the first registration.
    pub inserted: i64,
    /// Unix seconds of the latest one; another second than `inserted` means that the card changed.
    pub updated: i64,
}

/// In which way a billing key has changed between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    /// It has not.
    Same,
    /// The same card was registered again.
    RegisteredAgain,
    /// Another card stands behind the name.
    Replaced,
}

impl BillingKey {
    /// Tells a new card from the one of an earlier look: by its masked number, and by the instant of
    /// its registration.
    pub fn change_since(&self, before: &Self) -> KeyChange {
        if self.card_number != before.card_number {
            KeyChange::Replaced
        } else if self.updated != before.updated {
            KeyChange::RegisteredAgain
        } else {
            KeyChange::Same
        }
    }

    /// Whether this registration took the place of an earlier one.
    pub fn is_replacement(&self) -> bool {
        self.inserted != self.updated
    }
}

/// Whose card it is, and where it is to be registered. `None` is not sent.
#[derive(Default, Serialize)]
pub struct KeyOwner {
    /// The channel; PortOne has begun to require it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_key: Option<String>,
    /// `provider` or `provider.MID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pg: Option<String>,
    /// The cardholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_name: Option<String>,
    /// The cardholder's telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_tel: Option<String>,
    /// The cardholder's mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
}
