//! What the operator sees of an audit: each finding once, and one line at the end.

use tracing::{error, info, warn};

use crate::store::{FindingRow, Run, Store, StoreError};

/// Lines of one telling. Books that differ everywhere are one fault, not thousands.
const LINES_MAX: u32 = 100;

/// Tells what has not been told yet.
pub(super) async fn tell(store: &Store) -> Result<(), StoreError> {
    let untold = store.untold_findings(LINES_MAX).await?;
    let Some(last) = untold.last() else {
        return Ok(());
    };
    for row in &untold {
        tell_one(row);
    }
    store.told_findings(last.id).await?;
    let lines = u32::try_from(untold.len()).unwrap_or(LINES_MAX);
    if lines < LINES_MAX {
        return Ok(());
    }
    let more = store.told_findings(i64::MAX).await?;
    if more > 0 {
        error!(
            more,
            "the books differ in {more} more places; see billd.finding"
        );
    }
    Ok(())
}

fn tell_one(row: &FindingRow) {
    let subscription = row
        .subscription
        .map(|id| id.to_string())
        .unwrap_or_default();
    let imp_uid = row.imp_uid.as_deref().unwrap_or_default();
    let note = row.note.as_deref().unwrap_or_default();
    let line = format!("books differ, {}: {}; {note}", row.kind, row.merchant_uid);
    if row.state == "open" {
        error!(
            kind = row.kind,
            merchant_uid = row.merchant_uid,
            imp_uid,
            subscription.id = subscription,
            amount_ours = row.amount_ours,
            amount_theirs = row.amount_theirs,
            finding.id = row.id,
            "{line}"
        );
    } else {
        warn!(
            kind = row.kind,
            merchant_uid = row.merchant_uid,
            imp_uid,
            subscription.id = subscription,
            amount_ours = row.amount_ours,
            amount_theirs = row.amount_theirs,
            finding.id = row.id,
            "{line}"
        );
    }
}

/// The end of a run.
pub(super) fn ended(run: &Run) {
    info!(
        audit.id = run.id,
        payments = run.payments,
        attempts = run.attempts,
        schedules = run.schedules,
        "audit {} has ended: {} payments and {} reservations of the gateway read, {} of ours asked about",
        run.id,
        run.payments,
        run.schedules,
        run.attempts,
    );
}
