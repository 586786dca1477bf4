//! `POST /subscribe/payments/onetime`: a charge with the card itself.

use reqwest::Method;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::attempt::{ChargeOutcome, NotSent};
use crate::domain::card::Card;
use crate::domain::hand::OnetimeRequest;
use crate::gateway::Expected;
use crate::gateway::portone::classify::{self, ChargeAnswer};
use crate::gateway::portone::{PortOne, wire};

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

impl Expected {
    /// What this request asks for.
    pub fn of_onetime(request: &OnetimeRequest) -> Self {
        Self {
            merchant_uid: request.merchant_uid.clone(),
            customer_uid: request.customer_uid.clone(),
            money: request.money,
        }
    }
}

impl PortOne {
    /// Asks for money with the card itself, once, and stores the card if the request says so. As
    /// with `again` there is no `Err`: what can't be proved is [`ChargeOutcome::Unknown`].
    pub async fn onetime(&self, request: &OnetimeRequest, card: &Card) -> ChargeOutcome {
        let call = match self.onetime_call(request, card) {
            Ok(call) => call,
            Err(fault) => return ChargeOutcome::NotSent(NotSent::Unbuildable(fault)),
        };
        match self.send(&call).await {
            Err(none) => none.into(),
            Ok((status, body)) => {
                match classify::charge(status, &body, &Expected::of_onetime(request)) {
                    ChargeAnswer::Outcome(outcome) => outcome,
                    ChargeAnswer::Unauthorized => ChargeOutcome::NotSent(NotSent::Unauthorized),
                }
            }
        }
    }

    fn onetime_call(
        &self,
        request: &OnetimeRequest,
        card: &Card,
    ) -> Result<super::call::Call, String> {
        let mut order = wire::order(
            &request.merchant_uid,
            request.money,
            &request.name,
            &request.terms,
        )?;
        if let Some(customer_uid) = &request.customer_uid {
            order.insert("customer_uid".to_owned(), customer_uid.as_str().into());
        }
        if let Some(pg) = &request.pg {
            order.insert("pg".to_owned(), pg.as_str().into());
        }
        let body = Body {
            order: &order,
            card: CardFields::of(card),
        };
        let path = ["subscribe", "payments", "onetime"];
        self.call(Method::POST, &path).with_body(&body)
    }
}
