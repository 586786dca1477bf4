//! Charges that a person asks for: the way of every charge, once, while the person waits.
//!
//! A crash between any two steps leaves an attempt that is `started`, and the asking pass of any
//! daemon finds out. Nothing here is ever sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::domain::attempt::{ChargeOutcome, ChargeRequest};
use crate::domain::claim::{Claim, Debt, Recorded};
use crate::domain::ids::{MerchantUid, SubscriptionId};
use crate::engine::charge::Charged;
use crate::engine::lease::Lease;
use crate::engine::rate_limiter::Slot;
use crate::engine::{Engine, Inner};
use crate::failpoint::crash_at;
use crate::gateway::Gateway;
use crate::store::{FirstBegun, FirstPayment, OneOffBegun, StoreError};

/// How long a person waits for a database that has gone away, before the answer goes to the log.
const RECORDING_MAX: Duration = Duration::from_secs(10);

/// What became of a one-off charge.
pub enum OneOffCharged {
    /// It was sent, or tried to be.
    Done(Outcome),
    /// Nothing was sent: this `merchant_uid` is in the book already, or another charge of the card is
    /// open. See [`OneOffBegun`].
    NotBegun(OneOffBegun),
    /// Nothing was sent: no slot under the rate cap is free soon.
    NoSlot,
}

/// What became of a request for money, for whoever waits for it.
pub struct Outcome {
    /// What is known.
    pub outcome: ChargeOutcome,
    /// Whether that is durable. If not, the gateway is asked about it.
    pub is_recorded: bool,
}

/// What became of a subscription's first payment.
pub enum FirstPaid {
    /// It was sent, or tried to be.
    Done {
        /// Our number for it.
        merchant_uid: MerchantUid,
        /// The new subscription.
        subscription: SubscriptionId,
        /// What became of it.
        paid: Outcome,
    },
    /// Nothing was sent: the card has a subscription that has not ended.
    Exists(SubscriptionId),
    /// The first payment of this subscription of the card has an open fate.
    Open(SubscriptionId),
    /// Nothing was sent: no slot under the rate cap is free soon.
    NoSlot,
}

impl<G: Gateway> Engine<G> {
    /// Writes a charge down, sends it, and records what became of it.
    pub async fn charge_one_off(
        &self,
        request: &ChargeRequest,
    ) -> Result<OneOffCharged, StoreError> {
        let inner = &self.inner;
        let Some(slot) = inner.slot_for_one().await? else {
            return Ok(OneOffCharged::NoSlot);
        };
        crash_at("one_off_next");
        let lease = Lease::start(inner.limits.lease);
        let begun = inner
            .store
            .begin_one_off(request, inner.limits.lease)
            .await?;
        crash_at("one_off_begun");
        Ok(match begun {
            OneOffBegun::Begun(claim) => {
                OneOffCharged::Done(inner.charge_now(&claim, lease, slot).await)
            }
            known @ (OneOffBegun::Known(_) | OneOffBegun::Open(_)) => {
                OneOffCharged::NotBegun(known)
            }
        })
    }

    /// Writes a subscription down together with its first attempt, sends the payment, and records what
    /// became of it. `announce` is told the number before anything leaves.
    pub async fn pay_first(
        &self,
        first: &FirstPayment,
        announce: impl FnOnce(&MerchantUid),
    ) -> Result<FirstPaid, StoreError> {
        let inner = &self.inner;
        let Some(slot) = inner.slot_for_one().await? else {
            return Ok(FirstPaid::NoSlot);
        };
        crash_at("one_off_next");
        let lease = Lease::start(inner.limits.lease);
        let begun = inner
            .store
            .begin_first_payment(first, inner.limits.lease)
            .await?;
        crash_at("one_off_begun");
        let (claim, Debt { subscription, .. }) = match begun {
            FirstBegun::Begun(claim, debt) => (claim, debt),
            FirstBegun::Exists(id) => return Ok(FirstPaid::Exists(id)),
            FirstBegun::Open(id) => return Ok(FirstPaid::Open(id)),
        };
        announce(&claim.key.merchant_uid);
        let paid = inner.charge_now(&claim, lease, slot).await;
        Ok(FirstPaid::Done {
            merchant_uid: claim.key.merchant_uid,
            subscription,
            paid,
        })
    }
}

impl<G: Gateway> Inner<G> {
    /// A charge that somebody waits for.
    async fn charge_now(&self, claim: &Claim, lease: Lease, slot: Slot) -> Outcome {
        let charge = async {
            // It is closed only with the process.
            let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
            self.charge(claim, lease, slot, permit).await
        };
        tokio::pin!(charge);
        let Charged { outcome, recorded } = tokio::select! {
            charged = &mut charge => charged,
            () = self.recording_fails_for(RECORDING_MAX) => {
                self.recorder_gives_up.cancel();
                charge.await
            }
        };
        Outcome {
            outcome,
            is_recorded: matches!(recorded, Some(Recorded::Moved | Recorded::Already)),
        }
    }

    /// Ends when nothing could be written down for this long.
    async fn recording_fails_for(&self, limit: Duration) {
        let fails = || self.recorder.health().failing_for();
        while fails().is_none_or(|lasts| lasts < limit) {
            sleep(Duration::from_millis(200)).await;
        }
    }
}
