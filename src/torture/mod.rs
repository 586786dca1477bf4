//! Proof: real daemons are injured by plan, and afterwards two ledgers are compared.
//!
//! The gateway's request log says what was asked for and when; the journal of the book says what was
//! written, by whom and when it was committed. [`checker`] holds one against the other. It knows
//! nothing of the program that it judges.

pub mod checker;
pub mod ledger;
mod plan;

pub use self::plan::Plan;
