use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::domain::attempt::MESSAGE_CHARACTERS_MAX;
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::{Currency, Money};

#[path = "classify_property_tests.rs"]
mod properties;

/// Answers to `again`: file, HTTP status, what it says. What is proved by the body is not proved under another
/// status.
const CHARGES: &str = "
    again_paid.json 200 paid
    again_failed_soft_funds.json 200 declined soft_funds 1254
    again_failed_soft_temp.json 200 declined soft_temp 12E8
    again_failed_hard_card.json 200 declined hard_card 1226
    again_failed_hard_auth.json 200 declined hard_auth 1219
    again_failed_issuer_call.json 200 declined issuer_call 1279
    again_failed_config.json 200 declined config 1229
    again_failed_request.json 200 declined request 1205
    again_failed_unspecified.json 200 declined unspecified 129999
    again_failed_without_reason.json 200 declined unspecified -
    again_failed_unclear.json 200 unknown unclear_decline
    again_refused_with_code.json 200 declined soft_funds 2116
    again_refused_no_billing_key.json 200 declined hard_card -
    again_refused_contract.json 200 declined config 8901
    again_refused_inicis_key_file.json 200 declined config TX9301
    again_refused_currency.json 200 declined request B802
    again_refused_unknown_words.json 200 unknown unclear_decline
    again_refused_without_message.json 200 unknown unclear_decline
    again_refused_timeout_behind.json 200 unknown unclear_decline
    again_refused_but_paid.json 200 unknown unclear_decline
    again_refused_duplicate.json 200 unknown duplicate_merchant_uid
    again_ready.json 200 unknown not_final
    again_cancelled.json 200 unknown not_final
    unauthorized.json 401 unauthorized
    maintenance.html 401 unauthorized
    not_found.json 404 unknown http_status
    too_many_requests.json 429 unknown too_many_requests
    internal_error.json 500 unknown http_status
    bad_gateway.html 502 unknown http_status
    maintenance.html 200 unknown unreadable
    empty.txt 200 unknown unreadable
    cut.txt 200 unknown unreadable
    again_paid.json 500 unknown http_status
    again_paid.json 201 unknown http_status
    again_failed_soft_funds.json 400 unknown http_status";

/// Answers to `findAll`: file, HTTP status, what it says.
const LOOK_UPS: &str = "
    not_found.json 404 not found
    find_all_empty.json 200 not found
    find_all_paid_among_failed.json 200 paid imp_448280090638, 0 given back
    find_all_cancelled.json 200 paid imp_448280090638, 9900 given back
    find_all_partly_cancelled.json 200 paid imp_448280090638, 3000 given back
    find_all_paid_after_cancelled.json 200 paid imp_448280090700, 0 given back
    find_all_failed.json 200 failed soft_funds 1254
    find_all_failed_and_unclear.json 200 failed unclear 1210
    find_all_paid_twice.json 200 unclear mismatch
    find_all_wrong_amount.json 200 unclear mismatch
    find_all_failed_of_another.json 200 unclear mismatch
    find_all_failed_page_of_many.json 200 unclear not_final
    find_all_ready.json 200 unclear not_final
    unauthorized.json 401 refused
    maintenance.html 401 refused
    maintenance.html 404 unreadable
    maintenance.html 200 unreadable
    bad_gateway.html 502 unreadable
    internal_error.json 500 unreadable
    too_many_requests.json 429 unreadable
    empty.txt 404 unreadable
    cut.txt 200 unreadable";

/// The rows of a table.
fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, u16, &'static str)> {
    table.trim().lines().map(|row| {
        let mut words = row.trim().splitn(3, ' ');
        let mut word = || words.next().unwrap();
        (word(), word().parse().unwrap(), word())
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/portone")
}

fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap()
}

/// What every fixture answers to.
fn expected() -> Expected {
    Expected {
        merchant_uid: MerchantUid::parse("0198c0de4b1a7f3e9d2c5a6b7c8d9e0f26033101").unwrap(),
        customer_uid: Some(CustomerUid::parse("cust_7f3a").unwrap()),
        money: Money::new(9900, Currency::KRW).unwrap(),
    }
}

fn said_of_charge(status: u16, body: &[u8]) -> String {
    match charge(status, body, &expected()) {
        ChargeOutcome::Paid(_) => "paid".to_owned(),
        ChargeOutcome::Declined(decline) => format!("declined {}", said_of_decline(&decline)),
        ChargeOutcome::NotSent(NotSent::Unauthorized) => "unauthorized".to_owned(),
        ChargeOutcome::NotSent(_) => "not sent".to_owned(),
        ChargeOutcome::Unknown(unknown) => format!("unknown {}", unknown.reason.as_str()),
    }
}

fn said_of_look_up(status: u16, body: &[u8]) -> String {
    match look_up(status, body, &expected()) {
        Ok(Lookup::Paid(payment)) => format!(
            "paid {}, {} given back",
            payment.imp_uid.as_str(),
            payment.cancelled_amount
        ),
        Ok(Lookup::Failed { decline, .. }) => format!("failed {}", said_of_decline(&decline)),
        Ok(Lookup::NotFound) => "not found".to_owned(),
        Ok(Lookup::Unclear(unknown)) => format!("unclear {}", unknown.reason.as_str()),
        Err(GatewayError::Refused(_)) => "refused".to_owned(),
        Err(GatewayError::Unreadable(_)) => "unreadable".to_owned(),
        Err(GatewayError::Unreachable(_)) => "unreachable".to_owned(),
    }
}

