//! Writes answers down, many in one commit.
//!
//! A charge waits here until its outcome is durable; only then is its slot given to another. While
//! one batch is being committed the next one gathers, so the batches grow with the load by
//! themselves. A database that is away is waited for: an answer is never dropped while the process
//! may go on. A batch that the database refuses is halved until the bad row stands alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::causes::chain;
use crate::domain::claim::{Answer, Recorded};
use crate::metrics::Metrics;
use crate::store::Store;

/// How long a first answer waits for company: less than a commit takes, so it costs little when
/// there is none.
const LINGER: Duration = Duration::from_millis(2);

/// Between two tries while the database is away.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What the recorder needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecorderLimits {
    /// Most answers per commit.
    pub(super) batch: usize,
    /// Least time between two charges of a subscription that catches up.
    pub(super) catch_up: Duration,
    /// For how long an attempt that is sent again is leased.
    pub(super) lease: Duration,
}

struct Entry {
    answer: Answer,
    done: oneshot::Sender<Option<Recorded>>,
}

/// The way to the recorder.
pub(super) struct Recorder {
    entries: mpsc::Sender<Entry>,
    /// One token per answer that is on its way into the database.
    pending: TaskTracker,
}

impl Recorder {
    /// Starts the recorder. It ends when the [`Recorder`] is gone and the last answer is written;
    /// after `give_up` it no longer waits for a database that is away.
    pub(super) fn start(
        store: Store,
        limits: RecorderLimits,
        metrics: Arc<Metrics>,
        give_up: CancellationToken,
    ) -> Self {
        let (entries, inbox) = mpsc::channel(limits.batch.saturating_mul(2).max(1));
        let worker = Worker {
            store,
            limits,
            metrics,
            give_up,
        };
        tokio::spawn(worker.run(inbox));
        Self {
            entries,
            pending: TaskTracker::new(),
        }
    }

    /// Waits until every answer that has come in is durable.
    pub(super) async fn flushed(&self) {
        self.pending.close();
        self.pending.wait().await;
        self.pending.reopen();
    }

    /// Writes an answer down and waits until it is durable. `None`: it could not be written, which
    /// is in the log; the attempt stays open and will be asked about.
    pub(super) async fn record(&self, answer: Answer) -> Option<Recorded> {
        let _pending = self.pending.token();
        let (done, written) = oneshot::channel();
        self.entries.send(Entry { answer, done }).await.ok()?;
        written.await.ok().flatten()
    }
}

struct Worker {
    store: Store,
    limits: RecorderLimits,
    metrics: Arc<Metrics>,
    give_up: CancellationToken,
}

impl Worker {
    async fn run(self, mut inbox: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(self.limits.batch);
        while inbox.recv_many(&mut batch, self.limits.batch).await > 0 {
            self.gather(&mut inbox, &mut batch).await;
            let entries = std::mem::take(&mut batch);
            self.write_all(entries).await;
        }
    }

    async fn gather(&self, inbox: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) {
        let until = Instant::now().checked_add(LINGER);
        while let Some(room) = self
            .limits
            .batch
            .checked_sub(batch.len())
            .filter(|room| *room > 0)
        {
            let Some(left) = until.map(|until| until.saturating_duration_since(Instant::now()))
            else {
                return;
            };
            match timeout(left, inbox.recv_many(batch, room)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Writes a batch; one that is refused is halved, and its halves are written by themselves.
    async fn write_all(&self, entries: Vec<Entry>) {
        let mut pending = vec![entries];
        while let Some(mut entries) = pending.pop() {
            let answers: Vec<Answer> = entries.iter().map(|entry| entry.answer.clone()).collect();
            match self.write(&answers).await {
                Written::Done(recorded) => {
                    for (entry, recorded) in entries.into_iter().zip(recorded) {
                        // A charge that no longer waits has nothing to learn: the row is written.
                        entry.done.send(Some(recorded)).ok();
                    }
                }
                Written::Refused(error) if entries.len() > 1 => {
                    warn!(rows = entries.len(), %error, "a batch was refused; writing it in halves");
                    let half = entries.len().div_ceil(2);
                    pending.push(entries.split_off(half));
                    pending.push(entries);
                }
                Written::Refused(error) | Written::GivenUp(error) => {
                    for entry in entries {
                        lament(&entry.answer, &error);
                        entry.done.send(None).ok();
                    }
                }
            }
        }
    }

    /// Writes until the database takes or refuses it.
    async fn write(&self, answers: &[Answer]) -> Written {
        let mut wait = RETRY_FIRST;
        loop {
            let started = Instant::now();
            match self
                .store
                .record(answers, self.limits.catch_up, self.limits.lease)
                .await
            {
                Ok(recorded) => {
                    self.metrics
                        .record_seconds
                        .observe(started.elapsed().as_secs_f64());
                    if let Ok(rows) = u32::try_from(answers.len()) {
                        self.metrics.record_rows.observe(f64::from(rows));
                    }
                    return Written::Done(recorded);
                }
                Err(error) if !error.is_passing() => {
                    return Written::Refused(chain(&error));
                }
                Err(error) => {
                    let error = chain(&error);
                    if self.give_up.is_cancelled() {
                        return Written::GivenUp(error);
                    }
                    warn!(
                        rows = answers.len(),
                        error, "outcomes can't be recorded now; they are kept and written again"
                    );
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.give_up.cancelled() => {}
                    }
                    wait = wait.saturating_mul(2).min(RETRY_MAX);
                }
            }
        }
    }
}

enum Written {
    Done(Vec<Recorded>),
    Refused(String),
    GivenUp(String),
}

/// The last resort: what could not be written stands in the log. The attempt stays open in the
/// database, so the gateway will be asked about it.
fn lament(answer: &Answer, error: &str) {
    error!(
        merchant_uid = %answer.key.merchant_uid,
        subscription.id = %answer.key.subscription,
        outcome = ?answer.outcome,
        decision = ?answer.decision,
        error,
        "an outcome could not be recorded; the attempt stays open and will be asked about",
    );
}
