//! Keeps the figures that stand in the database up to date.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::audit::FindingKind;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::metrics::{FindingLabels, Metrics};
use crate::store::{Backlog, OpenFindings, Store};
use crate::telemetry;

/// Often enough for an alarm, rarely enough to cost nothing.
const EVERY: Duration = Duration::from_secs(5);

/// Takes the pulse of the book until `stop`.
pub(super) async fn keep(
    store: Store,
    engine: Engine<impl Gateway>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut told = Told::default();
    let mut lost_before = 0;
    let mut is_newer = false;
    while !stop.is_cancelled() {
        match store.backlog().await {
            Ok(backlog) => {
                show(&metrics, &backlog);
                look_for_locks(&store, &metrics, &backlog, &mut told).await;
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
        if let Ok(waits) = store.waits_for_standby().await {
            engine.note_standby(waits);
        }
        if !is_newer && store.is_newer().await.unwrap_or_default() {
            is_newer = true;
            warn!(
                event = "schema_newer",
                "the database was migrated by a newer billd; this one goes on while it can: run that version here too"
            );
        }
        let lost = telemetry::lost();
        metrics
            .log_lines_lost
            .inc_by(lost.saturating_sub(lost_before));
        lost_before = lost;
        tokio::select! {
            () = sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Looked for only while something has waited longer than any claim takes.
const WAITS_LONG: Duration = Duration::from_mins(1);

/// The same sessions are told again after this.
const TELL_AGAIN: Duration = Duration::from_mins(10);

/// Which sessions were told of, and when.
#[derive(Default)]
struct Told(Option<(Instant, Vec<Option<i32>>)>);

/// Names the sessions that were left open on rows that are due.
async fn look_for_locks(store: &Store, metrics: &Metrics, backlog: &Backlog, told: &mut Told) {
    let waits_long = backlog.due_age_oldest.max(backlog.unknown_age_oldest) > WAITS_LONG;
    let lockers = if waits_long {
        store.lockers().await.unwrap_or_default()
    } else {
        Vec::new()
    };
    let rows = lockers.iter().map(|locker| locker.rows).sum::<u64>();
    metrics
        .locked_rows
        .set(i64::try_from(rows).unwrap_or(i64::MAX));
    let pids: Vec<_> = lockers.iter().map(|locker| locker.pid).collect();
    let is_known =
        matches!(&told.0, Some((at, before)) if *before == pids && at.elapsed() < TELL_AGAIN);
    if !is_known {
        for locker in &lockers {
            warn!(event = "locked_rows",
                subscription.id = %locker.subscription,
                pid = locker.pid,
                "process {} ({}) has had {} row(s) that wait for billd locked for more than a minute, subscription {} \
                 among them: a session that was left open?",
                locker.pid.unwrap_or_default(),
                locker.who,
                locker.rows,
                locker.subscription,
            );
        }
        told.0 = (!pids.is_empty()).then(|| (Instant::now(), pids));
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
