//! Properties 2, 6 and 8: what was written before what was sent, and how fast.

use super::name::Debt;
use super::view::{View, Write, at, is_unauthorized, of_attempt};
use super::{Property, Violation};
use crate::ledger::{Attempt, Subscription};
use portone_sandbox::Request;

const SECOND_US: i64 = 1_000_000;

/// 2: each request has its row, committed before it arrived; the repeat of a request, too.
pub(super) fn intent_first(view: &View<'_>, found: &mut Vec<Violation>) {
    for (merchant_uid, requests) in &view.charges {
        if !view.attempts.contains_key(merchant_uid) {
            if is_left_after_a_loss(view, merchant_uid) || is_lost_one_off(view, merchant_uid) {
                continue;
            }
            let first = requests.first().map_or(0, |request| request.arrived_at_us);
            let text = format!(
                "{merchant_uid} was asked for {} times, first at {}, but the book has no such attempt",
                requests.len(),
                at(first)
            );
            found.push(of_attempt(Property::IntentFirst, merchant_uid, text));
        } else if !view.terms.lost_tail
            && let Some(text) = unannounced(view, merchant_uid, requests)
        {
            found.push(of_attempt(Property::IntentFirst, merchant_uid, text));
        }
    }
}

/// A fail-over lost the attempt and its debt, and a person then deleted or ended a subscription that seemed never
/// to have been charged, so it is not asked for again under its name. The auditor names the payment.
fn is_left_after_a_loss(view: &View<'_>, merchant_uid: &str) -> bool {
    let is_of_it = |id: &str| merchant_uid.starts_with(&id.replace('-', ""));
    let has_left = |write: &Write<'_, Subscription>| {
        !view.is_daemon(&write.entry.who) && write.new.is_none_or(|new| new.state != "active")
    };
    let mut writes = view.subscription_writes.iter();
    view.terms.lost_tail && writes.any(|(id, writes)| is_of_it(id) && writes.iter().any(has_left))
}

/// A fail-over lost a one-off charge, which nothing derives again. The auditor names the payment.
fn is_lost_one_off(view: &View<'_>, merchant_uid: &str) -> bool {
    view.terms.lost_tail && Debt::of(merchant_uid).is_none()
}

/// The first request that arrived before the book knew that it would leave.
fn unannounced(view: &View<'_>, merchant_uid: &str, requests: &[&Request]) -> Option<String> {
    let writes = view.writes_of(merchant_uid);
    // What is refused before it is read may be repeated at once, and counts with its repeat.
    let mut sends: i64 = 1;
    for request in requests {
        let intent = writes
            .iter()
            .find(|write| write.new.is_some_and(|row| row.sends >= sends));
        let (when, row) = match intent {
            Some(write) if write.entry.seen_at_us() < request.arrived_at_us => {
                // That a one-off charge leaves no second time is judged elsewhere.
                if !is_unauthorized(request) && Debt::of(merchant_uid).is_some() {
                    sends = sends.saturating_add(1);
                }
                continue;
            }
            Some(write) => (
                format!("committed at {}", at(write.entry.seen_at_us())),
                format!("journal {}", write.entry.id),
            ),
            None => ("never written".to_owned(), "journal".to_owned()),
        };
        return Some(format!(
            "request {} for {merchant_uid} arrived at {}, but the intent to send it for the {sends}. time was {when} ({row})",
            request.sequence,
            at(request.arrived_at_us),
        ));
    }
    None
}

/// 6: nothing is asked for after the end, and no attempt begins beside an open or after a paid one.
///
/// What could not leave may be opened again under its name. That is a beginning like any other, and
/// until it can be seen the attempt is closed.
pub(super) fn nothing_after_the_end(view: &View<'_>, found: &mut Vec<Violation>) {
    for (merchant_uid, requests) in &view.charges {
        let writes = view.writes_of(merchant_uid);
        let late = requests
            .iter()
            .find_map(|request| Some((request, closed_by(writes, request.arrived_at_us)?)));
        if let Some((late, end)) = late {
            let text = format!(
                "request {} for {merchant_uid} arrived at {}, but the attempt had been {} since {} (journal {}, by {})",
                late.sequence,
                at(late.arrived_at_us),
                end.new.map_or("gone", |row| row.state.as_str()),
                at(end.entry.seen_at_us()),
                end.entry.id,
                end.entry.who,
            );
            found.push(of_attempt(
                Property::NoRequestAfterTheEnd,
                merchant_uid,
                text,
            ));
        }
    }
    for (merchant_uid, writes) in &view.attempt_writes {
        for begun in writes.iter().filter(|write| begins(write)) {
            for text in others_in_the_way(view, begun) {
                found.push(of_attempt(
                    Property::NoRequestAfterTheEnd,
                    merchant_uid,
                    text,
                ));
            }
        }
    }
}

/// The write that had closed an attempt by an instant.
fn closed_by<'a, 'b>(
    writes: &'b [Write<'a, Attempt>],
    at_us: i64,
) -> Option<&'b Write<'a, Attempt>> {
    let seen = writes.iter().filter(|w| w.entry.seen_at_us() < at_us);
    seen.fold(None, |end, write| {
        if begins(write) {
            None
        } else {
            end.or_else(|| Some(write).filter(|write| ends(write)))
        }
    })
}

