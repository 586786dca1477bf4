//! `billd webhook`: endpoints, and what becomes of events on their way to them.

use serde_json::{Value, json};

use crate::app::exit::{Exit, Failure, not_done};
use crate::app::services::open_store;
use crate::app::services::require_schema;
use crate::cli::{ChangeEndpoint, Endpoint, Output, ReplayEvents, Webhook};
use crate::delivery::{Sender, Sent};
use crate::settings::{Needs, Settings, Source};
use crate::store::{AttemptShown, EndpointRow, Replay, Store, Verdict};
use crate::terminal;

pub(super) async fn webhook(source: &Source, command: Webhook) -> Result<Exit, Failure> {
    let settings = Settings::load(source, Needs::Database)?;
    let store = open_store(&settings).await?;
    require_schema(&store).await?;
    let done = execute(&store, &settings, command).await;
    store.close().await;
    done
}

pub(super) fn sender(settings: &Settings) -> Result<Sender, Failure> {
    let webhooks = &settings.webhooks;
    Sender::new(webhooks.allowed_networks.clone(), webhooks.timeout)
        .map_err(|error| Failure::new(Exit::Failed, error))
}

/// What was refused, as a failure.
pub(super) fn granted<T>(verdict: Verdict<T>) -> Result<T, Failure> {
    verdict?.map_err(|refused| {
        not_done(match refused.hint {
            Some(hint) => format!("{}. {hint}", refused.message),
            None => refused.message,
        })
    })
}

async fn execute(store: &Store, settings: &Settings, command: Webhook) -> Result<Exit, Failure> {
    match command {
        Webhook::List(output) => list(&store.webhooks().await?, output),
        Webhook::Test(endpoint) => {
            return test(store, settings, &endpoint.name, endpoint.output).await;
        }
        Webhook::Attempts {
            name,
            event,
            rows,
            output,
        } => {
            known(store, &name).await?;
            let attempts = store.webhook_attempts(&name, event, rows.into()).await?;
            show_attempts("attempts", &attempts, output);
        }
        Webhook::Dead { name, rows, output } => {
            known(store, &name).await?;
            show_attempts(
                "dead",
                &store.webhook_dead(&name, rows.into()).await?,
                output,
            );
        }
        Webhook::Add(new) => {
            judge(settings, &new.url)?;
            let kinds = new.kinds.as_deref();
            let added = store.add_webhook(&new.name, &new.url, kinds, &new.from);
            show_secret(&new.name, &granted(added.await)?, new.output);
        }
        Webhook::Rotate {
            name,
            overlap,
            output,
        } => {
            let secret = granted(store.rotate_webhook(&name, &overlap).await)?;
            show_secret(&name, &secret, output);
        }
        Webhook::Change(change) => {
            self::change(store, settings, &change).await?;
        }
        Webhook::Replay(replay) => {
            self::replay(store, &replay).await?;
        }
        Webhook::Stop { name, why, output } => {
            granted(store.switch_webhook(&name, false, why.as_deref()).await)?;
            done(&name, "is sent nothing more; what happens waits", output);
        }
        Webhook::Start(Endpoint { name, output }) => {
            granted(store.switch_webhook(&name, true, None).await)?;
            done(&name, "is sent what waits for it", output);
        }
        Webhook::Remove(Endpoint { name, output }) => {
            granted(store.drop_webhook(&name).await)?;
            done(&name, "is forgotten", output);
        }
    }
    Ok(Exit::Done)
}

async fn change(
    store: &Store,
    settings: &Settings,
    change: &ChangeEndpoint,
) -> Result<(), Failure> {
    if let Some(url) = &change.url {
        judge(settings, url)?;
    }
    let (url, kinds) = (change.url.as_deref(), change.kinds());
    let changed = store.change_webhook(&change.name, url, kinds.as_deref(), change.concurrency);
    granted(changed.await)?;
    let words = "is changed; what waits is sent at once";
    done(&change.name, words, change.output);
    Ok(())
}

async fn replay(store: &Store, replay: &ReplayEvents) -> Result<(), Failure> {
    let count = granted(store.replay_webhook(&replay.name, which(replay)).await)?;
    let words = format!(
        "{count} event(s) are looked at again for {}; the daemon sends them",
        replay.name
    );
    let shown = json!({"endpoint": replay.name, "count": count});
    show(&shown, &words, replay.output);
    Ok(())
}

fn which(replay: &ReplayEvents) -> Replay {
    match (replay.event, replay.since) {
        (Some(id), _) => Replay::Event(id),
        (None, Some(at)) => Replay::Since(at),
        (None, None) => Replay::Dead,
    }
}

