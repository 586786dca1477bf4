//! The protocol as a model, checked in every state that it can reach. Documentation that runs.
//!
//! Read it in this order:
//!
//! - `state`: what there is. One subscription; rows as the schema has them, claims in the hands of
//!   daemons, the gateway's ledger, a stand-by.
//! - `actions`, `protocol`, `asking`, `world`: what can happen next. Each action names the code it stands for; the
//!   decisions are not modelled, `dunning` and `recheck` themselves are called.
//! - `store`: the SQL, statement by statement.
//! - `properties`, `rest`: what must hold always, and once the faults cease.
//! - `replay`: random traces of the model, replayed against the real statements in a real PostgreSQL.
//! - `variants`: programs with a flaw and worlds that lie. Each must yield a counterexample, or the
//!   model would prove nothing.
//!
//! `docs/PROOF.md` has the figures. `BILLD_MODEL=large cargo test --release --test model -- --nocapture`
//! looks at larger worlds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a model fails by panicking, its numbers are one digit long, and it shows what it found"
)]

mod actions;
mod asking;
mod decisions;
mod properties;
mod protocol;
mod replay;
mod rest;
mod state;
mod store;
mod variants;
mod world;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use billd::domain::ids::{AttemptNo, MerchantUid, SubscriptionId};
use jiff::civil::date;
use stateright::{Checker, Expectation, Model, Path, Property};

use actions::Action;
use properties::{
    COUNTED_ONCE, FENCE, INTENT, ONCE, TRUE_DECLINES, always, sometimes,
    sometimes_after_a_lost_tail, sometimes_with_people,
};
use protocol::{Bounds, Protocol};
use state::Name;
use variants::Variant;

/// One period, two attempts, two charges or questions at a time, any number of faults.
const FAULTS: Bounds = Bounds {
    periods: 1,
    attempts: 2,
    workers: 2,
    tail: 0,
    people: 0,
};
const PERIODS: Bounds = Bounds {
    periods: 2,
    attempts: 1,
    ..FAULTS
};
const PEOPLE: Bounds = Bounds {
    people: 1,
    ..FAULTS
};
const FAIL_OVER: Bounds = Bounds { tail: 1, ..FAULTS };
const LONGER_TAIL: Bounds = Bounds { tail: 2, ..FAULTS };

/// While no commit is lost, nothing is needed of the wait before a retry.
const WITHOUT_FAIL_OVER: &[Variant] = &[Variant::RetryAtOnce];

/// Looks at every state, and fails at the first property that does not hold, at an example that is
/// not reached, and at a number of states that is not of the magnitude the docs name.
fn check(
    bounds: Bounds,
    variants: &[Variant],
    examples: Vec<Property<Protocol>>,
    states: RangeInclusive<usize>,
) {
    let mut properties = always();
    properties.extend(examples);
    let protocol = Protocol::new(bounds, variants, properties);
    let checker = protocol.checker().spawn_bfs().join();
    let unique = checker.unique_state_count();
    println!(
        "{bounds:?}: {unique} states, {} steps, depth {}",
        checker.state_count(),
        checker.max_depth()
    );
    for property in &checker.model().properties {
        let found = checker.discovery(property.name);
        let is_example = property.expectation == Expectation::Sometimes;
        assert_eq!(
            found.is_some(),
            is_example,
            "{}: {}",
            property.name,
            found
                .map(|path| told(&path.into_actions()))
                .unwrap_or_default()
        );
    }
    assert!(checker.is_done());
    assert!(
        states.contains(&unique),
        "{unique} states: has the model changed? Then PROOF.md must, too"
    );
}

/// Asserts that these variants break the property, and how many steps the shortest way there has. With
/// one property and one thread the search is breadth first and ends at the first state that breaks it.
fn breaks(bounds: Bounds, variants: &[Variant], broken: &'static str, steps: usize) {
    let mut properties = always();
    properties.retain(|property| property.name == broken);
    let protocol = Protocol::new(bounds, variants, properties);
    let checker = protocol.checker().spawn_bfs().join();
    let path = checker.discovery(broken).map(Path::into_actions);
    let path = path.unwrap_or_else(|| panic!("{variants:?} breaks nothing: {broken}"));
    println!(
        "{variants:?} breaks \"{broken}\" in {} steps: {}",
        path.len(),
        told(&path)
    );
    assert_eq!(
        path.len(),
        steps,
        "PROOF.md names the length for {variants:?}"
    );
}

fn told(actions: &[Action]) -> String {
    let words: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
    words.join(" → ")
}

/// `BILLD_MODEL=large` looks at larger worlds, without a word about how many states they have.
fn is_large() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test has no settings")]
    std::env::var("BILLD_MODEL").is_ok_and(|size| size == "large")
}

