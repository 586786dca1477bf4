//! Says once that nothing is begun, because the database server has changed. Whether it is so is decided
//! in the database, by each claim itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::engine::Inner;
use crate::store::{FailoverHold, StoreError};

/// What this daemon has said of the hold.
#[derive(Default)]
pub(super) struct HoldSeen {
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    server: String,
    until: Instant,
}

impl HoldSeen {
    /// How long nothing is begun yet.
    pub(super) fn left(&self) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let until = seen.as_ref()?.until;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Returns whether this change of the server had not been met before.
    fn note(&self, hold: &FailoverHold) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.as_ref().is_none_or(|seen| seen.server != hold.now);
        let now = Instant::now();
        *seen = Some(Seen {
            server: hold.now.clone(),
            until: now.checked_add(hold.left).unwrap_or(now),
        });
        is_new
    }
}

impl<G> Inner<G> {
    /// A claim has found nothing: is that because it must not?
    pub(super) async fn look_for_hold(&self) -> Result<(), StoreError> {
        if let Some(hold) = self.store.failover_hold().await?
            && self.hold.note(&hold)
        {
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
        Ok(())
    }
}
