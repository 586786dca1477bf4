//! Properties 3 and 10: no debt vanishes, and nothing is open at rest.

use jiff::{SignedDuration, Timestamp};

use super::view::{View, of_attempt, of_subscription};
use super::{Property, Violation};
use crate::ledger::{Attempt, Cycle, Subscription};
use portone_sandbox::{Decided, Request};

/// After which no further attempt of a period can be named.
const ATTEMPTS_MAX: i64 = 99;

/// 3: every due period is paid, finally declined, void, or waits for a person in plain sight.
pub(super) fn nothing_vanishes(view: &View<'_>, found: &mut Vec<Violation>) {
    for subscription in &view.book.subscriptions {
        let texts = passed(view, subscription)
            .into_iter()
            .chain(present(view, subscription))
            .chain(overcounted(view, subscription));
        found.extend(
            texts.map(|text| of_subscription(Property::NothingVanishes, &subscription.id, text)),
        );
    }
    for cycle in &view.book.cycles {
        if let Some(text) = given_up_too_early(view, cycle) {
            let id = &cycle.subscription_id;
            found.push(of_subscription(Property::NothingVanishes, id, text));
        }
    }
    for attempt in &view.book.attempts {
        let name = &attempt.merchant_uid;
        let written = view.writes_of(name).iter();
        let mut written = written.filter(|w| w.new.is_some_and(|row| row.state == "declined"));
        let by_daemon = written.next().is_none_or(|w| view.is_daemon(&w.entry.who));
        if attempt.state == "declined"
            && by_daemon
            && !view
                .charges_of(name)
                .iter()
                .any(|r| super::view::approval(r).is_some())
            && !view.is_declined_there(name)
        {
            let text = format!(
                "{name} is declined here ({}), but the gateway never refused it",
                attempt.reason.as_deref().unwrap_or("no reason")
            );
            found.push(of_attempt(Property::NothingVanishes, name, text));
        }
    }
}

/// The time before the present period: all of it belongs to a debt that is closed.
fn passed(view: &View<'_>, subscription: &Subscription) -> Vec<String> {
    let mut texts = Vec::new();
    let mut cycles: Vec<&Cycle> = view.cycles_of(&subscription.id).collect();
    cycles.sort_by_key(|cycle| cycle.due_at);
    let mut covered = cycles.first().map(|cycle| cycle.due_at);
    for cycle in cycles {
        let (period, from) = (cycle.period, cycle.due_at);
        if matches!(cycle.state.as_str(), "due" | "unresolved") && period < subscription.period {
            texts.push(format!(
                "the debt of {period} is still {}, but the subscription has gone on to {}",
                cycle.state, subscription.period
            ));
        }
        texts.extend(hole(view, subscription, covered, from));
        covered = covered.max(cycle.until_at);
    }
    texts.extend(hole(view, subscription, covered, subscription.due_at));
    texts
}

/// A time of a day or more that belongs to nobody.
fn hole(
    view: &View<'_>,
    subscription: &Subscription,
    covered: Option<Timestamp>,
    from: Timestamp,
) -> Option<String> {
    let covered = covered?;
    // What a person has made of time to come is free until it comes.
    let is_free =
        covered > view.book.now || subscription.billing_day.is_some() && from > view.book.now;
    let lies_ahead = is_free && view.is_changed_by_person(&subscription.id);
    let is_long = from.duration_since(covered) >= SignedDuration::from_hours(24);
    let is_hole = is_long && !lies_ahead && !subscription.has_ended_by(covered);
    is_hole.then(|| {
        format!(
            "the time from {covered} to {from} has no debt at all, but the subscription has gone on to {}",
            subscription.period
        )
    })
}

/// The present period: is it planned, or does somebody see that it is not?
fn present(view: &View<'_>, subscription: &Subscription) -> Option<String> {
    let cycle = view
        .cycles
        .get(&(subscription.id.as_str(), subscription.period));
    let owed = cycle.is_some_and(|cycle| matches!(cycle.state.as_str(), "due" | "unresolved"));
    let period = subscription.period;
    let open = subscription.open_attempt.as_deref();
    let open = open.and_then(|open| view.attempts.get(open));
    if subscription.recheck && !open.is_some_and(|open| is_left_to_a_person(view, open)) {
        return Some(format!(
            "the subscription still has to be rechecked in its period {period}, and nobody sees it"
        ));
    }
    if let Some(open) = &subscription.open_attempt {
        let attempt = view.attempts.get(open.as_str());
        return attempt
            .is_none_or(|attempt| !attempt.is_open())
            .then(|| format!("the subscription waits for {open}, which is not open"));
    }
    match subscription.state.as_str() {
        "cancelled" if owed => Some(format!(
            "the subscription is cancelled, but its debt of {period} is neither paid nor void"
        )),
        // In sight: the view attention shows past_due, and people paused it themselves.
        "past_due" | "paused" | "cancelled" => None,
        _ => {
            // Nothing planned, and all numbers used: attention calls both stuck.
            let next = subscription.next_charge_at?;
            let is_stuck = subscription.attempts >= ATTEMPTS_MAX;
            (next <= view.book.now && !is_stuck).then(|| {
                format!(
                    "the period {period} is due since {next}, at rest at {}, and nobody charges it",
                    view.book.now
                )
            })
        }
    }
}

