//! What one seed does: a book, daemons, and one or two injuries. A pure function of the seed.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::sabotage::CrashPoint;
use crate::sandbox::FaultKind;

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
    /// How long the gateway mostly thinks, in milliseconds.
    pub(super) latency_ms: u32,
    /// Who owes what.
    pub(super) book: Vec<Card>,
    /// What goes wrong.
    pub(super) injuries: Vec<Injury>,
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

/// Something that goes wrong, and when: milliseconds since the daemons were started.
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
    Kill {
        daemon: Which,
        at_ms: u32,
        away_ms: u32,
    },
    /// SIGSTOP, and SIGCONT after a while.
    Freeze {
        daemon: Which,
        at_ms: u32,
        for_ms: u32,
    },
    /// SIGTERM with calls in flight, and a new process.
    Terminate { daemon: Which, at_ms: u32 },
    /// The gateway misbehaves for a while, to a share of the requests.
    Gateway {
        kind: FaultKind,
        at_ms: u32,
        for_ms: u32,
        share: f64,
        /// How late, for a slow answer or a late look-up.
        by_ms: u32,
    },
    /// Every connection of a daemon to its database is cut.
    Cut { daemon: Which, at_ms: u32 },
    /// The server ends every connection of a daemon.
    TerminateBackends { daemon: Which, at_ms: u32 },
    /// The server restarts as after a crash.
    Restart { at_ms: u32 },
    /// A statement is carried out and its answer is lost.
    SwallowReply {
        daemon: Which,
        statement: String,
        times: u32,
    },
    /// Sockets stay open and silent.
    HalfOpen {
        daemon: Which,
        at_ms: u32,
        for_ms: u32,
    },
    /// New connections are refused, old ones cut.
    Refuse {
        daemon: Which,
        at_ms: u32,
        for_ms: u32,
    },
    /// Somebody takes every connection that the server has.
    Exhaust { at_ms: u32, for_ms: u32 },
    /// Somebody locks rows of the book, so that statements run into their limits.
    LockRows { at_ms: u32, for_ms: u32, share: f64 },
    /// A statement of somebody's holds an old snapshot open to the end.
    PinSnapshot { at_ms: u32 },
    /// One row can't be written for a while.
    PoisonRow { at_ms: u32, for_ms: u32 },
    /// The server is lost, and with it what was committed in the last moments; a standby takes over.
    FailOver { at_ms: u32, lost_ms: u32 },
    /// A daemon's wall clock is off, and steps once.
    Clock {
        daemon: Which,
        off_s: i32,
        step_at_ms: u32,
        step_s: i32,
    },
    /// A person types.
    Person { deed: Deed, at_ms: u32, share: f64 },
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

/// A kind of thing that goes wrong: what the summary counts by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Crash(CrashPoint),
    Kill,
    Freeze,
    Terminate,
    Gateway(FaultKind),
    Cut,
    TerminateBackends,
    Restart,
    Swallow(&'static str),
    HalfOpen,
    Refuse,
    Exhaust,
    LockRows,
    PinSnapshot,
    PoisonRow,
    FailOver,
    ClockAhead,
    ClockBehind,
    ClockSteps,
    Person(Deed),
}

const GATEWAY: [FaultKind; 17] = [
    FaultKind::DropAfter,
    FaultKind::Error500After,
    FaultKind::SilenceAfter,
    FaultKind::SilenceBefore,
    FaultKind::DropBefore,
    FaultKind::Error500Before,
    FaultKind::CutBody,
    FaultKind::Garbage,
    FaultKind::Html,
    FaultKind::Empty,
    FaultKind::Status429,
    FaultKind::Status401,
    FaultKind::Maintenance,
    FaultKind::LookupLag,
    FaultKind::LookupNotFound,
    FaultKind::LatencyMs,
    FaultKind::LookupFailed,
];

const STATEMENTS: [&str; 4] = [
    "store::claim_due",
    "store::record",
    "store::claim_open",
    "store::recheck",
];

const DEEDS: [Deed; 8] = [
    Deed::Pause,
    Deed::Cancel,
    Deed::Reprice,
    Deed::Delete,
    Deed::Edit,
    Deed::Sweep,
    Deed::Reconcile,
    Deed::Migrate,
];

/// Everything that can go wrong. Seeds take it in turn, so that each is met equally often.
fn catalogue() -> Vec<Kind> {
    let crashes = CrashPoint::ALL.into_iter().map(Kind::Crash);
    let gateway = GATEWAY.into_iter().map(Kind::Gateway);
    let statements = STATEMENTS.into_iter().map(Kind::Swallow);
    let deeds = DEEDS.into_iter().map(Kind::Person);
    let others = [
        Kind::Kill,
        Kind::Freeze,
        Kind::Terminate,
        Kind::Cut,
        Kind::TerminateBackends,
        Kind::Restart,
        Kind::HalfOpen,
        Kind::Refuse,
        Kind::Exhaust,
        Kind::LockRows,
        Kind::PinSnapshot,
        Kind::PoisonRow,
        Kind::FailOver,
        Kind::ClockAhead,
        Kind::ClockBehind,
        Kind::ClockSteps,
        // The commonest accidents come more often.
        Kind::Kill,
        Kind::Freeze,
        Kind::Restart,
    ];
    crashes
        .chain(gateway)
        .chain(statements)
        .chain(deeds)
        .chain(others)
        .collect()
}

