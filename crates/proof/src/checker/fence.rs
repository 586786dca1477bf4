//! Property 7: who writes holds the claim.
//!
//! A claim raises the fence, and so says by its role who holds the row from then on. Every later
//! move has to be by the same role. People may write as they like, and that money moved may be
//! written by anybody.

use std::collections::BTreeSet;

use super::view::{View, Write, at, of_attempt, of_subscription};
use super::{Property, Violation};
use crate::ledger::{Attempt, Change, Entry, Subscription};

pub(super) fn fenced_writes(view: &View<'_>, found: &mut Vec<Violation>) {
    for (merchant_uid, writes) in &view.attempt_writes {
        for text in stale_facts(view, writes) {
            found.push(of_attempt(Property::FencedWrites, merchant_uid, text));
        }
    }
    for (id, writes) in &view.subscription_writes {
        for text in stale_moves(view, writes) {
            found.push(of_subscription(Property::FencedWrites, id, text));
        }
    }
    debts_on_their_own(view, found);
}

/// Writes of an attempt by a daemon that had lost it, and claims of one that was still held.
fn stale_facts(view: &View<'_>, writes: &[Write<'_, Attempt>]) -> Vec<String> {
    let mut holder: Option<&str> = None;
    let mut texts = Vec::new();
    for write in writes {
        let who = write.entry.who.as_str();
        let (Some(old), Some(new)) = (write.old, write.new) else {
            holder = Some(who);
            continue;
        };
        if new.fence < old.fence {
            texts.push(lowered(write.entry, old.fence, new.fence));
        }
        if new.fence > old.fence || new.asks > old.asks {
            let now_us = view.billd_us(write.entry.at_us);
            let until = old
                .ask_at
                .or_else(|| old.started_at.checked_add(view.terms.lease).ok());
            let held = until.filter(|until| until.as_microsecond() > now_us && old.is_open());
            if let Some(until) = held.filter(|_| view.is_daemon(who)) {
                texts.push(format!(
                    "{who} took {} over at {} (journal {}), but it was held until {until} by {}",
                    new.merchant_uid,
                    at(write.entry.at_us),
                    write.entry.id,
                    holder.unwrap_or("nobody"),
                ));
            }
            holder = Some(who);
        } else if view.is_daemon(who)
            && holder != Some(who)
            && new.state != "paid"
            && is_more_than_a_hint(old, new)
        {
            texts.push(format!(
                "{who} wrote {} as {} at {} (journal {}), but {} holds it since fence {}",
                new.merchant_uid,
                new.state,
                at(write.entry.at_us),
                write.entry.id,
                holder.unwrap_or("nobody"),
                new.fence,
            ));
        }
    }
    texts
}

/// When it is asked about may be changed by anybody, and what was given back is a fact.
fn is_more_than_a_hint(old: &Attempt, new: &Attempt) -> bool {
    let mut old = old.clone();
    old.ask_at = new.ask_at;
    old.asked_at = new.asked_at;
    old.cancelled_amount = new.cancelled_amount;
    old != *new
}

/// Moves of a subscription by a daemon that doesn't hold its claim.
fn stale_moves(view: &View<'_>, writes: &[Write<'_, Subscription>]) -> Vec<String> {
    let mut holder: Option<&str> = None;
    let mut texts = Vec::new();
    for write in writes {
        let who = write.entry.who.as_str();
        let (Some(old), Some(new)) = (write.old, write.new) else {
            continue;
        };
        if new.fence < old.fence {
            texts.push(lowered(write.entry, old.fence, new.fence));
        }
        if new.fence > old.fence {
            holder = Some(who);
            continue;
        }
        // That a row has to be looked at again may be said by anybody, and that its attempt was paid.
        let mut looked_at = old.clone();
        looked_at.recheck = new.recheck;
        if new.last_result.as_deref() == Some("paid") {
            looked_at.last_result.clone_from(&new.last_result);
        }
        if view.is_daemon(who) && holder != Some(who) && looked_at != *new {
            texts.push(format!(
                "{who} moved the subscription {} at {} (journal {}: period {}, {}, open attempt {}), but {} holds it since fence {}",
                new.id,
                at(write.entry.at_us),
                write.entry.id,
                new.period,
                new.state,
                new.open_attempt.as_deref().unwrap_or("none"),
                holder.unwrap_or("nobody"),
                new.fence,
            ));
        }
    }
    texts
}

fn lowered(entry: &Entry, from: i64, to: i64) -> String {
    format!(
        "{} lowered a fence from {from} to {to} at {} (journal {})",
        entry.who,
        at(entry.at_us),
        entry.id
    )
}

/// A debt has no fence of its own, so a daemon may move it only together with its subscription or
/// with one of its attempts.
fn debts_on_their_own(view: &View<'_>, found: &mut Vec<Violation>) {
    let mut fenced: BTreeSet<(i64, &str)> = BTreeSet::new();
    for entry in &view.book.journal {
        match &entry.change {
            Change::Subscription { old, new } => {
                let rows = old.iter().chain(new);
                fenced.extend(rows.map(|row| (entry.txid, row.id.as_str())));
            }
            Change::ChargeAttempt { old, new } => {
                let rows = old.iter().chain(new);
                let ids = rows.filter_map(|row| row.subscription_id.as_deref());
                fenced.extend(ids.map(|id| (entry.txid, id)));
            }
            Change::BillingCycle { .. } | Change::Refund { .. } | Change::ClockShift { .. } => {}
        }
    }
    for ((id, period), writes) in &view.cycle_writes {
        let alone = writes.iter().find(|write| {
            view.is_daemon(&write.entry.who) && !fenced.contains(&(write.entry.txid, id))
        });
        if let Some(alone) = alone {
            let text = format!(
                "{} moved the debt of {period} of subscription {id} to {} at {} (journal {}) without its subscription or an attempt",
                alone.entry.who,
                alone.new.map_or("nothing", |cycle| cycle.state.as_str()),
                at(alone.entry.at_us),
                alone.entry.id,
            );
            found.push(of_subscription(Property::FencedWrites, id, text));
        }
    }
}
