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
    /// `GET /payments/find/{merchant_uid}[/{status}]`.
    Find,
    /// `GET /payments/findAll/{merchant_uid}[/{status}]`.
    FindAll,
    /// `GET /payments/{imp_uid}`.
    Payment,
    /// `GET /payments/status/{status}`.
    Status,
}

impl Route {
    /// Whether the route reads payment records, so that it can lie about them.
    pub(super) fn is_look_up(self) -> bool {
        match self {
            Self::Find | Self::FindAll | Self::Payment | Self::Status => true,
            Self::GetToken | Self::Again => false,
        }
    }

    /// Whether the route asks for money.
    pub(super) fn is_charge(self) -> bool {
        match self {
            Self::Again => true,
            Self::GetToken | Self::Find | Self::FindAll | Self::Payment | Self::Status => false,
        }
    }
}
