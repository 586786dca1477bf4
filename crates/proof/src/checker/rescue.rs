//! Properties 11, 12 and 13: how an attempt whose fate is unknown is cleared up.

use std::time::Duration;

use super::name::Debt;
use super::view::{View, at, is_unauthorized, of_attempt};
use super::{Death, Property, Violation};
use crate::ledger::Attempt;
use portone_sandbox::{Decided, Ended, Request};

/// How much longer than the lease an heir may take to ask.
const HEIRS_SLACK: Duration = Duration::from_secs(5);

/// 11: a second request under one name only after the gateway has been asked, often and late enough; and
/// never for a one-off charge.
///
/// The settle time runs from when the attempt was claimed, and a claim may wait before it is sent for
/// as long as its lease still outlives a call. That wait is allowed for here.
pub(super) fn rescue_means_ask(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        // Who forgot an attempt makes it again under its name; the gateway refuses it if it was paid.
        return;
    }
    let terms = view.terms;
    let call = terms.call_timeout.saturating_add(terms.call_margin);
    let settle = terms
        .settle
        .saturating_sub(terms.lease.saturating_sub(call));
    for (merchant_uid, requests) in &view.charges {
        let read: Vec<&Request> = requests
            .iter()
            .copied()
            .filter(|request| !is_unauthorized(request))
            .collect();
        for pair in read.windows(2) {
            let [first, second] = pair else { continue };
            let left_us = left_us(view, first, call);
            let settled_us = left_us.saturating_add(micros(settle));
            let counts = |look: &&&Request| {
                let asked_us = view.billd_us(look.arrived_at_us);
                shows_nothing(look)
                    && asked_us >= settled_us
                    && asked_us > left_us
                    && look.arrived_at_us < second.arrived_at_us
            };
            let looks = view.looks_of(merchant_uid);
            let count = looks.iter().filter(counts).count();
            if Debt::of(merchant_uid).is_none() {
                let text = format!(
                    "the one-off charge {merchant_uid} was sent again at {} (request {}) after request {}",
                    at(second.arrived_at_us),
                    second.sequence,
                    first.sequence,
                );
                found.push(of_attempt(Property::RescueMeansAsk, merchant_uid, text));
            } else if count < usize::from(terms.not_found_min) {
                let text = format!(
                    "{merchant_uid} was sent again at {} (request {}) after request {} at {}, with {count} \
                     settled answers \"not found\" between them in place of {}, out of {} look-ups in all",
                    at(second.arrived_at_us),
                    second.sequence,
                    first.sequence,
                    at(first.arrived_at_us),
                    terms.not_found_min,
                    looks.len(),
                );
                found.push(of_attempt(Property::RescueMeansAsk, merchant_uid, text));
            }
        }
    }
}

/// When a request left, in billd's time: when it arrived. A process that stands still right before its
/// first byte, which no lease excludes, is taken to have sent when it had to by the latest.
fn left_us(view: &View<'_>, request: &Request, call: Duration) -> i64 {
    let arrived_us = view.billd_us(request.arrived_at_us);
    let claim = claim_of(view, &request.merchant_uid, request.arrived_at_us);
    match claim.filter(|_| view.terms.froze) {
        None => arrived_us,
        Some(claim) => {
            let room = view.terms.lease.saturating_sub(call);
            let latest_us = claim.started_at.as_microsecond();
            arrived_us.min(latest_us.saturating_add(micros(room)))
        }
    }
}

/// The attempt as it was when it was last claimed to be sent, before this instant.
fn claim_of<'a>(view: &View<'a>, merchant_uid: &str, before_us: i64) -> Option<&'a Attempt> {
    view.writes_of(merchant_uid)
        .iter()
        .rev()
        .filter(|write| write.entry.at_us < before_us)
        .find_map(|write| write.new.filter(|row| row.state == "started"))
}

