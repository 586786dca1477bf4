//! Properties 2, 4 and 14 for money that is given back.
//!
//! After a fail-over that lost commits none of it is judged: what was given back may have lost its row.

use std::collections::BTreeMap;

use super::view::{View, at, of_attempt};
use super::{Property, Violation};
use crate::ledger::Refund;
use portone_sandbox::{Decided, Ended, Request};

/// 2: each request to give money back has a row of its own, committed before it arrived. So none leaves
/// twice, but for one that was refused before it was read.
pub(super) fn intent_first(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        return;
    }
    for (merchant_uid, requests) in &view.cancels {
        let written = view.refund_writes.get(merchant_uid).into_iter().flatten();
        let begun: Vec<i64> = written
            .filter(|write| write.old.is_none())
            .map(|write| write.entry.seen_at_us())
            .collect();
        let mut left: usize = 0;
        for request in requests {
            let in_time = begun.iter().filter(|begun| **begun < request.arrived_at_us);
            if in_time.count() <= left {
                let text = format!(
                    "request {} to give {merchant_uid} back arrived at {}, as the {}. one, and not as many \
                     refunds had been written down",
                    request.sequence,
                    at(request.arrived_at_us),
                    left.saturating_add(1),
                );
                found.push(of_attempt(Property::IntentFirst, merchant_uid, text));
                break;
            }
            left = left.saturating_add(usize::from(!is_refused_unread(request)));
        }
    }
}

/// 4: what the gateway gave back of a payment is what its refunds say, and what its attempt says.
pub(super) fn balances_agree(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        return;
    }
    let mut refunds: BTreeMap<&str, Vec<&Refund>> = BTreeMap::new();
    for refund in &view.book.refunds {
        refunds
            .entry(&refund.merchant_uid)
            .or_default()
            .push(refund);
    }
    let names = refunds.keys().chain(view.cancels.keys());
    let mut names: Vec<&str> = names.copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let rows = refunds.get(name).map_or(&[][..], Vec::as_slice);
        let there = given_back_there(view, name);
        let booked = sum_of(rows.iter().filter(|row| row.state == "refunded"));
        // What waits for a person may have been given back or not.
        let most = booked.saturating_add(sum_of(rows.iter().filter(|row| row.is_open())));
        let attempt = view.attempts.get(name);
        let noted = attempt.map_or(0, |attempt| attempt.cancelled_amount);
        if there < booked || there > most || noted != booked {
            let text = format!(
                "the gateway gave {there} of {name} back, its refunds say {booked}, and its attempt {noted}"
            );
            found.push(of_attempt(Property::BooksAgree, name, text));
        }
    }
}

/// 14: under one key money is given back once, and no refund is begun beside an open one of its payment.
pub(super) fn refunded_once(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        return;
    }
    let mut done: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for refund in view
        .book
        .refunds
        .iter()
        .filter(|row| row.state == "refunded")
    {
        let key = (refund.merchant_uid.as_str(), refund.key.as_str());
        let count = done.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    for ((name, key), count) in done.into_iter().filter(|(_, count)| *count > 1) {
        let text = format!("{name} was given back {count} times under the key {key:?}");
        found.push(of_attempt(Property::RefundedOnce, name, text));
    }
    for (name, writes) in &view.refund_writes {
        let mut open: Option<&Refund> = None;
        for write in writes {
            let Some(row) = write.new else { continue };
            if write.old.is_none()
                && let Some(open) = open
            {
                let text = format!(
                    "the refund {:?} of {name} was begun (journal {}) while the refund {:?} was open",
                    row.key, write.entry.id, open.key,
                );
                found.push(of_attempt(Property::RefundedOnce, name, text));
            }
            if row.is_open() {
                open = Some(row);
            } else if open.is_some_and(|open| open.id == row.id) {
                open = None;
            }
        }
    }
}

/// In whole units, which are those of the book for all currencies without cents.
fn given_back_there(view: &View<'_>, merchant_uid: &str) -> i64 {
    let cancels = view.cancels.get(merchant_uid).into_iter().flatten();
    let kept = cancels.filter_map(|request| match &request.decided {
        Some(Decided::Cancelled { kept, .. }) => Some(*kept),
        _ => None,
    });
    let paid = view.attempts.get(merchant_uid).map_or(0, |row| row.amount);
    kept.min().map_or(0, |kept| paid.saturating_sub(kept))
}

fn sum_of<'a>(rows: impl Iterator<Item = &'a &'a Refund>) -> i64 {
    rows.fold(0, |sum, row| sum.saturating_add(row.amount))
}

fn is_refused_unread(request: &Request) -> bool {
    request.ended == Some(Ended::Answered { status: 401 })
}
