//! Charges that a person asks for: the way of a charge, once, while the person waits.
//!
//! The order is that of every charge: written down, sent, decided, recorded. A crash between any two
//! leaves a row that is `started`, and the asking pass of any daemon finds out. Nothing here is ever
//! sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, ChargeRequest, Instrument, Lookup, NotSent};
use crate::domain::claim::{Answer, Claim, Recorded};
use crate::domain::dunning::{Decision, History, Question, decide};
use crate::domain::hand::{HandCharge, decide_by_card, decide_lookup_by_card};
use crate::domain::ids::{AttemptNo, MerchantUid, SubscriptionId};
use crate::engine::lease::Lease;
use crate::engine::{Engine, Inner, report};
use crate::gateway::{Expected, Gateway};
use crate::store::{
    FirstBegun, FirstPayment, HandBegun, HandKey, HandRecord, OpenHand, StoreError,
};

/// How long a person waits for a database that has gone away, before the answer goes to the log.
const RECORD_TRIES: u32 = 10;
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// Writes down what a person waits for, as often as a database that has gone away makes it necessary,
/// within bounds. `Ok(false)`: the claim was lost to somebody else.
pub(super) async fn record_patiently<F>(write: impl Fn() -> F) -> Result<bool, StoreError>
where
    F: Future<Output = Result<bool, StoreError>>,
{
    for _ in 0..RECORD_TRIES {
        match write().await {
            Err(error) if error.is_passing() => sleep(RECORD_PAUSE).await,
            written => return written,
        }
    }
    write().await
}

/// What became of a charge by hand.
#[derive(Debug)]
pub enum HandCharged {
    /// It was sent, or tried to be.
    Done {
        /// What became of it.
        outcome: ChargeOutcome,
        /// Whether that is durable. If not, it is asked about.
        is_recorded: bool,
    },
    /// Nothing was sent; see [`HandBegun`].
    NotBegun(HandBegun),
}

/// What became of a subscription's first payment.
pub enum FirstPaid {
    /// It was sent, or tried to be.
    Done {
        /// The subscription's first attempt.
        claim: Box<Claim>,
        /// What became of it.
        outcome: ChargeOutcome,
        /// Whether that is durable. If not, it is asked about.
        is_recorded: bool,
    },
    /// Nothing was sent: the card has a subscription that has not ended.
    Exists(SubscriptionId),
    /// The first payment of this subscription of the card has an open fate.
    Open(SubscriptionId),
}

impl<G: Gateway> Engine<G> {
    /// Writes a charge down, sends it, and records what became of it.
    pub async fn charge_by_hand(&self, request: &ChargeRequest) -> Result<HandCharged, StoreError> {
        let inner = &self.inner;
        let charge = &HandCharge::of(request);
        // 1. Begin: the intent is durable before any money can move.
        let lease = Lease::start(inner.limits.lease);
        let key = match inner.store.begin_hand(charge, inner.limits.lease).await? {
            HandBegun::Begun(key) => key,
            known @ (HandBegun::Known(_) | HandBegun::Open(_)) => {
                return Ok(HandCharged::NotBegun(known));
            }
        };
        // 2. Charge.
        let started = Instant::now();
        let outcome = inner.send_by_hand(request, lease).await;
        inner
            .metrics
            .time_call(charge.kind.as_str(), started.elapsed());
        // 3. Decide, and 4. record.
        let follow = Follow::of(&decide(&inner.policy, &outcome, FIRST));
        let is_recorded = inner.record_by_hand(&key, Some(&outcome), follow, 0).await;
        info!(
            merchant_uid = %charge.merchant_uid,
            outcome = report::words(Some(&outcome)).0,
            duration_ms = report::millis(started.elapsed()),
            "{} by hand as {}: {}",
            charge.money,
            charge.merchant_uid,
            report::words(Some(&outcome)).0,
        );
        Ok(HandCharged::Done {
            outcome,
            is_recorded,
        })
    }

    /// Writes a subscription down together with its first attempt, sends the payment by `instrument`,
    /// and records what became of it as for every attempt. `announce` is told the number before
    /// anything leaves.
    pub async fn pay_first(
        &self,
        first: &FirstPayment,
        instrument: Instrument,
        announce: impl FnOnce(&MerchantUid),
    ) -> Result<FirstPaid, StoreError> {
        let inner = &self.inner;
        let lease = Lease::start(inner.limits.lease);
        let begun = inner
            .store
            .begin_first_payment(first, inner.limits.lease)
            .await?;
        let claim = match begun {
            FirstBegun::Begun(claim) => claim,
            FirstBegun::Exists(id) => return Ok(FirstPaid::Exists(id)),
            FirstBegun::Open(id) => return Ok(FirstPaid::Open(id)),
        };
        announce(&claim.key.merchant_uid);
        let request = ChargeRequest {
            instrument,
            ..claim.request.clone()
        };
        let started = Instant::now();
        let outcome = inner.send_by_hand(&request, lease).await;
        drop(request);
        let took = started.elapsed();
        let answer = Arc::new(Answer {
            key: claim.key.clone(),
            decision: decide_by_card(&inner.policy, &outcome, claim.history),
            outcome: Some(outcome.clone()),
            not_found: 0,
        });
        let recorded = inner.recorder.record(Arc::clone(&answer)).await;
        inner.metrics.time_call("onetime", took);
        report::charge(&claim, &answer, recorded, took, inner);
        Ok(FirstPaid::Done {
            claim,
            outcome,
            is_recorded: matches!(recorded, Some(Recorded::Moved | Recorded::Already)),
        })
    }
}

