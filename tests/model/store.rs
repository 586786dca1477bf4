//! The SQL, statement by statement, on one subscription.

use std::sync::LazyLock;

use billd::domain::calendar::{Interval, IntervalUnit, Schedule, Zone};
use billd::domain::recheck::{Resolution, Situation, recheck};
use billd::domain::state::{CycleState, SubscriptionState};
use jiff::Timestamp;

use crate::decisions::POLICY;
use crate::state::{Attempt, AttemptState, Cycle, Database, Name, Outcome, Phase, Step, Worker};

/// What `Store::record` says of one answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recorded {
    pub(crate) moved: bool,
}

static MONTHLY: LazyLock<Schedule> = LazyLock::new(|| {
    let interval = Interval::new(1, IntervalUnit::Month).unwrap();
    Schedule::new(at(0), interval, Zone::parse("Asia/Seoul").unwrap()).unwrap()
});

fn at(period: u8) -> Timestamp {
    let month = period + 1;
    format!("2026-{month:02}-15T00:00:00Z").parse().unwrap()
}

/// What a claim made of a row that was due.
pub(crate) enum Claimed {
    /// An attempt is written down.
    Begun(Worker),
    /// The row could not begin, and waits for `recheck`.
    SetAside,
}

/// `claim_due.sql`. `None`: nothing is due. People of this model change neither sum nor card of a debt,
/// so what did not leave always has the terms that it had.
pub(crate) fn claim_due(
    db: &mut Database,
    fence: u8,
    (periods, attempts): (u8, u8),
    not_sent_ends_name: bool,
) -> Option<Claimed> {
    let is_due = db.state == SubscriptionState::Active
        && db.period < periods
        && db.open.is_none()
        && !db.recheck
        && db.attempts < attempts;
    if !is_due {
        return None;
    }
    db.fence = fence;
    let price = db.price;
    let cycle = db.cycles[usize::from(db.period)].get_or_insert(Cycle {
        state: CycleState::Due,
        amount: price,
    });
    let name_of = |no: u8| Name {
        period: db.period,
        no,
    };
    let next = name_of(db.attempts + 1);
    // A closed debt, an attempt that exists.
    if cycle.state != CycleState::Due || db.attempt[next].state != AttemptState::Absent {
        db.recheck = true;
        return Some(Claimed::SetAside);
    }
    let did_not_leave =
        |name: &Name| db.attempt[*name].state == AttemptState::NotSent && !not_sent_ends_name;
    let last = Some(db.attempts).filter(|no| *no > 0).map(name_of);
    let name = last.filter(did_not_leave).unwrap_or(next);
    db.attempt[name] = Attempt {
        state: AttemptState::Started,
        sends: 1,
        ..Attempt::default()
    };
    db.open = Some(name);
    db.attempts = name.no;
    Some(Claimed::Begun(Worker {
        name,
        fence,
        amount: cycle.amount,
        declines: db.declines,
        phase: Phase::Claimed { again: false },
        late: false,
        forgotten: false,
    }))
}

/// `claim_open.sql`; the caller knows that the lease has ended.
pub(crate) fn claim_open(db: &mut Database, fence: u8) -> Option<Worker> {
    let name = db.open.filter(|name| db.attempt[*name].state.is_open())?;
    db.fence = fence;
    db.attempt[name].state = AttemptState::Unknown;
    let cycle = db.cycles[usize::from(name.period)].as_mut()?;
    if cycle.state == CycleState::Due {
        cycle.state = CycleState::Unresolved;
    }
    Some(Worker {
        name,
        fence,
        amount: cycle.amount,
        declines: db.declines,
        phase: Phase::Asking,
        late: false,
        forgotten: false,
    })
}

/// What a broken `record.sql` leaves out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unchecked {
    pub(crate) fence: bool,
    pub(crate) open_attempt: bool,
}

