//! Each property sees its fault and nothing else: a good pair of ledgers, then one damage at a time.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "the instants of a story are small numbers"
)]

mod by_hand;
mod damages;
mod steps;
mod story;
mod told;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::date;
use portone_sandbox::{Decided, Request, Route};

use super::{Property, doubles};
use crate::ledger::{Book, Change, Finding, Refund};
use damages::{DAMAGES, Damage};
use story::{PAID, RESCUED, SECOND, Story, at, id, uid};

#[test]
fn two_good_ledgers_agree() {
    assert_eq!(Story::told(3).violated(), []);
}

#[test]
fn each_damage_is_seen_as_what_it_is_and_as_nothing_else() {
    each_is_seen_alone(|| Story::told(3), DAMAGES);
}

/// A process may stand still right before its first byte, and no lease excludes that.
#[test]
fn the_late_request_of_a_frozen_daemon_is_asked_about_as_if_it_had_left_in_time() {
    let mut story = Story::told(3);
    story.terms.deaths.clear();
    let mut looks = story.gateway.iter().filter(|r| r.route == Route::FindAll);
    let late_us = looks.next().unwrap().arrived_at_us - 10_000;
    let lost = story.request(&uid(RESCUED, 1));
    lost.arrived_at_us = late_us;
    lost.decided_at_us = Some(late_us + 1_000);
    lost.ended_at_us = Some(late_us + 2_000);
    let seen: Vec<Property> = story.violated().iter().map(|v| v.property).collect();
    assert_eq!(seen, [Property::RescueMeansAsk]);
    story.terms.froze = true;
    assert_eq!(story.violated(), []);
    // But it is asked about late and often enough all the same.
    story.terms.settle = Duration::from_mins(1);
    let seen: Vec<Property> = story.violated().iter().map(|v| v.property).collect();
    assert_eq!(seen, [Property::RescueMeansAsk]);
}

#[test]
fn what_could_not_leave_may_be_opened_again_but_nothing_leaves_before_that() {
    assert_eq!(Story::told_of_an_outage().violated(), []);
    let damages: [(&str, Damage); 3] = [
        ("a request leaves while its attempt is closed", |story| {
            let again = story
                .entries_of(&uid(PAID, 2), "started")
                .pop()
                .unwrap()
                .at_us;
            story.request(&uid(PAID, 2)).arrived_at_us = again - 1_000;
        }),
        ("it is opened again beside an open one", |story| {
            let again = story
                .entries_of(&uid(PAID, 2), "started")
                .pop()
                .unwrap()
                .at_us;
            story.entry_of(&uid(PAID, 1), "declined").at_us = again + 1;
        }),
        ("it is opened again though the debt is paid", |story| {
            let entry = story.entry_of(&uid(PAID, 1), "declined");
            if let Change::ChargeAttempt { new: Some(new), .. } = &mut entry.change {
                new.state = "paid".to_owned();
            }
        }),
    ];
    for (what, damage) in damages {
        let mut story = Story::told_of_an_outage();
        damage(&mut story);
        let violations = story.violated();
        let seen = |v: &super::Violation| v.property == Property::NoRequestAfterTheEnd;
        assert!(violations.iter().any(seen), "{what}: {violations:#?}");
    }
}

type Told = fn() -> Story;

/// Each damage to the story, one at a time.
fn each_is_seen_alone(told: Told, damages: &[(Property, &str, Damage)]) {
    for (property, what, damage) in damages {
        let mut story = told();
        damage(&mut story);
        let violations = story.violated();
        let seen: Vec<Property> = violations.iter().map(|v| v.property).collect();
        assert!(
            !seen.is_empty() && seen.iter().all(|one| one == property),
            "{what}: {violations:#?}"
        );
    }
}

#[test]
fn every_property_has_a_damage() {
    let all = DAMAGES.iter().chain(by_hand::DAMAGES);
    let damaged: BTreeSet<Property> = all.map(|(property, ..)| *property).collect();
    assert_eq!(damaged.len(), Property::ALL.len());
}

#[test]
fn a_double_behind_a_lie_is_counted_apart_once_the_auditor_has_named_it() {
    let mut story = Story::told(3);
    story.terms.looks_lie = true;
    let first = Decided::Approved {
        imp_uid: "imp_first".to_owned(),
    };
    story.request(&uid(RESCUED, 1)).decided = Some(first);
    let properties =
        |story: &Story| -> Vec<Property> { story.violated().iter().map(|v| v.property).collect() };
    assert_eq!(properties(&story), [Property::ChargedOnce]);
    story.book.findings.push(Finding {
        kind: "paid_there_not_here".to_owned(),
        state: "open".to_owned(),
        merchant_uid: uid(RESCUED, 1),
        imp_uid: None,
        note: None,
    });
    assert_eq!(properties(&story), []);
    assert_eq!(doubles(&story.terms, &story.gateway, &story.book).len(), 1);
}

#[test]
fn a_payment_that_is_shown_again_and_again_has_to_be_believed() {
    let mut story = Story::told(3);
    story.row(&uid(PAID, 1)).state = "unknown".to_owned();
    let seen = |story: &Story| {
        let violations = story.violated();
        violations
            .iter()
            .any(|v| v.text.contains("has shown that payment"))
    };
    for _ in 0..4 {
        story.ask(Route::FindAll, &uid(PAID, 1), Decided::Paid, 200);
    }
    assert!(!seen(&story));
    story.ask(Route::FindAll, &uid(PAID, 1), Decided::Paid, 200);
    assert!(seen(&story));
}

#[test]
fn a_double_is_one_though_it_was_given_back() {
    let mut story = Story::told(3);
    let imp_uid = "imp_first".to_owned();
    story.request(&uid(RESCUED, 1)).decided = Some(Decided::Approved {
        imp_uid: imp_uid.clone(),
    });
    story.ask(
        Route::Cancel,
        &uid(RESCUED, 1),
        Decided::Cancelled { imp_uid, kept: 0 },
        200,
    );
    let seen: Vec<Property> = story.violated().iter().map(|v| v.property).collect();
    assert!(seen.contains(&Property::ChargedOnce), "{seen:?}");
}

#[test]
fn after_a_lost_tail_a_row_under_the_same_name_is_enough() {
    let mut story = Story::told(3);
    let arrived = story.request(&uid(PAID, 1)).arrived_at_us;
    story.entry_of(&uid(PAID, 1), "started").committed_at_us = Some(arrived + 1);
    story.terms.lost_tail = true;
    assert_eq!(story.violated(), []);
}

#[test]
fn people_may_write_as_they_like() {
    let mut story = Story::told(3);
    story.subscription("operator", PAID, |row| {
        row.period = date(2026, 1, 1);
        row.next_charge_at = None;
        row.state = "paused".to_owned();
    });
    assert_eq!(story.violated(), []);
}

#[test]
fn ledgers_come_back_from_a_folder_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let story = Story::told(3);
    story.book.save(folder.path()).unwrap();
    crate::ledger::save_requests(&story.gateway, folder.path()).unwrap();
    assert_eq!(Book::load(folder.path()).unwrap(), story.book);
    let requests = crate::ledger::load_requests(folder.path()).unwrap();
    assert_eq!(requests, story.gateway);
}
