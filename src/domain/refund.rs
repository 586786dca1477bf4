//! Giving money back: what is asked, what can become of it, and what proves it.
//!
//! The gateway counts for a payment how much of it was given back. That figure, before and after, is
//! the proof; an answer alone is believed only when it shows the same.

use std::time::Duration;

use crate::domain::attempt::{Lookup, NotSent, Unknown, bounded_message};
use crate::domain::dunning::{Ladder, Policy, Question};
use crate::domain::ids::{ImpUid, MerchantUid};
use crate::domain::money::Currency;

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

/// What became of one request to give money back. There is no error beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// Given back: the payment shows it.
    Refunded,
    /// The gateway said no; the payment has to be looked at before that is believed.
    Refused(String),
    /// The request never left us.
    NotSent(NotSent),
    /// Nobody can tell yet.
    Unknown(Unknown),
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

/// Decides what a look at the payment proves. `question.not_found` counts how often in a row the
/// balance was found unchanged, this time included.
pub fn decide_refund(
    policy: &Policy,
    request: &RefundRequest,
    look: Result<&Lookup, ()>,
    question: &Question,
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
        Ok(Lookup::Paid(payment)) => payment,
        Ok(Lookup::Unclear(doubt)) => return park(doubt.detail.clone()),
        Ok(Lookup::NotFound | Lookup::Failed(_)) | Err(()) => return ask(),
    };
    let cancelled = payment.cancelled_amount;
    let is_settled = question.age >= policy.settle && question.not_found >= policy.not_found_min;
    if cancelled == request.cancelled_after() {
        RefundFound::Refunded
    } else if cancelled != request.cancelled_before() {
        park(format!(
            "{cancelled} given back in all, where {} or {} was expected",
            request.cancelled_before(),
            request.cancelled_after()
        ))
    } else if is_settled {
        RefundFound::NotRefunded
    } else {
        ask()
    }
}

/// Between looks if the policy names no wait.
const WAIT_DEFAULT: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Payment, UnknownReason};
    use crate::domain::dunning::{Backoff, NotFoundPolicy};

    fn policy() -> Policy {
        let ladder = |text: &str| Ladder::parse(text).unwrap();
        Policy {
            soft_funds: ladder("1d"),
            soft_temp: ladder("1h"),
            issuer_call: ladder("1d"),
            unclear: ladder("1d"),
            unspecified: ladder("1d"),
            hard: ladder(""),
            hold: Duration::from_hours(1),
            not_sent: Backoff {
                first: Duration::from_secs(30),
                max: Duration::from_hours(1),
            },
            asks: ladder("5s,1d"),
            settle: Duration::from_mins(15),
            not_found_min: 3,
            on_not_found: NotFoundPolicy::SendAgain,
            sends_max: 3,
        }
    }

    /// A second refund of 1,000 of a payment of 9,900, of which 1,000 had been given back.
    fn request() -> RefundRequest {
        RefundRequest {
            merchant_uid: MerchantUid::parse("a1").unwrap(),
            imp_uid: ImpUid::parse("imp_1").unwrap(),
            amount: 1_000,
            checksum: 8_900,
            payment_amount: 9_900,
            currency: Currency::KRW,
            tax_free: None,
            vat_amount: None,
            note: None,
        }
    }

    fn found(cancelled: i64, age: Duration, unchanged: u16) -> RefundFound {
        let payment = Payment {
            imp_uid: ImpUid::parse("imp_1").unwrap(),
            pg_provider: None,
            pg_tid: None,
            receipt_url: None,
            cancelled_amount: cancelled,
        };
        let question = Question {
            age,
            asks: 1,
            not_found: unchanged,
            sends: 1,
        };
        decide_refund(&policy(), &request(), Ok(&Lookup::Paid(payment)), &question)
    }

    #[test]
    fn the_balance_of_the_payment_says_whether_it_was_given_back() {
        assert_eq!(found(2_000, Duration::ZERO, 0), RefundFound::Refunded);
        let settled = Duration::from_hours(1);
        assert_eq!(found(1_000, settled, 3), RefundFound::NotRefunded);
    }

    /// Hazard: a refund that the look-up does not show yet is taken for failed and asked for again.
    #[test]
    fn an_unchanged_balance_proves_nothing_before_the_settle_time() {
        for (age, unchanged) in [(Duration::ZERO, 9), (Duration::from_hours(1), 2)] {
            let found = found(1_000, age, unchanged);
            assert!(matches!(found, RefundFound::Ask { .. }), "{found:?}");
        }
    }

    #[test]
    fn what_this_refund_does_not_explain_waits_for_a_person() {
        for cancelled in [0, 1_500, 9_900] {
            let found = found(cancelled, Duration::from_hours(1), 9);
            assert!(matches!(found, RefundFound::Park { .. }), "{found:?}");
        }
        let doubt = Lookup::Unclear(Unknown {
            reason: UnknownReason::Mismatch,
            detail: "more than one paid record".to_owned(),
        });
        let question = Question {
            age: Duration::ZERO,
            asks: 1,
            not_found: 0,
            sends: 1,
        };
        let found = decide_refund(&policy(), &request(), Ok(&doubt), &question);
        assert!(matches!(found, RefundFound::Park { .. }), "{found:?}");
    }
}
