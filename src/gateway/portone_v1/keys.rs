//! `/subscribe/customers`: billing keys.
//!
//! Issuing a key under a name that has one replaces its card without a word; the caller looks
//! before and after.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::domain::card::Card;
use crate::domain::ids::CustomerUid;
use crate::gateway::portone_v1::client::{Answer, PortOne, found, read, unreadable};
use crate::gateway::portone_v1::onetime::CardFields;
use crate::gateway::portone_v1::wire::text_or_nothing;
use crate::gateway::{BillingKey, CallError, GatewayError, KeyOwner};

/// How a [`BillingKey`] is read off the wire.
#[derive(Deserialize)]
#[serde(remote = "BillingKey")]
struct Fields {
    customer_uid: String,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pg_provider: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pg_id: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    card_name: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    card_number: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    customer_name: Option<String>,
    #[serde(default)]
    inserted: i64,
    #[serde(default)]
    updated: i64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Key(#[serde(with = "Fields")] BillingKey);

#[derive(Serialize)]
struct Issue<'a> {
    #[serde(flatten)]
    owner: &'a KeyOwner,
    #[serde(flatten)]
    card: CardFields<'a>,
}

impl PortOne {
    pub(super) async fn register_key(
        &self,
        customer_uid: &CustomerUid,
        card: &Card,
        owner: &KeyOwner,
    ) -> Result<BillingKey, CallError> {
        let body = Issue {
            owner,
            card: CardFields::of(card),
        };
        let call = self
            .call(Method::POST, &path(customer_uid))
            .with_secret(&body)
            .map_err(GatewayError::Unreadable)?;
        let answer = self.send(&call).await?;
        match read(&answer) {
            Ok(Some(Key(key))) => Ok(key),
            Ok(None) => Err(unreadable(&answer).into()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn key_of(
        &self,
        customer_uid: &CustomerUid,
    ) -> Result<Option<BillingKey>, CallError> {
        let call = self.call(Method::GET, &path(customer_uid));
        found_one(&self.send(&call).await?)
    }

    pub(super) async fn revoke_key(
        &self,
        customer_uid: &CustomerUid,
        reason: Option<&str>,
    ) -> Result<Option<BillingKey>, CallError> {
        let mut call = self.call(Method::DELETE, &path(customer_uid));
        if let Some(reason) = reason {
            call = call.with("reason", reason);
        }
        let refused = match read(&self.send(&call).await?) {
            Err(refused @ CallError::Refused { .. }) => refused,
            answered => return answered.map(|key| key.map(|Key(key)| key)),
        };
        // The code of a refusal does not say whether the key is gone.
        match self.key_of(customer_uid).await? {
            Some(_still_there) => Err(refused),
            None => Ok(None),
        }
    }
}

fn path(customer_uid: &CustomerUid) -> [&str; 3] {
    ["subscribe", "customers", customer_uid.as_str()]
}

/// As [`found`], for the look-up of one key: there code 1 with HTTP 200 says the same. Elsewhere it
/// is a refusal like any other.
pub(super) fn found_one(answer: &Answer) -> Result<Option<BillingKey>, CallError> {
    match found(answer) {
        Err(CallError::Refused { code: 1, .. }) if answer.0 == 200 => Ok(None),
        found => found.map(|key| key.map(|Key(key)| key)),
    }
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
            found::<serde_json::Value>(&answer),
            Err(CallError::Refused { code: 1, .. })
        ));
        let answer = (404, refused);
        assert_eq!(found_one(&answer).unwrap(), None);
        assert!(found::<serde_json::Value>(&answer).unwrap().is_none());
        assert!(found::<serde_json::Value>(&(404, b"nothing here".to_vec())).is_err());
    }
}
