//! Writes answers down, many in one commit.
//!
//! A charge waits here until its outcome is durable. While one batch is being committed the next one
//! gathers, so the batches grow with the load by themselves. A database that is away is waited for: an answer is never dropped while the process
//! may go on. A batch that the database refuses, or that somebody's lock holds up, is halved until the
//! row in question stands alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, warn};

use crate::causes::chain;
use crate::domain::claim::{Answer, Recorded};
use crate::engine::report;
use crate::failpoint::crash_at;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

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
    answer: Arc<Answer>,
    done: oneshot::Sender<Option<Recorded>>,
}

/// The way to the recorder.
pub(super) struct Recorder {
    entries: mpsc::Sender<Entry>,
    /// One token per answer that is on its way into the database.
    pending: TaskTracker,
    health: Arc<RecorderHealth>,
    give_up: CancellationToken,
}

/// What others may know of the recorder.
#[derive(Debug, Default)]
pub(super) struct RecorderHealth {
    failing_since: Mutex<Option<Instant>>,
    /// Cancelled when the recorder has ended, in whatever way.
    ended: CancellationToken,
}

impl RecorderHealth {
    /// For how long nothing could be written down; `None` while it can.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        let since = self
            .failing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    /// Ends when the recorder does. It must not, while the engine runs: what can't be recorded must
    /// not be charged.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn note(&self, is_written: bool) {
        let mut since = self
            .failing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if is_written {
            *since = None;
        } else {
            since.get_or_insert_with(Instant::now);
        }
    }
}

impl Recorder {
    /// Starts the recorder. It ends when the [`Recorder`] is gone and the last answer is written.
    pub(super) fn start(store: Store, limits: RecorderLimits, metrics: Arc<Metrics>) -> Self {
        let give_up = CancellationToken::new();
        let (entries, inbox) = mpsc::channel(limits.batch.saturating_mul(2).max(1));
        let health = Arc::new(RecorderHealth::default());
        let worker = Worker {
            store,
            limits,
            metrics,
            give_up: give_up.clone(),
            health: Arc::clone(&health),
        };
        tokio::spawn(Arc::new(worker).run(inbox));
        Self {
            entries,
            pending: TaskTracker::new(),
            health,
            give_up,
        }
    }

    /// From now on a database that is away is not waited for: what can't be written goes to the log.
    pub(super) fn give_up(&self) {
        self.give_up.cancel();
    }

    /// How the recorder is.
    pub(super) fn health(&self) -> &RecorderHealth {
        &self.health
    }

    /// Waits until every answer that has come in is durable.
    pub(super) async fn flushed(&self) {
        self.pending.close();
        self.pending.wait().await;
        self.pending.reopen();
    }

    /// Writes an answer down and waits until it is durable. `None`: it could not be written, which
    /// is in the log; the attempt stays open and will be asked about.
    pub(super) async fn record(&self, answer: Arc<Answer>) -> Option<Recorded> {
        self.queue(answer).await.recorded().await
    }

    /// Puts an answer in line to be written, as soon as the line is short enough.
    pub(super) async fn queue(&self, answer: Arc<Answer>) -> Queued {
        let pending = self.pending.token();
        let (done, written) = oneshot::channel();
        let sent = self.entries.send(Entry { answer, done }).await;
        match sent {
            Ok(()) => crash_at("record_queued"),
            Err(refused) => log_unrecorded(&refused.0.answer, "the recorder has ended"),
        }
        Queued {
            written,
            _pending: pending,
        }
    }
}

/// An answer in line. It is written even if nobody waits for that.
pub(super) struct Queued {
    written: oneshot::Receiver<Option<Recorded>>,
    _pending: TaskTrackerToken,
}

impl Queued {
    /// See [`Recorder::record`].
    pub(super) async fn recorded(self) -> Option<Recorded> {
        self.written.await.ok().flatten()
    }
}

struct Worker {
    store: Store,
    limits: RecorderLimits,
    metrics: Arc<Metrics>,
    give_up: CancellationToken,
    health: Arc<RecorderHealth>,
}

