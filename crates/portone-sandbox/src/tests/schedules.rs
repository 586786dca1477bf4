//! Reservations and webhooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};

use super::super::Switches;
use super::Bench;

/// A merchant's server that writes down what it is told.
async fn merchant() -> (String, Arc<Mutex<Vec<Value>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = |State(heard): State<Arc<Mutex<Vec<Value>>>>, Json(notice): Json<Value>| async move {
        heard.lock().unwrap().push(notice);
    };
    let app = Router::new()
        .route("/hook", post(hook))
        .with_state(Arc::clone(&heard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, heard)
}

async fn reserve(bench: &Bench, customer_uid: &str, schedules: &[(&str, i64)], url: &str) -> Value {
    let schedules = schedules.iter().map(|(merchant_uid, at)| {
        json!({"merchant_uid": merchant_uid, "schedule_at": at, "amount": 500, "name": "n",
               "notice_url": url})
    });
    let schedules: Vec<_> = schedules.collect();
    let body = json!({"customer_uid": customer_uid, "schedules": schedules});
    bench.post("/subscribe/payments/schedule", &body).await.1
}

fn now(bench: &Bench) -> i64 {
    bench.running.now_us().div_euclid(1_000_000)
}

#[tokio::test]
async fn a_reservation_is_carried_out_when_its_second_comes() {
    let bench = Bench::start().await;
    let (url, heard) = merchant().await;
    let at = now(&bench) + 600;
    let body = reserve(
        &bench,
        "decline-limit-once",
        &[("m1", at), ("m2", at + 60)],
        &url,
    )
    .await;
    assert_eq!(body["response"][0]["schedule_status"], "scheduled");
    assert_eq!(
        body["response"][0].as_object().unwrap().len(),
        22,
        "fields of the schema"
    );
    assert_eq!(body["response"][0]["payment_status"], Value::Null);
    bench.running.advance(Duration::from_mins(20));
    let show = async |uid: &str| {
        let path = format!("/subscribe/payments/schedule/{uid}");
        bench.get(&path).await.1["response"].clone()
    };
    let (first, second) = (show("m1").await, show("m2").await);
    assert_eq!(
        (&first["schedule_status"], &first["payment_status"]),
        (&json!("executed"), &json!("failed"))
    );
    assert_eq!(
        first["fail_reason"],
        "[1216][실시간빌링실패|월 사용한도 초과]"
    );
    assert_eq!(second["payment_status"], "paid");
    let paid = bench.get("/payments/find/m2").await.1;
    assert_eq!(paid["response"]["customer_uid_usage"], "payment.scheduled");
    while heard.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut told: Vec<_> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|n| n["status"].clone())
        .collect();
    told.sort_by_key(Value::to_string);
    assert_eq!(told, ["failed", "paid"]);
    let retried = bench
        .post("/subscribe/payments/schedule/m1/retry", &json!({}))
        .await
        .1;
    assert_eq!(retried["response"]["status"], "paid");
    let refused = bench
        .post("/subscribe/payments/schedule/m1/retry", &json!({}))
        .await;
    assert_eq!(refused.0, 400);
    assert_eq!(bench.running.ledger().len(), 2);
}

#[tokio::test]
async fn reservations_are_moved_revoked_and_made_anew() {
    let bench = Bench::start().await;
    let at = now(&bench) + 600;
    reserve(&bench, "c1", &[("m1", at), ("m2", at + 1)], "").await;
    assert_eq!(reserve(&bench, "c1", &[("m1", at)], "").await["code"], 1);
    let url = bench.url("/subscribe/payments/schedule/m1");
    let put = bench.client.put(url).bearer_auth(&bench.token);
    let moved = put
        .json(&json!({"schedule_at": at + 60}))
        .send()
        .await
        .unwrap();
    assert_eq!(moved.status(), 200);
    let list = format!(
        "/subscribe/payments/schedule/customers/c1?from={at}&to={}",
        at + 61
    );
    let page = bench.get(&list).await.1["response"].clone();
    assert_eq!((&page["total"], &page["next"]), (&json!(2), &json!(0)));
    assert_eq!(page["list"][0]["merchant_uid"], "m1");
    bench.running.set_switches(Switches {
        schedule_lists_paged: false,
        ..Switches::default()
    });
    assert_eq!(bench.get(&list).await.1["response"], page["list"]);
    let revoke = json!({"customer_uid": "c1", "merchant_uid": ["m2"]});
    let revoked = bench
        .post("/subscribe/payments/unschedule", &revoke)
        .await
        .1;
    assert_eq!(revoked["response"][0]["schedule_status"], "revoked");
    let nothing = bench
        .post("/subscribe/payments/unschedule", &revoke)
        .await
        .1;
    assert_eq!(
        nothing["message"],
        "취소할 예약결제 기록이 존재하지 않습니다."
    );
    let anew = json!({"schedule_at": at + 90});
    let early = bench
        .post("/subscribe/payments/schedule/m1/reschedule", &anew)
        .await;
    assert_eq!(early.0, 400, "m1 still waits");
    let path = "/subscribe/payments/schedule/m2/reschedule";
    assert_eq!(
        bench.post(path, &anew).await.1["response"]["schedule_status"],
        "scheduled"
    );
    assert_eq!(bench.get("/subscribe/payments/schedule/m3").await.0, 404);
    bench.running.advance(Duration::from_mins(12));
    assert_eq!(bench.running.ledger().len(), 2);
}

#[tokio::test]
async fn only_an_approval_sends_a_webhook_and_a_cancel_that_asks_for_one() {
    let bench = Bench::start().await;
    let (url, heard) = merchant().await;
    for (merchant_uid, customer_uid) in [("m1", "decline"), ("m2", "drop-after-approval")] {
        let mut body = super::order(merchant_uid, customer_uid);
        body["notice_url"] = json!(url);
        bench.send(&body).await.ok();
    }
    let cancel = json!({"merchant_uid": "m2", "enable_webhook": true});
    bench.post("/payments/cancel", &cancel).await;
    while bench.running.summary().webhooks_delivered < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|notice| notice["merchant_uid"] == "m2"));
    assert!(heard.iter().any(|notice| notice["status"] == "paid"));
    assert!(
        heard
            .iter()
            .any(|notice| notice["cancellation_id"].is_string())
    );
}
