//! `billd event`: what was told, and who has read it.

use serde_json::Value;

use crate::app::exit::{Exit, Failure};
use crate::app::services::open_book;
use crate::cli::Event;
use crate::settings::{Needs, Source};
use crate::terminal;

pub(super) async fn event(source: &Source, command: Event) -> Result<Exit, Failure> {
    let store = open_book(source, Needs::Database).await?;
    let (rows, output) = match command {
        Event::List {
            kind,
            limit,
            output,
        } => (store.latest_events(kind.as_deref(), limit).await, output),
        Event::Consumers { output } => (store.consumers().await, output),
    };
    store.close().await;
    for row in rows? {
        terminal::line(&if output.json {
            row.to_string()
        } else {
            in_words(&row)
        });
    }
    Ok(Exit::Done)
}

/// The values of a row, as they are; keys of what is nested, too.
fn in_words(row: &Value) -> String {
    let words = row.as_object().into_iter().flatten();
    let words = words
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match value {
            Value::String(text) => text.clone(),
            Value::Object(_) | Value::Array(_) => value.to_string(),
            Value::Null | Value::Bool(_) | Value::Number(_) => format!("{key} {value}"),
        });
    words.collect::<Vec<_>>().join("  ")
}
