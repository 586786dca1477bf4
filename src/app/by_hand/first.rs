//! `billd charge onetime --subscribe`: a subscription that begins with the payment at hand.

use std::sync::Arc;

use crate::app::Failure;
use crate::app::House;
use crate::app::by_hand::charge::{money, optional};
use crate::app::by_hand::key;
use crate::app::by_hand::not_done;
use crate::app::by_hand::read_card::read_card;
use crate::app::by_hand::result::Charged;
use crate::cli::by_hand::Onetime;
use crate::domain::attempt::Instrument;
use crate::domain::calendar::Interval;
use crate::domain::ids::SubscriptionId;
use crate::engine::FirstPaid;
use crate::gateway::Gateway;
use crate::store::FirstPayment;
use crate::terminal;

pub(super) async fn subscribe(
    house: &House<impl Gateway>,
    onetime: &Onetime,
) -> Result<Charged, Failure> {
    let Some(customer_uid) = onetime.customer_uid.clone() else {
        return Err(not_done("--subscribe needs --customer-uid"));
    };
    let interval = Interval::new(onetime.every, onetime.interval)
        .map_err(|error| not_done(error.to_string()))?;
    // The store looks again, in turn with others; this only spares a person the typing.
    if let Some(one) = house.store.key_uses(&customer_uid).await?.first()
        && !onetime.another
    {
        return Err(exists(one.subscription));
    }
    let before = key::before(house, Some(&customer_uid)).await?;
    let instrument = Instrument::Card {
        card: Arc::new(read_card()?),
        store_as: Some(customer_uid.clone()),
        provider: onetime.pg.clone(),
    };
    let first = FirstPayment {
        customer_uid: customer_uid.clone(),
        name: onetime.terms.name.clone(),
        money: money(&onetime.terms)?,
        interval,
        zone: onetime.time_zone.clone(),
        terms: optional(&onetime.terms),
        is_another: onetime.another,
    };
    let paid = house
        .engine
        .pay_first(&first, instrument, |merchant_uid| {
            terminal::note(&format!("charging {} as {merchant_uid}", first.money));
        })
        .await?;
    let (claim, outcome, is_recorded) = match paid {
        FirstPaid::Done {
            claim,
            outcome,
            is_recorded,
        } => (claim, outcome, is_recorded),
        FirstPaid::Exists(id) => return Err(exists(id)),
        FirstPaid::Open(id) => return Err(is_open(id)),
    };
    let merchant_uid = &claim.key.merchant_uid;
    let mut charged = Charged::of(merchant_uid, first.money, Some(&customer_uid), &outcome);
    charged.subscription_id = Some(claim.key.subscription.to_string());
    charged.warning = key::replaced_since(house, Some(&customer_uid), before.as_ref()).await;
    if !is_recorded {
        charged.warning = Some(format!(
            "this could not be written down; billd will ask the gateway about {merchant_uid}"
        ));
    }
    // What was paid is told even if the book can't be read any more.
    if let Ok(Some((state, next))) = house
        .store
        .subscription_outlook(claim.key.subscription)
        .await
    {
        charged.next_charge_at = next.filter(|_| state == "active").map(|at| at.to_string());
        charged.subscription_state = Some(state);
    }
    Ok(charged)
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
