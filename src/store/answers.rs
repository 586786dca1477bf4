//! Answers as the columns of one statement.

use std::collections::HashMap;

use sqlx::types::Uuid;

use crate::domain::attempt::{AttemptState, ChargeOutcome, NotSent};
use crate::domain::claim::Answer;
use crate::domain::dunning::{Decision, GiveUpReason};

/// One array per parameter of `record.sql`, one element per answer.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) merchant_uid: Vec<String>,
    pub(super) subscription_id: Vec<Option<Uuid>>,
    pub(super) period: Vec<Option<jiff_sqlx::Date>>,
    pub(super) fence: Vec<i64>,
    pub(super) state: Vec<String>,
    pub(super) imp_uid: Vec<Option<String>>,
    pub(super) pg_provider: Vec<Option<String>>,
    pub(super) pg_tid: Vec<Option<String>>,
    pub(super) receipt_url: Vec<Option<String>>,
    pub(super) cancelled_amount: Vec<i64>,
    pub(super) reason: Vec<Option<String>>,
    pub(super) code: Vec<Option<String>>,
    pub(super) message: Vec<Option<String>>,
    pub(super) decision: Vec<String>,
    pub(super) wait_seconds: Vec<f64>,
    pub(super) took_rung: Vec<bool>,
    pub(super) give_up_reason: Vec<Option<String>>,
    pub(super) not_found: Vec<i16>,
    states: HashMap<String, &'static str>,
}

impl Columns {
    /// Lays answers out as columns.
    pub(super) fn of<'a>(answers: impl Iterator<Item = &'a Answer>) -> Self {
        let mut columns = Self::default();
        for answer in answers {
            columns.push(answer);
        }
        columns
    }

    /// The state that the answer about this attempt wants it to be in.
    pub(super) fn state_of(&self, merchant_uid: &str) -> Option<&'static str> {
        self.states.get(merchant_uid).copied()
    }

    fn push(&mut self, answer: &Answer) {
        let key = &answer.key;
        self.merchant_uid.push(key.merchant_uid.as_str().to_owned());
        self.subscription_id
            .push(key.debt.map(|debt| debt.subscription.0));
        self.period.push(key.debt.map(|debt| debt.period.into()));
        self.fence.push(key.fence);
        let state = self.push_outcome(answer.outcome.as_ref());
        self.states
            .insert(key.merchant_uid.as_str().to_owned(), state);
        self.state.push(state.to_owned());
        self.push_decision(answer);
        self.not_found
            .push(i16::try_from(answer.not_found).unwrap_or(i16::MAX));
    }

    fn push_outcome(&mut self, outcome: Option<&ChargeOutcome>) -> &'static str {
        let payment = outcome.and_then(ChargeOutcome::payment);
        let decline = outcome.and_then(ChargeOutcome::decline);
        let provider = match (payment, decline) {
            (Some(payment), _) => payment.pg_provider.clone(),
            (None, decline) => decline.and_then(|decline| decline.pg_provider.clone()),
        };
        let imp_uid = outcome.and_then(ChargeOutcome::imp_uid);
        let reason = outcome.and_then(ChargeOutcome::reason);
        self.imp_uid.push(imp_uid.map(ToString::to_string));
        self.pg_provider.push(provider);
        self.pg_tid.push(payment.and_then(|it| it.pg_tid.clone()));
        self.receipt_url
            .push(payment.and_then(|it| it.receipt_url.clone()));
        self.cancelled_amount
            .push(payment.map_or(0, |it| it.cancelled_amount));
        self.reason.push(reason.map(str::to_owned));
        self.code.push(decline.and_then(|it| it.code.clone()));
        self.message.push(outcome.and_then(ChargeOutcome::message));
        outcome
            .map_or(AttemptState::Unknown, ChargeOutcome::state)
            .as_str()
    }

    fn push_decision(&mut self, answer: &Answer) {
        let (wait, took_rung, give_up) = match &answer.decision {
            Decision::Advance | Decision::SendAgain => (None, false, None),
            Decision::Retry { wait, took_rung } => (Some(*wait), *took_rung, None),
            Decision::GiveUp(reason) => (None, false, Some(*reason)),
            Decision::Ask { wait } | Decision::Park { wait } => (Some(*wait), false, None),
        };
        self.decision.push(answer.decision.as_str().to_owned());
        self.wait_seconds
            .push(wait.unwrap_or_default().as_secs_f64());
        self.took_rung.push(took_rung);
        self.give_up_reason
            .push(give_up.map(|reason| give_up_text(reason, answer)));
    }
}

/// Why the subscription is past due, in one line for a person.
fn give_up_text(reason: GiveUpReason, answer: &Answer) -> String {
    let cause = match &answer.outcome {
        Some(ChargeOutcome::Declined(decline)) => {
            format!("{}: {}", decline.class.as_str(), decline.message)
        }
        Some(ChargeOutcome::NotSent(NotSent::Unbuildable(fault))) => format!("bad row: {fault}"),
        Some(ChargeOutcome::NotSent(why)) => why.to_string(),
        Some(ChargeOutcome::Paid(_) | ChargeOutcome::Unknown(_)) | None => String::new(),
    };
    format!("{}; {cause}", reason.as_str())
}
