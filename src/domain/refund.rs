//! Giving money back: what is asked, what can become of it, and what proves it.
//!
//! The gateway counts for a payment how much of it was given back. That figure, before and after, is
//! the proof; an answer alone is believed only when it shows the same.

use std::time::Duration;

use crate::domain::attempt::{Lookup, NotSent, Payment, Unknown, bounded_message};
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

/// What a refusal and a look right after it prove together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was given back by this request.
    Proved,
    /// The words exclude that money moved, and yet the balance is as if it had.
    Contradicted,
    /// Nobody can tell yet.
    Unproved,
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
mod tests {
    use super::*;
    use crate::domain::attempt::UnknownReason;
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

    const NO_DOUBT: RefundDoubt = RefundDoubt {
        booked: 1_000,
        is_contradicted: false,
    };

    fn look(imp_uid: &str, cancelled: i64) -> Lookup {
        Lookup::Paid(Payment {
            imp_uid: ImpUid::parse(imp_uid).unwrap(),
            pg_provider: None,
            pg_tid: None,
            receipt_url: None,
            cancelled_amount: cancelled,
        })
    }

    fn question(age: Duration, unchanged: u16) -> Question {
        Question {
            age,
            asks: 1,
            not_found: unchanged,
            sends: 1,
        }
    }

    fn doubted(look: &Lookup, age: Duration, doubt: RefundDoubt) -> RefundFound {
        decide_refund(&policy(), &request(), Ok(look), &question(age, 9), doubt)
    }

    fn found(cancelled: i64, age: Duration, unchanged: u16) -> RefundFound {
        let question = question(age, unchanged);
        let look = look("imp_1", cancelled);
        decide_refund(&policy(), &request(), Ok(&look), &question, NO_DOUBT)
    }

    /// Hazard: PortOne refuses because another refund of the same sum came first; the balance that
    /// the other one left is taken for the proof of ours.
    #[test]
    fn a_balance_after_a_plain_refusal_never_proves_the_refund() {
        let seen = look("imp_1", 2_000);
        let judged = judge_refusal(&request(), RefusalMeaning::AnotherBalance, Ok(&seen));
        assert_eq!(judged, Refusal::Contradicted);
        let doubt = RefundDoubt {
            is_contradicted: true,
            ..NO_DOUBT
        };
        let early = doubted(&look("imp_1", 2_000), Duration::ZERO, doubt);
        assert!(matches!(early, RefundFound::Ask { .. }), "{early:?}");
        let late = doubted(&look("imp_1", 2_000), Duration::from_hours(1), doubt);
        assert!(matches!(late, RefundFound::Park { .. }), "{late:?}");
    }

    /// Hazard: a look-up that is behind shows the balance of before a refund which the book knows
    /// of, and the refund is taken for not made.
    #[test]
    fn a_look_that_shows_less_than_the_book_proves_nothing() {
        let doubt = RefundDoubt {
            booked: 2_000,
            ..NO_DOUBT
        };
        let early = doubted(&look("imp_1", 1_000), Duration::ZERO, doubt);
        assert!(matches!(early, RefundFound::Ask { .. }), "{early:?}");
        let late = doubted(&look("imp_1", 1_000), Duration::from_hours(1), doubt);
        assert!(matches!(late, RefundFound::Park { .. }), "{late:?}");
    }

    /// Hazard: "no answer from the card company" is taken for a refusal, and the money was given
    /// back.
    #[test]
    fn a_refusal_is_believed_at_once_only_by_its_words_and_the_balance() {
        use RefusalMeaning::{AnotherBalance, Doubtful, NothingLeft, Unchanged};
        for (meaning, cancelled, expected) in [
            (Doubtful, 1_000, Refusal::Unproved),
            (Unchanged, 1_000, Refusal::Proved),
            (Unchanged, 1_500, Refusal::Unproved),
            (AnotherBalance, 3_000, Refusal::Proved),
            (AnotherBalance, 1_000, Refusal::Unproved),
            (NothingLeft, 9_900, Refusal::Proved),
            (NothingLeft, 3_000, Refusal::Unproved),
        ] {
            let judged = judge_refusal(&request(), meaning, Ok(&look("imp_1", cancelled)));
            assert_eq!(judged, expected, "{meaning:?} {cancelled}");
        }
        let silent = judge_refusal(&request(), Unchanged, Err(()));
        assert_eq!(silent, Refusal::Unproved);
    }

    /// Hazard: three quick looks at a look-up that is minutes behind prove that nothing was given
    /// back, as soon as the settle time ends.
    #[test]
    fn an_unchanged_balance_counts_only_after_the_settle_time() {
        let count = |imp_uid: &str, age| {
            let look = look(imp_uid, 1_000);
            count_unchanged(&policy(), &request(), Ok(&look), &question(age, 2))
        };
        assert_eq!(count("imp_1", Duration::from_mins(14)), 0);
        assert_eq!(count("imp_1", Duration::from_mins(15)), 3);
        assert_eq!(count("imp_2", Duration::from_mins(15)), 0);
    }

    /// Hazard: the balance of another payment, or one that can't be read, decides over this refund.
    #[test]
    fn another_payment_and_an_unreadable_balance_prove_nothing() {
        let hour = Duration::from_hours(1);
        for look in [
            look("imp_2", 1_000),
            look("imp_2", 2_000),
            look("imp_1", Payment::CANCELLED_UNREADABLE),
        ] {
            let found = doubted(&look, hour, NO_DOUBT);
            assert!(matches!(found, RefundFound::Ask { .. }), "{found:?}");
        }
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
        let question = question(Duration::ZERO, 0);
        let found = decide_refund(&policy(), &request(), Ok(&doubt), &question, NO_DOUBT);
        assert!(matches!(found, RefundFound::Park { .. }), "{found:?}");
    }
}
