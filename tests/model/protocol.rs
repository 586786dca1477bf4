//! What can happen next: every step of the program, every fault, and what the gateway does.
//!
//! Faults are not counted. Any number of crashes, lost answers, zombies and lost commit replies may
//! happen, in any order; the state stays finite because nothing in it grows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use billd::domain::dunning::{decide, decide_sent_again};
use stateright::{Model, Property};

use crate::actions::{Action, Deed, Verdict, View};
use crate::decisions::{POLICY, history, outcome, step};
use crate::state::{
    AttemptState, Ledger, Name, Outcome, Phase, Standby, State, Step, WORKERS, Worker,
};
use crate::store::{self, Claimed, Unchecked};
use crate::variants::Variant;
use crate::world::{fail_over, person};

/// How large a world is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Periods that are due.
    pub(crate) periods: u8,
    /// Attempts per period; the last stands for number 99.
    pub(crate) attempts: u8,
    /// Charges and questions at one moment.
    pub(crate) workers: usize,
    /// Commits that a fail-over may lose; 0: there is no stand-by.
    pub(crate) tail: u8,
    /// How often people may put their hands in.
    pub(crate) people: u8,
}

/// The protocol in a world of this size, sound or broken.
#[derive(Clone)]
pub(crate) struct Protocol {
    pub(crate) bounds: Bounds,
    pub(crate) variants: Vec<Variant>,
    /// The properties to look at.
    pub(crate) properties: Vec<Property<Self>>,
    /// Moments from which calm is known to bring rest.
    pub(crate) restful: Arc<Mutex<HashSet<State>>>,
}

impl Protocol {
    pub(crate) fn new(
        bounds: Bounds,
        variants: &[Variant],
        properties: Vec<Property<Self>>,
    ) -> Self {
        Self {
            bounds,
            variants: variants.to_vec(),
            properties,
            restful: Arc::default(),
        }
    }

    pub(crate) fn is(&self, variant: Variant) -> bool {
        self.variants.contains(&variant)
    }

