//! One damage at a time, and the one property that sees it.

use std::time::Duration;

use jiff::civil::date;
use portone_sandbox::{Decided, Ended, Route};

use super::super::Property;
use super::story::{DECLINED, PAID, RESCUED, SECOND, Story, at, id, uid};
use crate::ledger::Change;

pub(super) type Damage = fn(&mut Story);

#[rustfmt::skip]
pub(super) const DAMAGES: &[(Property, &str, Damage)] = &[
    (Property::ChargedOnce, "what was not found had been approved after all", |story| {
        story.request(&uid(RESCUED, 1)).decided = Some(Decided::Approved { imp_uid: "imp_first".to_owned() });
    }),
    (Property::IntentFirst, "a request leaves before its attempt is committed", |story| {
        let arrived = story.request(&uid(PAID, 1)).arrived_at_us;
        story.entry_of(&uid(PAID, 1), "started").committed_at_us = Some(arrived + 1);
    }),
    (Property::NothingVanishes, "a ladder ends one rung early", |story| {
        story.terms.rungs.insert("soft_funds".to_owned(), 2);
    }),
    (Property::NothingVanishes, "a decline is counted twice", |story| {
        story.move_of(DECLINED).declines = 3;
    }),
    (Property::NothingVanishes, "a due period is charged by nobody", |story| {
        story.book.now = at(story.now_us + 40 * 24 * 3600 * SECOND);
    }),
    (Property::NothingVanishes, "a period has no debt", |story| {
        story.book.subscriptions[PAID].due_at = "2026-03-30T15:00:00Z".parse().unwrap();
    }),
    (Property::NothingVanishes, "a row waits to be rechecked for ever", |story| {
        story.book.subscriptions[PAID].recheck = true;
    }),
    (Property::BooksAgree, "the payment is another one", |story| {
        story.row(&uid(PAID, 1)).imp_uid = Some("imp_other".to_owned());
    }),
    (Property::OneNameOneSum, "the same number is sent with another sum", |story| {
        story.request(&uid(RESCUED, 1)).amount = Some(8800);
    }),
    (Property::OneNameOneSum, "the same number is sent with another card", |story| {
        story.request(&uid(RESCUED, 1)).customer_uid = Some("card_of_another".to_owned());
    }),
    (Property::NoRequestAfterTheEnd, "a request arrives after its attempt was closed", |story| {
        let arrived = story.request(&uid(PAID, 1)).arrived_at_us;
        let end = story.entry_of(&uid(PAID, 1), "paid");
        (end.at_us, end.committed_at_us) = (arrived - 2, Some(arrived - 1));
    }),
    (Property::NoRequestAfterTheEnd, "an attempt begins beside an open one", |story| {
        let begun = story.entry_of(&uid(DECLINED, 2), "started").at_us;
        story.entry_of(&uid(DECLINED, 1), "declined").at_us = begun + 1;
    }),
    (Property::NoRequestAfterTheEnd, "an attempt begins after a paid one", |story| {
        if let Change::ChargeAttempt { new: Some(new), .. } = &mut story.entry_of(&uid(DECLINED, 1), "declined").change {
            new.state = "paid".to_owned();
        }
    }),
    (Property::FencedWrites, "a zombie writes a decline", |story| {
        story.entry_of(&uid(DECLINED, 1), "declined").who = "daemon_2".to_owned();
    }),
    (Property::FencedWrites, "an attempt is taken over before its lease has ended", |story| {
        let held = at(story.now_us);
        let entry = story.entry_of(&uid(RESCUED, 1), "unknown");
        if let Change::ChargeAttempt { old: Some(old), .. } = &mut entry.change {
            old.ask_at = Some(held);
        }
    }),
    (Property::FencedWrites, "a debt is closed without its subscription", |story| {
        let mut entries = story.book.journal.iter_mut();
        let closed = entries.find(|entry| matches!(&entry.change,
            Change::BillingCycle { new: Some(new), .. } if new.state == "paid"));
        let closed = closed.unwrap();
        (closed.txid, closed.id) = (-1, closed.id - 2);
    }),
    (Property::RateCap, "four requests within a second under a cap of one", |story| {
        story.terms.rate_per_second = 1;
        let mut refused = story.request(&uid(PAID, 1)).clone();
        refused.decided = Some(Decided::NotProcessed);
        refused.ended = Some(Ended::Answered { status: 401 });
        for _ in 0..4 {
            story.gateway.insert(0, refused.clone());
        }
    }),
    (Property::OnePeriodAtATime, "a period is passed over", |story| {
        let row = story.move_of(PAID);
        row.period = date(2026, 3, 31);
        row.due_at = "2026-03-30T15:00:00Z".parse().unwrap();
        row.next_charge_at = Some(row.due_at);
    }),
    (Property::OnePeriodAtATime, "a short month falls due a day early", |story| {
        let row = story.move_of(PAID);
        row.due_at = "2026-02-26T15:00:00Z".parse().unwrap();
        row.next_charge_at = Some(row.due_at);
    }),
    (Property::OnePeriodAtATime, "the next charge is planned before its period is due", |story| {
        let row = story.move_of(PAID);
        row.next_charge_at = Some("2026-02-01T00:00:00Z".parse().unwrap());
    }),
    (Property::NothingOpenAtRest, "an attempt is still unknown", |story| {
        let row = story.row(&uid(DECLINED, 2));
        row.state = "unknown".to_owned();
        row.parked_at = row.finished_at.take();
    }),
    (Property::RescueMeansAsk, "one answer \"not found\" was enough", |story| {
        let asked = story.gateway.iter().rposition(|r| r.route == Route::FindAll && r.merchant_uid == uid(RESCUED, 1)).unwrap();
        story.gateway.remove(asked);
    }),
    (Property::RescueMeansAsk, "\"not found\" counted before it was settled", |story| {
        story.terms.settle = Duration::from_mins(1);
    }),
    (Property::NoQuestionTooEarly, "somebody asks while the client waits", |story| {
        let arrived = story.request(&uid(PAID, 1)).arrived_at_us;
        story.now_us = arrived + 1_000;
        story.ask(Route::FindAll, &uid(PAID, 1), Decided::NotFound, 404);
    }),
    (Property::TimeBilledOnce, "a second debt begins a day before the first one ends", |story| {
        story.open_debt("daemon_1", PAID, date(2026, 2, 28), "2026-02-26T15:00:00Z");
    }),
    (Property::NothingOutOfService, "a debt is opened for time before the return", |story| {
        story.go("paused");
        story.go("active");
        story.open_debt("daemon_1", PAID, date(2026, 2, 28), "2026-02-27T15:00:00Z");
    }),
    (Property::NothingOutOfService, "a debt is opened while nothing is in service", |story| {
        story.go("paused");
        story.open_debt("daemon_1", PAID, date(2026, 2, 28), "2026-02-27T15:00:00Z");
    }),
    (Property::AskedIsOwed, "somebody halves the debt when it is opened", |story| {
        let mut entries = story.book.journal.iter_mut();
        let opened = entries.find_map(|entry| match &mut entry.change {
            Change::BillingCycle { old: None, new: Some(new) } if new.subscription_id == id(PAID) => Some(new),
            Change::Subscription { .. } | Change::BillingCycle { .. } | Change::ChargeAttempt { .. }
            | Change::Refund { .. } | Change::ClockShift { .. } => None,
        });
        opened.unwrap().amount = 4950;
    }),
    (Property::LookBeforeAsking, "a refused attempt is not looked up before the next", |story| {
        story.gateway.retain(|r| r.merchant_uid != uid(DECLINED, 1) || r.route != Route::FindAll);
    }),
    (Property::LookBeforeAsking, "a refused attempt was looked up before the claim only", |story| {
        let begun = story.entry_of(&uid(DECLINED, 2), "started").at_us;
        let mut looks = story.gateway.iter_mut();
        looks.find(|r| r.merchant_uid == uid(DECLINED, 1) && r.route == Route::FindAll).unwrap().arrived_at_us = begun - 1;
    }),
    (Property::ToldOnce, "a payment is not told", |story| {
        story.book.events = story.events().split_off(1);
    }),
    (Property::ToldOnce, "a payment is told twice", |story| {
        let events = story.events();
        story.book.events = events.iter().chain(&events[..1]).cloned().collect();
    }),
    (Property::HeirsAskInTime, "the heir comes late", |story| *story = Story::told(20)),
];
