//! Each property sees its fault and nothing else: a good pair of ledgers, then one damage at a time.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "the instants of a story are small numbers"
)]

mod by_hand;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::date;

use super::{Death, Property, Terms, check, doubles};
use crate::ledger::{Attempt, Book, Change, Cycle, Entry, Finding, Refund, Subscription};
use portone_sandbox::{Decided, Ended, Request, Route};

const SECOND: i64 = 1_000_000;
const PAID: usize = 0;
const DECLINED: usize = 1;
const RESCUED: usize = 2;

/// Two ledgers while they are being written.
struct Story {
    terms: Terms,
    gateway: Vec<Request>,
    book: Book,
    now_us: i64,
    txid: i64,
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap()
}

fn uid(nth: usize, attempt_no: i64) -> String {
    format!("{nth:0>32}260131{attempt_no:02}")
}

fn id(nth: usize) -> String {
    format!("00000000-0000-0000-0000-{nth:0>12}")
}

impl Story {
    fn new() -> Self {
        let now_us = "2026-01-30T15:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .as_microsecond();
        Self {
            terms: Terms {
                lease: Duration::from_secs(2),
                call_timeout: Duration::from_millis(700),
                call_margin: Duration::from_millis(300),
                settle: Duration::from_secs(2),
                not_found_min: 2,
                rate_per_second: 0,
                rungs: BTreeMap::from([("soft_funds".to_owned(), 1)]),
                daemons: vec!["daemon_1".to_owned(), "daemon_2".to_owned()],
                deaths: Vec::new(),
                froze: false,
                lost_tail: false,
                looks_lie: false,
                repriced: false,
            },
            gateway: Vec::new(),
            book: Book {
                now: at(now_us),
                journal: Vec::new(),
                subscriptions: Vec::new(),
                cycles: Vec::new(),
                attempts: Vec::new(),
                refunds: Vec::new(),
                paid_twice: Vec::new(),
                findings: Vec::new(),
            },
            now_us,
            txid: 0,
        }
    }

    fn pass(&mut self, us: i64) {
        self.now_us += us;
    }

    fn commit(&mut self) {
        self.txid += 1;
        self.pass(10_000);
    }

    fn note(&mut self, who: &str, change: Change) {
        self.book.journal.push(Entry {
            id: i64::try_from(self.book.journal.len()).unwrap() + 1,
            at_us: self.now_us,
            began_us: self.now_us,
            committed_at_us: Some(self.now_us + 1_000),
            txid: self.txid,
            who: who.to_owned(),
            change,
        });
    }

