//! `billd sweep` and `billd reconcile`: one pass, then exit.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::exit::{Exit, Failure};
use crate::app::services::{self, Services, settings_for_work};
use crate::app::signals::stop_signals;
use crate::cli::Output;
use crate::engine::{Engine, Swept};
use crate::gateway::Gateway;
use crate::settings::Source;
use crate::store::StoreError;
use crate::terminal;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    paid: u64,
    declined: u64,
    not_sent: u64,
    unknown: u64,
    unrecorded: u64,
    unknown_left: u64,
    due_left: u64,
    complete: bool,
    duration_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    charging_stopped: Option<String>,
}

pub(super) async fn sweep(source: &Source, output: Output) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let (stop, hurry) = stop_signals().context("couldn't listen for signals")?;
    let services = services::open(&settings).await?;
    let started = Instant::now();
    let showing = tokio::spawn(show_progress(services.engine.clone(), started));
    let swept = services.engine.sweep(stop).await;
    showing.abort();
    finish(services, swept, hurry, started, output).await
}

pub(super) async fn reconcile(source: &Source, output: Output) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let (stop, hurry) = stop_signals().context("couldn't listen for signals")?;
    let services = services::open(&settings).await?;
    let started = Instant::now();
    let swept = services.engine.reconcile(stop).await;
    finish(services, swept, hurry, started, output).await
}

async fn finish(
    services: Services<impl Gateway>,
    swept: Result<Swept, StoreError>,
    hurry: CancellationToken,
    started: Instant,
    output: Output,
) -> Result<Exit, Failure> {
    terminal::progress_done();
    let stopped = services.engine.charging_stopped();
    let quiet = services.engine.drain(hurry).await;
    services.store.close().await;
    let swept = swept?;
    let complete =
        quiet && swept.unknown_left == 0 && swept.due_left == 0 && swept.counts.unrecorded == 0;
    let report = Report {
        paid: swept.counts.paid,
        declined: swept.counts.declined,
        not_sent: swept.counts.not_sent,
        unknown: swept.counts.unknown,
        unrecorded: swept.counts.unrecorded,
        unknown_left: swept.unknown_left,
        due_left: swept.due_left,
        complete,
        duration_ms: started.elapsed().as_millis(),
        charging_stopped: stopped,
    };
    print(&report, output)?;
    Ok(if complete { Exit::Done } else { Exit::WorkLeft })
}

fn print(report: &Report, output: Output) -> Result<(), anyhow::Error> {
    if output.json {
        terminal::line(&serde_json::to_string(report)?);
        return Ok(());
    }
    terminal::line(&format!(
        "paid {}, declined {}, not sent {}, unknown {}; {} still unknown, {} still due",
        report.paid,
        report.declined,
        report.not_sent,
        report.unknown,
        report.unknown_left,
        report.due_left,
    ));
    if report.unrecorded > 0 {
        terminal::line(&format!(
            "{} of them could not be written down: the log says which and why; they are asked about when their \
             lease has ended",
            report.unrecorded
        ));
    }
    if let Some(reason) = &report.charging_stopped {
        terminal::line(reason);
    }
    if report.unknown_left > 0 {
        terminal::line(
            "unknown ones are asked about by every later sweep; `billd reconcile` asks now",
        );
    }
    Ok(())
}

/// On a terminal, how far the sweep is; once a second.
async fn show_progress(engine: Engine<impl Gateway>, started: Instant) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let counts = engine.progress();
        terminal::progress(&format!(
            "{} s: paid {}, declined {}, not sent {}, unknown {}; {} under way",
            started.elapsed().as_secs(),
            counts.paid,
            counts.declined,
            counts.not_sent,
            counts.unknown,
            engine.in_flight(),
        ));
    }
}
