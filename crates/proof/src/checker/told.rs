//! Property 19: what the merchant's program is told.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::view::{View, of_attempt, of_subscription};
use super::{Property, Violation};
use crate::ledger::Event;

/// 19: each debt that is paid is told as paid once, for its sum, and no other; so is each one-off charge.
pub(super) fn payments_told_once(view: &View<'_>, found: &mut Vec<Violation>) {
    let told = || view.book.events.iter().filter(|event| event.kind == "paid");
    let mut debts: BTreeMap<(&str, Date), Vec<&Event>> = BTreeMap::new();
    let mut one_offs: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in told() {
        if let (Some(subscription), Some(period)) = (&event.subscription_id, event.period) {
            debts.entry((subscription, period)).or_default().push(event);
        } else {
            let name = event.merchant_uid.as_deref().unwrap_or_default();
            one_offs.entry(name).or_default().push(event);
        }
    }
    for (key, cycle) in &view.cycles {
        let events = debts.remove(key).unwrap_or_default();
        let is_paid = cycle.state == "paid";
        if events.len() != usize::from(is_paid) || is_paid && sum_of(&events) != cycle.amount {
            let text = format!(
                "the debt of {} is {}, of {}, and told as paid {} times, with {} in all",
                key.1,
                cycle.state,
                cycle.amount,
                events.len(),
                sum_of(&events)
            );
            found.push(of_subscription(Property::ToldOnce, key.0, text));
        }
    }
    for attempt in view
        .attempts
        .values()
        .filter(|attempt| attempt.is_one_off())
    {
        let name = attempt.merchant_uid.as_str();
        let events = one_offs.remove(name).unwrap_or_default();
        if events.len() != usize::from(attempt.state == "paid") {
            let text = format!(
                "the one-off charge {name} is {}, and told as paid {} times",
                attempt.state,
                events.len()
            );
            found.push(of_attempt(Property::ToldOnce, name, text));
        }
    }
    for (name, _) in one_offs {
        let text = format!("{name} is told as paid, and is in no book");
        found.push(of_attempt(Property::ToldOnce, name, text));
    }
    for ((subscription, period), _) in debts {
        let text = format!("the debt of {period} is told as paid, and is in no book");
        found.push(of_subscription(Property::ToldOnce, subscription, text));
    }
}

/// 19: each refund that was made is told once, for its sum, and nothing else is.
pub(super) fn refunds_told_once(view: &View<'_>, found: &mut Vec<Violation>) {
    let told: Vec<&Event> = view
        .book
        .events
        .iter()
        .filter(|event| event.kind == "refunded")
        .collect();
    for refund in &view.book.refunds {
        let is_it = |event: &&&Event| event.data.refund_id.as_ref() == Some(&refund.id);
        let times = told.iter().filter(is_it).count();
        if times != usize::from(refund.state == "refunded") {
            let text = format!(
                "refund {} is {}, and told {times} times",
                refund.id, refund.state
            );
            found.push(of_attempt(Property::ToldOnce, &refund.merchant_uid, text));
        }
    }
    for name in view.attempts.keys() {
        let is_it = |event: &&&Event| event.merchant_uid.as_deref() == Some(*name);
        let sum = sum_of(&told.iter().filter(is_it).copied().collect::<Vec<_>>());
        let rows = view.book.refunds.iter();
        let rows = rows.filter(|row| row.merchant_uid == *name && row.state == "refunded");
        let booked = rows.map(|row| row.amount).fold(0, i64::saturating_add);
        if sum != booked {
            let text = format!("{booked} of {name} was given back, and {sum} is told");
            found.push(of_attempt(Property::ToldOnce, name, text));
        }
    }
}

fn sum_of(events: &[&Event]) -> i64 {
    let amounts = events
        .iter()
        .map(|event| event.data.amount.unwrap_or_default());
    amounts.fold(0, i64::saturating_add)
}
