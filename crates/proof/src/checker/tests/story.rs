//! Two ledgers while they are being written: what daemons, people and the gateway do, a step at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::date;
use portone_sandbox::{Decided, Ended, Request, Route};

use super::super::{Terms, Violation, check};
use crate::ledger::{Attempt, Book, Change, Cycle, Entry, Event, EventData, Subscription};

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const PAID: usize = 0;
pub(super) const DECLINED: usize = 1;
pub(super) const RESCUED: usize = 2;

/// Two ledgers while they are being written.
pub(super) struct Story {
    pub(super) terms: Terms,
    pub(super) gateway: Vec<Request>,
    pub(super) book: Book,
    pub(super) now_us: i64,
    pub(super) txid: i64,
}

pub(super) fn at(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap()
}

pub(super) fn uid(nth: usize, attempt_no: i64) -> String {
    format!("{nth:0>32}260131{attempt_no:02}")
}

pub(super) fn id(nth: usize) -> String {
    format!("00000000-0000-0000-0000-{nth:0>12}")
}

impl Story {
    pub(super) fn new() -> Self {
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
                events: Vec::new(),
            },
            now_us,
            txid: 0,
        }
    }

    pub(super) fn pass(&mut self, us: i64) {
        self.now_us += us;
    }

    pub(super) fn commit(&mut self) {
        self.txid += 1;
        self.pass(10_000);
    }

    pub(super) fn note(&mut self, who: &str, change: Change) {
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

    pub(super) fn subscription(
        &mut self,
        who: &str,
        nth: usize,
        change: impl FnOnce(&mut Subscription),
    ) {
        let row = &mut self.book.subscriptions[nth];
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::Subscription { old, new });
    }

    pub(super) fn cycle(&mut self, who: &str, nth: usize, change: impl FnOnce(&mut Cycle)) {
        let mut cycles = self.book.cycles.iter_mut();
        let row = cycles.find(|c| c.subscription_id == id(nth)).unwrap();
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::BillingCycle { old, new });
    }

    pub(super) fn attempt(&mut self, who: &str, uid: &str, change: impl FnOnce(&mut Attempt)) {
        let mut attempts = self.book.attempts.iter_mut();
        let row = attempts.find(|a| a.merchant_uid == uid).unwrap();
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::ChargeAttempt { old, new });
    }

    pub(super) fn subscribe(&mut self, nth: usize) {
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

    pub(super) fn claim(&mut self, who: &str, nth: usize) -> String {
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
    pub(super) fn one_off_begun(&self, uid: &str, fence: i64) -> Attempt {
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

    pub(super) fn ask(&mut self, route: Route, uid: &str, decided: Decided, status: u16) {
        let nth: usize = uid[..32].parse().unwrap();
        let card = (route == Route::Again).then(|| format!("card_{nth}"));
        self.ask_for(route, uid, card.as_deref(), decided, status);
    }

    pub(super) fn ask_for(
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

    pub(super) fn violated(&self) -> Vec<Violation> {
        let mut book = self.book.clone();
        if book.events.is_empty() {
            book.events = self.events();
        }
        check(&self.terms, &self.gateway, &book)
    }

    /// What is told of the rows as they stand.
    pub(super) fn events(&self) -> Vec<Event> {
        let told = |kind: &str, amount, refund_id: Option<&String>| Event {
            id: 1,
            kind: kind.to_owned(),
            subscription_id: None,
            period: None,
            merchant_uid: None,
            data: EventData {
                amount: Some(amount),
                refund_id: refund_id.cloned(),
            },
        };
        let cycles = self.book.cycles.iter().filter(|row| row.state == "paid");
        let debts = cycles.map(|row| Event {
            subscription_id: Some(row.subscription_id.clone()),
            period: Some(row.period),
            ..told("paid", row.amount, None)
        });
        let attempts = self.book.attempts.iter();
        let one_offs = attempts.filter(|row| row.is_one_off() && row.state == "paid");
        let one_offs = one_offs.map(|row| Event {
            merchant_uid: Some(row.merchant_uid.clone()),
            ..told("paid", row.amount, None)
        });
        let refunds = self
            .book
            .refunds
            .iter()
            .filter(|row| row.state == "refunded");
        let refunds = refunds.map(|row| Event {
            merchant_uid: Some(row.merchant_uid.clone()),
            ..told("refunded", row.amount, Some(&row.id))
        });
        debts.chain(one_offs).chain(refunds).collect()
    }

    pub(super) fn request(&mut self, uid: &str) -> &mut Request {
        let mut requests = self.gateway.iter_mut();
        requests.find(|r| r.merchant_uid == uid).unwrap()
    }

    pub(super) fn row(&mut self, uid: &str) -> &mut Attempt {
        let mut rows = self.book.attempts.iter_mut();
        rows.find(|row| row.merchant_uid == uid).unwrap()
    }

    /// The first entry of an attempt that left it in this state.
    pub(super) fn entry_of(&mut self, uid: &str, state: &str) -> &mut Entry {
        self.entries_of(uid, state).swap_remove(0)
    }

    pub(super) fn entries_of(&mut self, uid: &str, state: &str) -> Vec<&mut Entry> {
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
    pub(super) fn move_of(&mut self, nth: usize) -> &mut Subscription {
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
