//! Properties 15 and 16: which time is billed.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::view::{View, Write, at, of_subscription};
use super::{Property, Violation};
use crate::ledger::{Cycle, Subscription};

/// What a rounding of two clocks may make of one instant.
const ROUNDING_US: i64 = 1_000;

type Debts<'a> = BTreeMap<Date, &'a Cycle>;

/// 15: whatever was changed in between, no time belongs to two debts. Those that became void are none.
pub(super) fn time_billed_once(view: &View<'_>, found: &mut Vec<Violation>) {
    for id in view.subscription_writes.keys() {
        let writes = debt_writes(view, id);
        let mut debts = Debts::new();
        let mut text = None;
        // A transaction moves one end and begins the next period; what it leaves is judged.
        for of_one in writes.chunk_by(|a, b| a.entry.txid == b.entry.txid) {
            for write in of_one {
                if let Some(row) = write.new {
                    debts.insert(row.period, row);
                }
            }
            let mut changed = of_one.iter().filter(|write| !is_fact(write));
            text = text.or_else(|| changed.find_map(|write| overlap(&debts, write)));
        }
        found.extend(text.map(|text| of_subscription(Property::TimeBilledOnce, id, text)));
    }
}

/// Money that moved for a debt that was void is written down, whatever was opened since.
fn is_fact(write: &Write<'_, Cycle>) -> bool {
    let was_void = write.old.is_some_and(|row| row.state == "void");
    was_void && write.new.is_some_and(|row| row.state == "paid")
}

fn overlap(debts: &Debts<'_>, write: &Write<'_, Cycle>) -> Option<String> {
    let row = debts.get(&write.new?.period)?;
    let other = debts.values().find(|other| {
        other.period != row.period
            && other.state != "void"
            && row.state != "void"
            && other.until_at > Some(row.due_at)
            && row.until_at > Some(other.due_at)
    })?;
    Some(format!(
        "the debt of {} pays for the time from {} to {}, but that of {} begins at {} and is {} (journal {}, by {})",
        other.period,
        other.due_at,
        other
            .until_at
            .map_or("?".to_owned(), |until| until.to_string()),
        row.period,
        row.due_at,
        row.state,
        write.entry.id,
        write.entry.who,
    ))
}

/// All writes of the debts of a subscription, in order.
fn debt_writes<'a, 'b>(view: &'b View<'a>, id: &str) -> Vec<&'b Write<'a, Cycle>> {
    let of_it = view
        .cycle_writes
        .iter()
        .filter(|((whose, _), _)| *whose == id);
    let mut writes: Vec<_> = of_it.flat_map(|(_, writes)| writes).collect();
    writes.sort_by_key(|write| write.entry.id);
    writes
}

/// 16: a debt is opened only for what fell due while its subscription was active, and after its last return.
pub(super) fn nothing_out_of_service(view: &View<'_>, found: &mut Vec<Violation>) {
    for (id, writes) in &view.subscription_writes {
        let opened = debt_writes(view, id);
        let opened = opened.iter().filter(|write| write.old.is_none());
        let mut texts = opened.filter_map(|debt| out_of_service(view, writes, debt));
        if let Some(text) = texts.next() {
            found.push(of_subscription(Property::NothingOutOfService, id, text));
        }
    }
}

fn out_of_service(
    view: &View<'_>,
    writes: &[Write<'_, Subscription>],
    debt: &Write<'_, Cycle>,
) -> Option<String> {
    let row = debt.new.filter(|row| row.state == "due")?;
    let told = format!(
        "the debt of {} was opened for time from {} on (journal {}, by {})",
        row.period, row.due_at, debt.entry.id, debt.entry.who
    );
    // Who sets it active and opens a debt in one transaction may do so in either order.
    let before = writes
        .iter()
        .filter(|write| write.entry.id < debt.entry.id || write.entry.txid == debt.entry.txid);
    let before: Vec<_> = before.collect();
    let is_active =
        |write: &&&Write<'_, Subscription>| write.new.is_some_and(|row| row.state == "active");
    let last = before.iter().rfind(|write| write.entry.id < debt.entry.id);
    let same = before.iter().filter(|w| w.entry.txid == debt.entry.txid);
    if last.into_iter().chain(same).filter(is_active).count() == 0 {
        let state = last
            .and_then(|write| write.new)
            .map_or("gone", |row| &row.state);
        return Some(format!("{told}, while the subscription was {state}"));
    }
    let back = before.iter().rfind(|write| comes_back(view, write))?;
    let back_us = back
        .entry
        .began_us
        .saturating_add(view.shift_us(back.entry.at_us));
    let is_before = row.due_at.as_microsecond() < back_us.saturating_sub(ROUNDING_US);
    is_before.then(|| {
        format!(
            "{told}, but the subscription came back at {} (journal {}, by {}), and had been {}",
            at(back_us),
            back.entry.id,
            back.entry.who,
            back.old.map_or("nothing", |row| &row.state),
        )
    })
}

/// Whether a subscription comes back into service here. One whose debt turns out to be paid was never out of it.
fn comes_back(view: &View<'_>, write: &Write<'_, Subscription>) -> bool {
    let (Some(old), Some(new)) = (write.old, write.new) else {
        return false;
    };
    let was_paid = old.state == "past_due"
        && view
            .cycle_writes
            .get(&(old.id.as_str(), old.period))
            .into_iter()
            .flatten()
            .any(|debt| {
                debt.entry.txid == write.entry.txid
                    && debt.new.is_some_and(|row| row.state == "paid")
            });
    old.state != "active" && new.state == "active" && !was_paid
}
