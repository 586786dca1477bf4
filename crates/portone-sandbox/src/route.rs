//! The names of the routes, for faults and counters.

use serde::{Deserialize, Serialize};

/// A route of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Route {
    /// `POST /users/getToken`.
    GetToken,
    /// `POST /subscribe/payments/again`.
    Again,
    /// `POST /subscribe/payments/onetime`.
    Onetime,
    /// `GET /payments/find/{merchant_uid}[/{status}]`.
    Find,
    /// `GET /payments/findAll/{merchant_uid}[/{status}]`.
    FindAll,
    /// `GET /payments/{imp_uid}`.
    Payment,
    /// `GET /payments`.
    Payments,
    /// `GET /payments/status/{status}`.
    Status,
    /// `POST /payments/cancel`.
    Cancel,
    /// `/subscribe/customers` and what is below it, but for the history.
    Customers,
    /// `GET /subscribe/customers/{customer_uid}/payments`.
    CustomerPayments,
    /// `/subscribe/payments/schedule` and what is below it, but for the retry.
    Schedule,
    /// `POST /subscribe/payments/unschedule`.
    Unschedule,
    /// `POST /subscribe/payments/schedule/{merchant_uid}/retry`.
    Retry,
}

impl Route {
    /// Whether the route reads payment records, so that it can lie about them.
    pub(super) fn is_look_up(self) -> bool {
        match self {
            Self::Find
            | Self::FindAll
            | Self::Payment
            | Self::Payments
            | Self::Status
            | Self::CustomerPayments => true,
            Self::GetToken
            | Self::Again
            | Self::Onetime
            | Self::Cancel
            | Self::Customers
            | Self::Schedule
            | Self::Unschedule
            | Self::Retry => false,
        }
    }

    /// Whether the route asks for money.
    pub(super) fn is_charge(self) -> bool {
        match self {
            Self::Again | Self::Onetime | Self::Retry => true,
            Self::GetToken
            | Self::Find
            | Self::FindAll
            | Self::Payment
            | Self::Payments
            | Self::Status
            | Self::Cancel
            | Self::Customers
            | Self::CustomerPayments
            | Self::Schedule
            | Self::Unschedule => false,
        }
    }
}
