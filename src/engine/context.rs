//! What every duty of the engine works with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::domain::dunning::Policy;
use crate::engine::figures::Figures;
use crate::engine::limits::Limits;
use crate::engine::liveness::Liveness;
use crate::engine::rate_limiter::{RateLimiter, Slot};
use crate::engine::recorder::Recorder;
use crate::engine::report;
use crate::store::{Store, StoreError};

/// Shared by all duties.
pub(super) struct Context<G> {
    pub(super) store: Store,
    pub(super) gateway: G,
    pub(super) policy: Policy,
    pub(super) limits: Limits,
    pub(super) rate_limiter: RateLimiter,
    pub(super) recorder: Recorder,
    pub(super) figures: Figures,
    pub(super) liveness: Liveness,
    /// Charges and questions under way.
    pub(super) tasks: TaskTracker,
    /// Cancelled when nothing new may begin.
    pub(super) stopping: CancellationToken,
    /// Cancelled when what is under way has had its time.
    pub(super) cut_off: CancellationToken,
    /// Whether there were connections for outcomes when that was last looked at.
    pub(super) can_record: AtomicBool,
    /// Cancelled when a newer program has taken the schema away from this one.
    pub(super) outdated: CancellationToken,
}

impl<G> Context<G> {
    /// Starts a charge or a question. What is cut off stays as it is written down, and is asked about.
    pub(super) fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cut_off = self.cut_off.clone();
        self.tasks.spawn(async move {
            cut_off.run_until_cancelled(work).await;
        });
    }

    /// Opens the connections for outcomes again, if the database was away or outcomes wait for it. Nothing may be
    /// claimed without them.
    pub(super) async fn require_recording(&self) -> Result<(), StoreError> {
        let can_record = self.can_record.load(Ordering::Relaxed);
        if !can_record || self.recorder.health().failing_for().is_some() {
            self.store.hold_recording().await?;
            self.can_record.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Is what the statement speaks of gone because the database was migrated by a newer program? Then this one has
    /// nothing more to do here.
    pub(super) async fn look_for_newer_schema(&self, error: &StoreError) {
        if error.is_of_another_schema() && self.store.is_newer().await.unwrap_or_default() {
            report::outdated();
            self.outdated.cancel();
            self.stopping.cancelled().await;
        }
    }

    /// A slot for one request whose lease is yet to begin, in the first half of what a call leaves free of
    /// it. `None` if there is none.
    pub(super) async fn slot_for_one(&self) -> Result<Option<Slot>, StoreError> {
        let room = self.limits.lease.saturating_sub(self.limits.call);
        let within = room.checked_div(2).unwrap_or_default();
        self.rate_limiter.reserve_one(within).await
    }

    /// Looks for rows that no legal path makes, so that they are derived again. A look that fails holds up nothing.
    pub(super) async fn set_in_order(&self, debts_too: bool) {
        match self
            .store
            .find_out_of_order(self.limits.catch_up_pace, debts_too)
            .await
        {
            Ok(found) => report::out_of_order(found),
            Err(error) => report::asking_failed(&error),
        }
    }

    /// Tells of what lies ahead and was not told of, page by page. What fails is told next time.
    pub(super) async fn give_notices(&self) {
        let mut after = None;
        while !self.stopping.is_cancelled() {
            match self.store.give_notices(after).await {
                Ok((told, next)) => {
                    debug!(told, "looked for what lies ahead");
                    if next.is_none() {
                        return;
                    }
                    after = next;
                }
                Err(error) => return report::notices_failed(&error),
            }
        }
    }

    /// Says what is known of reservations at the gateway.
    pub(super) async fn warn_of_reservations(&self) {
        if let Ok(open) = self.store.open_findings().await {
            let count = open.by_kind.get("foreign_schedule").copied();
            report::reservations(count.unwrap_or_default());
        }
    }

    /// Derives again what follows for the rows that ask for it.
    pub(super) async fn recheck_all(&self) -> Result<(), StoreError> {
        loop {
            let pace = self.limits.catch_up_pace;
            let rechecked = self.store.recheck(RECHECK_ROWS, pace).await?;
            for one in &rechecked {
                report::rechecked(one);
            }
            if !rechecked.iter().any(|one| one.moved) {
                return Ok(());
            }
        }
    }

    /// Waits until nothing is under way, or until a stop has been waiting for it long enough.
    pub(super) async fn settle_down(&self) {
        self.tasks.close();
        let overdue = async {
            self.stopping.cancelled().await;
            sleep(self.limits.drain).await;
        };
        tokio::select! {
            () = self.tasks.wait() => {}
            () = overdue => {}
        }
        self.tasks.reopen();
    }

    /// Ends when nothing could be written down for this long.
    pub(super) async fn recording_fails_for(&self, limit: Duration) {
        let fails = || self.recorder.health().failing_for();
        while fails().is_none_or(|lasts| lasts < limit) {
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Rows per look at what has to be derived again.
const RECHECK_ROWS: u32 = 200;
