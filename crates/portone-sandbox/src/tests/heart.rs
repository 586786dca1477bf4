//! Tokens, charges and look-ups of a gateway in good health.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Latency, Options, Route, Switches};
use super::{Bench, order, read};

const TAKEN: &str =
    "이미 주문이 이루어진 건입니다. (동일한 merchant_uid로 결제 또는 취소된 기록이 있습니다)";

#[tokio::test]
async fn a_charge_is_approved_with_every_field_of_the_schema() {
    let bench = Bench::start().await;
    let (status, body) = bench.again("m1", "cust_1").await;
    assert_eq!(
        (status, &body["code"], &body["message"]),
        (200, &json!(0), &Value::Null)
    );
    let payment = body["response"].as_object().unwrap();
    assert_eq!(payment.len(), 54, "fields of the schema");
    for (name, value) in [
        ("merchant_uid", json!("m1")),
        ("customer_uid", json!("cust_1")),
        ("customer_uid_usage", json!("payment")),
        ("status", json!("paid")),
        ("amount", json!(9900)),
        ("cancel_amount", json!(0)),
        ("currency", json!("KRW")),
        ("channel", json!("api")),
        ("pg_provider", json!("html5_inicis")),
        ("sandbox", json!(true)),
        ("failed_at", json!(0)),
        ("card_type", Value::Null),
    ] {
        assert_eq!(payment[name], value, "{name}");
    }
    assert!(payment["paid_at"].as_i64().unwrap() > 1_700_000_000);
    assert!(payment["card_number"].as_str().unwrap().contains("******"));
    let ledger = bench.running.ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!((ledger[0].sequence, ledger[0].amount), (1, 9900));
    assert_eq!(json!(ledger[0].imp_uid), payment["imp_uid"]);
}

#[tokio::test]
async fn a_paid_number_is_refused_and_a_failed_one_is_not() {
    let bench = Bench::start().await;
    bench.again("m1", "decline-balance-once").await;
    assert_eq!(
        bench.again("m1", "decline-balance-once").await.1["response"]["status"],
        "paid"
    );
    let (status, body) = bench.again("m1", "cust_1").await;
    assert_eq!(status, 200);
    assert_eq!(body, json!({"code": 1, "message": TAKEN, "response": null}));
    bench.running.set_switches(Switches {
        failed_reusable: false,
        ..Switches::default()
    });
    bench.again("m2", "decline").await;
    assert_eq!(bench.again("m2", "cust_1").await.1["message"], TAKEN);
    let summary = bench.running.summary();
    assert_eq!((summary.approvals, summary.declines), (1, 2));
    assert_eq!((summary.refused_duplicates, summary.merchant_uids), (2, 2));
}

#[tokio::test]
async fn of_two_requests_at_once_only_one_charges() {
    let options = Options {
        latency: Latency::Fixed(100),
        ..Options::default()
    };
    let bench = Bench::with(options).await;
    let (one, other) = tokio::join!(bench.again("m1", "c1"), bench.again("m1", "c1"));
    let mut codes = [&one.1["code"], &other.1["code"]].map(|code| code.as_i64().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 1]);
    assert_eq!(bench.running.ledger().len(), 1);
    bench.running.set_switches(Switches {
        concurrent_charges: true,
        ..Switches::default()
    });
    tokio::join!(bench.again("m2", "c1"), bench.again("m2", "c1"));
    let summary = bench.running.summary();
    assert_eq!(
        (summary.approvals, summary.merchant_uids_approved_twice),
        (3, 1)
    );
    assert_eq!(
        (summary.refused_concurrent, summary.again_per_second_max),
        (1, 4)
    );
}

/// A client that loses patience has charged all the same: the record appears after it left.
#[tokio::test]
async fn hanging_up_does_not_stop_a_charge() {
    let options = Options {
        latency: Latency::Fixed(200),
        ..Options::default()
    };
    let bench = Bench::with(options).await;
    let order = order("m1", "c1");
    let request = bench.send(&order);
    let gave_up = tokio::time::timeout(Duration::from_millis(100), request).await;
    assert!(gave_up.is_err());
    assert_eq!(bench.get("/payments/findAll/m1").await.0, 200);
    assert_eq!(bench.running.ledger().len(), 1);
}

