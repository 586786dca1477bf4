//! Keeps the figures that stand in the database up to date.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::audit::FindingKind;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::metrics::{FindingLabels, Metrics};
use crate::store::{Backlog, OpenFindings, Store};

/// Often enough for an alarm, rarely enough to cost nothing.
const EVERY: Duration = Duration::from_secs(5);

/// Takes the pulse of the book until `stop`.
pub(super) async fn keep(
    store: Store,
    engine: Engine<impl Gateway>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        match store.backlog().await {
            Ok(backlog) => {
                show(&metrics, &backlog);
                if let Ok(standstill) = store.standstill().await {
                    metrics.standstill.set(standstill.is_some().into());
                }
                if let Ok(open) = store.open_findings().await {
                    show_findings(&metrics, &open);
                }
            }
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

fn show(metrics: &Metrics, backlog: &Backlog) {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.database_up.set(1);
    metrics.due.set(count(backlog.due));
    metrics.due_age.set(backlog.due_age_oldest.as_secs_f64());
    metrics.unknown.set(count(backlog.unknown));
    metrics
        .unknown_age
        .set(backlog.unknown_age_oldest.as_secs_f64());
    metrics.parked.set(count(backlog.parked));
}

/// Every kind is shown, also while there is none: an alarm can't be set on what does not exist.
fn show_findings(metrics: &Metrics, open: &OpenFindings) {
    for kind in FindingKind::ALL.map(FindingKind::as_str) {
        let count = open.by_kind.get(kind).copied().unwrap_or_default();
        metrics
            .findings_open
            .get_or_create(&FindingLabels { kind })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let finished_at = open.finished_at.map(jiff::Timestamp::as_second);
    metrics
        .audit_finished_at
        .set(finished_at.unwrap_or_default());
}