/// Whether a claim begins an attempt here, for the first time or because it could not leave before.
pub(super) fn begins(write: &Write<'_, Attempt>) -> bool {
    let did_not_leave = write.old.is_none_or(|row| row.state == "not_sent");
    did_not_leave && write.new.is_some_and(Attempt::is_open)
}

fn ends(write: &Write<'_, Attempt>) -> bool {
    let was_open = write.old.is_none_or(Attempt::is_open);
    was_open && write.new.is_some_and(|row| !row.is_open())
}

/// Attempts of the same subscription, or one-off charges of the same card, that forbade this one to begin. Judged by instants, and so that
/// only the impossible is told: who ended in a transaction that had not come to its trigger when this
/// one began can't have been seen as ended.
fn others_in_the_way(view: &View<'_>, begun: &Write<'_, Attempt>) -> Vec<String> {
    let Some(row) = begun.new else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for (other, writes) in &view.attempt_writes {
        let earlier = |write: &&Write<'_, Attempt>| write.entry.id < begun.entry.id;
        let Some(first) = writes.first().filter(earlier) else {
            continue;
        };
        let is_another_of_same = *other != row.merchant_uid
            && first.new.is_some_and(|other| {
                let is_same_card =
                    other.customer_uid.is_some() && other.customer_uid == row.customer_uid;
                other.subscription_id == row.subscription_id && (!row.is_one_off() || is_same_card)
            });
        if !is_another_of_same {
            continue;
        }
        let mut backwards = writes.iter().filter(earlier).rev();
        let opened = backwards.find(|w| begins(w)).unwrap_or(first).entry.id;
        let end = writes.iter().find(|w| w.entry.id >= opened && ends(w));
        if end.is_none_or(|end| end.entry.at_us > begun.entry.at_us) {
            texts.push(format!(
                "{} was begun at {} by {} (journal {}) while {other} was open until {}",
                row.merchant_uid,
                at(begun.entry.at_us),
                begun.entry.who,
                begun.entry.id,
                end.map_or_else(|| "the end".to_owned(), |end| at(end.entry.at_us)),
            ));
        }
        let paid = writes
            .iter()
            .find(|write| write.new.is_some_and(|row| row.state == "paid"));
        let is_same_debt = first
            .new
            .is_some_and(|other| other.period == row.period && !row.is_one_off());
        if let Some(paid) = paid.filter(|_| is_same_debt)
            && paid.entry.seen_at_us() < begun.entry.at_us
        {
            texts.push(format!(
                "{} was begun at {} by {} (journal {}), though {other} of the same debt was paid since {}",
                row.merchant_uid,
                at(begun.entry.at_us),
                begun.entry.who,
                begun.entry.id,
                at(paid.entry.seen_at_us()),
            ));
        }
    }
    texts
}

/// 8: the cap holds over all daemons together, in every second.
///
/// Each request leaves at a place of its own, or within a hundredth of a second of it. What remains is the
/// way from there to the gateway, on a machine whose processors are all busy: what is held up there for
/// a tenth of a second meets what follows. So the places of a second and a tenth can meet in one second,
/// and one more for the one at its edge.
pub(super) fn rate_cap(view: &View<'_>, found: &mut Vec<Violation>) {
    let rate = view.terms.rate_per_second;
    if rate == 0 {
        return;
    }
    let allowed = usize::try_from(rate.saturating_mul(11).div_ceil(10)).unwrap_or(usize::MAX);
    let allowed = allowed.saturating_add(1);
    let mut arrivals: Vec<i64> = view
        .charges
        .values()
        .flat_map(|requests| without_repeats(requests))
        .collect();
    arrivals.sort_unstable();
    let in_second_from = |from: i64| {
        let until = from.saturating_add(SECOND_US);
        let begin = arrivals.partition_point(|arrival| *arrival < from);
        let end = arrivals.partition_point(|arrival| *arrival < until);
        end.saturating_sub(begin)
    };
    let worst = arrivals
        .iter()
        .map(|from| (in_second_from(*from), *from))
        .max_by_key(|(count, _)| *count);
    if let Some((count, from)) = worst.filter(|(count, _)| *count > allowed) {
        found.push(Violation {
            property: Property::RateCap,
            subscription: None,
            merchant_uid: None,
            text: format!(
                "{count} requests arrived in the second from {}, under a cap of {rate} ({allowed} with its tolerance)",
                at(from)
            ),
        });
    }
}

/// When the requests under one name arrived. One whose token was refused is repeated at once with a
/// fresh one, in the same place of the row: that repeat is not counted.
fn without_repeats<'a>(requests: &'a [&'a Request]) -> impl Iterator<Item = i64> + 'a {
    let mut was_refused = false;
    requests.iter().filter_map(move |request| {
        let is_refused = is_unauthorized(request);
        let is_repeat = was_refused && !is_refused;
        was_refused = is_refused;
        (!is_repeat).then_some(request.arrived_at_us)
    })
}