#[tokio::test]
async fn declines_speak_the_words_of_the_provider() {
    let bench = Bench::start().await;
    let body = bench.again("m1", "decline-limit-7").await.1;
    assert_eq!(body["code"], 0);
    assert_eq!(body["response"]["status"], "failed");
    assert_eq!(
        body["response"]["fail_reason"],
        "[1216][실시간빌링실패|월 사용한도 초과]"
    );
    assert_eq!(body["response"]["paid_at"], 0);
    assert_eq!(body["response"]["receipt_url"], Value::Null);
    let body = bench.again("m2", "decline-null").await.1;
    let message = "결제승인에 실패하였습니다. [2116]개인 월 한도금액 초과";
    assert_eq!(
        body,
        json!({"code": -1, "message": message, "response": null})
    );
    let body = bench.again("m3", "unknown-customer").await.1;
    let message = "등록되지 않은 구매자입니다.";
    assert_eq!(
        body,
        json!({"code": 1, "message": message, "response": null})
    );
    assert_eq!(bench.get("/payments/findAll/m2").await.0, 200);
    assert_eq!(bench.get("/payments/findAll/m3").await.0, 404);
    assert!(bench.running.ledger().is_empty());
}

#[tokio::test]
async fn a_form_is_as_good_as_json_and_a_wrong_field_is_named() {
    let bench = Bench::start().await;
    let form = [
        ("merchant_uid", "m1"),
        ("customer_uid", "c1"),
        ("amount", "500"),
        ("name", "n"),
    ];
    let request = bench.client.post(bench.url("/subscribe/payments/again"));
    // The old clients send the token without `Bearer`.
    let request = request.header("authorization", &bench.token).form(&form);
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!((status, &body["response"]["amount"]), (200, &json!(500)));
    let mut no_amount = order("m2", "c1");
    no_amount["amount"] = Value::Null;
    let (status, body) = read(bench.send(&no_amount).await.unwrap()).await;
    assert_eq!(
        (status, &body["message"]),
        (400, &json!("amount 파라메터가 누락되었습니다."))
    );
    for (name, value) in [
        ("amount", json!({"total": 8900})),
        ("amount", json!(0)),
        ("merchant_uid", json!("m".repeat(41))),
        ("customer_uid", json!("c".repeat(81))),
        ("buyer_name", json!("가".repeat(17))),
    ] {
        let mut wrong = order("m2", "c1");
        wrong[name] = value;
        let (status, body) = read(bench.send(&wrong).await.unwrap()).await;
        let message = format!("{name} 파라메터가 올바르지 않습니다.");
        assert_eq!((status, &body["message"]), (400, &json!(message)));
    }
}

#[tokio::test]
async fn look_ups_find_every_record_in_order_and_by_page() {
    let bench = Bench::start().await;
    for _ in 0..2 {
        bench.again("m1", "decline").await;
    }
    let paid = bench.again("m1", "c1").await.1["response"].clone();
    let (status, body) = bench.get("/payments/findAll/m1").await;
    let page = &body["response"];
    assert_eq!(
        (status, &page["total"], &page["next"]),
        (200, &json!(3), &json!(0))
    );
    assert_eq!(page["list"][0], paid);
    let page = bench
        .get("/payments/findAll/m1?sorting=started&limit=2&page=2")
        .await
        .1;
    let page = &page["response"];
    assert_eq!((&page["previous"], &page["next"]), (&json!(1), &json!(0)));
    assert_eq!(page["list"], json!([paid]));
    let failed = bench.get("/payments/findAll/m1/failed?limit=1").await.1;
    assert_eq!(
        (&failed["response"]["total"], &failed["response"]["next"]),
        (&json!(2), &json!(2))
    );
    for path in ["/payments/find/m1", "/payments/find/m1/"] {
        assert_eq!(bench.get(path).await.1["response"], paid, "{path}");
    }
    assert_eq!(bench.get("/payments/findAll/m1/").await.0, 200);
    assert_eq!(
        bench.get("/payments/find/m1/failed").await.1["response"]["status"],
        "failed"
    );
    let (status, body) = bench.get("/payments/find/m1/cancelled").await;
    let message = "존재하지 않는 결제정보입니다.";
    assert_eq!(status, 404);
    assert_eq!(
        body,
        json!({"code": -1, "message": message, "response": null})
    );
}

