//! `billd charge`: a charge outside a subscription.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::app::card_input::read_card;
use crate::app::charge_request::request;
use crate::app::charged::{Charged, NO_SLOT};
use crate::app::confirm::confirm;
use crate::app::exit::{Exit, Failure, not_done};
use crate::app::key_change::{key_before, warn_if_changed};
use crate::app::services::{self, Services, settings_for_work};
use crate::app::subscribe::subscribe;
use crate::cli::{Again, Charge, Onetime, Output};
use crate::domain::attempt::{ChargeOutcome, ChargeRequest, Instrument};
use crate::engine::OneOffCharged;
use crate::gateway::Gateway;
use crate::settings::Source;
use crate::store::OneOffBegun;
use crate::terminal;

pub(super) async fn charge(source: &Source, charge: Charge) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let services = services::open(&settings).await?;
    // A charge that would not leave is not begun, and nobody is asked for a card in vain.
    services.engine.gateway().prepare().await?;
    let (output, charged) = match charge {
        Charge::Again(again) => (again.output, Box::pin(by_key(&services, &again)).await),
        Charge::Onetime(onetime) if onetime.subscribe => (
            onetime.output,
            Box::pin(subscribe(&services, &onetime)).await,
        ),
        Charge::Onetime(onetime) => (onetime.output, Box::pin(by_card(&services, &onetime)).await),
    };
    finish(services, charged, output).await
}

async fn finish(
    services: Services<impl Gateway>,
    charged: Result<Charged, Failure>,
    output: Output,
) -> Result<Exit, Failure> {
    services.engine.drain(CancellationToken::new()).await;
    services.store.close().await;
    let charged = charged?;
    charged.print(output)?;
    Ok(charged.exit())
}

async fn by_key(services: &Services<impl Gateway>, again: &Again) -> Result<Charged, Failure> {
    let instrument = Instrument::BillingKey(again.customer_uid.clone());
    let mut request = request(&again.terms, instrument)?;
    request.terms.channel_key.clone_from(&again.channel_key);
    if again.terms.merchant_uid.is_none()
        && let Some(before) = services.store.repeated_one_off(&request).await?
    {
        return Err(not_done(format!(
            "nothing was charged: {} for {:?} were charged to this card within a day, as {before}; to charge them \
             once more, give it a --merchant-uid of its own",
            request.money, request.name
        )));
    }
    let card = again.customer_uid.as_str();
    let question = format!(
        "{} for {:?} will be charged to {card}.",
        request.money, request.name
    );
    confirm(&question, again.yes)?;
    send(services, request).await
}

async fn by_card(services: &Services<impl Gateway>, onetime: &Onetime) -> Result<Charged, Failure> {
    let before = key_before(services, onetime.customer_uid.as_ref()).await?;
    let instrument = Instrument::Card {
        card: Arc::new(read_card()?),
        store_as: onetime.customer_uid.clone(),
        provider: onetime.pg.clone(),
    };
    let request = request(&onetime.terms, instrument)?;
    let mut charged = send(services, request).await?;
    charged.warning =
        warn_if_changed(services, before.as_ref(), onetime.customer_uid.as_ref()).await;
    Ok(charged)
}

async fn send(
    services: &Services<impl Gateway>,
    request: ChargeRequest,
) -> Result<Charged, Failure> {
    announce(&request);
    let charged = services.engine.charge_one_off(&request).await?;
    judge(&request, charged)
}

/// What was charged, or what stands against it.
fn judge(request: &ChargeRequest, charged: OneOffCharged) -> Result<Charged, Failure> {
    let merchant_uid = &request.merchant_uid;
    match charged {
        OneOffCharged::Done(done) => {
            let customer_uid = request.instrument.customer_uid();
            let mut charged = Charged::of(merchant_uid, request.money, customer_uid, &done.outcome);
            if !done.is_recorded && !matches!(done.outcome, ChargeOutcome::Unknown(_)) {
                charged.recorded = false;
                charged.warning = Some(format!(
                    "this could not be written down; billd will ask the gateway about {merchant_uid}"
                ));
            }
            Ok(charged)
        }
        OneOffCharged::NotBegun(OneOffBegun::Known(book)) => {
            if book.is_same_as(request) {
                return Ok(Charged::known(merchant_uid, &book));
            }
            Err(not_done(format!(
                "nothing was charged: {merchant_uid} is in the book as another charge, {} of {}; take \
                 another --merchant-uid",
                book.kind.as_str(),
                book.money
            )))
        }
        OneOffCharged::NotBegun(OneOffBegun::Open(open)) => Err(not_done(format!(
            "nothing was charged: it is not known yet what became of {open}, charged to the same \
             card; `billd reconcile` asks, and `billd payment show {open}` shows"
        ))),
        OneOffCharged::NotBegun(OneOffBegun::Begun(_)) => {
            Err(not_done("nothing was charged, though it was begun"))
        }
        OneOffCharged::NoSlot => Err(not_done(NO_SLOT)),
    }
}

/// Before anything leaves: whoever loses this process must know what to ask for.
fn announce(request: &ChargeRequest) {
    terminal::note(&format!(
        "charging {} as {}",
        request.money, request.merchant_uid
    ));
}
