//! Rings the doorbell at the times of a cron expression.
//!
//! The cron library starts every run as a task of its own, lets runs overlap, and waits for none of
//! them at shutdown. None of that matters here: a run does nothing but ring, and what is due stands
//! in the database.

use std::sync::Arc;

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::engine::Doorbell;

/// A running schedule; dropping it does not stop it.
pub struct Schedule {
    scheduler: JobScheduler,
}

impl Schedule {
    /// Starts ringing. The expression has six fields, seconds first, in UTC.
    pub async fn start(cron: &str, doorbell: Arc<Doorbell>) -> Result<Self, JobSchedulerError> {
        Self::start_with(cron, move || doorbell.ring()).await
    }

    /// Starts ringing something else. `ring` must return at once.
    pub async fn start_with(
        cron: &str,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        scheduler
            .add(Job::new(cron, move |_id, _scheduler| ring())?)
            .await?;
        scheduler.start().await?;
        Ok(Self { scheduler })
    }

    /// Stops ringing.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the schedule was not running any more");
        }
    }
}
