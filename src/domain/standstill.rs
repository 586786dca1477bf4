//! Why a book doesn't charge, though database and gateway may answer.

use std::fmt;
use std::time::Duration;

/// Why nothing is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standstill {
    /// Which kind.
    pub reason: Reason,
    /// All of it, for people.
    pub says: String,
    /// How long it lasts, if that is known.
    pub left: Option<Duration>,
}

words! {
    /// Kinds of standstill, as the view `billd.charging` names them.
    pub enum Reason {
        /// A person switched charging off, or a ceiling did.
        Stopped = "stopped",
        /// The server has changed, and what was under way may not have ended.
        FailoverHold = "fail-over hold",
        /// The database is not the home of the book.
        Elsewhere = "elsewhere",
        /// billd's clock is moved, and the gateway is no sandbox.
        Clock = "clock",
        /// The gateway's key is of another merchant account than the book's, whose payments it does not know.
        OtherAccount = "account",
    }
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}
