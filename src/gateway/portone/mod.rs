//! PortOne V1 over HTTPS.
//!
//! `again` leaves once per call: redirects are off, the HTTP layer retries nothing that it began to
//! write, and nothing is repeated here. A refused access token, which PortOne checks before it reads
//! the charge, is renewed and reported; the engine sends again, in its turn. A crash or a lost answer leaves the attempt open in the database; asking is
//! the engine's business.

pub mod books;
mod call;
mod classify;
mod keys;
mod onetime;
mod payments;
mod refund;
mod token;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use crate::causes::chain;
use crate::domain::attempt::{
    ChargeOutcome, ChargeRequest, Lookup, NotSent, Unknown, UnknownReason, bounded_message,
};
use crate::gateway::portone::call::NoAnswer;
use crate::gateway::portone::classify::ChargeAnswer;
use crate::gateway::portone::token::{Token, Tokens};
use crate::gateway::{Expected, Gateway, GatewayError};

pub use call::CallError;
pub use keys::{BillingKey, KeyOwner, Reservation};
pub use payments::PaymentRecord;

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
}

/// A client of PortOne V1.
pub struct PortOne {
    http: reqwest::Client,
    /// What all calls begin with. It has a host, so it takes segments.
    base: Url,
    /// Where `again` is, put together once.
    again: Url,
    timeout: Duration,
    tokens: Tokens,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Largest answer that is read. A payment is some two kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

impl PortOne {
    /// Prepares a client; nothing is sent yet.
    pub fn new(endpoint: Endpoint) -> Result<Self, reqwest::Error> {
        // A second installation is refused, and then the first one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .connect_timeout(endpoint.connect_timeout)
            .pool_max_idle_per_host(endpoint.connections_max)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("billd/", env!("CARGO_PKG_VERSION")))
            .build()?;
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

    /// How often an access token was asked for since the start.
    pub fn token_refreshes(&self) -> u64 {
        self.tokens.refreshes()
    }

    async fn send_again(
        &self,
        token: &Token,
        body: Bytes,
        expected: &Expected,
        deadline: Instant,
    ) -> ChargeAnswer {
        let answer = self
            .http
            .post(self.again.clone())
            .header(AUTHORIZATION, token.bearer.clone())
            .header(CONTENT_TYPE, JSON)
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .body(body)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return ChargeAnswer::Outcome(no_answer(&error).into()),
        };
        let status = answer.status().as_u16();
        match bounded_body(answer).await {
            Ok(body) => classify::charge(status, &body, expected),
            Err(error) => ChargeAnswer::Outcome(lost(&error).into()),
        }
    }

    async fn ask(&self, token: &Token, expected: &Expected, deadline: Instant) -> Asked {
        let path = ["payments", "findAll", expected.merchant_uid.as_str()];
        let answer = self
            .http
            .get(under(&self.base, &path))
            .query(&[("limit", "1000"), ("sorting", "-started")])
            .header(AUTHORIZATION, token.bearer.clone())
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = bounded_body(answer).await.map_err(unreachable)?;
        classify::look_up(status, &body, expected)
    }
}

type Asked = Result<Lookup, GatewayError>;

impl Gateway for PortOne {
    async fn prepare(&self) -> Result<(), GatewayError> {
        self.tokens.get(&self.http, self.timeout).await.map(drop)
    }

    async fn charge(&self, request: &ChargeRequest) -> ChargeOutcome {
        let deadline = in_time(self.timeout);
        let body = match wire::again(request) {
            Ok(body) => Bytes::from(body),
            Err(fault) => return ChargeOutcome::NotSent(NotSent::Unbuildable(fault)),
        };
        let expected = Expected::of(request);
        let token = match self.tokens.get(&self.http, left(deadline)).await {
            Ok(token) => token,
            Err(error) => return ChargeOutcome::NotSent(NotSent::NoToken(chain(&error))),
        };
        if left(deadline).is_zero() {
            return ChargeOutcome::NotSent(NotSent::NoToken("it took too long".to_owned()));
        }
        match self.send_again(&token, body, &expected, deadline).await {
            ChargeAnswer::Outcome(outcome) => outcome,
            ChargeAnswer::Unauthorized => {
                let fresh = self.tokens.renew(&self.http, left(deadline), &token).await;
                ChargeOutcome::NotSent(match fresh {
                    Ok(_) => NotSent::Unauthorized,
                    Err(error) => NotSent::NoToken(chain(&error)),
                })
            }
        }
    }

    async fn look_up(&self, expected: &Expected) -> Result<Lookup, GatewayError> {
        let deadline = in_time(self.timeout);
        let token = self.tokens.get(&self.http, left(deadline)).await?;
        match self.ask(&token, expected, deadline).await {
            Err(GatewayError::Refused(_)) => {
                let fresh = self
                    .tokens
                    .renew(&self.http, left(deadline), &token)
                    .await?;
                self.ask(&fresh, expected, deadline).await
            }
            answer => answer,
        }
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

/// No answer. Only a connection that was never made proves that nothing was asked.
fn no_answer(error: &reqwest::Error) -> NoAnswer {
    if error.is_connect() {
        NoAnswer::NotSent(NotSent::NoConnection(chain(error)))
    } else if error.is_builder() {
        NoAnswer::NotSent(NotSent::Unbuildable(chain(error)))
    } else {
        lost(error)
    }
}

fn lost(error: &reqwest::Error) -> NoAnswer {
    let reason = if error.is_timeout() {
        UnknownReason::Timeout
    } else {
        UnknownReason::ConnectionLost
    };
    NoAnswer::Lost(Unknown {
        reason,
        detail: bounded_message(&chain(error)),
    })
}

fn unreachable(error: reqwest::Error) -> GatewayError {
    GatewayError::Unreachable(Box::new(error.without_url()))
}

/// Reads an answer up to [`BODY_BYTES_MAX`]; the rest is dropped, and then it won't parse.
async fn bounded_body(mut answer: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = BODY_BYTES_MAX.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if room == 0 {
            break;
        }
    }
    Ok(body)
}
