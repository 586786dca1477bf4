//! Payments that are booked as paid, asked about by name: has somebody else given any of it back?
//!
//! The gateway's list shows a payment of which a part was given back at the time at which it was paid, long before
//! the days that an audit reads. So whatever a webhook says was cancelled is looked at then, and what was paid for a
//! period before the next one is asked for.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auditor::attempts::QUESTIONS_MAX;
use crate::auditor::{AuditError, Auditor};
use crate::causes::chain;
use crate::domain::attempt::Lookup;
use crate::domain::audit::OwnState;
use crate::domain::ids::MerchantUid;
use crate::gateway::Gateway;
use crate::store::MissingPayment;

/// Least time between two looks for hints: anybody can send one.
const HINTS_EVERY: Duration = Duration::from_millis(500);

impl<G: Gateway> Auditor<G> {
    /// Looks at payments that hints name, a few at a time, until `stop`.
    pub async fn follow_hints(
        &self,
        mut hints: mpsc::Receiver<MerchantUid>,
        stop: CancellationToken,
    ) {
        let most = usize::try_from(QUESTIONS_MAX).unwrap_or(1);
        let mut batch = Vec::with_capacity(most);
        while let Some(1..) = stop
            .run_until_cancelled(hints.recv_many(&mut batch, most))
            .await
        {
            let mut names: Vec<String> = batch.drain(..).map(|it| it.to_string()).collect();
            names.sort_unstable();
            names.dedup();
            let look = Box::pin(self.look_at_named(&names));
            let looked = stop.run_until_cancelled(look).await;
            if let Some(Err(error)) = looked {
                warn!(
                    event = "given_back_unseen",
                    error = chain(&error),
                    "what a webhook says was given back can't be looked at now; the next audit sees it"
                );
            }
            sleep(HINTS_EVERY).await;
        }
    }

    async fn look_at_named(&self, names: &[String]) -> Result<(), AuditError> {
        let own = self.store.own_entries(names).await?;
        let paid = own
            .into_iter()
            .filter(|(_, own)| own.state == OwnState::Paid);
        let paid = paid.map(|(merchant_uid, own)| MissingPayment { merchant_uid, own });
        self.look_at(paid.collect()).await
    }

    /// Looks at what was paid for periods that end within a day, and so long ago that an audit of these days would
    /// not have seen all of it.
    pub(super) async fn look_before_renewals(
        &self,
        days: u16,
        stop: &CancellationToken,
    ) -> Result<(), AuditError> {
        let mut after = None;
        while !stop.is_cancelled() {
            let (payments, reached) = self
                .store
                .payments_before_renewal(days, after, QUESTIONS_MAX)
                .await?;
            if payments.is_empty() {
                break;
            }
            after = reached;
            self.look_at(payments).await?;
        }
        Ok(())
    }

    async fn look_at(&self, payments: Vec<MissingPayment>) -> Result<(), AuditError> {
        let mut given_back = Vec::new();
        for (one, answer) in self.ask_each(payments).await {
            if let Lookup::Paid(payment) = answer?
                && one.own.imp_uid.as_ref() == Some(&payment.imp_uid)
                && one.own.is_cancelled_there(payment.cancelled_amount)
            {
                info!(
                    event = "given_back",
                    merchant_uid = one.merchant_uid,
                    "{} {} of {} were given back elsewhere",
                    payment.cancelled_amount,
                    one.own.currency,
                    one.merchant_uid
                );
                given_back.push((one.merchant_uid, payment.cancelled_amount));
            }
        }
        if !given_back.is_empty() {
            self.store.note_given_back(&given_back).await?;
        }
        Ok(())
    }
}
