//! Property 9: a subscription moves forward, one period for each debt that is closed.

use super::calendar::{is_on_calendar, is_same_day};
use super::view::{View, Write, at, of_subscription};
use super::{Property, Violation};
use crate::ledger::{Cycle, Subscription};

pub(super) fn one_period_at_a_time(view: &View<'_>, found: &mut Vec<Violation>) {
    for (id, writes) in &view.subscription_writes {
        let mut planned_by_person = false;
        for write in writes {
            let is_daemon = view.is_daemon(&write.entry.who);
            let (Some(old), Some(new)) = (write.old, write.new) else {
                continue;
            };
            if is_daemon && let Some(fault) = fault(view, write, old, new, planned_by_person) {
                let text = format!(
                    "{fault} (journal {}, by {}, at {})",
                    write.entry.id,
                    write.entry.who,
                    at(write.entry.at_us)
                );
                found.push(of_subscription(Property::OnePeriodAtATime, id, text));
            }
            if old.next_charge_at != new.next_charge_at {
                planned_by_person = !is_daemon;
            }
        }
    }
}

fn fault(
    view: &View<'_>,
    write: &Write<'_, Subscription>,
    old: &Subscription,
    new: &Subscription,
    planned_by_person: bool,
) -> Option<String> {
    if old.period == new.period {
        let (from, to) = (old.next_charge_at?, new.next_charge_at?);
        return (to < from && !planned_by_person)
            .then(|| format!("next_charge_at went back from {from} to {to}"));
    }
    off_the_calendar(view, write, old, new).or_else(|| too_early(view, write, new))
}

/// A move to a period that is not the next one: not on the calendar, or with time between that nobody closed.
fn off_the_calendar<'a>(
    view: &View<'a>,
    write: &Write<'a, Subscription>,
    old: &Subscription,
    new: &'a Subscription,
) -> Option<String> {
    let left = view.cycle_at((new.id.as_str(), old.period), write.entry);
    let state = left.map_or("not there", |cycle| cycle.state.as_str());
    if !matches!(state, "paid" | "free" | "void") {
        return Some(format!(
            "it left the period {} for {}, but that debt is {state}",
            old.period, new.period
        ));
    }
    // By then what is planned has changed the calendar.
    let is_changed_first = new.next_change_at.is_some_and(|at| at <= new.due_at);
    if !is_changed_first && !is_on_calendar(new) {
        return Some(format!(
            "the period {} begins at {}, when no period begins",
            new.period, new.due_at
        ));
    }
    let mut covered = left?.until_at?;
    let cycles = view.cycles_of(&new.id);
    let at_that_time = |cycle: &Cycle| view.cycle_at((new.id.as_str(), cycle.period), write.entry);
    let mut cycles: Vec<_> = cycles.filter_map(at_that_time).collect();
    cycles.sort_by_key(|cycle| cycle.due_at);
    // Passed over, or given away.
    let is_nobodys = |cycle: &&&Cycle| matches!(cycle.state.as_str(), "void" | "free");
    for cycle in cycles.iter().filter(is_nobodys) {
        if cycle.due_at <= covered || is_same_day(new, covered, cycle.due_at) {
            covered = covered.max(cycle.until_at?);
        }
    }
    // What a person has made of time to come is free until it comes.
    // So it is up to a planned change: the row is written when that acts.
    let now_us = view.billd_us(write.entry.at_us);
    let is_free = covered.as_microsecond() > now_us
        || is_changed_first && new.due_at.as_microsecond() > now_us;
    let lies_ahead = is_free && view.is_changed_by_person(&new.id);
    let is_closed = is_same_day(new, covered, new.due_at) || new.has_ended_by(covered);
    (covered < new.due_at && !is_closed && !lies_ahead).then(|| {
        format!(
            "it went from the period {} to {}, but nobody closed the time from {covered} to {}",
            old.period, new.period, new.due_at
        )
    })
}

/// A new period is charged when it falls due, or later if that has passed.
fn too_early(
    view: &View<'_>,
    write: &Write<'_, Subscription>,
    new: &Subscription,
) -> Option<String> {
    let next = new.next_charge_at?;
    let is_past = new.due_at.as_microsecond() <= view.billd_us(write.entry.at_us);
    // One that ends before has no further period: at its end it is cancelled.
    let ends = new.ends_at.is_some_and(|end| end <= new.due_at) && next <= new.due_at;
    let is_right = next == new.due_at || (is_past && next > new.due_at) || ends;
    (!is_right).then(|| {
        format!(
            "the period {} falls due at {}, but is to be charged at {next}",
            new.period, new.due_at
        )
    })
}
