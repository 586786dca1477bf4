//! The sandbox's own time: the wall clock at the start, plus what has passed, plus what an operator
//! added. It never goes back, except by a reset.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds in a second.
pub(super) const SECOND_US: i64 = 1_000_000;

/// A clock that can be moved forward.
#[derive(Debug)]
pub(super) struct Clock {
    started_at_us: i64,
    started: Instant,
    moved_us: AtomicI64,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "a gateway has a clock of its own, apart from the daemon's"
    )]
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started_at_us: micros(since_epoch),
            started: Instant::now(),
            moved_us: AtomicI64::new(0),
        }
    }

    /// Unix microseconds.
    pub(super) fn now_us(&self) -> i64 {
        self.started_at_us
            .saturating_add(micros(self.started.elapsed()))
            .saturating_add(self.moved_us.load(Ordering::Acquire))
    }

    /// How far the clock was moved, in microseconds.
    pub(super) fn moved_us(&self) -> i64 {
        self.moved_us.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, by: Duration) {
        let (by_us, order) = (micros(by), Ordering::AcqRel);
        // The closure always answers, so there is nothing that could fail.
        self.moved_us
            .fetch_update(order, Ordering::Acquire, |us| {
                Some(us.saturating_add(by_us))
            })
            .ok();
    }

    /// Takes back every move.
    pub(super) fn reset(&self) {
        self.moved_us.store(0, Ordering::Release);
    }

    /// Real time since the start, which no move touches: for rates and request windows.
    pub(super) fn elapsed_us(&self) -> i64 {
        micros(self.started.elapsed())
    }
}

/// A duration in microseconds, at most `i64::MAX`.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Unix seconds, as every answer of PortOne has them.
pub(super) fn seconds(us: i64) -> i64 {
    us.div_euclid(SECOND_US)
}
