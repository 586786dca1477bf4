//! `POST /webhooks/portone`: a hint that there is news about a payment.
//!
//! V1's webhooks are unsigned, sent once and in no order, so nothing in one is believed, its status
//! least of all. It can do one thing: make billd ask the gateway now about an attempt whose fate is
//! unknown anyway. Losing one costs nothing but time, for such attempts are asked about in any case;
//! so what is too much, or makes no sense, is answered with 200 and dropped. An error would only
//! make PortOne send it again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::causes::chain;
use crate::domain::ids::MerchantUid;
use crate::engine::Doorbell;
use crate::metrics::WebhookLabels;
use crate::store::Store;

mod sources;

pub use sources::Sources;

/// A webhook has some hundred bytes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Who sends slower than this is no gateway.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// Bodies that are read at once.
const READING_MAX: usize = 32;
/// Hints that wait for the database.
const WAITING_MAX: usize = 512;
/// Hints taken in a second. More can only mean that most are about payments already known.
const PER_SECOND_MAX: u32 = 200;
/// Least time between two looks into the database on behalf of hints.
const PACE: Duration = Duration::from_millis(200);

type Heard = Family<WebhookLabels, Counter>;

/// Takes webhooks in.
#[derive(Debug)]
pub struct Desk {
    hints: mpsc::Sender<MerchantUid>,
    sources: Sources,
    reading: Semaphore,
    /// The second that is being counted, and what was taken in it.
    second: Mutex<(Instant, u32)>,
    heard: Heard,
}

/// Passes hints on to the database, a batch at a time.
#[derive(Debug)]
pub struct Runner {
    hints: mpsc::Receiver<MerchantUid>,
}

impl Desk {
    /// A desk, and the runner that must be running for it.
    pub fn new(sources: Sources, heard: Heard) -> (Arc<Self>, Runner) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let desk = Self {
            hints: sender,
            sources,
            reading: Semaphore::new(READING_MAX),
            second: Mutex::new((Instant::now(), 0)),
            heard,
        };
        (Arc::new(desk), Runner { hints: receiver })
    }

    /// The route.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/webhooks/portone", post(take))
            .with_state(self)
    }

    fn count(&self, verdict: &'static str) {
        self.heard.get_or_create(&WebhookLabels { verdict }).inc();
    }

    fn is_within_rate(&self) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.0.elapsed() >= Duration::from_secs(1) {
            *second = (Instant::now(), 0);
        }
        second.1 = second.1.saturating_add(1);
        second.1 <= PER_SECOND_MAX
    }

    async fn judge(&self, peer: SocketAddr, request: Request) -> (StatusCode, &'static str) {
        if !self.sources.admit(peer.ip()) {
            return (StatusCode::FORBIDDEN, "refused");
        }
        let Ok(_reading) = self.reading.try_acquire() else {
            return (StatusCode::OK, "dropped");
        };
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX);
        let body = match timeout(BODY_TIME_MAX, body).await {
            Ok(Ok(body)) => body,
            Ok(Err(_longer_or_cut)) => return (StatusCode::PAYLOAD_TOO_LARGE, "refused"),
            Err(_elapsed) => return (StatusCode::REQUEST_TIMEOUT, "refused"),
        };
        let Some(merchant_uid) = named(&body) else {
            return (StatusCode::OK, "ignored");
        };
        if !self.is_within_rate() || self.hints.try_send(merchant_uid).is_err() {
            return (StatusCode::OK, "dropped");
        }
        (StatusCode::OK, "taken")
    }
}

async fn take(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> StatusCode {
    let (status, verdict) = desk.judge(peer, request).await;
    desk.count(verdict);
    debug!(%peer, verdict, "a webhook: {verdict}");
    status
}

/// The only thing that is read from a webhook, JSON or form: which payment it speaks of.
fn named(body: &[u8]) -> Option<MerchantUid> {
    let text = if body.trim_ascii_start().starts_with(b"{") {
        match serde_json::from_slice::<Value>(body)
            .ok()?
            .get("merchant_uid")?
        {
            Value::String(text) => text.clone(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => return None,
        }
    } else {
        url::form_urlencoded::parse(body)
            .find(|(name, _)| name == "merchant_uid")
            .map(|(_, value)| value.into_owned())?
    };
    MerchantUid::parse(text).ok()
}

impl Runner {
    /// Runs until `stop`. `call` is how long a question may take: see [`Store::hint`].
    pub async fn run(
        mut self,
        store: Store,
        doorbell: Arc<Doorbell>,
        call: Duration,
        stop: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            let received = tokio::select! {
                received = self.hints.recv_many(&mut batch, WAITING_MAX) => received,
                () = stop.cancelled() => return,
            };
            if received == 0 {
                return;
            }
            let mut names: Vec<String> = batch
                .drain(..)
                .map(|name: MerchantUid| name.as_str().to_owned())
                .collect();
            names.sort_unstable();
            names.dedup();
            match store.request_lookups(&names, call).await {
                Ok(0) => {}
                Ok(hinted) => {
                    info!(hinted, "webhooks: asking about {hinted} open attempts now");
                    doorbell.ring();
                }
                Err(error) => warn!(
                    error = chain(&error),
                    "webhooks: {} hints are lost; their attempts are asked about at their time",
                    names.len()
                ),
            }
            sleep(PACE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&str>) {
        let found = named(body.as_bytes());
        assert_eq!(found.as_ref().map(MerchantUid::as_str), expected, "{body}");
    }

    #[test]
    fn a_webhook_names_a_payment_and_nothing_else_in_it_is_read() {
        let json = r#"{"imp_uid":"imp_1","merchant_uid":"order1","status":"paid"}"#;
        check(json, Some("order1"));
        check(
            "imp_uid=imp_1&merchant_uid=order1&status=paid",
            Some("order1"),
        );
        check(
            r#" {"merchant_uid":"order1","status":[1,{"x":null}]}"#,
            Some("order1"),
        );
    }

    #[test]
    fn unknown_shapes_are_nothing() {
        for body in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"merchant_uid":null}"#,
            r#"{"merchant_uid":1}"#,
            r#"{"merchant_uid":{"merchant_uid":"order1"}}"#,
            r#"{"merchant_uid":"a'; drop table billd.subscription"}"#,
            r#"{"event":"Inicis.Escrow.Changed"}"#,
            "merchant_uid=",
            "merchant_uid=%00%ff",
            "a=b=c&&&",
        ] {
            check(body, None);
        }
        check(&format!(r#"{{"merchant_uid":"{}"}}"#, "a".repeat(41)), None);
    }
}
