//! `/sandbox/`: what no gateway has. Faults, the ledger, the counters and the clock.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clock::{SECOND_US, seconds};
use super::fault::SetFault;
use super::{Fault, LedgerEntry, Sandbox, Summary, Switches};

type Shared = State<Arc<Sandbox>>;

pub(super) fn router() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/sandbox/ledger", get(ledger))
        .route("/sandbox/requests", get(requests))
        .route("/sandbox/summary", get(summary))
        .route(
            "/sandbox/fault",
            get(faults).post(set_fault).delete(clear_faults),
        )
        .route("/sandbox/switches", get(switches).post(set_switches))
        .route("/sandbox/tokens/expire", post(expire_tokens))
        .route("/sandbox/clock", get(clock).post(move_clock))
        .route("/sandbox/reset", post(reset))
}

/// Which part of the ledger.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    after: u64,
    #[serde(default = "no_limit")]
    limit: usize,
}

fn no_limit() -> usize {
    usize::MAX
}

async fn ledger(State(sandbox): Shared, Query(part): Query<Part>) -> Json<Vec<LedgerEntry>> {
    Json(sandbox.book().ledger(part.after, part.limit))
}

/// The request log, one JSON object a line, so that a long one can be cut and searched.
async fn requests(State(sandbox): Shared) -> Result<String, (StatusCode, String)> {
    let mut lines = String::new();
    for request in sandbox.requests.all() {
        match serde_json::to_string(&request) {
            Ok(line) => lines.push_str(&line),
            Err(error) => return Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
        lines.push('\n');
    }
    Ok(lines)
}

async fn summary(State(sandbox): Shared) -> Json<Summary> {
    Json(sandbox.summary())
}

async fn faults(State(sandbox): Shared) -> Json<Vec<SetFault>> {
    Json(sandbox.faults().list())
}

async fn set_fault(State(sandbox): Shared, Json(fault): Json<Fault>) -> Json<Vec<SetFault>> {
    let now_us = sandbox.clock.now_us();
    let mut faults = sandbox.faults();
    faults.set(fault, now_us);
    Json(faults.list())
}

async fn clear_faults(State(sandbox): Shared) -> Json<Vec<SetFault>> {
    let mut faults = sandbox.faults();
    let cleared = faults.list();
    faults.clear();
    Json(cleared)
}

async fn switches(State(sandbox): Shared) -> Json<Switches> {
    Json(sandbox.switches())
}

/// Changes the switches that are named and leaves the others as they are.
async fn set_switches(
    State(sandbox): Shared,
    Json(changes): Json<Map<String, Value>>,
) -> Result<Json<Switches>, (StatusCode, String)> {
    let merged = || {
        let mut switches = serde_json::to_value(sandbox.switches())?;
        if let Value::Object(switches) = &mut switches {
            switches.extend(changes);
        }
        serde_json::from_value::<Switches>(switches)
    };
    match merged() {
        Ok(switches) => {
            sandbox.set_switches(switches);
            Ok(Json(switches))
        }
        Err(error) => Err((StatusCode::BAD_REQUEST, error.to_string())),
    }
}

async fn expire_tokens(State(sandbox): Shared) {
    sandbox.tokens().expire();
}

/// What the sandbox's clock shows.
#[derive(Serialize)]
struct ClockFace {
    /// Unix seconds.
    now: i64,
    /// How far it was moved, in seconds.
    advanced_s: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    advance_s: u64,
}

async fn clock(State(sandbox): Shared) -> Json<ClockFace> {
    Json(ClockFace {
        now: seconds(sandbox.clock.now_us()),
        advanced_s: sandbox.clock.moved_us().div_euclid(SECOND_US),
    })
}

async fn move_clock(State(sandbox): Shared, Json(wanted): Json<Move>) -> Json<ClockFace> {
    sandbox.advance(Duration::from_secs(wanted.advance_s));
    clock(State(sandbox)).await
}

async fn reset(State(sandbox): Shared) {
    sandbox.reset();
}
