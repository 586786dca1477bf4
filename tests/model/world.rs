//! What others do: the stand-by's promotion, and people.

use billd::domain::state::{CycleState, SubscriptionState};

use crate::actions::Deed;
use crate::state::{AttemptState, Name, Standby, State};
use crate::store::replan;

/// The stand-by is promoted; whoever built on what it lacks is forgotten.
pub(crate) fn fail_over(state: &mut State) -> Option<()> {
    let Standby::Behind { database, commits } = state.standby else {
        return None;
    };
    if commits == 0 {
        return None;
    }
    for worker in state.workers.iter_mut().flatten() {
        worker.forgotten = worker.fence > database.fence;
    }
    state.database = database;
    state.standby = Standby::Promoted;
    Some(())
}

/// Plain SQL, and what the triggers of the schema make of it.
pub(crate) fn person(state: &mut State, deed: Deed) -> Option<()> {
    state.people = state.people.checked_sub(1)?;
    let db = &mut state.database;
    let current = usize::from(db.period);
    let before = db.state;
    match (deed, db.state) {
        (Deed::Reprice, _) => db.price ^= 1,
        (Deed::Pause, SubscriptionState::Active) => db.state = SubscriptionState::Paused,
        (
            Deed::Activate,
            SubscriptionState::Paused | SubscriptionState::Cancelled | SubscriptionState::PastDue,
        ) => {
            db.state = SubscriptionState::Active;
            db.returned = true;
            db.adjusted = true;
            db.recheck = true;
            if let Some(cycle) = db.cycles.get_mut(current).and_then(Option::as_mut)
                && cycle.state == CycleState::Uncollectible
            {
                cycle.state = CycleState::Due;
                db.declines = 0;
            }
            // At once, or when the attempt that is open is recorded.
            replan(db);
        }
        (Deed::Cancel, SubscriptionState::Active | SubscriptionState::PastDue) => {
            db.state = SubscriptionState::Cancelled;
            let is_open = Name::all().any(|name| db.attempt[name].state.is_open());
            for cycle in db.cycles.iter_mut().flatten().filter(|_| !is_open) {
                if matches!(cycle.state, CycleState::Due | CycleState::Uncollectible) {
                    cycle.state = CycleState::Void;
                }
            }
        }
        (Deed::Pause | Deed::Activate | Deed::Cancel, _) => return None,
    }
    // The trigger subscription_moved_during_attempt: what a claim began is found by this mark. An attempt that
    // was taken over says itself when to ask.
    let is_claimed = |name: Name| {
        let attempt = db.attempt[name];
        attempt.state == AttemptState::Started && attempt.sends == 1
    };
    db.recheck |= db.state != before && db.open.is_some_and(is_claimed);
    Some(())
}
