//! Billing keys, cards, and giving money back.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Options, Switches};
use super::{Bench, order, read};

fn card(number: &str) -> Value {
    json!({"card_number": number, "expiry": "2099-12", "birth": "900101", "customer_name": "홍길동"})
}

async fn strict() -> Bench {
    let switches = Switches {
        key_required: true,
        ..Switches::default()
    };
    Bench::with(Options {
        switches,
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn a_key_is_issued_replaced_and_deleted() {
    let bench = strict().await;
    assert_eq!(bench.again("m1", "c1").await.1["code"], 1);
    let (status, body) = bench
        .post("/subscribe/customers/c1", &card("4111-1111-1111-1111"))
        .await;
    let key = &body["response"];
    assert_eq!((status, &body["code"]), (200, &json!(0)));
    assert_eq!(key.as_object().unwrap().len(), 20, "fields of the schema");
    assert_eq!(key["card_number"], "411111******1111");
    assert_eq!(key["inserted"], key["updated"]);
    let paid = bench.again("m1", "c1").await.1;
    assert_eq!(paid["response"]["card_number"], "411111******1111");
    bench
        .post("/subscribe/customers/c1", &card("4000 0000 0000 1254"))
        .await;
    let changed = bench.get("/subscribe/customers/c1").await.1;
    assert_ne!(
        changed["response"]["inserted"],
        changed["response"]["updated"]
    );
    let declined = bench.again("m2", "c1").await.1;
    assert_eq!(
        declined["response"]["fail_reason"],
        "[1254][실시간빌링실패|잔액부족]"
    );
    let url = bench.url("/subscribe/customers/c1");
    let deleted = bench.client.delete(url).bearer_auth(&bench.token).send();
    assert_eq!(read(deleted.await.unwrap()).await.0, 200);
    let (status, body) = bench.get("/subscribe/customers/c1").await;
    let message = "요청하신 customer_uid(c1)로 등록된 정보를 찾을 수 없습니다.";
    assert_eq!((status, &body["message"]), (404, &json!(message)));
    bench.running.set_switches(Switches::default());
    assert_eq!(
        bench.again("m3", "c1").await.1["code"],
        1,
        "deleted is not merely new"
    );
}

#[tokio::test]
async fn a_card_that_can_t_be_registered_says_why() {
    let bench = Bench::start().await;
    let refused = async |card: &Value| {
        let (status, body) = bench.post("/subscribe/customers/c1", card).await;
        assert_eq!((status, &body["response"]), (200, &Value::Null));
        assert_eq!(body["code"], -1);
        body["message"].as_str().unwrap().to_owned()
    };
    assert!(
        refused(&card("4000-0000-0000-0112"))
            .await
            .contains("[F112]")
    );
    assert!(refused(&card("1234")).await.contains("[1214]"));
    let mut expired = card("4111-1111-1111-1111");
    expired["expiry"] = json!("2020-01");
    assert!(refused(&expired).await.contains("[1223]"));
}

#[tokio::test]
async fn batches_say_when_something_is_missing() {
    let bench = Bench::start().await;
    bench
        .post("/subscribe/customers/c1", &card("4111-1111-1111-1111"))
        .await;
    let imp_uid = bench.again("m1", "c1").await.1["response"]["imp_uid"].clone();
    let imp_uid = imp_uid.as_str().unwrap();
    for (path, expected) in [
        ("/subscribe/customers?customer_uid[]=c1", 200),
        (
            "/subscribe/customers?customer_uid[]=c1&customer_uid[]=c2",
            207,
        ),
        ("/subscribe/customers?customer_uid[]=c2", 404),
        (
            &format!("/payments?imp_uid[]={imp_uid}&merchant_uid[]=m1"),
            200,
        ),
        ("/payments?merchant_uid[]=m1&merchant_uid[]=m2", 207),
        ("/payments?merchant_uid[]=m2", 404),
        ("/payments", 400),
        ("/subscribe/customers/c1/payments", 200),
        ("/subscribe/customers/c2/payments", 404),
    ] {
        assert_eq!(bench.get(path).await.0, expected, "{path}");
    }
    let history = bench.get("/subscribe/customers/c1/payments").await.1;
    assert_eq!(history["response"]["list"][0]["merchant_uid"], "m1");
}

#[tokio::test]
async fn onetime_charges_a_card_and_keeps_its_key_if_it_pays() {
    let bench = strict().await;
    let onetime = async |merchant_uid: &str, customer_uid: &str, number: &str| {
        let mut body = order(merchant_uid, customer_uid);
        body["card_number"] = json!(number);
        body["expiry"] = json!("2099-12");
        bench.post("/subscribe/payments/onetime", &body).await.1["response"].clone()
    };
    let paid = onetime("m1", "c1", "4111-1111-1111-1111").await;
    assert_eq!(
        (&paid["status"], &paid["customer_uid_usage"]),
        (&json!("paid"), &json!("issue"))
    );
    assert_eq!(
        bench.again("m2", "c1").await.1["response"]["status"],
        "paid"
    );
    assert_eq!(
        onetime("m3", "c3", "4000-0000-0000-1226").await["status"],
        "failed"
    );
    assert_eq!(bench.get("/subscribe/customers/c3").await.0, 404);
    assert_eq!(
        onetime("m4", "", "4111-1111-1111-1111").await["customer_uid"],
        Value::Null
    );
    assert_eq!(
        onetime("m1", "c1", "4111-1111-1111-1111").await,
        Value::Null,
        "taken"
    );
}

#[tokio::test]
async fn money_is_given_back_once_and_its_number_stays_taken() {
    let bench = Bench::start().await;
    bench.again("m1", "c1").await;
    let cancel = async |body: Value| bench.post("/payments/cancel", &body).await.1;
    let part = json!({"merchant_uid": "m1", "amount": 900, "checksum": 9900, "reason": "부분"});
    let body = cancel(part.clone()).await;
    assert_eq!(
        (
            &body["response"]["status"],
            &body["response"]["cancel_amount"]
        ),
        (&json!("paid"), &json!(900))
    );
    assert_eq!(body["response"]["cancel_history"][0]["reason"], "부분");
    let refused = cancel(part).await;
    assert_eq!(
        (&refused["code"], &refused["response"]),
        (&json!(1), &Value::Null)
    );
    let whole = cancel(json!({"merchant_uid": "m1"})).await;
    assert_eq!(whole["response"]["status"], "cancelled");
    assert_eq!(whole["response"]["cancel_amount"], 9900);
    let again = cancel(json!({"merchant_uid": "m1"})).await;
    assert_eq!(again["message"], "이미 전액취소된 주문입니다.");
    let nothing = cancel(json!({"merchant_uid": "m2"})).await;
    assert_eq!(nothing["message"], "취소할 결제건이 존재하지 않습니다.");
    assert_eq!(bench.again("m1", "c1").await.1["code"], 1);
    assert_eq!(bench.get("/payments/findAll/m1/cancelled").await.0, 200);
}

#[tokio::test]
async fn the_nightly_cancel_of_a_test_channel_gives_the_money_back_if_told_to() {
    let bench = Bench::start().await;
    bench.again("m1", "c1").await;
    bench.running.advance(Duration::from_hours(24));
    let bench = Bench {
        token: bench.log_in().await,
        ..bench
    };
    assert_eq!(
        bench.get("/payments/find/m1").await.1["response"]["status"],
        "paid"
    );
    bench.running.set_switches(Switches {
        nightly_cancel: true,
        ..Switches::default()
    });
    bench.running.advance(Duration::from_hours(24));
    let bench = Bench {
        token: bench.log_in().await,
        ..bench
    };
    assert_eq!(
        bench.get("/payments/find/m1").await.1["response"]["status"],
        "cancelled"
    );
    assert_eq!(
        bench.running.ledger().len(),
        1,
        "the ledger knows that money moved"
    );
}
