//! What a person is told of where the gateway's books and ours differ.

use std::fmt;

use crate::domain::ids::SubscriptionId;

words! {
    /// Ways in which the two books can differ.
    pub enum FindingKind {
        /// Money moved for an attempt that was declined, not sent, or lost here.
        PaidThereNotHere = "paid_there_not_here",
        /// The gateway knows nothing of a payment of ours.
        PaidHereNotThere = "paid_here_not_there",
        /// More than one payment is kept for one debt.
        PaidTwice = "paid_twice",
        /// Another sum than we asked for.
        AmountMismatch = "amount_mismatch",
        /// Another card than we asked.
        CustomerMismatch = "customer_mismatch",
        /// Given back at the console.
        CancelledThere = "cancelled_there",
        /// Somebody else charged a card of ours.
        ForeignPayment = "foreign_payment",
        /// The gateway will charge a card of ours by itself.
        ForeignSchedule = "foreign_schedule",
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

words! {
    /// What became of a finding.
    pub enum FindingState {
        /// A person must look.
        Open = "open",
        /// A person has explained it: nobody is notified of it again.
        Explained = "explained",
        /// The books agree again. If they differ once more, it is open again.
        Corrected = "mended",
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
