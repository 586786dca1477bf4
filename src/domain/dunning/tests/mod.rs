mod ladder;
mod look_up;
mod properties;

use super::*;
use crate::domain::attempt::{Decline, NotSent, Payment};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn days(count: u32) -> Duration {
    DAY.saturating_mul(count)
}

fn ladder(text: &str) -> Ladder {
    Ladder::parse(text).unwrap()
}

fn policy() -> Policy {
    Policy {
        soft_funds: ladder("1d,3d,5d,7d"),
        soft_temp: ladder("30m,2h,6h"),
        issuer_call: ladder("3d"),
        unclear: ladder("2d"),
        unspecified: ladder("1d"),
        hard: Ladder::default(),
        hold: HOUR,
        not_sent: Backoff {
            first: Duration::from_secs(10),
            max: Duration::from_mins(10),
        },
        asks: ladder("10s,1m,10m,1h,1d"),
        settle: Duration::from_hours(2),
        not_found_min: 2,
        on_not_found: NotFoundPolicy::SendAgain,
        sends_max: 2,
    }
}

fn history(attempt_no: u8, declines: u8) -> History {
    History {
        attempt_no: AttemptNo::new(attempt_no).unwrap(),
        declines,
        not_sent: 0,
    }
}

fn payment() -> Payment {
    Payment::example("imp_1", 0)
}

fn decline(class: DeclineClass) -> Decline {
    Decline {
        class,
        pg_provider: None,
        code: None,
        message: String::new(),
        imp_uid: None,
    }
}

fn unknown(reason: UnknownReason) -> Unknown {
    Unknown {
        reason,
        detail: String::new(),
    }
}

fn declined(class: DeclineClass) -> ChargeOutcome {
    ChargeOutcome::Declined(decline(class))
}

/// Tried again later, one rung up.
fn climb(wait: Duration) -> Decision {
    let took_rung = true;
    Decision::Retry { wait, took_rung }
}

/// Tried again later, on the same rung.
fn stay(wait: Duration) -> Decision {
    let took_rung = false;
    Decision::Retry { wait, took_rung }
}

const LADDER_ENDED: Decision = Decision::GiveUp(GiveUpReason::LadderEnded);

/// An answer long after the settle time, to a first question.
fn settled() -> Question {
    Question {
        age: Duration::from_hours(3),
        asks: 1,
        not_found: 2,
        sends: 1,
    }
}

#[track_caller]
fn check(outcome: &ChargeOutcome, history: History, decision: Decision) {
    assert_eq!(decide(&policy(), outcome, history), decision, "{outcome:?}");
}

#[track_caller]
fn check_lookup(lookup: Result<&Lookup, ()>, question: Question, decision: Decision) {
    let answer = decide_lookup(&policy(), lookup, &question, history(1, 0));
    assert_eq!(answer, (None, decision), "{lookup:?}");
}

#[test]
fn a_paid_cycle_advances_even_on_the_last_attempt() {
    let paid = ChargeOutcome::Paid(payment());
    check(&paid, history(1, 0), Decision::Advance);
    check(&paid, history(99, 4), Decision::Advance);
}

#[test]
fn each_soft_decline_takes_the_next_rung_until_the_ladder_ends() {
    let outcome = declined(DeclineClass::SoftFunds);
    check(&outcome, history(1, 0), climb(DAY));
    check(&outcome, history(2, 1), climb(days(3)));
    // Attempts that took no rung do not use up the ladder.
    check(&outcome, history(40, 3), climb(days(7)));
    check(&outcome, history(5, 4), LADDER_ENDED);
}

#[test]
fn every_class_climbs_its_own_ladder_from_the_same_rung() {
    for (class, wait) in [
        (DeclineClass::IssuerCall, days(3)),
        (DeclineClass::Unclear, days(2)),
        (DeclineClass::Unspecified, DAY),
    ] {
        check(&declined(class), history(1, 0), climb(wait));
        check(&declined(class), history(2, 1), LADDER_ENDED);
    }
}

