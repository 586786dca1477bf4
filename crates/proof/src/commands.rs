//! What a person types beside the daemons that moves money: one-off charges and refunds.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::failpoint::Failpoint;

/// `billd charge`, outside any subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OneOff {
    /// The person's own number for it.
    pub(super) merchant_uid: String,
    /// The billing key; `None` charges the card itself.
    pub(super) customer_uid: Option<String>,
    /// In won.
    pub(super) amount: i64,
    /// How it is run.
    #[serde(flatten)]
    pub(super) typed: Typed,
}

/// `billd refund` of something that was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refund {
    /// Whether a one-off charge is given back, or a subscription's payment.
    pub(super) of_one_off: bool,
    /// Which of them, in the order of their cards.
    pub(super) nth: u8,
    /// How much of it; `None` is all that is left.
    pub(super) percent: Option<u8>,
    /// How it is run.
    #[serde(flatten)]
    pub(super) typed: Typed,
}

/// How a command is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Typed {
    /// How often, word for word the same.
    pub(super) times: u8,
    /// Whether one does not wait for the one before.
    pub(super) at_once: bool,
    /// Where the first one dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) point: Option<String>,
}

/// An impatient person runs a command again.
fn typed(point: Option<Failpoint>, rng: &mut Rng) -> Typed {
    Typed {
        times: *rng.choice(&[1, 1, 2, 3]).unwrap_or(&1),
        at_once: rng.bool(),
        point: point.map(|point| point.name().to_owned()),
    }
}

/// What a card of nobody's subscription does, as a part of its name says.
const WORDS: [&str; 10] = [
    "card",
    "card",
    "card",
    "decline-balance",
    "decline-stolen",
    "drop-after-approval-once",
    "error-after-approval-once",
    "silent-after-approval-once",
    "drop-before-approval-once",
    "cut-body-once",
];

/// Some one-off charges, numbered from `first`. The first of them dies at the point.
pub(super) fn one_offs(
    first: usize,
    cards: &[String],
    point: Option<Failpoint>,
    rng: &mut Rng,
) -> Vec<OneOff> {
    let count = rng.usize(2..=4);
    (0..count)
        .map(|nth| {
            let number = first.saturating_add(nth);
            let word = rng.choice(&WORDS).copied().unwrap_or("card");
            let of_nobody = format!("{word}-one-off-{number}");
            let customer_uid = match rng.u8(0..4) {
                // The card of a subscription, perhaps while that is charged.
                0 => rng.choice(cards).cloned(),
                1 => None,
                _ => Some(of_nobody),
            };
            OneOff {
                merchant_uid: format!("proof{number}"),
                customer_uid,
                amount: i64::from(rng.u32(1..=200)).saturating_mul(100),
                typed: typed(point.filter(|_| nth == 0), rng),
            }
        })
        .collect()
}

/// Some refunds. The first of them dies at the point.
pub(super) fn refunds(point: Option<Failpoint>, rng: &mut Rng) -> Vec<Refund> {
    let count = rng.usize(2..=4);
    (0..count)
        .map(|nth| Refund {
            of_one_off: rng.u8(0..3) == 0,
            // Few, so that some are given back in several parts.
            nth: rng.u8(0..3),
            percent: *rng.choice(&[None, Some(30), Some(50)]).unwrap_or(&None),
            typed: typed(point.filter(|_| nth == 0), rng),
        })
        .collect()
}
