//! Whether this daemon can do its work, and what it has said of that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::store::{FailoverHold, StoreError};

/// What was seen last of the database.
#[derive(Debug)]
pub(super) struct Liveness {
    database_answers: AtomicBool,
    last_look: Mutex<Instant>,
    hold: Mutex<Option<Hold>>,
}

/// A fail-over hold that was said.
#[derive(Debug)]
struct Hold {
    server: String,
    until: Instant,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            database_answers: AtomicBool::new(true),
            last_look: Mutex::new(Instant::now()),
            hold: Mutex::default(),
        }
    }
}

impl Liveness {
    /// A claim was answered.
    pub(super) fn database_answered(&self) {
        *lock(&self.last_look) = Instant::now();
        if !self.database_answers.swap(true, Ordering::Relaxed) {
            info!("the database answers again");
        }
    }

    /// A claim failed; says so, but while the database is away only once.
    pub(super) fn claim_failed(&self, error: &StoreError) {
        let text = chain(error);
        if error.is_about_rows() && error.is_passing() {
            // The database is there; a lock or a slow statement stands in the way.
            warn!(error = text, "claiming is held up; trying again");
        } else if !error.is_passing() {
            error!(error = text, "claiming failed; trying again");
        } else if self.database_answers.swap(false, Ordering::Relaxed) {
            warn!(error = text, "the database is away; charging waits for it");
        }
    }

    /// The server has changed, so nothing is begun. Whether it is so is decided in the database, by each
    /// claim itself; this says it once for each change.
    pub(super) fn on_hold(&self, hold: &FailoverHold) {
        let now = Instant::now();
        let seen = lock(&self.hold).replace(Hold {
            server: hold.now.clone(),
            until: now.checked_add(hold.left).unwrap_or(now),
        });
        if seen.is_some_and(|seen| seen.server == hold.now) {
            return;
        }
        warn!(
            before = hold.before,
            now = hold.now,
            "the database server changed (cluster and timeline {} → {}): nothing is begun, taken over or sent \
             again for {} s, until what was under way has ended",
            hold.before,
            hold.now,
            hold.left.as_secs(),
        );
    }

    /// What stands in the way of a daemon with this lease.
    pub(super) fn reasons(&self, lease: Duration) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.database_answers.load(Ordering::Relaxed) {
            reasons.push("the database does not answer".to_owned());
        }
        let idle = lock(&self.last_look).elapsed();
        if idle > lease {
            reasons.push(format!("no look at what is due for {} s", idle.as_secs()));
        }
        let until = lock(&self.hold).as_ref().map(|hold| hold.until);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            let left = left.as_secs();
            reasons.push(format!(
                "the database server changed: nothing is begun for {left} s"
            ));
        }
        reasons
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
