//! What the operator sees: one line per attempt and per sweep, each of which reads alone.
//!
//! `error!` means that a person must look; OPERATIONS.md says what to do for each. Never here: cards,
//! tokens, buyers, raw bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{DisplayValue, display};
use tracing::{debug, error, info, warn};

use crate::causes::chain;
use crate::domain::attempt::{
    AttemptState, ChargeOutcome, ChargeRequest, Lookup, NotSent, UnknownReason,
};
use crate::domain::claim::{Answer, AttemptKey, BadRow, Claim, OpenAttempt, Recorded};
use crate::domain::decline::DeclineClass;
use crate::domain::dunning::{Decision, GiveUpReason};
use crate::domain::ids::{CustomerUid, ImpUid, SubscriptionId};
use crate::engine::circuit_breaker::Change;
use crate::engine::throttle::Changed;
use crate::gateway::GatewayError;
use crate::metrics::Tally;
use crate::store::{Rechecked, StoreError};

/// The schema has moved on without this program.
pub(super) fn outdated() {
    error!(
        event = "schema_outgrown",
        "the database was migrated by a newer billd, and this one can't work with it any more: it stops; run that version \
         here too"
    );
}

/// What became of what one look at the book began, told when the last of it is recorded. An empty one is not worth
/// the operator's eyes.
#[derive(Debug)]
pub(super) struct Sweep {
    started: Instant,
    begun: AtomicU64,
    tally: Tally,
}

impl Sweep {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            begun: AtomicU64::new(0),
            tally: Tally::default(),
        })
    }

    pub(super) fn begun(&self, more: u32) {
        self.begun.fetch_add(more.into(), Ordering::Relaxed);
    }

    pub(super) fn ended(&self, outcome: &ChargeOutcome, recorded: Option<Recorded>) {
        self.tally.count(outcome.state().as_str());
        if recorded.is_none() {
            self.tally.count_unrecorded();
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        let begun = self.begun.load(Ordering::Relaxed);
        if begun == 0 {
            debug!("nothing is due");
            return;
        }
        let counts = self.tally.look();
        info!(
            event = "sweep",
            begun,
            duration_ms = millis(self.started.elapsed()),
            paid = counts.paid,
            declined = counts.declined,
            not_sent = counts.not_sent,
            unknown = counts.unknown,
            unrecorded = counts.unrecorded,
            "sweep: {begun} attempts begun, {} of them paid",
            counts.paid,
        );
    }
}

/// Charging was switched off, by billd itself.
pub(super) fn ceiling(said: &str) {
    error!(
        event = "ceiling",
        "ceiling: {said}; charging is switched off and what is due waits; `billd start` goes on"
    );
}

/// One line per charge. Who is past due now is worth a louder one.
pub(super) fn charge(claim: &Claim, answer: &Answer, recorded: Option<Recorded>, took: Duration) {
    let outcome = answer.outcome.as_ref();
    let (word, class) = words(outcome);
    let ChargeRequest {
        money, instrument, ..
    } = &claim.request;
    // The level of an event is a constant, so a macro has to say it twice.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event = "charge",
                merchant_uid = %claim.key.merchant_uid,
                subscription.id = subscription(&claim.key),
                customer_uid = instrument.customer_uid().map(CustomerUid::as_str),
                amount = money.amount(),
                currency = money.currency().as_str(),
                period = claim.key.debt.map(|debt| display(debt.period)),
                attempt.no = claim.history.attempt_no.get(),
                outcome = word,
                class,
                code = outcome.and_then(ChargeOutcome::decline).and_then(|decline| decline.code.as_deref()),
                imp_uid = outcome.and_then(ChargeOutcome::imp_uid).map(ImpUid::as_str),
                decision = answer.decision.as_str(),
                next = next(&answer.decision),
                next_in_s = answer.decision.wait().map(|wait| wait.as_secs()),
                duration_ms = millis(took),
                "{money} as {}: {word}{}",
                claim.key.merchant_uid,
                tail(answer),
            )
        };
    }
    if is_past_due(&answer.decision) {
        line!(warn);
    } else {
        line!(info);
    }
    alarms(answer, recorded);
}

/// What comes next, in a word.
fn next(decision: &Decision) -> &'static str {
    match decision {
        Decision::Advance => "next_period",
        Decision::GiveUp(GiveUpReason::OneOff) => "nothing",
        Decision::GiveUp(_) => "past_due",
        Decision::Retry { .. } => "retry",
        Decision::Ask { .. } => "ask",
        Decision::SendAgain => "send_again",
        Decision::Park { .. } => "person",
    }
}

fn is_past_due(decision: &Decision) -> bool {
    next(decision) == "past_due"
}

