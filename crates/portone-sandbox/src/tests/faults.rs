//! Everything that goes wrong on demand, and what the ledger says of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{Fault, FaultKind, Route};
use super::{Bench, order, read};

/// Nothing came back: no status, no byte.
async fn is_cut(bench: &Bench, merchant_uid: &str, customer_uid: &str) -> bool {
    bench
        .send(&order(merchant_uid, customer_uid))
        .await
        .is_err()
}

#[tokio::test]
async fn a_customer_uid_breaks_its_own_answers() {
    let bench = Bench::start().await;
    assert!(is_cut(&bench, "m1", "drop-before-approval").await);
    assert_eq!(bench.running.ledger().len(), 0);
    assert!(is_cut(&bench, "m2", "drop-after-approval-once").await);
    assert_eq!(bench.running.ledger().len(), 1);
    assert_eq!(bench.again("m3", "drop-after-approval-once").await.0, 200);
    assert_eq!(bench.again("m4", "error-after-approval").await.0, 500);
    assert_eq!(bench.again("m5", "error-before-approval").await.0, 500);
    assert_eq!(bench.running.ledger().len(), 3);
    let (status, body) = bench.again("m6", "garbage").await;
    assert_eq!((status, body), (200, Value::Null));
    assert_eq!(
        bench.again("m7", "wrong-amount").await.1["response"]["amount"],
        19_800
    );
    assert_eq!(bench.running.ledger()[4].amount, 9_900);
    let order = order("m8", "silent-after-approval");
    let silent = bench.send(&order);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), silent)
            .await
            .is_err()
    );
    assert_eq!(bench.running.ledger().len(), 6);
    assert_eq!(bench.get("/payments/findAll/m8/paid").await.0, 200);
    assert_eq!(
        bench.again("m9", "pending").await.1["response"]["status"],
        "ready"
    );
    assert_eq!(bench.running.ledger().len(), 6);
}

