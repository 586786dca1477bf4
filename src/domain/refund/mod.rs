//! Giving money back: what is asked, what can become of it, and what proves it.
//!
//! The gateway counts for a payment how much of it was given back. That figure, before and after, is
//! the proof; an answer alone is believed only when it shows the same.

mod plan;

use std::time::Duration;

use crate::domain::attempt::{Lookup, NotSent, Payment, Unknown, bounded_message};
use crate::domain::dunning::{Ladder, Policy, Question};
use crate::domain::ids::{ImpUid, MerchantUid};
use crate::domain::money::Currency;

pub use plan::{RefundFault, RefundPlan, RefundWish, TaxPart, plan_refund, refundable};

/// What the gateway is asked for: one `POST /payments/cancel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// Our number for the payment.
    pub merchant_uid: MerchantUid,
    /// PortOne's number for the payment.
    pub imp_uid: ImpUid,
    /// How much is to be given back, in minor units.
    pub amount: i64,
    /// How much could be given back before, in minor units. The gateway does nothing if its own
    /// figure differs, so the same refund can't happen twice.
    pub checksum: i64,
    /// How much was paid, in minor units.
    pub payment_amount: i64,
    /// The currency of all sums.
    pub currency: Currency,
    /// The tax-free part of the amount.
    pub tax_free: Option<i64>,
    /// The value-added tax within the amount.
    pub vat_amount: Option<i64>,
    /// What the gateway is told as the reason.
    pub note: Option<String>,
}

impl RefundRequest {
    /// How much had been given back before.
    pub fn cancelled_before(&self) -> i64 {
        self.payment_amount.saturating_sub(self.checksum)
    }

    /// How much has been given back once this is done.
    pub fn cancelled_after(&self) -> i64 {
        self.cancelled_before().saturating_add(self.amount)
    }
}

words! {
    /// How far a refund has come, as its row says.
    pub enum RefundStatus {
        /// Written down; it may be on its way.
        Started = "started",
        /// Given back.
        Refunded = "refunded",
        /// It was not, and the gateway won't.
        Refused = "refused",
        /// It never left.
        NotSent = "not_sent",
        /// Nobody can tell yet.
        Unknown = "unknown",
    }
}

/// What became of one request to give money back. There is no error beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// Given back: the payment shows it.
    Refunded,
    /// The gateway said no; the payment has to be looked at before that is believed.
    Refused {
        /// What its words say about the balance.
        meaning: RefusalMeaning,
        /// Its words.
        message: String,
    },
    /// The request never left us.
    NotSent(NotSent),
    /// Nobody can tell yet.
    Unknown(Unknown),
}

/// What the words of a refusal say about the balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalMeaning {
    /// They do not exclude that money moved.
    Doubtful,
    /// No, for a reason that leaves the balance as it was.
    Unchanged,
    /// The balance is not the one that the request named.
    AnotherBalance,
    /// All of it had been given back before.
    NothingLeft,
}

/// What a look at the payment says about a refund whose fate is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundFound {
    /// Exactly this much more has been given back.
    Refunded,
    /// Nothing has been given back since. Before the settle time that is no proof.
    NotRefunded,
    /// Look again after `wait`.
    Ask {
        /// From when it is recorded.
        wait: Duration,
    },
    /// The payment shows something that this refund does not explain: a person must look.
    Park {
        /// Until the next look.
        wait: Duration,
        /// What was seen.
        detail: String,
    },
}

words! {
    /// What a refusal and a look right after it prove together.
    pub enum Refusal {
        /// Nothing was given back by this request.
        Proved = "refused",
        /// The words exclude that money moved, and yet the balance is as if it had.
        Contradicted = "refused_contradicted",
        /// Nobody can tell yet.
        Unproved = "refused_unproved",
    }
}

