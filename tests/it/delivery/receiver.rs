//! A receiver of webhooks: a real HTTP server that does what it is told and notes what it got.

#![expect(
    clippy::indexing_slicing,
    reason = "a test's helper fails by panicking; clippy's own exception reaches test functions only"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answers {
    /// This status, to all.
    Status(u16),
    /// This status to events of a kind, 204 to all others.
    OfKind(&'static str, u16),
    /// A redirect to where it would succeed.
    Redirect,
    /// Nothing, ever.
    Silence,
    /// 204, after a while.
    Late(Duration),
    /// By chance: success in one of two cases, else any of the others.
    Anything,
    /// A body that never ends, with this status.
    Flood(u16),
}

/// A request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What was answered; 0 for nothing.
    pub(crate) status: u16,
}

impl Got {
    pub(crate) fn id(&self) -> String {
        self.header("webhook-id")
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).unwrap();
        value.to_str().unwrap().to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn lane(&self) -> String {
        let lane = &self.json()["data"]["subscription_id"];
        lane.as_str().unwrap_or_default().to_owned()
    }

    /// By the library that others wrote.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let signed = Webhook::new(secret).unwrap();
        signed.verify(&self.body, &self.headers).is_ok()
    }
}

struct Inside {
    answers: Mutex<Answers>,
    got: Mutex<Vec<Got>>,
}

/// It ends with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    inside: Arc<Inside>,
    _stop: DropGuard,
}

impl Receiver {
    pub(crate) async fn new() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Inside {
            answers: Mutex::new(Answers::Status(204)),
            got: Mutex::default(),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inside));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self {
            address,
            inside,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub(crate) fn answers(&self, answers: Answers) {
        *self.inside.answers.lock().unwrap() = answers;
    }

    /// All that came in, in the order in which it came.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.inside.got.lock().unwrap().clone()
    }

    /// What it took, once each, in the order in which it first did.
    pub(crate) fn taken(&self) -> Vec<Got> {
        let mut seen = Vec::new();
        let mut taken = self.got();
        taken.retain(|got| {
            let is_new = (200..300).contains(&got.status) && !seen.contains(&got.id());
            if is_new {
                seen.push(got.id());
            }
            is_new
        });
        taken
    }

    /// Waits until so many have come in.
    pub(crate) async fn has_got(&self, count: usize) -> Vec<Got> {
        let started = std::time::Instant::now();
        loop {
            let got = self.got();
            if got.len() >= count {
                return got;
            }
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "{} of {count} came in",
                got.len()
            );
            tokio::task::yield_now().await;
        }
    }

    /// Fails unless it took all events of the book, each lane in its order. `prefix` of the ids it may have got twice.
    #[track_caller]
    pub(crate) fn took_in_order(&self, count: usize) {
        let taken = self.taken();
        assert_eq!(taken.len(), count);
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        for got in taken {
            let id = got.json()["data"]["id"].as_i64().unwrap();
            assert_eq!(got.id(), format!("evt_{id}"));
            let before = last.insert(got.lane(), id).unwrap_or_default();
            assert!(before < id, "{id} came after {before} of {}", got.lane());
        }
    }
}

fn by_chance() -> Answers {
    match fastrand::u8(0..16) {
        0..8 => Answers::Status(204),
        8 => Answers::Status(500),
        9 => Answers::Status(503),
        10 => Answers::Status(404),
        11 => Answers::Redirect,
        12 => Answers::Silence,
        13 => Answers::Late(Duration::from_millis(300)),
        14 => Answers::Flood(200),
        _ => Answers::Flood(500),
    }
}

async fn take(State(inside): State<Arc<Inside>>, headers: HeaderMap, body: Bytes) -> Response {
    let answers = inside.answers.lock().unwrap().clone();
    let kind: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = kind["type"].as_str().unwrap_or_default().to_owned();
    let answers = if let Answers::OfKind(of, status) = answers {
        Answers::Status(if of == kind { status } else { 204 })
    } else if let Answers::Anything = answers {
        by_chance()
    } else {
        answers
    };
    let status = match &answers {
        Answers::Status(status) | Answers::Flood(status) => *status,
        Answers::Redirect => 307,
        Answers::Late(_) => 204,
        Answers::Silence | Answers::OfKind(..) | Answers::Anything => 0,
    };
    let got = Got {
        headers,
        body,
        status,
    };
    inside.got.lock().unwrap().push(got);
    let status = StatusCode::from_u16(status.max(200)).unwrap();
    match answers {
        Answers::Redirect => (status, [(header::LOCATION, "/elsewhere")]).into_response(),
        Answers::Silence => std::future::pending().await,
        Answers::Late(wait) => {
            tokio::time::sleep(wait).await;
            status.into_response()
        }
        Answers::Flood(_) => {
            let endless = futures_util::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4096]))
            });
            (status, axum::body::Body::from_stream(endless)).into_response()
        }
        Answers::Status(_) | Answers::OfKind(..) | Answers::Anything => {
            (status, "said the receiver").into_response()
        }
    }
}
