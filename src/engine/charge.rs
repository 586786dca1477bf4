//! The way of a charge.
//!
//! The order of the four steps is the safety argument of this daemon. A crash between any two of
//! them leaves a row that says how far we got:
//!
//! | crash after     | left behind                      | picked up by                     |
//! |-----------------|----------------------------------|----------------------------------|
//! | claim and begin | attempts `started`, never sent   | reconciliation, after the lease  |
//! | charge          | attempts `started`, maybe paid   | reconciliation, after the lease  |
//! | decide          | the same                         | the same                         |
//! | record          | the outcome                      | nobody: it is done               |

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, ChargeRequest, NotSent};
use crate::domain::claim::{Answer, BadRow, Claim, Recorded};
use crate::domain::dunning::{Decision, GiveUpReason};
use crate::engine::circuit_breaker::{Allowed, Change, CircuitBreaker};
use crate::engine::claim::{Batch, Claiming};
use crate::engine::context::Context;
use crate::engine::lease::Lease;
use crate::engine::look_back::look_back;
use crate::engine::rate_limiter::{Reservation, Slot};
use crate::engine::report::{self, Sweep};
use crate::failpoint::{crash_at, crash_soon};
use crate::gateway::Gateway;
use crate::store::StoreError;

/// How long the next claim is put off so that it covers more rows: about as long as it takes itself, and less than
/// anybody notices. A claim of many costs little more than a claim of one.
const CLAIM_DELAY: Duration = Duration::from_millis(25);

/// Everything that charging needs.
pub(super) struct Charging<G> {
    context: Arc<Context<G>>,
    breaker: CircuitBreaker,
    claiming: Claiming<G>,
    /// One permit per claimed charge, until its answer is in the recorder's hands.
    slots: Arc<Semaphore>,
    /// One permit per call.
    calls: Semaphore,
}

impl<G: Gateway> Charging<G> {
    pub(super) fn new(context: Arc<Context<G>>) -> Self {
        let limits = context.limits;
        Self {
            claiming: Claiming::new(Arc::clone(&context)),
            context,
            breaker: CircuitBreaker::default(),
            slots: Arc::new(Semaphore::new(limits.slots())),
            calls: Semaphore::new(limits.charges_max),
        }
    }

    /// Why nothing is charged, though the gateway and the database may answer.
    pub(super) fn stopped(&self) -> Option<String> {
        self.breaker.reason()
    }

    /// Claims batch after batch until nothing more may be claimed, and sends what was claimed on
    /// its way. Returns how many; the charges go on when this returns.
    pub(super) async fn charge_due(
        self: &Arc<Self>,
        sweep: &Arc<Sweep>,
    ) -> Result<u64, StoreError> {
        let context = &self.context;
        let mut claimed_in_all: u64 = 0;
        // Less only where a ceiling is near.
        let mut claim_max = u32::MAX;
        self.claiming.judge_sweep().await?;
        // Of a claim that found nothing: the one behind it needs no others.
        let mut unused: Option<Reservation> = None;
        // As many as can be sent at once, never more: a leased attempt must not wait in line.
        while let Some(mut slots) = self.free_slots().await {
            let most = u32::try_from(slots.num_permits()).unwrap_or(1);
            let allowed = self.breaker.allows();
            if allowed == Allowed::Nothing || !self.is_ready().await {
                break;
            }
            let is_probe = matches!(allowed, Allowed::Probe(_));
            let rows_max = if is_probe { 1 } else { most };
            if unused.is_none() {
                unused = context.rate_limiter.reserve(rows_max).await?;
            }
            let Some(mut reservation) = unused.take() else {
                break;
            };

            // 1. Claim and begin: the intents are on disk before any money can move.
            crash_at("claim_next");
            let lease = Lease::start(context.limits.lease);
            let rows_max = reservation.count.min(rows_max).min(claim_max);
            let batch = self.claiming.next(allowed, rows_max).await?;
            crash_at("claim_committed");
            let claimed = match batch {
                Batch::Claimed(claimed) => claimed,
                Batch::NothingAhead => {
                    unused = Some(reservation);
                    continue;
                }
                Batch::NearCeiling(fewer) => {
                    claim_max = fewer;
                    unused = Some(reservation);
                    continue;
                }
                Batch::NothingDue | Batch::AtCeiling => break,
            };
            let count = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
            claimed_in_all = claimed_in_all.saturating_add(count.into());
            sweep.begun(count);
            for claim in claimed {
                let Some(permit) = slots.split(1) else { break };
                let work = Arc::clone(self).work(
                    claim,
                    lease,
                    reservation.take(),
                    permit,
                    Arc::clone(sweep),
                );
                context.start(work);
            }
            if count < rows_max && !is_probe {
                // That was all. What falls due from now on is claimed together.
                drop(slots);
                sleep(CLAIM_DELAY).await;
            }
        }
        Ok(claimed_in_all)
    }

