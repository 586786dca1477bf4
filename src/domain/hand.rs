//! Charges that a person asks for, and what follows from their outcomes.
//!
//! The same laws as for a subscription's charges, with one difference: nothing is ever sent again
//! by itself. The card of a `onetime` is gone, and for an `again` a person was there to decide.

use crate::domain::attempt::{ChargeOutcome, ChargeRequest, Instrument, Lookup};
use crate::domain::dunning::{
    Decision, GiveUpReason, History, NotFoundPolicy, Policy, Question, decide, decide_lookup,
};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Money;

/// How the money is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandKind {
    /// With the card itself.
    Onetime,
    /// With a billing key.
    Again,
}

impl HandKind {
    /// The word for rows and results; the last part of the gateway's path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Onetime => "onetime",
            Self::Again => "again",
        }
    }
}

/// One charge outside a subscription.
#[derive(Clone, PartialEq, Eq)]
pub struct HandCharge {
    /// Our number for it.
    pub merchant_uid: MerchantUid,
    /// How it is asked for.
    pub kind: HandKind,
    /// The billing key that is charged, or that this charge stores.
    pub customer_uid: Option<CustomerUid>,
    /// The sum.
    pub money: Money,
    /// What the buyer's statement says.
    pub name: String,
    /// The tax-free part of the sum, in minor units.
    pub tax_free: Option<i64>,
    /// The value-added tax within the sum, in minor units; `None` lets the gateway compute it.
    pub vat_amount: Option<i64>,
}

impl HandCharge {
    /// What is written down of this request. The card itself is not.
    pub fn of(request: &ChargeRequest) -> Self {
        Self {
            merchant_uid: request.merchant_uid.clone(),
            kind: match &request.instrument {
                Instrument::BillingKey(_) => HandKind::Again,
                Instrument::Card { .. } => HandKind::Onetime,
            },
            customer_uid: request.instrument.customer_uid().cloned(),
            money: request.money,
            name: request.name.clone(),
            tax_free: request.terms.tax_free,
            vat_amount: request.terms.vat_amount,
        }
    }
}

/// The rules for what can't be sent again.
fn never_again(policy: &Policy) -> Policy {
    Policy {
        on_not_found: NotFoundPolicy::Park,
        ..policy.clone()
    }
}

/// Decides what follows from the outcome of a first payment that was made with the card itself.
///
/// Without the card there is no second attempt: what is refused gives the subscription up.
pub fn decide_by_card(policy: &Policy, outcome: &ChargeOutcome, history: History) -> Decision {
    without_retry(decide(policy, outcome, history))
}

/// As [`decide_lookup`], for an attempt that can't be sent again.
pub fn decide_lookup_by_card(
    policy: &Policy,
    lookup: Result<&Lookup, ()>,
    question: &Question,
    history: History,
) -> (Option<ChargeOutcome>, Decision) {
    let (outcome, decision) = decide_lookup(&never_again(policy), lookup, question, history);
    (outcome, without_retry(decision))
}

fn without_retry(decision: Decision) -> Decision {
    match decision {
        Decision::Retry { .. } | Decision::GiveUp(_) => {
            Decision::GiveUp(GiveUpReason::FirstPayment)
        }
        Decision::Advance | Decision::Ask { .. } | Decision::SendAgain | Decision::Park { .. } => {
            decision
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::attempt::{NotSent, Unknown, UnknownReason};
    use crate::domain::dunning::{Backoff, Ladder};
    use crate::domain::ids::AttemptNo;

    fn policy() -> Policy {
        let ladder = |text: &str| Ladder::parse(text).unwrap();
        Policy {
            soft_funds: ladder("1d,3d"),
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

    fn history() -> History {
        History {
            attempt_no: AttemptNo::FIRST,
            declines: 0,
            not_sent: 0,
        }
    }

    /// Hazard: the gateway never saw the charge, and the daemon sends what it has: a request to
    /// charge a billing key, which may belong to another card by now.
    #[test]
    fn what_was_sent_with_a_card_is_never_sent_again() {
        let question = Question {
            age: Duration::from_hours(5),
            asks: 9,
            not_found: 9,
            sends: 1,
        };
        let (outcome, decision) =
            decide_lookup_by_card(&policy(), Ok(&Lookup::NotFound), &question, history());
        assert_eq!(outcome, None);
        assert!(matches!(decision, Decision::Park { .. }), "{decision:?}");
    }

    #[test]
    fn a_first_payment_that_is_not_made_gives_the_subscription_up() {
        let outcome = ChargeOutcome::NotSent(NotSent::Unauthorized);
        assert_eq!(
            decide_by_card(&policy(), &outcome, history()),
            Decision::GiveUp(GiveUpReason::FirstPayment)
        );
        let outcome = ChargeOutcome::Unknown(Unknown {
            reason: UnknownReason::Timeout,
            detail: String::new(),
        });
        assert!(matches!(
            decide_by_card(&policy(), &outcome, history()),
            Decision::Ask { .. }
        ));
    }
}
