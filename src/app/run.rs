//! `billd run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::app::exit::{Exit, Failure};
use crate::app::services::{self, Services, limits, settings_for_work};
use crate::app::signals::stop_signals;
use crate::app::{audit, day, figures, gateway};
use crate::auditor::Auditor;
use crate::delivery;
use crate::duties::{self, Duties};
use crate::engine::{Ended, Engine};
use crate::gateway::Gateway;
use crate::http::Server;
use crate::scheduler::Schedule;
use crate::settings::{Given, Settings, Source};
use crate::webhook;

/// How long what stands beside the engine may take to end, once nothing is under way any more.
const END_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(source: &Source) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let (stop, hurry) = stop_signals().context("couldn't listen for signals")?;
    tell(&settings);
    let Some(services) = services::wait_and_open(&settings, &stop).await? else {
        info!(event = "stopped", "billd was stopped before it began");
        return Ok(Exit::Done);
    };
    let watched = CancellationToken::new();
    let mut duties = Duties::default();
    serve(&services, &settings, &watched, &mut duties).await?;
    duties.start(
        "figures",
        figures::keep(
            services.store.clone(),
            services.engine.clone(),
            Arc::clone(&services.metrics),
            watched.clone(),
        ),
    );
    let schedule = Schedule::start(
        &settings.scheduler.sweep_cron,
        Arc::clone(&services.doorbell),
    )
    .await
    .context("couldn't start the schedule")?;
    audit::keep(&settings, &services, stop.clone(), &mut duties).await?;
    day::keep(&settings.log.day_cron, &services, stop.clone(), &mut duties).await?;
    duties.start(
        "delivery",
        delivery::keep(
            services.store.clone(),
            crate::app::webhook::sender(&settings)?,
            Arc::clone(&services.metrics),
            stop.clone(),
            hurry.clone(),
        ),
    );
    info!(event = "running", "billd is running");

    let ended = charge_until(&services.engine, &mut duties, stop, hurry).await;

    watched.cancel();
    schedule.stop().await;
    duties.end(END_MAX).await;
    timeout(END_MAX, services.store.close()).await.ok();
    Ok(last_line(&ended))
}

/// The last line of the log, and the code that goes with it.
fn last_line(ended: &Ended) -> Exit {
    match ended {
        Ended { died: Some(_), .. } => {
            error!(
                event = "stopped",
                "billd has stopped, because a part of it had ended"
            );
            Exit::PartDied
        }
        Ended {
            is_outdated: true, ..
        } => {
            error!(
                event = "stopped",
                "billd has stopped, because the database is a newer version's"
            );
            Exit::Schema
        }
        Ended { is_quiet: true, .. } => {
            info!(event = "stopped", "billd has stopped; nothing is under way");
            Exit::Done
        }
        Ended { .. } => {
            warn!(
                event = "stopped",
                "billd has stopped with calls under way; they will be asked about"
            );
            Exit::WorkLeft
        }
    }
}

/// What runs here, and with which settings: those that are not the default, and where each is from.
fn tell(settings: &Settings) {
    let files = settings.files_read();
    info!(
        event = "starting",
        version = env!("CARGO_PKG_VERSION"),
        files,
        gateway = settings.gateway.base_url,
        "billd is starting; {files}"
    );
    for Given { key, value, from } in &settings.given {
        info!(
            event = "setting",
            key, value, from, "setting {key} is {value:?}, from {from}"
        );
    }
    for note in &settings.notes {
        warn!(event = "setting_unheeded", "{note}");
    }
}

/// Runs the engine until `stop`, or until one of the duties beside it ends before that.
async fn charge_until(
    engine: &Engine<impl Gateway>,
    duties: &mut Duties,
    stop: CancellationToken,
    hurry: CancellationToken,
) -> Ended {
    let running = engine.run(stop.clone(), hurry);
    tokio::pin!(running);
    loop {
        let duty = tokio::select! {
            ended = &mut running => return ended,
            duty = duties.one_ended() => duty,
        };
        if !stop.is_cancelled() {
            duties::log_death(duty);
            stop.cancel();
            let ended = running.await;
            let died = ended.died.or(Some(duty));
            return Ended { died, ..ended };
        }
    }
}

/// Probes, metrics and the webhook, in the background, if there is to be a port for them.
async fn serve(
    services: &Services<impl Gateway>,
    settings: &Settings,
    stop: &CancellationToken,
    duties: &mut Duties,
) -> Result<(), Failure> {
    let Some(listen) = settings.http.listen else {
        return Ok(());
    };
    let server = Server::bind(listen).await.with_context(|| {
        format!(
            "couldn't listen on {listen}; set http.listen to a free address, or to \"\" for none"
        )
    })?;
    let address = server
        .addr()
        .context("couldn't read the address listened on")?;
    info!(event = "serving", %address, "serving /livez, /readyz, /metrics and /webhooks/portone on {address}");
    let webhook = webhook(services, settings, stop, duties)?;
    let (engine, metrics) = (services.engine.clone(), Arc::clone(&services.metrics));
    let serving = server.serve(engine, metrics, webhook, stop.clone());
    duties.start("http", serving);
    Ok(())
}

/// The route of the webhook, and in the background what follows its hints.
fn webhook(
    services: &Services<impl Gateway>,
    settings: &Settings,
    stop: &CancellationToken,
    duties: &mut Duties,
) -> Result<axum::Router, Failure> {
    let sources = settings.http.webhook_sources.clone();
    let received = services.metrics.webhooks.clone();
    let (router, named, given_back) = webhook::router(sources, received);
    let auditor = Auditor::new(services.store.clone(), gateway::connect(settings)?, None);
    let stopping = stop.clone();
    duties.start("given_back", async move {
        auditor.follow_hints(given_back, stopping).await;
    });
    duties.start(
        "webhooks",
        webhook::pass_on(
            named,
            services.store.clone(),
            Arc::clone(&services.doorbell),
            limits(settings).call,
            stop.clone(),
        ),
    );
    Ok(router)
}
