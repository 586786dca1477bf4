//! PortOne V1 over HTTPS.
//!
//! A charge leaves once per call. A refused access token, which PortOne checks before it reads the
//! charge, is renewed and reported; the engine sends again, in its turn. A crash or a lost answer
//! leaves the attempt open in the database; asking is the engine's business.

mod account;
mod books;
mod classify;
mod client;
mod decline;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
mod onetime;
mod pages;
mod payments;
mod refund;
mod schedules;
mod token;
mod wire;

use reqwest::Method;

use crate::domain::attempt::{ChargeOutcome, ChargeRequest, Instrument, Lookup, NotSent};
use crate::domain::card::Card;
use crate::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use crate::domain::refund::{RefundOutcome, RefundRequest};
use crate::gateway::{
    BillingKey, BookPage, CallError, Expected, Gateway, GatewayError, KeyOwner, PaymentRecord,
    Reservation, ReservationPage, Window,
};

pub use account::account;
pub use client::{Endpoint, PortOne};

impl Gateway for PortOne {
    async fn prepare(&self) -> Result<(), GatewayError> {
        self.authorize().await
    }

    async fn charge(&self, request: &ChargeRequest) -> ChargeOutcome {
        let call = match &request.instrument {
            Instrument::BillingKey(customer_uid) => {
                wire::again(request, customer_uid).map(|body| self.again().with_json(body))
            }
            Instrument::Card { card, provider, .. } => {
                self.onetime(request, card, provider.as_deref())
            }
            Instrument::CardGone { .. } => Err("the card is not kept".to_owned()),
        };
        let call = match call {
            Ok(call) => call,
            Err(fault) => return ChargeOutcome::NotSent(NotSent::Unbuildable(fault)),
        };
        match self.send_once(&call).await {
            Ok((status, body)) => classify::charge(status, &body, &Expected::of(request)),
            Err(none) => none.into(),
        }
    }

    async fn refund(&self, request: &RefundRequest) -> RefundOutcome {
        self.cancel(request).await
    }

    async fn look_up(&self, expected: &Expected) -> Result<Lookup, GatewayError> {
        let (status, body) = self.send(&self.find_all(&expected.merchant_uid)).await?;
        classify::look_up(status, &body, expected)
    }

    async fn payment(&self, imp_uid: &ImpUid) -> Result<Option<PaymentRecord>, CallError> {
        // Without it payments of a test channel are hidden from this one call.
        let call = self
            .call(Method::GET, &["payments", imp_uid.as_str()])
            .with("include_sandbox", "true");
        payments::one(&self.send(&call).await?)
    }

    async fn payments_of(
        &self,
        merchant_uid: &MerchantUid,
    ) -> Result<Vec<PaymentRecord>, CallError> {
        payments::all(&self.send(&self.find_all(merchant_uid)).await?)
    }

    async fn payments(&self, window: Window, page: u32) -> Result<BookPage, GatewayError> {
        self.books(window, page).await
    }

    async fn reservations(
        &self,
        window: Window,
        page: u32,
    ) -> Result<ReservationPage, GatewayError> {
        self.schedules(window, page).await
    }

    async fn reservations_of(
        &self,
        customer_uid: &CustomerUid,
        window: Window,
    ) -> Result<Vec<Reservation>, CallError> {
        self.schedules_of(customer_uid, window).await
    }

    async fn issue_key(
        &self,
        customer_uid: &CustomerUid,
        card: &Card,
        owner: &KeyOwner,
    ) -> Result<BillingKey, CallError> {
        self.register_key(customer_uid, card, owner).await
    }

    async fn key(&self, customer_uid: &CustomerUid) -> Result<Option<BillingKey>, CallError> {
        self.key_of(customer_uid).await
    }

    async fn delete_key(
        &self,
        customer_uid: &CustomerUid,
        reason: Option<&str>,
    ) -> Result<Option<BillingKey>, CallError> {
        self.revoke_key(customer_uid, reason).await
    }

    fn token_refreshes(&self) -> u64 {
        self.tokens.refreshes()
    }
}
