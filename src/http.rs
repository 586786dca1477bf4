//! `/livez`, `/readyz`, `/metrics`: for whoever watches over the daemon; and the webhook.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::metrics::Metrics;

/// What `/readyz` answers.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

struct Watch<G> {
    engine: Engine<G>,
    metrics: Arc<Metrics>,
}

/// The server, bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Takes the address, so that a daemon that can't have it says so at its start.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(listen).await?,
        })
    }

    /// The address it has; of use where the port was left to the system.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`. `webhook` is the route of the same server that the gateway uses.
    pub async fn serve<G: Gateway>(
        self,
        engine: Engine<G>,
        metrics: Arc<Metrics>,
        webhook: Router,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz::<G>))
            .route("/metrics", get(figures::<G>))
            .with_state(Arc::new(Watch { engine, metrics }))
            .merge(webhook)
            .into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

/// The process answers. Whether it can charge is another question: a database that is away is no
/// reason to restart the daemon.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz<G: Gateway>(State(watch): State<Arc<Watch<G>>>) -> Response {
    let reasons = watch.engine.health().reasons;
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, reasons })).into_response()
}

async fn figures<G: Gateway>(State(watch): State<Arc<Watch<G>>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], watch.metrics.render()).into_response()
}
