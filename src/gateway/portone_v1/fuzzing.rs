//! What `fuzz` drives: everything that reads an answer of the gateway.

use crate::domain::attempt::{ChargeOutcome, Lookup};
use crate::domain::refund::{RefundOutcome, RefundRequest};
use crate::gateway::portone_v1::{books, classify, keys, payments, refund, schedules, token};
use crate::gateway::{Expected, GatewayError};

/// What one answer proves to each who could have asked for it.
#[derive(Debug)]
pub struct Proved {
    /// As the answer to a charge.
    pub charge: ChargeOutcome,
    /// As the answer to a look-up.
    pub look_up: Result<Lookup, GatewayError>,
    /// As the answer to a refund.
    pub refund: RefundOutcome,
}

/// Reads an answer as every call reads its own. What only shows or compares is read for its panics.
pub fn read(status: u16, body: &[u8], expected: &Expected, request: &RefundRequest) -> Proved {
    let answer = (status, body.to_vec());
    drop(books::book_page(&answer));
    drop(schedules::reservation_page(&answer));
    drop(keys::found_one(&answer));
    drop(payments::one(&answer));
    drop(payments::all(&answer));
    drop(token::granted(status, body));
    Proved {
        charge: classify::charge(status, body, expected),
        look_up: classify::look_up(status, body, expected),
        refund: refund::classify(&answer, request),
    }
}
