//! Asking what became of an attempt: the way of a charge, with a question in the place of the call.
//!
//! Rescue means ask. An attempt that lost its daemon, or whose answer was lost, is looked up at the
//! gateway and never simply sent again. Only when the gateway has repeatedly said, over the settle
//! time, that it knows nothing of it may the *same* `merchant_uid` leave once more, after that
//! intent, too, is durable. A crash at any line leaves the attempt open with an `ask_at`, so it is
//! asked about again.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::attempt::Lookup;
use crate::domain::claim::{Answer, BadRow, OpenAttempt, Recorded};
use crate::domain::dunning::{Decision, Question, decide_sent_again, park, send_later};
use crate::engine::charge::send;
use crate::engine::context::Context;
use crate::engine::lease::Lease;
use crate::engine::look_back::look_back;
use crate::engine::rate_limiter::Slot;
use crate::engine::{refund, report};
use crate::failpoint::crash_at;
use crate::gateway::{Expected, Gateway};
use crate::store::StoreError;

/// Rows per look for what was abandoned: more than a few daemons have under way.
const ABANDONED_ROWS: u32 = 5_000;

/// Everything that asking needs.
pub(super) struct Asking<G> {
    context: Arc<Context<G>>,
    /// One permit per question.
    questions: Arc<Semaphore>,
}

impl<G: Gateway> Asking<G> {
    pub(super) fn new(context: Arc<Context<G>>) -> Self {
        let questions = context.limits.questions_max;
        Self {
            context,
            questions: Arc::new(Semaphore::new(questions)),
        }
    }

    /// Asks about every open attempt whose lease or waiting time has ended, and looks at refunds. Returns
    /// how many questions were put; the answers go on when this returns.
    pub(super) async fn ask_due(self: &Arc<Self>) -> Result<u64, StoreError> {
        let context = &self.context;
        // First, and not after the questions: a gateway that is away must not hold this up.
        context.recheck_all().await?;
        let mut asked: u64 = 0;
        while let Some((mut permits, rows_max)) = self.free_questions().await {
            let lease = Lease::start(context.limits.lease);
            let open = context
                .store
                .claim_open(rows_max, context.limits.lease)
                .await?;
            if open.is_empty() {
                break;
            }
            crash_at("ask_claimed");
            asked = asked.saturating_add(u64::try_from(open.len()).unwrap_or(0));
            for attempt in open {
                let Some(permit) = permits.split(1) else {
                    break;
                };
                let question = Arc::clone(self).question(attempt, lease, permit);
                context.start(question);
            }
        }
        Ok(asked.saturating_add(self.look_at_refunds().await?))
    }

    /// Looks at the payments of refunds whose lease or waiting time has ended, as many as there are
    /// free questions: they must not hold up the questions about charges. Returns how many.
    async fn look_at_refunds(&self) -> Result<u64, StoreError> {
        let context = &self.context;
        let Some((mut permits, rows_max)) = self.free_questions().await else {
            return Ok(0);
        };
        let lease = Lease::start(context.limits.lease);
        let open = context
            .store
            .claim_open_refund(rows_max, context.limits.lease)
            .await?;
        if open.is_empty() {
            return Ok(0);
        }
        crash_at("refund_ask_claimed");
        let looks = u64::try_from(open.len()).unwrap_or(0);
        for refund in open {
            let Some(permit) = permits.split(1) else {
                break;
            };
            let context = Arc::clone(context);
            self.context.start(async move {
                if lease.outlives(context.limits.call) {
                    refund::look_again(&context, &refund).await;
                }
                drop(permit);
            });
        }
        Ok(looks)
    }

    /// Looks for attempts whose daemon has gone, so that they are asked about. A look that fails, because too
    /// many dead rows lie at the front for instance, holds up none of the questions that are known.
    pub(super) async fn notice_abandoned(&self) {
        if let Err(error) = self.context.store.notice_abandoned(ABANDONED_ROWS).await {
            report::asking_failed(&error);
        }
    }

    async fn question(
        self: Arc<Self>,
        attempt: Result<OpenAttempt, BadRow>,
        lease: Lease,
        permit: OwnedSemaphorePermit,
    ) {
        match attempt {
            Ok(open) => self.ask(&open, lease).await,
            Err(bad) => {
                // It stays open and comes back; what it needs is a person.
                self.context.figures.metrics.bad_rows.inc();
                report::bad_open_row(&bad);
            }
        }
        drop(permit);
    }

