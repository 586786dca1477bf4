//! The way of a charge: claim and begin, charge, decide, record; and asking what became of it.
//!
//! A tick carries no data: whoever rings the [`Doorbell`] only says "look", and the database knows
//! what is due. Errors end here: a bad row never stops a sweep, a database or gateway that is away
//! is waited for, and each is logged once.

mod charge;
mod circuit_breaker;
mod cursor;
mod doorbell;
mod failover_hold;
mod lease;
mod one_off;
mod rate_limiter;
mod reconcile;
mod recorder;
mod refund;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use cursor::Cursor;
pub use doorbell::Doorbell;
pub use one_off::{FirstPaid, OneOffCharged};
pub use refund::Refunded;

use crate::causes::chain;
use crate::domain::dunning::Policy;
use crate::engine::circuit_breaker::CircuitBreaker;
use crate::engine::failover_hold::HoldSeen;
use crate::engine::rate_limiter::RateLimiter;
use crate::engine::recorder::{Recorder, RecorderLimits};
use crate::failpoint::crash_at;
use crate::gateway::Gateway;
use crate::metrics::{Counts, Metrics, Tally};
use crate::store::{Store, StoreError};

/// Bounds of everything the engine does.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most charges under way at once.
    pub charges_max: usize,
    /// Most questions under way at once.
    pub questions_max: usize,
    /// Most rows per claim and per recorded batch.
    pub batch: u32,
    /// How long a claim holds.
    pub lease: Duration,
    /// How much of the lease must be left for a call to start: the gateway's time-out and a margin.
    pub call: Duration,
    /// Charges per second over all daemons of this database; 0 for no cap.
    pub rate_per_second: u32,
    /// Least time between two charges of one subscription that catches up on missed periods.
    pub catch_up_pace: Duration,
    /// How long a stop waits for calls under way.
    pub drain: Duration,
}

impl Limits {
    /// How many charges may be claimed and not yet answered. A quarter more than may be called at once,
    /// so that calls go on while the next claim is being made; none waits longer for its call than a
    /// quarter of a call takes.
    fn slots(&self) -> usize {
        let ahead = self.charges_max.checked_div(4).unwrap_or_default();
        self.charges_max.saturating_add(ahead)
    }
}

/// If nobody rings, the engine looks by itself this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a database error: long enough not to hammer a server that is coming up.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// A batch that waits longer than this for the database is worth a word to whoever watches.
const RECORDING_STALLED: Duration = Duration::from_secs(3);
/// A sweep ends after so many looks in a row that found something due but could claim nothing.
const IDLE_LOOKS_MAX: u32 = 50;
/// How long the last answers may take into a database that is slow or away, before they go to the
/// log instead.
const FLUSH_MAX: Duration = Duration::from_secs(15);
/// Longer than one statement may take, which is when the recorder sees that it is to give up.
const LOG_UNRECORDED_MAX: Duration = Duration::from_secs(12);
/// While there is work: what falls due must not wait for the next ring, and under a rate cap new places
/// come up all the time.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// There is work while something was claimed within this time, the usual distance of two rings. After
/// that the engine waits to be rung for.
const AWAKE: Duration = Duration::from_secs(1);

/// The engine. Clones share everything.
pub struct Engine<G> {
    inner: Arc<Inner<G>>,
}

impl<G> Clone for Engine<G> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<G> {
    store: Store,
    gateway: G,
    policy: Policy,
    limits: Limits,
    metrics: Arc<Metrics>,
    doorbell: Arc<Doorbell>,
    tally: Tally,
    breaker: CircuitBreaker,
    cursor: Cursor,
    hold: HoldSeen,
    rate_limiter: RateLimiter,
    /// One permit per claimed charge, until its answer is in the recorder's hands.
    slots: Arc<Semaphore>,
    /// One permit per call.
    calls: Semaphore,
    /// One permit per question.
    questions: Arc<Semaphore>,
    tasks: TaskTracker,
    recorder: Recorder,
    recorder_gives_up: CancellationToken,
    stopping: CancellationToken,
    database_answers: AtomicBool,
    last_look: Mutex<Instant>,
}

/// Whether the engine can do its work, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What stands in the way; empty if nothing does.
    pub reasons: Vec<String>,
}

/// What one [`Engine::sweep`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Outcomes by kind, those of look-ups included.
    pub counts: Counts,
    /// Attempts whose fate is still unknown, over the whole book.
    pub unknown_left: u64,
    /// Subscriptions that are still due, because charging had to stop.
    pub due_left: u64,
}

