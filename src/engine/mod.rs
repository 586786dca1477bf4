//! The way of a charge: claim and begin, charge, decide, record; and asking what became of it.
//!
//! A tick carries no data: whoever rings the [`Doorbell`] only says "look", and the database knows
//! what is due. Errors end here: a bad row never stops a sweep, a database or gateway that is away
//! is waited for, and each is logged once.

mod charge;
mod circuit_breaker;
mod claim;
mod context;
mod cursor;
mod doorbell;
mod figures;
mod lease;
mod limits;
mod liveness;
mod look_back;
mod one_off;
mod rate_limiter;
mod reconcile;
mod recorder;
mod refund;
mod report;
mod throttle;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use cursor::Cursor;
pub use doorbell::Doorbell;
pub use limits::Limits;
pub use one_off::{FirstPaid, OneOffCharged};
pub use refund::Refunded;

use crate::domain::dunning::Policy;
use crate::domain::ids::CustomerUid;
use crate::domain::refund::RefundRequest;
use crate::duties::{self, Duties};
use crate::engine::charge::Charging;
use crate::engine::context::Context;
use crate::engine::figures::Figures;
use crate::engine::liveness::Liveness;
use crate::engine::rate_limiter::RateLimiter;
use crate::engine::reconcile::Asking;
use crate::engine::recorder::{Recorder, RecorderLimits};
use crate::engine::report::Sweep;
use crate::failpoint::{crash_at, panic_at};
use crate::gateway::Gateway;
use crate::metrics::{Counts, Metrics};
use crate::store::{Store, StoreError};

/// If nobody rings, the engine looks by itself this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a database error: long enough not to hammer a server that is coming up.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// A batch that waits longer than this for the database is worth a word to whoever watches.
const RECORDING_STALLED: Duration = Duration::from_secs(3);
/// A sweep ends after so many looks in a row that found something due but could claim nothing.
const IDLE_LOOKS_MAX: u32 = 50;
/// A sweep that finds charging stopped looks so often before it ends: until the first probe, not the second.
const LOOKS_FOR_A_PROBE: u32 = 15;
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
/// How often rows that would wait for ever are looked for: nothing that billd does makes one.
const LOOK_FOR_DISORDER: Duration = Duration::from_hours(1);
/// How often what lies ahead is looked for: it lies days ahead.
const GIVE_NOTICES: Duration = Duration::from_mins(10);

/// The engine. Clones share everything.
pub struct Engine<G> {
    context: Arc<Context<G>>,
    charging: Arc<Charging<G>>,
    asking: Arc<Asking<G>>,
    doorbell: Arc<Doorbell>,
}

impl<G> Clone for Engine<G> {
    fn clone(&self) -> Self {
        Self {
            context: Arc::clone(&self.context),
            charging: Arc::clone(&self.charging),
            asking: Arc::clone(&self.asking),
            doorbell: Arc::clone(&self.doorbell),
        }
    }
}

/// Whether the engine can do its work, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What stands in the way; empty if nothing does.
    pub reasons: Vec<String>,
}

