//! What there is: the book, the people at work on it, the gateway's ledger.
//!
//! One subscription. Subscriptions share no row that matters to safety, and a name holds its
//! subscription's number, so a second one would only multiply states.

use billd::domain::state::{CycleState, SubscriptionState};

/// Most periods of any instance.
pub(crate) const PERIODS: usize = 2;
/// Most attempts per period of any instance. The last one stands for number 99.
pub(crate) const ATTEMPTS: usize = 3;
/// Most charges and questions under way at one moment.
pub(crate) const WORKERS: usize = 3;

/// `merchant_uid`: period and attempt, and nothing else. What `MerchantUid::derive` makes of them is
/// checked by `the_models_names_are_the_programs_names`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) period: u8,
    /// From 1.
    pub(crate) no: u8,
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.period + 1, self.no)
    }
}

impl Name {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let periods = (0_u8..).take(PERIODS);
        periods.flat_map(|period| (1_u8..).take(ATTEMPTS).map(move |no| Self { period, no }))
    }

    fn index(self) -> usize {
        usize::from(self.period) * ATTEMPTS + usize::from(self.no) - 1
    }
}

/// Something per name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct ByName<T>([T; PERIODS * ATTEMPTS]);

impl<T> std::ops::Index<Name> for ByName<T> {
    type Output = T;
    fn index(&self, name: Name) -> &T {
        &self.0[name.index()]
    }
}

impl<T> std::ops::IndexMut<Name> for ByName<T> {
    fn index_mut(&mut self, name: Name) -> &mut T {
        &mut self.0[name.index()]
    }
}

// ------------------------------------------------------------------------------ the database

/// `billd.charge_attempt.state`, or no row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum AttemptState {
    #[default]
    Absent,
    Started,
    Unknown,
    Paid,
    Declined,
    NotSent,
}

impl AttemptState {
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Started | Self::Unknown)
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Paid | Self::Declined | Self::NotSent)
    }
}

/// A row of `billd.charge_attempt`. Its fence is left out: while the attempt is open it is the
/// subscription's, and afterwards nobody reads it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Attempt {
    pub(crate) state: AttemptState,
    pub(crate) sends: u8,
    pub(crate) not_found: u8,
    pub(crate) parked: bool,
}

/// A row of `billd.billing_cycle`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Cycle {
    pub(crate) state: CycleState,
    pub(crate) amount: u8,
}

/// All that a commit makes durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Database {
    pub(crate) state: SubscriptionState,
    pub(crate) price: u8,
    pub(crate) period: u8,
    pub(crate) attempts: u8,
    pub(crate) declines: u8,
    pub(crate) open: Option<Name>,
    pub(crate) fence: u8,
    pub(crate) recheck: bool,
    /// `settled_until` lies behind all periods of the model, because it came back from out of service.
    pub(crate) returned: bool,
    /// `adjusted`: the next period is not opened by a claim before it is planned anew.
    pub(crate) adjusted: bool,
    pub(crate) cycles: [Option<Cycle>; PERIODS],
    pub(crate) attempt: ByName<Attempt>,
}

// ------------------------------------------------------------------------------- the daemons

/// The word that stands in `charge_attempt.state` once an outcome is recorded, and the one kind of
/// doubt that is treated apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Paid,
    Declined,
    NotSent,
    Unknown,
    Duplicate,
}

/// `dunning::Decision` without its waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum Step {
    Advance,
    Retry { took_rung: bool },
    GiveUp,
    Ask,
    SendAgain,
    Park,
}

/// How far one task of one daemon has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The intent is durable; the request has not left. `again`: it leaves for another time.
    Claimed { again: bool },
    /// The request has left; no answer yet.
    InFlight { again: bool },
    /// The attempt was taken over; the question has not been answered.
    Asking,
    /// Outcome and decision are known and are on their way into the database.
    Answer {
        outcome: Option<Outcome>,
        step: Step,
        not_found: u8,
    },
}

