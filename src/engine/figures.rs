//! What is counted of the engine's work: for the metrics, and for the line that ends a sweep.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::claim::{Answer, Claim, Recorded};
use crate::domain::purpose::Purpose;
use crate::engine::report;
use crate::metrics::{Metrics, Tally};

/// The counters of one process.
pub(super) struct Figures {
    pub(super) metrics: Arc<Metrics>,
    pub(super) tally: Tally,
}

impl Figures {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            tally: Tally::default(),
        }
    }

    /// What was learnt of an attempt, and what became of writing it down: a claim that was lost, and money
    /// that moved under it.
    pub(super) fn answer(&self, answer: &Answer, recorded: Option<Recorded>) {
        if let Some(outcome) = &answer.outcome {
            let (word, class) = report::words(Some(outcome));
            self.metrics.count_outcome(word, class);
            self.tally.count(word);
        }
        if recorded.is_none() {
            self.tally.count_unrecorded();
        }
        if let Some(Recorded::Stale { paid_written }) = recorded {
            self.metrics.stale_fences.inc();
            if paid_written {
                self.metrics.late_payments.inc();
            }
        }
    }

    /// How long after its debt fell due the first request for it was begun.
    pub(super) fn lag(&self, claim: &Claim) {
        let history = claim.history;
        if claim.purpose == Purpose::Debt && history.attempt_no.get() == 1 && history.not_sent == 0
        {
            self.metrics.lag.observe(claim.late.as_secs_f64());
        }
    }

    /// A call to the gateway.
    pub(super) fn call(&self, name: &'static str, took: Duration) {
        self.metrics.time_call(name, took);
    }

    /// Counts a call under way, until the guard is dropped.
    pub(super) fn in_flight(&self) -> InFlight<'_> {
        self.metrics.in_flight.inc();
        InFlight(&self.metrics)
    }
}

/// A call under way.
pub(super) struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}
