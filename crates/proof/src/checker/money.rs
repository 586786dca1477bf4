//! Properties 1, 4 and 5: which money moved, and whether both sides say the same of it.

use std::collections::{BTreeMap, BTreeSet};

use super::name::Debt;
use super::view::{View, approval, at, of_attempt, of_subscription};
use super::{Property, Violation};
use crate::ledger::Attempt;
use portone_sandbox::{Decided, Ended, Request};

/// Currencies whose minor unit is the unit itself.
const WITHOUT_CENTS: [&str; 3] = ["KRW", "JPY", "VND"];

/// Who was shown a payment so often has heard of it.
const SHOWN_ENOUGH: usize = 5;

/// A debt, or a one-off charge, for which the gateway took money more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Double {
    /// Whose; `None` for a one-off charge.
    pub subscription: Option<String>,
    /// Each approved charge, by its `merchant_uid`.
    pub merchant_uids: Vec<String>,
    /// Whether the auditor has named one of them.
    pub found: bool,
    text: String,
}

/// Every debt and every one-off charge for which the gateway took money more than once, whether it is
/// excused or not. That some of it was given back later is no excuse.
pub(super) fn doubles(view: &View<'_>) -> Vec<Double> {
    let mut taken: BTreeMap<(Option<Debt>, &str), Vec<&Request>> = BTreeMap::new();
    for (merchant_uid, requests) in &view.charges {
        let debt = Debt::of(merchant_uid);
        // A debt has many names, a one-off charge is one.
        let name = if debt.is_some() { "" } else { *merchant_uid };
        let approved = requests
            .iter()
            .filter(|request| approval(request).is_some());
        taken.entry((debt, name)).or_default().extend(approved);
    }
    taken.retain(|_, requests| requests.len() > 1);
    let double = |((debt, name), requests): ((Option<Debt>, &str), Vec<&Request>)| {
        let told: Vec<String> = requests.iter().map(|request| told(view, request)).collect();
        let merchant_uids: Vec<String> = requests.iter().map(|r| r.merchant_uid.clone()).collect();
        let what = debt.as_ref().map_or_else(
            || format!("the one-off charge {name}"),
            |debt| {
                format!(
                    "the period {} of subscription {}",
                    debt.period, debt.subscription
                )
            },
        );
        Double {
            found: merchant_uids.iter().any(|uid| view.is_found(uid)),
            text: format!(
                "the gateway approved {} charges for {what}: {}",
                requests.len(),
                told.join("; ")
            ),
            subscription: debt.map(|debt| debt.subscription),
            merchant_uids,
        }
    };
    taken.into_iter().map(double).collect()
}

fn told(view: &View<'_>, request: &Request) -> String {
    let here = view.attempts.get(request.merchant_uid.as_str());
    format!(
        "{} as {} (request {}, arrived {}), {} in the book",
        request.merchant_uid,
        approval(request).unwrap_or_default(),
        request.sequence,
        at(request.arrived_at_us),
        here.map_or("not", |attempt| attempt.state.as_str()),
    )
}

/// 1: at most one approved charge per subscription and period, and per one-off charge.
pub(super) fn charged_once(view: &View<'_>, found: &mut Vec<Violation>) {
    for double in doubles(view) {
        if !(view.terms.looks_lie && double.found) {
            found.push(Violation {
                property: Property::ChargedOnce,
                subscription: double.subscription,
                merchant_uid: double.merchant_uids.into_iter().next(),
                text: double.text,
            });
        }
    }
}

/// 4: paid here if and only if approved there.
pub(super) fn books_agree(view: &View<'_>, found: &mut Vec<Violation>) {
    for attempt in view.attempts.values() {
        if let Some(text) = disagreement(view, attempt) {
            found.push(of_attempt(
                Property::BooksAgree,
                &attempt.merchant_uid,
                text,
            ));
        }
    }
    for (key, cycle) in &view.cycles {
        let mut of_cycle = view.attempts.values().filter(|a| a.is_of(key.0, key.1));
        let paid = of_cycle.any(|attempt| attempt.state == "paid");
        let by_person = view.cycle_writes.get(key).is_some_and(|writes| {
            let last = writes.iter().rev();
            let mut last = last.filter(|w| w.old.map(|c| &c.state) != w.new.map(|c| &c.state));
            last.next().is_some_and(|w| !view.is_daemon(&w.entry.who))
        });
        if paid != (cycle.state == "paid") && !by_person {
            let text = format!(
                "the debt of {} of subscription {} is {}, but {} attempt of it is paid",
                cycle.period,
                cycle.subscription_id,
                cycle.state,
                if paid { "an" } else { "no" },
            );
            found.push(of_subscription(
                Property::BooksAgree,
                &cycle.subscription_id,
                text,
            ));
        }
    }
}