/// One claim, held by some daemon. Which daemon does not matter: a crash of a daemon that holds two
/// is two crashes in a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct Worker {
    pub(crate) name: Name,
    pub(crate) fence: u8,
    pub(crate) amount: u8,
    /// `History::declines` as the claim read it.
    pub(crate) declines: u8,
    pub(crate) phase: Phase,
    /// Its lease has ended. If it goes on all the same it is a zombie.
    pub(crate) late: bool,
    /// The commit that it builds on is gone with the old primary.
    pub(crate) forgotten: bool,
}

// ------------------------------------------------------------------------------- the gateway

/// What the gateway knows of one name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Ledger {
    /// Requests that have left and are not decided.
    pub(crate) in_process: u8,
    /// How often money moved.
    pub(crate) approved: u8,
    /// There is a failed record.
    pub(crate) failed: bool,
    /// The newest record is a failed one.
    pub(crate) newest_failed: bool,
    /// The sum of the first request.
    pub(crate) amount: Option<u8>,
}

// --------------------------------------------------------------------------------- all of it

/// What happened and can't be read off the rows any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent alarms")]
pub(crate) struct Seen {
    pub(crate) sent_without_intent: bool,
    pub(crate) sent_after_final: bool,
    pub(crate) moved_by_stale_claim: bool,
    pub(crate) two_amounts: bool,
}

/// Where the stand-by is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Standby {
    /// It has every commit; it may yet fall behind.
    InStep,
    /// It has stopped here, and the primary has committed this often since.
    Behind { database: Database, commits: u8 },
    /// It was promoted, without the tail.
    Promoted,
    /// This instance has none, or it has caught up for good.
    Absent,
}

/// One moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) standby: Standby,
    /// Sorted, so that two moments which differ in nothing but the order are one.
    pub(crate) workers: [Option<Worker>; WORKERS],
    pub(crate) gateway: ByName<Ledger>,
    /// How often people may still put their hands in.
    pub(crate) people: u8,
    pub(crate) seen: Seen,
}

impl State {
    pub(crate) fn new(people: u8, standby: Standby) -> Self {
        let database = Database {
            state: SubscriptionState::Active,
            price: 0,
            period: 0,
            attempts: 0,
            declines: 0,
            open: None,
            fence: 1,
            recheck: false,
            returned: false,
            adjusted: false,
            cycles: [None; PERIODS],
            attempt: ByName::default(),
        };
        Self {
            database,
            standby,
            workers: [None; WORKERS],
            gateway: ByName::default(),
            people,
            seen: Seen::default(),
        }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = (usize, &Worker)> {
        let indexed = self.workers.iter().enumerate();
        indexed.filter_map(|(index, worker)| Some((index, worker.as_ref()?)))
    }

    /// Whether this claim is the one that holds the subscription now.
    pub(crate) fn holds(&self, worker: &Worker) -> bool {
        self.database.open == Some(worker.name) && self.database.fence == worker.fence
    }

    /// One representative of all moments that can't be told apart: workers in order, fences counted
    /// from the lowest that the database can still come back to. A fence below that is stale for
    /// ever, whatever its number. Distances are kept, because a counter that fell back with the
    /// primary may meet an old number again.
    pub(crate) fn normalised(mut self) -> Self {
        let base = match &self.standby {
            Standby::Behind { database, .. } => self.database.fence.min(database.fence),
            Standby::InStep | Standby::Promoted | Standby::Absent => self.database.fence,
        };
        let lowered = |fence: u8| (fence + 1).saturating_sub(base);
        self.database.fence = lowered(self.database.fence);
        if let Standby::Behind { database, .. } = &mut self.standby {
            database.fence = lowered(database.fence);
        }
        for worker in self.workers.iter_mut().flatten() {
            worker.fence = lowered(worker.fence);
        }
        self.workers.sort_unstable();
        self
    }
}
