//! The first step of a charge: which rows are claimed next, and what a claim that found nothing means.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::claim::{BadRow, Claim};
use crate::engine::circuit_breaker::Allowed;
use crate::engine::context::Context;
use crate::engine::cursor::Cursor;
use crate::engine::report;
use crate::gateway::Gateway;
use crate::store::{ClaimLimits, Claimed, Position, StoreError};

/// How often what is due is held against what was charged the day before, and ceilings are looked for.
const JUDGE_EVERY: Duration = Duration::from_mins(1);

/// What one claim came to.
pub(super) enum Batch {
    /// These are begun, and to be sent.
    Claimed(Vec<Result<Claim, BadRow>>),
    /// Nothing is due ahead of where the last claim ended; only a look at everything can say that nothing is due.
    NothingAhead,
    /// Nothing is due, or nothing may be charged.
    NothingDue,
    /// Nothing was claimed, because all of them would have passed a ceiling; what is left below it is found by
    /// asking for so many.
    NearCeiling(u32),
    /// Nothing was claimed, and charging is switched off.
    AtCeiling,
}

/// Claims what is due, one batch after another.
pub(super) struct Claiming<G> {
    context: Arc<Context<G>>,
    cursor: Cursor,
    judged_at: Mutex<Option<Instant>>,
    /// Whether there are ceilings that a claim is counted against.
    is_counted: AtomicBool,
}

impl<G: Gateway> Claiming<G> {
    pub(super) fn new(context: Arc<Context<G>>) -> Self {
        Self {
            context,
            cursor: Cursor::default(),
            judged_at: Mutex::default(),
            is_counted: AtomicBool::default(),
        }
    }

    /// One claim; goes on where the last one ended, or looks at everything.
    pub(super) async fn next(&self, allowed: Allowed, rows_max: u32) -> Result<Batch, StoreError> {
        let (claimed, is_all) = match self.claim(allowed, rows_max).await {
            Err(StoreError::Ceiling(_)) if rows_max > 1 => {
                let half = rows_max.div_ceil(2).min(rows_max.saturating_sub(1));
                return Ok(Batch::NearCeiling(half));
            }
            Err(StoreError::Ceiling(said)) => {
                self.stop_at_ceiling(&said).await?;
                return Ok(Batch::AtCeiling);
            }
            claimed => claimed?,
        };
        let context = &self.context;
        context.liveness.database_answered();
        if claimed.is_empty() {
            if !is_all {
                return Ok(Batch::NothingAhead);
            }
            self.look_for_standstill().await?;
            return Ok(Batch::NothingDue);
        }
        let rows = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
        context.liveness.charges(None);
        context.figures.metrics.claim_rows.observe(rows.into());
        Ok(Batch::Claimed(claimed))
    }

    /// What was claimed, and whether it looked at everything.
    async fn claim(
        &self,
        allowed: Allowed,
        rows_max: u32,
    ) -> Result<(Vec<Result<Claim, BadRow>>, bool), StoreError> {
        let limits = ClaimLimits {
            rows_max,
            lease: self.context.limits.lease,
        };
        self.context.require_recording().await?;
        match allowed {
            Allowed::Nothing => Ok((Vec::new(), true)),
            Allowed::Probe(channel) => {
                let newest = self.context.store.newest_due(channel.as_deref()).await?;
                let Some(probe) = newest else {
                    return Ok((Vec::new(), false));
                };
                // Where claims have come to is another matter.
                let claimed = self.claim_from(Some(probe), limits, &[]).await?;
                Ok((claimed.claims, false))
            }
            Allowed::AllBut(stopped) => {
                let after = self.cursor.next();
                let claimed = self.claim_from(after, limits, &stopped).await?;
                self.cursor.advance(after, claimed.reached);
                Ok((claimed.claims, after.is_none()))
            }
        }
    }

    async fn claim_from(
        &self,
        after: Option<Position>,
        limits: ClaimLimits,
        passed_by: &[String],
    ) -> Result<Claimed, StoreError> {
        let store = &self.context.store;
        if self.is_counted.load(Ordering::Relaxed) {
            store.claim_due_counted(after, limits, passed_by).await
        } else {
            store.claim_due_after(after, limits, passed_by).await
        }
    }

    /// Asks for a yes before far more is charged than on the day before, and whether there are ceilings: first of all,
    /// and then once a minute.
    pub(super) async fn judge_sweep(&self) -> Result<(), StoreError> {
        let judged_at = *self
            .judged_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if judged_at.is_some_and(|at| at.elapsed() < JUDGE_EVERY) {
            return Ok(());
        }
        let (said, is_counted) = self.context.store.judge_sweep().await?;
        self.is_counted.store(is_counted, Ordering::Relaxed);
        if let Some(said) = said {
            self.stop_at_ceiling(&said).await?;
        }
        let now = Some(Instant::now());
        *self
            .judged_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    /// Switches charging off, because a ceiling is reached or a person must say yes.
    async fn stop_at_ceiling(&self, said: &str) -> Result<(), StoreError> {
        if self.context.store.stop_at_ceiling(said).await? {
            report::ceiling(said);
        }
        self.look_for_standstill().await
    }

    /// A claim has found nothing: is that because it must not?
    async fn look_for_standstill(&self) -> Result<(), StoreError> {
        let standstill = self.context.store.standstill().await?;
        self.context.liveness.charges(standstill);
        Ok(())
    }
}
