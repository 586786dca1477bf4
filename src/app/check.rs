//! `billd check`: tries everything that `run` needs, and says so line by line.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::app::exit::{Exit, Failure};
use crate::app::gateway;
use crate::app::services::{self, open_store, require_schema};
use crate::causes::chain;
use crate::cli::Output;
use crate::domain::standstill::Reason;
use crate::gateway::Gateway;
use crate::settings::{Needs, Settings, Source};
use crate::store::Store;
use crate::terminal;

/// A difference that is worth a word: certificates and tokens begin to suffer. Billing does not; it
/// goes by the database's clock alone.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    #[serde(skip)]
    exit: Exit,
}

impl Check {
    fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            ok: true,
            detail: detail.into(),
            exit: Exit::Done,
        }
    }

    fn failed(name: &'static str, exit: Exit, detail: impl Into<String>) -> Self {
        Self {
            name,
            ok: false,
            detail: detail.into(),
            exit,
        }
    }
}

pub(super) async fn check(source: &Source, output: Output) -> Result<Exit, Failure> {
    let mut checks = Vec::new();
    match Settings::load(source, Needs::All) {
        Ok(settings) => {
            let detail = format!("complete and consistent; {}", settings.files_read());
            checks.push(Check::passed("settings", detail));
            let notes = settings.notes.iter();
            checks.extend(notes.map(|note| Check::passed("settings", note)));
            database(&settings, &mut checks).await;
            checks.push(access(&settings).await);
        }
        Err(error) => {
            for fault in &error.faults {
                checks.push(Check::failed("settings", Exit::Settings, fault.to_string()));
            }
        }
    }
    print(&checks, output)?;
    Ok(checks
        .iter()
        .map(|check| check.exit)
        .find(|exit| *exit != Exit::Done)
        .unwrap_or(Exit::Done))
}

async fn database(settings: &Settings, checks: &mut Vec<Check>) {
    let store = match open_store(settings).await {
        Ok(store) => store,
        Err(failure) => {
            checks.push(Check::failed("database", failure.exit, failure.in_words()));
            return;
        }
    };
    checks.push(
        server(&store)
            .await
            .unwrap_or_else(|failure| Check::failed("database", failure.exit, failure.in_words())),
    );
    match require_schema(&store).await {
        Ok(()) => {
            checks.push(Check::passed("schema", "current"));
            checks.push(clock(&store).await);
            checks.extend(charging(&store).await);
            checks.extend(rows(&store).await);
            checks.extend(reservations(&store).await);
            checks.extend(webhooks(&store).await);
        }
        Err(failure) => {
            checks.push(Check::failed("schema", failure.exit, failure.in_words()));
        }
    }
    store.close().await;
}

async fn server(store: &Store) -> Result<Check, Failure> {
    let version = store.server().await?.version;
    store.require_own_servers().await?;
    services::require_grants(store).await?;
    Ok(Check::passed("database", format!("PostgreSQL {version}")))
}

/// Only while there is something to say.
async fn charging(store: &Store) -> Option<Check> {
    let standstill = match store.standstill().await {
        Ok(standstill) => standstill?,
        Err(error) => return Some(Check::failed("charging", Exit::Database, chain(&error))),
    };
    Some(match standstill.reason {
        // It ends by itself.
        Reason::FailoverHold => Check::passed("charging", standstill.says),
        Reason::Stopped | Reason::Elsewhere | Reason::Clock | Reason::OtherAccount => {
            Check::failed("charging", Exit::NotDone, standstill.says)
        }
    })
}

/// Only while there is something to say.
async fn rows(store: &Store) -> Option<Check> {
    match store.out_of_order().await {
        Ok(rows) if rows.is_empty() => None,
        Ok(rows) => Some(Check::passed(
            "rows",
            format!(
                "out of order, and set right by a sweep: {}; see billd.row_out_of_order",
                rows.join(", ")
            ),
        )),
        Err(error) => Some(Check::failed("rows", Exit::Database, chain(&error))),
    }
}

/// The gateway's own scheduler beside billd: one debt, charged by two.
async fn reservations(store: &Store) -> Option<Check> {
    match store.open_findings().await {
        Ok(open) => {
            let count = *open.by_kind.get("foreign_schedule")?;
            Some(Check::passed(
                "reservations",
                format!(
                    "the gateway will charge {count} cards of ours by itself: their subscriptions are held; \
                     unschedule them there, and explain the findings"
                ),
            ))
        }
        Err(error) => Some(Check::failed("reservations", Exit::Database, chain(&error))),
    }
}

/// Endpoints that are not well, only while there are any. They hold up no charge.
async fn webhooks(store: &Store) -> Option<Check> {
    let endpoints = match store.webhooks().await {
        Ok(endpoints) => endpoints,
        Err(error) => return Some(Check::failed("webhooks", Exit::Database, chain(&error))),
    };
    let told: Vec<String> = endpoints
        .iter()
        .filter(|row| !row.is_well() || row.dead > 0)
        .map(|row| {
            let why = row.why.as_deref().unwrap_or("dead letters");
            format!(
                "{} is {}: {why}; at most {} wait, {} dead",
                row.name, row.health, row.waiting_at_most, row.dead
            )
        })
        .collect();
    (!told.is_empty()).then(|| Check::passed("webhooks", told.join("; ")))
}

async fn clock(store: &Store) -> Check {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that compares this machine's clock with the database's"
    )]
    let here = Timestamp::now();
    let clock = match store.server_clock().await {
        Ok(clock) => clock,
        Err(error) => return Check::failed("clock", Exit::Database, chain(&error)),
    };
    let difference = here.duration_since(clock.server).unsigned_abs();
    let shift = if clock.shift.is_zero() {
        String::new()
    } else {
        format!(
            "; billd's clock runs {} s AHEAD of PostgreSQL's (billd.control.clock_shift)",
            clock.shift.as_secs()
        )
    };
    let detail = format!(
        "{} ms between this machine and PostgreSQL{shift}",
        difference.as_millis()
    );
    if difference > CLOCK_DIFFERENCE_MAX {
        let advice = "set this machine's clock; billing goes by PostgreSQL's";
        return Check::failed("clock", Exit::Failed, format!("{detail}; {advice}"));
    }
    Check::passed("clock", detail)
}

async fn access(settings: &Settings) -> Check {
    let url = settings.gateway.base_url.as_str();
    let gateway = match gateway::connect(settings) {
        Ok(gateway) => gateway,
        Err(failure) => {
            let detail = failure.in_words();
            return Check::failed("gateway", failure.exit, detail);
        }
    };
    match gateway.prepare().await {
        Ok(()) => Check::passed("gateway", format!("{url} accepts the key")),
        Err(error) => {
            let hint = settings.gateway.proxy_hint();
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let detail = format!("{url}: {}{hint}", chain(&error));
            Check::failed("gateway", Exit::Gateway, detail)
        }
    }
}

fn print(checks: &[Check], output: Output) -> Result<(), anyhow::Error> {
    if output.json {
        let ok = checks.iter().all(|check| check.ok);
        terminal::line(&serde_json::to_string(
            &serde_json::json!({ "ok": ok, "checks": checks }),
        )?);
        return Ok(());
    }
    for check in checks {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        terminal::line(&format!("{mark}  {:<9} {}", check.name, check.detail));
    }
    Ok(())
}
