//! Rescue means ask: taking over what lost its daemon, and what a look-up says.

use billd::domain::attempt::Lookup;
use billd::domain::dunning::{Question, decide_lookup};
use billd::domain::state::SubscriptionState;

use crate::actions::View;
use crate::decisions::{NOT_FOUND_MIN, POLICY, history, lookup, step};
use crate::protocol::{Protocol, has_ended};
use crate::state::{AttemptState, Ledger, Outcome, Phase, State, Step, Worker};
use crate::store;
use crate::variants::Variant;

impl Protocol {
    pub(crate) fn take_over(&self, state: &mut State) -> Option<()> {
        let before = *state;
        let is_live = |worker: &Worker| state.holds(worker) && !worker.late;
        if state.workers().any(|(_, worker)| is_live(worker)) {
            return None;
        }
        let name = state.database.open?;
        if !self.tail_has_ended(state) {
            return None;
        }
        let fence = self.next_fence(state);
        if self.is(Variant::RescueByNewAttempt) {
            let database = &mut state.database;
            database.attempt[name].state = AttemptState::Declined;
            database.fence = fence;
            database.open = None;
            self.committed(state, &before);
            return Some(());
        }
        if state.workers().count() >= self.bounds.workers {
            return None;
        }
        let worker = store::claim_open(&mut state.database, fence)?;
        self.committed(state, &before);
        *state.workers.iter_mut().find(|slot| slot.is_none())? = Some(worker);
        Some(())
    }

    pub(crate) fn look_up(&self, state: &mut State, index: usize, view: View) -> Option<()> {
        let worker = state.workers[index].as_ref()?;
        let name = worker.name;
        if worker.phase != Phase::Asking {
            return None;
        }
        let ledger = state.gateway[name];
        let is_settled = has_ended(state, name);
        let truth = self.truth(ledger);
        let heard = match view {
            View::Settled if is_settled => Ok(truth),
            View::PaidAlready if !is_settled && truth == lookup::PAID => Ok(truth),
            View::Nothing => Err(()),
            View::Lie if self.is(Variant::NotFoundBelievedEarly) && !is_settled => {
                Ok(lookup::NOT_FOUND)
            }
            View::Lie if self.is(Variant::ChargesAfterSettle) && !is_settled => {
                Ok(lookup::NOT_FOUND)
            }
            View::Lie if self.is(Variant::FailedForApproved) && ledger.approved > 0 => {
                Ok(lookup::FAILED)
            }
            View::Settled | View::PaidAlready | View::Lie => return None,
        };
        let has_waited = matches!(view, View::Settled | View::Lie);
        let attempt = state.database.attempt[name];
        let not_found = if has_waited && heard == Ok(lookup::NOT_FOUND) {
            (attempt.not_found + 1).min(u8::try_from(NOT_FOUND_MIN).unwrap())
        } else {
            0
        };
        let question = Question {
            age: if has_waited {
                POLICY.settle
            } else {
                std::time::Duration::ZERO
            },
            asks: 1,
            not_found: u16::from(not_found),
            sends: attempt.sends,
        };
        let heard: Result<Lookup, ()> = heard.map(lookup::of);
        let history = history(worker, self.bounds.attempts);
        let (proved, decision) =
            decide_lookup(&POLICY, heard.as_ref().map_err(drop), &question, history);
        // Who has left meanwhile is not charged by it. The program looks when it takes over, and again when it records.
        let may_leave = state.database.state == SubscriptionState::Active;
        let decided = step(decision);
        let step = if decided == Step::SendAgain && !may_leave {
            Step::Park
        } else {
            decided
        };
        state.workers[index].as_mut()?.phase = Phase::Answer {
            outcome: proved.as_ref().map(lookup::word),
            step,
            not_found,
        };
        Some(())
    }

    /// What an honest look-up says once all is settled: one payment outweighs any number of failures.
    pub(crate) fn truth(&self, ledger: Ledger) -> Outcome {
        let newest_wins = self.is(Variant::NewestRecordWins) && ledger.newest_failed;
        if ledger.approved > 0 && !newest_wins {
            lookup::PAID
        } else if ledger.failed {
            lookup::FAILED
        } else {
            lookup::NOT_FOUND
        }
    }
}
