//! Looking at payments, for people: every record, as PortOne shows it.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use crate::domain::card::blotted;
use crate::domain::ids::{ImpUid, MerchantUid};
use crate::gateway::GatewayError;
use crate::gateway::portone::PortOne;
use crate::gateway::portone::call::{Answer, CallError, opened};
use crate::gateway::portone::wire::{Envelope, text_or_nothing};

/// One payment as PortOne shows it, without the buyer's details. Sums are as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRecord {
    /// PortOne's number.
    pub imp_uid: String,
    /// The merchant's number.
    pub merchant_uid: String,
    /// `ready`, `paid`, `cancelled` or `failed`.
    pub status: String,
    /// What was asked for.
    pub amount: Number,
    /// How much of it was given back.
    #[serde(default)]
    pub cancel_amount: Option<Number>,
    /// Three letters.
    pub currency: String,
    /// The billing key, if one was charged or issued.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub customer_uid: Option<String>,
    /// What the buyer's statement says.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub name: Option<String>,
    /// The provider behind PortOne.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub pg_provider: Option<String>,
    /// The provider's number.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub pg_tid: Option<String>,
    /// The issuer's name.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub card_name: Option<String>,
    /// Masked by PortOne.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub card_number: Option<String>,
    /// Why it failed, without a card number that the provider may have quoted.
    #[serde(default, deserialize_with = "blotted_or_nothing")]
    pub fail_reason: Option<String>,
    /// Unix seconds; 0 if it did not happen.
    #[serde(default)]
    pub started_at: i64,
    /// Unix seconds; 0 if it did not happen.
    #[serde(default)]
    pub paid_at: i64,
    /// Unix seconds; 0 if it did not happen.
    #[serde(default)]
    pub failed_at: i64,
    /// Unix seconds; 0 if it did not happen.
    #[serde(default)]
    pub cancelled_at: i64,
    /// Where the buyer's receipt is shown.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub receipt_url: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    list: Vec<PaymentRecord>,
}

impl PortOne {
    /// Looks one payment up by PortOne's number. `None`: it knows none.
    pub async fn payment(&self, imp_uid: &ImpUid) -> Result<Option<PaymentRecord>, CallError> {
        // Without it payments of a test channel are hidden from this one call.
        let call = self
            .call(Method::GET, &["payments", imp_uid.as_str()])
            .with("include_sandbox", "true");
        found(&self.send(&call).await?)
    }

    /// Looks all payments of one merchant's number up, newest first.
    pub async fn payments_of(
        &self,
        merchant_uid: &MerchantUid,
    ) -> Result<Vec<PaymentRecord>, CallError> {
        let call = self
            .call(Method::GET, &["payments", "findAll", merchant_uid.as_str()])
            .with("limit", "1000")
            .with("sorting", "-started");
        let page: Option<Page> = found(&self.send(&call).await?)?;
        Ok(page.map(|page| page.list).unwrap_or_default())
    }
}

fn blotted_or_nothing<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(text_or_nothing(deserializer)?.map(|text| blotted(&text)))
}

fn found<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Option<T>, CallError> {
    match opened(answer) {
        Err(CallError::Refused { .. }) if answer.0 == 404 => return Ok(None),
        opened => opened?,
    }
    let envelope: Envelope<T> = serde_json::from_slice(&answer.1).map_err(|_other_shape| {
        GatewayError::Unreadable(format!("HTTP {}, {} bytes", answer.0, answer.1.len()))
    })?;
    Ok(envelope.response)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Hazard: `billd payment show` prints the card number that a provider quotes in its refusal.
    #[test]
    fn a_failed_payment_is_shown_without_the_card_number() {
        let record: PaymentRecord = serde_json::from_value(json!({
            "imp_uid": "imp_1", "merchant_uid": "a1", "status": "failed", "amount": 9900,
            "currency": "KRW", "fail_reason": "[1214]카드번호 4111-1111-1111-7293 오류",
        }))
        .unwrap();
        assert_eq!(record.fail_reason.as_deref(), Some("[1214]카드번호 …오류"));
    }
}