#[test]
fn any_number_of_crashes_zombies_and_lost_answers_charges_once_and_loses_nothing() {
    check(FAULTS, WITHOUT_FAIL_OVER, sometimes(), 10_000..=20_000);
    if is_large() {
        let many = Bounds {
            attempts: 3,
            workers: 3,
            ..FAULTS
        };
        check(many, WITHOUT_FAIL_OVER, sometimes(), 1..=usize::MAX);
    }
}

#[test]
fn one_period_follows_another_whatever_happens_in_between() {
    check(PERIODS, WITHOUT_FAIL_OVER, Vec::new(), 5_000..=15_000);
    if is_large() {
        let both = Bounds {
            periods: 2,
            ..FAULTS
        };
        check(both, WITHOUT_FAIL_OVER, sometimes(), 1..=usize::MAX);
    }
}

#[test]
fn people_may_pause_cancel_and_reprice_at_any_step() {
    check(
        PEOPLE,
        WITHOUT_FAIL_OVER,
        sometimes_with_people(),
        50_000..=100_000,
    );
    if is_large() {
        let busy = Bounds {
            people: 2,
            ..FAULTS
        };
        check(
            busy,
            WITHOUT_FAIL_OVER,
            sometimes_with_people(),
            1..=usize::MAX,
        );
    }
}

#[test]
fn a_lost_tail_is_survived() {
    check(
        FAIL_OVER,
        &[],
        sometimes_after_a_lost_tail(),
        100_000..=200_000,
    );
    if is_large() {
        check(
            LONGER_TAIL,
            &[],
            sometimes_after_a_lost_tail(),
            1..=usize::MAX,
        );
    }
}

/// Hazard: a fail-over to an asynchronous stand-by forgets an attempt whose request has left, and the
/// program then writes its name off and charges under the next one.
#[test]
fn a_lost_tail_takes_all_three_rules() {
    breaks(FAIL_OVER, &[Variant::NotSentEndsName], ONCE, 11);
    breaks(FAIL_OVER, &[Variant::FenceCountsByOne], FENCE, 6);
    breaks(FAIL_OVER, &[Variant::FenceCountsByOne], TRUE_DECLINES, 9);
    breaks(FAIL_OVER, &[Variant::NoRestAfterFailOver], TRUE_DECLINES, 9);
}

#[test]
fn each_flaw_of_a_program_yields_its_counterexample() {
    let flawed = |flaw: Variant, broken: &'static str, steps: usize| {
        breaks(FAULTS, &[flaw], broken, steps);
    };
    flawed(Variant::SendBeforeBegin, INTENT, 2);
    flawed(Variant::TimeOutIsDecline, ONCE, 8);
    flawed(Variant::RescueByNewAttempt, ONCE, 8);
    flawed(Variant::RecordWithoutFence, FENCE, 5);
    flawed(Variant::LeaseShorterThanCall, ONCE, 16);
    flawed(Variant::NotFoundBelievedEarly, ONCE, 16);
    flawed(Variant::DeclineCountedTwice, COUNTED_ONCE, 5);
    // These three show where a name comes twice: after a lost tail.
    breaks(FAIL_OVER, &[Variant::NewestRecordWins], ONCE, 15);
    breaks(FAIL_OVER, &[Variant::DuplicateIsDecline], TRUE_DECLINES, 9);
    breaks(FAIL_OVER, &[Variant::RandomName], ONCE, 8);
}

#[test]
fn a_world_that_keeps_no_promise_is_survived_by_no_program() {
    let broken_promise = |lie: Variant, bounds: Bounds, steps: usize| {
        breaks(bounds, &[lie], ONCE, steps);
    };
    broken_promise(Variant::FailedForApproved, FAULTS, 10);
    broken_promise(Variant::ChargesAfterSettle, FAULTS, 16);
    broken_promise(Variant::ApprovesPaidName, FAIL_OVER, 8);
    broken_promise(Variant::TailOutlastsRetry, LONGER_TAIL, 17);
    // A rest after a fail-over makes up for short waits; without it they are needed.
    let hasty = &[Variant::NoRestAfterFailOver, Variant::RetryAtOnce];
    breaks(FAIL_OVER, hasty, ONCE, 12);
}

#[test]
fn the_models_names_are_the_programs_names() {
    let subscription = SubscriptionId(uuid::Uuid::from_u128(7));
    let derived = |name: Name| {
        let month = i8::try_from(name.period + 1).unwrap();
        let no = AttemptNo::new(name.no).unwrap();
        MerchantUid::derive(subscription, date(2026, month, 15), no)
    };
    let names: BTreeSet<MerchantUid> = Name::all().map(derived).collect();
    assert_eq!(names.len(), Name::all().count(), "one name for one attempt");
    let repeated = Name::all().map(derived).all(|name| names.contains(&name));
    assert!(repeated, "the same name for the same attempt");
}
