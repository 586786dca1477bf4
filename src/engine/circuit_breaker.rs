//! Stops charging where the gateway fails or refuses everything for a reason of our own making.
//!
//! A gateway that is down, a revoked key, a suspended contract: going on would burn attempts and
//! punish customers for it. Three such outcomes in a row, with no other between them, stop the
//! claims; after a wait that doubles each time, one attempt at a time probes. A single row that is
//! refused for a setting of its own stops nobody else.
//!
//! What shows before a request is read is the gateway's, and stops all. What an answer says, or that there is
//! none, is its channel's: a bad channel holds up none of the others. And what is due first may be the very
//! rows that fail, so a probe is the newest.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
/// Channels that are told apart. A merchant has a few; what is more counts as the gateway's.
const CHANNELS_MAX: usize = 1_000;

/// The circuit breaker of one process.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    gateway: Circuit,
    /// Those with a fault, by key. A row that names no channel has the empty one.
    channels: HashMap<String, Circuit>,
}

#[derive(Debug, Default)]
struct Circuit {
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

/// What may be claimed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Whatever is due, but through these channels.
    AllBut(Vec<String>),
    /// The newest that is due, through this channel if one is named.
    Probe(Option<String>),
    /// Nothing.
    Nothing,
}

/// What an outcome did to the breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth a line in the log.
    None,
    /// Charging has just stopped, or goes on being stopped after a probe.
    Opened {
        /// What is stopped, and why.
        reason: String,
        /// Until the next probe.
        wait: Duration,
    },
    /// What was stopped goes on.
    Closed,
}

impl CircuitBreaker {
    /// What may be claimed now. A probe is given out once per wait.
    pub(super) fn allows(&self) -> Allowed {
        let mut state = self.lock();
        let now = Instant::now();
        if state.gateway.open.is_some() {
            return if state.gateway.probes(now) {
                Allowed::Probe(None)
            } else {
                Allowed::Nothing
            };
        }
        for (channel, circuit) in &mut state.channels {
            if circuit.probes(now) {
                return Allowed::Probe(Some(channel.clone()));
            }
        }
        let stopped = state.channels.iter().filter(|(_, it)| it.open.is_some());
        Allowed::AllBut(stopped.map(|(channel, _)| channel.clone()).collect())
    }

    /// What is stopped and why, if anything is.
    pub(super) fn reason(&self) -> Option<String> {
        let state = self.lock();
        let of = |circuit: &Circuit, name: &str| {
            let open = circuit.open.as_ref()?;
            Some(stopped(name, open.reason))
        };
        of(&state.gateway, "").or_else(|| state.channels.iter().find_map(|(name, it)| of(it, name)))
    }

    /// Takes note of the outcome of a charge through a channel.
    pub(super) fn note(&self, outcome: &ChargeOutcome, channel: Option<&str>) -> Change {
        let mut state = self.lock();
        let channel = channel.unwrap_or_default();
        match verdict(outcome) {
            Verdict::Silent => Change::None,
            Verdict::Works => {
                let gateway = std::mem::take(&mut state.gateway);
                let of_channel = state.channels.remove(channel);
                let was_open = gateway.open.or(of_channel.and_then(|it| it.open)).is_some();
                if was_open {
                    Change::Closed
                } else {
                    Change::None
                }
            }
            Verdict::Gateways(reason) => state.gateway.fault(reason, ""),
            Verdict::Channels(reason) => {
                let is_known = state.channels.contains_key(channel);
                if !is_known && state.channels.len() >= CHANNELS_MAX {
                    return state.gateway.fault(reason, "");
                }
                let circuit = state.channels.entry(channel.to_owned()).or_default();
                circuit.fault(reason, channel)
            }
        }
    }