/// `record.sql` for one answer: `fact`, `move`, `cycle`, `stray`.
pub(crate) fn record(
    db: &mut Database,
    worker: &Worker,
    (outcome, step, not_found): (Option<Outcome>, Step, u8),
    unchecked: Unchecked,
) -> Recorded {
    let name = worker.name;
    let state = match outcome {
        Some(Outcome::Paid) => AttemptState::Paid,
        Some(Outcome::Declined) => AttemptState::Declined,
        Some(Outcome::NotSent) => AttemptState::NotSent,
        Some(Outcome::Unknown | Outcome::Duplicate) | None => AttemptState::Unknown,
    };
    let has_fence = unchecked.fence || db.fence == worker.fence;

    // fact: that money moved, whatever the fence says; all else under the fence.
    let attempt = &mut db.attempt[name];
    let exists = attempt.state != AttemptState::Absent;
    let is_new_payment = state == AttemptState::Paid && attempt.state != AttemptState::Paid;
    let written = exists && (is_new_payment || (attempt.state.is_open() && has_fence));
    let again = step == Step::SendAgain;
    if written {
        // One that is started has been written by this very batch before.
        let is_counted = again && attempt.state == AttemptState::Unknown;
        attempt.state = if again { AttemptState::Started } else { state };
        // All that is asked of it is whether it has reached the most.
        attempt.sends = (attempt.sends + u8::from(is_counted)).min(POLICY.sends_max);
        attempt.not_found = if again { 0 } else { not_found };
        attempt.parked = step == Step::Park;
    }

    // move
    let moved = has_fence
        && (db.open == Some(name) || (unchecked.open_attempt && exists))
        && (written || !again);
    if moved {
        move_cycle(db, name, state, step);
    }
    // stray, and the trigger charge_attempt_closed
    if written && state == AttemptState::Paid && !moved {
        db.recheck = true;
    }
    Recorded { moved }
}

fn move_cycle(db: &mut Database, name: Name, state: AttemptState, step: Step) {
    if state != AttemptState::Unknown {
        db.open = None;
    }
    if step == Step::GiveUp && db.state == SubscriptionState::Active {
        db.state = SubscriptionState::PastDue;
    }
    if let Some(cycle) = db.cycles[usize::from(name.period)].as_mut() {
        cycle.state = if step == Step::Advance {
            CycleState::Paid
        } else if state == AttemptState::Unknown {
            CycleState::Unresolved
        } else if db.state == SubscriptionState::Cancelled {
            CycleState::Void
        } else if step == Step::GiveUp {
            CycleState::Uncollectible
        } else {
            CycleState::Due
        };
    }
    if step == Step::Advance {
        next_period(db, name.period);
    } else if step == (Step::Retry { took_rung: true }) {
        db.declines += 1;
    }
}

fn next_period(db: &mut Database, after: u8) {
    db.period = after + 1;
    db.attempts = 0;
    db.declines = 0;
}

/// `store::recheck`; what follows is the program's own [`recheck`]. `None`: nothing to look at.
pub(crate) fn recheck_one(db: &mut Database, fence: u8) -> Option<()> {
    if !db.recheck || Name::all().any(|name| db.attempt[name].state.is_open()) {
        return None;
    }
    let period = db.period;
    let of_period = || Name::all().filter(|name| name.period == period);
    let cycle = db.cycles.get(usize::from(period)).copied().flatten();
    let situation = Situation {
        state: db.state,
        period: at(period).to_zoned(jiff::tz::TimeZone::UTC).date(),
        due_at: at(period),
        cycle: cycle.map(|cycle| cycle.state),
        paid: of_period().any(|name| db.attempt[name].state == AttemptState::Paid),
        // All periods of the model fell due before anybody paused.
        paused_at: None,
        resumed_at: None,
    };
    let resolution = recheck(&situation, &MONTHLY).unwrap();
    db.recheck = false;
    db.fence = fence;
    db.open = None;
    let cycle = db
        .cycles
        .get_mut(usize::from(period))
        .and_then(Option::as_mut);
    match resolution {
        Resolution::Paid(_) => {
            if let Some(cycle) = cycle {
                cycle.state = CycleState::Paid;
            }
            if db.state == SubscriptionState::PastDue {
                db.state = SubscriptionState::Active;
            }
            next_period(db, period);
        }
        Resolution::MoveOn(_) | Resolution::PassOver { .. } => next_period(db, period),
        Resolution::GiveUp => {
            if db.state == SubscriptionState::Active {
                db.state = SubscriptionState::PastDue;
            }
        }
        Resolution::Keep => {
            if let Some(cycle) = cycle.filter(|cycle| cycle.state == CycleState::Unresolved) {
                cycle.state = CycleState::Due;
            }
            let begun = |name: &Name| db.attempt[*name].state != AttemptState::Absent;
            let last = of_period().filter(begun).map(|name| name.no).max();
            db.attempts = db.attempts.max(last.unwrap_or(0));
        }
    }
    Some(())
}