#[test]
fn a_hard_decline_gives_up_at_once_unless_the_merchant_says_otherwise() {
    let stubborn = Policy {
        hard: ladder("7d"),
        ..policy()
    };
    for class in [
        DeclineClass::HardCard,
        DeclineClass::HardAuth,
        DeclineClass::Request,
    ] {
        let outcome = declined(class);
        check(
            &outcome,
            history(1, 0),
            Decision::GiveUp(GiveUpReason::HardDecline),
        );
        assert_eq!(decide(&stubborn, &outcome, history(1, 0)), climb(days(7)));
        assert_eq!(decide(&stubborn, &outcome, history(2, 1)), LADDER_ENDED);
    }
}

#[test]
fn a_refused_text_sets_the_row_aside_whatever_the_card() {
    let set_aside = Decision::GiveUp(GiveUpReason::BadRow);
    check(&declined(DeclineClass::RowText), history(1, 0), set_aside);
}

#[test]
fn an_outage_takes_no_rung_and_its_last_wait_repeats() {
    let outcome = declined(DeclineClass::SoftTemp);
    check(&outcome, history(1, 0), stay(Duration::from_mins(30)));
    check(&outcome, history(3, 1), stay(Duration::from_hours(2)));
    check(&outcome, history(50, 1), stay(Duration::from_hours(6)));
    let impatient = Policy {
        soft_temp: Ladder::default(),
        ..policy()
    };
    assert_eq!(decide(&impatient, &outcome, history(1, 0)), LADDER_ENDED);
}

#[test]
fn a_fault_of_the_merchants_contract_costs_the_customer_nothing() {
    check(&declined(DeclineClass::Config), history(7, 2), stay(HOUR));
}

#[test]
fn a_request_that_never_left_backs_off_up_to_a_limit() {
    let outcome = ChargeOutcome::NotSent(NotSent::LeaseTooShort);
    check(&outcome, history(1, 0), stay(Duration::from_secs(10)));
    check(&outcome, history(98, 1), stay(Duration::from_secs(10)));
    for (not_sent, wait) in [(3, 80), (97, 600), (u16::MAX, 600)] {
        let history = History {
            not_sent,
            ..history(1, 0)
        };
        check(&outcome, history, stay(Duration::from_secs(wait)));
    }
    let hasty = Policy {
        not_sent: Backoff {
            first: Duration::ZERO,
            max: Duration::ZERO,
        },
        ..policy()
    };
    assert_eq!(decide(&hasty, &outcome, history(1, 0)), stay(SECOND));
}

#[test]
fn an_unknown_outcome_waits_for_reconciliation() {
    for reason in UnknownReason::ALL {
        let decision = match reason {
            UnknownReason::Mismatch => Decision::Park { wait: DAY },
            UnknownReason::DuplicateMerchantUid => Decision::Ask { wait: SECOND },
            UnknownReason::Timeout
            | UnknownReason::ConnectionLost
            | UnknownReason::TooManyRequests
            | UnknownReason::HttpStatus
            | UnknownReason::Unreadable
            | UnknownReason::UnclearDecline
            | UnknownReason::NotFinal
            | UnknownReason::Abandoned => Decision::Ask {
                wait: Duration::from_secs(10),
            },
        };
        // There is no further attempt to give up: the question stays open on the last one too.
        let outcome = ChargeOutcome::Unknown(unknown(reason));
        check(&outcome, history(1, 0), decision);
        check(&outcome, history(99, 0), decision);
    }
}

#[test]
fn asking_never_ends_even_without_a_ladder() {
    let silent = Policy {
        asks: Ladder::default(),
        ..policy()
    };
    let outcome = ChargeOutcome::Unknown(unknown(UnknownReason::Timeout));
    assert_eq!(
        decide(&silent, &outcome, history(1, 0)),
        Decision::Ask { wait: DAY }
    );
    let question = Question {
        asks: u16::MAX,
        ..settled()
    };
    check_lookup(Err(()), question, Decision::Ask { wait: DAY });
}