/// What can be said of an address at once is said at once.
fn judge(settings: &Settings, url: &str) -> Result<(), Failure> {
    let refused = sender(settings)?.judge(url);
    refused.map_err(|refused| not_done(refused.to_string()))
}

async fn known(store: &Store, name: &str) -> Result<EndpointRow, Failure> {
    let mut endpoints = store.webhooks().await?.into_iter();
    endpoints
        .find(|row| row.name == name)
        .ok_or_else(|| none(name))
}

fn none(name: &str) -> Failure {
    not_done(format!(
        "there is no webhook endpoint {name}; `billd webhook list` shows them"
    ))
}

fn done(endpoint: &str, words: &str, output: Output) {
    let words = format!("{endpoint} {words}");
    show(&json!({"endpoint": endpoint}), &words, output);
}

fn show(shown: &Value, words: &str, output: Output) {
    terminal::line(&if output.json {
        shown.to_string()
    } else {
        words.to_owned()
    });
}

fn show_secret(name: &str, secret: &str, output: Output) {
    show(
        &json!({"endpoint": name, "secret": secret}),
        &format!(
            "{secret}\nThis signs what is sent to {name}. It is shown this once: give it to the receiver."
        ),
        output,
    );
}

fn list(endpoints: &[EndpointRow], output: Output) {
    if output.json {
        terminal::line(&json!({"endpoints": endpoints}).to_string());
        return;
    }
    for row in endpoints {
        let kinds = row
            .kinds
            .as_ref()
            .map_or_else(|| "all".to_owned(), |kinds| kinds.join(","));
        let waiting = match (row.waiting_at_most, row.waiting_since) {
            (0, _) => "nothing waits".to_owned(),
            (count, Some(since)) => format!("at most {count} wait, since {since:.0}"),
            (count, None) => format!("at most {count} wait"),
        };
        let dead = if row.dead > 0 {
            format!("; {} dead letter(s)", row.dead)
        } else {
            String::new()
        };
        let why = row
            .why
            .as_ref()
            .map(|why| format!("; {why}"))
            .unwrap_or_default();
        terminal::line(&format!(
            "{:<15} {:<9} {}  ({kinds}); {waiting}{dead}{why}",
            row.name, row.health, row.url
        ));
    }
    if endpoints.is_empty() {
        terminal::line("there is no endpoint; billd webhook add NAME URL makes one");
    }
}

async fn test(
    store: &Store,
    settings: &Settings,
    name: &str,
    output: Output,
) -> Result<Exit, Failure> {
    let letter = store.test_letter(name).await?.ok_or_else(|| none(name))?;
    let sent = sender(settings)?.send(&letter).await;
    show(
        &json!({"endpoint": name, "id": letter.id, "ok": sent.error.is_none(), "status": sent.status,
            "latency_ms": sent.took.as_millis(), "error": sent.error, "excerpt": sent.excerpt}),
        &format!("{} to {}: {}", letter.id, letter.url, in_words(&sent)),
        output,
    );
    Ok(if sent.error.is_none() {
        Exit::Done
    } else {
        Exit::NotDone
    })
}

/// Status and time, or why there is none.
pub(super) fn in_words(sent: &Sent) -> String {
    let status = sent.status.map(|status| status.to_string());
    let what = sent.error.clone().or(status).unwrap_or_default();
    let excerpt = sent
        .excerpt
        .as_ref()
        .map(|said| format!(": {said}"))
        .unwrap_or_default();
    format!("{what}, {} ms{excerpt}", sent.took.as_millis())
}

fn show_attempts(what: &str, attempts: &[AttemptShown], output: Output) {
    if output.json {
        terminal::line(&json!({what: attempts}).to_string());
        return;
    }
    for row in attempts {
        let at = row.at.map(|at| format!("{at:.0}")).unwrap_or_default();
        let status = row
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string());
        let told = [row.error.as_deref(), row.excerpt.as_deref()];
        let told: Vec<&str> = told.into_iter().flatten().collect();
        let line = format!(
            "{at:<20}  evt_{:<8} {:<15} {:<36} #{:<2} {status:>3} {:>6} ms  {}",
            row.event_id,
            row.kind.as_deref().unwrap_or("-"),
            row.lane.as_deref().unwrap_or("-"),
            row.attempt_no.unwrap_or_default(),
            row.latency_ms.unwrap_or_default(),
            told.join(": "),
        );
        terminal::line(line.trim_end());
    }
    if attempts.is_empty() {
        terminal::line("there is none");
    }
}
