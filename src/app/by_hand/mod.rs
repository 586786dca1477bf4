//! What a person charges, looks at and gives back by hand: the operations of PortOne's guide.
//!
//! A card comes in by prompt or standard input and leaves in one request. Everything that moves
//! money is written down before it leaves, as in the daemon.

mod ask;
mod charge;
mod first;
mod key;
mod name;
mod payment;
mod read_card;
mod refund;
mod result;

pub(super) use charge::charge;
pub(super) use key::billing_key;
pub(super) use payment::payment;
pub(super) use refund::refund;

use crate::app::{Exit, Failure};
use crate::gateway::{CallError, GatewayError};

/// Something stands against it.
fn not_done(complaint: impl Into<String>) -> Failure {
    Failure {
        exit: Exit::NotDone,
        error: anyhow::Error::msg(complaint.into()),
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Self::new(Exit::Gateway, error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match &error {
            CallError::Gateway(_) => Exit::Gateway,
            CallError::Refused { .. } => Exit::Declined,
        };
        Self::new(exit, error)
    }
}