    pub(crate) fn candidates(state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Claim);
        for (index, worker) in state.workers() {
            match worker.phase {
                Phase::Claimed { .. } => actions.extend([
                    Action::Send(index),
                    Action::NotSent(index),
                    Action::LeaseEnds(index),
                ]),
                Phase::InFlight { .. } => {
                    actions.extend([Action::TimeOut(index), Action::LeaseEnds(index)]);
                }
                Phase::Asking => {
                    let views = [View::Settled, View::PaidAlready, View::Nothing, View::Lie];
                    actions.extend(views.map(|view| Action::LookUp(index, view)));
                }
                Phase::Answer { .. } => actions.extend([
                    Action::Record(index),
                    Action::RecordUnheard(index),
                    Action::LeaseEnds(index),
                ]),
            }
            actions.push(Action::Crash(index));
        }
        for name in Name::all().filter(|name| state.gateway[*name].in_process > 0) {
            let verdicts = [
                Verdict::Approved,
                Verdict::Declined,
                Verdict::DeclinedUnrecorded,
            ];
            for verdict in verdicts {
                actions.push(Action::Decide(name, verdict, None));
                let waits = |worker: &Worker| {
                    worker.name == name && matches!(worker.phase, Phase::InFlight { .. })
                };
                let waiting = state.workers().filter(|(_, worker)| waits(worker));
                actions
                    .extend(waiting.map(|(index, _)| Action::Decide(name, verdict, Some(index))));
            }
        }
        actions.extend([Action::TakeOver, Action::Recheck, Action::Audit]);
        actions.extend([Action::FallBehind, Action::FailOver]);
        if state.people > 0 {
            let deeds = [Deed::Pause, Deed::Activate, Deed::Cancel, Deed::Reprice];
            actions.extend(deeds.map(Action::Person));
        }
    }

    /// The step, if it can be taken, and its moment brought to normal form.
    pub(crate) fn take(&self, before: &State, action: Action) -> Option<State> {
        let state = self.step(before, action)?.normalised();
        (state != *before).then_some(state)
    }

    /// The step, if it can be taken. Workers keep their places, and fences their numbers.
    pub(crate) fn step(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Claim => self.claim(&mut state)?,
            Action::Send(worker) => self.send(&mut state, worker)?,
            Action::NotSent(worker) => self.not_sent(&mut state, worker)?,
            Action::Decide(name, verdict, to) => self.decide(&mut state, name, verdict, to)?,
            Action::TimeOut(worker) => self.answer(&mut state, worker, Outcome::Unknown)?,
            Action::LeaseEnds(index) => {
                let worker = state.workers[index].as_mut()?;
                if worker.late {
                    return None;
                }
                worker.late = true;
            }
            Action::TakeOver => self.take_over(&mut state)?,
            Action::LookUp(worker, view) => self.look_up(&mut state, worker, view)?,
            Action::Record(worker) => self.record(&mut state, worker, true)?,
            Action::RecordUnheard(worker) => self.record(&mut state, worker, false)?,
            Action::Crash(index) => {
                state.workers[index].take()?;
            }
            Action::Recheck => {
                let fence = self.next_fence(&state);
                store::recheck_one(&mut state.database, fence)?;
                self.committed(&mut state, before);
            }
            Action::Audit => {
                let paid = Name::all()
                    .find(|name| written_off(&state, *name) && state.gateway[*name].approved > 0)?;
                write_payment(&mut state, paid);
                self.committed(&mut state, before);
            }
            Action::FallBehind => {
                if state.standby != Standby::InStep {
                    return None;
                }
                state.standby = Standby::Behind {
                    database: state.database,
                    commits: 0,
                };
            }
            Action::FailOver => fail_over(&mut state)?,
            Action::Person(deed) => {
                person(&mut state, deed)?;
                self.committed(&mut state, before);
            }
        }
        (state != *before).then_some(state)
    }

    // ------------------------------------------------------------------- claim, begin, charge

    fn claim(&self, state: &mut State) -> Option<()> {
        if state.workers().count() >= self.bounds.workers {
            return None;
        }
        if self.makes_another_name(state) {
            if !self.retry_wait_is_over(state) {
                return None;
            }
            // A retry after a refusal waits for longer than a stand-by lags: that one has it by now.
            if let Standby::Behind { database, commits } = &mut state.standby
                && !self.is(Variant::TailOutlastsRetry)
            {
                *database = state.database;
                *commits = 0;
            }
        }
        if !self.tail_has_ended(state) {
            return None;
        }
        let before = *state;
        let fence = self.next_fence(state);
        let bounds = (self.bounds.periods, self.bounds.attempts);
        let not_sent_ends_name = self.is(Variant::NotSentEndsName);
        let claimed = store::claim_due(&mut state.database, fence, bounds, not_sent_ends_name)?;
        if self.is(Variant::SendBeforeBegin) {
            state.database = before.database;
        } else {
            self.committed(state, &before);
        }
        if let Claimed::Begun(worker) = claimed {
            *state.workers.iter_mut().find(|slot| slot.is_none())? = Some(worker);
        }
        Some(())
    }

    /// Whether a claim would ask under a further name. What did not leave waits for seconds only, and
    /// nothing is asked of that wait: it keeps its name.
    fn makes_another_name(&self, state: &State) -> bool {
        let db = &state.database;
        if db.attempts == 0 {
            return false;
        }
        let last = Name {
            period: db.period,
            no: db.attempts,
        };
        let is_kept = db.attempt[last].state == AttemptState::NotSent;
        !is_kept || self.is(Variant::NotSentEndsName)
    }

    /// Every wait after a proved refusal is longer than what a request or a lease can last.
    fn retry_wait_is_over(&self, state: &State) -> bool {
        let period = state.database.period;
        self.is(Variant::RetryAtOnce)
            || Name::all()
                .filter(|name| name.period == period)
                .all(|name| has_ended(state, name))
    }

    /// After a fail-over nothing is begun, taken over or sent again before all that was under way under
    /// the lost commits has ended.
    pub(crate) fn tail_has_ended(&self, state: &State) -> bool {
        self.is(Variant::NoRestAfterFailOver)
            || state.standby != Standby::Promoted
            || Name::all().all(|name| has_ended(state, name))
    }

    fn send(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index].as_mut()?;
        let Phase::Claimed { again } = worker.phase else {
            return None;
        };
        if worker.late && !self.is(Variant::LeaseShorterThanCall) {
            return None;
        }
        worker.phase = Phase::InFlight { again };
        let (name, amount, forgotten) = (worker.name, worker.amount, worker.forgotten);
        let attempt = state.database.attempt[name].state;
        // After a lost tail the gateway's refusal of a paid name is what is left.
        if !forgotten && state.standby != Standby::Promoted {
            state.seen.sent_without_intent |= attempt == AttemptState::Absent;
            state.seen.sent_after_final |= attempt.is_final();
        }
        let ledger = &mut state.gateway[name];
        ledger.in_process += 1;
        state.seen.two_amounts |= *ledger.amount.get_or_insert(amount) != amount;
        Some(())
    }

    fn not_sent(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index].as_mut()?;
        if worker.phase == (Phase::Claimed { again: true }) && worker.late {
            // `send_again` leaves it as it is: open, and asked about.
            state.workers[index] = None;
            return Some(());
        }
        self.answer(state, index, Outcome::NotSent)
    }

    /// An outcome is at hand: decide.
    fn answer(&self, state: &mut State, index: usize, heard: Outcome) -> Option<()> {
        let worker = state.workers[index].as_mut()?;
        let (Phase::InFlight { again } | Phase::Claimed { again }) = worker.phase else {
            return None;
        };
        let heard = match heard {
            Outcome::Unknown if self.is(Variant::TimeOutIsDecline) => Outcome::Declined,
            Outcome::Duplicate if self.is(Variant::DuplicateIsDecline) => Outcome::Declined,
            Outcome::Paid
            | Outcome::Declined
            | Outcome::NotSent
            | Outcome::Unknown
            | Outcome::Duplicate => heard,
        };
        let history = history(worker, self.bounds.attempts);
        let (outcome, decision) = if again {
            let (outcome, decision) = decide_sent_again(&POLICY, outcome(heard), history);
            (outcome.map(|_| heard), decision)
        } else {
            (Some(heard), decide(&POLICY, &outcome(heard), history))
        };
        worker.phase = Phase::Answer {
            outcome,
            step: step(decision),
            not_found: 0,
        };
        Some(())
    }

    // ---------------------------------------------------------------------------- the gateway

    fn decide(
        &self,
        state: &mut State,
        name: Name,
        verdict: Verdict,
        to: Option<usize>,
    ) -> Option<()> {
        // A name that our books no longer have is random elsewhere, so the gateway can't know it again.
        let is_recognised = !self.is(Variant::RandomName) || state.standby != Standby::Promoted;
        let ledger = &mut state.gateway[name];
        ledger.in_process = ledger.in_process.checked_sub(1)?;
        let refuses_paid = is_recognised && !self.is(Variant::ApprovesPaidName);
        let heard = if ledger.approved > 0 && refuses_paid {
            if verdict != Verdict::Approved {
                return None;
            }
            note_failed(ledger);
            Outcome::Duplicate
        } else {
            match verdict {
                Verdict::Approved => {
                    ledger.approved += 1;
                    ledger.newest_failed = false;
                    Outcome::Paid
                }
                Verdict::Declined => {
                    note_failed(ledger);
                    Outcome::Declined
                }
                Verdict::DeclinedUnrecorded => Outcome::Declined,
            }
        };
        match to {
            Some(worker) => self.answer(state, worker, heard),
            None => Some(()),
        }
    }

    // ------------------------------------------------------------------------------- recording

    fn record(&self, state: &mut State, index: usize, is_heard: bool) -> Option<()> {
        let before = *state;
        let worker = before.workers[index]?;
        let Phase::Answer {
            outcome,
            step,
            not_found,
        } = worker.phase
        else {
            return None;
        };
        if step == Step::SendAgain && !self.tail_has_ended(state) {
            // Neither written nor moved: it stays open, and is asked about anew.
            state.workers[index] = None;
            return Some(());
        }
        let unchecked = Unchecked {
            fence: self.is(Variant::RecordWithoutFence),
            open_attempt: self.is(Variant::DeclineCountedTwice),
        };
        let answer = (outcome, step, not_found);
        let recorded = store::record(&mut state.database, &worker, answer, unchecked);
        let is_stale = worker.forgotten || worker.fence != before.database.fence;
        state.seen.moved_by_stale_claim |= recorded.moved && is_stale;
        if is_heard {
            let goes_on = step == Step::SendAgain && recorded.moved;
            state.workers[index] = goes_on.then_some(Worker {
                phase: Phase::Claimed { again: true },
                late: false,
                ..worker
            });
        }
        self.committed(state, &before);
        Some(())
    }

    // -------------------------------------------------------------------------------- durability

    /// The fence of a new claim.
    pub(crate) fn next_fence(&self, state: &State) -> u8 {
        if self.is(Variant::FenceCountsByOne) {
            return state.database.fence + 1;
        }
        // A number that nobody has had, not even in a tail that was lost.
        let theirs = state.workers().map(|(_, worker)| worker.fence).max();
        state.database.fence.max(theirs.unwrap_or(0)) + 1
    }

    /// Something was committed: a stand-by that has stopped falls further behind. One that would lose
    /// more than this instance looks at has caught up instead.
    pub(crate) fn committed(&self, state: &mut State, before: &State) {
        if state.database == before.database {
            return;
        }
        if let Standby::Behind { commits, .. } = &mut state.standby {
            *commits += 1;
            if *commits > self.bounds.tail {
                state.standby = Standby::Absent;
            }
        }
    }
}

/// Whether no request of this name can still be on its way: none is in process, and nobody with a
/// lease is about to send one.
pub(crate) fn has_ended(state: &State, name: Name) -> bool {
    let may_send = |worker: &Worker| {
        worker.name == name && !worker.late && matches!(worker.phase, Phase::Claimed { .. })
    };
    state.gateway[name].in_process == 0 && !state.workers().any(|(_, worker)| may_send(worker))
}

fn written_off(state: &State, name: Name) -> bool {
    matches!(
        state.database.attempt[name].state,
        AttemptState::Declined | AttemptState::NotSent
    )
}

/// A payment for an attempt that was written off: a fact, and a reason to derive the next step again.
fn write_payment(state: &mut State, name: Name) {
    state.database.attempt[name].state = AttemptState::Paid;
    state.database.recheck = true;
}

fn note_failed(ledger: &mut Ledger) {
    ledger.failed = true;
    ledger.newest_failed = true;
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!(
            self.bounds.workers <= WORKERS,
            "the state has no room for more"
        );
        let standby = if self.bounds.tail > 0 {
            Standby::InStep
        } else {
            Standby::Absent
        };
        vec![State::new(self.bounds.people, standby).normalised()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        Self::candidates(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.take(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }
}
