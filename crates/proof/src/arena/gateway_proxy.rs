//! Somebody between the daemons and the gateway who twists what the gateway says.
//!
//! A daemon that is told so does what a daemon with a bug would do that was told the truth; the
//! gateway's request log, which the judge reads, stays true.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::rules::CALL;

/// What is twisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    /// A charge whose answer is lost is called a decline.
    LostAnswerIsDecline,
    /// The refusal of a name that was used before is called a decline.
    DuplicateIsDecline,
    /// Look-ups show the newest record only.
    NewestRecordOnly,
    /// Look-ups find nothing, and the gateway never hears of them.
    NothingFound,
}

/// A refusal that every reader takes for a decline: a monthly limit.
const DECLINE: &str = "결제승인에 실패하였습니다. [2116]개인 월 한도금액 초과";
/// How the refusal of a name that was used before begins.
const DUPLICATE: &str = "이미 주문이 이루어진";

/// A request of the daemons is some hundred bytes.
const BODY_MAX: usize = 1 << 20;

/// Listens on a port of 127.0.0.1. Dropping it ends it.
#[derive(Debug)]
pub struct GatewayProxy {
    address: SocketAddr,
    serving: AbortHandle,
}

struct Way {
    upstream: String,
    twist: Twist,
    client: Client,
}

impl GatewayProxy {
    /// Starts one before a gateway.
    pub async fn start(upstream: String, twist: Twist) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("couldn't find a free port for a gateway's proxy")?;
        let address = listener.local_addr()?;
        // Fails when the process has chosen its TLS already, which is as good.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let way = Arc::new(Way {
            upstream,
            twist,
            client: Client::builder().no_proxy().build()?,
        });
        let router = Router::new().fallback(serve).with_state(way);
        let serving = tokio::spawn(async { axum::serve(listener, router).await });
        Ok(Self {
            address,
            serving: serving.abort_handle(),
        })
    }

    /// What a daemon is told in the place of the gateway's address.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for GatewayProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(State(way): State<Arc<Way>>, request: Request) -> Response {
    let path = request.uri().path();
    let charges = path.ends_with("/again");
    let looks_up = path.contains("/findAll/");
    match way.twist {
        Twist::NothingFound if looks_up => {
            let body =
                json!({"code": -1, "message": "존재하지 않는 결제정보입니다.", "response": null});
            said(StatusCode::NOT_FOUND, &body)
        }
        Twist::LostAnswerIsDecline if charges => {
            // Sooner than the daemon gives up.
            let within = CALL.saturating_sub(Duration::from_millis(150));
            let answer = tokio::time::timeout(within, way.forward(request)).await;
            match answer.ok().flatten() {
                Some(answer) if answer.says_what_happened() => answer.into_response(),
                Some(_) | None => declined(),
            }
        }
        Twist::DuplicateIsDecline if charges => match way.forward(request).await {
            Some(answer) if answer.text().contains(DUPLICATE) => declined(),
            answer => answered(answer),
        },
        Twist::NewestRecordOnly if looks_up => match way.forward(request).await {
            Some(answer) => answer.newest_record_only().into_response(),
            None => answered(None),
        },
        Twist::NothingFound
        | Twist::LostAnswerIsDecline
        | Twist::DuplicateIsDecline
        | Twist::NewestRecordOnly => answered(way.forward(request).await),
    }
}

/// What the gateway said.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Way {
    /// `None` if no whole answer came.
    async fn forward(&self, request: Request) -> Option<Answer> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = head.headers;
        headers.remove(header::HOST);
        headers.remove(header::CONTENT_LENGTH);
        let answer = self
            .client
            .request(head.method, format!("{}{path}", self.upstream))
            .headers(headers)
            .body(to_bytes(body, BODY_MAX).await.ok()?)
            .send()
            .await
            .ok()?;
        Some(Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.ok()?,
        })
    }
}

impl Answer {
    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// A refused token is no answer to the charge, and the daemon has to hear of it.
    fn says_what_happened(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
            || self.status == StatusCode::OK && serde_json::from_slice::<Value>(&self.body).is_ok()
    }

    fn newest_record_only(mut self) -> Self {
        let Ok(mut page) = serde_json::from_slice::<Value>(&self.body) else {
            return self;
        };
        // The newest one stands first.
        if let Some(Value::Array(list)) = page.pointer_mut("/response/list") {
            list.truncate(1);
            self.body = page.to_string().into();
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(mut self) -> Response {
        self.headers.remove(header::CONTENT_LENGTH);
        self.headers.remove(header::TRANSFER_ENCODING);
        (self.status, self.headers, self.body).into_response()
    }
}

/// An answer that was lost on the way here is as doubtful to a daemon as one lost on the way there.
fn answered(answer: Option<Answer>) -> Response {
    answer.map_or_else(
        || StatusCode::BAD_GATEWAY.into_response(),
        IntoResponse::into_response,
    )
}

fn declined() -> Response {
    let body = json!({"code": -1, "message": DECLINE, "response": null});
    said(StatusCode::OK, &body)
}

fn said(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
