//! `POST /webhooks/portone`: there may be news about a payment.
//!
//! V1's webhooks are unsigned, sent once and in no order, so nothing in one is believed, its status
//! least of all. It can do one thing: make billd ask the gateway now about an attempt whose fate is
//! unknown anyway, or, if it says `cancelled`, about one that is paid. Losing one costs nothing but time, for such
//! attempts are asked about in any case;
//! so what is too much, or makes no sense, is answered with 200 and dropped. An error would only
//! make PortOne send it again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::causes::chain;
use crate::domain::ids::MerchantUid;
use crate::domain::networks::Networks;
use crate::engine::Doorbell;
use crate::metrics::WebhookLabels;
use crate::store::Store;

/// A webhook has some hundred bytes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Who sends slower than this is no gateway.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// Bodies that are read at once.
const READING_MAX: usize = 32;
/// Names that wait for the database. With [`PASS_ON_EVERY`] no more than 200 a second are taken; more
/// can only mean that most are about payments already known.
const WAITING_MAX: usize = 100;
/// Least time between two looks into the database.
const PASS_ON_EVERY: Duration = Duration::from_millis(500);

/// Payments that webhooks named, on their way to [`pass_on`].
pub type Named = mpsc::Receiver<MerchantUid>;

struct Intake {
    queue: mpsc::Sender<MerchantUid>,
    cancelled: mpsc::Sender<MerchantUid>,
    sources: Networks,
    reading: Semaphore,
    received: Family<WebhookLabels, Counter>,
}

/// All that is read from a webhook.
#[derive(Deserialize)]
struct Webhook {
    merchant_uid: String,
    #[serde(default)]
    status: serde_json::Value,
}

/// The route, and what comes in by it: all names, and those that are said to be cancelled. Each webhook is counted in
/// `received` with what became of it.
pub fn router(
    sources: Networks,
    received: Family<WebhookLabels, Counter>,
) -> (Router, Named, Named) {
    let (queue, waiting) = mpsc::channel(WAITING_MAX);
    let (cancelled, given_back) = mpsc::channel(WAITING_MAX);
    let intake = Intake {
        queue,
        cancelled,
        sources,
        reading: Semaphore::new(READING_MAX),
        received,
    };
    let router = Router::new()
        .route("/webhooks/portone", post(take))
        .with_state(Arc::new(intake));
    (router, waiting, given_back)
}

async fn take(
    State(intake): State<Arc<Intake>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> StatusCode {
    let (status, verdict) = intake.judge(peer, request).await;
    let labels = WebhookLabels { verdict };
    intake.received.get_or_create(&labels).inc();
    debug!(%peer, verdict, "a webhook: {verdict}");
    status
}

impl Intake {
    async fn judge(&self, peer: SocketAddr, request: Request) -> (StatusCode, &'static str) {
        // The address is the connection's. Headers such as `X-Forwarded-For` are not read: anyone can write them, and
        // a reverse proxy that could be trusted with them can hold the list itself.
        if !self.sources.is_empty() && !self.sources.contains(peer.ip()) {
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
        let Some((merchant_uid, is_cancelled)) = named(&body) else {
            return (StatusCode::OK, "ignored");
        };
        if is_cancelled {
            // What finds no room is seen before the next period is asked for.
            self.cancelled.try_send(merchant_uid.clone()).ok();
        }
        match self.queue.try_send(merchant_uid) {
            Ok(()) => (StatusCode::OK, "taken"),
            Err(_full_or_closed) => (StatusCode::OK, "dropped"),
        }
    }
}

/// Which payment a webhook speaks of, in JSON or as a form, and whether it calls it cancelled.
fn named(body: &[u8]) -> Option<(MerchantUid, bool)> {
    let (name, is_cancelled) = if body.trim_ascii_start().starts_with(b"{") {
        let webhook: Webhook = serde_json::from_slice(body).ok()?;
        (webhook.merchant_uid, webhook.status == "cancelled")
    } else {
        let field = |wanted: &str| {
            let mut fields = url::form_urlencoded::parse(body);
            fields.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
        };
        let status = field("status");
        (
            field("merchant_uid")?,
            status.as_deref() == Some("cancelled"),
        )
    };
    Some((MerchantUid::parse(name).ok()?, is_cancelled))
}

/// Makes the attempts that webhooks named due to be asked about, a batch at a time, until `stop`.
/// `call` is how long a question may take: see [`Store::request_lookups`].
pub async fn pass_on(
    mut waiting: Named,
    store: Store,
    doorbell: Arc<Doorbell>,
    call: Duration,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    while let Some(1..) = stop
        .run_until_cancelled(waiting.recv_many(&mut batch, WAITING_MAX))
        .await
    {
        let mut names: Vec<String> = batch
            .drain(..)
            .map(|name| name.as_str().to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        match store.request_lookups(&names, call).await {
            Ok(0) => {}
            Ok(due) => {
                info!(
                    event = "webhooks",
                    due, "webhooks: asking about {due} open attempts now"
                );
                doorbell.ring();
            }
            Err(error) => warn!(
                event = "webhooks_lost",
                error = chain(&error),
                "webhooks: {} are lost; their attempts are asked about at their time",
                names.len()
            ),
        }
        sleep(PASS_ON_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&str>) {
        let found = named(body.as_bytes());
        let name = found.as_ref().map(|(name, _)| name.as_str());
        assert_eq!(name, expected, "{body}");
        let is_cancelled = found.is_some_and(|(_, is_cancelled)| is_cancelled);
        assert_eq!(is_cancelled, body.contains("cancelled"), "{body}");
    }

    #[test]
    fn a_webhook_names_a_payment_and_nothing_else_in_it_is_read() {
        let json = r#"{"imp_uid":"imp_1","merchant_uid":"order1","status":"paid"}"#;
        check(json, Some("order1"));
        check(
            "imp_uid=imp_1&merchant_uid=order1&status=paid",
            Some("order1"),
        );
        let cancelled = r#"{"merchant_uid":"order1","status":"cancelled"}"#;
        check(cancelled, Some("order1"));
        check("status=cancelled&merchant_uid=order1", Some("order1"));
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