/// How [`Engine::run`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Nothing was left under way. What was is `started` in the database and will be asked about.
    pub is_quiet: bool,
    /// The part of the engine that ended by itself, which is a bug; `None` if it was stopped.
    pub died: Option<&'static str>,
    /// The database was migrated by a newer program, and this one can't work with it any more.
    pub is_outdated: bool,
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
        let recorder_limits = RecorderLimits {
            batch: usize::try_from(limits.batch).unwrap_or(1),
            catch_up: limits.catch_up_pace,
            lease: limits.lease,
        };
        let recorder = Recorder::start(store.clone(), recorder_limits, Arc::clone(&metrics));
        let context = Arc::new(Context {
            rate_limiter: RateLimiter::new(store.clone(), limits.rate_per_second),
            store,
            gateway,
            policy,
            limits,
            recorder,
            figures: Figures::new(metrics),
            liveness: Liveness::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            can_record: AtomicBool::new(true),
            outdated: CancellationToken::new(),
        });
        Self {
            charging: Arc::new(Charging::new(Arc::clone(&context))),
            asking: Arc::new(Asking::new(Arc::clone(&context))),
            context,
            doorbell,
        }
    }

    /// Charges and asks until `stop`, then drains: no new claim, calls end, outcomes are recorded.
    /// `hurry` cuts the wait for calls short, not the recording.
    pub async fn run(&self, stop: CancellationToken, hurry: CancellationToken) -> Ended {
        let mut loops = Duties::default();
        loops.start("charging", self.clone().keep_charging());
        loops.start("asking", self.clone().keep_asking());
        loops.start("notices", self.clone().keep_telling());
        let died = tokio::select! {
            () = stop.cancelled() => None,
            () = self.context.outdated.cancelled() => None,
            () = self.context.recorder.health().ended() => Some("recording"),
            name = loops.one_ended() => Some(name),
        };
        if let Some(duty) = died {
            duties::log_death(duty);
        }
        info!(
            event = "stopping",
            in_flight = self.in_flight(),
            "stopping: no new claims, calls under way will end"
        );
        let is_quiet = self.drain_with(loops, hurry).await;
        Ended {
            is_quiet,
            died,
            is_outdated: self.context.outdated.is_cancelled(),
        }
    }

    /// One pass over everything: asks what is open and due to be asked, charges all that is due,
    /// waits until it is recorded. `stop` ends it early and in order.
    pub async fn sweep(&self, stop: CancellationToken) -> Result<Swept, StoreError> {
        let watch = self.stop_with(stop);
        let swept = self.sweep_all().await;
        watch.abort();
        swept
    }

    /// Asks about every open attempt now, however long it was to wait, and waits for the answers.
    pub async fn reconcile(&self, stop: CancellationToken) -> Result<Swept, StoreError> {
        let context = &self.context;
        self.asking.notice_abandoned().await;
        context.store.ask_all_now().await?;
        context.store.look_at_all_refunds_now().await?;
        let watch = self.stop_with(stop);
        let result = self.asking.ask_due().await;
        context.settle_down().await;
        watch.abort();
        result?;
        context.recheck_all().await?;
        self.swept().await
    }

    /// Makes the engine stop when `stop` says so, until the task that watches for it is aborted.
    fn stop_with(&self, stop: CancellationToken) -> JoinHandle<()> {
        let stopping = self.context.stopping.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            stopping.cancel();
        })
    }

    /// Waits for what is under way and for the last record. See [`Engine::run`].
    pub async fn drain(&self, hurry: CancellationToken) -> bool {
        self.drain_with(Duties::default(), hurry).await
    }

    /// As [`Engine::drain`], within the same time for the loops, too: they may wait for a gateway that is away.
    async fn drain_with(&self, mut loops: Duties, hurry: CancellationToken) -> bool {
        let context = &self.context;
        context.stopping.cancel();
        context.tasks.close();
        crash_at("drain_begun");
        let all_end = async {
            loops.ended().await;
            context.tasks.wait().await;
        };
        let quiet = tokio::select! {
            quiet = timeout(context.limits.drain, all_end) => quiet.is_ok(),
            () = hurry.cancelled() => context.tasks.is_empty(),
        };
        loops.end(Duration::ZERO).await;
        if !quiet {
            warn!(
                event = "drain_cut",
                in_flight = context.tasks.len(),
                "stopping with calls under way; they stay `started` and will be asked about",
            );
        }
        crash_at("drain_flushing");
        // Answers that have come in are still written, however great the hurry.
        let written = timeout(FLUSH_MAX, context.recorder.flushed()).await.is_ok();
        context.recorder.give_up();
        if !written {
            // What could not be written goes to the log; that takes no database.
            timeout(LOG_UNRECORDED_MAX, context.recorder.flushed())
                .await
                .ok();
        }
        // So that nothing is done, or said, after this.
        context.cut_off.cancel();
        context.tasks.wait().await;
        quiet && written
    }

    /// Whether the engine can do its work.
    pub fn health(&self) -> Health {
        let context = &self.context;
        let mut reasons = Vec::new();
        if context.stopping.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        reasons.extend(context.liveness.reasons(context.limits.lease));
        if let Some(failing) = context
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
        reasons.extend(self.charging_stopped());
        Health { reasons }
    }

    /// Why nothing is charged, though the gateway and the database may answer; `None` if it is.
    pub fn charging_stopped(&self) -> Option<String> {
        let breaker = self.charging.stopped();
        breaker
            .map(|reason| format!("charging is stopped: {reason}"))
            .or_else(|| self.context.liveness.standstill())
    }

    /// Tells the engine whether commits wait for a synchronous stand-by.
    pub fn note_standby(&self, waits: bool) {
        self.context.liveness.waits_for_standby(waits);
    }

    /// Outcomes since the last time this was asked.
    pub fn take_counts(&self) -> Counts {
        self.context.figures.tally.take()
    }

    /// Charges and questions under way.
    pub fn in_flight(&self) -> usize {
        self.context.tasks.len()
    }

    /// Outcomes so far, for a progress line.
    pub fn progress(&self) -> Counts {
        self.context.figures.tally.look()
    }

    /// Gives money back: writes it down, sends it, and records what became of it.
    pub async fn refund(
        &self,
        request: &RefundRequest,
        customer_uid: Option<CustomerUid>,
        key: &str,
    ) -> Result<Refunded, StoreError> {
        refund::refund(&self.context, request, customer_uid, key).await
    }

    /// The gateway this engine charges through.
    pub fn gateway(&self) -> &G {
        &self.context.gateway
    }
}

