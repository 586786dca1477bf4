//! What becomes of an attempt, a step at a time: at the gateway, and in the book.

use jiff::civil::date;
use portone_sandbox::{Decided, Route};

use super::story::{PAID, SECOND, Story, at};
use crate::ledger::{Change, Cycle};

impl Story {
    pub(super) fn approve(&mut self, uid: &str) {
        let imp_uid = format!("imp_{uid}");
        self.ask(Route::Again, uid, Decided::Approved { imp_uid }, 200);
    }

    pub(super) fn decline(&mut self, uid: &str) {
        let imp_uid = Some(format!("imp_{uid}"));
        self.ask(Route::Again, uid, Decided::Declined { imp_uid }, 200);
    }

    pub(super) fn record_paid(&mut self, who: &str, nth: usize, uid: &str) {
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

    pub(super) fn record_declined(&mut self, who: &str, nth: usize, uid: &str, gives_up: bool) {
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
    pub(super) fn go(&mut self, state: &str) {
        self.pass(60 * 24 * 3600 * SECOND);
        self.subscription("operator", PAID, |row| row.state = state.to_owned());
        self.commit();
    }

    pub(super) fn open_debt(
        &mut self,
        who: &str,
        nth: usize,
        period: jiff::civil::Date,
        due_at: &str,
    ) {
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

    pub(super) fn take_over(&mut self, who: &str, nth: usize, uid: &str) {
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

    pub(super) fn record_not_sent(&mut self, who: &str, nth: usize, uid: &str) {
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

    pub(super) fn open_again(&mut self, who: &str, nth: usize, uid: &str) {
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
}
