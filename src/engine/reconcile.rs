//! Asking what became of an attempt: the way of a charge, with a question in the place of the call.
//!
//! Rescue means ask. An attempt that lost its daemon, or whose answer was lost, is looked up at the
//! gateway and never simply sent again. Only when the gateway has repeatedly said, over the settle
//! time, that it knows nothing of it may the *same* `merchant_uid` leave once more, after that
//! intent, too, is durable. A crash at any line leaves the attempt open with an `ask_at`, so it is
//! asked about again.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::domain::attempt::Lookup;
use crate::domain::claim::{Answer, BadRow, OpenAttempt, Recorded};
use crate::domain::dunning::{Decision, Question, decide_lookup, decide_sent_again, send_later};
use crate::domain::hand::decide_lookup_by_card;
use crate::engine::charge::InFlight;
use crate::engine::lease::Lease;
use crate::engine::rate_limiter::Slot;
use crate::engine::{Inner, report};
use crate::failpoint::crash_at;
use crate::gateway::{Expected, Gateway};
use crate::store::StoreError;

/// Rows per look at what has to be derived again.
const RECHECK_ROWS: u32 = 200;

/// Rows per look for what was abandoned: more than a few daemons have under way.
const ABANDONED_ROWS: u32 = 5_000;

impl<G: Gateway> Inner<G> {
    /// Asks about every open attempt whose lease or waiting time has ended. Returns how many
    /// questions were put; the answers go on when this returns.
    pub(super) async fn ask_due(self: Arc<Self>) -> Result<u64, StoreError> {
        // First, and not after the questions: a gateway that is away must not hold this up.
        Arc::clone(&self).recheck_all().await?;
        let mut asked: u64 = 0;
        while !self.stopping.is_cancelled() {
            let Some(mut slots) = self.free_questions().await else {
                break;
            };
            let rows_max = u32::try_from(slots.num_permits()).unwrap_or(1);
            let lease = Lease::start(self.limits.lease);
            let lasts = self.limits.lease;
            let open = self.store.claim_open(rows_max, lasts).await?;
            if open.is_empty() {
                break;
            }
            crash_at("ask_claimed");
            asked = asked.saturating_add(u64::try_from(open.len()).unwrap_or(0));
            for attempt in open {
                let Some(slot) = slots.split(1) else { break };
                self.tasks
                    .spawn(Arc::clone(&self).question(attempt, lease, slot));
            }
        }
        let by_hand = Arc::clone(&self).ask_due_by_hand().await?;
        Ok(asked.saturating_add(by_hand))
    }

    /// Looks for attempts whose daemon has gone, so that they are asked about. A look that fails, because too
    /// many dead rows lie at the front for instance, holds up none of the questions that are known.
    pub(super) async fn notice_abandoned(&self) {
        if let Err(error) = self.store.notice_abandoned(ABANDONED_ROWS).await {
            report::asking_failed(&error);
        }
    }

    /// Derives again what follows for the rows that ask for it.
    pub(super) async fn recheck_all(self: Arc<Self>) -> Result<(), StoreError> {
        loop {
            let rechecked = self
                .store
                .recheck(RECHECK_ROWS, self.limits.catch_up_pace)
                .await?;
            for one in &rechecked {
                report::rechecked(one);
            }
            if !rechecked.iter().any(|one| one.moved) {
                return Ok(());
            }
        }
    }

    async fn question(
        self: Arc<Self>,
        attempt: Result<OpenAttempt, BadRow>,
        lease: Lease,
        slot: OwnedSemaphorePermit,
    ) {
        match attempt {
            Ok(open) => self.ask(&open, lease).await,
            Err(bad) => {
                // It stays open and comes back; what it needs is a person.
                self.metrics.bad_rows.inc();
                report::bad_open_row(&bad);
            }
        }
        drop(slot);
    }

    /// One question, from the look-up to the record.
    async fn ask(&self, open: &OpenAttempt, lease: Lease) {
        let claim = &open.claim;
        let started = Instant::now();
        if !lease.outlives(self.limits.call) {
            return;
        }
        let lookup = {
            let _in_flight = InFlight::count(&self.metrics.in_flight);
            self.gateway.look_up(&Expected::of(&claim.request)).await
        };
        crash_at("look_up_read");
        let took = started.elapsed();
        self.metrics.time_call("findAll", took);

        // "Not found" says nothing while the record may still be on its way.
        let is_settled = open.question.age >= self.policy.settle;
        let not_found = match &lookup {
            Ok(found) if is_settled && found.misses_one_of(open.question.sends) => {
                open.question.not_found.saturating_add(1)
            }
            Ok(Lookup::NotFound | Lookup::Paid(_) | Lookup::Failed { .. } | Lookup::Unclear(_))
            | Err(_) => 0,
        };
        let question = Question {
            not_found,
            ..open.question
        };
        let decide = if open.by_card {
            decide_lookup_by_card
        } else {
            decide_lookup
        };
        let (outcome, decision) = decide(
            &self.policy,
            lookup.as_ref().map_err(drop),
            &question,
            claim.history,
        );
        let (decision, slot) = self.with_a_slot(decision, question).await;

        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            outcome,
            decision,
            not_found,
        });
        // Counted from before the record is sent: if this attempt is to leave again, that is when
        // its new lease begins.
        let lease = Lease::start(self.limits.lease);
        let recorded = self.recorder.record(Arc::clone(&answer)).await;
        crash_at("look_up_recorded");
        report::question(open, &answer, &lookup, recorded, took, self);

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
        // In the first half of what a call leaves free of the lease that is yet to begin.
        let room = self.limits.lease.saturating_sub(self.limits.call);
        let within = room.checked_div(2).unwrap_or_default();
        match self.rate_limiter.reserve_one(within).await {
            Ok(Some(slot)) => (decision, slot),
            Ok(None) | Err(_) => (send_later(&self.policy, question), Slot::Now),
        }
    }

    /// The same `merchant_uid` once more; that it will be is durable.
    async fn send_again(&self, open: &OpenAttempt, lease: Lease, slot: Slot) {
        let claim = &open.claim;
        // If it does not leave it stays open, and the gateway is asked again.
        if let Err(why) = self.rate_limiter.wait(slot, lease, self.limits.call).await {
            return report::not_sent_again(claim, &why);
        }
        crash_at("send_again_next");
        let (outcome, took) = self.send(&claim.request, lease).await;
        crash_at("send_again_read");
        let (outcome, decision) = decide_sent_again(&self.policy, outcome, claim.history);
        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            outcome,
            decision,
            not_found: 0,
        });
        let recorded = self.recorder.record(Arc::clone(&answer)).await;
        self.metrics.time_call("again", took);
        report::charge(claim, &answer, recorded, took, self);
    }

    pub(super) async fn free_questions(&self) -> Option<OwnedSemaphorePermit> {
        let first = tokio::select! {
            slot = Arc::clone(&self.questions).acquire_owned() => slot.ok()?,
            () = self.stopping.cancelled() => return None,
        };
        let mut slots = first;
        let more = u32::try_from(self.questions.available_permits()).unwrap_or(0);
        if let Ok(more) = Arc::clone(&self.questions).try_acquire_many_owned(more) {
            slots.merge(more);
        }
        Some(slots)
    }
}
