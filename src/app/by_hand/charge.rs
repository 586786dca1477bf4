//! `billd charge`: a charge outside a subscription.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::by_hand::first;
use crate::app::by_hand::key;
use crate::app::by_hand::not_done;
use crate::app::by_hand::read_card::read_card;
use crate::app::by_hand::result::Charged;
use crate::app::{Exit, Failure, House, open_house, settings_for_work};
use crate::cli::Output;
use crate::cli::by_hand::{Again, Charge, Onetime, Terms};
use crate::domain::attempt::{ChargeOutcome, ChargeRequest, ChargeTerms, Instrument};
use crate::domain::hand::HandCharge;
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Money;
use crate::engine::HandCharged;
use crate::gateway::Gateway;
use crate::settings::Source;
use crate::store::HandBegun;
use crate::terminal;

pub(in crate::app) async fn charge(source: &Source, charge: Charge) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let house = open_house(&settings).await?;
    // A charge that would not leave is not begun, and nobody is asked for a card in vain.
    house.engine.gateway().prepare().await?;
    let (output, charged) = match charge {
        Charge::Again(again) => (again.output, Box::pin(by_key(&house, &again)).await),
        Charge::Onetime(onetime) if onetime.subscribe => (
            onetime.output,
            Box::pin(first::subscribe(&house, &onetime)).await,
        ),
        Charge::Onetime(onetime) => (onetime.output, Box::pin(by_card(&house, &onetime)).await),
    };
    finish(house, charged, output).await
}

async fn finish(
    house: House<impl Gateway>,
    charged: Result<Charged, Failure>,
    output: Output,
) -> Result<Exit, Failure> {
    house.engine.drain(CancellationToken::new()).await;
    house.store.close().await;
    let charged = charged?;
    charged.print(output)?;
    Ok(charged.exit())
}

async fn by_key(house: &House<impl Gateway>, again: &Again) -> Result<Charged, Failure> {
    let instrument = Instrument::BillingKey(again.customer_uid.clone());
    let mut request = request(&again.terms, instrument)?;
    request.terms.channel_key.clone_from(&again.channel_key);
    send(house, request).await
}

async fn by_card(house: &House<impl Gateway>, onetime: &Onetime) -> Result<Charged, Failure> {
    let before = key::before(house, onetime.customer_uid.as_ref()).await?;
    let instrument = Instrument::Card {
        card: Arc::new(read_card()?),
        store_as: onetime.customer_uid.clone(),
        provider: onetime.pg.clone(),
    };
    let request = request(&onetime.terms, instrument)?;
    let mut charged = send(house, request).await?;
    charged.warning =
        key::replaced_since(house, onetime.customer_uid.as_ref(), before.as_ref()).await;
    Ok(charged)
}

async fn send(house: &House<impl Gateway>, request: ChargeRequest) -> Result<Charged, Failure> {
    announce(&request);
    let charged = house.engine.charge_by_hand(&request).await?;
    judge(&HandCharge::of(&request), charged)
}

fn request(terms: &Terms, instrument: Instrument) -> Result<ChargeRequest, Failure> {
    Ok(ChargeRequest {
        merchant_uid: number(terms)?,
        instrument,
        money: money(terms)?,
        name: terms.name.clone(),
        terms: optional(terms),
    })
}

/// What was charged, or what stands against it.
fn judge(charge: &HandCharge, charged: HandCharged) -> Result<Charged, Failure> {
    let merchant_uid = &charge.merchant_uid;
    match charged {
        HandCharged::Done {
            outcome,
            is_recorded,
        } => {
            let customer_uid = charge.customer_uid.as_ref();
            let mut charged = Charged::of(merchant_uid, charge.money, customer_uid, &outcome);
            if !is_recorded && !matches!(outcome, ChargeOutcome::Unknown(_)) {
                charged.warning = Some(format!(
                    "this could not be written down; billd will ask the gateway about {merchant_uid}"
                ));
            }
            Ok(charged)
        }
        HandCharged::NotBegun(HandBegun::Known(book)) => {
            let customer_uid = charge.customer_uid.as_ref().map(CustomerUid::as_str);
            let is_same = book.kind == charge.kind.as_str()
                && book.amount == charge.money.amount()
                && book.currency == charge.money.currency().as_str()
                && book.customer_uid.as_deref() == customer_uid;
            if is_same {
                return Ok(Charged::known(merchant_uid, &book));
            }
            Err(not_done(format!(
                "nothing was charged: {merchant_uid} is in the book as another charge, {} of {} {}; \
                 take another --merchant-uid",
                book.kind, book.amount, book.currency
            )))
        }
        HandCharged::NotBegun(HandBegun::Open(open)) => Err(not_done(format!(
            "nothing was charged: it is not known yet what became of {open}, charged to the same \
             card; `billd reconcile` asks, and `billd payment show {open}` shows"
        ))),
        HandCharged::NotBegun(HandBegun::Begun(_)) => {
            Err(not_done("nothing was charged, though it was begun"))
        }
    }
}

/// Before anything leaves: whoever loses this process must know what to ask for.
fn announce(request: &ChargeRequest) {
    terminal::note(&format!(
        "charging {} as {}",
        request.money, request.merchant_uid
    ));
}

/// The merchant's own number, or a new one.
fn number(terms: &Terms) -> Result<MerchantUid, Failure> {
    match &terms.merchant_uid {
        Some(merchant_uid) => Ok(merchant_uid.clone()),
        None => MerchantUid::parse(format!("hand{}", Uuid::new_v4().as_simple()))
            .map_err(|error| not_done(error.to_string())),
    }
}

pub(super) fn money(terms: &Terms) -> Result<Money, Failure> {
    Money::new(terms.amount, terms.currency).map_err(|error| not_done(error.to_string()))
}

pub(super) fn optional(terms: &Terms) -> ChargeTerms {
    ChargeTerms {
        tax_free: terms.tax_free,
        vat_amount: terms.vat_amount,
        buyer_name: terms.buyer_name.clone(),
        buyer_email: terms.buyer_email.clone(),
        buyer_tel: terms.buyer_tel.clone(),
        card_quota: terms.card_quota,
        custom_data: terms.custom_data.clone(),
        notice_url: terms.notice_url.clone(),
        extra: "{}".to_owned(),
        ..ChargeTerms::default()
    }
}
