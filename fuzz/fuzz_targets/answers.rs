//! Whatever the gateway answers: nothing panics, and nothing is proved that does not stand in the answer.
#![no_main]

use std::sync::LazyLock;

use billd::domain::attempt::{ChargeOutcome, Lookup};
use billd::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use billd::domain::money::{Currency, Money};
use billd::domain::refund::{RefundOutcome, RefundRequest};
use billd::gateway::Expected;
use billd::gateway::portone_v1::fuzzing::read;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MERCHANT_UID: &str = "0198c0de4b1a7f3e9d2c5a6b7c8d9e0f26033101";
const IMP_UID: &str = "imp_448280090638";
const CARD: &str = "cust_7f3a";
const SUM: i64 = 9_900;
const GIVEN_BACK: i64 = 3_000;
const STATUSES: [u16; 7] = [200, 207, 400, 401, 404, 429, 500];

/// What the recorded answers answer to.
static EXPECTED: LazyLock<Expected> = LazyLock::new(|| Expected {
    merchant_uid: MerchantUid::parse(MERCHANT_UID).unwrap(),
    customer_uid: Some(CustomerUid::parse(CARD).unwrap()),
    money: Money::new(SUM, Currency::KRW).unwrap(),
});

static REFUND: LazyLock<RefundRequest> = LazyLock::new(|| RefundRequest {
    merchant_uid: MerchantUid::parse(MERCHANT_UID).unwrap(),
    imp_uid: ImpUid::parse(IMP_UID).unwrap(),
    amount: GIVEN_BACK,
    checksum: SUM,
    payment_amount: SUM,
    currency: Currency::KRW,
    tax_free: None,
    vat_amount: None,
    note: None,
});

fuzz_target!(|body: &[u8]| {
    // In fields that nobody reads there may be bytes that are no text, and halves of characters.
    let text = String::from_utf8_lossy(body)
        .replace("\\ud", "\\u0")
        .replace("\\uD", "\\u0");
    let said: Option<Value> = serde_json::from_str(&text).ok();
    for status in STATUSES {
        let proved = read(status, body, &EXPECTED, &REFUND);
        // Nor need it be a number that there is: then only panics are looked for.
        let Some(said) = &said else { continue };
        let is_good = status == 200 && said["code"] == 0;
        let response = &said["response"];
        if let ChargeOutcome::Paid(_) = &proved.charge {
            assert!(is_good && is_ours(response) && response["status"] == "paid");
        }
        if let ChargeOutcome::Declined(_) = &proved.charge {
            assert_eq!(status, 200);
            let is_failed = is_good && is_ours(response) && response["status"] == "failed";
            let is_refused = said["code"] != 0 && response.is_null();
            assert!(is_failed || is_refused);
        }
        if let ChargeOutcome::NotSent(_) = &proved.charge {
            assert_eq!(status, 401);
        }
        let list = response["list"].as_array().map_or(&[][..], Vec::as_slice);
        let moved =
            |it: &Value| is_ours(it) && (it["status"] == "paid" || it["status"] == "cancelled");
        match &proved.look_up {
            Ok(Lookup::Paid(_)) => assert!(is_good && list.iter().any(moved)),
            Ok(Lookup::Failed { .. }) => {
                assert!(
                    is_good && !list.is_empty() && list.iter().all(|it| it["status"] == "failed")
                );
            }
            Ok(Lookup::NotFound) => assert!(status == 404 || (is_good && list.is_empty())),
            Ok(Lookup::Unclear(_)) | Err(_) => {}
        }
        if let RefundOutcome::Refunded = &proved.refund {
            assert!(
                response["imp_uid"] == IMP_UID && is_number(&response["cancel_amount"], GIVEN_BACK)
            );
        }
    }
});

fn is_ours(payment: &Value) -> bool {
    let card = &payment["customer_uid"];
    payment["merchant_uid"] == MERCHANT_UID
        && payment["currency"] == "KRW"
        && is_number(&payment["amount"], SUM)
        && (card == CARD || card.as_str().is_none_or(str::is_empty))
}

fn is_number(value: &Value, number: i64) -> bool {
    value.as_i64() == Some(number) || value.as_f64() == Some(number as f64)
}