    /// One question, from the look-up to the record.
    async fn ask(&self, open: &OpenAttempt, lease: Lease) {
        let claim = &open.claim;
        let started = Instant::now();
        if !lease.outlives(self.context.limits.call) {
            return;
        }
        let lookup = {
            let _in_flight = self.context.figures.in_flight();
            self.context
                .gateway
                .look_up(&Expected::of(&claim.request))
                .await
        };
        crash_at("look_up_read");
        let took = started.elapsed();
        self.context.figures.call("findAll", took);

        // "Not found" says nothing while the record may still be on its way.
        let is_settled = open.question.age >= self.context.policy.settle;
        let misses = |found: &Lookup| is_settled && found.misses_one_of(open.question.sends);
        let not_found = if lookup.as_ref().is_ok_and(misses) {
            open.question.not_found.saturating_add(1)
        } else {
            0
        };
        let question = Question {
            not_found,
            ..open.question
        };
        let (outcome, decision) = claim.purpose.decide_lookup(
            &self.context.policy,
            lookup.as_ref().map_err(drop),
            &question,
            claim.history,
        );
        // Who has left, or has another card, is not charged by a request of before.
        let is_owed = open.may_leave || decision != Decision::SendAgain;
        // Who waits for a person goes on waiting while the gateway gives no answer.
        let still_waits = open.parked && lookup.is_err();
        let parked = (still_waits || !is_owed).then(|| park(&self.context.policy));
        let decision = parked.unwrap_or(decision);
        let (decision, slot) = self.with_a_slot(decision, question).await;

        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            outcome,
            decision,
            not_found,
        });
        // Counted from before the record is sent: if this attempt is to leave again, that is when
        // its new lease begins.
        let lease = Lease::start(self.context.limits.lease);
        let recorded = self.context.recorder.record(Arc::clone(&answer)).await;
        crash_at("look_up_recorded");
        self.context.figures.answer(&answer, recorded);
        report::question(open, &answer, &lookup, recorded, took);

        if answer.decision == Decision::SendAgain && recorded == Some(Recorded::Moved) {
            self.send_again(open, lease, slot).await;
        }
    }

    /// What is to be sent again takes a slot under the rate cap like any other, and before that is written
    /// down: an intent counts as sent, and one that could not leave in time would spend the sends that
    /// an attempt has. Without a slot the gateway is asked again, and the answers count on.
    async fn with_a_slot(&self, decision: Decision, question: Question) -> (Decision, Slot) {
        if decision != Decision::SendAgain {
            return (decision, Slot::Now);
        }
        match self.context.slot_for_one().await {
            Ok(Some(slot)) => (decision, slot),
            Ok(None) | Err(_) => (send_later(&self.context.policy, question), Slot::Now),
        }
    }

    /// The same `merchant_uid` once more; that it will be is durable.
    async fn send_again(&self, open: &OpenAttempt, lease: Lease, slot: Slot) {
        let claim = &open.claim;
        if let Err(why) = look_back(&self.context, claim, lease).await {
            return report::not_sent_again(claim, &why);
        }
        // If it does not leave it stays open, and the gateway is asked again.
        if let Err(why) = self
            .context
            .rate_limiter
            .wait(slot, lease, self.context.limits.call)
            .await
        {
            return report::not_sent_again(claim, &why);
        }
        crash_at("send_again_next");
        let (outcome, took) = send(&self.context, &claim.request, lease).await;
        crash_at("send_again_read");
        let (outcome, decision) = decide_sent_again(&self.context.policy, outcome, claim.history);
        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            outcome,
            decision,
            not_found: 0,
        });
        let recorded = self.context.recorder.record(Arc::clone(&answer)).await;
        self.context.figures.call("again", took);
        self.context.figures.answer(&answer, recorded);
        report::charge(claim, &answer, recorded, took);
    }

    /// Waits for a free question, then takes all that are free; how many, too. `None` when stopping.
    async fn free_questions(&self) -> Option<(OwnedSemaphorePermit, u32)> {
        let stopping = &self.context.stopping;
        let mut permits = tokio::select! {
            first = Arc::clone(&self.questions).acquire_owned() => first.ok()?,
            () = stopping.cancelled() => return None,
        };
        if stopping.is_cancelled() {
            return None;
        }
        let more = u32::try_from(self.questions.available_permits()).unwrap_or(0);
        if let Ok(more) = Arc::clone(&self.questions).try_acquire_many_owned(more) {
            permits.merge(more);
        }
        let count = u32::try_from(permits.num_permits()).unwrap_or(1);
        Some((permits, count))
    }
}
