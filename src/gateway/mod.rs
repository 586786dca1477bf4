//! The contract with whoever moves the money.

pub mod portone;

use crate::domain::attempt::{ChargeOutcome, ChargeRequest, Lookup};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Money;

/// What an attempt asked for, to hold an answer against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Our number.
    pub merchant_uid: MerchantUid,
    /// The card; `None` for one that is not stored.
    pub customer_uid: Option<CustomerUid>,
    /// The sum.
    pub money: Money,
}

impl Expected {
    /// What this request asks for.
    pub fn of(request: &ChargeRequest) -> Self {
        Self {
            merchant_uid: request.merchant_uid.clone(),
            customer_uid: Some(request.customer_uid.clone()),
            money: request.money,
        }
    }
}

/// A question that got no answer. Nothing may be concluded about any payment.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No connection, or it broke, or it took too long.
    #[error("the gateway can't be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wrong key or secret.
    #[error("the gateway refused the API key and secret: {0}")]
    Refused(String),
    /// An answer outside the contract.
    #[error("the gateway answered with something else than its contract: {0}")]
    Unreadable(String),
}

/// Whoever moves the money.
pub trait Gateway: Send + Sync + 'static {
    /// Gets ready what every charge needs, an access token for instance. `Err` means that a charge
    /// begun now would not leave, so none should be begun.
    fn prepare(&self) -> impl Future<Output = Result<(), GatewayError>> + Send;

    /// Asks for money, once. The only call in this program that moves any.
    ///
    /// There is no `Err`: what can't be proved is [`ChargeOutcome::Unknown`]. The request is never
    /// sent a second time. `NotSent(Unauthorized)` says that the access token was refused, which is
    /// looked at before anything else, and that it was renewed.
    fn charge(&self, request: &ChargeRequest) -> impl Future<Output = ChargeOutcome> + Send;

    /// Asks what became of an attempt. `Err` is no answer; [`Lookup::NotFound`] is one, but no proof.
    fn look_up(
        &self,
        expected: &Expected,
    ) -> impl Future<Output = Result<Lookup, GatewayError>> + Send;
}
