//! Giving money back: written down, sent with the balance we believe in, and proved by the balance
//! afterwards.
//!
//! A crash at any line leaves a row that is `started`; the asking pass looks at the payment and finds
//! out. A refund is never sent again by itself: once it is proved that nothing was given back, the
//! same command may be run again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::domain::attempt::{Lookup, NotSent};
use crate::domain::dunning::Question;
use crate::domain::ids::CustomerUid;
use crate::domain::money::Money;
use crate::domain::refund::{
    RefundDoubt, RefundFound, RefundOutcome, RefundRequest, Refusal, count_unchanged,
    decide_refund, judge_refusal,
};
use crate::engine::lease::Lease;
use crate::engine::{Engine, Inner};
use crate::failpoint::crash_at;
use crate::gateway::{Expected, Gateway, GatewayError};
use crate::store::{OpenRefund, RefundBegun, RefundKey, RefundRecord, RefundState, StoreError};

/// How long a person waits for a database that has gone away, before the answer goes to the log.
const RECORD_TRIES: u32 = 10;
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// The reason of a refund that was refused in plain words, though the balance is as if it were made.
const CONTRADICTED: &str = "refused_contradicted";

/// What became of a refund.
#[derive(Debug)]
pub enum Refunded {
    /// It was sent, or tried to be.
    Done {
        /// What is known now.
        state: RefundState,
        /// What the gateway said, or why nobody can tell.
        message: Option<String>,
        /// Whether that is durable. If not, the payment is looked at.
        is_recorded: bool,
    },
    /// Nothing was sent; see [`RefundBegun`].
    NotBegun(RefundBegun),
}

/// What is known of a refund, and why.
struct Known {
    state: RefundState,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl<G: Gateway> Engine<G> {
    /// Writes a refund down, sends it, and records what became of it.
    pub async fn refund(
        &self,
        request: &RefundRequest,
        customer_uid: Option<CustomerUid>,
        key: &str,
    ) -> Result<Refunded, StoreError> {
        let inner = &self.inner;
        // 1. Begin: the intent is durable before any money can move.
        crash_at("refund_next");
        let lease = Lease::start(inner.limits.lease);
        let begun = inner
            .store
            .begin_refund(request, key, inner.limits.lease)
            .await?;
        let key = match begun {
            RefundBegun::Begun(key) => key,
            known @ (RefundBegun::Known(_) | RefundBegun::Open(_)) => {
                return Ok(Refunded::NotBegun(known));
            }
        };
        crash_at("refund_begun");
        // 2. Send.
        let started = Instant::now();
        let outcome = if lease.outlives(inner.limits.call) {
            inner.gateway.refund(request).await
        } else {
            RefundOutcome::NotSent(NotSent::LeaseTooShort)
        };
        inner.metrics.time_call("cancel", started.elapsed());
        crash_at("refund_read");
        // 3. Decide; a refusal is believed only after a look at the payment.
        let known = inner.prove(request, customer_uid, outcome).await;
        crash_at("refund_decided");
        // 4. Record.
        let is_recorded = inner.record_refund(&key, request, &known, 0).await;
        Ok(Refunded::Done {
            state: known.state,
            message: known.message,
            is_recorded,
        })
    }
}

impl<G: Gateway> Inner<G> {
    async fn prove(
        &self,
        request: &RefundRequest,
        customer_uid: Option<CustomerUid>,
        outcome: RefundOutcome,
    ) -> Known {
        let unknown = |reason, message| Known {
            state: RefundState::Unknown {
                wait: self.policy.asks.rung(0).unwrap_or_default(),
                parked: false,
            },
            reason: Some(reason),
            message: Some(message),
        };
        let (meaning, message) = match outcome {
            RefundOutcome::Refunded => return Known::refunded(),
            RefundOutcome::NotSent(why) => {
                return Known {
                    state: RefundState::NotSent,
                    reason: Some(why.as_str()),
                    message: Some(why.to_string()),
                };
            }
            RefundOutcome::Unknown(doubt) => return unknown(doubt.reason.as_str(), doubt.detail),
            RefundOutcome::Refused { meaning, message } => (meaning, message),
        };
        let look = self.look(request, customer_uid).await;
        match judge_refusal(request, meaning, look.as_ref().map_err(drop)) {
            Refusal::Proved => Known {
                state: RefundState::Refused,
                reason: Some("refused"),
                message: Some(message),
            },
            Refusal::Contradicted => unknown(CONTRADICTED, message),
            Refusal::Unproved => unknown("refused_unproved", message),
        }
    }

    async fn look(
        &self,
        request: &RefundRequest,
        customer_uid: Option<CustomerUid>,
    ) -> Result<Lookup, GatewayError> {
        let money = Money::new(request.payment_amount, request.currency)
            .map_err(|error| GatewayError::Unreadable(error.to_string()))?;
        let expected = Expected {
            merchant_uid: request.merchant_uid.clone(),
            customer_uid,
            money,
        };
        let started = Instant::now();
        let found = self.gateway.look_up(&expected).await;
        self.metrics.time_call("findAll", started.elapsed());
        found
    }

