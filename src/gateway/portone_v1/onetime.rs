//! The body of `POST /subscribe/payments/onetime`: a charge with the card itself.

use reqwest::Method;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::attempt::ChargeRequest;
use crate::domain::card::Card;
use crate::gateway::portone_v1::client::{Call, PortOne};
use crate::gateway::portone_v1::wire;

/// The order and the card. The card's parts are borrowed, never copied into another value.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    order: &'a Map<String, Value>,
    #[serde(flatten)]
    card: CardFields<'a>,
}

/// A card on the wire.
#[derive(Serialize)]
pub(super) struct CardFields<'a> {
    card_number: &'a str,
    expiry: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    birth: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pwd_2digit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cvc: Option<&'a str>,
}

impl<'a> CardFields<'a> {
    pub(super) fn of(card: &'a Card) -> Self {
        Self {
            card_number: card.number.expose_secret(),
            expiry: card.expiry.expose_secret(),
            birth: card.birth.as_ref().map(ExposeSecret::expose_secret),
            pwd_2digit: card.password.as_ref().map(ExposeSecret::expose_secret),
            cvc: card.cvc.as_ref().map(ExposeSecret::expose_secret),
        }
    }
}

impl PortOne {
    /// The request with the card in it, or what is wrong with it.
    pub(super) fn onetime(
        &self,
        request: &ChargeRequest,
        card: &Card,
        provider: Option<&str>,
    ) -> Result<Call, String> {
        let mut order = wire::order(request)?;
        if let Some(customer_uid) = request.instrument.customer_uid() {
            order.insert("customer_uid".to_owned(), customer_uid.as_str().into());
        }
        if let Some(provider) = provider {
            order.insert("pg".to_owned(), provider.into());
        }
        let body = Body {
            order: &order,
            card: CardFields::of(card),
        };
        let path = ["subscribe", "payments", "onetime"];
        self.call(Method::POST, &path).with_secret(&body)
    }
}