    async fn work(
        self: Arc<Self>,
        claim: Result<Claim, BadRow>,
        lease: Lease,
        slot: Slot,
        permit: OwnedSemaphorePermit,
        sweep: Arc<Sweep>,
    ) {
        match claim {
            Ok(claim) => {
                let charged = self.charge(&claim, lease, slot, Some(permit)).await;
                sweep.ended(&charged.outcome, charged.recorded);
            }
            Err(bad) => self.set_aside(bad).await,
        }
    }

    /// One attempt, from the request to the record.
    async fn charge(
        &self,
        claim: &Claim,
        lease: Lease,
        slot: Slot,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Charged {
        let context = &self.context;
        let call = self.calls.acquire().await;
        // 2. Charge: from here on money may move. It has no `Err`, so nothing can skip step 4.
        let leaves = async {
            look_back(context, claim, lease).await?;
            let limiter = &context.rate_limiter;
            limiter.wait(slot, lease, context.limits.call).await
        };
        let (outcome, took) = match leaves.await {
            Ok(()) => {
                crash_at("send_next");
                crash_soon("sent");
                send(context, &claim.request, lease).await
            }
            Err(why) => (ChargeOutcome::NotSent(why), Duration::ZERO),
        };
        crash_at("answer_read");
        drop(call);
        let channel = claim.request.terms.channel_key.as_deref();
        self.note_breaker(&self.breaker.note(&outcome, channel));

        // 3. Decide: pure.
        let policy = &context.policy;
        let decision = claim.purpose.decide(policy, &outcome, claim.history);
        crash_at("decided");

        // 4. Record: what happened and what follows, together with others, in one commit.
        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            outcome: Some(outcome.clone()),
            decision,
            not_found: 0,
        });
        let queued = context.recorder.queue(Arc::clone(&answer)).await;
        // Another may be claimed in its place. The recorder takes only so many, so one that can't write
        // soon holds up the claims.
        drop(permit);
        let recorded = queued.recorded().await;
        crash_at("recorded");

