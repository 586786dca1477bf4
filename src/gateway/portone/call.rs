//! One call and its token: what all calls but `again` and its look-up share.
//!
//! A call leaves once. The one repeat follows a refused access token, which PortOne checks before
//! it reads the rest.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, NotSent, Unknown, bounded_message};
use crate::domain::card::blotted;
use crate::gateway::GatewayError;
use crate::gateway::portone::token::Token;
use crate::gateway::portone::wire::Outside;
use crate::gateway::portone::{JSON, PortOne, bounded_body, in_time, left, lost, no_answer, under};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The request never left us.
    NotSent(NotSent),
    /// It may have arrived.
    Lost(Unknown),
}

impl From<NoAnswer> for ChargeOutcome {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotSent(why) => Self::NotSent(why),
            NoAnswer::Lost(doubt) => Self::Unknown(doubt),
        }
    }
}

impl From<NoAnswer> for GatewayError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotSent(NotSent::Unauthorized) => {
                Self::Refused("a fresh access token was refused".to_owned())
            }
            NoAnswer::NotSent(why) => Self::Unreachable(Box::new(why)),
            NoAnswer::Lost(doubt) => Self::Unreachable(doubt.detail.into()),
        }
    }
}

/// Why a call that moves no money did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer, or none that can be read. The call may have been carried out.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The gateway said no, in its own words.
    #[error("the gateway refused, code {code}: {message}")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
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
}

/// Status and body.
pub(super) type Answer = (u16, Vec<u8>);

impl Call {
    /// Adds a JSON body, which is wiped from memory with the call: it may hold a card.
    pub(super) fn with_body(mut self, body: &impl Serialize) -> Result<Self, String> {
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
}

/// Room for the longest request: 10,000 characters of `custom_data` and the rest.
const BODY_BYTES: usize = 48 * 1024;

impl PortOne {
    /// Prepares a call; the parts of the path are encoded.
    pub(super) fn call(&self, method: Method, path: &[&str]) -> Call {
        Call {
            method,
            url: under(&self.base, path),
            body: None,
        }
    }

    /// Sends a call once; once more if its token was refused.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, NoAnswer> {
        let deadline = in_time(self.timeout);
        let no_token = |error: GatewayError| NoAnswer::NotSent(NotSent::NoToken(chain(&error)));
        let token = self.tokens.get(&self.http, left(deadline)).await;
        let token = token.map_err(no_token)?;
        let answer = self.send_with(call, &token, deadline).await?;
        if answer.0 != 401 {
            return Ok(answer);
        }
        let fresh = self.tokens.renew(&self.http, left(deadline), &token).await;
        let fresh = fresh.map_err(no_token)?;
        match self.send_with(call, &fresh, deadline).await? {
            (401, _) => Err(NoAnswer::NotSent(NotSent::Unauthorized)),
            answer => Ok(answer),
        }
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
        // The URL names a card; it has no place in an error.
        let answer = request.send().await;
        let answer = answer.map_err(|error| no_answer(&error.without_url()))?;
        let status = answer.status().as_u16();
        let body = bounded_body(answer).await;
        Ok((status, body.map_err(|error| lost(&error.without_url()))?))
    }
}

/// The envelope of an answer to a call that moves no money: code 0, or the gateway's refusal.
pub(super) fn opened((status, body): &Answer) -> Result<(), CallError> {
    let unreadable = || {
        let what = format!("HTTP {status}, {} bytes", body.len());
        CallError::Gateway(GatewayError::Unreadable(what))
    };
    let outside: Outside = serde_json::from_slice(body).map_err(|_not_json| unreadable())?;
    match (status, outside.code) {
        (200 | 207, 0) => Ok(()),
        (200 | 400 | 404, code) if code != 0 => Err(CallError::Refused {
            code,
            message: bounded_message(&blotted(&outside.message.unwrap_or_default())),
        }),
        _ => Err(unreadable()),
    }
}
