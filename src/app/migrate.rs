//! `billd migrate`: creates or updates the tables.

use serde_json::json;

use crate::app::exit::{Exit, Failure};
use crate::app::services::{open_store, require_schema};
use crate::cli::Output;
use crate::settings::{Needs, Settings, Source};
use crate::store::SchemaState;
use crate::terminal;

pub(super) async fn migrate(source: &Source, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(source, Needs::Database)?;
    let store = open_store(&settings).await?;
    store.require_session().await?;
    match store.schema_state().await? {
        SchemaState::Current
        | SchemaState::Older { .. }
        | SchemaState::OtherRoutines
        | SchemaState::Incomplete { .. } => {}
        // Says what is wrong and what to do; nothing was changed.
        SchemaState::Newer | SchemaState::Broken => require_schema(&store).await?,
    }
    let migrated = store.migrate().await?;
    require_schema(&store).await?;
    store.close().await;
    if output.json {
        let report = json!({
            "applied": migrated.versions,
            "routines": migrated.routines,
            "sessions_before": migrated.sessions_before,
            "not_kept": migrated.not_kept,
        });
        terminal::line(&report.to_string());
        return Ok(Exit::Done);
    }
    if migrated.versions.is_empty() && !migrated.routines {
        terminal::line("the schema is current; nothing to do");
    }
    for version in &migrated.versions {
        terminal::line(&format!("applied migration {version}"));
    }
    if migrated.routines {
        terminal::line("applied functions, triggers and views");
    }
    for rule in &migrated.not_kept {
        terminal::line(&format!(
            "new rows keep this rule, but not all old ones: {rule}"
        ));
    }
    if !migrated.sessions_before.is_empty() {
        terminal::line(&format!(
            "kept what only the billd before needs, which is still connected (process {}); run \
             `billd migrate` again when it has gone",
            migrated
                .sessions_before
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    Ok(Exit::Done)
}