/// There is one attempt by hand, and no ladder.
const FIRST: History = History {
    attempt_no: AttemptNo::FIRST,
    declines: 0,
    not_sent: 0,
};

/// What a decision means for a row that is never sent again.
#[derive(Debug, Clone, Copy)]
struct Follow {
    wait: Duration,
    parked: bool,
}

impl Follow {
    fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Ask { wait } => Self {
                wait: *wait,
                parked: false,
            },
            Decision::Park { wait } => Self {
                wait: *wait,
                parked: true,
            },
            // A proof ends the questions, whatever a subscription would do next.
            Decision::Advance
            | Decision::Retry { .. }
            | Decision::GiveUp(_)
            | Decision::SendAgain => Self {
                wait: Duration::ZERO,
                parked: false,
            },
        }
    }
}

impl<G: Gateway> Inner<G> {
    async fn send_by_hand(&self, request: &ChargeRequest, lease: Lease) -> ChargeOutcome {
        if lease.outlives(self.limits.call) {
            self.send(request, lease).await.0
        } else {
            ChargeOutcome::NotSent(NotSent::LeaseTooShort)
        }
    }

    /// Writes an outcome down, and tries again for a while if the database is away.
    async fn record_by_hand(
        &self,
        key: &HandKey,
        outcome: Option<&ChargeOutcome>,
        follow: Follow,
        not_found: u16,
    ) -> bool {
        let written = record_patiently(|| {
            self.store.record_hand(HandRecord {
                key,
                outcome,
                wait: follow.wait,
                parked: follow.parked,
                not_found,
            })
        })
        .await;
        match written {
            Ok(true) => return true,
            Ok(false) => {
                self.metrics.stale_fences.inc();
                warn!(
                    merchant_uid = %key.merchant_uid,
                    "the claim on {} was lost to another daemon, which will find out",
                    key.merchant_uid,
                );
            }
            Err(error) => error!(
                merchant_uid = %key.merchant_uid,
                ?outcome,
                error = chain(&error),
                "an outcome could not be recorded; the charge stays open and will be asked about",
            ),
        }
        false
    }

    /// Asks about every charge and looks at every refund that a person began and whose lease or
    /// waiting time has ended. Returns how many.
    pub(super) async fn ask_due_by_hand(self: Arc<Self>) -> Result<u64, StoreError> {
        let mut asked: u64 = 0;
        while !self.stopping.is_cancelled() {
            let Some(mut slots) = self.free_questions().await else {
                break;
            };
            let rows_max = u32::try_from(slots.num_permits()).unwrap_or(1);
            let lease = Lease::start(self.limits.lease);
            let open = self
                .store
                .claim_open_hand(rows_max, self.limits.lease)
                .await?;
            if open.is_empty() {
                break;
            }
            asked = asked.saturating_add(u64::try_from(open.len()).unwrap_or(0));
            for charge in open {
                let Some(slot) = slots.split(1) else { break };
                self.tasks
                    .spawn(Arc::clone(&self).ask_by_hand(charge, lease, slot));
            }
        }
        let looked = Arc::clone(&self).look_at_refunds().await?;
        Ok(asked.saturating_add(looked))
    }

    async fn ask_by_hand(
        self: Arc<Self>,
        open: OpenHand,
        lease: Lease,
        slot: OwnedSemaphorePermit,
    ) {
        if lease.outlives(self.limits.call) {
            self.ask_one_by_hand(&open).await;
        }
        drop(slot);
    }

    /// One question, from the look-up to the record.
    async fn ask_one_by_hand(&self, open: &OpenHand) {
        let expected = Expected {
            merchant_uid: open.charge.merchant_uid.clone(),
            customer_uid: open.charge.customer_uid.clone(),
            money: open.charge.money,
        };
        let started = Instant::now();
        let lookup = self.gateway.look_up(&expected).await;
        self.metrics.time_call("findAll", started.elapsed());
        let not_found = match &lookup {
            // Before the settle time nothing counts: the look-up may be behind.
            Ok(Lookup::NotFound) if open.question.age >= self.policy.settle => {
                open.question.not_found.saturating_add(1)
            }
            Ok(_) | Err(_) => 0,
        };
        let question = Question {
            not_found,
            ..open.question
        };
        let (outcome, decision) = decide_lookup_by_card(
            &self.policy,
            lookup.as_ref().map_err(drop),
            &question,
            FIRST,
        );
        let follow = Follow::of(&decision);
        let recorded = self
            .record_by_hand(&open.key, outcome.as_ref(), follow, not_found)
            .await;
        let (word, class) = report::words(outcome.as_ref());
        if outcome.is_some() {
            self.metrics.count_outcome(word, class);
            self.tally.count(word);
        }
        let merchant_uid = &open.charge.merchant_uid;
        info!(
            %merchant_uid,
            asks = open.question.asks,
            age_s = open.question.age.as_secs(),
            outcome = word,
            recorded,
            "asked what became of {merchant_uid}, charged by hand: {word}",
        );
        if follow.parked && !open.parked {
            error!(
                %merchant_uid,
                "parked: billd can't find out what became of {merchant_uid}; look it up in the PortOne console",
            );
        }
    }
}
