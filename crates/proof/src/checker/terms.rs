//! What was agreed for one run: the daemons' settings, and what was done to them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The rules that the daemons were given, and what the judge must know of the faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that was done to the world, whatever the others are"
)]
pub struct Terms {
    /// How long a claim holds.
    pub lease: Duration,
    /// How long a daemon waits for the gateway.
    pub call_timeout: Duration,
    /// How much longer a lease must last for a call to be begun.
    pub call_margin: Duration,
    /// How long after sending a charge may still turn up in the gateway's books.
    pub settle: Duration,
    /// How many "not found" are needed after that before the same number is sent again.
    pub not_found_min: u16,
    /// Requests per second over all daemons; 0 for no cap.
    pub rate_per_second: u32,
    /// How many waits each ladder has, by the class of the decline as the book writes it
    /// (`soft_funds`, `issuer_call`, …). A class without an entry takes no rung.
    pub rungs: BTreeMap<String, u16>,
    /// The database roles of the daemons. Every other role is a person.
    pub daemons: Vec<String>,
    /// Daemons that were killed and not merely stopped, if their heirs could reach both the
    /// database and the gateway from then on.
    pub deaths: Vec<Death>,
    /// Whether a daemon was frozen, perhaps between the last look at its lease and the first byte of its
    /// request, which then leaves later than the lease allows.
    pub froze: bool,
    /// Whether a fail-over lost commits.
    pub lost_tail: bool,
    /// Whether look-ups said "failed" for approved charges. Doubles are then no violation if the
    /// auditor's findings name them.
    pub looks_lie: bool,
    /// Whether a person changed sums beside a fail-over that lost commits. A name that was forgotten may come
    /// again with another sum then; if it was paid, that is refused, and waits for a person.
    pub repriced: bool,
}

/// A daemon that was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its database role.
    pub role: String,
    /// When, on the wall clock of this machine in unix microseconds.
    pub at_us: i64,
}
