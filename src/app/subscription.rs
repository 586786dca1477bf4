//! `billd subscription`: a verb is called, and what will follow is printed.

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::app::exit::{Exit, Failure, not_done};
use crate::app::services::open_book;
use crate::cli::{Subscription, Verb};
use crate::settings::{Needs, Source};
use crate::store::{ForecastRow, Named, Store, VerbCall};
use crate::terminal;

pub(super) async fn subscription(source: &Source, command: Subscription) -> Result<Exit, Failure> {
    let store = open_book(source, Needs::Database).await?;
    let result = call(&store, &command).await;
    store.close().await;
    let (named, rows) = result?;
    if command.json {
        let shown = json!({
            "subscription_id": named.id.0, "dry_run": command.dry_run, "forecast": rows,
        });
        terminal::line(&shown.to_string());
    } else {
        in_words(&named, &rows, command.dry_run);
    }
    Ok(Exit::Done)
}

async fn call(store: &Store, command: &Subscription) -> Result<(Named, Vec<ForecastRow>), Failure> {
    let mut arguments = arguments(&command.verb)?;
    let verb = take_text(&mut arguments, "verb").unwrap_or_default();
    let of = take_text(&mut arguments, "subscription");
    let change = arguments.get("change").and_then(Value::as_i64);
    let id = of.as_deref().and_then(|text| Uuid::try_parse(text).ok());
    let external_id = of.as_deref().filter(|_| id.is_none());
    let named = store.named(id, external_id, change).await?.ok_or_else(|| {
        not_done(match (&of, change) {
            (Some(of), _) => format!("there is no subscription with id or external_id {of}"),
            (None, change) => format!(
                "there is no planned change {}; billd.planned_change lists them",
                change.unwrap_or_default()
            ),
        })
    })?;
    if let Verb::Forecast { rows, .. } = command.verb {
        let rows = store.forecast(named.id, rows).await?;
        return Ok((named, rows));
    }
    let answer = store
        .verb(VerbCall {
            id: named.id,
            verb: &verb,
            arguments: &Value::Object(arguments).to_string(),
            note: command.note.as_deref(),
            dry_run: command.dry_run,
        })
        .await?;
    match answer {
        Ok(rows) => Ok((named, rows)),
        Err(refused) => Err(not_done(match refused.hint {
            Some(hint) => format!("{}. {hint}", refused.message),
            None => refused.message,
        })),
    }
}

/// A verb as the arguments of its SQL function, by name.
fn arguments(verb: &Verb) -> Result<Map<String, Value>, Failure> {
    let value = serde_json::to_value(verb).context("a verb has no form as JSON")?;
    let Value::Object(arguments) = value else {
        return Err(anyhow::Error::msg("a verb has no arguments by name").into());
    };
    Ok(arguments)
}

fn take_text(arguments: &mut Map<String, Value>, name: &str) -> Option<String> {
    let value = arguments.remove(name)?;
    value.as_str().map(str::to_owned)
}

fn in_words(named: &Named, rows: &[ForecastRow], dry_run: bool) {
    let zone = TimeZone::get(&named.time_zone).unwrap_or(TimeZone::UTC);
    let at = |instant: Timestamp| {
        let local = instant.to_zoned(zone.clone());
        local.strftime("%Y-%m-%d %H:%M").to_string()
    };
    terminal::line(&format!(
        "{}, times in {}{}",
        named.id,
        named.time_zone,
        if dry_run {
            "; a dry run, nothing was changed"
        } else {
            ""
        }
    ));
    for row in rows {
        let time = match (row.from_at, row.until_at) {
            (Some(from), Some(until)) => format!("{} … {}", at(from), at(until)),
            (Some(from), None) => at(from),
            (None, _) => String::new(),
        };
        let sum = match (row.amount, &row.currency) {
            (Some(amount), Some(currency)) => format!("{amount} {currency}"),
            _ => String::new(),
        };
        let asked = row
            .ask_at
            .map(|instant| format!("asked for {}", at(instant)));
        let rest: Vec<&str> = [asked.as_deref(), row.remark.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let line = format!("{:<7} {time:<35} {sum:>12}  {}", row.kind, rest.join("; "));
        terminal::line(line.trim_end());
    }
    if rows.is_empty() {
        terminal::line("nothing follows");
    }
}
