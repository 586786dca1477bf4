//! `billd billing-key`: which card stands behind a name.

use jiff::SignedDuration;
use serde_json::json;

use crate::app::card_input::read_card;
use crate::app::confirm::confirm;
use crate::app::exit::{Exit, Failure, not_done};
use crate::app::key_change;
use crate::app::services::{self, Services, settings_for_work};
use crate::causes::chain;
use crate::cli::{BillingKey as Command, Output};
use crate::domain::ids::CustomerUid;
use crate::gateway::{BillingKey, Gateway, KeyChange, KeyOwner, Reservation, Window};
use crate::settings::Source;
use crate::store::KeyUse;
use crate::terminal::{self, instant};

/// How far ahead reservations are looked for: windows of 90 days, about a year in all.
const WINDOW: SignedDuration = SignedDuration::from_hours(24 * 90);
const WINDOWS: u8 = 4;

pub(super) async fn billing_key(source: &Source, command: Command) -> Result<Exit, Failure> {
    if let Command::List { .. } = command {
        return Err(not_done(
            "`billd billing-key list` was removed: show each key with `billd billing-key show`; \
             `select distinct customer_uid from billd.subscription` names those of all subscriptions",
        ));
    }
    let settings = settings_for_work(source)?;
    let services = services::open(&settings).await?;
    services.engine.gateway().prepare().await?;
    let done = match command {
        Command::Issue {
            customer_uid,
            channel_key,
            pg,
            buyer_name,
            buyer_tel,
            buyer_email,
            output,
        } => {
            let owner = KeyOwner {
                channel_key,
                pg,
                customer_name: buyer_name,
                customer_tel: buyer_tel,
                customer_email: buyer_email,
            };
            issue(&services, &customer_uid, &owner, output).await
        }
        Command::Show {
            customer_uid,
            output,
        } => show(&services, &customer_uid, output).await,
        Command::List { .. } => Ok(Exit::NotDone),
        Command::Delete {
            customer_uid,
            yes,
            reason,
            output,
        } => delete(&services, &customer_uid, yes, reason.as_deref(), output).await,
    };
    services.store.close().await;
    done
}

async fn issue(
    services: &Services<impl Gateway>,
    customer_uid: &CustomerUid,
    owner: &KeyOwner,
    output: Output,
) -> Result<Exit, Failure> {
    let before = services.engine.gateway().key(customer_uid).await?;
    let after = register(services, customer_uid, owner, before.as_ref()).await?;
    let warning = match &before {
        Some(before) => key_change::warning(before, &after),
        // Somebody else's registration between our look and our request.
        None if after.is_replacement() => Some(format!(
            "WARNING: {} had a card already, which was replaced",
            after.customer_uid
        )),
        None => None,
    };
    let uses = services.store.key_uses(customer_uid).await?;
    if let Some(warning) = &warning {
        terminal::note(warning);
        for one in &uses {
            terminal::note(&format!("charged to it from now on: {}", used_by(one)));
        }
    }
    if output.json {
        let subscriptions = subscriptions(&uses);
        terminal::line(
            &json!({
                "key": after,
                "replaced": warning.is_some(),
                "warning": warning,
                "card_before": before.and_then(|key| key.card_number),
                "subscriptions": subscriptions,
            })
            .to_string(),
        );
    } else {
        terminal::line(&format!("issued {}", one_line(&after)));
    }
    Ok(Exit::Done)
}