        context
            .figures
            .call(claim.request.instrument.call().as_str(), took);
        context.figures.lag(claim);
        context.figures.answer(&answer, recorded);
        report::charge(claim, &answer, recorded, took);
        Charged { outcome, recorded }
    }

    /// A charge that somebody waits for, for so long at most if the database is away: then what became of it
    /// goes to the log.
    pub(super) async fn charge_now(
        &self,
        claim: &Claim,
        lease: Lease,
        slot: Slot,
        recording_max: Duration,
    ) -> Charged {
        // It is closed only with the process.
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        let charge = self.charge(claim, lease, slot, permit);
        tokio::pin!(charge);
        tokio::select! {
            charged = &mut charge => charged,
            () = self.context.recording_fails_for(recording_max) => {
                self.context.recorder.give_up();
                charge.await
            }
        }
    }

    /// A row that can't be asked for: nothing was sent, and a person has to mend it.
    async fn set_aside(&self, bad: BadRow) {
        let context = &self.context;
        context.figures.metrics.bad_rows.inc();
        let answer = Arc::new(Answer {
            key: bad.key,
            outcome: Some(ChargeOutcome::NotSent(NotSent::Unbuildable(bad.fault))),
            decision: Decision::GiveUp(GiveUpReason::BadRow),
            not_found: 0,
        });
        let recorded = context.recorder.record(Arc::clone(&answer)).await;
        report::bad_row(&answer, recorded);
    }

    /// Waits for a free slot, then takes all that are free, up to a batch. `None` when stopping.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        let first = tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok()?,
            () = self.context.stopping.cancelled() => return None,
        };
        if self.context.stopping.is_cancelled() {
            return None;
        }
        let batch = usize::try_from(self.context.limits.batch).unwrap_or(1);
        if self.slots.available_permits() < self.context.limits.slots().saturating_sub(1) {
            // Slots come back one by one.
            let half = self.context.limits.slots().min(batch).div_ceil(2);
            let more = self.slots.acquire_many(u32::try_from(half).unwrap_or(1));
            drop(timeout(CLAIM_DELAY, more).await);
        }
        let more = self.slots.available_permits().min(batch.saturating_sub(1));
        let mut slots = first;
        let more = u32::try_from(more).unwrap_or(0);
        if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(more) {
            slots.merge(more);
        }
        Some(slots)
    }

    /// Whether a charge that is begun now would leave. If not, none is begun.
    async fn is_ready(&self) -> bool {
        let prepared = tokio::select! {
            prepared = self.context.gateway.prepare() => prepared,
            () = self.context.stopping.cancelled() => return false,
        };
        let change = self.breaker.ready(prepared.is_ok());
        if let Err(error) = &prepared {
            report::unready(&change, error);
        }
        self.note_breaker(&change);
        prepared.is_ok()
    }

    fn note_breaker(&self, change: &Change) {
        if *change != Change::None {
            let is_open = i64::from(self.stopped().is_some());
            self.context.figures.metrics.circuit_open.set(is_open);
            report::breaker(change);
        }
    }
}

/// What became of a charge, for whoever waits for it.
pub(super) struct Charged {
    pub(super) outcome: ChargeOutcome,
    /// `None` if it could not be written down.
    pub(super) recorded: Option<Recorded>,
}

/// One request for money that may leave now: the only place that sends one. It leaves once more, in a slot of
/// its own, if the gateway did not take the access token: such a request was not read, and the token is
/// renewed by then. Returns how long the last one was under way, too.
pub(super) async fn send<G: Gateway>(
    context: &Context<G>,
    request: &ChargeRequest,
    lease: Lease,
) -> (ChargeOutcome, Duration) {
    let call = async || {
        let started = Instant::now();
        let _in_flight = context.figures.in_flight();
        context.rate_limiter.sent();
        let outcome = context.gateway.charge(request).await;
        let changed = context.rate_limiter.answered(started, &outcome);
        report::throttle(changed);
        (outcome, started.elapsed())
    };
    let sent = call().await;
    let is_refused = sent.0 == ChargeOutcome::NotSent(NotSent::Unauthorized);
    // Who is stopping begins nothing new, and this one is proved not to have been read.
    if !is_refused || context.stopping.is_cancelled() {
        return sent;
    }
    let within = lease.left().saturating_sub(context.limits.call);
    let limiter = &context.rate_limiter;
    let leaves = match limiter.reserve_one(within).await {
        Ok(Some(slot)) => limiter.wait(slot, lease, context.limits.call).await,
        Ok(None) => Err(NotSent::LeaseTooShort),
        Err(error) => Err(NotSent::NoSlot(chain(&error))),
    };
    match leaves {
        Ok(()) => call().await,
        Err(why) => (ChargeOutcome::NotSent(why), sent.1),
    }
}
