//! `billd charge onetime --subscribe`: a subscription that begins with its first payment.

use std::sync::Arc;

use crate::app::card_input::read_card;
use crate::app::charge_request::{money, optional};
use crate::app::charged::{Charged, NO_SLOT};
use crate::app::exit::{Failure, not_done};
use crate::app::key_change::{key_before, warn_if_changed};
use crate::app::services::Services;
use crate::cli::Onetime;
use crate::domain::attempt::Instrument;
use crate::domain::calendar::Interval;
use crate::domain::ids::{CustomerUid, SubscriptionId};
use crate::domain::state::SubscriptionState;
use crate::engine::FirstPaid;
use crate::gateway::Gateway;
use crate::store::FirstPayment;
use crate::terminal;

pub(super) async fn subscribe(
    services: &Services<impl Gateway>,
    onetime: &Onetime,
) -> Result<Charged, Failure> {
    let Some(customer_uid) = onetime.customer_uid.clone() else {
        return Err(not_done("--subscribe needs --customer-uid"));
    };
    // The store looks again, in turn with others; this only spares a person the typing.
    if let Some(one) = services.store.key_uses(&customer_uid).await?.first()
        && !onetime.another
    {
        return Err(exists(one.subscription));
    }
    let before = key_before(services, Some(&customer_uid)).await?;
    let instrument = Instrument::Card {
        card: Arc::new(read_card()?),
        store_as: Some(customer_uid.clone()),
        provider: onetime.pg.clone(),
    };
    let first = first_payment(onetime, customer_uid.clone(), instrument)?;
    let paid = services
        .engine
        .pay_first(&first, |merchant_uid| {
            terminal::note(&format!("charging {} as {merchant_uid}", first.money));
        })
        .await?;
    let (merchant_uid, subscription, paid) = match paid {
        FirstPaid::Done {
            merchant_uid,
            subscription,
            paid,
        } => (merchant_uid, subscription, paid),
        FirstPaid::Exists(id) => return Err(exists(id)),
        FirstPaid::Open(id) => return Err(is_open(id)),
        FirstPaid::NoSlot => return Err(not_done(NO_SLOT)),
    };
    let mut charged = Charged::of(
        &merchant_uid,
        first.money,
        Some(&customer_uid),
        &paid.outcome,
    );
    charged.subscription_id = Some(subscription.to_string());
    charged.warning = warn_if_changed(services, before.as_ref(), Some(&customer_uid)).await;
    if !paid.is_recorded {
        charged.warning = Some(format!(
            "this could not be written down; billd will ask the gateway about {merchant_uid}"
        ));
    }
    // What was paid is told even if the book can't be read any more.
    if let Ok(Some((state, next))) = services.store.subscription_outlook(subscription).await {
        charged.next_charge_at = next
            .filter(|_| state == SubscriptionState::Active)
            .map(|at| at.to_string());
        charged.subscription_state = Some(state.as_str());
    }
    Ok(charged)
}

fn first_payment(
    onetime: &Onetime,
    customer_uid: CustomerUid,
    instrument: Instrument,
) -> Result<FirstPayment, Failure> {
    Ok(FirstPayment {
        customer_uid,
        instrument,
        name: onetime.terms.name.clone(),
        money: money(&onetime.terms)?,
        interval: Interval::new(onetime.every, onetime.interval)
            .map_err(|error| not_done(error.to_string()))?,
        zone: onetime.time_zone.clone(),
        terms: optional(&onetime.terms),
        is_another: onetime.another,
    })
}

fn is_open(id: SubscriptionId) -> Failure {
    not_done(format!(
        "nothing was charged: the first payment of the card's subscription {id} is not known yet, and \
         this might be the same once more; `billd reconcile` asks the gateway now"
    ))
}

fn exists(id: SubscriptionId) -> Failure {
    not_done(format!(
        "nothing was charged: the card has subscription {id}, which has not ended; add --another if \
         it is to have one more"
    ))
}
