//! Rings the doorbell, or lets a task begin its work, at the times of a cron expression.
//!
//! The cron library starts every run as a task of its own, lets runs overlap, and waits for none of
//! them at shutdown. None of that matters here: a run does nothing but ring, and what is due stands
//! in the database.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

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

    /// `ring` must return at once.
    async fn start_with(
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

/// The times at which a task has something to do.
pub struct Hours {
    schedule: Schedule,
    has_come: Arc<Notify>,
}

impl Hours {
    /// Starts to watch for them; the expression is as for [`Schedule::start`].
    pub async fn start(cron: &str) -> Result<Self, JobSchedulerError> {
        let has_come = Arc::new(Notify::new());
        let bell = Arc::clone(&has_come);
        let schedule = Schedule::start_with(cron, move || bell.notify_one()).await?;
        Ok(Self { schedule, has_come })
    }

    /// Waits for the next one; those that came while nobody waited count as one. `false` if `stop` comes first.
    pub async fn next(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = self.has_come.notified() => true,
            () = stop.cancelled() => false,
        }
    }

    /// Stops watching.
    pub async fn stop(self) {
        self.schedule.stop().await;
    }
}
