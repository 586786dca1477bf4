//! Whether this daemon can do its work, and what it has said of that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::domain::standstill::{Reason, Standstill};
use crate::store::StoreError;

/// What was seen last of the database.
#[derive(Debug)]
pub(super) struct Liveness {
    database_answers: AtomicBool,
    last_look: Mutex<Instant>,
    standstill: Mutex<Option<Standstill>>,
    waits_for_standby: AtomicBool,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            database_answers: AtomicBool::new(true),
            last_look: Mutex::new(Instant::now()),
            standstill: Mutex::default(),
            waits_for_standby: AtomicBool::new(false),
        }
    }
}

impl Liveness {
    /// Whether commits wait for a synchronous stand-by; says each change once.
    pub(super) fn waits_for_standby(&self, waits: bool) {
        let before = self.waits_for_standby.swap(waits, Ordering::Relaxed);
        if waits && !before {
            warn!(
                event = "standby_stalls",
                "{STANDBY_STALLS}: charging is as slow as that"
            );
        } else if before && !waits {
            info!(
                event = "standby_back",
                "commits don't wait for a stand-by any more"
            );
        }
    }

    /// A claim was answered.
    pub(super) fn database_answered(&self) {
        *lock(&self.last_look) = Instant::now();
        if !self.database_answers.swap(true, Ordering::Relaxed) {
            info!(event = "database_back", "the database answers again");
        }
    }

    /// A claim failed; says so, but while the database is away only once.
    pub(super) fn claim_failed(&self, error: &StoreError) {
        let text = chain(error);
        if error.is_about_rows() && error.is_passing() {
            // The database is there; a lock or a slow statement stands in the way.
            warn!(
                event = "claiming_held_up",
                error = text,
                "claiming is held up; trying again"
            );
        } else if !error.is_passing() {
            error!(
                event = "claiming_failed",
                error = text,
                "claiming failed; trying again"
            );
        } else if self.database_answers.swap(false, Ordering::Relaxed) {
            warn!(
                event = "database_away",
                error = text,
                "the database is away; charging waits for it"
            );
        }
    }

    /// Whether the book charges at present. That is decided in the database, by each claim itself; this says
    /// each change of it once.
    pub(super) fn charges(&self, standstill: Option<Standstill>) {
        let mut seen = lock(&self.standstill);
        if *seen == standstill {
            return;
        }
        let said = seen.as_ref().map(|seen| &seen.says);
        match &standstill {
            None => info!(event = "charging_goes_on", "charging goes on"),
            Some(still) if said == Some(&still.says) => {}
            Some(still) => match still.reason {
                Reason::Stopped | Reason::FailoverHold => warn!(event = "standstill", "{still}"),
                Reason::Elsewhere | Reason::Clock | Reason::OtherAccount => {
                    error!(event = "standstill", "{still}");
                }
            },
        }
        *seen = standstill;
    }

    /// Why the book does not charge, as it was last seen.
    pub(super) fn standstill(&self) -> Option<String> {
        lock(&self.standstill).as_ref().map(ToString::to_string)
    }

    /// What stands in the way of a daemon with this lease.
    pub(super) fn reasons(&self, lease: Duration) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.database_answers.load(Ordering::Relaxed) {
            reasons.push("the database does not answer".to_owned());
        }
        if self.waits_for_standby.load(Ordering::Relaxed) {
            reasons.push(STANDBY_STALLS.to_owned());
        }
        let idle = lock(&self.last_look).elapsed();
        if idle > lease {
            reasons.push(format!("no look at what is due for {} s", idle.as_secs()));
        }
        reasons
    }
}

const STANDBY_STALLS: &str = "commits wait for a synchronous stand-by that does not answer";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
