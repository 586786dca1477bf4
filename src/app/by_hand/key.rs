//! `billd billing-key`: which card stands behind a name.

use jiff::SignedDuration;
use serde_json::json;

use crate::app::by_hand::ask::confirm;
use crate::app::by_hand::not_done;
use crate::app::by_hand::read_card::read_card;
use crate::app::{Exit, Failure, House, open_house, settings_for_work};
use crate::causes::chain;
use crate::cli::Output;
use crate::cli::by_hand::BillingKey as Command;
use crate::domain::ids::CustomerUid;
use crate::gateway::{BillingKey, Gateway, KeyOwner, Reservation, Window};
use crate::settings::Source;
use crate::store::KeyUse;
use crate::terminal;

/// How far ahead reservations are looked for: windows of 90 days, about a year in all.
const WINDOW: SignedDuration = SignedDuration::from_hours(24 * 90);
const WINDOWS: u8 = 4;

pub(in crate::app) async fn billing_key(
    source: &Source,
    command: Command,
) -> Result<Exit, Failure> {
    if let Command::List { .. } = command {
        return Err(not_done(
            "`billd billing-key list` was removed: show each key with `billd billing-key show`; \
             `select distinct customer_uid from billd.subscription` names those of all subscriptions",
        ));
    }
    let settings = settings_for_work(source)?;
    let house = open_house(&settings).await?;
    house.engine.gateway().prepare().await?;
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
            issue(&house, &customer_uid, &owner, output).await
        }
        Command::Show {
            customer_uid,
            output,
        } => show(&house, &customer_uid, output).await,
        Command::List { .. } => Ok(Exit::NotDone),
        Command::Delete {
            customer_uid,
            yes,
            reason,
            output,
        } => delete(&house, &customer_uid, yes, reason.as_deref(), output).await,
    };
    house.store.close().await;
    done
}

/// The key that a card is about to be stored over.
pub(super) async fn before(
    house: &House<impl Gateway>,
    customer_uid: Option<&CustomerUid>,
) -> Result<Option<BillingKey>, Failure> {
    match customer_uid {
        Some(customer_uid) => Ok(house.engine.gateway().key(customer_uid).await?),
        None => Ok(None),
    }
}

/// A word of warning if another card stands behind the name now.
pub(super) async fn replaced_since(
    house: &House<impl Gateway>,
    customer_uid: Option<&CustomerUid>,
    before: Option<&BillingKey>,
) -> Option<String> {
    let (customer_uid, before) = (customer_uid?, before?);
    let after = house.engine.gateway().key(customer_uid).await.ok()??;
    replaced(before, &after)
}

/// Tells a new card from the old one: by its masked number, and by PortOne's two instants.
fn replaced(before: &BillingKey, after: &BillingKey) -> Option<String> {
    let number = |key: &BillingKey| key.card_number.clone().unwrap_or_else(|| "?".to_owned());
    let uid = &after.customer_uid;
    if number(before) != number(after) {
        return Some(format!(
            "WARNING: {uid} had card {}; that one was replaced by {}. The old key is not revoked at \
             the provider",
            number(before),
            number(after)
        ));
    }
    (before.updated != after.updated).then(|| {
        format!(
            "{uid} had card {} before; it was registered again",
            number(before)
        )
    })
}

async fn issue(
    house: &House<impl Gateway>,
    customer_uid: &CustomerUid,
    owner: &KeyOwner,
    output: Output,
) -> Result<Exit, Failure> {
    let portone = house.engine.gateway();
    let before = portone.key(customer_uid).await?;
    let card = read_card()?;
    let issued = portone.issue_key(customer_uid, &card, owner).await;
    drop(card);
    let after = match issued {
        Ok(key) => key,
        Err(error) => {
            // A lost answer is looked for; what is found says whether the card changed.
            let found = portone.key(customer_uid).await.ok().flatten();
            let changed = found
                .as_ref()
                .map(|key| (key.updated, key.card_number.clone()))
                != before
                    .as_ref()
                    .map(|key| (key.updated, key.card_number.clone()));
            if changed && let Some(key) = found {
                terminal::note(&format!(
                    "the answer was lost ({}), but the key is there",
                    chain(&error)
                ));
                key
            } else {
                return Err(error.into());
            }
        }
    };
    let warning = match &before {
        Some(before) => replaced(before, &after),
        // Somebody else's registration between our look and our request.
        None if after.inserted != after.updated => Some(format!(
            "WARNING: {} had a card already, which was replaced",
            after.customer_uid
        )),
        None => None,
    };
    let uses = house.store.key_uses(customer_uid).await?;
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

async fn show(
    house: &House<impl Gateway>,
    customer_uid: &CustomerUid,
    output: Output,
) -> Result<Exit, Failure> {
    let key = house.engine.gateway().key(customer_uid).await?;
    let uses = house.store.key_uses(customer_uid).await?;
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
    house: &House<impl Gateway>,
    customer_uid: &CustomerUid,
    yes: bool,
    reason: Option<&str>,
    output: Output,
) -> Result<Exit, Failure> {
    let uses = house.store.key_uses(customer_uid).await?;
    let reservations = reservations(house, customer_uid).await?;
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
    let deleted = house
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
    house: &House<impl Gateway>,
    customer_uid: &CustomerUid,
) -> Result<Vec<Reservation>, Failure> {
    let mut from = house.store.server_clock().await?.server;
    let mut reservations = Vec::new();
    for _ in 0..WINDOWS {
        let to = from.saturating_add(WINDOW).unwrap_or(from);
        let gateway = house.engine.gateway();
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
            json!({ "id": one.subscription.to_string(), "name": one.name, "state": one.state })
        })
        .collect()
}

fn used_by(one: &KeyUse) -> String {
    format!(
        "subscription {} ({}), {}",
        one.subscription, one.name, one.state
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
        if key.inserted == key.updated {
            String::new()
        } else {
            format!(", card of {}", instant(key.updated))
        },
    )
}

/// Unix seconds for people.
pub(super) fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