/// One line per question, and louder ones where a person must look.
pub(super) fn question(
    open: &OpenAttempt,
    answer: &Answer,
    lookup: &Result<Lookup, GatewayError>,
    recorded: Option<Recorded>,
    took: Duration,
) {
    let key = &answer.key;
    let found = match lookup {
        Ok(Lookup::Paid(_)) => "paid".to_owned(),
        Ok(Lookup::Failed { decline, .. }) => format!("failed, {}", decline.class.as_str()),
        Ok(Lookup::NotFound) => "not found".to_owned(),
        Ok(Lookup::Unclear(doubt)) => format!("unclear, {}", doubt.detail),
        Err(error) => format!("no answer, {}", chain(error)),
    };
    let ChargeRequest {
        money, instrument, ..
    } = &open.claim.request;
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event = "question",
                merchant_uid = %key.merchant_uid,
                subscription.id = subscription(key),
                customer_uid = instrument.customer_uid().map(CustomerUid::as_str),
                amount = money.amount(),
                currency = money.currency().as_str(),
                attempt.no = open.claim.history.attempt_no.get(),
                asks = open.question.asks,
                age_s = open.question.age.as_secs(),
                found,
                imp_uid = answer.outcome.as_ref().and_then(ChargeOutcome::imp_uid).map(ImpUid::as_str),
                decision = answer.decision.as_str(),
                next = next(&answer.decision),
                next_in_s = answer.decision.wait().map(|wait| wait.as_secs()),
                duration_ms = millis(took),
                "asked what became of {}: {found}{}",
                key.merchant_uid,
                tail(answer),
            )
        };
    }
    if is_past_due(&answer.decision) {
        line!(warn);
    } else {
        line!(info);
    }
    if matches!(answer.decision, Decision::Park { .. }) && !open.parked {
        error!(event = "parked",
            merchant_uid = %key.merchant_uid,
            subscription.id = subscription(key),
            found,
            "parked: billd can't find out what became of {}; look it up in the PortOne console",
            key.merchant_uid,
        );
    }
    alarms(answer, recorded);
}

/// An attempt that was to leave once more and could not: it stays open.
pub(super) fn not_sent_again(claim: &Claim, why: &NotSent) {
    warn!(event = "not_sent_again",
        merchant_uid = %claim.key.merchant_uid,
        subscription.id = subscription(&claim.key),
        reason = why.as_str(),
        "{} was not sent again: {why}; the gateway will be asked about it again",
        claim.key.merchant_uid,
    );
}

/// An attempt that was declined by answer, and is paid.
pub(super) fn paid_before(answer: &Answer) {
    warn!(event = "paid_before",
        merchant_uid = %answer.key.merchant_uid,
        subscription.id = subscription(&answer.key),
        "{} was declined by answer, and the gateway's books hold a payment: it is not asked for again",
        answer.key.merchant_uid,
    );
}

/// Rows that no legal path makes.
pub(super) fn out_of_order(found: u64) {
    if found > 0 {
        warn!(
            event = "rows_out_of_order",
            found,
            "{found} subscriptions were out of order and are planned anew; who writes past the triggers?"
        );
    }
}

/// The gateway's own scheduler, on cards of ours.
pub(super) fn reservations(found: u64) {
    if found > 0 {
        warn!(
            event = "reservations",
            found,
            "{found} reservations at the gateway are for cards of ours: these are held until they are unscheduled \
             there and the findings explained"
        );
    }
}

/// What the database said of the claim, and what must not happen at all.
fn alarms(answer: &Answer, recorded: Option<Recorded>) {
    let merchant_uid = answer.key.merchant_uid.as_str();
    let key = &answer.key;
    if let Some(ChargeOutcome::Unknown(doubt)) = &answer.outcome
        && doubt.reason == UnknownReason::Mismatch
    {
        error!(
            event = "mismatch",
            merchant_uid,
            subscription.id = subscription(key),
            detail = doubt.detail,
            "mismatch: the gateway's answer is not for what {merchant_uid} asked for",
        );
    }
    if let Some(ChargeOutcome::Declined(decline)) = &answer.outcome
        && decline.class == DeclineClass::RowText
    {
        error!(
            event = "bad_row",
            merchant_uid,
            subscription.id = subscription(key),
            "bad row: {merchant_uid} was refused for a text of its row: {}",
            decline.message
        );
    }
    match recorded {
        Some(Recorded::Moved | Recorded::Already) | None => {}
        Some(Recorded::Stale {
            paid_written: false,
        }) => {
            warn!(
                event = "claim_lost",
                merchant_uid,
                subscription.id = subscription(key),
                "the claim on {merchant_uid} was lost to another daemon, which will find out",
            );
        }
        Some(Recorded::Stale { paid_written: true }) => {
            error!(
                event = "paid_late",
                merchant_uid,
                subscription.id = subscription(key),
                "paid late: {merchant_uid} moved money after its claim was lost; see view billd.paid_twice",
            );
        }
    }
}