/// Decides whether a refusal may be believed at once: by its words, and only if the payment agrees.
pub fn judge_refusal(
    request: &RefundRequest,
    meaning: RefusalMeaning,
    look: Result<&Lookup, ()>,
) -> Refusal {
    let Ok(Lookup::Paid(payment)) = look else {
        return Refusal::Unproved;
    };
    if payment.imp_uid != request.imp_uid {
        return Refusal::Unproved;
    }
    let cancelled = payment.cancelled_amount;
    let agrees = match meaning {
        RefusalMeaning::Doubtful => return Refusal::Unproved,
        RefusalMeaning::Unchanged => cancelled == request.cancelled_before(),
        RefusalMeaning::AnotherBalance => cancelled > request.cancelled_before(),
        RefusalMeaning::NothingLeft => cancelled == request.payment_amount,
    };
    if cancelled == request.cancelled_after() {
        Refusal::Contradicted
    } else if agrees {
        Refusal::Proved
    } else {
        Refusal::Unproved
    }
}

/// What is known of a refund beside the look at its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundDoubt {
    /// How much the book knows to have been given back: a look that shows less is behind.
    pub booked: i64,
    /// Whether the gateway refused in words that exclude that money moved.
    pub is_contradicted: bool,
}

/// How often in a row the balance has been found unchanged, this look included. Before the settle
/// time nothing counts: the look-up may be behind.
pub fn count_unchanged(
    policy: &Policy,
    request: &RefundRequest,
    look: Result<&Lookup, ()>,
    question: &Question,
) -> u16 {
    match look {
        Ok(Lookup::Paid(payment))
            if payment.imp_uid == request.imp_uid
                && payment.cancelled_amount == request.cancelled_before()
                && question.age >= policy.settle =>
        {
            question.not_found.saturating_add(1)
        }
        Ok(_) | Err(()) => 0,
    }
}

/// Decides what a look at the payment proves. `question.not_found` is what [`count_unchanged`] says.
pub fn decide_refund(
    policy: &Policy,
    request: &RefundRequest,
    look: Result<&Lookup, ()>,
    question: &Question,
    doubt: RefundDoubt,
) -> RefundFound {
    let wait = |index: usize| policy.asks.rung_or_last(index).unwrap_or(WAIT_DEFAULT);
    let ask = || RefundFound::Ask {
        wait: wait(usize::from(question.asks)).max(Ladder::WAIT_MIN),
    };
    let park = |detail: String| RefundFound::Park {
        wait: wait(usize::MAX),
        detail: bounded_message(&detail),
    };
    let payment = match look {
        // Another payment under the same number says nothing about this one.
        Ok(Lookup::Paid(payment)) if payment.imp_uid != request.imp_uid => return ask(),
        Ok(Lookup::Paid(payment)) => payment,
        Ok(Lookup::Unclear(doubt)) => return park(doubt.detail.clone()),
        Ok(Lookup::NotFound | Lookup::Failed { .. }) | Err(()) => return ask(),
    };
    let cancelled = payment.cancelled_amount;
    let had_time = question.age >= policy.settle;
    if cancelled == Payment::CANCELLED_UNREADABLE {
        return ask();
    }
    if cancelled < request.cancelled_before().max(doubt.booked) && !had_time {
        return ask();
    }
    if cancelled < doubt.booked {
        park(format!(
            "{cancelled} given back in all, where the book knows of {}",
            doubt.booked
        ))
    } else if cancelled == request.cancelled_after() {
        if !doubt.is_contradicted {
            RefundFound::Refunded
        } else if had_time {
            park(format!(
                "refused, and yet {cancelled} are given back in all"
            ))
        } else {
            ask()
        }
    } else if cancelled != request.cancelled_before() {
        park(format!(
            "{cancelled} given back in all, where {} or {} was expected",
            request.cancelled_before(),
            request.cancelled_after()
        ))
    } else if had_time && question.not_found >= policy.not_found_min {
        RefundFound::NotRefunded
    } else {
        ask()
    }
}

/// Between looks if the policy names no wait.
const WAIT_DEFAULT: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests;