fn said_of_decline(decline: &Decline) -> String {
    let code = decline.code.as_deref().unwrap_or("-");
    format!("{} {code}", decline.class.as_str())
}

/// Hazard: a buyer's name in another encoding makes a payment unreadable, and so one that never ends to be asked for.
#[test]
fn bytes_in_fields_that_nobody_reads_spoil_no_proof() {
    for noise in [&b"\xb1\xe8"[..], b"\\ud800"] {
        let mut body = br#"{"code": 0, "message": null, "response": {"buyer_name": ""#.to_vec();
        body.extend_from_slice(noise);
        let rest = String::from_utf8(fixture("again_paid.json")).unwrap();
        let (_, rest) = rest.split_once("\"response\": {").unwrap();
        let rest = rest.replace("\"buyer_name\"", "\"buyer_nick\"");
        body.extend_from_slice(format!("\", {rest}").as_bytes());
        assert_eq!(said_of_charge(200, &body), "paid");
    }
}

/// Hazard: a byte in the receipt's number that no row takes, or one too many, and the payment is never recorded.
#[test]
fn a_proved_payment_is_one_whatever_its_receipts_number_holds() {
    let long = "9".repeat(40);
    for (number, kept) in [("imp_\0 1\n", "imp_ 1"), (long.as_str(), &long[..32])] {
        let paid = paid_but(|payment| payment["imp_uid"] = json!(number));
        let ChargeOutcome::Paid(receipt) = charge(200, &paid, &expected()) else {
            panic!("not paid under {number:?}");
        };
        assert_eq!(receipt.imp_uid.as_str(), kept);
    }
}

/// The paid answer after an edit of its payment.
fn paid_but(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    edited("again_paid.json", |answer| edit(&mut answer["response"]))
}

fn edited(file: &str, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(&fixture(file)).unwrap();
    edit(&mut answer);
    serde_json::to_vec(&answer).unwrap()
}

fn without(value: &mut Value, field: &str) {
    assert!(
        value.as_object_mut().unwrap().remove(field).is_some(),
        "{field}"
    );
}

#[test]
fn each_answer_to_a_charge_says_what_the_table_says() {
    for (file, status, said) in rows(CHARGES) {
        assert_eq!(
            said_of_charge(status, &fixture(file)),
            said,
            "{file} as {status}"
        );
    }
}

#[test]
fn each_answer_to_a_look_up_says_what_the_table_says() {
    for (file, status, said) in rows(LOOK_UPS) {
        assert_eq!(
            said_of_look_up(status, &fixture(file)),
            said,
            "{file} as {status}"
        );
    }
}

#[test]
fn every_fixture_is_in_a_table() {
    let used: BTreeSet<_> = rows(CHARGES)
        .chain(rows(LOOK_UPS))
        .map(|(file, ..)| file.to_owned())
        .collect();
    let there: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(used, there);
}

#[test]
fn a_receipt_keeps_what_the_row_shows() {
    let ChargeOutcome::Paid(payment) = charge(200, &fixture("again_paid.json"), &expected()) else {
        panic!("not paid");
    };
    assert_eq!(payment.imp_uid.as_str(), "imp_448280090638");
    assert_eq!(payment.pg_provider.as_deref(), Some("html5_inicis"));
    assert!(payment.pg_tid.is_some() && payment.receipt_url.is_some());
    assert_eq!(payment.cancelled_amount, 0);
}

#[test]
fn a_decline_keeps_the_words_the_provider_and_the_number() {
    let ChargeOutcome::Declined(decline) =
        charge(200, &fixture("again_failed_soft_funds.json"), &expected())
    else {
        panic!("not declined");
    };
    assert!(decline.message.ends_with("[1254][실시간빌링실패|잔액부족]"));
    assert_eq!(decline.pg_provider.as_deref(), Some("html5_inicis"));
    assert_eq!(decline.imp_uid.unwrap().as_str(), "imp_448280090611");
}

#[test]
fn a_paid_answer_for_something_else_is_an_alarm() {
    let others = [
        (
            "merchant_uid",
            json!("0198c0de4b1a7f3e9d2c5a6b7c8d9e0f26033102"),
        ),
        ("amount", json!(9901)),
        ("amount", json!(9900.5)),
        ("amount", json!(-9900)),
        ("currency", json!("USD")),
        ("currency", json!("krw")),
        ("customer_uid", json!("cust_other")),
    ];
    for (field, other) in others {
        let body = paid_but(|payment| payment[field] = other.clone());
        assert_eq!(
            said_of_charge(200, &body),
            "unknown mismatch",
            "{field} {other}"
        );
    }
    let failed = edited("again_failed_soft_funds.json", |answer| {
        answer["response"]["amount"] = json!(1);
    });
    assert_eq!(said_of_charge(200, &failed), "unknown mismatch");
}

