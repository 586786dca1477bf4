//! What people ordinarily want of subscriptions: verbs, and whole rows that a program saves.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::plan::{Injury, Planned};

/// A verb, called for a share of the book, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Wish {
    /// Which.
    pub(super) verb: Verb,
    /// For how much of the book.
    pub(super) share: f64,
}

/// Whole rows that are read, and written back after a while, as an ORM does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Save {
    /// How much of the book.
    pub(super) share: f64,
    /// How long after they were read.
    pub(super) after_ms: u32,
    /// Whether `row_version` is the program's version column: raised, and looked at in the `where`.
    pub(super) versioned: bool,
    /// Whether the program has changed something of its own.
    pub(super) renames: bool,
}

/// What a person wants. One that makes no sense for a row is refused, and counts as not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verb {
    Pause,
    ResumeOldDay,
    ResumeNow,
    CancelNow,
    CancelAtEnd,
    Keep,
    ChangeCard,
    StolenCard,
    DearerPlan,
    PlanNow,
    OtherInterval,
    MoveDay,
    Skip,
    PutOff,
    Extend,
    Discount,
    Item,
    Credit,
    RetryNow,
    Forgive,
    RenewEarly,
}

impl Verb {
    /// The call, with the row `s` at hand.
    pub(super) const fn call(self) -> &'static str {
        match self {
            Self::Pause => "billd.pause(s.id)",
            Self::ResumeOldDay => "billd.resume(s.id, 'old_day')",
            Self::ResumeNow => "billd.resume(s.id, 'now')",
            Self::CancelNow => "billd.cancel(s.id, 'now')",
            Self::CancelAtEnd => "billd.cancel(s.id)",
            Self::Keep => "billd.keep(s.id)",
            Self::ChangeCard => "billd.change_card(s.id, 'card-new-' || left(s.id::text, 8))",
            Self::StolenCard => "billd.change_card(s.id, 'decline-stolen-' || left(s.id::text, 8))",
            Self::DearerPlan => "billd.change_plan(s.id, s.amount + 1000, by_payer => true)",
            Self::PlanNow => {
                "billd.change_plan(s.id, s.amount + 5000, at => 'now', by_payer => true)"
            }
            Self::OtherInterval => "billd.change_plan(s.id, unit => 'week')",
            Self::MoveDay => {
                "billd.move_day(s.id, case when s.interval_unit = 'month' then 15 end,
                     case when s.interval_unit = 'week' then 3 end, time '05:00')"
            }
            Self::Skip => "billd.skip(s.id)",
            Self::PutOff => "billd.put_off(s.id, billd.now() + interval '1 hour')",
            Self::Extend => {
                "billd.extend(s.id, greatest(s.settled_until, billd.now()) + interval '3 days')"
            }
            Self::Discount => "billd.give_discount(s.id, share => 0.25, periods => 2)",
            Self::Item => "billd.add_item(s.id, '배송비', 3000)",
            Self::Credit => "billd.give_credit(s.id, 2500)",
            Self::RetryNow => "billd.retry_now(s.id)",
            Self::Forgive => "billd.forgive(s.id)",
            Self::RenewEarly => "billd.renew_early(s.id)",
        }
    }
}

/// What follows on one another, half a second apart.
const LIVES: [&[Verb]; 14] = [
    &[Verb::Pause, Verb::ResumeOldDay],
    &[
        Verb::Pause,
        Verb::ResumeNow,
        Verb::Pause,
        Verb::ResumeOldDay,
    ],
    &[Verb::CancelNow, Verb::ResumeNow],
    &[Verb::CancelAtEnd, Verb::Keep],
    &[Verb::CancelAtEnd],
    &[Verb::StolenCard, Verb::ChangeCard],
    &[Verb::ChangeCard, Verb::RetryNow],
    &[Verb::DearerPlan, Verb::PlanNow],
    &[Verb::OtherInterval, Verb::MoveDay],
    &[Verb::MoveDay],
    &[Verb::Skip, Verb::PutOff],
    &[Verb::Discount, Verb::Item, Verb::Credit],
    &[Verb::Extend, Verb::RenewEarly],
    &[Verb::Forgive, Verb::RetryNow],
];

/// Between two verbs of one life.
const APART_MS: u32 = 500;

/// Some lives, and programs that save beside them.
pub(super) fn lives(rng: &mut Rng) -> Vec<Planned> {
    let mut planned = Vec::new();
    for _ in 0..rng.u8(2..=4) {
        let life = rng.choice(&LIVES).copied().unwrap_or_default();
        let share = share(rng);
        let mut at_ms = rng.u32(50..1_800);
        for verb in life.iter().copied() {
            let injury = Injury::Wish(Wish { verb, share });
            planned.push(Planned { at_ms, injury });
            at_ms = at_ms.saturating_add(APART_MS);
        }
    }
    for _ in 0..rng.u8(1..=2) {
        let save = Save {
            share: share(rng),
            after_ms: rng.choice(&[0, 0, 300, 900]).copied().unwrap_or_default(),
            versioned: rng.bool(),
            renames: rng.bool(),
        };
        planned.push(Planned {
            at_ms: rng.u32(50..2_500),
            injury: Injury::Save(save),
        });
    }
    planned
}

fn share(rng: &mut Rng) -> f64 {
    *rng.choice(&[0.1, 0.3, 0.6]).unwrap_or(&0.3)
}