impl<G: Gateway> Engine<G> {
    /// Puts an engine together; it does nothing until it is run.
    pub fn new(
        store: Store,
        gateway: G,
        policy: Policy,
        limits: Limits,
        metrics: Arc<Metrics>,
        doorbell: Arc<Doorbell>,
    ) -> Self {
        let gives_up = CancellationToken::new();
        let recorder_limits = RecorderLimits {
            batch: usize::try_from(limits.batch).unwrap_or(1),
            catch_up: limits.catch_up_pace,
            lease: limits.lease,
        };
        let recorder = Recorder::start(
            store.clone(),
            recorder_limits,
            Arc::clone(&metrics),
            gives_up.clone(),
        );
        let rate_limiter = RateLimiter::new(store.clone(), limits.rate_per_second);
        let inner = Inner {
            store,
            gateway,
            policy,
            limits,
            metrics,
            doorbell,
            tally: Tally::default(),
            breaker: CircuitBreaker::default(),
            cursor: Cursor::default(),
            hold: HoldSeen::default(),
            rate_limiter,
            slots: Arc::new(Semaphore::new(limits.slots())),
            calls: Semaphore::new(limits.charges_max),
            questions: Arc::new(Semaphore::new(limits.questions_max)),
            tasks: TaskTracker::new(),
            recorder,
            recorder_gives_up: gives_up,
            stopping: CancellationToken::new(),
            database_answers: AtomicBool::new(true),
            last_look: Mutex::new(Instant::now()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Charges and asks until `stop`, then drains: no new claim, calls end, outcomes are recorded.
    /// `hurry` cuts the wait for calls short, not the recording. Returns whether nothing was left
    /// under way; what was is `started` in the database and will be asked about.
    pub async fn run(&self, stop: CancellationToken, hurry: CancellationToken) -> bool {
        let charging = tokio::spawn(Arc::clone(&self.inner).keep_charging());
        let asking = tokio::spawn(Arc::clone(&self.inner).keep_asking());
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.inner.recorder.health().ended() => {
                tracing::error!("the recorder has ended; nothing may be charged without it");
            }
        }
        info!(
            in_flight = self.in_flight(),
            "stopping: no new claims, calls under way will end"
        );
        self.inner.stopping.cancel();
        drop(charging.await);
        drop(asking.await);
        self.drain(hurry).await
    }

    /// One pass over everything: asks what is open and due to be asked, charges all that is due,
    /// waits until it is recorded. `stop` ends it early and in order.
    pub async fn sweep(&self, stop: CancellationToken) -> Result<Swept, StoreError> {
        let watch = self.stop_with(stop);
        let swept = self.inner.sweep_all().await;
        watch.abort();
        swept
    }

    /// Asks about every open attempt now, however long it was to wait, and waits for the answers.
    pub async fn reconcile(&self, stop: CancellationToken) -> Result<Swept, StoreError> {
        self.inner.notice_abandoned().await;
        self.inner.store.ask_all_now().await?;
        self.inner.store.look_at_all_refunds_now().await?;
        let watch = self.stop_with(stop);
        let result = Arc::clone(&self.inner).ask_due().await;
        self.inner.settle_down().await;
        watch.abort();
        result?;
        Arc::clone(&self.inner).recheck_all().await?;
        self.inner.swept().await
    }

    /// Makes the engine stop when `stop` says so, until the task that watches for it is aborted.
    fn stop_with(&self, stop: CancellationToken) -> JoinHandle<()> {
        let stopping = self.inner.stopping.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            stopping.cancel();
        })
    }

    /// Waits for what is under way and for the last record. See [`Engine::run`].
    pub async fn drain(&self, hurry: CancellationToken) -> bool {
        let inner = &self.inner;
        inner.stopping.cancel();
        inner.tasks.close();
        crash_at("drain_begun");
        let quiet = tokio::select! {
            quiet = timeout(inner.limits.drain, inner.tasks.wait()) => quiet.is_ok(),
            () = hurry.cancelled() => inner.tasks.is_empty(),
        };
        if !quiet {
            warn!(
                in_flight = inner.tasks.len(),
                "stopping with calls under way; they stay `started` and will be asked about",
            );
        }
        crash_at("drain_flushing");
        // Answers that have come in are still written, however great the hurry.
        let written = timeout(FLUSH_MAX, inner.recorder.flushed()).await.is_ok();
        inner.recorder_gives_up.cancel();
        if !written {
            // What could not be written goes to the log; that takes no database.
            timeout(LOG_UNRECORDED_MAX, inner.recorder.flushed())
                .await
                .ok();
        }
        quiet && written
    }

    /// Whether the engine can do its work.
    pub fn health(&self) -> Health {
        let inner = &self.inner;
        let mut reasons = Vec::new();
        if inner.stopping.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        if !inner.database_answers.load(Ordering::Relaxed) {
            reasons.push("the database does not answer".to_owned());
        }
        let idle = inner
            .last_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed();
        if idle > inner.limits.lease {
            reasons.push(format!("no look at what is due for {} s", idle.as_secs()));
        }
        if let Some(failing) = inner
            .recorder
            .health()
            .failing_for()
            .filter(|for_| *for_ > RECORDING_STALLED)
        {
            reasons.push(format!(
                "outcomes can't be recorded for {} s",
                failing.as_secs()
            ));
        }
        if let Some(left) = inner.hold.left() {
            let left = left.as_secs();
            reasons.push(format!(
                "the database server changed: nothing is begun for {left} s"
            ));
        }
        reasons.extend(self.charging_stopped());
        Health { reasons }
    }

