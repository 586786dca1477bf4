//! Stops charging while the gateway fails or refuses everything for a reason of our own making.
//!
//! A gateway that is down, a revoked key, a suspended contract: going on would burn attempts and
//! punish customers for it. Three such outcomes in a row, with no other between them, stop the
//! claims; after a wait that doubles each time, one attempt at a time probes. A single row that is
//! refused for a setting of its own stops nobody else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::attempt::{ChargeOutcome, NotSent, UnknownReason};
use crate::domain::decline::DeclineClass;

/// So many in a row are no accident of one row.
const FAULTS_MIN: u32 = 3;
/// The one reason that goes away by itself.
const NOT_READY: &str = "the gateway gives no access token";
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(5);

/// The circuit breaker of one process.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: u32,
    open: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    reason: &'static str,
    wait: Duration,
    probe_at: Instant,
    probing: bool,
}

/// What an outcome did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth a line in the log.
    None,
    /// Charging has just stopped, or goes on being stopped after a probe.
    Opened {
        /// Why.
        reason: &'static str,
        /// Until the next probe.
        wait: Duration,
    },
    /// Charging goes on.
    Closed,
}

impl CircuitBreaker {
    /// How many attempts may be claimed now, of those wanted. While charging is stopped that is
    /// one per wait.
    pub(super) fn allows(&self, wanted: u32) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &mut state.open else {
            return wanted;
        };
        let now = Instant::now();
        if now < open.probe_at {
            return 0;
        }
        open.probe_at = now.checked_add(open.wait).unwrap_or(now);
        open.probing = true;
        wanted.min(1)
    }

    /// Why charging is stopped, if it is.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.as_ref().map(|open| open.reason)
    }

    /// Takes note of the outcome of a charge.
    pub(super) fn note(&self, outcome: &ChargeOutcome) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match verdict(outcome) {
            Verdict::Silent => return Change::None,
            Verdict::Works => {
                state.faults = 0;
                let was_open = state.open.take().is_some();
                return if was_open {
                    Change::Closed
                } else {
                    Change::None
                };
            }
            Verdict::Fault(reason) => reason,
        };
        state.faults = state.faults.saturating_add(1);
        if state.open.is_none() && state.faults < FAULTS_MIN {
            return Change::None;
        }
        state.open(reason)
    }

    /// Takes note whether a charge could be begun at all. A gateway that was not ready and now is
    /// needs no probe.
    pub(super) fn ready(&self, is_ready: bool) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_ready {
            // A reason that needs a probe to go away is not replaced by one that does not.
            let reason = state.open.as_ref().map_or(NOT_READY, |open| open.reason);
            return state.open(reason);
        }
        match &state.open {
            Some(open) if open.reason == NOT_READY => {
                state.open = None;
                Change::Closed
            }
            Some(_) | None => Change::None,
        }
    }
}

impl State {
    fn open(&mut self, reason: &'static str) -> Change {
        let wait = match &self.open {
            None => WAIT_FIRST,
            // The rest of what was under way when charging stopped says nothing new.
            Some(open) if !open.probing => return Change::None,
            Some(open) => open.wait.saturating_mul(2).min(WAIT_MAX),
        };
        let now = Instant::now();
        let probe_at = now.checked_add(wait).unwrap_or(now);
        self.open = Some(Opened {
            reason,
            wait,
            probe_at,
            probing: false,
        });
        Change::Opened { reason, wait }
    }
}

/// What an outcome says of the gateway and of us, rather than of one customer.
enum Verdict {
    Works,
    Fault(&'static str),
    Silent,
}

fn verdict(outcome: &ChargeOutcome) -> Verdict {
    match outcome {
        ChargeOutcome::Declined(decline) if decline.class == DeclineClass::Config => {
            Verdict::Fault("the gateway refuses charges for a reason of our own making")
        }
        ChargeOutcome::Paid(_) | ChargeOutcome::Declined(_) => Verdict::Works,
        ChargeOutcome::NotSent(why) => match why {
            NotSent::NoConnection(_) => Verdict::Fault("no connection to the gateway"),
            NotSent::NoToken(_) => Verdict::Fault(NOT_READY),
            NotSent::Unauthorized => Verdict::Fault("the gateway refuses our access token"),
            NotSent::LeaseTooShort
            | NotSent::NoSlot(_)
            | NotSent::PaidBefore(_)
            | NotSent::NotLookedUp(_)
            | NotSent::Unbuildable(_) => Verdict::Silent,
        },
        ChargeOutcome::Unknown(doubt) => match doubt.reason {
            UnknownReason::Timeout => Verdict::Fault("the gateway does not answer in time"),
            UnknownReason::ConnectionLost => Verdict::Fault("the gateway drops connections"),
            UnknownReason::HttpStatus | UnknownReason::Unreadable => {
                Verdict::Fault("the gateway answers outside its contract")
            }
            UnknownReason::DuplicateMerchantUid
            | UnknownReason::Mismatch
            | UnknownReason::UnclearDecline
            | UnknownReason::NotFinal => Verdict::Works,
            UnknownReason::Abandoned => Verdict::Silent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Decline, Payment};
    use crate::domain::ids::ImpUid;

    fn down() -> ChargeOutcome {
        ChargeOutcome::NotSent(NotSent::NoConnection("refused".to_owned()))
    }

    fn config() -> ChargeOutcome {
        ChargeOutcome::Declined(Decline {
            class: DeclineClass::Config,
            pg_provider: None,
            code: None,
            message: "미등록 가맹점".to_owned(),
            imp_uid: None,
        })
    }

    fn paid() -> ChargeOutcome {
        ChargeOutcome::Paid(Payment {
            imp_uid: ImpUid::parse("imp_1").unwrap(),
            pg_provider: None,
            pg_tid: None,
            receipt_url: None,
            cancelled_amount: 0,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn three_faults_in_a_row_stop_charging_and_a_success_lets_it_go_on() {
        let breaker = CircuitBreaker::default();
        assert_eq!(breaker.note(&down()), Change::None);
        assert_eq!(breaker.note(&down()), Change::None);
        assert_eq!(breaker.allows(500), 500);
        assert!(matches!(breaker.note(&down()), Change::Opened { .. }));
        assert_eq!(breaker.allows(500), 0);
        tokio::time::advance(WAIT_FIRST).await;
        assert_eq!(breaker.allows(500), 1, "one attempt probes");
        assert_eq!(breaker.note(&paid()), Change::Closed);
        assert_eq!(breaker.allows(500), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_is_refused_for_a_setting_of_its_own_stops_nobody_else() {
        let breaker = CircuitBreaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.note(&config()), Change::None);
            assert_eq!(breaker.note(&paid()), Change::None);
        }
        assert_eq!(breaker.allows(500), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn every_failed_probe_doubles_the_wait_up_to_a_bound() {
        let breaker = CircuitBreaker::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Change::Opened { wait, .. } = breaker.note(&down()) {
                tokio::time::advance(wait).await;
                assert_eq!(breaker.allows(500), 1);
                waits.push(wait);
            }
        }
        assert_eq!(waits.first(), Some(&WAIT_FIRST));
        assert_eq!(waits.last(), Some(&WAIT_MAX));
        assert!(waits.is_sorted());
    }
}