/// How many kinds a row of seeds goes through before it begins anew.
pub(super) fn round() -> u64 {
    u64::try_from(catalogue().len()).unwrap_or(u64::MAX)
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let kinds = catalogue();
        let turn = seed
            .checked_rem(round())
            .and_then(|turn| usize::try_from(turn).ok());
        let mut chosen: Vec<Kind> = turn
            .and_then(|turn| kinds.get(turn))
            .copied()
            .into_iter()
            .collect();
        if dice.bool() {
            chosen.extend(dice.choice(&kinds).copied());
        }
        let daemons = dice.u8(1..=3);
        let mut plan = Self {
            seed,
            daemons,
            same_host_name: dice.u8(0..10) == 0,
            pooler: dice.u8(0..4) == 0,
            rate_per_second: if dice.u8(0..6) == 0 {
                dice.u32(15..=40)
            } else {
                0
            },
            latency_ms: dice.choice(&[0, 10, 60, 150]).copied().unwrap_or_default(),
            book: book(&mut dice),
            injuries: Vec::new(),
        };
        for kind in chosen {
            plan.injure(kind, &mut dice);
        }
        // There is one server to lose, and after a fail-over there is no other.
        if plan.loses_commits() {
            plan.injuries
                .retain(|injury| !matches!(injury, Injury::Restart { .. }));
        }
        plan
    }

    /// Whether commits are lost in a fail-over.
    pub(super) fn loses_commits(&self) -> bool {
        self.injuries
            .iter()
            .any(|injury| matches!(injury, Injury::FailOver { .. }))
    }

    /// Whether the gateway tells the one lie that no program survives: "failed" of money that moved.
    pub(super) fn looks_lie(&self) -> bool {
        self.injuries.iter().any(|injury| {
            matches!(
                injury,
                Injury::Gateway {
                    kind: FaultKind::LookupFailed,
                    ..
                }
            )
        })
    }

    fn injure(&mut self, kind: Kind, dice: &mut Rng) {
        let daemon = dice.u8(0..self.daemons);
        let at_ms = dice.u32(150..1_800);
        let injury = match kind {
            Kind::Crash(point) => return self.crash(point, daemon, dice),
            Kind::Kill => Injury::Kill {
                daemon,
                at_ms,
                away_ms: dice.u32(0..3_000),
            },
            Kind::Freeze => Injury::Freeze {
                daemon,
                at_ms,
                for_ms: dice.u32(1_600..3_200),
            },
            Kind::Terminate => Injury::Terminate { daemon, at_ms },
            Kind::Gateway(kind) => return self.gateway(kind, at_ms, dice),
            Kind::Cut => Injury::Cut { daemon, at_ms },
            Kind::TerminateBackends => Injury::TerminateBackends { daemon, at_ms },
            Kind::Restart => Injury::Restart { at_ms },
            Kind::Swallow(statement) => return self.swallow(statement, daemon, dice),
            Kind::HalfOpen => Injury::HalfOpen {
                daemon,
                at_ms,
                for_ms: dice.u32(500..3_000),
            },
            Kind::Refuse => Injury::Refuse {
                daemon,
                at_ms,
                for_ms: dice.u32(300..2_500),
            },
            Kind::Exhaust => Injury::Exhaust {
                at_ms,
                for_ms: dice.u32(500..2_000),
            },
            Kind::LockRows => Injury::LockRows {
                at_ms,
                for_ms: dice.u32(500..2_500),
                share: share(dice),
            },
            Kind::PinSnapshot => Injury::PinSnapshot { at_ms },
            Kind::PoisonRow => Injury::PoisonRow {
                at_ms: 100,
                for_ms: dice.u32(800..2_500),
            },
            Kind::FailOver => Injury::FailOver {
                at_ms: at_ms.max(500),
                lost_ms: dice.u32(20..400),
            },
            Kind::ClockAhead => Injury::Clock {
                daemon,
                off_s: 600,
                step_at_ms: at_ms,
                step_s: 0,
            },
            Kind::ClockBehind => Injury::Clock {
                daemon,
                off_s: -600,
                step_at_ms: at_ms,
                step_s: 0,
            },
            Kind::ClockSteps => Injury::Clock {
                daemon,
                off_s: 0,
                step_at_ms: at_ms,
                step_s: *dice.choice(&[-3_600, -60, 60, 3_600]).unwrap_or(&-60),
            },
            Kind::Person(deed) => Injury::Person {
                deed,
                at_ms,
                share: share(dice),
            },
        };
        self.injuries.push(injury);
    }

    /// A point on a side way is only reached with something on that way.
    fn crash(&mut self, point: CrashPoint, daemon: Which, dice: &mut Rng) {
        let at_ms = dice.u32(150..1_200);
        let visit = match point {
            CrashPoint::DrainBegun | CrashPoint::DrainFlushing => {
                self.injuries.push(Injury::Terminate { daemon, at_ms });
                1
            }
            CrashPoint::AskClaimed | CrashPoint::LookUpRead | CrashPoint::LookUpRecorded => {
                self.gateway(FaultKind::DropAfter, 0, dice);
                dice.u32(1..4)
            }
            CrashPoint::SendAgainNext | CrashPoint::SendAgainRead => {
                self.gateway(FaultKind::DropBefore, 0, dice);
                dice.u32(1..3)
            }
            CrashPoint::RecheckLocked => {
                let deed = Deed::Pause;
                self.injuries.push(Injury::Person {
                    deed,
                    at_ms,
                    share: 0.5,
                });
                1
            }
            CrashPoint::MigrateNext | CrashPoint::MigrateDone => {
                let deed = Deed::Migrate;
                self.injuries.push(Injury::Person {
                    deed,
                    at_ms,
                    share: 1.0,
                });
                1
            }
            CrashPoint::ClaimNext
            | CrashPoint::ClaimCommitted
            | CrashPoint::FlushNext
            | CrashPoint::FlushCommitted => dice.u32(1..6),
            CrashPoint::SendNext
            | CrashPoint::Sent
            | CrashPoint::AnswerRead
            | CrashPoint::Decided
            | CrashPoint::RecordQueued
            | CrashPoint::Recorded => dice.u32(1..20),
        };
        let point = point.name().to_owned();
        self.injuries.push(Injury::Crash {
            daemon,
            point,
            visit,
        });
    }

    fn gateway(&mut self, kind: FaultKind, at_ms: u32, dice: &mut Rng) {
        let by_ms = match kind {
            FaultKind::LookupLag => dice.u32(1..5).saturating_mul(1_000),
            FaultKind::LatencyMs => dice.u32(300..1_200),
            FaultKind::DropBefore
            | FaultKind::DropAfter
            | FaultKind::Error500Before
            | FaultKind::Error500After
            | FaultKind::SilenceBefore
            | FaultKind::SilenceAfter
            | FaultKind::CutBody
            | FaultKind::Garbage
            | FaultKind::Html
            | FaultKind::Empty
            | FaultKind::Status429
            | FaultKind::Status401
            | FaultKind::Maintenance
            | FaultKind::LookupNotFound
            | FaultKind::LookupFailed => 0,
        };
        // A look-up can only mislead about a charge whose answer was lost.
        if matches!(
            kind,
            FaultKind::LookupLag | FaultKind::LookupNotFound | FaultKind::LookupFailed
        ) {
            self.gateway(FaultKind::DropAfter, 0, dice);
        }
        self.injuries.push(Injury::Gateway {
            kind,
            at_ms,
            for_ms: dice.u32(800..3_000),
            share: share(dice),
            by_ms,
        });
    }

    fn swallow(&mut self, statement: &str, daemon: Which, dice: &mut Rng) {
        match statement {
            "store::claim_open" => self.gateway(FaultKind::DropAfter, 0, dice),
            "store::recheck" => self.injuries.push(Injury::Person {
                deed: Deed::Pause,
                at_ms: dice.u32(150..900),
                share: 0.5,
            }),
            _ => {}
        }
        self.injuries.push(Injury::SwallowReply {
            daemon,
            statement: statement.to_owned(),
            times: dice.u32(1..3),
        });
    }
}

