//! `billd run`: the daemon.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::{
    Exit, Failure, House, audit, figures, limits, open_house, settings_for_work, stop_signals,
};
use crate::gateway::Gateway;
use crate::http::Server;
use crate::scheduler::Schedule;
use crate::settings::{Settings, Source};
use crate::webhook::Desk;

pub(super) async fn run(source: &Source) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let (stop, hurry) = stop_signals().context("couldn't listen for signals")?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        ?settings,
        "billd is starting"
    );

    let house = open_house(&settings).await?;
    let watched = CancellationToken::new();
    let server = match settings.http.listen {
        Some(listen) => {
            let server = Server::bind(listen)
                .await
                .with_context(|| format!("couldn't listen on {listen}; set http.listen to a free address, or to \"\" for none"))?;
            let address = server
                .addr()
                .context("couldn't read the address listened on")?;
            info!(%address, "serving /livez, /readyz, /metrics and /webhooks/portone on {address}");
            let (engine, metrics) = (house.engine.clone(), Arc::clone(&house.metrics));
            let webhook = webhook(&house, &settings, &watched);
            Some(tokio::spawn(server.serve(
                engine,
                metrics,
                webhook,
                watched.clone(),
            )))
        }
        None => None,
    };
    let figures = tokio::spawn(figures::keep(
        house.store.clone(),
        house.engine.clone(),
        Arc::clone(&house.metrics),
        watched.clone(),
    ));
    let schedule = Schedule::start(&settings.scheduler.sweep_cron, Arc::clone(&house.doorbell))
        .await
        .context("couldn't start the schedule")?;
    let auditing = audit::keep(&settings, &house, stop.clone()).await?;
    info!("billd is running");

    let quiet = house.engine.run(stop, hurry).await;

    schedule.stop().await;
    if let Some(auditing) = auditing {
        drop(auditing.await);
    }
    watched.cancel();
    drop(figures.await);
    if let Some(server) = server {
        server.abort();
    }
    house.store.close().await;
    if quiet {
        info!("billd has stopped; nothing is under way");
        Ok(Exit::Done)
    } else {
        warn!("billd has stopped with calls under way; they will be asked about");
        Ok(Exit::WorkLeft)
    }
}

/// The route of the webhook, and in the background what passes its hints on.
fn webhook(
    house: &House<impl Gateway>,
    settings: &Settings,
    stop: &CancellationToken,
) -> axum::Router {
    let sources = settings.http.webhook_sources.clone();
    let (desk, runner) = Desk::new(sources, house.metrics.webhooks.clone());
    tokio::spawn(runner.run(
        house.store.clone(),
        Arc::clone(&house.doorbell),
        limits(settings).call,
        stop.clone(),
    ));
    desk.router()
}
