//! What goes back: PortOne's envelope, and the ways an answer can be spoilt on its way.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");

/// Bytes of a response head, nearly: where a cut falls is not exact, only within the body.
const HEAD_BYTES: usize = 120;

/// `{code, message, response}`, as every answer of PortOne V1.
#[derive(Serialize)]
struct Envelope<'a, T> {
    code: i32,
    message: Option<&'a str>,
    response: Option<T>,
}

/// An answer before it leaves.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Code 0 with a response.
    pub(super) fn ok(response: impl Serialize) -> Self {
        Self::with(StatusCode::OK, response)
    }

    /// Code 0 with a response under another status, 207 for a part of what was asked.
    pub(super) fn with(status: StatusCode, response: impl Serialize) -> Self {
        Self::json(
            status,
            &Envelope {
                code: 0,
                message: None,
                response: Some(response),
            },
        )
    }

    /// A code that is not 0, and its sentence.
    pub(super) fn refuse(status: StatusCode, code: i32, message: &str) -> Self {
        Self::json(
            status,
            &Envelope::<()> {
                code,
                message: Some(message),
                response: None,
            },
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::refuse(StatusCode::UNAUTHORIZED, -1, "Unauthorized")
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::refuse(StatusCode::BAD_REQUEST, -1, message)
    }

    /// Plain JSON, without an envelope.
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status, body },
            Err(error) => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                body: error.to_string().into_bytes(),
            },
        }
    }

    pub(super) fn into_response(self) -> Response {
        respond(self.status, JSON, self.body)
    }
}

/// How a request ends for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its answer.
    Answer,
    /// The connection breaks without a byte of answer.
    Cut,
    /// HTTP 500 in place of the answer.
    Error500,
    /// Nothing, until the caller or the sandbox gives up.
    Silence,
    /// The connection breaks in the middle of the answer.
    CutBody,
    /// HTTP 200 with bytes that are no JSON.
    Garbage,
    /// HTTP 200 with a page of HTML, as a proxy or a maintenance page would answer.
    Html,
    /// HTTP 200 without a body.
    Empty,
    /// The answer speaks of twice the money.
    WrongAmount,
    /// The answer speaks of another `merchant_uid`.
    WrongMerchantUid,
}

/// An answer and how it ends.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) ending: Ending,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            ending: Ending::Answer,
        }
    }
}

/// How many bytes of this answer leave before the connection is cut.
pub(super) fn half_way(answer: &Answer) -> usize {
    HEAD_BYTES.saturating_add(answer.body.len().div_ceil(2))
}

/// The spoilt answers that still are HTTP.
pub(super) fn internal_error() -> Response {
    Answer::refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        -1,
        "Internal Server Error",
    )
    .into_response()
}

pub(super) fn garbage() -> Response {
    let bytes = b"\x00\xff{\"code\":0,\"response\":{\"status\":\"pai".to_vec();
    respond(StatusCode::OK, JSON, bytes)
}

pub(super) fn html() -> Response {
    let page = "<html><head><title>502 Bad Gateway</title></head><body></body></html>";
    respond(StatusCode::OK, HTML, page.as_bytes().to_vec())
}

pub(super) fn empty() -> Response {
    respond(StatusCode::OK, JSON, Vec::new())
}

fn respond(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
