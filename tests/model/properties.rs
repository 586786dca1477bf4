//! What must hold.

use billd::domain::state::{CycleState, SubscriptionState};
use stateright::Property;

use crate::protocol::Protocol;
use crate::rest;
use crate::state::{AttemptState, Name, Outcome, PERIODS, Phase, Standby, State};

pub(crate) const ONCE: &str = "money moves at most once per period";
pub(crate) const INTENT: &str = "the intent is durable before the request leaves";
const FINAL: &str = "no request leaves once its attempt is final";
const ONE_SUM: &str = "one name, one sum";
const ONE_QUESTION: &str = "at most one attempt is open";
pub(crate) const FENCE: &str = "a stale claim moves nothing";
pub(crate) const COUNTED_ONCE: &str = "a decline is counted once";
const IN_TURN: &str = "periods follow one another, and none is skipped";
const TRUE_BOOKS: &str = "what is paid here was approved there";
pub(crate) const TRUE_DECLINES: &str = "what is declined here was not approved there";
const REST: &str = "calm brings rest, and at rest nothing is lost and the books agree";

/// Everything that must always hold.
pub(crate) fn always() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONCE, |_, state| money_moves_once(state)),
        Property::always(INTENT, |_, state: &State| !state.seen.sent_without_intent),
        Property::always(FINAL, |_, state: &State| !state.seen.sent_after_final),
        Property::always(ONE_SUM, |_, state: &State| !state.seen.two_amounts),
        Property::always(ONE_QUESTION, |_, state| open_attempts(state) <= 1),
        Property::always(FENCE, |_, state: &State| !state.seen.moved_by_stale_claim),
        Property::always(COUNTED_ONCE, |_, state| declines_are_counted_once(state)),
        Property::always(IN_TURN, |_, state| periods_follow_one_another(state)),
        Property::always(TRUE_BOOKS, |_, state| paid_here_was_approved_there(state)),
        Property::always(TRUE_DECLINES, |_, state| {
            declined_here_was_not_approved_there(state)
        }),
        Property::always(REST, rest::calm_brings_rest),
    ]
}

/// What a model that deserves its name must reach.
pub(crate) fn sometimes() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes(
            "an attempt is left without a live claim",
            |_, state: &State| open_attempts(state) == 1 && state.workers().count() == 0,
        ),
        Property::sometimes(
            "a look-up finds the payment of a dead daemon",
            |_, state: &State| {
                state.workers().any(|(_, worker)| {
                    state.database.attempt[worker.name].state == AttemptState::Unknown
                        && is_answer(worker.phase, Outcome::Paid)
                        && state.holds(worker)
                })
            },
        ),
        Property::sometimes(
            "a zombie holds a decline that must be ignored",
            |_, state: &State| {
                state.workers().any(|(_, worker)| {
                    worker.late
                        && !state.holds(worker)
                        && is_answer(worker.phase, Outcome::Declined)
                })
            },
        ),
        Property::sometimes(
            "a zombie reports a payment that nobody else knows",
            |_, state: &State| {
                state.workers().any(|(_, worker)| {
                    worker.late
                        && !state.holds(worker)
                        && is_answer(worker.phase, Outcome::Paid)
                        && state.database.attempt[worker.name].state.is_open()
                })
            },
        ),
        Property::sometimes("the same name leaves again", |_, state: &State| {
            Name::all().any(|name| state.database.attempt[name].sends > 1)
        }),
        Property::sometimes("an attempt waits for a person", |_, state: &State| {
            Name::all().any(|name| state.database.attempt[name].parked)
        }),
        Property::sometimes("a debt is finally declined", |_, state: &State| {
            state
                .database
                .cycles
                .iter()
                .flatten()
                .any(|cycle| cycle.state == CycleState::Uncollectible)
        }),
        Property::sometimes(
            "every period is paid",
            |protocol: &Protocol, state: &State| state.database.period == protocol.bounds.periods,
        ),
    ]
}

/// Only where there is a stand-by.
pub(crate) fn sometimes_after_a_lost_tail() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("the refusal of a paid name is met", |_, state: &State| {
            state
                .workers()
                .any(|(_, worker)| is_answer(worker.phase, Outcome::Duplicate))
        }),
        Property::sometimes(
            "a lost tail is survived",
            |protocol: &Protocol, state: &State| {
                state.standby == Standby::Promoted
                    && state.database.period == protocol.bounds.periods
            },
        ),
    ]
}

fn is_answer(phase: Phase, wanted: Outcome) -> bool {
    matches!(phase, Phase::Answer { outcome: Some(outcome), .. } if outcome == wanted)
}

fn money_moves_once(state: &State) -> bool {
    (0_u8..).take(PERIODS).all(|period| {
        let of_period = Name::all().filter(|name| name.period == period);
        of_period
            .map(|name| state.gateway[name].approved)
            .sum::<u8>()
            <= 1
    })
}

fn open_attempts(state: &State) -> usize {
    Name::all()
        .filter(|name| state.database.attempt[*name].state.is_open())
        .count()
}

fn declines_are_counted_once(state: &State) -> bool {
    let db = &state.database;
    let declined =
        Name::all().filter(|name| name.period == db.period && db.attempt[*name].state.is_final());
    usize::from(db.declines) <= declined.count()
}

fn periods_follow_one_another(state: &State) -> bool {
    let db = &state.database;
    (0_u8..).zip(&db.cycles).all(|(period, cycle)| {
        let closed =
            cycle.is_some_and(|cycle| matches!(cycle.state, CycleState::Paid | CycleState::Void));
        (period >= db.period || closed) && (period <= db.period || cycle.is_none())
    })
}

fn paid_here_was_approved_there(state: &State) -> bool {
    Name::all().all(|name| {
        state.database.attempt[name].state != AttemptState::Paid || state.gateway[name].approved > 0
    })
}

fn declined_here_was_not_approved_there(state: &State) -> bool {
    Name::all().all(|name| {
        state.database.attempt[name].state != AttemptState::Declined
            || state.gateway[name].approved == 0
    })
}

/// Only where people put their hands in.
pub(crate) fn sometimes_with_people() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes(
            "a row is cancelled while it is charged",
            |_, state: &State| {
                state.database.state == SubscriptionState::Cancelled
                    && state
                        .workers()
                        .any(|(_, worker)| matches!(worker.phase, Phase::InFlight { .. }))
            },
        ),
        Property::sometimes(
            "a name keeps its sum though the price has changed",
            |_, state: &State| {
                Name::all().any(|name| {
                    let asked = state.gateway[name].amount;
                    asked.is_some_and(|amount| amount != state.database.price)
                })
            },
        ),
    ]
}