impl Worker {
    async fn run(self: Arc<Self>, mut inbox: mpsc::Receiver<Entry>) {
        let _ended = self.health.ended.clone().drop_guard();
        let mut batch = Vec::with_capacity(self.limits.batch);
        loop {
            if batch.is_empty() && inbox.recv_many(&mut batch, self.limits.batch).await == 0 {
                return;
            }
            self.gather(&mut inbox, &mut batch).await;
            let second_answers = one_per_attempt(&mut batch);
            self.write_all(std::mem::replace(&mut batch, second_answers))
                .await;
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

    /// Writes a batch. One that is held up by a row, whose it may be, is halved until that row stands
    /// alone; a row that is merely busy is then written by itself, while the others go on.
    async fn write_all(self: &Arc<Self>, entries: Vec<Entry>) {
        let mut pending = vec![entries];
        while let Some(mut entries) = pending.pop() {
            let answers: Vec<_> = entries.iter().map(|it| Arc::clone(&it.answer)).collect();
            match self.write(&answers).await {
                Ok(recorded) => tell(entries, recorded),
                Err(trouble)
                    if entries.len() > 1
                        && trouble.is_about_rows()
                        && !self.give_up.is_cancelled() =>
                {
                    let error = chain(&trouble);
                    warn!(
                        event = "recording_held_up",
                        rows = entries.len(),
                        error,
                        "a batch is held up; writing it in halves"
                    );
                    let half = entries.len().div_ceil(2);
                    pending.push(entries.split_off(half));
                    pending.push(entries);
                }
                Err(trouble) if trouble.is_passing() && !self.give_up.is_cancelled() => {
                    for entry in entries {
                        tokio::spawn(Arc::clone(self).write_alone(entry));
                    }
                }
                Err(trouble) => give_up_on(entries, &chain(&trouble)),
            }
        }
    }

    /// Writes one answer whose row is busy, however long that takes.
    async fn write_alone(self: Arc<Self>, entry: Entry) {
        let mut wait = RETRY_FIRST;
        loop {
            self.pause(wait).await;
            match self.write(std::slice::from_ref(&entry.answer)).await {
                Ok(recorded) => return tell(vec![entry], recorded),
                Err(trouble) if trouble.is_passing() && !self.give_up.is_cancelled() => {
                    wait = wait.saturating_mul(2).min(RETRY_MAX);
                }
                Err(trouble) => return give_up_on(vec![entry], &chain(&trouble)),
            }
        }
    }

    /// Writes until the database has taken it, or says something that speaks of the rows.
    async fn write(&self, answers: &[Arc<Answer>]) -> Result<Vec<Recorded>, StoreError> {
        let mut wait = RETRY_FIRST;
        loop {
            crash_at("flush_next");
            let started = Instant::now();
            let result = self
                .store
                .record(answers, self.limits.catch_up, self.limits.lease)
                .await;
            let trouble = match result {
                Ok(recorded) => {
                    crash_at("flush_committed");
                    self.metrics
                        .record_seconds
                        .observe(started.elapsed().as_secs_f64());
                    if let Ok(rows) = u32::try_from(answers.len()) {
                        self.metrics.record_rows.observe(f64::from(rows));
                    }
                    self.health.note(true);
                    return Ok(recorded);
                }
                Err(trouble) => trouble,
            };
            // A row that is refused or locked is no sign of a database that is away.
            self.health.note(trouble.is_about_rows());
            if trouble.is_about_rows() || self.give_up.is_cancelled() {
                return Err(trouble);
            }
            let error = chain(&trouble);
            warn!(
                event = "recording_waits",
                rows = answers.len(),
                error,
                "outcomes can't be recorded now; they are kept and written again"
            );
            self.pause(wait).await;
            if self.give_up.is_cancelled() {
                return Err(trouble);
            }
            wait = wait.saturating_mul(2).min(RETRY_MAX);
        }
    }

    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.give_up.cancelled() => {}
        }
    }
}

/// Leaves one answer per attempt in the batch and returns the others, in their order: two answers
/// about one attempt in one statement would be written in no order at all.
fn one_per_attempt(batch: &mut Vec<Entry>) -> Vec<Entry> {
    let mut seen = HashSet::with_capacity(batch.len());
    let (first, second) = std::mem::take(batch)
        .into_iter()
        .partition(|entry| seen.insert(entry.answer.key.merchant_uid.clone()));
    *batch = first;
    second
}

/// A charge that no longer waits has nothing to learn: its row is written.
fn tell(entries: Vec<Entry>, recorded: Vec<Recorded>) {
    for (entry, recorded) in entries.into_iter().zip(recorded) {
        entry.done.send(Some(recorded)).ok();
    }
}

fn give_up_on(entries: Vec<Entry>, error: &str) {
    for entry in entries {
        log_unrecorded(&entry.answer, error);
        entry.done.send(None).ok();
    }
}

/// The last resort: what could not be written stands in the log. The attempt stays open in the
/// database, so the gateway will be asked about it.
fn log_unrecorded(answer: &Answer, error: &str) {
    error!(event = "unrecorded",
        merchant_uid = %answer.key.merchant_uid,
        subscription.id = report::subscription(&answer.key),
        outcome = ?answer.outcome,
        decision = ?answer.decision,
        error,
        "an outcome could not be recorded; the attempt stays open and will be asked about",
    );
}
