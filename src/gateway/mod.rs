//! The contract with whoever moves the money: [`Gateway`] is all that the rest of the program knows
//! of it, and every call that can move money is a method here.

pub(crate) mod body;
pub mod portone_v1;
mod records;

use crate::domain::attempt::{ChargeOutcome, ChargeRequest, Lookup};
use crate::domain::card::Card;
use crate::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use crate::domain::money::Money;
use crate::domain::refund::{RefundOutcome, RefundRequest};

pub use records::{
    BillingKey, BookPage, KeyChange, KeyOwner, PaymentRecord, Reservation, ReservationPage, Window,
};

/// What an attempt asked for, to hold an answer against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Our number.
    pub merchant_uid: MerchantUid,
    /// The billing key; `None` for a card that is not stored.
    pub customer_uid: Option<CustomerUid>,
    /// The sum.
    pub money: Money,
}

impl Expected {
    /// What this request asks for.
    pub fn of(request: &ChargeRequest) -> Self {
        Self {
            merchant_uid: request.merchant_uid.clone(),
            customer_uid: request.instrument.customer_uid().cloned(),
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

/// Why a call that moves no money did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer, or none that can be read. The call may have been carried out.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The gateway said no, in its own words.
    #[error("the gateway refused, code {code}: {message}")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
}

/// Whoever moves the money.
///
/// [`charge`](Self::charge) and [`refund`](Self::refund) are the only methods that move any. Each
/// asks at most once for each time it is called: a request that may have arrived is never repeated.
/// They have no `Err`, so that no `?` can drop the one answer that matters.
pub trait Gateway: Send + Sync + 'static {
    /// Gets ready what every charge needs, an access token for instance. `Err` means that a charge
    /// begun now would not leave, so none should be begun.
    fn prepare(&self) -> impl Future<Output = Result<(), GatewayError>> + Send;

    /// Asks for money, once, with a billing key or with a card.
    ///
    /// What can't be proved is [`ChargeOutcome::Unknown`]. `NotSent(Unauthorized)` says that the
    /// access token was refused, which is looked at before the request is read, and that it was
    /// renewed: the same request may be sent again at once.
    fn charge(&self, request: &ChargeRequest) -> impl Future<Output = ChargeOutcome> + Send;

    /// Gives money back, once, if the balance is the one that the request names.
    ///
    /// What can't be proved is [`RefundOutcome::Unknown`]. A refusal has to be confirmed by a look at
    /// the payment before it is believed.
    fn refund(&self, request: &RefundRequest) -> impl Future<Output = RefundOutcome> + Send;

    /// Asks what became of an attempt, by our number. `Err` is no answer; [`Lookup::NotFound`] is one,
    /// but no proof.
    fn look_up(
        &self,
        expected: &Expected,
    ) -> impl Future<Output = Result<Lookup, GatewayError>> + Send;

    /// Shows one payment, by the gateway's number. `None`: it knows none.
    fn payment(
        &self,
        imp_uid: &ImpUid,
    ) -> impl Future<Output = Result<Option<PaymentRecord>, CallError>> + Send;

    /// Shows every payment of one of our numbers, newest first.
    fn payments_of(
        &self,
        merchant_uid: &MerchantUid,
    ) -> impl Future<Output = Result<Vec<PaymentRecord>, CallError>> + Send;

    /// Reads one page, from 1, of all payments whose last change of state lies in the window, oldest
    /// first. The window is at most 90 days long.
    fn payments(
        &self,
        window: Window,
        page: u32,
    ) -> impl Future<Output = Result<BookPage, GatewayError>> + Send;

    /// Reads one page, from 1, of the charges that the gateway will make by itself in the window, which
    /// is at most 90 days long.
    fn reservations(
        &self,
        window: Window,
        page: u32,
    ) -> impl Future<Output = Result<ReservationPage, GatewayError>> + Send;

    /// The charges that the gateway will make by itself with one billing key in the window, which is
    /// at most 90 days long.
    fn reservations_of(
        &self,
        customer_uid: &CustomerUid,
        window: Window,
    ) -> impl Future<Output = Result<Vec<Reservation>, CallError>> + Send;

    /// Registers a card under a name, in place of the one that may have been there.
    fn issue_key(
        &self,
        customer_uid: &CustomerUid,
        card: &Card,
        owner: &KeyOwner,
    ) -> impl Future<Output = Result<BillingKey, CallError>> + Send;

    /// Looks a billing key up. `None`: the gateway knows none of this name.
    fn key(
        &self,
        customer_uid: &CustomerUid,
    ) -> impl Future<Output = Result<Option<BillingKey>, CallError>> + Send;

    /// Deletes a billing key, for good. `None`: there is none.
    fn delete_key(
        &self,
        customer_uid: &CustomerUid,
        reason: Option<&str>,
    ) -> impl Future<Output = Result<Option<BillingKey>, CallError>> + Send;

    /// How often an access token was asked for since the start, for the metrics.
    fn token_refreshes(&self) -> u64;
}
