//! Where the planted bugs of the engine sit: see [`crate::sabotage`].
//!
//! Without the feature `failpoints` each function gives back what it is given.

use std::time::Duration;

use crate::domain::attempt::{ChargeOutcome, Decline, UnknownReason};
use crate::domain::calendar::Period;
use crate::domain::decline::DeclineClass;
use crate::domain::dunning::{History, Policy};
use crate::sabotage::{Bug, planted};

/// Far shorter than any call.
const SHORT_LEASE: Duration = Duration::from_millis(150);

/// What a charge brought.
pub(super) fn outcome(outcome: ChargeOutcome) -> ChargeOutcome {
    let ChargeOutcome::Unknown(doubt) = &outcome else {
        return outcome;
    };
    let is_taken_for_a_decline = match doubt.reason {
        UnknownReason::Timeout
        | UnknownReason::ConnectionLost
        | UnknownReason::HttpStatus
        | UnknownReason::Unreadable => planted(Bug::TimeoutIsDecline),
        UnknownReason::DuplicateMerchantUid => planted(Bug::DuplicateIsDecline),
        UnknownReason::Mismatch
        | UnknownReason::UnclearDecline
        | UnknownReason::NotFinal
        | UnknownReason::Abandoned => false,
    };
    if !is_taken_for_a_decline {
        return outcome;
    }
    ChargeOutcome::Declined(Decline {
        class: DeclineClass::SoftTemp,
        pg_provider: None,
        code: None,
        message: "planted".to_owned(),
        imp_uid: None,
    })
}

/// The merchant's rules.
pub(super) fn policy(policy: Policy) -> Policy {
    if planted(Bug::NotFoundBelieved) {
        return Policy {
            settle: Duration::ZERO,
            not_found_min: 1,
            ..policy
        };
    }
    policy
}

/// Whether an attempt whose daemon is lost is sent again without a question.
pub(super) fn rescue_is_sending() -> bool {
    planted(Bug::RescueBySending)
}

/// What was tried before.
pub(super) fn history(history: History) -> History {
    if planted(Bug::DeclineCountsTwice) {
        let declines = history.declines.saturating_mul(2).saturating_add(1);
        return History {
            declines,
            ..history
        };
    }
    history
}

/// The period after the one that is paid.
pub(super) fn next(next: Option<Period>) -> Option<Period> {
    if planted(Bug::PeriodSkipped) {
        return next.map(|period| Period {
            date: period.date.saturating_add(jiff::Span::new().months(1)),
            due_at: period
                .due_at
                .saturating_add(jiff::SignedDuration::from_hours(24 * 30))
                .unwrap_or(period.due_at),
        });
    }
    next
}

/// For how long the database is told that a claim holds. By everybody: the longest lease counts for all.
pub(super) fn lease(lease: Duration) -> Duration {
    if planted(Bug::ShortLease) {
        SHORT_LEASE
    } else {
        lease
    }
}

/// The rate cap under which places are booked; with none, none is waited for.
pub(super) fn shared_rate(rate_per_second: u32) -> u32 {
    if planted(Bug::RateNotShared) {
        0
    } else {
        rate_per_second
    }
}