#[tokio::test]
async fn a_look_up_that_makes_no_sense_is_refused_and_a_payment_in_test_mode_is_shown_if_asked_for()
{
    let bench = Bench::start().await;
    let paid = bench.again("m1", "c1").await.1["response"].clone();
    for wrong in [
        "m1/done",
        "m1?page=0",
        "m1?page=2",
        "m1?limit=1001",
        "m1?sorting=name",
    ] {
        assert_eq!(
            bench.get(&format!("/payments/findAll/{wrong}")).await.0,
            400,
            "{wrong}"
        );
    }
    let path = format!("/payments/{}", paid["imp_uid"].as_str().unwrap());
    assert_eq!(bench.get(&path).await.0, 404);
    let shown = bench.get(&format!("{path}?include_sandbox=true")).await.1;
    assert_eq!(shown["response"], paid);
    bench.running.set_switches(Switches {
        test_payments_hidden: false,
        ..Switches::default()
    });
    assert_eq!(bench.get(&path).await.1["response"], paid);
}

#[tokio::test]
async fn the_window_of_a_status_is_at_most_ninety_days() {
    let bench = Bench::start().await;
    bench.again("m1", "c1").await;
    bench.again("m2", "decline").await;
    let total = async |path: &str| bench.get(path).await.1["response"]["total"].as_i64();
    assert_eq!(total("/payments/status/all").await, Some(2));
    assert_eq!(total("/payments/status/paid").await, Some(1));
    assert_eq!(total("/payments/status/cancelled").await, Some(0));
    bench.running.advance(Duration::from_hours(91 * 24));
    let bench = Bench {
        token: bench.log_in().await,
        ..bench
    };
    let total = async |path: &str| bench.get(path).await.1["response"]["total"].as_i64();
    assert_eq!(total("/payments/status/all").await, Some(0));
    let day_s = 24 * 60 * 60;
    let to = bench.running.now_us().div_euclid(1_000_000) - 10 * day_s;
    let within = format!("/payments/status/all?to={to}&from={}", to - 90 * day_s);
    assert_eq!(total(&within).await, Some(2));
    let too_long = format!("/payments/status/all?to={to}&from={}", to - 91 * day_s);
    for wrong in [
        &too_long,
        "/payments/status/done",
        "/payments/status/all?page=9",
    ] {
        assert_eq!(bench.get(wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn without_a_live_token_nothing_is_charged() {
    let bench = Bench::start().await;
    assert_eq!(bench.log_in().await, bench.token);
    bench.running.expire_tokens();
    let (status, body) = bench.again("m1", "c1").await;
    assert_eq!(status, 401);
    assert_eq!(
        body,
        json!({"code": -1, "message": "Unauthorized", "response": null})
    );
    assert!(bench.running.ledger().is_empty());
    assert_ne!(bench.log_in().await, bench.token);
    let (status, body) = bench
        .post("/users/getToken", &json!({"imp_key": "k"}))
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        body["message"],
        "imp_key, imp_secret 파라메터가 누락되었습니다."
    );
    let wrong = json!({"imp_key": "k", "imp_secret": "s"});
    let (status, body) = bench.post("/users/getToken", &wrong).await;
    assert_eq!(status, 401);
    assert_eq!(
        body["message"],
        "인증에 실패하였습니다. API키와 secret을 확인하세요."
    );
    assert_eq!(bench.running.summary().requests[&Route::GetToken], 5);
}