fn disagreement(view: &View<'_>, attempt: &Attempt) -> Option<String> {
    let approved: Vec<&Request> = view
        .charges_of(&attempt.merchant_uid)
        .iter()
        .copied()
        .filter(|request| approval(request).is_some())
        .collect();
    let name = &attempt.merchant_uid;
    if attempt.state == "paid" {
        let ours = attempt.imp_uid.as_deref();
        let theirs = approved.iter().find(|request| approval(request) == ours);
        let Some(theirs) = theirs else {
            return Some(format!(
                "{name} is paid here as {}, but the gateway approved {}",
                ours.unwrap_or("nothing"),
                approved.first().map_or_else(
                    || "no request under that name".to_owned(),
                    |request| format!("it as {}", approval(request).unwrap_or_default())
                ),
            ));
        };
        return (!is_same_sum(attempt, theirs)).then(|| {
            format!(
                "{name} is paid here with {} {}, but the gateway approved {} {}",
                attempt.amount,
                attempt.currency,
                theirs.amount.unwrap_or_default(),
                theirs.currency.as_deref().unwrap_or("?"),
            )
        });
    }
    if attempt.is_open() {
        // What is still open is told as open; but who was shown the payment again and again has to believe it.
        let shown = view
            .looks_of(name)
            .iter()
            .filter(|look| shows_payment(look))
            .count();
        let is_deaf = shown >= SHOWN_ENOUGH && !view.terms.repriced && !approved.is_empty();
        return is_deaf.then(|| {
            format!(
                "{name} is still {} here, but the gateway approved it, and has shown that payment {shown} times",
                attempt.state
            )
        });
    }
    let there = approved.first()?;
    if view.terms.looks_lie && view.is_found(name) {
        return None;
    }
    Some(format!(
        "{name} is {} here, but the gateway approved it as {} (request {}, arrived {})",
        attempt.state,
        approval(there).unwrap_or_default(),
        there.sequence,
        at(there.arrived_at_us),
    ))
}

/// 5: one name, one sum, one card.
pub(super) fn one_name_one_sum(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.repriced {
        return;
    }
    for (merchant_uid, requests) in &view.charges {
        let mut terms: BTreeSet<(i64, &str, &str)> = requests
            .iter()
            .map(|request| {
                (
                    request.amount.unwrap_or_default(),
                    request.currency.as_deref().unwrap_or_default(),
                    request.customer_uid.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        if let Some(row) = view.attempts.get(merchant_uid) {
            terms.insert((
                whole(row),
                &row.currency,
                row.customer_uid.as_deref().unwrap_or_default(),
            ));
        }
        if terms.len() > 1 {
            let terms: Vec<String> = terms
                .iter()
                .map(|(amount, currency, card)| format!("{amount} {currency} from {card}"))
                .collect();
            let text = format!(
                "{merchant_uid} stands for different things in requests and row: {}",
                terms.join("; ")
            );
            found.push(of_attempt(Property::OneNameOneSum, merchant_uid, text));
        }
    }
}

/// Whether a look-up was answered with a payment.
fn shows_payment(look: &Request) -> bool {
    look.decided == Some(Decided::Paid) && look.ended == Some(Ended::Answered { status: 200 })
}

fn is_same_sum(attempt: &Attempt, request: &Request) -> bool {
    request.amount == Some(whole(attempt))
        && request.currency.as_deref() == Some(attempt.currency.as_str())
}

/// The sum in whole units, as the gateway's log has it.
fn whole(attempt: &Attempt) -> i64 {
    if WITHOUT_CENTS.contains(&attempt.currency.as_str()) {
        attempt.amount
    } else {
        attempt.amount.div_euclid(100)
    }
}
