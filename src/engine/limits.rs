//! How much at once, how long, how fast.

use std::time::Duration;

/// Bounds of everything the engine does.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most charges under way at once.
    pub charges_max: usize,
    /// Most questions under way at once.
    pub questions_max: usize,
    /// Most rows per claim and per recorded batch.
    pub batch: u32,
    /// How long a claim holds.
    pub lease: Duration,
    /// How much of the lease must be left for a call to start: the gateway's time-out and a margin.
    pub call: Duration,
    /// Charges per second over all daemons of this database; 0 for no cap.
    pub rate_per_second: u32,
    /// Least time between two charges of one subscription that catches up on missed periods.
    pub catch_up_pace: Duration,
    /// How long a stop waits for calls under way.
    pub drain: Duration,
}

impl Limits {
    /// How many charges may be claimed and not yet answered. A quarter more than may be called at once,
    /// so that calls go on while the next claim is being made; none waits longer for its call than a
    /// quarter of a call takes.
    pub(super) fn slots(&self) -> usize {
        let ahead = self.charges_max.checked_div(4).unwrap_or_default();
        self.charges_max.saturating_add(ahead)
    }
}
