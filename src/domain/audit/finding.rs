//! What a person is told of where the gateway's books and ours differ.

use std::fmt;

use crate::domain::ids::SubscriptionId;

/// Ways in which the two books can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// Money moved for an attempt that was declined, not sent, or lost here.
    PaidThereNotHere,
    /// The gateway knows nothing of a payment of ours.
    PaidHereNotThere,
    /// More than one payment is kept for one debt.
    PaidTwice,
    /// Another sum than we asked for.
    AmountMismatch,
    /// Another card than we asked.
    CustomerMismatch,
    /// Given back at the console.
    CancelledThere,
    /// Somebody else charged a card of ours.
    ForeignPayment,
    /// The gateway will charge a card of ours by itself.
    ForeignSchedule,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::PaidThereNotHere,
        Self::PaidHereNotThere,
        Self::PaidTwice,
        Self::AmountMismatch,
        Self::CustomerMismatch,
        Self::CancelledThere,
        Self::ForeignPayment,
        Self::ForeignSchedule,
    ];

    /// The word for rows, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaidThereNotHere => "paid_there_not_here",
            Self::PaidHereNotThere => "paid_here_not_there",
            Self::PaidTwice => "paid_twice",
            Self::AmountMismatch => "amount_mismatch",
            Self::CustomerMismatch => "customer_mismatch",
            Self::CancelledThere => "cancelled_there",
            Self::ForeignPayment => "foreign_payment",
            Self::ForeignSchedule => "foreign_schedule",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingState {
    /// A person must look.
    Open,
    /// A person has explained it: nobody is notified of it again.
    Explained,
    /// The books agree again. If they differ once more, it is open again.
    Corrected,
}

impl FindingState {
    /// The word of the schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Explained => "explained",
            Self::Corrected => "mended",
        }
    }

    /// Reads the word of the schema.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Explained, Self::Corrected]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// One thing for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which way the books differ.
    pub kind: FindingKind,
    /// Under which number.
    pub merchant_uid: String,
    /// The gateway's receipt, if there is one.
    pub imp_uid: Option<String>,
    /// Whose card or debt it is, if it is a subscription's.
    pub subscription: Option<SubscriptionId>,
    /// What our books say, in minor units.
    pub amount_ours: Option<i64>,
    /// What the gateway's say.
    pub amount_theirs: Option<i64>,
    /// In which currency.
    pub currency: Option<String>,
    /// What is known of it.
    pub note: Option<String>,
}
