//! `/livez`, `/readyz`, `/metrics`: for whoever watches over the daemon; and the webhook.
//!
//! Whoever reaches the port holds nothing of the daemon for long: a connection is for one request, within
//! bounds of size and time, and there are only so many. One more ends the oldest, so a probe is answered
//! however many others are silent.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::metrics::Metrics;

/// Far more than probes, scrapes and webhooks need, and far fewer than a process may have files.
const CONNECTIONS_MAX: usize = 128;
/// How long the head of a request may take.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may last in all: head, body, answer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(15);
/// Room for the head of a request; a webhook's body has its own bound.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// After an accept that failed, for want of files for instance.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

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
    ) {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz::<G>))
            .route("/metrics", get(figures::<G>))
            .with_state(Arc::new(Watch { engine, metrics }))
            .merge(webhook);
        let mut open = Connections::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => open.add(one_request(stream, peer, router.clone())),
                Err(_of_the_peer_or_no_file) => sleep(PAUSE_AFTER_ERROR).await,
            }
        }
    }
}

/// The connections that are open, oldest first. They end with it.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= CONNECTIONS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(connection));
    }
}

/// What goes wrong here is the peer's affair.
async fn one_request(stream: TcpStream, peer: SocketAddr, router: Router) {
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    timeout(CONNECTION_TIME_MAX, connection).await.ok();
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
