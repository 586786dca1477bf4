//! Looking at payments, for people: every record, as PortOne shows it.

use reqwest::Method;
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use crate::domain::card::redacted;
use crate::domain::ids::MerchantUid;
use crate::gateway::portone_v1::client::{Answer, Call, PortOne, found};
use crate::gateway::portone_v1::wire::text_or_nothing;
use crate::gateway::{CallError, PaymentRecord};

/// How a [`PaymentRecord`] is read off the wire.
#[derive(Deserialize)]
#[serde(remote = "PaymentRecord")]
struct Fields {
    imp_uid: String,
    merchant_uid: String,
    status: String,
    amount: Number,
    #[serde(default)]
    cancel_amount: Option<Number>,
    currency: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    customer_uid: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pg_provider: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pg_tid: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    card_name: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    card_number: Option<String>,
    #[serde(default, deserialize_with = "redacted_or_nothing")]
    fail_reason: Option<String>,
    #[serde(default)]
    started_at: i64,
    #[serde(default)]
    paid_at: i64,
    #[serde(default)]
    failed_at: i64,
    #[serde(default)]
    cancelled_at: i64,
    #[serde(default, deserialize_with = "text_or_nothing")]
    receipt_url: Option<String>,
}

#[derive(Deserialize)]
struct Record(#[serde(with = "Fields")] PaymentRecord);

#[derive(Deserialize)]
struct Page {
    list: Vec<Record>,
}

impl PortOne {
    /// `GET /payments/findAll/{merchant_uid}`, newest first.
    pub(super) fn find_all(&self, merchant_uid: &MerchantUid) -> Call {
        self.call(Method::GET, &["payments", "findAll", merchant_uid.as_str()])
            .with("limit", "1000")
            .with("sorting", "-started")
    }
}

/// The payment of an answer; `None` if PortOne knows none.
pub(super) fn one(answer: &Answer) -> Result<Option<PaymentRecord>, CallError> {
    let found: Option<Record> = found(answer)?;
    Ok(found.map(|Record(payment)| payment))
}

/// The payments of an answer.
pub(super) fn all(answer: &Answer) -> Result<Vec<PaymentRecord>, CallError> {
    let page: Option<Page> = found(answer)?;
    let list = page.map(|page| page.list).unwrap_or_default();
    Ok(list.into_iter().map(|Record(payment)| payment).collect())
}

fn redacted_or_nothing<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(text_or_nothing(deserializer)?.map(|text| redacted(&text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Hazard: `billd payment show` prints the card number that a provider quotes in its refusal.
    #[test]
    fn a_failed_payment_is_shown_without_the_card_number() {
        let Record(record) = serde_json::from_value(json!({
            "imp_uid": "imp_1", "merchant_uid": "a1", "status": "failed", "amount": 9900,
            "currency": "KRW", "fail_reason": "[1214]카드번호 4111-1111-1111-7293 오류",
        }))
        .unwrap();
        assert_eq!(record.fail_reason.as_deref(), Some("[1214]카드번호 …오류"));
    }
}
