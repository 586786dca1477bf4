//! Charges that a person asks for: the way of every charge, once, while the person waits.
//!
//! A crash between any two steps leaves an attempt that is `started`, and the asking pass of any
//! daemon finds out. Nothing here is ever sent again.

use std::time::Duration;

use crate::domain::attempt::{ChargeOutcome, ChargeRequest};
use crate::domain::claim::{Debt, Recorded};
use crate::domain::ids::{MerchantUid, SubscriptionId};
use crate::engine::Engine;
use crate::engine::charge::Charged;
use crate::engine::context::Context;
use crate::engine::lease::Lease;
use crate::engine::rate_limiter::Slot;
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
    /// Writes a one-off charge down, sends it, and records what became of it.
    pub async fn charge_one_off(
        &self,
        request: &ChargeRequest,
    ) -> Result<OneOffCharged, StoreError> {
        let context = &self.context;
        let intent = context.store.begin_one_off(request, context.limits.lease);
        let Some((begun, lease, slot)) = begin(context, intent).await? else {
            return Ok(OneOffCharged::NoSlot);
        };
        Ok(match begun {
            OneOffBegun::Begun(claim) => {
                let charged = self.charging.charge_now(&claim, lease, slot, RECORDING_MAX);
                OneOffCharged::Done(charged.await.into())
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
        let context = &self.context;
        let store = &context.store;
        let intent = Box::pin(store.begin_first_payment(first, context.limits.lease));
        let Some((begun, lease, slot)) = begin(context, intent).await? else {
            return Ok(FirstPaid::NoSlot);
        };
        let (claim, Debt { subscription, .. }) = match begun {
            FirstBegun::Begun(claim, debt) => (claim, debt),
            FirstBegun::Exists(id) => return Ok(FirstPaid::Exists(id)),
            FirstBegun::Open(id) => return Ok(FirstPaid::Open(id)),
        };
        announce(&claim.key.merchant_uid);
        let charged = self.charging.charge_now(&claim, lease, slot, RECORDING_MAX);
        let paid = charged.await.into();
        Ok(FirstPaid::Done {
            merchant_uid: claim.key.merchant_uid,
            subscription,
            paid,
        })
    }
}

/// Reserves a slot, then has the intent written down, under a lease that begins before that is sent. `None`: no
/// slot is free soon, and nothing was written.
async fn begin<G, B>(
    context: &Context<G>,
    intent: impl Future<Output = Result<B, StoreError>>,
) -> Result<Option<(B, Lease, Slot)>, StoreError> {
    let Some(slot) = context.slot_for_one().await? else {
        return Ok(None);
    };
    crash_at("one_off_next");
    let lease = Lease::start(context.limits.lease);
    let begun = intent.await?;
    crash_at("one_off_begun");
    Ok(Some((begun, lease, slot)))
}

impl From<Charged> for Outcome {
    fn from(charged: Charged) -> Self {
        Self {
            outcome: charged.outcome,
            is_recorded: matches!(charged.recorded, Some(Recorded::Moved | Recorded::Already)),
        }
    }
}