    /// Looks at the payments of refunds whose lease or waiting time has ended, as many as there are
    /// free questions: they must not hold up the questions about charges. Returns how many.
    pub(super) async fn look_at_refunds(self: Arc<Self>) -> Result<u64, StoreError> {
        let Some(mut slots) = self.free_questions().await else {
            return Ok(0);
        };
        let rows_max = u32::try_from(slots.num_permits()).unwrap_or(1);
        let lease = Lease::start(self.limits.lease);
        let open = self
            .store
            .claim_open_refund(rows_max, self.limits.lease)
            .await?;
        crash_at("refund_ask_claimed");
        let looks = u64::try_from(open.len()).unwrap_or(0);
        for refund in open {
            let Some(slot) = slots.split(1) else { break };
            self.tasks
                .spawn(Arc::clone(&self).look_in_time(refund, lease, slot));
        }
        Ok(looks)
    }

    async fn look_in_time(
        self: Arc<Self>,
        open: OpenRefund,
        lease: Lease,
        slot: OwnedSemaphorePermit,
    ) {
        if lease.outlives(self.limits.call) {
            self.look_at_refund(&open).await;
        }
        drop(slot);
    }

    async fn look_at_refund(&self, open: &OpenRefund) {
        let request = &open.request;
        let look = self.look(request, open.customer_uid.clone()).await;
        let seen = look.as_ref().map_err(drop);
        let unchanged = count_unchanged(&self.policy, request, seen, &open.question);
        let question = Question {
            not_found: unchanged,
            ..open.question
        };
        let is_contradicted = open.reason.as_deref() == Some(CONTRADICTED);
        let doubt = RefundDoubt {
            booked: open.booked,
            is_contradicted,
        };
        let found = decide_refund(&self.policy, request, seen, &question, doubt);
        let mut known = Known::of(found);
        if is_contradicted && matches!(known.state, RefundState::Unknown { .. }) {
            // The next look must know of the contradiction too.
            known.reason = None;
        }
        let recorded = self
            .record_refund(&open.key, request, &known, unchanged)
            .await;
        let merchant_uid = &request.merchant_uid;
        info!(
            %merchant_uid,
            asks = open.question.asks,
            age_s = open.question.age.as_secs(),
            state = known.state.as_str(),
            recorded,
            "looked at {merchant_uid} for a refund of {} {}: {}",
            request.amount,
            request.currency,
            known.state.as_str(),
        );
        if matches!(known.state, RefundState::Unknown { parked: true, .. }) && !open.parked {
            error!(
                %merchant_uid,
                found = known.message,
                "parked: billd can't find out whether {} {} of {merchant_uid} were given back; look it up in the PortOne console",
                request.amount,
                request.currency,
            );
        }
    }

    /// Writes it down, and tries again for a while if the database is away.
    async fn record_refund(
        &self,
        key: &RefundKey,
        request: &RefundRequest,
        known: &Known,
        unchanged: u16,
    ) -> bool {
        let record = RefundRecord {
            key,
            request,
            state: known.state,
            reason: known.reason,
            message: known.message.as_deref(),
            unchanged,
        };
        let mut written = self.store.record_refund(&record).await;
        for _ in 0..RECORD_TRIES {
            if !written.as_ref().is_err_and(StoreError::is_passing) {
                break;
            }
            sleep(RECORD_PAUSE).await;
            written = self.store.record_refund(&record).await;
        }
        crash_at("refund_recorded");
        match written {
            Ok(true) => return true,
            Ok(false) => {
                self.metrics.stale_fences.inc();
                warn!(
                    merchant_uid = %request.merchant_uid,
                    "the claim on a refund of {} was lost to another daemon, which will find out",
                    request.merchant_uid,
                );
            }
            Err(error) => error!(
                merchant_uid = %request.merchant_uid,
                state = known.state.as_str(),
                error = chain(&error),
                "a refund could not be recorded; it stays open and its payment will be looked at",
            ),
        }
        false
    }
}

impl Known {
    fn refunded() -> Self {
        Self {
            state: RefundState::Refunded,
            reason: None,
            message: None,
        }
    }

    fn of(found: RefundFound) -> Self {
        match found {
            RefundFound::Refunded => Self::refunded(),
            RefundFound::NotRefunded => Self {
                state: RefundState::Refused,
                reason: Some("not_refunded"),
                message: Some("the payment's balance is unchanged".to_owned()),
            },
            RefundFound::Ask { wait } => Self {
                state: RefundState::Unknown {
                    wait,
                    parked: false,
                },
                reason: None,
                message: None,
            },
            RefundFound::Park { wait, detail } => Self {
                state: RefundState::Unknown { wait, parked: true },
                reason: Some("mismatch"),
                message: Some(detail),
            },
        }
    }
}
