//! What a one-off charge came to: for people, for scripts, and as an exit code.

use serde::Serialize;

use crate::app::exit::Exit;
use crate::cli::Output;
use crate::domain::attempt::{AttemptState, ChargeOutcome};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Money;
use crate::domain::payment::BookPayment;
use crate::terminal;

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Paid,
    Declined,
    NotSent,
    Unknown,
}

impl From<AttemptState> for Outcome {
    fn from(state: AttemptState) -> Self {
        match state {
            AttemptState::Paid => Self::Paid,
            AttemptState::Declined => Self::Declined,
            AttemptState::NotSent => Self::NotSent,
            // A started one may be on its way: nobody can tell.
            AttemptState::Started | AttemptState::Unknown => Self::Unknown,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Charged {
    pub(super) merchant_uid: String,
    pub(super) outcome: Outcome,
    pub(super) amount: i64,
    pub(super) currency: String,
    /// Whether it had been charged before this command.
    pub(super) repeated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) customer_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) imp_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subscription_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subscription_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_charge_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warning: Option<String>,
    /// Whether what became of it is written down.
    pub(super) recorded: bool,
}

impl Charged {
    pub(super) fn of(
        merchant_uid: &MerchantUid,
        money: Money,
        customer_uid: Option<&CustomerUid>,
        outcome: &ChargeOutcome,
    ) -> Self {
        let mut charged = Self {
            merchant_uid: merchant_uid.as_str().to_owned(),
            outcome: Outcome::Unknown,
            amount: money.amount(),
            currency: money.currency().as_str().to_owned(),
            repeated: false,
            customer_uid: customer_uid.map(|uid| uid.as_str().to_owned()),
            imp_uid: None,
            reason: None,
            code: None,
            message: None,
            receipt_url: None,
            subscription_id: None,
            subscription_state: None,
            next_charge_at: None,
            warning: None,
            recorded: true,
        };
        match outcome {
            ChargeOutcome::Paid(payment) => {
                charged.outcome = Outcome::Paid;
                charged.imp_uid = Some(payment.imp_uid.as_str().to_owned());
                charged.receipt_url.clone_from(&payment.receipt_url);
            }
            ChargeOutcome::Declined(decline) => {
                charged.outcome = Outcome::Declined;
                charged.imp_uid = decline.imp_uid.as_ref().map(|uid| uid.as_str().to_owned());
                charged.reason = Some(decline.class.as_str().to_owned());
                charged.code.clone_from(&decline.code);
                charged.message = Some(decline.message.clone());
            }
            ChargeOutcome::NotSent(why) => {
                charged.outcome = Outcome::NotSent;
                charged.reason = Some(why.as_str().to_owned());
                charged.message = Some(why.to_string());
            }
            ChargeOutcome::Unknown(doubt) => {
                charged.outcome = Outcome::Unknown;
                charged.reason = Some(doubt.reason.as_str().to_owned());
                charged.message = Some(doubt.detail.clone());
            }
        }
        charged
    }

    /// A charge that had been made before.
    pub(super) fn known(merchant_uid: &MerchantUid, book: &BookPayment) -> Self {
        Self {
            merchant_uid: merchant_uid.as_str().to_owned(),
            outcome: book.state.into(),
            amount: book.money.amount(),
            currency: book.money.currency().as_str().to_owned(),
            repeated: true,
            customer_uid: book
                .customer_uid
                .as_ref()
                .map(|uid| uid.as_str().to_owned()),
            imp_uid: book.imp_uid.as_ref().map(|uid| uid.as_str().to_owned()),
            reason: book.reason.clone(),
            code: book.code.clone(),
            message: book.message.clone(),
            receipt_url: None,
            subscription_id: None,
            subscription_state: None,
            next_charge_at: None,
            warning: None,
            recorded: true,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self.outcome {
            _ if !self.recorded => Exit::WorkLeft,
            Outcome::Paid => Exit::Done,
            Outcome::Declined => Exit::Declined,
            Outcome::NotSent => Exit::Gateway,
            Outcome::Unknown => Exit::WorkLeft,
        }
    }

    pub(super) fn print(&self, output: Output) -> Result<(), anyhow::Error> {
        if let Some(warning) = &self.warning {
            terminal::note(warning);
        }
        if output.json {
            terminal::line(&serde_json::to_string(self)?);
            return Ok(());
        }
        let before = if self.repeated { "before, " } else { "" };
        let what = format!("{} {} as {}", self.amount, self.currency, self.merchant_uid);
        let message = self.message.as_deref().unwrap_or_default();
        terminal::line(&match self.outcome {
            Outcome::Paid => {
                let imp_uid = self.imp_uid.as_deref().unwrap_or_default();
                format!("{before}paid {what} ({imp_uid})")
            }
            Outcome::Declined => format!("{before}declined {what}: {message}"),
            Outcome::NotSent => format!("{before}not sent {what}: {message}; no money moved"),
            Outcome::Unknown => format!(
                "nobody can tell yet what became of {what}: {message}\n\
                 the gateway is asked by the daemon, or now by `billd reconcile`; do not charge it \
                 under another number meanwhile"
            ),
        });
        if let Some(subscription) = &self.subscription_id {
            let state = self.subscription_state.unwrap_or_default();
            let next = match &self.next_charge_at {
                Some(at) => format!("; next charge at {at}"),
                None => String::new(),
            };
            terminal::line(&format!("subscription {subscription} is {state}{next}"));
        }
        Ok(())
    }
}