#[tokio::test]
async fn a_cut_body_begins_and_does_not_end() {
    let bench = Bench::start().await;
    let response = bench.send(&order("m1", "cut-body")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
    assert_eq!(bench.running.ledger().len(), 1);
}

#[tokio::test]
async fn a_fault_of_every_kind_does_what_it_says() {
    for (kind, status, charges) in [
        (FaultKind::DropBefore, None, false),
        (FaultKind::DropAfter, None, true),
        (FaultKind::Error500Before, Some(500), false),
        (FaultKind::Error500After, Some(500), true),
        (FaultKind::CutBody, Some(200), true),
        (FaultKind::Garbage, Some(200), true),
        (FaultKind::Html, Some(200), true),
        (FaultKind::Empty, Some(200), true),
        (FaultKind::Status429, Some(429), false),
        (FaultKind::Status401, Some(401), false),
        (FaultKind::Maintenance, Some(503), false),
    ] {
        let bench = Bench::start().await;
        bench.running.fault(Fault::new(kind, Route::Again).times(1));
        let answer = bench.send(&order("m1", "c1")).await;
        let seen = answer.ok().map(|response| response.status().as_u16());
        assert_eq!(seen, status, "{kind:?}");
        assert_eq!(
            bench.running.ledger().len(),
            usize::from(charges),
            "{kind:?}"
        );
        assert_eq!(bench.running.faults()[0].fired, 1, "{kind:?}");
        assert_eq!(bench.again("after", "c1").await.0, 200, "{kind:?}");
    }
}

#[tokio::test]
async fn look_ups_lag_and_lie() {
    let bench = Bench::start().await;
    bench.again("m1", "c1").await;
    let status = async || bench.get("/payments/findAll/m1").await.0;
    let mut lag = Fault::new(FaultKind::LookupLag, Route::FindAll).for_customer("c1");
    lag.lag_s = Some(60);
    bench.running.fault(lag);
    assert_eq!(status().await, 404);
    bench.running.advance(Duration::from_mins(1));
    assert_eq!(status().await, 200);
    bench.running.clear_faults();
    bench
        .running
        .fault(Fault::new(FaultKind::LookupNotFound, Route::FindAll).times(1));
    assert_eq!(status().await, 404);
    bench
        .running
        .fault(Fault::new(FaultKind::LookupFailed, Route::FindAll).times(1));
    let lie = bench.get("/payments/findAll/m1").await.1;
    assert_eq!(lie["response"]["list"][0]["status"], "failed");
    assert_eq!(lie["response"]["list"][0]["paid_at"], 0);
    let truth = bench.get("/payments/findAll/m1").await.1;
    assert_eq!(truth["response"]["list"][0]["status"], "paid");
}

#[tokio::test]
async fn the_admin_api_speaks_json_and_needs_no_token() {
    let bench = Bench::start().await;
    bench.again("m1", "c1").await;
    bench.again("m2", "c1").await;
    let get = async |path: &str| {
        let answer = bench.client.get(bench.url(path)).send().await.unwrap();
        read(answer).await.1
    };
    let ledger = get("/sandbox/ledger?after=1&limit=5").await;
    assert_eq!(
        (&ledger[0]["sequence"], &ledger[0]["merchant_uid"]),
        (&json!(2), &json!("m2"))
    );
    assert_eq!(ledger.as_array().unwrap().len(), 1);
    let summary = get("/sandbox/summary").await;
    assert_eq!(
        (&summary["approvals"], &summary["requests"]["again"]),
        (&json!(2), &json!(2))
    );
    let fault = json!({"kind": "latency_ms", "route": "again", "latency_ms": 80, "count": 1});
    assert_eq!(bench.post("/sandbox/fault", &fault).await.0, 200);
    let started = Instant::now();
    bench.again("m3", "c1").await;
    assert!(started.elapsed() >= Duration::from_millis(80));
    let faults = get("/sandbox/fault").await;
    assert_eq!(
        (&faults[0]["fired"], &faults[0]["count"]),
        (&json!(1), &json!(0))
    );
    let cleared = bench.client.delete(bench.url("/sandbox/fault")).send();
    assert!(cleared.await.unwrap().status().is_success());
    assert_eq!(get("/sandbox/fault").await, json!([]));
    let moved = bench
        .post("/sandbox/clock", &json!({"advance_s": 3600}))
        .await
        .1;
    assert_eq!(moved["advanced_s"], 3600);
    assert_eq!(
        bench.again("m4", "c1").await.0,
        401,
        "an hour is more than a token lives"
    );
    bench.post("/sandbox/reset", &json!({})).await;
    assert_eq!(get("/sandbox/ledger").await, json!([]));
    assert_eq!(get("/sandbox/clock").await["advanced_s"], 0);
}

#[tokio::test]
async fn stopping_ends_the_silent_and_frees_the_port() {
    let bench = Bench::start().await;
    let url = bench.url("/subscribe/payments/again");
    let request = bench.client.post(url).bearer_auth(&bench.token);
    let silent = request.json(&order("m1", "silent-after-approval")).send();
    let silent = tokio::spawn(silent);
    while bench.running.ledger().is_empty() {
        tokio::task::yield_now().await;
    }
    let addr = bench.running.addr();
    let started = Instant::now();
    bench.running.stop().await;
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(silent.await.unwrap().is_err());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn switches_change_one_by_one_and_a_limit_answers_429() {
    let bench = Bench::start().await;
    let switch = async |change: Value| bench.post("/sandbox/switches", &change).await;
    assert_eq!(switch(json!({"duplicate_http_status": 409})).await.0, 200);
    let switches = switch(json!({"again_per_second_limit": 2})).await.1;
    assert_eq!(switches["duplicate_http_status"], 409);
    assert_eq!(switches["failed_reusable"], true);
    assert_eq!(switch(json!({"failed_reusabel": true})).await.0, 400);
    assert_eq!(bench.again("m1", "c1").await.0, 200);
    assert_eq!(bench.again("m1", "c1").await.0, 409);
    assert_eq!(bench.again("m2", "c1").await.0, 429);
    assert_eq!(bench.running.ledger().len(), 1);
}

#[tokio::test]
async fn a_maintenance_window_ends_by_the_clock() {
    let bench = Bench::start().await;
    let window = Fault::new(FaultKind::Maintenance, Route::Again).for_seconds(600);
    bench.running.fault(window);
    assert_eq!(bench.again("m1", "c1").await.0, 503);
    bench.running.advance(Duration::from_mins(10));
    assert_eq!(bench.again("m1", "c1").await.0, 200);
}

/// A library could hide a cut behind a status of its own, so this one looks at the bytes.
#[tokio::test]
async fn a_cut_connection_carries_not_one_byte() {
    let bench = Bench::start().await;
    let body = order("m1", "drop-after-approval").to_string();
    let request = format!(
        "POST /subscribe/payments/again HTTP/1.1\r\nhost: sandbox\r\nauthorization: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        bench.token,
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(bench.running.addr())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let end = stream.read_to_end(&mut seen).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(seen, b"");
    assert_eq!(bench.running.ledger().len(), 1);
}
