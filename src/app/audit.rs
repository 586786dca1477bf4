//! `billd audit`, and the daemon's own audit at its hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::app::exit::{Exit, Failure};
use crate::app::gateway;
use crate::app::services::{Services, open_store, require_schema, settings_for_work};
use crate::app::signals::stop_signals;
use crate::auditor::{AuditError, Auditor};
use crate::causes::chain;
use crate::cli;
use crate::duties::Duties;
use crate::gateway::Gateway;
use crate::scheduler::Hours;
use crate::settings::{Settings, Source};
use crate::store::{FindingRow, Run, Store};
use crate::terminal;

/// PortOne's console counts days here, whatever the zone of a subscription.
const ZONE: &str = "Asia/Seoul";
/// Findings that are printed. The rest stand in the table.
const FINDINGS_SHOWN_MAX: u32 = 100;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    audit: i64,
    from: Timestamp,
    to: Timestamp,
    payments: u64,
    asked_about: u64,
    schedules: u64,
    open: BTreeMap<String, u64>,
    findings: Vec<FindingRow>,
}

pub(super) async fn audit(source: &Source, options: cli::Audit) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let (stop, _hurry) = stop_signals().context("couldn't listen for signals")?;
    let store = open_store(&settings).await?;
    require_schema(&store).await?;
    let gateway = gateway::connect(&settings)?;
    let auditor = Auditor::new(store.clone(), gateway, None);
    let run = if options.resume {
        store.take_audit(false).await?
    } else {
        let (from, to) = window(&store, &options, settings.audit.days).await?;
        store.begin_audit(from, to, false).await?
    };
    let Some(run) = run else {
        terminal::line("no audit was cut short; nothing to do");
        return Ok(Exit::Done);
    };
    let ended = auditor.audit(run, &stop, &show).await;
    terminal::progress_done();
    let exit = match ended {
        Ok(run) => report(&store, &run, options.output).await?,
        Err(AuditError::Stopped) => {
            terminal::note("the audit was cut short; `billd audit --resume` goes on");
            Exit::WorkLeft
        }
        Err(error) => return Err(failure(error)),
    };
    store.close().await;
    Ok(exit)
}

fn failure(error: AuditError) -> Failure {
    let advice = "the audit was cut short; `billd audit --resume` goes on";
    let (exit, error) = match error {
        AuditError::Store(error) => {
            let failure = Failure::from(error);
            (failure.exit, failure.error)
        }
        AuditError::Gateway(error) => (Exit::Gateway, anyhow::Error::new(error)),
        error @ (AuditError::TakenOver | AuditError::Stopped) => {
            (Exit::WorkLeft, anyhow::Error::new(error))
        }
    };
    Failure {
        exit,
        error: error.context(advice),
    }
}

/// From the start of the first day to the end of the last.
async fn window(
    store: &Store,
    options: &cli::Audit,
    days: u16,
) -> Result<(Timestamp, Timestamp), Failure> {
    let now = store.now().await?;
    let today = now
        .in_tz(ZONE)
        .with_context(|| format!("couldn't find the time zone {ZONE}"))?
        .date();
    let last = options.to.unwrap_or(today);
    let back = SignedDuration::from_hours(24).saturating_mul(i32::from(days));
    let first = match options.from {
        Some(first) => first,
        None => last.saturating_sub(back),
    };
    if first > last {
        let error = anyhow::Error::msg(format!("--from {first} lies after --to {last}"));
        return Err(error.into());
    }
    Ok((
        start_of(first)?,
        start_of(last.tomorrow().context("--to is out of range")?)?,
    ))
}

fn start_of(day: Date) -> Result<Timestamp, anyhow::Error> {
    let start = day
        .in_tz(ZONE)
        .with_context(|| format!("{day} has no start in {ZONE}"))?;
    Ok(start.timestamp())
}

fn show(run: &Run) {
    terminal::progress(&format!(
        "window from {}, page {}: {} payments read, {} asked about, {} reservations",
        run.window_from, run.page, run.payments, run.attempts, run.schedules,
    ));
}

async fn report(store: &Store, run: &Run, output: cli::Output) -> Result<Exit, Failure> {
    let findings = store.findings_to_show(run.id, FINDINGS_SHOWN_MAX).await?;
    let open = store.open_findings().await?.by_kind;
    let exit = if open.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    };
    let report = Report {
        audit: run.id,
        from: run.from,
        to: run.to,
        payments: run.payments,
        asked_about: run.attempts,
        schedules: run.schedules,
        open,
        findings,
    };
    if output.json {
        let text = serde_json::to_string(&report).context("couldn't print the report")?;
        terminal::line(&text);
    } else {
        print(&report);
    }
    Ok(exit)
}

fn print(report: &Report) {
    for line in &report.findings {
        let sum = |amount: Option<i64>| amount.map_or_else(|| "-".to_owned(), |a| a.to_string());
        terminal::line(&format!(
            "{:<8} {:<20} {}  ours {}, theirs {}; {}",
            line.state,
            line.kind,
            line.merchant_uid,
            sum(line.amount_ours),
            sum(line.amount_theirs),
            line.note.as_deref().unwrap_or_default(),
        ));
    }
    let open: u64 = report
        .open
        .values()
        .fold(0, |all, count| all.saturating_add(*count));
    terminal::line(&format!(
        "{} payments read, {} of ours asked about, {} reservations; {open} findings open",
        report.payments, report.asked_about, report.schedules,
    ));
    if open > 0 {
        terminal::line(
            "to close one: update billd.finding set state = 'explained', note = '…' where id = …",
        );
    }
}

/// Runs the daemon's audits until `stop`, if there is an hour for them.
pub(super) async fn keep(
    settings: &Settings,
    services: &Services<impl Gateway>,
    stop: CancellationToken,
    duties: &mut Duties,
) -> Result<(), Failure> {
    let Some(cron) = settings.audit.cron.as_deref() else {
        return Ok(());
    };
    let gateway = gateway::connect(settings)?;
    let doorbell = Some(Arc::clone(&services.doorbell));
    let auditor = Auditor::new(services.store.clone(), gateway, doorbell);
    let hours = Hours::start(cron)
        .await
        .context("couldn't start the schedule of the audit")?;
    let days = settings.audit.days;
    duties.start("audit", async move {
        while hours.next(&stop).await {
            match auditor.daily(days, &stop).await {
                Ok(()) => {}
                Err(error @ (AuditError::Stopped | AuditError::TakenOver)) => info!(event = "audit_stopped", "{error}"),
                Err(error) => error!(event = "audit_cut_short",
                    error = chain(&error),
                    "the audit was cut short; it goes on at its next hour, or with `billd audit --resume`"
                ),
            }
        }
        hours.stop().await;
    });
    Ok(())
}
