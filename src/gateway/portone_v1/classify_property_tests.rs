use proptest::prelude::*;
use serde_json::{Value, json};

use super::{edited, fixture, paid_but, said_of_charge, said_of_look_up};

fn proves_something(said: &str) -> bool {
    ["paid", "declined", "not sent", "failed"]
        .iter()
        .any(|proof| said.starts_with(proof))
}

/// Numbers, texts and anything else that may stand where a number or a text should.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,45}".prop_map(Value::from),
        Just(Value::Null),
    ]
}

proptest! {
    #[test]
    fn noise_proves_nothing(status: u16, body: Vec<u8>) {
        prop_assert!(!proves_something(&said_of_charge(status, &body)));
        prop_assert!(!proves_something(&said_of_look_up(status, &body)));
    }

    #[test]
    fn json_outside_the_contract_proves_nothing(
        status in prop_oneof![Just(200_u16), any::<u16>()],
        code in any_value(),
        response in any_value(),
    ) {
        let body = serde_json::to_vec(&json!({ "code": code, "response": response })).unwrap();
        prop_assert!(!proves_something(&said_of_charge(status, &body)));
        prop_assert!(!proves_something(&said_of_look_up(status, &body)));
    }

    #[test]
    fn a_cut_answer_proves_nothing(status: u16, cut: prop::sample::Index) {
        for file in ["again_paid.json", "again_failed_soft_funds.json", "find_all_failed.json"] {
            let body = fixture(file);
            let text = body.trim_ascii_end();
            let cut = cut.index(text.len());
            for status in [200, status] {
                let said = said_of_charge(status, &text[..cut]);
                prop_assert!(!proves_something(&said), "{said}");
                let said = said_of_look_up(status, &text[..cut]);
                prop_assert!(!proves_something(&said), "{said}");
            }
        }
    }

    #[test]
    fn a_changed_number_sum_currency_or_card_is_never_paid(
        field in prop::sample::select(vec!["merchant_uid", "amount", "currency", "customer_uid"]),
        value in any_value(),
    ) {
        let asked = json!({
            "merchant_uid": "0198c0de4b1a7f3e9d2c5a6b7c8d9e0f26033101",
            "amount": 9900,
            "currency": "KRW",
            "customer_uid": "cust_7f3a",
        });
        // An absent card is tolerated, and what is no text counts as absent.
        let is_absent_card = field == "customer_uid" && value.as_str().is_none_or(str::is_empty);
        prop_assume!(value != asked[field] && value.as_f64() != Some(9900.0) && !is_absent_card);
        let body = paid_but(|payment| payment[field] = value.clone());
        prop_assert_ne!(said_of_charge(200, &body), "paid");
        let page = edited("find_all_paid_among_failed.json", |answer| {
            answer["response"]["list"][1][field] = value;
        });
        let said = said_of_look_up(200, &page);
        prop_assert!(!proves_something(&said), "{said}");
    }
}
