//! The client: one call and its token.
//!
//! A call leaves once: redirects are off, and the HTTP layer retries nothing that it began to write.
//! The one repeat, of calls other than a charge, follows a refused access token, which PortOne checks
//! before it reads the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, NotSent, Unknown, UnknownReason, bounded_message};
use crate::domain::card::redacted;
use crate::gateway::body::read_up_to;
use crate::gateway::portone_v1::token::{Token, Tokens};
use crate::gateway::portone_v1::wire::{Envelope, Outside};
use crate::gateway::{CallError, GatewayError};

/// Where PortOne is and who we are.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://api.iamport.kr`, or a sandbox's address; no slash at the end.
    pub base_url: String,
    /// The API key.
    pub imp_key: SecretString,
    /// The API secret.
    pub imp_secret: SecretString,
    /// How long a call may take in all, tokens included.
    pub timeout: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// Connections kept open between calls.
    pub connections_max: usize,
    /// The HTTP proxy to go through, if any.
    pub proxy: Option<SecretString>,
}

/// A client of PortOne V1.
pub struct PortOne {
    http: reqwest::Client,
    /// What all calls begin with. It has a host, so it takes segments.
    base: Url,
    timeout: Duration,
    pub(super) tokens: Tokens,
    /// Where `again` is, put together once.
    again: Url,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There was no access token, so the request never left us.
    NoToken(GatewayError),
    /// The request never left us, or was not read.
    NotSent(NotSent),
    /// It may have arrived.
    Lost(Unknown),
}

impl NoAnswer {
    fn of(error: reqwest::Error) -> Self {
        // The URL names a card or a payment; it has no place in an error.
        let error = error.without_url();
        // Only a connection that was never made proves that nothing was asked.
        if error.is_connect() {
            Self::NotSent(NotSent::NoConnection(chain(&error)))
        } else if error.is_builder() {
            Self::NotSent(NotSent::Unbuildable(chain(&error)))
        } else {
            Self::lost(&error)
        }
    }

    fn lost(error: &reqwest::Error) -> Self {
        let reason = if error.is_timeout() {
            UnknownReason::Timeout
        } else {
            UnknownReason::ConnectionLost
        };
        Self::Lost(Unknown {
            reason,
            detail: bounded_message(&chain(error)),
        })
    }
}

impl From<NoAnswer> for ChargeOutcome {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NoToken(error) => Self::NotSent(NotSent::NoToken(chain(&error))),
            NoAnswer::NotSent(why) => Self::NotSent(why),
            NoAnswer::Lost(doubt) => Self::Unknown(doubt),
        }
    }
}

impl From<NoAnswer> for GatewayError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NoToken(error) => error,
            NoAnswer::NotSent(NotSent::Unauthorized) => {
                Self::Refused("a fresh access token was refused".to_owned())
            }
            NoAnswer::NotSent(why) => Self::Unreachable(Box::new(why)),
            NoAnswer::Lost(doubt) => Self::Unreachable(doubt.detail.into()),
        }
    }
}

impl From<NoAnswer> for CallError {
    fn from(none: NoAnswer) -> Self {
        Self::Gateway(none.into())
    }
}

/// One request without its token.
pub(super) struct Call {
    method: Method,
    url: Url,
    body: Option<Bytes>,
    answer_bytes_max: usize,
}

/// Status and body.
pub(super) type Answer = (u16, Vec<u8>);

/// Largest answer that is read. A payment is some two kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Room for the longest request: 10,000 characters of `custom_data` and the rest.
const BODY_BYTES: usize = 48 * 1024;
/// A connection that nobody used for so long is not used again: its other end may be about to close it, and a
/// request that meets that is lost, its fate unknown. A new one costs a few round trips.
const IDLE_MAX: Duration = Duration::from_millis(500);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Call {
    /// Adds a JSON body.
    pub(super) fn with_json(mut self, body: Vec<u8>) -> Self {
        self.body = Some(Bytes::from(body));
        self
    }

    /// Adds a JSON body that is wiped from memory with the call: it holds a card.
    pub(super) fn with_secret(mut self, body: &impl Serialize) -> Result<Self, String> {
        // Long enough from the start: a buffer that grows leaves copies of itself behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(BODY_BYTES));
        // The error of a value that is no JSON could quote it.
        serde_json::to_writer(&mut *bytes, body)
            .map_err(|_unserializable| "the request is no JSON".to_owned())?;
        self.body = Some(Bytes::from_owner(bytes));
        Ok(self)
    }

    /// Adds a parameter to the query.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Reads an answer of up to this many bytes. What is longer is cut behind one more of them.
    pub(super) fn with_answer_up_to(mut self, bytes_max: usize) -> Self {
        self.answer_bytes_max = bytes_max.saturating_add(1);
        self
    }
}

