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

/// The brake of one process.
#[derive(Debug, Default)]
pub(super) struct Brake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: u32,
    engaged: Option<Engaged>,
}

#[derive(Debug)]
struct Engaged {
    reason: &'static str,
    wait: Duration,
    probe_at: Instant,
    probing: bool,
}

/// What an outcome did to the brake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth a line in the log.
    None,
    /// Charging has just stopped, or goes on being stopped after a probe.
    Engaged {
        /// Why.
        reason: &'static str,
        /// Until the next probe.
        wait: Duration,
    },
    /// Charging goes on.
    Released,
}

impl Brake {
    /// How many attempts may be claimed now, of those wanted. While charging is stopped that is
    /// one per wait.
    pub(super) fn allows(&self, wanted: u32) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(engaged) = &mut state.engaged else {
            return wanted;
        };
        let now = Instant::now();
        if now < engaged.probe_at {
            return 0;
        }
        engaged.probe_at = now.checked_add(engaged.wait).unwrap_or(now);
        engaged.probing = true;
        wanted.min(1)
    }

    /// Why charging is stopped, if it is.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.engaged.as_ref().map(|engaged| engaged.reason)
    }

    /// Takes note of the outcome of a charge.
    pub(super) fn note(&self, outcome: &ChargeOutcome) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match verdict(outcome) {
            Verdict::Silent => return Change::None,
            Verdict::Works => {
                state.faults = 0;
                let was_engaged = state.engaged.take().is_some();
                return if was_engaged {
                    Change::Released
                } else {
                    Change::None
                };
            }
            Verdict::Fault(reason) => reason,
        };
        state.faults = state.faults.saturating_add(1);
        if state.engaged.is_none() && state.faults < FAULTS_MIN {
            return Change::None;
        }
        state.engage(reason)
    }

    /// Takes note whether a charge could be begun at all. A gateway that was not ready and now is
    /// needs no probe.
    pub(super) fn ready(&self, is_ready: bool) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_ready {
            // A reason that needs a probe to go away is not replaced by one that does not.
            let reason = state
                .engaged
                .as_ref()
                .map_or(NOT_READY, |engaged| engaged.reason);
            return state.engage(reason);
        }
        match &state.engaged {
            Some(engaged) if engaged.reason == NOT_READY => {
                state.engaged = None;
                Change::Released
            }
            Some(_) | None => Change::None,
        }
    }
}

impl State {
    fn engage(&mut self, reason: &'static str) -> Change {
        let wait = match &self.engaged {
            None => WAIT_FIRST,
            // The rest of what was under way when charging stopped says nothing new.
            Some(engaged) if !engaged.probing => return Change::None,
            Some(engaged) => engaged.wait.saturating_mul(2).min(WAIT_MAX),
        };
        let now = Instant::now();
        let probe_at = now.checked_add(wait).unwrap_or(now);
        self.engaged = Some(Engaged {
            reason,
            wait,
            probe_at,
            probing: false,
        });
        Change::Engaged { reason, wait }
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
            NotSent::LeaseTooShort | NotSent::NoPlace(_) | NotSent::Unbuildable(_) => {
                Verdict::Silent
            }
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
        let brake = Brake::default();
        assert_eq!(brake.note(&down()), Change::None);
        assert_eq!(brake.note(&down()), Change::None);
        assert_eq!(brake.allows(500), 500);
        assert!(matches!(brake.note(&down()), Change::Engaged { .. }));
        assert_eq!(brake.allows(500), 0);
        tokio::time::advance(WAIT_FIRST).await;
        assert_eq!(brake.allows(500), 1, "one attempt probes");
        assert_eq!(brake.note(&paid()), Change::Released);
        assert_eq!(brake.allows(500), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_is_refused_for_a_setting_of_its_own_stops_nobody_else() {
        let brake = Brake::default();
        for _ in 0..100 {
            assert_eq!(brake.note(&config()), Change::None);
            assert_eq!(brake.note(&paid()), Change::None);
        }
        assert_eq!(brake.allows(500), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn every_failed_probe_doubles_the_wait_up_to_a_bound() {
        let brake = Brake::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Change::Engaged { wait, .. } = brake.note(&down()) {
                tokio::time::advance(wait).await;
                assert_eq!(brake.allows(500), 1);
                waits.push(wait);
            }
        }
        assert_eq!(waits.first(), Some(&WAIT_FIRST));
        assert_eq!(waits.last(), Some(&WAIT_MAX));
        assert!(waits.is_sorted());
    }
}
