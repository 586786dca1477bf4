//! The vocabulary and the rules of money. Pure: no I/O, no clock, no `async`, no serialization.

pub mod attempt;
pub mod audit;
pub mod calendar;
pub mod card;
pub mod claim;
pub mod decline;
pub mod dunning;
pub mod ids;
pub mod money;
pub mod networks;
pub mod payment;
pub mod purpose;
pub mod rate_limit;
pub mod refund;
pub mod standstill;
pub mod state;
