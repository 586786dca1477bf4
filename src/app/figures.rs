//! Keeps the figures that stand in the database up to date.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::gateway::portone::PortOne;
use crate::metrics::Metrics;
use crate::store::{Pulse, Store};

/// Often enough for an alarm, rarely enough to cost nothing.
const EVERY: Duration = Duration::from_secs(5);

/// Takes the pulse of the book until `stop`.
pub(super) async fn keep(
    store: Store,
    engine: Engine<PortOne>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        match store.pulse().await {
            Ok(pulse) => show(&metrics, &pulse),
            // The engine says in the log that the database is away; here it is a figure.
            Err(_away) => {
                metrics.database_up.set(0);
            }
        }
        metrics
            .token_refreshes
            .set(engine.gateway().token_refreshes());
        tokio::select! {
            () = sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn show(metrics: &Metrics, pulse: &Pulse) {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.database_up.set(1);
    metrics.due.set(count(pulse.due));
    metrics.due_age.set(pulse.due_age_oldest.as_secs_f64());
    metrics.unknown.set(count(pulse.unknown));
    metrics
        .unknown_age
        .set(pulse.unknown_age_oldest.as_secs_f64());
    metrics.parked.set(count(pulse.parked));
}
