//! The SQL, statement by statement, on one subscription.

use billd::domain::state::{CycleState, SubscriptionState};

use crate::decisions::POLICY;
use crate::state::{Attempt, AttemptState, Cycle, Database, Name, Outcome, Phase, Step, Worker};

/// What `Store::record` says of one answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recorded {
    pub(crate) moved: bool,
}

/// The first period that is not due yet, in every trace.
const LATER: u8 = 2;

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
    let again = step == Step::SendAgain;
    let may_leave = !again || db.state == SubscriptionState::Active;
    let written = exists && may_leave && (is_new_payment || (attempt.state.is_open() && has_fence));
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
        if db.adjusted || db.returned {
            db.recheck = true;
        } else {
            next_period(db, name.period);
        }
    } else if step == (Step::Retry { took_rung: true }) {
        db.declines += 1;
    }
}

fn next_period(db: &mut Database, after: u8) {
    db.period = after + 1;
    db.attempts = 0;
    db.declines = 0;
}

/// `store::recheck`. `None`: nothing to look at.
pub(crate) fn recheck_one(db: &mut Database, fence: u8) -> Option<()> {
    db.recheck.then_some(())?;
    replan(db)?;
    db.fence = fence;
    Some(())
}

/// `billd_internal.replan`. `None`: an attempt is open, and is recorded first.
pub(crate) fn replan(db: &mut Database) -> Option<()> {
    if Name::all().any(|name| db.attempt[name].state.is_open()) {
        return None;
    }
    let period = db.period;
    db.recheck = false;
    db.open = None;
    for name in Name::all().filter(|name| db.attempt[*name].state == AttemptState::Paid) {
        if let Some(cycle) = db.cycles[usize::from(name.period)].as_mut() {
            cycle.state = CycleState::Paid;
        }
    }
    let cycle = db
        .cycles
        .get_mut(usize::from(period))
        .and_then(Option::as_mut);
    match cycle.as_ref().map(|cycle| cycle.state) {
        Some(CycleState::Due | CycleState::Unresolved) => {
            cycle?.state = CycleState::Due;
            let begun = |name: &Name| {
                name.period == period && db.attempt[*name].state != AttemptState::Absent
            };
            let last = Name::all().filter(begun).map(|name| name.no).max();
            db.attempts = db.attempts.max(last.unwrap_or(0));
        }
        Some(CycleState::Uncollectible) => {
            if db.state == SubscriptionState::Active {
                db.state = SubscriptionState::PastDue;
            }
        }
        Some(CycleState::Paid | CycleState::Free) => {
            if db.state == SubscriptionState::PastDue {
                db.state = SubscriptionState::Active;
            }
            plan(db, period + 1);
        }
        // Of these people all that is void is so because it was cancelled, or passed over.
        Some(CycleState::Void) if db.state == SubscriptionState::Active => plan(db, period + 1),
        None if db.state == SubscriptionState::Active => plan(db, period),
        Some(CycleState::Void) => {}
        None => {
            db.attempts = 0;
            db.declines = 0;
        }
    }
    Some(())
}

/// `billd_internal.plan`: what lies before a return is one time that is passed over.
fn plan(db: &mut Database, next: u8) {
    db.attempts = 0;
    db.declines = 0;
    db.adjusted = false;
    db.period = next;
    if db.returned && next < LATER {
        db.cycles[usize::from(next)] = Some(Cycle {
            state: CycleState::Void,
            amount: db.price,
        });
        db.period = LATER;
    }
}
