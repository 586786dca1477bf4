//! Draws the plan of a seed.

use fastrand::Rng;

use crate::catalogue::{self, Kind};
use crate::commands;
use crate::failpoint::Failpoint;
use crate::plan::{Card, Deed, Injury, Plan, Planned, Which};
use crate::wishes;
use portone_sandbox::FaultKind;

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kinds = catalogue::all();
        let turn = seed
            .checked_rem(catalogue::round())
            .and_then(|turn| usize::try_from(turn).ok());
        let mut chosen: Vec<Kind> = turn
            .and_then(|turn| kinds.get(turn))
            .copied()
            .into_iter()
            .collect();
        if rng.bool() {
            chosen.extend(rng.choice(&kinds).copied());
        }
        // Low enough that the book can't be charged within the first second.
        let rate_per_second = if rng.u8(0..6) == 0 {
            rng.u32(5..=10)
        } else {
            0
        };
        let daemons = match rate_per_second {
            0 => *rng.choice(&[1, 1, 1, 2, 2, 3]).unwrap_or(&1),
            // A cap is theirs together.
            _ => rng.u8(2..=3),
        };
        let mut plan = Self {
            seed,
            daemons,
            same_host_name: rng.u8(0..10) == 0,
            pooler: rng.u8(0..4) == 0,
            rate_per_second,
            refusals_recorded: rng.bool(),
            latency_ms: rng.choice(&[0, 10, 60, 150]).copied().unwrap_or_default(),
            book: book(&mut rng),
            injuries: Vec::new(),
        };
        for kind in chosen {
            plan.injure(kind, &mut rng);
        }
        // All that goes wrong meets a person who charges and gives back, too.
        if !plan.moves_money_by_hand() && rng.u8(0..4) == 0 {
            plan.refunds(None, &mut rng);
        }
        // There is one server to lose, and after a fail-over there is no other.
        if plan.loses_commits() {
            plan.injuries
                .retain(|planned| planned.injury != Injury::Restart);
        }
        plan.let_people_live();
        plan
    }

    /// In every third seed people do what they ordinarily want, beside all that goes wrong. Drawn apart, so that
    /// the rest of a plan is the same with them and without. What they do to rows that a fail-over forgets is not told.
    fn let_people_live(&mut self) {
        let mut rng = Rng::with_seed(self.seed.rotate_left(32));
        if rng.u8(0..3) > 0 || self.loses_commits() {
            return;
        }
        let lives = wishes::lives(&mut rng);
        self.injuries.extend(lives);
    }

    fn add(&mut self, at_ms: u32, injury: Injury) {
        self.injuries.push(Planned { at_ms, injury });
    }

    fn injure(&mut self, kind: Kind, rng: &mut Rng) {
        let daemon = rng.u8(0..self.daemons);
        let at_ms = rng.u32(150..1_800);
        let mut for_ms = |from: u32, to: u32| rng.u32(from..to);
        let injury = match kind {
            Kind::Crash(point) => return self.crash(point, daemon, rng),
            Kind::Gateway(kind) => return self.gateway(kind, at_ms, rng),
            Kind::Swallow(statement) => return self.swallow(statement, daemon, rng),
            Kind::Freeze => return self.freeze(rng),
            Kind::OneOffs => return self.one_offs_and_a_lie(None, rng),
            Kind::OneOffDies(point) => return self.one_offs_and_a_lie(Some(point), rng),
            Kind::Refunds => return self.refunds_and_a_lie(None, rng),
            Kind::RefundDies(point) => return self.refunds_and_a_lie(Some(point), rng),
            Kind::Kill => Injury::Kill {
                daemon,
                away_ms: for_ms(0, 3_000),
            },
            Kind::Terminate => Injury::Terminate { daemon },
            Kind::Cut => Injury::Cut { daemon },
            Kind::TerminateBackends => Injury::TerminateBackends { daemon },
            Kind::Restart => Injury::Restart,
            Kind::HalfOpen => Injury::HalfOpen {
                daemon,
                for_ms: for_ms(500, 3_000),
            },
            Kind::Refuse => Injury::Refuse {
                daemon,
                for_ms: for_ms(300, 2_500),
            },
            Kind::Exhaust => Injury::Exhaust {
                for_ms: for_ms(500, 2_000),
            },
            Kind::LockRows => Injury::LockRows {
                for_ms: for_ms(500, 2_500),
                share: share(rng),
            },
            Kind::PinSnapshot => Injury::PinSnapshot,
            Kind::PoisonRow => Injury::PoisonRow {
                for_ms: for_ms(800, 2_500),
            },
            Kind::FailOver => Injury::FailOver {
                lost_ms: for_ms(20, 400),
            },
            Kind::ClockAhead => clock(daemon, 600, 0),
            Kind::ClockBehind => clock(daemon, -600, 0),
            Kind::ClockSteps => {
                let steps = [-3_600, -60, 60, 3_600];
                clock(daemon, 0, *rng.choice(&steps).unwrap_or(&-60))
            }
            Kind::Person(deed) => Injury::Person {
                deed,
                share: share(rng),
            },
        };
        self.add(at_ms, injury);
    }

    /// A point on a side way is only reached with something on that way.
    fn crash(&mut self, point: Failpoint, daemon: Which, rng: &mut Rng) {
        let at_ms = rng.u32(150..1_200);
        let person = |deed| Injury::Person { deed, share: 0.6 };
        let visit = match point {
            Failpoint::DrainBegun | Failpoint::DrainFlushing => {
                self.add(at_ms, Injury::Terminate { daemon });
                1
            }
            Failpoint::AskClaimed | Failpoint::LookUpRead | Failpoint::LookUpRecorded => {
                self.gateway(FaultKind::DropAfter, 0, rng);
                rng.u32(1..4)
            }
            Failpoint::RefundAskClaimed => {
                self.lost_refunds(rng);
                rng.u32(1..3)
            }
            Failpoint::SendAgainNext | Failpoint::SendAgainRead => {
                self.gateway(FaultKind::DropBefore, 0, rng);
                rng.u32(1..3)
            }
            Failpoint::RecheckLocked => {
                self.add(at_ms, person(Deed::Pause));
                1
            }
            Failpoint::MigrateNext | Failpoint::MigrateDone => {
                self.add(at_ms, person(Deed::Migrate));
                1
            }
            Failpoint::ClaimNext
            | Failpoint::ClaimCommitted
            | Failpoint::FlushNext
            | Failpoint::FlushCommitted => rng.u32(1..6),
            Failpoint::SendNext
            | Failpoint::Sent
            | Failpoint::AnswerRead
            | Failpoint::Decided
            | Failpoint::RecordQueued
            | Failpoint::Recorded => rng.u32(1..20),
            // No daemon comes there.
            Failpoint::OneOffNext
            | Failpoint::OneOffBegun
            | Failpoint::RefundNext
            | Failpoint::RefundBegun
            | Failpoint::RefundRead
            | Failpoint::RefundDecided
            | Failpoint::RefundRecorded => return,
        };
        let point = point.name().to_owned();
        let crash = Injury::Crash {
            daemon,
            point,
            visit,
        };
        self.add(0, crash);
    }

    fn one_offs_and_a_lie(&mut self, point: Option<Failpoint>, rng: &mut Rng) {
        self.one_offs(point, rng);
        self.lie_at_times(rng);
    }

    fn refunds_and_a_lie(&mut self, point: Option<Failpoint>, rng: &mut Rng) {
        self.refunds(point, rng);
        self.lie_at_times(rng);
    }

    fn lie_at_times(&mut self, rng: &mut Rng) {
        if rng.bool() {
            let kind = *rng
                .choice(&catalogue::GATEWAY)
                .unwrap_or(&FaultKind::DropAfter);
            self.gateway(kind, rng.u32(0..1_200), rng);
        }
    }

    fn one_offs(&mut self, point: Option<Failpoint>, rng: &mut Rng) {
        let injuries = self.injuries.iter();
        let there = injuries.filter(|planned| matches!(planned.injury, Injury::OneOff(_)));
        let first = there.count().saturating_add(1);
        let cards: Vec<String> = self.book.iter().map(|c| c.customer_uid.clone()).collect();
        for one_off in commands::one_offs(first, &cards, point, rng) {
            self.add(rng.u32(0..1_800), Injury::OneOff(one_off));
        }
    }

    /// Among what is given back are one-off charges.
    fn refunds(&mut self, point: Option<Failpoint>, rng: &mut Rng) {
        self.one_offs(None, rng);
        for refund in commands::refunds(point, rng) {
            self.add(rng.u32(600..2_600), Injury::Refund(refund));
        }
    }

    /// Refunds whose answers are lost, so that their payments are looked at.
    fn lost_refunds(&mut self, rng: &mut Rng) {
        let losses = Injury::Gateway {
            kind: FaultKind::DropAfter,
            for_ms: 5_000,
            share: 0.6,
            by_ms: 0,
        };
        self.add(0, losses);
        self.refunds(None, rng);
    }

    /// Frozen with calls in flight, so that somebody else takes them over.
    fn freeze(&mut self, rng: &mut Rng) {
        self.daemons = self.daemons.max(2);
        if rng.bool() {
            let silence = Injury::Gateway {
                kind: FaultKind::SilenceBefore,
                for_ms: 4_000,
                share: 1.0,
                by_ms: 0,
            };
            self.add(0, silence);
        }
        let freeze = Injury::Freeze {
            daemon: rng.u8(0..self.daemons),
            for_ms: rng.u32(1_600..3_200),
        };
        self.add(rng.u32(0..600), freeze);
    }

    fn gateway(&mut self, kind: FaultKind, at_ms: u32, rng: &mut Rng) {
        let is_blind = matches!(kind, FaultKind::LookupLag | FaultKind::LookupNotFound);
        // A look-up can only mislead about a charge whose answer was lost.
        if is_blind || kind == FaultKind::LookupFailed {
            self.gateway(FaultKind::DropAfter, 0, rng);
        }
        let by_ms = if kind == FaultKind::LookupLag {
            rng.u32(2..8).saturating_mul(1_000)
        } else if kind == FaultKind::LatencyMs {
            rng.u32(300..1_200)
        } else {
            0
        };
        let fault = Injury::Gateway {
            kind,
            // Blind for long enough that "not found" is believed and the same name leaves again.
            for_ms: if is_blind {
                rng.u32(4_000..7_000)
            } else {
                rng.u32(800..3_000)
            },
            share: if is_blind { 1.0 } else { share(rng) },
            by_ms,
        };
        self.add(at_ms, fault);
    }

    fn swallow(&mut self, statement: &str, daemon: Which, rng: &mut Rng) {
        if statement == "store::claim_open" {
            self.gateway(FaultKind::DropAfter, 0, rng);
        }
        match statement {
            "store::begin_one_off" => self.one_offs(None, rng),
            "store::begin_refund" | "store::record_refund" => self.refunds(None, rng),
            "store::claim_open_refund" => self.lost_refunds(rng),
            _ => {}
        }
        if statement == "store::recheck" {
            let deed = Deed::Pause;
            self.add(rng.u32(150..900), Injury::Person { deed, share: 0.6 });
        }
        let swallow = Injury::SwallowReply {
            daemon,
            statement: statement.to_owned(),
            times: rng.u32(1..3),
        };
        self.add(0, swallow);
    }
}

fn clock(daemon: Which, off_s: i32, step_s: i32) -> Injury {
    Injury::Clock {
        daemon,
        off_s,
        step_s,
    }
}

fn share(rng: &mut Rng) -> f64 {
    *rng.choice(&[0.1, 0.3, 0.6, 1.0]).unwrap_or(&1.0)
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

fn book(rng: &mut Rng) -> Vec<Card> {
    let size = rng.u32(8..=40);
    (0..size)
        .map(|number| {
            let word = if rng.u8(0..4) == 0 {
                rng.choice(&WORDS).copied().unwrap_or("card")
            } else {
                "card"
            };
            Card {
                customer_uid: format!("{word}-{number}"),
                amount: i64::from(rng.u32(1..=200)).saturating_mul(100),
                interval_unit: (*rng
                    .choice(&["day", "week", "month", "month"])
                    .unwrap_or(&"month"))
                .to_owned(),
                periods_behind: if rng.u8(0..5) == 0 { rng.u8(1..=2) } else { 0 },
                due_in_ms: if rng.bool() { 0 } else { rng.u32(0..1_800) },
                on_last_day: rng.u8(0..6) == 0,
            }
        })
        .collect()
}
