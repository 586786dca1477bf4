//! Property 9: a subscription moves forward, one period for each debt that is closed.

use super::calendar::next_after;
use super::view::{View, Write, at, of_subscription};
use super::{Property, Violation};
use crate::ledger::Subscription;

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
    off_the_calendar(view, old, new).or_else(|| too_early(view, write, new))
}

/// A move to another period than the next one that is to be charged.
fn off_the_calendar(view: &View<'_>, old: &Subscription, new: &Subscription) -> Option<String> {
    let closed = |period| {
        let cycle = view.cycles.get(&(new.id.as_str(), period));
        cycle.map_or("not there", |cycle| cycle.state.as_str())
    };
    let left = closed(old.period);
    if !matches!(left, "paid" | "void") {
        return Some(format!(
            "it left the period {} for {}, but that debt is {left}",
            old.period, new.period
        ));
    }
    let mut period = old.period;
    loop {
        let Some((next, due_at)) = next_after(old, period) else {
            return Some(format!("no period follows {period}"));
        };
        if next == new.period {
            return (due_at != new.due_at).then(|| {
                format!(
                    "the period {next} falls due at {due_at}, not at {}",
                    new.due_at
                )
            });
        }
        if next > new.period {
            return Some(format!(
                "it went from the period {} to {}, but after {period} comes {next}",
                old.period, new.period
            ));
        }
        if closed(next) != "void" {
            return Some(format!(
                "it went from the period {} to {} and passed {next} over, whose debt is {}",
                old.period,
                new.period,
                closed(next)
            ));
        }
        period = next;
    }
}

/// A new period is charged when it falls due, or later if that has passed.
fn too_early(
    view: &View<'_>,
    write: &Write<'_, Subscription>,
    new: &Subscription,
) -> Option<String> {
    let next = new.next_charge_at?;
    let is_past = new.due_at.as_microsecond() <= view.billd_us(write.entry.at_us);
    let is_right = next == new.due_at || (is_past && next > new.due_at);
    (!is_right).then(|| {
        format!(
            "the period {} falls due at {}, but is to be charged at {next}",
            new.period, new.due_at
        )
    })
}
