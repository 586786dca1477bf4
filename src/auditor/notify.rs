//! What the operator sees of an audit: each finding once, and one line at the end.

use tracing::{error, info, warn};

use crate::domain::audit::FindingState;
use crate::store::{FindingRow, Run, Store, StoreError};

/// Lines of one notification. Books that differ everywhere are one fault, not thousands.
const LINES_MAX: u32 = 100;

/// Notifies of each finding that nobody was notified of yet.
pub(super) async fn notify(store: &Store) -> Result<(), StoreError> {
    let findings = store.findings_to_notify(LINES_MAX).await?;
    let Some(last) = findings.last() else {
        return Ok(());
    };
    for row in &findings {
        notify_of(row);
    }
    store.mark_notified(last.id).await?;
    let lines = u32::try_from(findings.len()).unwrap_or(LINES_MAX);
    if lines < LINES_MAX {
        return Ok(());
    }
    let more = store.mark_notified(i64::MAX).await?;
    if more > 0 {
        error!(
            event = "books_differ_more",
            more, "the books differ in {more} more places; see billd.finding"
        );
    }
    Ok(())
}

fn notify_of(row: &FindingRow) {
    let subscription = row
        .subscription
        .map(|id| id.to_string())
        .unwrap_or_default();
    let imp_uid = row.imp_uid.as_deref().unwrap_or_default();
    let note = row.note.as_deref().unwrap_or_default();
    let line = format!("books differ, {}: {}; {note}", row.kind, row.merchant_uid);
    // The level of an event is a constant, so a macro has to say it twice.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event = "books_differ",
                kind = row.kind,
                merchant_uid = row.merchant_uid,
                imp_uid,
                subscription.id = subscription,
                amount_ours = row.amount_ours,
                amount_theirs = row.amount_theirs,
                finding.id = row.id,
                "{line}"
            )
        };
    }
    match FindingState::parse(&row.state) {
        Some(FindingState::Open) | None => line!(error),
        Some(FindingState::Explained | FindingState::Corrected) => line!(warn),
    }
}

/// The end of a run.
pub(super) fn ended(run: &Run) {
    info!(
        event = "audit_ended",
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