/// A counter of declines that is ahead of the gateway's.
fn overcounted(view: &View<'_>, subscription: &Subscription) -> Option<String> {
    let writes = view.subscription_writes.get(subscription.id.as_str())?;
    let over = writes.iter().find_map(|write| {
        let new = write.new.filter(|_| view.is_daemon(&write.entry.who))?;
        let there = i64::try_from(view.declines_there(&new.id, new.period)).unwrap_or(i64::MAX);
        (new.declines > there).then_some((write.entry.id, new, there))
    });
    over.map(|(entry, row, there)| {
        format!(
            "{} declines were counted in the period {} (journal {entry}), but the gateway refused {there} attempts",
            row.declines, row.period
        )
    })
}

/// A debt that was given up after fewer declines than its ladder has.
fn given_up_too_early(view: &View<'_>, cycle: &Cycle) -> Option<String> {
    let key = (cycle.subscription_id.as_str(), cycle.period);
    let given_up = view.cycle_writes.get(&key).into_iter().flatten().rev();
    let mut given_up =
        given_up.filter(|write| write.new.is_some_and(|row| row.state == "uncollectible"));
    let by_person = given_up
        .next()
        .is_some_and(|w| !view.is_daemon(&w.entry.who));
    if cycle.state != "uncollectible" || by_person {
        return None;
    }
    let reason = cycle.reason.as_deref().unwrap_or_default();
    let declined = view
        .book
        .attempts
        .iter()
        .filter(|attempt| attempt.is_of(key.0, key.1) && attempt.state == "declined");
    let last = declined.max_by_key(|attempt| attempt.attempt_no);
    let class = last.and_then(|attempt| attempt.reason.as_deref());
    let rungs = class.and_then(|class| view.terms.rungs.get(class));
    let needed = if reason.starts_with("ladder_ended") {
        usize::from(rungs.copied().unwrap_or(0)).saturating_add(1)
    } else if reason.starts_with("hard_decline") {
        1
    } else {
        return None;
    };
    let there = view.declines_there(&cycle.subscription_id, cycle.period);
    (there < needed).then(|| {
        format!(
            "the debt of {} was given up ({reason}) after {there} declines at the gateway, but the ladder for {} has {needed}",
            cycle.period,
            class.unwrap_or("it"),
        )
    })
}

/// A request that left no record at the gateway.
fn is_nothing(request: &Request) -> bool {
    matches!(
        request.decided,
        None | Some(Decided::NotProcessed | Decided::Declined { imp_uid: None })
    )
}

/// An attempt of which the gateway knows nothing is not sent again for who has left, has another card or owes another
/// sum by now: it waits for a person.
fn is_left_to_a_person(view: &View<'_>, attempt: &Attempt) -> bool {
    let subscriptions = view.book.subscriptions.iter();
    let mut its = subscriptions.filter(|row| attempt.subscription_id.as_ref() == Some(&row.id));
    let is_another = its.next().is_some_and(|row| {
        let owed = attempt
            .period
            .and_then(|period| view.cycles.get(&(row.id.as_str(), period)));
        row.state != "active"
            || Some(&row.customer_uid) != attempt.customer_uid.as_ref()
            || owed.is_none_or(|owed| owed.amount != attempt.amount)
    });
    let mut charges = view.charges_of(&attempt.merchant_uid).iter().copied();
    is_another && attempt.parked_at.is_some() && charges.all(is_nothing)
}

/// 10: nothing is open at rest, but for what a person was asked to look at.
pub(super) fn nothing_open_at_rest(view: &View<'_>, found: &mut Vec<Violation>) {
    for attempt in &view.book.attempts {
        let name = attempt.merchant_uid.as_str();
        // A one-off charge is never sent again: one of which the gateway knows nothing waits for a person.
        let may_wait = view.terms.repriced
            || is_left_to_a_person(view, attempt)
            || (attempt.is_one_off() && view.charges_of(name).iter().copied().all(is_nothing));
        let is_parked = attempt.parked_at.is_some() && attempt.state == "unknown" && may_wait;
        if attempt.is_open() && !is_parked {
            let text = format!(
                "{name} is still {} at rest, after {} questions ({})",
                attempt.state,
                attempt.asks,
                attempt.reason.as_deref().unwrap_or("no reason"),
            );
            found.push(of_attempt(Property::NothingOpenAtRest, name, text));
        }
    }
    for refund in &view.book.refunds {
        // A balance that something else has changed waits for a person, too.
        let is_parked = refund.state == "unknown" && refund.parked_at.is_some();
        if refund.is_open() && !is_parked {
            let text = format!(
                "the refund {:?} of {} is still {} at rest, after {} looks",
                refund.key, refund.merchant_uid, refund.state, refund.asks,
            );
            let name = &refund.merchant_uid;
            found.push(of_attempt(Property::NothingOpenAtRest, name, text));
        }
    }
    for cycle in view.book.cycles.iter().filter(|c| c.state == "unresolved") {
        let mut open = view.book.attempts.iter().filter(|attempt| {
            attempt.is_open() && attempt.is_of(&cycle.subscription_id, cycle.period)
        });
        if open.next().is_none() {
            let text = format!(
                "the debt of {} of subscription {} is unresolved, but none of its attempts is open",
                cycle.period, cycle.subscription_id
            );
            let id = &cycle.subscription_id;
            found.push(of_subscription(Property::NothingOpenAtRest, id, text));
        }
    }
}
