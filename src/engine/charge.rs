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

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, ChargeRequest, NotSent};
use crate::domain::claim::{Answer, BadRow, Claim};
use crate::domain::dunning::{Decision, GiveUpReason, decide};
use crate::engine::lease::Lease;
use crate::engine::rate_limiter::{Reservation, Slot};
use crate::engine::{Inner, report};
use crate::failpoint::{crash_at, crash_soon};
use crate::gateway::Gateway;
use crate::store::{ClaimLimits, StoreError};

/// How long a claim waits for company: about as long as it takes itself, and less than anybody notices. A claim
/// of many costs little more than a claim of one.
const GATHER: Duration = Duration::from_millis(25);

impl<G: Gateway> Inner<G> {
    /// Claims batch after batch until nothing more may be claimed, and sends what was claimed on
    /// its way. Returns how many; the charges go on when this returns.
    pub(super) async fn charge_due(self: Arc<Self>) -> Result<u64, StoreError> {
        let mut claimed_in_all: u64 = 0;
        // Of a claim that found nothing: the one behind it needs no others.
        let mut unused: Option<Reservation> = None;
        loop {
            // As many as can be sent at once, never more: a leased attempt must not wait in line.
            let Some(mut slots) = self.free_slots().await else {
                break;
            };
            let rows_max = self
                .breaker
                .allows(u32::try_from(slots.num_permits()).unwrap_or(1));
            if rows_max == 0 || !self.is_ready().await {
                break;
            }
            let reserved = match unused.take() {
                Some(reservation) => Some(reservation),
                None => self.rate_limiter.reserve(rows_max).await?,
            };
            let Some(mut reservation) = reserved else {
                break;
            };

            // 1. Claim and begin: the intents are on disk before any money can move.
            crash_at("claim_next");
            let lease = Lease::start(self.limits.lease);
            let after = self.cursor.next();
            let limits = self.claim_limits(reservation.count.min(rows_max));
            let claimed = self.store.claim_due_after(after, limits).await?;
            crash_at("claim_committed");
            self.note_database(true);
            self.cursor.advance(after, claimed.reached);
            let count = claimed.claims.len();
            match after {
                // Nothing is due ahead; only a look at everything can say that nothing is due.
                Some(_) if count == 0 => {
                    unused = Some(reservation);
                    continue;
                }
                None if count == 0 => {
                    self.look_for_hold().await?;
                    break;
                }
                _ => {}
            }
            self.metrics
                .claim_rows
                .observe(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            claimed_in_all = claimed_in_all.saturating_add(u64::try_from(count).unwrap_or(0));

            for claim in claimed.claims {
                let Some(slot) = slots.split(1) else { break };
                let work = Arc::clone(&self).work(claim, lease, reservation.take(), slot);
                self.tasks.spawn(work);
            }
            if count < usize::try_from(limits.rows_max).unwrap_or(usize::MAX) {
                // That was all. What falls due from now on is claimed together.
                drop(slots);
                sleep(GATHER).await;
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
    ) {
        match claim {
            Ok(claim) => self.charge(&claim, lease, slot, permit).await,
            Err(bad) => self.set_aside(bad).await,
        }
    }

    /// One attempt, from the request to the record.
    async fn charge(&self, claim: &Claim, lease: Lease, slot: Slot, permit: OwnedSemaphorePermit) {
        let call = self.calls.acquire().await;
        // 2. Charge: from here on money may move. It has no `Err`, so nothing can skip step 4.
        let (outcome, took) = match self.rate_limiter.wait(slot, lease, self.limits.call).await {
            Ok(()) => {
                crash_at("send_next");
                crash_soon("sent");
                self.send(&claim.request, lease).await
            }
            Err(why) => (ChargeOutcome::NotSent(why), Duration::ZERO),
        };
        crash_at("answer_read");
        drop(call);
        report::breaker(self.breaker.note(&outcome), self.metrics.as_ref());

        // 3. Decide: pure.
        let decision = decide(&self.policy, &outcome, claim.history);
        crash_at("decided");

        // 4. Record: what happened and what follows, together with others, in one commit.
        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            outcome: Some(outcome),
            decision,
            not_found: 0,
        });
        let queued = self.recorder.queue(Arc::clone(&answer)).await;
        // Another may be claimed in its place. The recorder takes only so many, so one that can't write
        // soon holds up the claims.
        drop(permit);
        let recorded = queued.recorded().await;
        crash_at("recorded");

        self.metrics.time_call("again", took);
        if claim.history.attempt_no.get() == 1 && claim.history.not_sent == 0 {
            self.metrics.lag.observe(claim.late.as_secs_f64());
        }
        report::charge(claim, &answer, recorded, took, self);
    }

    /// One request for money that may leave now. It leaves once more, in a slot of its own, if the gateway
    /// did not take the access token: such a request was not read, and the token is renewed by then.
    /// Returns how long the last one was under way, too.
    pub(super) async fn send(
        &self,
        request: &ChargeRequest,
        lease: Lease,
    ) -> (ChargeOutcome, Duration) {
        let sent = self.call(request).await;
        let is_refused = sent.0 == ChargeOutcome::NotSent(NotSent::Unauthorized);
        // Who is stopping begins nothing new, and this one is proved not to have been read.
        if !is_refused || self.stopping.is_cancelled() {
            return sent;
        }
        let within = lease.left().saturating_sub(self.limits.call);
        let leaves = match self.rate_limiter.reserve_one(within).await {
            Ok(Some(slot)) => self.rate_limiter.wait(slot, lease, self.limits.call).await,
            Ok(None) => Err(NotSent::LeaseTooShort),
            Err(error) => Err(NotSent::NoSlot(chain(&error))),
        };
        match leaves {
            Ok(()) => self.call(request).await,
            Err(why) => (ChargeOutcome::NotSent(why), sent.1),
        }
    }

    async fn call(&self, request: &ChargeRequest) -> (ChargeOutcome, Duration) {
        let started = Instant::now();
        let _in_flight = InFlight::count(&self.metrics.in_flight);
        let outcome = self.gateway.charge(request).await;
        (outcome, started.elapsed())
    }

    /// A row that can't be asked for: nothing was sent, and a person has to mend it.
    async fn set_aside(&self, bad: BadRow) {
        self.metrics.bad_rows.inc();
        let answer = Arc::new(Answer {
            key: bad.key,
            outcome: Some(ChargeOutcome::NotSent(NotSent::Unbuildable(bad.fault))),
            decision: Decision::GiveUp(GiveUpReason::BadRow),
            not_found: 0,
        });
        let recorded = self.recorder.record(Arc::clone(&answer)).await;
        report::bad_row(&answer, recorded);
    }

    /// Waits for a free slot, then takes all that are free, up to a batch. `None` when stopping.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        let first = tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok()?,
            () = self.stopping.cancelled() => return None,
        };
        if self.stopping.is_cancelled() {
            return None;
        }
        let batch = usize::try_from(self.limits.batch).unwrap_or(1);
        if self.slots.available_permits() < self.limits.slots().saturating_sub(1) {
            // Slots come back one by one.
            let half = self.limits.slots().min(batch).div_ceil(2);
            let company = self.slots.acquire_many(u32::try_from(half).unwrap_or(1));
            drop(timeout(GATHER, company).await);
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
        let prepared = self.gateway.prepare().await;
        let change = self.breaker.ready(prepared.is_ok());
        if let Err(error) = &prepared {
            report::unready(change, error);
        }
        report::breaker(change, &self.metrics);
        prepared.is_ok()
    }

    fn claim_limits(&self, rows_max: u32) -> ClaimLimits {
        ClaimLimits {
            rows_max,
            lease: self.limits.lease,
        }
    }
}

/// Counts a call under way, for as long as it lives.
pub(super) struct InFlight<'a>(&'a prometheus_client::metrics::gauge::Gauge);

impl<'a> InFlight<'a> {
    pub(super) fn count(gauge: &'a prometheus_client::metrics::gauge::Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
