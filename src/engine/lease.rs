//! The right to work an attempt, measured on this machine.

use std::time::Duration;

use tokio::time::Instant;

/// A lease, counted on the local monotonic clock from the moment its claim was sent.
///
/// The database counts from a later moment, so this one always ends first: a slow claim shortens
/// it and can't stretch it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    started: Instant,
    length: Duration,
}

impl Lease {
    /// Starts counting. Call it before the claim is sent.
    pub(super) fn start(length: Duration) -> Self {
        Self {
            started: Instant::now(),
            length,
        }
    }

    /// Whether something that takes this long would end within the lease.
    pub(super) fn outlives(&self, call: Duration) -> bool {
        self.left() > call
    }

    /// How long it lasts from now on.
    pub(super) fn left(&self) -> Duration {
        self.length.saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_starts_only_if_its_lease_outlives_it() {
        let lease = Lease::start(Duration::from_secs(90));
        let call = Duration::from_secs(65);
        assert!(lease.outlives(call));
        tokio::time::advance(Duration::from_secs(24)).await;
        assert!(lease.outlives(call));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!lease.outlives(call), "exactly as long is not longer");
    }
}
