//! How far this daemon's claims have come, and when to begin again from the start.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Position;

/// What lies behind the cursor waits this long at most: rows that somebody had locked, or whose
/// date was moved into the past. Short for a person, long for a claim.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(10);

/// Claims go on where the last one ended; now and then one looks at everything.
#[derive(Debug, Default)]
pub struct Cursor(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    reached: Option<Position>,
    looked_back_at: Option<Instant>,
}

impl Cursor {
    /// Where the next claim is to go on; `None` to look at everything.
    ///
    /// A look at everything that fails, because too much lies behind, is not repeated while there is
    /// something ahead: claims go on with that meanwhile.
    pub fn next(&self) -> Option<Position> {
        let mut known = self.lock();
        let is_fresh = known
            .looked_back_at
            .is_some_and(|at| at.elapsed() < LOOK_BACK_EVERY);
        if is_fresh {
            return known.reached;
        }
        known.looked_back_at = Some(Instant::now());
        None
    }

    /// Notes how far a claim that went on after `after` has come. One that found nothing ahead makes
    /// the next one look at everything.
    pub fn advance(&self, after: Option<Position>, reached: Option<Position>) {
        let mut known = self.lock();
        if reached.is_some() {
            known.reached = reached;
        } else if after.is_some() {
            known.looked_back_at = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
