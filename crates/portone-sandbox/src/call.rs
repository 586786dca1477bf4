//! One request, taken apart: whatever its encoding, the endpoints see the same.

use std::sync::Arc;

use axum::Form;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Sandbox;
use super::fields::Fields;
use super::requests::wall_us;
use super::wire::Line;

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) line: Line,
    pub(super) arrived_at_us: i64,
    /// The same instant on the wall clock of this machine.
    pub(super) arrived_on_wall_us: i64,
    pub(super) authorization: Option<String>,
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Fields,
    pub(super) fields: Fields,
}

impl Call {
    /// A part of the path, decoded.
    pub(super) fn part(&self, name: &str) -> Option<&str> {
        let part = self.path.iter().find(|(found, _)| found == name);
        part.map(|(_, value)| value.as_str())
    }
}

impl FromRequest<Arc<Sandbox>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, sandbox: &Arc<Sandbox>) -> Result<Self, Response> {
        let arrived_at_us = sandbox.clock.now_us();
        let arrived_on_wall_us = wall_us();
        let (mut parts, body) = request.into_parts();
        let ConnectInfo(line) = ConnectInfo::<Line>::from_request_parts(&mut parts, &())
            .await
            .map_err(IntoResponse::into_response)?;
        // Absent for a route without parts.
        let path = RawPathParams::from_request_parts(&mut parts, &()).await;
        let path = path.map_or_else(
            |_absent| Vec::new(),
            |path| {
                path.iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            },
        );
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(IntoResponse::into_response)?;
        let text = |name: header::HeaderName| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let authorization = text(header::AUTHORIZATION);
        let is_form = text(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let request = Request::from_parts(parts, body);
        let fields = if is_form {
            let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
            Fields::from_pairs(form.map_err(IntoResponse::into_response)?.0)
        } else {
            let bytes = Bytes::from_request(request, &()).await;
            Fields::from_json(&bytes.map_err(IntoResponse::into_response)?)
        };
        Ok(Self {
            line,
            arrived_at_us,
            arrived_on_wall_us,
            authorization,
            path,
            query: Fields::from_pairs(query.0),
            fields,
        })
    }
}
