//! Answers as the columns of one statement.

use std::collections::HashMap;

use sqlx::types::Uuid;

use crate::domain::attempt::{ChargeOutcome, NotSent};
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
        let evidence = Evidence::of(outcome);
        self.imp_uid.push(evidence.imp_uid);
        self.pg_provider.push(evidence.pg_provider);
        self.pg_tid.push(evidence.pg_tid);
        self.receipt_url.push(evidence.receipt_url);
        self.cancelled_amount.push(evidence.cancelled_amount);
        self.reason.push(evidence.reason.map(str::to_owned));
        self.code.push(evidence.code);
        self.message.push(evidence.message);
        evidence.state
    }

    fn push_decision(&mut self, answer: &Answer) {
        let (word, wait, took_rung, give_up) = match &answer.decision {
            Decision::Advance => ("advance", None, false, None),
            Decision::Retry { wait, took_rung } => ("retry", Some(*wait), *took_rung, None),
            Decision::GiveUp(reason) => ("give_up", None, false, Some(*reason)),
            Decision::Ask { wait } => ("ask", Some(*wait), false, None),
            Decision::SendAgain => ("send_again", None, false, None),
            Decision::Park { wait } => ("park", Some(*wait), false, None),
        };
        self.decision.push(word.to_owned());
        self.wait_seconds
            .push(wait.unwrap_or_default().as_secs_f64());
        self.took_rung.push(took_rung);
        self.give_up_reason
            .push(give_up.map(|reason| give_up_text(reason, answer)));
    }
}

/// An outcome as the columns of an attempt; some outcomes fill only a few.
#[derive(Default)]
pub(super) struct Evidence {
    pub(super) state: &'static str,
    pub(super) imp_uid: Option<String>,
    pub(super) pg_provider: Option<String>,
    pub(super) pg_tid: Option<String>,
    pub(super) receipt_url: Option<String>,
    pub(super) cancelled_amount: i64,
    pub(super) reason: Option<&'static str>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

impl Evidence {
    /// Lays one outcome out; `None` is a question that brought nothing new.
    pub(super) fn of(outcome: Option<&ChargeOutcome>) -> Self {
        let mut evidence = Self::default();
        match outcome {
            Some(ChargeOutcome::Paid(payment)) => {
                evidence.state = "paid";
                evidence.imp_uid = Some(payment.imp_uid.as_str().to_owned());
                evidence.pg_provider.clone_from(&payment.pg_provider);
                evidence.pg_tid.clone_from(&payment.pg_tid);
                evidence.receipt_url.clone_from(&payment.receipt_url);
                evidence.cancelled_amount = payment.cancelled_amount;
            }
            Some(ChargeOutcome::Declined(decline)) => {
                evidence.state = "declined";
                evidence.imp_uid = decline.imp_uid.as_ref().map(|uid| uid.as_str().to_owned());
                evidence.pg_provider.clone_from(&decline.pg_provider);
                evidence.reason = Some(decline.class.as_str());
                evidence.code.clone_from(&decline.code);
                evidence.message = Some(decline.message.clone());
            }
            Some(ChargeOutcome::NotSent(why)) => {
                evidence.state = "not_sent";
                evidence.reason = Some(why.as_str());
                evidence.message = Some(why.to_string());
            }
            Some(ChargeOutcome::Unknown(doubt)) => {
                evidence.state = "unknown";
                evidence.reason = Some(doubt.reason.as_str());
                evidence.message = Some(doubt.detail.clone());
            }
            None => evidence.state = "unknown",
        }
        evidence
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