    fn subscription(&mut self, who: &str, nth: usize, change: impl FnOnce(&mut Subscription)) {
        let row = &mut self.book.subscriptions[nth];
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::Subscription { old, new });
    }

    fn cycle(&mut self, who: &str, nth: usize, change: impl FnOnce(&mut Cycle)) {
        let mut cycles = self.book.cycles.iter_mut();
        let row = cycles.find(|c| c.subscription_id == id(nth)).unwrap();
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::BillingCycle { old, new });
    }

    fn attempt(&mut self, who: &str, uid: &str, change: impl FnOnce(&mut Attempt)) {
        let mut attempts = self.book.attempts.iter_mut();
        let row = attempts.find(|a| a.merchant_uid == uid).unwrap();
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::ChargeAttempt { old, new });
    }

    fn subscribe(&mut self, nth: usize) {
        let now = at(self.now_us);
        let row = Subscription {
            id: id(nth),
            state: "active".to_owned(),
            next_charge_at: Some(now),
            customer_uid: format!("card_{nth}"),
            amount: 9900,
            currency: "KRW".to_owned(),
            interval_unit: "month".to_owned(),
            interval_count: 1,
            time_zone: "Asia/Seoul".to_owned(),
            anchor_at: now,
            period: date(2026, 1, 31),
            due_at: now,
            state_reason: None,
            last_result: None,
            last_result_at: None,
            attempts: 0,
            declines: 0,
            open_attempt: None,
            fence: 0,
            recheck: false,
            until_at: Some("2026-02-27T15:00:00Z".parse().unwrap()),
            billing_day: None,
            ends_at: None,
            next_change_at: None,
        };
        self.book.subscriptions.push(row.clone());
        self.note(
            "operator",
            Change::Subscription {
                old: None,
                new: Some(row),
            },
        );
    }

    fn claim(&mut self, who: &str, nth: usize) -> String {
        let now = at(self.now_us);
        let (attempt_no, fence) = {
            let row = &self.book.subscriptions[nth];
            (row.attempts + 1, row.fence + 1)
        };
        if attempt_no == 1 {
            let row = Cycle {
                subscription_id: id(nth),
                period: date(2026, 1, 31),
                state: "due".to_owned(),
                amount: 9900,
                currency: "KRW".to_owned(),
                due_at: now,
                until_at: Some("2026-02-27T15:00:00Z".parse().unwrap()),
                opened_at: now,
                closed_at: None,
                reason: None,
            };
            self.book.cycles.push(row.clone());
            self.note(
                who,
                Change::BillingCycle {
                    old: None,
                    new: Some(row),
                },
            );
        }
        let uid = uid(nth, attempt_no);
        let row = Attempt {
            subscription_id: Some(id(nth)),
            period: Some(date(2026, 1, 31)),
            attempt_no: Some(attempt_no),
            customer_uid: Some(format!("card_{nth}")),
            ..self.one_off_begun(&uid, fence)
        };
        self.book.attempts.push(row.clone());
        self.note(
            who,
            Change::ChargeAttempt {
                old: None,
                new: Some(row),
            },
        );
        self.subscription(who, nth, |row| {
            row.fence = fence;
            row.attempts = attempt_no;
            row.open_attempt = Some(uid.clone());
        });
        self.commit();
        uid
    }

    /// The row of a one-off charge that begins now.
    fn one_off_begun(&self, uid: &str, fence: i64) -> Attempt {
        Attempt {
            merchant_uid: uid.to_owned(),
            subscription_id: None,
            period: None,
            attempt_no: None,
            state: "started".to_owned(),
            amount: 9900,
            currency: "KRW".to_owned(),
            customer_uid: Some("card_7".to_owned()),
            started_at: at(self.now_us),
            finished_at: None,
            imp_uid: None,
            reason: None,
            code: None,
            message: None,
            ask_at: Some(at(self.now_us + 2 * SECOND)),
            asks: 0,
            not_found: 0,
            sends: 1,
            parked_at: None,
            fence,
            cancelled_amount: 0,
            asked_at: None,
        }
    }

    fn ask(&mut self, route: Route, uid: &str, decided: Decided, status: u16) {
        let nth: usize = uid[..32].parse().unwrap();
        let card = (route == Route::Again).then(|| format!("card_{nth}"));
        self.ask_for(route, uid, card.as_deref(), decided, status);
    }

    fn ask_for(
        &mut self,
        route: Route,
        uid: &str,
        card: Option<&str>,
        decided: Decided,
        status: u16,
    ) {
        let is_charge = card.is_some();
        self.gateway.push(Request {
            sequence: u64::try_from(self.gateway.len()).unwrap() + 1,
            route,
            merchant_uid: uid.to_owned(),
            customer_uid: card.map(str::to_owned),
            amount: is_charge.then_some(9900),
            currency: is_charge.then(|| "KRW".to_owned()),
            arrived_at_us: self.now_us,
            decided: Some(decided),
            decided_at_us: Some(self.now_us + 20_000),
            ended: Some(Ended::Answered { status }),
            ended_at_us: Some(self.now_us + 30_000),
        });
        self.pass(40_000);
    }

    fn approve(&mut self, uid: &str) {
        let imp_uid = format!("imp_{uid}");
        self.ask(Route::Again, uid, Decided::Approved { imp_uid }, 200);
    }

    fn decline(&mut self, uid: &str) {
        let imp_uid = Some(format!("imp_{uid}"));
        self.ask(Route::Again, uid, Decided::Declined { imp_uid }, 200);
    }

    fn record_paid(&mut self, who: &str, nth: usize, uid: &str) {
        let now = at(self.now_us);
        self.attempt(who, uid, |row| {
            row.state = "paid".to_owned();
            row.imp_uid = Some(format!("imp_{uid}"));
            row.finished_at = Some(now);
            row.ask_at = None;
        });
        self.subscription(who, nth, |row| {
            row.open_attempt = None;
            row.period = date(2026, 2, 28);
            row.due_at = "2026-02-27T15:00:00Z".parse().unwrap();
            row.next_charge_at = Some(row.due_at);
            row.attempts = 0;
            row.declines = 0;
        });
        self.cycle(who, nth, |row| {
            row.state = "paid".to_owned();
            row.closed_at = Some(now);
        });
        self.commit();
    }

    fn record_declined(&mut self, who: &str, nth: usize, uid: &str, gives_up: bool) {
        let now = at(self.now_us);
        self.attempt(who, uid, |row| {
            row.state = "declined".to_owned();
            row.reason = Some("soft_funds".to_owned());
            row.finished_at = Some(now);
            row.ask_at = None;
        });
        let retry_at = at(self.now_us + 60 * SECOND);
        self.subscription(who, nth, |row| {
            row.open_attempt = None;
            row.next_charge_at = Some(retry_at).filter(|_| !gives_up);
            row.declines += i64::from(!gives_up);
            if gives_up {
                row.state = "past_due".to_owned();
            }
        });
        if gives_up {
            self.cycle(who, nth, |row| {
                row.state = "uncollectible".to_owned();
                row.closed_at = Some(now);
                row.reason = Some("ladder_ended; soft_funds: 한도초과".to_owned());
            });
        }
        self.commit();
    }

    /// A person takes a subscription out of service, or back.
    fn go(&mut self, state: &str) {
        self.pass(60 * 24 * 3600 * SECOND);
        self.subscription("operator", PAID, |row| row.state = state.to_owned());
        self.commit();
    }

    fn open_debt(&mut self, who: &str, nth: usize, period: jiff::civil::Date, due_at: &str) {
        let row = Cycle {
            period,
            state: "due".to_owned(),
            due_at: due_at.parse().unwrap(),
            until_at: Some("2026-04-30T15:00:00Z".parse().unwrap()),
            ..self.book.cycles[nth].clone()
        };
        let new = Some(row);
        self.note(who, Change::BillingCycle { old: None, new });
        self.subscription(who, nth, |row| row.fence += 1);
        self.commit();
    }

    fn take_over(&mut self, who: &str, nth: usize, uid: &str) {
        let now = at(self.now_us);
        let lease = at(self.now_us + 2 * SECOND);
        let fence = self.book.subscriptions[nth].fence + 1;
        self.attempt(who, uid, |row| {
            row.state = "unknown".to_owned();
            row.reason = Some("abandoned".to_owned());
            row.ask_at = Some(lease);
            row.asked_at = Some(now);
            row.asks += 1;
            row.fence = fence;
        });
        self.subscription(who, nth, |row| {
            row.fence = fence;
            row.next_charge_at = None;
        });
        self.cycle(who, nth, |row| row.state = "unresolved".to_owned());
        self.commit();
    }

    fn record_not_sent(&mut self, who: &str, nth: usize, uid: &str) {
        let now = at(self.now_us);
        self.attempt(who, uid, |row| {
            row.state = "not_sent".to_owned();
            row.finished_at = Some(now);
            row.ask_at = None;
        });
        let retry_at = at(self.now_us + SECOND);
        self.subscription(who, nth, |row| {
            row.open_attempt = None;
            row.next_charge_at = Some(retry_at);
        });
        self.commit();
    }

    fn open_again(&mut self, who: &str, nth: usize, uid: &str) {
        let lease = at(self.now_us + 2 * SECOND);
        let fence = self.book.subscriptions[nth].fence + 1;
        self.attempt(who, uid, |row| {
            row.state = "started".to_owned();
            row.finished_at = None;
            row.ask_at = Some(lease);
            row.fence = fence;
        });
        self.subscription(who, nth, |row| {
            row.fence = fence;
            row.open_attempt = Some(uid.to_owned());
        });
        self.commit();
    }

    /// The second attempt of a debt can't leave at first, and is paid when it is opened again.
    fn told_of_an_outage() -> Self {
        let mut story = Self::new();
        story.subscribe(PAID);
        story.commit();
        let declined = story.claim("daemon_1", PAID);
        story.decline(&declined);
        story.record_declined("daemon_1", PAID, &declined, false);
        story.pass(60 * SECOND);
        let held_up = story.claim("daemon_1", PAID);
        for _ in 0..2 {
            story.record_not_sent("daemon_1", PAID, &held_up);
            story.pass(SECOND);
            story.open_again("daemon_1", PAID, &held_up);
        }
        story.ask(Route::FindAll, &declined, Decided::Failed, 200);
        story.approve(&held_up);
        story.record_paid("daemon_1", PAID, &held_up);
        story.book.now = at(story.now_us);
        story
    }

    /// One is paid, one is declined until its ladder ends, one loses its daemon, is not found, and is
    /// sent again. The heir comes after this many seconds.
    fn told(heir_after: i64) -> Self {
        let mut story = Self::new();
        for nth in [PAID, DECLINED, RESCUED] {
            story.subscribe(nth);
        }
        story.commit();

        let paid = story.claim("daemon_1", PAID);
        story.approve(&paid);
        story.record_paid("daemon_1", PAID, &paid);

        let declined = story.claim("daemon_1", DECLINED);
        story.decline(&declined);
        story.record_declined("daemon_1", DECLINED, &declined, false);

        let lost = story.claim("daemon_2", RESCUED);
        story.ask(Route::Again, &lost, Decided::NotProcessed, 500);
        story.terms.deaths.push(Death {
            role: "daemon_2".to_owned(),
            at_us: story.now_us,
        });
        story.pass(heir_after * SECOND);
        for _ in 0..2 {
            story.take_over("daemon_1", RESCUED, &lost);
            story.ask(Route::FindAll, &lost, Decided::NotFound, 404);
            story.attempt("daemon_1", &lost, |row| {
                row.not_found += 1;
                row.ask_at = row.asked_at;
            });
            story.commit();
        }
        let now = at(story.now_us);
        story.attempt("daemon_1", &lost, |row| {
            row.state = "started".to_owned();
            row.started_at = now;
            row.sends = 2;
        });
        story.commit();
        story.approve(&lost);
        story.record_paid("daemon_1", RESCUED, &lost);

        story.pass(60 * SECOND);
        let declined = story.claim("daemon_2", DECLINED);
        story.ask(Route::FindAll, &uid(DECLINED, 1), Decided::Failed, 200);
        story.decline(&declined);
        story.record_declined("daemon_2", DECLINED, &declined, true);
        story.book.now = at(story.now_us);
        story
    }

    fn violated(&self) -> Vec<super::Violation> {
        check(&self.terms, &self.gateway, &self.book)
    }

    fn request(&mut self, uid: &str) -> &mut Request {
        let mut requests = self.gateway.iter_mut();
        requests.find(|r| r.merchant_uid == uid).unwrap()
    }

    fn row(&mut self, uid: &str) -> &mut Attempt {
        let mut rows = self.book.attempts.iter_mut();
        rows.find(|row| row.merchant_uid == uid).unwrap()
    }

    /// The first entry of an attempt that left it in this state.
    fn entry_of(&mut self, uid: &str, state: &str) -> &mut Entry {
        self.entries_of(uid, state).swap_remove(0)
    }

    fn entries_of(&mut self, uid: &str, state: &str) -> Vec<&mut Entry> {
        let entries = self.book.journal.iter_mut();
        let is_it = |entry: &&mut Entry| match &entry.change {
            Change::ChargeAttempt { new: Some(new), .. } => {
                new.merchant_uid == uid && new.state == state
            }
            Change::ChargeAttempt { .. }
            | Change::Subscription { .. }
            | Change::BillingCycle { .. }
            | Change::Refund { .. }
            | Change::ClockShift { .. } => false,
        };
        entries.filter(is_it).collect()
    }

    /// The last move of a subscription.
    fn move_of(&mut self, nth: usize) -> &mut Subscription {
        let mut entries = self.book.journal.iter_mut().rev();
        entries
            .find_map(|entry| match &mut entry.change {
                Change::Subscription { new: Some(new), .. } if new.id == id(nth) => Some(new),
                Change::Subscription { .. }
                | Change::BillingCycle { .. }
                | Change::ChargeAttempt { .. }
                | Change::Refund { .. }
                | Change::ClockShift { .. } => None,
            })
            .unwrap()
    }
}

#[test]
fn two_good_ledgers_agree() {
    assert_eq!(Story::told(3).violated(), []);
}

type Damage = fn(&mut Story);

#[rustfmt::skip]
const DAMAGES: &[(Property, &str, Damage)] = &[
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
    (Property::HeirsAskInTime, "the heir comes late", |story| *story = Story::told(20)),
];

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
