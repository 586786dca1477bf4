//! `billd migrate`: creates or updates the tables.

use serde_json::json;

use crate::app::exit::{Exit, Failure};
use crate::app::services::{open_store, require_schema};
use crate::cli::Output;
use crate::settings::{Needs, Settings, Source};
use crate::store::SchemaState;
use crate::terminal;

pub(super) async fn migrate(source: &Source, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(
        source,
        Needs {
            database: true,
            gateway: false,
        },
    )?;
    let store = open_store(&settings).await?;
    store.require_session().await?;
    match store.schema_state().await? {
        SchemaState::Current | SchemaState::Older { .. } => {}
        // Says what is wrong and what to do; nothing was changed.
        SchemaState::Newer | SchemaState::Broken => require_schema(&store).await?,
    }
    let applied = store.migrate().await?;
    require_schema(&store).await?;
    store.close().await;
    if output.json {
        terminal::line(&json!({ "applied": applied }).to_string());
    } else if applied.is_empty() {
        terminal::line("the schema is current; nothing to do");
    } else {
        for version in applied {
            terminal::line(&format!("applied migration {version}"));
        }
    }
    Ok(Exit::Done)
}
