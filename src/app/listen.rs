//! `billd listen` and `billd trigger`: events for whoever writes a receiver.

use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::exit::{Exit, Failure, not_done};
use crate::app::gateway;
use crate::app::services::{open_store, require_schema};
use crate::app::signals::stop_signals;
use crate::app::webhook::{granted, in_words};
use crate::cli::{Listen, Trigger};
use crate::delivery::Sender;
use crate::domain::networks::Networks;
use crate::settings::{Needs, Settings, Source};
use crate::store::Store;
use crate::terminal;

/// Between two looks for news.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn listen(source: &Source, listen: Listen) -> Result<Exit, Failure> {
    let settings = Settings::load(source, Needs::Database)?;
    // It is the developer's own machine: any address.
    let anywhere = Networks::parse("0.0.0.0/0,::/0").context("all addresses are addresses")?;
    let sender =
        Sender::new(anywhere, settings.webhooks.timeout).context("couldn't prepare to send")?;
    sender
        .judge(&listen.forward_to)
        .map_err(|refused| not_done(refused.to_string()))?;
    let (stop, _hurry) = stop_signals().context("couldn't listen for signals")?;
    let store = open_store(&settings).await?;
    require_schema(&store).await?;
    let (consumer, secret) = granted(store.listen(listen.kinds.as_deref()).await)?;
    let (json, to) = (listen.output.json, &listen.forward_to);
    terminal::line(&if json {
        json!({"secret": secret, "forward_to": to}).to_string()
    } else {
        format!("{secret}\nThis signs what is sent to {to}. Listening; Ctrl-C ends it.")
    });
    let secret = SecretString::from(secret);
    let heard = forward(&store, &sender, &consumer, &listen, &secret, &stop).await;
    let ended = store.stop_listening(&consumer).await;
    store.close().await;
    heard?;
    ended?;
    Ok(Exit::Done)
}

async fn forward(
    store: &Store,
    sender: &Sender,
    consumer: &str,
    listen: &Listen,
    secret: &SecretString,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    while !stop.is_cancelled() {
        let letters = store.heard(consumer, &listen.forward_to, secret).await?;
        let is_quiet = letters.is_empty();
        for (kind, letter) in letters {
            let sent = tokio::select! {
                sent = sender.send(&letter) => sent,
                () = stop.cancelled() => return Ok(()),
            };
            terminal::line(&if listen.output.json {
                json!({"id": letter.id, "kind": kind, "ok": sent.error.is_none(), "status": sent.status,
                    "latency_ms": sent.took.as_millis(), "error": sent.error, "excerpt": sent.excerpt})
                .to_string()
            } else {
                format!("{:<10} {kind:<16} {}", letter.id, in_words(&sent))
            });
        }
        if is_quiet {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

pub(super) async fn trigger(source: &Source, trigger: Trigger) -> Result<Exit, Failure> {
    let settings = Settings::load(source, Needs::All)?;
    if gateway::account(&settings).as_deref() != Some("sandbox") {
        return Err(not_done(
            "the gateway is not a sandbox, and readers would take an example for real; nothing was written",
        ));
    }
    let store = open_store(&settings).await?;
    require_schema(&store).await?;
    let id = granted(store.trigger(&trigger.kind).await);
    store.close().await;
    let id = id?;
    terminal::line(&if trigger.output.json {
        json!({"id": id, "kind": trigger.kind}).to_string()
    } else {
        format!(
            "evt_{id} is an example of {}; its merchant_uid is example",
            trigger.kind
        )
    });
    Ok(Exit::Done)
}