    /// Takes note whether a charge could be begun at all. A gateway that was not ready and now is
    /// needs no probe.
    pub(super) fn ready(&self, is_ready: bool) -> Change {
        let gateway = &mut self.lock().gateway;
        if !is_ready {
            // A reason that needs a probe to go away is not replaced by one that does not.
            let reason = gateway.open.as_ref().map_or(NOT_READY, |open| open.reason);
            return gateway.open(reason, "");
        }
        match &gateway.open {
            Some(open) if open.reason == NOT_READY => {
                gateway.open = None;
                Change::Closed
            }
            Some(_) | None => Change::None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circuit {
    /// Whether a probe may be sent now; if so, the next one only after another wait.
    fn probes(&mut self, now: Instant) -> bool {
        let Some(open) = self.open.as_mut().filter(|open| open.probe_at <= now) else {
            return false;
        };
        open.probe_at = now.checked_add(open.wait).unwrap_or(now);
        open.probing = true;
        true
    }

    fn fault(&mut self, reason: &'static str, channel: &str) -> Change {
        self.faults = self.faults.saturating_add(1);
        if self.open.is_none() && self.faults < FAULTS_MIN {
            return Change::None;
        }
        self.open(reason, channel)
    }

    fn open(&mut self, reason: &'static str, channel: &str) -> Change {
        let wait = match &self.open {
            None => WAIT_FIRST,
            // The rest of what was under way when charging stopped says nothing new.
            Some(open) if !open.probing => return Change::None,
            Some(open) => open.wait.saturating_mul(2).min(WAIT_MAX),
        };
        let now = Instant::now();
        self.open = Some(Opened {
            reason,
            wait,
            probe_at: now.checked_add(wait).unwrap_or(now),
            probing: false,
        });
        Change::Opened {
            reason: stopped(channel, reason),
            wait,
        }
    }
}

fn stopped(channel: &str, reason: &str) -> String {
    if channel.is_empty() {
        reason.to_owned()
    } else {
        format!("through channel {channel}, {reason}")
    }
}

/// What an outcome says of the gateway and of us, rather than of one customer.
enum Verdict {
    Works,
    Gateways(&'static str),
    Channels(&'static str),
    Silent,
}

fn verdict(outcome: &ChargeOutcome) -> Verdict {
    match outcome {
        ChargeOutcome::Declined(decline) if decline.class == DeclineClass::Config => {
            Verdict::Channels("the gateway refuses charges for a reason of our own making")
        }
        ChargeOutcome::Paid(_) | ChargeOutcome::Declined(_) => Verdict::Works,
        ChargeOutcome::NotSent(why) => match why {
            NotSent::NoConnection(_) => Verdict::Gateways("no connection to the gateway"),
            NotSent::NoToken(_) => Verdict::Gateways(NOT_READY),
            NotSent::Unauthorized => Verdict::Gateways("the gateway refuses our access token"),
            NotSent::LeaseTooShort
            | NotSent::NoSlot(_)
            | NotSent::PaidBefore(_)
            | NotSent::NotLookedUp(_)
            | NotSent::Unbuildable(_) => Verdict::Silent,
        },
        ChargeOutcome::Unknown(doubt) => match doubt.reason {
            UnknownReason::Timeout => Verdict::Channels("the gateway does not answer in time"),
            UnknownReason::ConnectionLost => Verdict::Channels("the gateway drops connections"),
            UnknownReason::HttpStatus | UnknownReason::Unreadable => {
                Verdict::Channels("the gateway answers outside its contract")
            }
            UnknownReason::DuplicateMerchantUid
            | UnknownReason::Mismatch
            | UnknownReason::UnclearDecline
            | UnknownReason::NotFinal => Verdict::Works,
            // What is too much is less when requests leave more slowly.
            UnknownReason::TooManyRequests | UnknownReason::Abandoned => Verdict::Silent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Decline, Payment};

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
        ChargeOutcome::Paid(Payment::example("imp_1", 0))
    }

    fn all() -> Allowed {
        Allowed::AllBut(Vec::new())
    }

    #[tokio::test(start_paused = true)]
    async fn three_faults_in_a_row_stop_charging_and_a_success_lets_it_go_on() {
        let breaker = CircuitBreaker::default();
        assert_eq!(breaker.note(&down(), None), Change::None);
        assert_eq!(breaker.note(&down(), None), Change::None);
        assert_eq!(breaker.allows(), all());
        let change = breaker.note(&down(), None);
        assert!(matches!(change, Change::Opened { .. }));
        assert_eq!(breaker.allows(), Allowed::Nothing);
        tokio::time::advance(WAIT_FIRST).await;
        assert_eq!(breaker.allows(), Allowed::Probe(None));
        assert_eq!(breaker.allows(), Allowed::Nothing);
        assert_eq!(breaker.note(&paid(), Some("other")), Change::Closed);
        assert_eq!(breaker.allows(), all());
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_is_refused_for_a_setting_of_its_own_stops_nobody_else() {
        let breaker = CircuitBreaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.note(&config(), None), Change::None);
            assert_eq!(breaker.note(&paid(), None), Change::None);
        }
        assert_eq!(breaker.allows(), all());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_channel_stops_no_other_and_is_probed_by_itself() {
        let breaker = CircuitBreaker::default();
        for _ in 0..3 {
            breaker.note(&config(), Some("bad"));
            assert_eq!(breaker.note(&paid(), Some("good")), Change::None);
        }
        let reason = breaker.reason().unwrap();
        assert!(reason.starts_with("through channel bad, "), "{reason}");
        assert_eq!(breaker.allows(), Allowed::AllBut(vec!["bad".to_owned()]));
        tokio::time::advance(WAIT_FIRST).await;
        let probe = Allowed::Probe(Some("bad".to_owned()));
        assert_eq!(breaker.allows(), probe);
        assert_eq!(breaker.note(&paid(), Some("bad")), Change::Closed);
        assert_eq!((breaker.allows(), breaker.reason()), (all(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn every_failed_probe_doubles_the_wait_up_to_a_bound() {
        let breaker = CircuitBreaker::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Change::Opened { wait, .. } = breaker.note(&down(), None) {
                tokio::time::advance(wait).await;
                assert_eq!(breaker.allows(), Allowed::Probe(None));
                waits.push(wait);
            }
        }
        assert_eq!(waits.first(), Some(&WAIT_FIRST));
        assert_eq!(waits.last(), Some(&WAIT_MAX));
        assert!(waits.is_sorted());
    }
}