/// Open attempts could not be read. While the database is away, the charging side says so.
pub(super) fn asking_failed(error: &StoreError) {
    let text = chain(error);
    if error.is_passing() && error.is_about_rows() {
        warn!(
            event = "asking_held_up",
            error = text,
            "asking is held up; trying again"
        );
    } else if error.is_passing() {
        debug!(error = text, "open attempts can't be read now");
    } else {
        error!(
            event = "asking_failed",
            error = text,
            "asking failed; trying again"
        );
    }
}

/// What lies ahead could not be told; it is looked for again.
pub(super) fn notices_failed(error: &StoreError) {
    let text = chain(error);
    if error.is_passing() {
        debug!(error = text, "notices wait");
    } else {
        warn!(
            event = "notices_failed",
            error = text,
            "notices ahead could not be written; trying again"
        );
    }
}

/// A row that billd can't work with; nothing was sent for it.
pub(super) fn bad_row(answer: &Answer, recorded: Option<Recorded>) {
    error!(event = "bad_row",
        merchant_uid = %answer.key.merchant_uid,
        subscription.id = subscription(&answer.key),
        recorded = recorded.is_some(),
        "bad row: {} can't be charged{}",
        answer.key.merchant_uid,
        tail(answer),
    );
}

/// An open attempt whose subscription billd can't read.
pub(super) fn bad_open_row(bad: &BadRow) {
    error!(event = "bad_row",
        merchant_uid = %bad.key.merchant_uid,
        subscription.id = subscription(&bad.key),
        fault = bad.fault,
        "bad row: {} can't be asked about until its subscription is mended",
        bad.key.merchant_uid,
    );
}

/// A subscription whose next step was derived again.
pub(super) fn rechecked(one: &Rechecked) {
    if one.broken {
        error!(event = "bad_row", subscription.id = %one.subscription, found = one.found, "bad row: {} stopped", one.subscription);
    } else {
        info!(event = "replanned", subscription.id = %one.subscription, found = one.found, "looked again at {}: {}", one.subscription, one.found);
    }
}

/// No charge can be begun.
pub(super) fn unready(change: &Change, error: &GatewayError) {
    if *change != Change::None {
        warn!(
            event = "gateway_unready",
            error = chain(error),
            "the gateway is not ready for charges"
        );
    }
}

/// Charging has stopped or goes on.
pub(super) fn breaker(change: &Change) {
    match change {
        Change::None => {}
        Change::Opened { reason, wait } => {
            error!(
                event = "charging_stopped",
                reason,
                wait_s = wait.as_secs(),
                "charging is stopped: {reason}"
            );
        }
        Change::Closed => info!(event = "charging_goes_on", "charging goes on"),
    }
}

/// Requests leave more slowly, or as fast as before.
pub(super) fn throttle(changed: Option<Changed>) {
    match changed {
        None => {}
        Some(Changed::Slower(spacing)) => warn!(
            event = "slowed_down",
            spacing_ms = millis(spacing),
            "the gateway says that there are too many requests: they leave {} ms apart now",
            millis(spacing)
        ),
        Some(Changed::Ended) => {
            info!(
                event = "speed_restored",
                "requests leave as fast as before the gateway slowed them down"
            );
        }
    }
}

/// Whose attempt it is; a one-off charge is nobody's.
pub(super) fn subscription(key: &AttemptKey) -> Option<DisplayValue<SubscriptionId>> {
    key.debt.map(|debt| display(debt.subscription))
}

/// The words for an outcome and its class.
pub(super) fn words(outcome: Option<&ChargeOutcome>) -> (&'static str, &'static str) {
    let state = outcome.map_or(AttemptState::Unknown, ChargeOutcome::state);
    let reason = outcome.and_then(ChargeOutcome::reason);
    (state.as_str(), reason.unwrap_or_default())
}

/// Why, and what follows, as the end of a sentence.
fn tail(answer: &Answer) -> String {
    let why = match &answer.outcome {
        Some(ChargeOutcome::Paid(_)) | None => String::new(),
        Some(ChargeOutcome::Declined(decline)) => format!(" ({})", decline.message),
        Some(ChargeOutcome::NotSent(why)) => format!(" ({why})"),
        Some(ChargeOutcome::Unknown(doubt)) => format!(" ({})", doubt.reason.as_str()),
    };
    let follows = match &answer.decision {
        Decision::Advance | Decision::GiveUp(GiveUpReason::OneOff) => String::new(),
        Decision::Retry { wait, .. } => format!("; again in {}", span(*wait)),
        Decision::GiveUp(reason) => format!("; past due, {}", reason.as_str()),
        Decision::Ask { wait } => format!("; asking in {}", span(*wait)),
        Decision::SendAgain => "; sending the same merchant_uid again".to_owned(),
        Decision::Park { wait } => {
            format!("; waiting for a person, asking in {}", span(*wait))
        }
    };
    format!("{why}{follows}")
}

/// A duration in its largest whole unit.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    units
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.checked_rem(*unit) == Some(0))
        .and_then(|(unit, letter)| Some(format!("{}{letter}", seconds.checked_div(unit)?)))
        .unwrap_or_else(|| format!("{seconds}s"))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