/// An answer that shows no payment. One that shows a refusal may be of an earlier request of this name.
fn shows_nothing(look: &Request) -> bool {
    matches!(look.decided, Some(Decided::NotFound | Decided::Failed))
        && matches!(
            look.ended,
            Some(Ended::Answered {
                status: 404 | 200..=299
            })
        )
}

/// 12: nobody asks about a request while its client may still be waiting for the answer.
///
/// An attempt whose lease has ended may be asked about all the same: its daemon may be frozen.
pub(super) fn no_question_too_early(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        return;
    }
    for (merchant_uid, looks) in &view.looks {
        for look in looks {
            let early = view
                .charges_of(merchant_uid)
                .iter()
                .find(|charge| is_under_way(view, charge, look));
            if let Some(charge) = early {
                let text = format!(
                    "{merchant_uid} was asked about at {} (request {}), while request {} of {} was \
                     unanswered and its client waiting",
                    at(look.arrived_at_us),
                    look.sequence,
                    charge.sequence,
                    at(charge.arrived_at_us),
                );
                found.push(of_attempt(Property::NoQuestionTooEarly, merchant_uid, text));
            }
        }
    }
}

fn is_under_way(view: &View<'_>, charge: &Request, look: &Request) -> bool {
    let asked_us = look.arrived_at_us;
    let gives_up_us = charge
        .arrived_at_us
        .saturating_add(micros(view.terms.call_timeout));
    let is_waiting = charge.arrived_at_us < asked_us
        && asked_us < gives_up_us
        && charge.ended_at_us.is_none_or(|ended| ended > asked_us);
    let claimed = claim_of(view, &charge.merchant_uid, asked_us);
    let lease_ended = claimed.is_some_and(|row| {
        let ends_us = row.started_at.as_microsecond();
        view.billd_us(asked_us) >= ends_us.saturating_add(micros(view.terms.lease))
    });
    is_waiting && !lease_ended
}

/// 13: what a dead daemon held is asked about, or cleared up otherwise, in time.
pub(super) fn heirs_ask_in_time(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        return;
    }
    for death in &view.terms.deaths {
        for merchant_uid in view.attempt_writes.keys() {
            if let Some(text) = forgotten(view, death, merchant_uid) {
                found.push(of_attempt(Property::HeirsAskInTime, merchant_uid, text));
            }
        }
    }
}

fn forgotten(view: &View<'_>, death: &Death, merchant_uid: &str) -> Option<String> {
    let writes = view.writes_of(merchant_uid);
    let mut holder = None;
    let mut left = None;
    for write in writes {
        if write.entry.seen_at_us() > death.at_us {
            break;
        }
        let (old, new) = (write.old, write.new?);
        if old.is_none_or(|old| new.fence > old.fence || new.asks > old.asks) {
            holder = Some(write.entry.who.as_str());
        }
        left = Some(new);
    }
    let left = left.filter(|row| row.is_open() && holder == Some(death.role.as_str()))?;
    let lease_us = death.at_us.saturating_add(micros(view.terms.lease));
    let ask_us = left.ask_at.map_or(lease_us, |ask_at| {
        let shift_us = view.shift_us(death.at_us);
        ask_at.as_microsecond().saturating_sub(shift_us)
    });
    let until_us = lease_us.max(ask_us).saturating_add(micros(HEIRS_SLACK));
    let asked = view
        .looks_of(merchant_uid)
        .iter()
        .map(|look| look.arrived_at_us)
        .find(|arrived| *arrived > death.at_us);
    let ended = writes
        .iter()
        .filter(|write| write.new.is_some_and(|row| !row.is_open()))
        .map(|write| write.entry.seen_at_us())
        .find(|ended| *ended > death.at_us);
    if [asked, ended]
        .into_iter()
        .flatten()
        .any(|us| us <= until_us)
    {
        return None;
    }
    Some(format!(
        "{} died at {} and left {merchant_uid} {}; it had to be asked about until {}, and was {}",
        death.role,
        at(death.at_us),
        left.state,
        at(until_us),
        asked.map_or_else(|| "never".to_owned(), |us| format!("at {}", at(us))),
    ))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
