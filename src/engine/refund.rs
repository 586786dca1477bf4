//! Giving money back: written down, sent with the balance we believe in, and proved by the balance
//! afterwards.
//!
//! A crash at any line leaves a row that is `started`; the asking pass looks at the payment and finds
//! out. A refund is never sent again by itself: once it is proved that nothing was given back, the
//! same command may be run again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::domain::attempt::{Lookup, NotSent};
use crate::domain::dunning::Question;
use crate::domain::ids::CustomerUid;
use crate::domain::money::Money;
use crate::domain::refund::{
    RefundFound, RefundOutcome, RefundRequest, Refusal, count_unchanged, decide_refund,
    judge_refusal,
};
use crate::engine::context::Context;
use crate::engine::lease::Lease;
use crate::failpoint::crash_at;
use crate::gateway::{Expected, Gateway, GatewayError};
use crate::store::{OpenRefund, RefundBegun, RefundKey, RefundRecord, RefundState, StoreError};

/// How long a person waits for a database that has gone away, before the answer goes to the log.
const RECORD_TRIES: u32 = 10;
const RECORD_PAUSE: Duration = Duration::from_secs(1);

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

/// Writes a refund down, sends it, and records what became of it.
pub(super) async fn refund<G: Gateway>(
    context: &Context<G>,
    request: &RefundRequest,
    customer_uid: Option<CustomerUid>,
    key: &str,
) -> Result<Refunded, StoreError> {
    // 1. Begin: the intent is durable before any money can move.
    crash_at("refund_next");
    let lease = Lease::start(context.limits.lease);
    let begun = context
        .store
        .begin_refund(request, key, context.limits.lease)
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
    let outcome = if lease.outlives(context.limits.call) {
        context.gateway.refund(request).await
    } else {
        RefundOutcome::NotSent(NotSent::LeaseTooShort)
    };
    context.figures.call("cancel", started.elapsed());
    crash_at("refund_read");
    // 3. Decide; a refusal is believed only after a look at the payment.
    let known = prove(context, request, customer_uid, outcome).await;
    crash_at("refund_decided");
    // 4. Record.
    let is_recorded = record(context, &key, request, &known, 0).await;
    crash_at("refund_recorded");
    Ok(Refunded::Done {
        state: known.state,
        message: known.message,
        is_recorded,
    })
}

async fn prove<G: Gateway>(
    context: &Context<G>,
    request: &RefundRequest,
    customer_uid: Option<CustomerUid>,
    outcome: RefundOutcome,
) -> Known {
    let unknown = |reason, message| Known {
        state: RefundState::Unknown {
            wait: context.policy.asks.rung(0).unwrap_or_default(),
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
    let look = look(context, request, customer_uid).await;
    let refusal = judge_refusal(request, meaning, look.as_ref().map_err(drop));
    match refusal {
        Refusal::Proved => Known {
            state: RefundState::Refused,
            reason: Some(refusal.as_str()),
            message: Some(message),
        },
        Refusal::Contradicted | Refusal::Unproved => unknown(refusal.as_str(), message),
    }
}

async fn look<G: Gateway>(
    context: &Context<G>,
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
    let found = context.gateway.look_up(&expected).await;
    context.figures.call("findAll", started.elapsed());
    found
}

/// One look at the payment of a refund whose fate is open, and its record.
pub(super) async fn look_again<G: Gateway>(context: &Context<G>, open: &OpenRefund) {
    let request = &open.request;
    let look = look(context, request, open.customer_uid.clone()).await;
    let seen = look.as_ref().map_err(drop);
    let unchanged = count_unchanged(&context.policy, request, seen, &open.question);
    let question = Question {
        not_found: unchanged,
        ..open.question
    };
    let found = decide_refund(&context.policy, request, seen, &question, open.doubt);
    let mut known = Known::of(found);
    if open.doubt.is_contradicted && matches!(known.state, RefundState::Unknown { .. }) {
        // The next look must know of the contradiction too.
        known.reason = None;
    }
    if let RefundState::Unknown { parked, .. } = &mut known.state {
        *parked |= open.parked && seen.is_err();
    }
    let recorded = record(context, &open.key, request, &known, unchanged).await;
    let merchant_uid = &request.merchant_uid;
    info!(event = "refund_looked_at",
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
        error!(event = "refund_parked",
            %merchant_uid,
            found = known.message,
            "parked: billd can't find out whether {} {} of {merchant_uid} were given back; look it up in the PortOne console",
            request.amount,
            request.currency,
        );
    }
}

/// Writes it down, and tries again for a while if the database is away.
async fn record<G>(
    context: &Context<G>,
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
    let mut written = context.store.record_refund(&record).await;
    for _ in 0..RECORD_TRIES {
        if !written.as_ref().is_err_and(StoreError::is_passing) {
            break;
        }
        sleep(RECORD_PAUSE).await;
        written = context.store.record_refund(&record).await;
    }
    match written {
        Ok(true) => return true,
        Ok(false) => {
            context.figures.metrics.stale_fences.inc();
            warn!(event = "refund_claim_lost",
                merchant_uid = %request.merchant_uid,
                "the claim on a refund of {} was lost to another daemon, which will find out",
                request.merchant_uid,
            );
        }
        Err(error) => error!(event = "refund_unrecorded",
            merchant_uid = %request.merchant_uid,
            state = known.state.as_str(),
            error = chain(&error),
            "a refund could not be recorded; it stays open and its payment will be looked at",
        ),
    }
    false
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
