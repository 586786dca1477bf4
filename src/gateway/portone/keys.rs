//! `/subscribe/customers`: billing keys, and the reservations that hang on them.
//!
//! Issuing a key under a name that has one replaces its card without a word; the caller looks
//! before and after.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::domain::card::Card;
use crate::domain::ids::CustomerUid;
use crate::gateway::GatewayError;
use crate::gateway::portone::PortOne;
use crate::gateway::portone::call::{Answer, CallError, opened};
use crate::gateway::portone::onetime::CardFields;
use crate::gateway::portone::wire::{Envelope, text_or_nothing};

/// A billing key as PortOne describes it. The card's number is masked by PortOne.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingKey {
    /// The merchant's name for it.
    pub customer_uid: String,
    /// The provider that holds it.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub pg_provider: Option<String>,
    /// The merchant's number at that provider.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub pg_id: Option<String>,
    /// The issuer's name.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub card_name: Option<String>,
    /// Masked.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub card_number: Option<String>,
    /// The cardholder's name, as the merchant gave it.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub customer_name: Option<String>,
    /// Unix seconds of the first registration.
    #[serde(default)]
    pub inserted: i64,
    /// Unix seconds of the latest one; another second than `inserted` means that the card changed.
    #[serde(default)]
    pub updated: i64,
}

/// Whose card it is, and where it is to be registered. `None` is not sent.
#[derive(Default, Serialize)]
pub struct KeyOwner {
    /// The channel; PortOne has begun to require it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_key: Option<String>,
    /// `provider` or `provider.MID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pg: Option<String>,
    /// The cardholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_name: Option<String>,
    /// The cardholder's telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_tel: Option<String>,
    /// The cardholder's mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
}

#[derive(Serialize)]
struct Issue<'a> {
    #[serde(flatten)]
    owner: &'a KeyOwner,
    #[serde(flatten)]
    card: CardFields<'a>,
}

/// A charge that PortOne will make by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its number.
    pub merchant_uid: String,
    /// Unix seconds.
    pub schedule_at: i64,
    /// `scheduled`, `executed` or `revoked`.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub schedule_status: Option<String>,
}

/// Some answers hold a list, others a page of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reservations {
    List(Vec<Reservation>),
    Page { list: Vec<Reservation> },
}

/// Keys per look-up: PortOne's limit for payments, and what the sandbox takes.
pub(super) const BATCH_MAX: usize = 100;

const PATH: [&str; 2] = ["subscribe", "customers"];

impl PortOne {
    /// Registers a card under a name, in place of the one that may have been there.
    pub async fn issue_key(
        &self,
        customer_uid: &CustomerUid,
        card: &Card,
        owner: &KeyOwner,
    ) -> Result<BillingKey, CallError> {
        let [first, second] = PATH;
        let body = Issue {
            owner,
            card: CardFields::of(card),
        };
        let call = self
            .call(Method::POST, &[first, second, customer_uid.as_str()])
            .with_body(&body)
            .map_err(GatewayError::Unreadable)?;
        let answer = self.send(&call).await?;
        match read(&answer) {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(unreadable(&answer).into()),
            Err(error) => Err(error),
        }
    }

    /// Looks a billing key up. `None`: PortOne knows none of this name.
    pub async fn key(&self, customer_uid: &CustomerUid) -> Result<Option<BillingKey>, CallError> {
        let [first, second] = PATH;
        let call = self.call(Method::GET, &[first, second, customer_uid.as_str()]);
        found_one(&self.send(&call).await?)
    }

    /// Looks several billing keys up; those that PortOne does not know are left out.
    pub async fn keys(&self, customer_uids: &[CustomerUid]) -> Result<Vec<BillingKey>, CallError> {
        let mut keys = Vec::with_capacity(customer_uids.len());
        for batch in customer_uids.chunks(BATCH_MAX) {
            let mut call = self.call(Method::GET, &PATH);
            for customer_uid in batch {
                call = call.with("customer_uid[]", customer_uid.as_str());
            }
            keys.extend(found::<Vec<BillingKey>>(&self.send(&call).await?)?.unwrap_or_default());
        }
        Ok(keys)
    }

    /// Deletes a billing key, for good. `None`: there is none.
    pub async fn delete_key(
        &self,
        customer_uid: &CustomerUid,
        reason: Option<&str>,
    ) -> Result<Option<BillingKey>, CallError> {
        let [first, second] = PATH;
        let mut call = self.call(Method::DELETE, &[first, second, customer_uid.as_str()]);
        if let Some(reason) = reason {
            call = call.with("reason", reason);
        }
        let refused = match read(&self.send(&call).await?) {
            Err(refused @ CallError::Refused { .. }) => refused,
            answered => return answered,
        };
        // The code of a refusal does not say whether the key is gone.
        match self.key(customer_uid).await? {
            Some(_still_there) => Err(refused),
            None => Ok(None),
        }
    }

    /// The charges that PortOne itself will make with a billing key within a window, at most some
    /// three months wide, in Unix seconds.
    pub async fn reservations_of(
        &self,
        customer_uid: &CustomerUid,
        from: i64,
        to: i64,
    ) -> Result<Vec<Reservation>, CallError> {
        let [first, second] = PATH;
        let path = [first, second, customer_uid.as_str(), "schedules"];
        let call = self
            .call(Method::GET, &path)
            .with("from", &from.to_string())
            .with("to", &to.to_string())
            .with("schedule-status", "scheduled");
        let found: Option<Reservations> = found(&self.send(&call).await?)?;
        Ok(match found {
            Some(Reservations::List(list) | Reservations::Page { list }) => list,
            None => Vec::new(),
        })
    }
}

/// The response, if the envelope holds one that can be read.
fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Option<T>, CallError> {
    opened(answer)?;
    let envelope: Envelope<T> =
        serde_json::from_slice(&answer.1).map_err(|_other_shape| unreadable(answer))?;
    Ok(envelope.response)
}

/// As [`read`]; PortOne says with HTTP 404 that there is nothing.
fn found<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Option<T>, CallError> {
    match read(answer) {
        Err(CallError::Refused { .. }) if answer.0 == 404 => Ok(None),
        read => read,
    }
}

/// As [`found`], for the look-up of one key: there code 1 with HTTP 200 says the same. Elsewhere it
/// is a refusal like any other.
fn found_one(answer: &Answer) -> Result<Option<BillingKey>, CallError> {
    match found(answer) {
        Err(CallError::Refused { code: 1, .. }) if answer.0 == 200 => Ok(None),
        found => found,
    }
}

fn unreadable((status, body): &Answer) -> GatewayError {
    GatewayError::Unreadable(format!("HTTP {status}, {} bytes", body.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Hazard: "please try again", said with code 1, is taken for "no reservations hang on this key",
    /// and the key is deleted or charged beside them.
    #[test]
    fn code_1_means_absent_only_where_one_key_is_looked_up() {
        let refused = json!({"code": 1, "message": "잠시 후 다시", "response": null});
        let refused = serde_json::to_vec(&refused).unwrap();
        let answer = (200, refused.clone());
        assert_eq!(found_one(&answer).unwrap(), None);
        assert!(matches!(
            found::<Reservations>(&answer),
            Err(CallError::Refused { code: 1, .. })
        ));
        let answer = (404, refused);
        assert_eq!(found_one(&answer).unwrap(), None);
        assert!(found::<Reservations>(&answer).unwrap().is_none());
        assert!(found::<Reservations>(&(404, b"nothing here".to_vec())).is_err());
    }
}
