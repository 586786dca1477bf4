//! One line a day that says how it went: for whoever reads nothing else.

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::exit::Failure;
use crate::app::services::Services;
use crate::duties::Duties;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::scheduler::Hours;
use crate::store::Store;
use crate::telemetry;

/// Writes the line at its hour, until `stop`.
pub(super) async fn keep(
    cron: &str,
    services: &Services<impl Gateway>,
    stop: CancellationToken,
    duties: &mut Duties,
) -> Result<(), Failure> {
    let hours = Hours::start(cron)
        .await
        .context("couldn't start the schedule of the day's line")?;
    let (store, engine) = (services.store.clone(), services.engine.clone());
    duties.start("day", async move {
        while hours.next(&stop).await {
            tell(&store, &engine).await;
        }
        hours.stop().await;
    });
    Ok(())
}

/// What this daemon did since the last such line, and how the book is now. A book that can't be read is not told of:
/// other lines say that.
async fn tell(store: &Store, engine: &Engine<impl Gateway>) {
    let counts = engine.take_counts();
    let backlog = store.backlog().await.ok();
    let findings = store.open_findings().await.ok();
    let findings = findings.map(|open| open.by_kind.values().sum::<u64>());
    info!(
        event = "day",
        paid = counts.paid,
        declined = counts.declined,
        not_sent = counts.not_sent,
        unknown = counts.unknown,
        unrecorded = counts.unrecorded,
        due = backlog.map(|backlog| backlog.due),
        due_age_s = backlog.map(|backlog| backlog.due_age_oldest.as_secs()),
        unknown_left = backlog.map(|backlog| backlog.unknown),
        parked = backlog.map(|backlog| backlog.parked),
        findings,
        log_lines_lost = telemetry::lost(),
        "the day: {} paid, {} declined, {} unknown",
        counts.paid,
        counts.declined,
        counts.unknown,
    );
}
