//! Billing keys: which card stands behind which `customer_uid`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::card::Card;
use super::clock::seconds;

/// One billing key. Issuing another one under the same `customer_uid` replaces it silently.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) customer_uid: Box<str>,
    /// Masked.
    pub(super) card_number: Box<str>,
    pub(super) customer_id: Option<Box<str>>,
    pub(super) customer_name: Option<Box<str>>,
    pub(super) customer_tel: Option<Box<str>>,
    pub(super) customer_email: Option<Box<str>>,
    pub(super) customer_addr: Option<Box<str>>,
    pub(super) customer_postcode: Option<Box<str>>,
    pub(super) inserted_at_us: i64,
    pub(super) updated_at_us: i64,
    /// A deleted key stays behind, so that its `customer_uid` is unknown and not merely new.
    pub(super) is_deleted: bool,
}

impl Key {
    /// The key as PortOne answers it.
    pub(super) fn annotation(&self) -> Annotation<'_> {
        let card = Card::of(&self.customer_uid, Some(&self.card_number));
        Annotation {
            customer_uid: &self.customer_uid,
            pg_provider: "html5_inicis",
            pg_id: "INIBillTst",
            sandbox: true,
            customer_id: self.customer_id.as_deref(),
            card_name: card.name,
            card_code: card.code,
            card_number: card.number,
            customer_name: self.customer_name.as_deref(),
            customer_tel: self.customer_tel.as_deref(),
            customer_email: self.customer_email.as_deref(),
            customer_addr: self.customer_addr.as_deref(),
            customer_postcode: self.customer_postcode.as_deref(),
            inserted: seconds(self.inserted_at_us),
            updated: seconds(self.updated_at_us),
            ..Annotation::default()
        }
    }
}

/// Every field of the schema's `CustomerAnnotation`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Annotation<'a> {
    customer_uid: &'a str,
    pg_provider: &'static str,
    pg_id: &'static str,
    sandbox: bool,
    customer_id: Option<&'a str>,
    card_name: &'static str,
    card_code: &'static str,
    card_issuer_code: Option<&'static str>,
    card_issuer_name: Option<&'static str>,
    card_publisher_code: Option<&'static str>,
    card_publisher_name: Option<&'static str>,
    card_number: String,
    card_type: Option<i64>,
    customer_name: Option<&'a str>,
    customer_tel: Option<&'a str>,
    customer_email: Option<&'a str>,
    customer_addr: Option<&'a str>,
    customer_postcode: Option<&'a str>,
    inserted: i64,
    updated: i64,
}

/// All keys, the deleted ones too.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<Box<str>, Key>);

impl Keys {
    /// A key that is there, or was.
    pub(super) fn ever(&self, customer_uid: &str) -> Option<&Key> {
        self.0.get(customer_uid)
    }

    /// A key that can be charged.
    pub(super) fn live(&self, customer_uid: &str) -> Option<&Key> {
        self.ever(customer_uid).filter(|key| !key.is_deleted)
    }

    pub(super) fn put(&mut self, key: Key) {
        self.0.insert(key.customer_uid.clone(), key);
    }
}
