//! Properties 17 and 18: what is asked for is owed, and is not asked for before one has looked.

use super::name::Debt;
use super::order::begins;
use super::view::{View, Write, at, of_attempt};
use super::{Property, Violation};
use crate::ledger::{Attempt, Cycle};
use portone_sandbox::Request;

/// 17: each attempt that leaves is for the sum of its debt. That a request is for the sum of its attempt is
/// property 5.
pub(super) fn asked_is_owed(view: &View<'_>, found: &mut Vec<Violation>) {
    for merchant_uid in view.charges.keys() {
        let begun = view.writes_of(merchant_uid).iter();
        let texts = begun.filter(|write| begins(write)).filter_map(|begun| {
            let row = begun.new?;
            let owed = owed(view, begun, row)?;
            let is_owed = (row.amount, &row.currency) == (owed.amount, &owed.currency);
            (!is_owed).then(|| {
                format!(
                    "{merchant_uid} was asked for {} {}, but the debt of {} is {} {} (journal {})",
                    row.amount,
                    row.currency,
                    owed.period,
                    owed.amount,
                    owed.currency,
                    begun.entry.id
                )
            })
        });
        found.extend(texts.map(|text| of_attempt(Property::AskedIsOwed, merchant_uid, text)));
    }
}

/// The debt as it was when an attempt began.
fn owed<'a>(view: &View<'a>, begun: &Write<'a, Attempt>, row: &'a Attempt) -> Option<&'a Cycle> {
    let key = (row.subscription_id.as_deref()?, row.period?);
    view.cycle_at(key, begun.entry)
}

/// 18: refusals by answer are looked up once more, after the claim and before another name leaves. After a lost tail
/// the claim of a request may be forgotten.
pub(super) fn look_before_asking(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.terms.lost_tail {
        return;
    }
    for (merchant_uid, requests) in &view.charges {
        if let Some(text) = requests
            .first()
            .and_then(|first| not_looked_up(view, merchant_uid, first))
        {
            found.push(of_attempt(Property::LookBeforeAsking, merchant_uid, text));
        }
    }
}

fn not_looked_up(view: &View<'_>, merchant_uid: &str, first: &Request) -> Option<String> {
    let debt = Debt::of(merchant_uid)?;
    let mut begun = view
        .writes_of(merchant_uid)
        .iter()
        .filter(|write| begins(write) && write.entry.seen_at_us() < first.arrived_at_us);
    let begun = begun.next_back()?;
    let mut refused = view.attempt_writes.iter().filter(|(name, writes)| {
        **name < merchant_uid
            && Debt::of(name).as_ref() == Some(&debt)
            && writes
                .iter()
                .rfind(|write| write.entry.id < begun.entry.id)
                .is_some_and(|write| write.new.is_some_and(|row| row.state == "declined"))
    });
    let (name, _) = refused.find(|(name, _)| {
        !view
            .looks_of(name)
            .iter()
            .any(|look| (begun.entry.at_us..first.arrived_at_us).contains(&look.arrived_at_us))
    })?;
    Some(format!(
        "request {} for {merchant_uid} arrived at {}, but nobody had looked up {name}, which was refused, since the claim (journal {}, {})",
        first.sequence,
        at(first.arrived_at_us),
        begun.entry.id,
        at(begun.entry.at_us),
    ))
}
