//! What comes of it once the faults cease.
//!
//! "Every due period is settled in the end" is a claim about all infinite runs, and a run may crash
//! for ever. A checker's `eventually` is blind to cycles besides: it looks at ends only, and here a
//! question may be asked again without end. So the claim is put otherwise, and it is stronger: from
//! *every* moment that can be reached, a world without further faults (whoever holds a claim goes on,
//! the gateway answers the truth) comes to rest after finitely many steps, and what it then says is
//! right. Each calm step is one of the model's own, so a calm run is one of its runs.

use billd::domain::state::{CycleState, SubscriptionState};

use crate::actions::{Action, Verdict, View};
use crate::protocol::Protocol;
use crate::state::{AttemptState, Name, Phase, State};

/// More than any calm run of these sizes needs.
const STEPS_MAX: usize = 100;

/// Follows the calm run from here to its rest. Moments that were passed before are not passed again.
pub(crate) fn calm_brings_rest(protocol: &Protocol, state: &State) -> bool {
    let mut passed = Vec::new();
    let mut now = *state;
    while passed.len() < STEPS_MAX {
        if protocol.restful.lock().unwrap().contains(&now) {
            protocol.restful.lock().unwrap().extend(passed);
            return true;
        }
        passed.push(now);
        let Some(next) = calm_step(protocol, &now) else {
            if is_settled(protocol, &now) {
                protocol.restful.lock().unwrap().extend(passed);
                return true;
            }
            return false;
        };
        now = next;
    }
    false
}

/// The one step that a calm world takes next; `None` at rest.
pub(crate) fn calm_step(protocol: &Protocol, state: &State) -> Option<State> {
    let workers = state
        .workers()
        .flat_map(|(index, worker)| match worker.phase {
            Phase::Answer { .. } => vec![Action::Record(index)],
            Phase::Claimed { .. } => vec![Action::Send(index), Action::NotSent(index)],
            Phase::InFlight { .. } => vec![
                Action::Decide(worker.name, Verdict::Approved, Some(index)),
                Action::TimeOut(index),
            ],
            Phase::Asking => vec![Action::LookUp(index, View::Settled)],
        });
    let orphans = Name::all().map(|name| Action::Decide(name, Verdict::Approved, None));
    let engine = [
        Action::Audit,
        Action::Recheck,
        Action::TakeOver,
        Action::Claim,
    ];
    let mut steps = workers.chain(orphans).chain(engine);
    if waits_for_a_person(state) && state.workers().count() == 0 {
        return None;
    }
    steps.find_map(|action| protocol.take(state, action))
}

/// Parked, and the gateway has nothing: asking goes on, daily, and changes nothing.
fn waits_for_a_person(state: &State) -> bool {
    let Some(name) = state.database.open else {
        return false;
    };
    let ledger = &state.gateway[name];
    let has_nothing = ledger.in_process == 0 && ledger.approved == 0 && !ledger.failed;
    state.database.attempt[name].parked && has_nothing
}

fn is_settled(protocol: &Protocol, state: &State) -> bool {
    let db = &state.database;
    let books_agree = Name::all().all(|name| {
        let is_paid = db.attempt[name].state == AttemptState::Paid;
        is_paid == (state.gateway[name].approved > 0)
    });
    let no_doubt =
        Name::all().all(|name| !db.attempt[name].state.is_open() || waits_for_a_person(state));
    let is_done = db.period >= protocol.bounds.periods;
    // What the view `billd.attention` shows, or what a person has stopped.
    let is_seen = waits_for_a_person(state)
        || db.state != SubscriptionState::Active
        || db.attempts >= protocol.bounds.attempts;
    let is_not_due = |cycle: CycleState| {
        matches!(
            cycle,
            CycleState::Paid | CycleState::Void | CycleState::Uncollectible
        )
    };
    let passed = (0_u8..)
        .zip(&db.cycles)
        .take_while(|(period, _)| *period < db.period);
    let none_lost = passed
        .map(|(_, cycle)| cycle)
        .all(|cycle| cycle.is_some_and(|cycle| is_not_due(cycle.state)));
    books_agree && no_doubt && none_lost && (is_done || is_seen)
}
