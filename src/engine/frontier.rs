//! How far this daemon's claims have come, and when to begin again from the start.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Watermark;

/// What lies behind the frontier waits this long at most: rows that somebody had locked, or whose
/// date was moved into the past. Short for a person, long for a claim.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(10);

/// Claims go on where the last one ended; now and then one looks at everything.
#[derive(Debug, Default)]
pub(super) struct Frontier(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    reached: Option<Watermark>,
    looked_back_at: Option<Instant>,
}

impl Frontier {
    /// Where the next claim is to go on; `None` to look at everything.
    pub(super) fn next(&self) -> Option<Watermark> {
        let mut known = self.lock();
        let is_fresh = known
            .looked_back_at
            .is_some_and(|at| at.elapsed() < LOOK_BACK_EVERY);
        if known.reached.is_none() || !is_fresh {
            known.reached = None;
            known.looked_back_at = Some(Instant::now());
        }
        known.reached
    }

    /// Notes how far a claim has come.
    pub(super) fn advance(&self, reached: Option<Watermark>) {
        self.lock().reached = reached;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