async fn register(
    services: &Services<impl Gateway>,
    customer_uid: &CustomerUid,
    owner: &KeyOwner,
    before: Option<&BillingKey>,
) -> Result<BillingKey, Failure> {
    let gateway = services.engine.gateway();
    let card = read_card()?;
    let issued = gateway.issue_key(customer_uid, &card, owner).await;
    drop(card);
    let error = match issued {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    // A lost answer is looked for; what is found says whether the card changed.
    let found = gateway.key(customer_uid).await.ok().flatten();
    let changed =
        |key: &BillingKey| before.is_none_or(|before| key.change_since(before) != KeyChange::Same);
    let Some(key) = found.filter(changed) else {
        return Err(error.into());
    };
    terminal::note(&format!(
        "the answer was lost ({}), but the key is there",
        chain(&error)
    ));
    Ok(key)
}

async fn show(
    services: &Services<impl Gateway>,
    customer_uid: &CustomerUid,
    output: Output,
) -> Result<Exit, Failure> {
    let key = services.engine.gateway().key(customer_uid).await?;
    let uses = services.store.key_uses(customer_uid).await?;
    if output.json {
        let subscriptions = subscriptions(&uses);
        terminal::line(&json!({ "key": key, "subscriptions": subscriptions }).to_string());
    } else {
        if let Some(key) = &key {
            terminal::line(&one_line(key));
        }
        for one in &uses {
            terminal::line(&format!("  {}", used_by(one)));
        }
    }
    match key {
        Some(_) => Ok(Exit::Done),
        None => Err(not_done(format!(
            "PortOne knows no billing key of the name {}; `billd billing-key issue` makes one",
            customer_uid.as_str()
        ))),
    }
}

async fn delete(
    services: &Services<impl Gateway>,
    customer_uid: &CustomerUid,
    yes: bool,
    reason: Option<&str>,
    output: Output,
) -> Result<Exit, Failure> {
    let uses = services.store.key_uses(customer_uid).await?;
    let reservations = reservations(services, customer_uid).await?;
    if !uses.is_empty() || !reservations.is_empty() {
        let mut hangs: Vec<String> = uses.iter().map(used_by).collect();
        hangs.extend(reservations.iter().map(|one| {
            let at = one.at.map_or_else(|| "?".to_owned(), |at| at.to_string());
            format!("reservation {} at PortOne for {at}", one.merchant_uid)
        }));
        let question = format!(
            "On the billing key {} hang:\n  {}\nDeleting it can't be undone, and their next charges \
             will be declined.",
            customer_uid.as_str(),
            hangs.join("\n  ")
        );
        confirm(&question, yes)?;
    }
    let deleted = services
        .engine
        .gateway()
        .delete_key(customer_uid, reason)
        .await?;
    if output.json {
        terminal::line(
            &json!({
                "customer_uid": customer_uid.as_str(),
                "deleted": deleted.is_some(),
                "subscriptions": subscriptions(&uses),
                "reservations": in_json(&reservations),
            })
            .to_string(),
        );
    } else {
        terminal::line(&match deleted {
            Some(key) => format!("deleted {}", one_line(&key)),
            None => format!("{} is not there; nothing to do", customer_uid.as_str()),
        });
    }
    Ok(Exit::Done)
}

async fn reservations(
    services: &Services<impl Gateway>,
    customer_uid: &CustomerUid,
) -> Result<Vec<Reservation>, Failure> {
    let mut from = services.store.server_clock().await?.server;
    let mut reservations = Vec::new();
    for _ in 0..WINDOWS {
        let to = from.saturating_add(WINDOW).unwrap_or(from);
        let gateway = services.engine.gateway();
        let found = gateway.reservations_of(customer_uid, Window { from, to });
        reservations.extend(found.await?);
        from = to;
    }
    Ok(reservations)
}

fn in_json(reservations: &[Reservation]) -> Vec<serde_json::Value> {
    reservations
        .iter()
        .map(|one| {
            json!({
                "merchant_uid": one.merchant_uid,
                "schedule_at": one.at.map(jiff::Timestamp::as_second),
                "schedule_status": "scheduled",
            })
        })
        .collect()
}

fn subscriptions(uses: &[KeyUse]) -> Vec<serde_json::Value> {
    uses.iter()
        .map(|one| {
            json!({ "id": one.subscription.to_string(), "name": one.name, "state": one.state.as_str() })
        })
        .collect()
}

fn used_by(one: &KeyUse) -> String {
    format!(
        "subscription {} ({}), {}",
        one.subscription,
        one.name,
        one.state.as_str()
    )
}

fn one_line(key: &BillingKey) -> String {
    format!(
        "{}  {} {}  {}  since {}{}",
        key.customer_uid,
        key.card_name.as_deref().unwrap_or("?"),
        key.card_number.as_deref().unwrap_or("?"),
        key.pg_provider.as_deref().unwrap_or("?"),
        instant(key.inserted),
        if key.is_replacement() {
            format!(", card of {}", instant(key.updated))
        } else {
            String::new()
        },
    )
}
