//! `billd run`: the daemon.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::exit::{Exit, Failure};
use crate::app::services::{self, Services, limits, settings_for_work};
use crate::app::signals::stop_signals;
use crate::app::{audit, figures, gateway};
use crate::auditor::Auditor;
use crate::delivery;
use crate::gateway::Gateway;
use crate::http::Server;
use crate::scheduler::Schedule;
use crate::settings::{Settings, Source};
use crate::webhook;

pub(super) async fn run(source: &Source) -> Result<Exit, Failure> {
    let settings = settings_for_work(source)?;
    let (stop, hurry) = stop_signals().context("couldn't listen for signals")?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        ?settings,
        "billd is starting"
    );

    let services = services::open(&settings).await?;
    let watched = CancellationToken::new();
    let server = serve(&services, &settings, &watched).await?;
    let figures = tokio::spawn(figures::keep(
        services.store.clone(),
        services.engine.clone(),
        Arc::clone(&services.metrics),
        watched.clone(),
    ));
    let schedule = Schedule::start(
        &settings.scheduler.sweep_cron,
        Arc::clone(&services.doorbell),
    )
    .await
    .context("couldn't start the schedule")?;
    let delivering = tokio::spawn(delivery::keep(
        services.store.clone(),
        crate::app::webhook::sender(&settings)?,
        Arc::clone(&services.metrics),
        stop.clone(),
        hurry.clone(),
    ));
    let auditing = audit::keep(&settings, &services, stop.clone()).await?;
    info!("billd is running");

    let quiet = services.engine.run(stop, hurry).await;

    schedule.stop().await;
    drop(delivering.await);
    if let Some(auditing) = auditing {
        drop(auditing.await);
    }
    watched.cancel();
    drop(figures.await);
    if let Some(server) = server {
        server.abort();
    }
    services.store.close().await;
    if quiet {
        info!("billd has stopped; nothing is under way");
        Ok(Exit::Done)
    } else {
        warn!("billd has stopped with calls under way; they will be asked about");
        Ok(Exit::WorkLeft)
    }
}

/// Probes, metrics and the webhook, in the background; `None` if there is to be no port for them.
async fn serve(
    services: &Services<impl Gateway>,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(listen) = settings.http.listen else {
        return Ok(None);
    };
    let server = Server::bind(listen).await.with_context(|| {
        format!(
            "couldn't listen on {listen}; set http.listen to a free address, or to \"\" for none"
        )
    })?;
    let address = server
        .addr()
        .context("couldn't read the address listened on")?;
    info!(%address, "serving /livez, /readyz, /metrics and /webhooks/portone on {address}");
    let webhook = webhook(services, settings, stop)?;
    Ok(Some(tokio::spawn(server.serve(
        services.engine.clone(),
        Arc::clone(&services.metrics),
        webhook,
        stop.clone(),
    ))))
}

/// The route of the webhook, and in the background what follows its hints.
fn webhook(
    services: &Services<impl Gateway>,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<axum::Router, Failure> {
    let sources = settings.http.webhook_sources.clone();
    let received = services.metrics.webhooks.clone();
    let (router, named, given_back) = webhook::router(sources, received);
    let auditor = Auditor::new(services.store.clone(), gateway::connect(settings)?, None);
    let stopping = stop.clone();
    tokio::spawn(async move { auditor.follow_hints(given_back, stopping).await });
    tokio::spawn(webhook::pass_on(
        named,
        services.store.clone(),
        Arc::clone(&services.doorbell),
        limits(settings).call,
        stop.clone(),
    ));
    Ok(router)
}
