//! What one seed does: a book, daemons, and one or two injuries. A pure function of the seed.

use serde::{Deserialize, Serialize};

use crate::commands::{OneOff, Refund};
use crate::wishes::{Save, Wish};
use portone_sandbox::FaultKind;

/// Everything that is decided before a seed runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// How many daemons work on the book.
    pub(super) daemons: u8,
    /// Whether they all believe to run on the same host.
    pub(super) same_host_name: bool,
    /// Whether a pooler in transaction mode stands between them and the database.
    pub(super) pooler: bool,
    /// Charges per second over all daemons; 0 is no cap.
    pub(super) rate_per_second: u32,
    /// Whether a refused repeat leaves a failed record at the gateway.
    pub(super) refusals_recorded: bool,
    /// How long the gateway mostly thinks, in milliseconds.
    pub(super) latency_ms: u32,
    /// Who owes what.
    pub(super) book: Vec<Card>,
    /// What goes wrong.
    pub(super) injuries: Vec<Planned>,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Card {
    /// Its name tells the sandbox how the card behaves.
    pub(super) customer_uid: String,
    /// In won.
    pub(super) amount: i64,
    /// Day, week or month.
    pub(super) interval_unit: String,
    /// How many periods before the current one are due, too.
    pub(super) periods_behind: u8,
    /// How long after the start the current period falls due.
    pub(super) due_in_ms: u32,
    /// Whether its periods begin on the last day of each month, whatever its number.
    pub(super) on_last_day: bool,
}

/// Which daemon, from 0.
pub(super) type Which = u8;

/// An injury and its time, in milliseconds since the daemons were started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Planned {
    pub(super) at_ms: u32,
    #[serde(flatten)]
    pub(super) injury: Injury,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "injury", rename_all = "snake_case")]
pub(super) enum Injury {
    /// The process dies at a named point, the n-th time it gets there.
    Crash {
        daemon: Which,
        point: String,
        visit: u32,
    },
    /// `kill -9`, and a new process after a while.
    Kill { daemon: Which, away_ms: u32 },
    /// SIGSTOP, and SIGCONT after a while.
    Freeze { daemon: Which, for_ms: u32 },
    /// SIGTERM with calls in flight, and a new process.
    Terminate { daemon: Which },
    /// The gateway misbehaves for a while, to a share of the requests.
    Gateway {
        kind: FaultKind,
        for_ms: u32,
        share: f64,
        /// How late, for a slow answer or a late look-up.
        by_ms: u32,
    },
    /// Every connection of a daemon to its database is cut.
    Cut { daemon: Which },
    /// The server ends every connection of a daemon.
    TerminateBackends { daemon: Which },
    /// The server restarts as after a crash.
    Restart,
    /// A statement is carried out and its answer is lost.
    SwallowReply {
        daemon: Which,
        statement: String,
        times: u32,
    },
    /// Sockets stay open and silent.
    HalfOpen { daemon: Which, for_ms: u32 },
    /// New connections are refused, old ones cut.
    Refuse { daemon: Which, for_ms: u32 },
    /// Somebody takes every connection that the server has.
    Exhaust { for_ms: u32 },
    /// Somebody locks rows of the book, so that statements run into their limits.
    LockRows { for_ms: u32, share: f64 },
    /// A statement of somebody's holds an old snapshot open to the end.
    PinSnapshot,
    /// One row can't be written for a while.
    PoisonRow { for_ms: u32 },
    /// The server is lost, and with it what was committed in the last moments; a standby takes over.
    FailOver { lost_ms: u32 },
    /// A daemon's wall clock is off from the start, and steps once.
    Clock {
        daemon: Which,
        off_s: i32,
        step_s: i32,
    },
    /// A person types.
    Person { deed: Deed, share: f64 },
    /// A person charges a card outside any subscription.
    OneOff(OneOff),
    /// A person gives money back.
    Refund(Refund),
    /// A person calls a verb of the schema.
    Wish(Wish),
    /// A program saves whole rows that it has read earlier.
    Save(Save),
}

/// What a person does to rows that are being charged, or beside the daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deed {
    /// Paused, and active again after a moment.
    Pause,
    /// Cancelled for good.
    Cancel,
    /// Another amount.
    Reprice,
    /// Deleted, where the book lets him.
    Delete,
    /// `next_charge_at` set to now, and another name.
    Edit,
    /// `billd sweep` beside the daemons.
    Sweep,
    /// `billd reconcile` beside the daemons.
    Reconcile,
    /// `billd migrate` beside the daemons.
    Migrate,
}

impl Plan {
    /// Whether commits are lost in a fail-over.
    pub(super) fn loses_commits(&self) -> bool {
        self.has(|injury| matches!(injury, Injury::FailOver { .. }))
    }

    /// Whether a person changes sums while commits are lost.
    pub(super) fn reprices_what_is_lost(&self) -> bool {
        let reprices = |injury: &Injury| matches!(injury, Injury::Person { deed, .. } if *deed == Deed::Reprice);
        self.loses_commits() && self.has(reprices)
    }

    /// Whether the gateway tells the one lie that no program survives: "failed" of money that moved.
    pub(super) fn looks_lie(&self) -> bool {
        let lie = FaultKind::LookupFailed;
        self.has(|injury| matches!(injury, Injury::Gateway { kind, .. } if *kind == lie))
    }

    /// Whether a person gives money back.
    pub(super) fn refunds_anything(&self) -> bool {
        self.has(|injury| matches!(injury, Injury::Refund(_)))
    }

    pub(super) fn moves_money_by_hand(&self) -> bool {
        self.refunds_anything() || self.has(|injury| matches!(injury, Injury::OneOff(_)))
    }

    fn has(&self, is_it: impl Fn(&Injury) -> bool) -> bool {
        self.injuries.iter().any(|planned| is_it(&planned.injury))
    }
}
