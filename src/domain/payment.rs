//! What our book says of one payment, whoever asked for it.

use jiff::civil::Date;

use crate::domain::attempt::{AttemptState, ChargeCall, ChargeRequest};
use crate::domain::ids::{CustomerUid, ImpUid, SubscriptionId};
use crate::domain::money::Money;

/// Who asked for a payment, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentKind {
    /// A subscription.
    Attempt,
    /// A person, outside a subscription.
    OneOff(ChargeCall),
}

impl PaymentKind {
    /// The word for results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::OneOff(call) => call.as_str(),
        }
    }

    /// Reads the word that [`PaymentKind::as_str`] writes.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Attempt,
            Self::OneOff(ChargeCall::Onetime),
            Self::OneOff(ChargeCall::Again),
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// What our book says of one `merchant_uid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookPayment {
    /// Who asked for it.
    pub kind: PaymentKind,
    /// How far it has come.
    pub state: AttemptState,
    /// The sum.
    pub money: Money,
    /// The billing key, if it is stored.
    pub customer_uid: Option<CustomerUid>,
    /// Whose debt it was.
    pub subscription: Option<SubscriptionId>,
    /// Which period's.
    pub period: Option<Date>,
    /// The gateway's number.
    pub imp_uid: Option<ImpUid>,
    /// Class of the decline, or kind of doubt.
    pub reason: Option<String>,
    /// The provider's code.
    pub code: Option<String>,
    /// What the gateway said.
    pub message: Option<String>,
    /// How much was given back, as far as we know, in minor units.
    pub cancelled_amount: i64,
    /// The tax-free part of the amount, if it has one.
    pub tax_free: Option<i64>,
    /// The value-added tax of the amount, if it is given.
    pub vat_amount: Option<i64>,
    /// What our refunds have given back, in sum and in parts.
    pub given_back: GivenBack,
}

/// What our own refunds of a payment have given back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct GivenBack {
    /// In all.
    pub amount: i64,
    /// Of it, tax-free.
    pub tax_free: i64,
    /// Value-added tax within it.
    pub vat_amount: i64,
}

impl BookPayment {
    /// Whether this charge and the one in the book are the same, so that it has been asked for before.
    pub fn is_same_as(&self, charge: &ChargeRequest) -> bool {
        self.kind == PaymentKind::OneOff(charge.instrument.call())
            && self.money == charge.money
            && self.customer_uid.as_ref() == charge.instrument.customer_uid()
    }
}