impl PortOne {
    /// Prepares a client; nothing is sent yet.
    pub fn new(endpoint: Endpoint) -> Result<Self, reqwest::Error> {
        // A second installation is refused, and then the first one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut http = reqwest::Client::builder()
            .connect_timeout(endpoint.connect_timeout)
            .pool_max_idle_per_host(endpoint.connections_max)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("billd/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &endpoint.proxy {
            http = http.proxy(reqwest::Proxy::all(proxy.expose_secret())?);
        }
        if endpoint.base_url.starts_with("http:") {
            // No authority has to vouch for a sandbox, so none need be installed.
            http = http.tls_certs_only([]);
        }
        let http = http.build()?;
        // Read as `reqwest` reads it, so what it would refuse later is refused here.
        let base = http.get(&endpoint.base_url).build()?.url().clone();
        let tokens = Tokens::new(
            under(&base, &["users", "getToken"]),
            endpoint.imp_key,
            endpoint.imp_secret,
        );
        Ok(Self {
            http,
            again: under(&base, &["subscribe", "payments", "again"]),
            base,
            timeout: endpoint.timeout,
            tokens,
        })
    }

    /// Prepares a call; the parts of the path are encoded.
    pub(super) fn call(&self, method: Method, path: &[&str]) -> Call {
        Call {
            method,
            url: under(&self.base, path),
            body: None,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }

    /// Prepares `POST /subscribe/payments/again`.
    pub(super) fn again(&self) -> Call {
        Call {
            method: Method::POST,
            url: self.again.clone(),
            body: None,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }

    /// Gets an access token, unless there is one.
    pub(super) async fn authorize(&self) -> Result<(), GatewayError> {
        self.tokens.get(&self.http, self.timeout).await.map(drop)
    }

    /// Sends a call once. An answer of 401 is returned when the token has been renewed.
    pub(super) async fn send_once(&self, call: &Call) -> Result<Answer, NoAnswer> {
        let deadline = in_time(self.timeout);
        let token = self.token(deadline).await?;
        let answer = self.send_with(call, &token, deadline).await?;
        if answer.0 == 401 {
            self.renew(&token, deadline).await?;
        }
        Ok(answer)
    }

    /// Sends a call once; once more if its token was refused.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, NoAnswer> {
        let deadline = in_time(self.timeout);
        let token = self.token(deadline).await?;
        let answer = self.send_with(call, &token, deadline).await?;
        if answer.0 != 401 {
            return Ok(answer);
        }
        let fresh = self.renew(&token, deadline).await?;
        match self.send_with(call, &fresh, deadline).await? {
            (401, _) => Err(NoAnswer::NotSent(NotSent::Unauthorized)),
            answer => Ok(answer),
        }
    }

    async fn token(&self, deadline: Instant) -> Result<Arc<Token>, NoAnswer> {
        let token = self.tokens.get(&self.http, left(deadline)).await;
        let token = token.map_err(NoAnswer::NoToken)?;
        if left(deadline).is_zero() {
            let late = "it took too long".to_owned();
            return Err(NoAnswer::NotSent(NotSent::NoToken(late)));
        }
        Ok(token)
    }

    async fn renew(&self, refused: &Arc<Token>, deadline: Instant) -> Result<Arc<Token>, NoAnswer> {
        let fresh = self.tokens.renew(&self.http, left(deadline), refused).await;
        fresh.map_err(NoAnswer::NoToken)
    }

    async fn send_with(
        &self,
        call: &Call,
        token: &Token,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self
            .http
            .request(call.method.clone(), call.url.clone())
            .header(AUTHORIZATION, token.bearer.clone())
            .timeout(left(deadline));
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, JSON).body(body.clone());
        }
        let answer = request.send().await.map_err(NoAnswer::of)?;
        let status = answer.status().as_u16();
        let body = read_up_to(answer, call.answer_bytes_max).await;
        Ok((
            status,
            body.map_err(|error| NoAnswer::lost(&error.without_url()))?,
        ))
    }
}

/// A URL below the base; the parts of the path are encoded.
fn under(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn in_time(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The envelope of an answer to a call that moves no money: code 0, or the gateway's refusal.
pub(super) fn opened(answer: &Answer) -> Result<(), CallError> {
    let (status, body) = answer;
    let unreadable = || CallError::Gateway(unreadable(answer));
    let outside: Outside = serde_json::from_slice(body).map_err(|_not_json| unreadable())?;
    match (status, outside.code) {
        (200 | 207, 0) => Ok(()),
        (200 | 400 | 404, code) if code != 0 => Err(CallError::Refused {
            code,
            message: bounded_message(&redacted(&outside.message.unwrap_or_default())),
        }),
        _ => Err(unreadable()),
    }
}

/// The response, if the envelope holds one that can be read.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<Option<T>, CallError> {
    opened(answer)?;
    let envelope: Envelope<T> =
        serde_json::from_slice(&answer.1).map_err(|_other_shape| unreadable(answer))?;
    Ok(envelope.response)
}

/// As [`read`]; PortOne says with HTTP 404 that there is nothing.
pub(super) fn found<T: DeserializeOwned>(answer: &Answer) -> Result<Option<T>, CallError> {
    match read(answer) {
        Err(CallError::Refused { .. }) if answer.0 == 404 => Ok(None),
        read => read,
    }
}

pub(super) fn unreadable((status, body): &Answer) -> GatewayError {
    GatewayError::Unreadable(format!("HTTP {status}, {} bytes", body.len()))
}
