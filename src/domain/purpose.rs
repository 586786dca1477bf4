//! What a charge is for, and so what may follow from its outcome.
//!
//! One-off charges and first payments obey the laws of a subscription's charges, with one difference: nothing is ever
//! sent again by itself. The card of a `onetime` is gone, and for an `again` a person was there to decide.

use crate::domain::attempt::{ChargeOutcome, Lookup};
use crate::domain::dunning::{
    Decision, GiveUpReason, History, NotFoundPolicy, Policy, Question, decide, decide_lookup,
};

/// What a request for money is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The debt of a period, charged to a billing key.
    Debt,
    /// The first payment of a subscription, made with the card itself. Without the card there is no
    /// second attempt: what is refused gives the subscription up.
    FirstPayment,
    /// A charge outside a subscription.
    OneOff,
}

impl Purpose {
    /// As [`decide`], for a charge of this purpose.
    pub fn decide(self, policy: &Policy, outcome: &ChargeOutcome, history: History) -> Decision {
        self.without_retry(decide(policy, outcome, history))
    }

    /// As [`decide_lookup`], for a charge of this purpose: what can't be sent again is parked instead.
    pub fn decide_lookup(
        self,
        policy: &Policy,
        lookup: Result<&Lookup, ()>,
        question: &Question,
        history: History,
    ) -> (Option<ChargeOutcome>, Decision) {
        let never_again = Policy {
            on_not_found: NotFoundPolicy::Park,
            ..policy.clone()
        };
        let policy = match self {
            Self::Debt => policy,
            Self::FirstPayment | Self::OneOff => &never_again,
        };
        let (outcome, decision) = decide_lookup(policy, lookup, question, history);
        (outcome, self.without_retry(decision))
    }

    fn without_retry(self, decision: Decision) -> Decision {
        let ended = match self {
            Self::Debt => return decision,
            Self::FirstPayment => GiveUpReason::FirstPayment,
            Self::OneOff => GiveUpReason::OneOff,
        };
        match decision {
            Decision::Retry { .. } | Decision::GiveUp(_) => Decision::GiveUp(ended),
            Decision::Advance
            | Decision::Ask { .. }
            | Decision::SendAgain
            | Decision::Park { .. } => decision,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::attempt::{NotSent, Unknown, UnknownReason};

    /// Hazard: the gateway never saw the charge, and the daemon sends what it has: a request to
    /// charge a billing key, which may belong to another card by now.
    #[test]
    fn what_was_sent_with_a_card_or_outside_a_subscription_is_never_sent_again() {
        let question = Question {
            age: Duration::from_hours(5),
            asks: 9,
            not_found: 9,
            sends: 1,
        };
        for purpose in [Purpose::FirstPayment, Purpose::OneOff] {
            let (outcome, decision) = purpose.decide_lookup(
                &Policy::example(),
                Ok(&Lookup::NotFound),
                &question,
                History::FIRST,
            );
            assert_eq!(outcome, None);
            assert!(matches!(decision, Decision::Park { .. }), "{decision:?}");
        }
    }

    #[test]
    fn a_first_payment_that_is_not_made_gives_the_subscription_up() {
        let outcome = ChargeOutcome::NotSent(NotSent::Unauthorized);
        assert_eq!(
            Purpose::FirstPayment.decide(&Policy::example(), &outcome, History::FIRST),
            Decision::GiveUp(GiveUpReason::FirstPayment)
        );
        let outcome = ChargeOutcome::Unknown(Unknown {
            reason: UnknownReason::Timeout,
            detail: String::new(),
        });
        assert!(matches!(
            Purpose::FirstPayment.decide(&Policy::example(), &outcome, History::FIRST),
            Decision::Ask { .. }
        ));
    }
}