impl<G: Gateway> Engine<G> {
    async fn keep_charging(self) {
        let context = &self.context;
        let mut claimed_at: Option<Instant> = None;
        while !context.stopping.is_cancelled() {
            panic_at("charging");
            let pause = match self.charging.charge_due(&Sweep::start()).await {
                Ok(claimed) => {
                    context.liveness.database_answered();
                    if claimed > 0 {
                        claimed_at = Some(Instant::now());
                    }
                    let is_awake = claimed_at.is_some_and(|at| at.elapsed() < AWAKE);
                    if is_awake { LOOK_AGAIN } else { LOOK_EVERY }
                }
                Err(error) => {
                    context.liveness.claim_failed(&error);
                    context.can_record.store(false, Ordering::Relaxed);
                    context.look_for_newer_schema(&error).await;
                    sleep(PAUSE_AFTER_ERROR).await;
                    continue;
                }
            };
            tokio::select! {
                () = self.doorbell.charge_rung() => {}
                () = sleep(pause) => {}
                () = context.stopping.cancelled() => {}
            }
        }
    }

    async fn keep_asking(self) {
        let context = &self.context;
        context.warn_of_reservations().await;
        let mut next_look = Instant::now();
        let mut looked_for_disorder: Option<Instant> = None;
        while !context.stopping.is_cancelled() {
            if looked_for_disorder.is_none_or(|at| at.elapsed() >= LOOK_FOR_DISORDER) {
                context.set_in_order(looked_for_disorder.is_none()).await;
                looked_for_disorder = Some(Instant::now());
            }
            match self.look_and_ask(&mut next_look).await {
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
                () = context.stopping.cancelled() => {}
            }
        }
    }

    async fn keep_telling(self) {
        let context = &self.context;
        while !context.stopping.is_cancelled() {
            context.give_notices().await;
            tokio::select! {
                () = sleep(GIVE_NOTICES) => {}
                () = context.stopping.cancelled() => {}
            }
        }
    }

    /// Looks for what was abandoned a tenth of the time at most: while an old transaction of somebody keeps
    /// the front of what is due from being cleaned up, a look is not cheap.
    async fn look_and_ask(&self, next_look: &mut Instant) -> Result<u64, StoreError> {
        let started = Instant::now();
        if *next_look <= started {
            self.asking.notice_abandoned().await;
            let took = started.elapsed();
            *next_look = started
                .checked_add(took.saturating_mul(10))
                .unwrap_or(started);
        }
        self.asking.ask_due().await
    }

    /// Passes until nothing is due that may be claimed.
    async fn sweep_all(&self) -> Result<Swept, StoreError> {
        let context = &self.context;
        context.set_in_order(false).await;
        context.warn_of_reservations().await;
        self.asking.notice_abandoned().await;
        self.asking.ask_due().await?;
        let sweep = Sweep::start();
        let mut idle_looks: u32 = 0;
        while !context.stopping.is_cancelled() && idle_looks < IDLE_LOOKS_MAX {
            if self.charging.charge_due(&sweep).await? > 0 {
                idle_looks = 0;
                continue;
            }
            context.settle_down().await;
            let probed = self.charging.stopped().is_some() && idle_looks >= LOOKS_FOR_A_PROBE;
            let stands_still = context.liveness.standstill().is_some();
            if probed || stands_still || context.store.backlog().await?.due == 0 {
                break;
            }
            // A rate cap, another daemon's locks, or a row set aside for a second look.
            context.recheck_all().await?;
            sleep(LOOK_AGAIN).await;
            idle_looks = idle_looks.saturating_add(1);
        }
        context.settle_down().await;
        context.give_notices().await;
        drop(sweep);
        self.swept().await
    }

    async fn swept(&self) -> Result<Swept, StoreError> {
        let backlog = self.context.store.backlog().await?;
        Ok(Swept {
            counts: self.context.figures.tally.take(),
            unknown_left: backlog.unknown,
            due_left: backlog.due,
        })
    }
}
