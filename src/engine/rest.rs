//! Says once that nothing is begun, because the database server has changed. Whether it is so is decided
//! in the database, by each claim itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::engine::Inner;
use crate::store::{Rest, StoreError};

/// What this daemon has said of the rest.
#[derive(Default)]
pub(super) struct Rests {
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    server: String,
    until: Instant,
}

impl Rests {
    /// How long nothing is begun yet.
    pub(super) fn left(&self) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let until = seen.as_ref()?.until;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Returns whether this change of the server had not been met before.
    fn note(&self, rest: &Rest) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.as_ref().is_none_or(|seen| seen.server != rest.now);
        let now = Instant::now();
        *seen = Some(Seen {
            server: rest.now.clone(),
            until: now.checked_add(rest.left).unwrap_or(now),
        });
        is_new
    }
}

impl<G> Inner<G> {
    /// A claim has found nothing: is that because it must not?
    pub(super) async fn look_for_rest(&self) -> Result<(), StoreError> {
        if let Some(rest) = self.store.rest().await?
            && self.rests.note(&rest)
        {
            warn!(
                before = rest.before,
                now = rest.now,
                "the database server changed (cluster and timeline {} → {}): nothing is begun, taken over or sent \
                 again for {} s, until what was under way has ended",
                rest.before,
                rest.now,
                rest.left.as_secs(),
            );
        }
        Ok(())
    }
}