fn share(dice: &mut Rng) -> f64 {
    *dice.choice(&[0.1, 0.3, 0.6, 1.0]).unwrap_or(&1.0)
}

/// Some cards decline at first, or for good; the answer about some is lost.
const WORDS: [&str; 12] = [
    "decline-balance-once",
    "decline-balance-twice",
    "decline-balance",
    "decline-outage-once",
    "decline-stolen",
    "decline-call-once",
    "drop-after-approval-once",
    "error-after-approval-once",
    "silent-after-approval-once",
    "drop-before-approval-once",
    "cut-body-once",
    "decline-null-once",
];

fn book(dice: &mut Rng) -> Vec<Card> {
    let size = dice.u32(8..=40);
    (0..size)
        .map(|number| {
            let word = if dice.u8(0..4) == 0 {
                dice.choice(&WORDS).copied().unwrap_or("card")
            } else {
                "card"
            };
            Card {
                customer_uid: format!("{word}-{number}"),
                amount: i64::from(dice.u32(1..=200)).saturating_mul(100),
                interval_unit: (*dice
                    .choice(&["day", "week", "month", "month"])
                    .unwrap_or(&"month"))
                .to_owned(),
                periods_behind: if dice.u8(0..5) == 0 {
                    dice.u8(1..=2)
                } else {
                    0
                },
                due_in_ms: if dice.bool() { 0 } else { dice.u32(0..1_800) },
                on_last_day: dice.u8(0..6) == 0,
            }
        })
        .collect()
}
