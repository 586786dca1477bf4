//! What a one-off charge came to: for people, for scripts, and as an exit code.

use serde::{Serialize, Serializer};

use crate::app::exit::Exit;
use crate::cli::Output;
use crate::domain::attempt::{AttemptState, ChargeOutcome};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Money;
use crate::domain::payment::BookPayment;
use crate::terminal;

/// The rate cap is of all daemons together, and their charges go first.
pub(super) const NO_SLOT: &str = "nothing was charged: the daemons use up the rate cap (rate_per_second) \
    for the next seconds; try again, or raise the cap";

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Charged {
    pub(super) merchant_uid: String,
    #[serde(serialize_with = "word")]
    pub(super) outcome: AttemptState,
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
        Self {
            outcome: outcome.state(),
            imp_uid: outcome.imp_uid().map(ToString::to_string),
            reason: outcome.reason().map(str::to_owned),
            code: outcome.decline().and_then(|it| it.code.clone()),
            message: outcome.message(),
            receipt_url: outcome.payment().and_then(|it| it.receipt_url.clone()),
            ..Self::unknown(merchant_uid, money, customer_uid)
        }
    }

    /// A charge that had been made before.
    pub(super) fn known(merchant_uid: &MerchantUid, book: &BookPayment) -> Self {
        Self {
            // A started one may be on its way: nobody can tell.
            outcome: if book.state == AttemptState::Started {
                AttemptState::Unknown
            } else {
                book.state
            },
            repeated: true,
            imp_uid: book.imp_uid.as_ref().map(ToString::to_string),
            reason: book.reason.clone(),
            code: book.code.clone(),
            message: book.message.clone(),
            ..Self::unknown(merchant_uid, book.money, book.customer_uid.as_ref())
        }
    }

    fn unknown(
        merchant_uid: &MerchantUid,
        money: Money,
        customer_uid: Option<&CustomerUid>,
    ) -> Self {
        Self {
            merchant_uid: merchant_uid.to_string(),
            outcome: AttemptState::Unknown,
            amount: money.amount(),
            currency: money.currency().to_string(),
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
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self.outcome {
            _ if !self.recorded => Exit::WorkLeft,
            AttemptState::Paid => Exit::Done,
            AttemptState::Declined => Exit::Declined,
            AttemptState::NotSent => Exit::Gateway,
            AttemptState::Started | AttemptState::Unknown => Exit::WorkLeft,
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
            AttemptState::Paid => {
                let imp_uid = self.imp_uid.as_deref().unwrap_or_default();
                format!("{before}paid {what} ({imp_uid})")
            }
            AttemptState::Declined => format!("{before}declined {what}: {message}"),
            AttemptState::NotSent => format!("{before}not sent {what}: {message}; no money moved"),
            AttemptState::Started | AttemptState::Unknown => format!(
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

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn word<S: Serializer>(state: &AttemptState, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(state.as_str())
}
