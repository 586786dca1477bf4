//! The ledger: which money moved, in which order. The judge of every test.

use serde::{Deserialize, Serialize};

use super::payment::Payment;

/// One approval: money moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// From 1, without gaps, in the order in which the money moved.
    pub sequence: u64,
    /// The merchant's number.
    pub merchant_uid: String,
    /// The card; empty for a payment by card number alone.
    pub customer_uid: String,
    /// In whole units of the currency; cents are left out.
    pub amount: i64,
    /// Its currency.
    pub currency: String,
    /// The sandbox's number.
    pub imp_uid: String,
    /// When the request came, in unix microseconds of the sandbox's clock.
    pub requested_at_us: i64,
    /// When the money moved, in unix microseconds of the sandbox's clock.
    pub approved_at_us: i64,
}

impl LedgerEntry {
    pub(super) fn new(sequence: u64, payment: &Payment) -> Self {
        let order = &payment.order;
        Self {
            sequence,
            merchant_uid: order.merchant_uid.to_string(),
            customer_uid: order.customer_uid.as_deref().unwrap_or_default().to_owned(),
            amount: order.amount.whole(),
            currency: order.currency().to_owned(),
            imp_uid: payment.imp_uid(),
            requested_at_us: payment.started_at_us,
            approved_at_us: payment.paid_at_us,
        }
    }
}