    /// Why nothing is charged, though the gateway and the database may answer; `None` if it is.
    pub fn charging_stopped(&self) -> Option<String> {
        let reason = self.inner.breaker.reason()?;
        Some(format!("charging is stopped: {reason}"))
    }

    /// Charges and questions under way.
    pub fn in_flight(&self) -> usize {
        self.inner.tasks.len()
    }

    /// Outcomes so far, for a progress line.
    pub fn progress(&self) -> Counts {
        self.inner.tally.look()
    }

    /// The gateway this engine charges through.
    pub fn gateway(&self) -> &G {
        &self.inner.gateway
    }
}

impl<G: Gateway> Inner<G> {
    async fn keep_charging(self: Arc<Self>) {
        let mut claimed_at: Option<Instant> = None;
        while !self.stopping.is_cancelled() {
            let started = Instant::now();
            let pause = match Arc::clone(&self).charge_due().await {
                Ok(claimed) => {
                    self.note_database(true);
                    report::sweep(claimed, started.elapsed(), &self.tally);
                    if claimed > 0 {
                        claimed_at = Some(Instant::now());
                    }
                    let is_awake = claimed_at.is_some_and(|at| at.elapsed() < AWAKE);
                    if is_awake { LOOK_AGAIN } else { LOOK_EVERY }
                }
                Err(error) => {
                    self.lost_database(&error);
                    sleep(PAUSE_AFTER_ERROR).await;
                    continue;
                }
            };
            tokio::select! {
                () = self.doorbell.charge_rung() => {}
                () = sleep(pause) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    async fn keep_asking(self: Arc<Self>) {
        let mut next_look = Instant::now();
        while !self.stopping.is_cancelled() {
            match Arc::clone(&self).look_and_ask(&mut next_look).await {
                Ok(asked) => debug!(asked, "looked for open attempts"),
                Err(error) => {
                    report::asking_failed(&error);
                    sleep(PAUSE_AFTER_ERROR).await;
                    continue;
                }
            }
            tokio::select! {
                () = self.doorbell.ask_rung() => {}
                () = sleep(LOOK_EVERY) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    /// Looks for what was abandoned a tenth of the time at most: while an old transaction of somebody keeps
    /// the front of what is due from being cleaned up, a look is not cheap.
    async fn look_and_ask(self: Arc<Self>, next_look: &mut Instant) -> Result<u64, StoreError> {
        let started = Instant::now();
        if *next_look <= started {
            self.notice_abandoned().await;
            let took = started.elapsed();
            *next_look = started
                .checked_add(took.saturating_mul(10))
                .unwrap_or(started);
        }
        self.ask_due().await
    }

    /// Passes until nothing is due that may be claimed.
    async fn sweep_all(self: &Arc<Self>) -> Result<Swept, StoreError> {
        self.notice_abandoned().await;
        Arc::clone(self).ask_due().await?;
        let started = Instant::now();
        let mut claimed_in_all: u64 = 0;
        let mut idle_looks: u32 = 0;
        while !self.stopping.is_cancelled() && idle_looks < IDLE_LOOKS_MAX {
            let claimed = Arc::clone(self).charge_due().await?;
            claimed_in_all = claimed_in_all.saturating_add(claimed);
            if claimed > 0 {
                idle_looks = 0;
                continue;
            }
            self.settle_down().await;
            if self.breaker.reason().is_some() || self.store.backlog().await?.due == 0 {
                break;
            }
            // A rate cap, another daemon's locks, or a row set aside for a second look.
            Arc::clone(self).recheck_all().await?;
            sleep(LOOK_AGAIN).await;
            idle_looks = idle_looks.saturating_add(1);
        }
        self.settle_down().await;
        report::sweep(claimed_in_all, started.elapsed(), &self.tally);
        self.swept().await
    }

    async fn swept(&self) -> Result<Swept, StoreError> {
        let backlog = self.store.backlog().await?;
        Ok(Swept {
            counts: self.tally.take(),
            unknown_left: backlog.unknown,
            due_left: backlog.due,
        })
    }

    /// Waits until nothing is under way, or until a stop has been waiting for it long enough.
    async fn settle_down(&self) {
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

    fn note_database(&self, answers: bool) {
        *self
            .last_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if !self.database_answers.swap(answers, Ordering::Relaxed) {
            info!("the database answers again");
        }
    }

    fn lost_database(&self, error: &StoreError) {
        if error.is_about_rows() && error.is_passing() {
            // The database is there; a lock or a slow statement stands in the way.
            warn!(error = chain(error), "claiming is held up; trying again");
            return;
        }
        let passing = error.is_passing();
        let error = chain(error);
        if !passing {
            tracing::error!(error, "claiming failed; trying again");
        } else if self.database_answers.swap(false, Ordering::Relaxed) {
            warn!(error, "the database is away; charging waits for it");
        }
    }
}