#[test]
fn what_no_decision_rests_on_may_be_absent_new_or_odd() {
    let tolerated: [fn(&mut Value); 8] = [
        |payment| without(payment, "customer_uid"),
        |payment| payment["customer_uid"] = Value::Null,
        |payment| without(payment, "sandbox"),
        |payment| without(payment, "cancel_amount"),
        |payment| payment["field_of_tomorrow"] = json!({ "a": [1, 2] }),
        |payment| payment["receipt_url"] = json!(5),
        |payment| payment["amount"] = json!(9900.0),
        |payment| payment["pay_method"] = json!("telepathy"),
    ];
    for (index, edit) in tolerated.into_iter().enumerate() {
        assert_eq!(said_of_charge(200, &paid_but(edit)), "paid", "edit {index}");
    }
    let outside = edited("again_paid.json", |answer| answer["trace_id"] = json!("x"));
    assert_eq!(said_of_charge(200, &outside), "paid");
}

#[test]
fn what_a_decision_rests_on_must_be_there_and_of_its_type() {
    for field in ["imp_uid", "merchant_uid", "status", "amount", "currency"] {
        for body in [
            paid_but(|payment| without(payment, field)),
            paid_but(|payment| payment[field] = Value::Null),
            paid_but(|payment| payment[field] = json!([])),
        ] {
            assert_eq!(said_of_charge(200, &body), "unknown unreadable", "{field}");
        }
    }
    for body in [
        paid_but(|payment| payment["amount"] = json!("9900")),
        paid_but(|payment| payment["imp_uid"] = json!("")),
        edited("again_paid.json", |answer| without(answer, "response")),
        edited("again_paid.json", |answer| answer["response"] = Value::Null),
        edited("again_paid.json", |answer| without(answer, "code")),
        edited("again_paid.json", |answer| answer["code"] = json!("0")),
        edited("again_refused_with_code.json", |answer| {
            without(answer, "code");
        }),
    ] {
        let text = String::from_utf8(body.clone()).unwrap();
        assert_eq!(said_of_charge(200, &body), "unknown unreadable", "{text}");
    }
}

#[test]
fn a_status_of_tomorrow_is_not_final() {
    for status in ["PAID", "pending", "paid ", ""] {
        let body = paid_but(|payment| payment["status"] = json!(status));
        assert_eq!(
            said_of_charge(200, &body),
            "unknown not_final",
            "{status:?}"
        );
    }
}

/// A body with a field twice can be read in two ways, and PortOne's own reading is unknown.
#[test]
fn a_field_given_twice_is_unreadable() {
    let text = String::from_utf8(fixture("again_failed_soft_funds.json")).unwrap();
    let twice = text.replacen("\"status\"", "\"status\": \"paid\", \"status\"", 1);
    assert_eq!(said_of_charge(200, twice.as_bytes()), "unknown unreadable");
}

#[test]
fn an_empty_first_page_of_several_is_no_answer() {
    let body = edited("find_all_empty.json", |answer| {
        answer["response"]["next"] = json!(2);
    });
    assert_eq!(said_of_look_up(200, &body), "unclear not_final");
}

#[test]
fn buyers_never_show_in_a_doubt() {
    let details = ["홍길동", "buyer@example.com", "01000000000", "cust_7f3a"];
    let cut = String::from_utf8_lossy(&fixture("again_paid.json"))[..1500].to_owned();
    for body in [
        cut.into_bytes(),
        paid_but(|payment| payment["amount"] = json!(1)),
        paid_but(|payment| payment["amount"] = json!("9900")),
        paid_but(|payment| payment["customer_uid"] = json!("cust_other")),
        paid_but(|payment| payment["status"] = json!("ready")),
    ] {
        for status in [200, 500] {
            let told = format!("{:?}", charge(status, &body, &expected()));
            assert!(
                !details.iter().any(|detail| told.contains(detail)),
                "{told}"
            );
            assert!(!told.contains("cust_other"), "{told}");
        }
    }
}

/// Hazard: a provider quotes the card number in its refusal, and the look-up brings it into a row,
/// whole or cut in half at the end of a long text.
#[test]
fn a_card_number_in_a_refusal_never_leaves_the_look_up() {
    let long = "가".repeat(MESSAGE_CHARACTERS_MAX - 10);
    for before in ["[1214]카드번호 ", long.as_str()] {
        let reason = format!("{before} 4111-1111-1111-7293 오류");
        let answer = edited("find_all_failed.json", |answer| {
            for payment in answer["response"]["list"].as_array_mut().unwrap() {
                payment["fail_reason"] = json!(reason);
            }
        });
        let Ok(Lookup::Failed { decline, .. }) = look_up(200, &answer, &expected()) else {
            panic!("not failed");
        };
        assert!(!decline.message.contains("4111"), "{}", decline.message);
        let refused = json!({"code": -1, "message": reason, "response": null});
        let said = charge(500, &serde_json::to_vec(&refused).unwrap(), &expected());
        assert!(!format!("{said:?}").contains("4111"), "{said:?}");
    }
}
