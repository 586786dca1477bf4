//! Injures real daemons by a seeded plan, then compares two ledgers: the gateway's and the book's.

mod plan;

pub use self::plan::Plan;
