//! What comes next and what it costs once more, in Rust, for the tests of the one in SQL. All lies ahead of now.

use jiff::{Span, Timestamp, ToSpan};

use super::oracle::Calendar;

#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: String,
    pub(super) at: Option<Timestamp>,
    pub(super) amount: i64,
}

#[derive(Debug)]
pub(super) struct Adjustment {
    pub(super) kind: String,
    /// Of an item or a credit: what is left of it.
    pub(super) sum: i64,
    pub(super) share_bp: i64,
    pub(super) periods_left: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) calendar: Calendar,
    pub(super) active: bool,
    pub(super) amount: i64,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) periods_left: Option<i64>,
    pub(super) cursor: Timestamp,
    pub(super) changes: Vec<Change>,
    pub(super) adjustments: Vec<Adjustment>,
}

const LEAST: i64 = 100;

impl Life {
    /// What follows, in so many rows: kind, from, until and sum.
    pub(super) fn walk(mut self, rows: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < rows {
            let start = self.calendar.start(self.cursor);
            if let Some(change) = self.next_change(start) {
                lines.extend(self.apply(&change, start));
                continue;
            }
            if !self.active {
                lines.push("hold".to_owned());
                break;
            }
            let end_left = (self.periods_left == Some(0)).then_some(self.cursor);
            let end_at = self.ends_at.filter(|at| *at <= start);
            if let Some(end) = end_left.or(end_at.map(|at| at.max(self.cursor))) {
                lines.push(format!("end {}", end.as_microsecond()));
                break;
            }
            let whole = self.calendar.end(start);
            let until = self.ends_at.map_or(whole, |at| at.min(whole));
            let share = (until < whole).then(|| (self.days(start, until), self.days(start, whole)));
            lines.push(self.bill(start, until, share));
        }
        lines
    }

    /// The change that acts before a period that begins then, taken out of what is planned.
    fn next_change(&mut self, start: Timestamp) -> Option<Change> {
        let acts_at = |change: &Change| change.at.unwrap_or(start);
        let changes = self.changes.iter().enumerate();
        let (nth, first) = changes.min_by_key(|(_, change)| acts_at(change))?;
        let acts = acts_at(first) <= start || !self.active;
        acts.then(|| self.changes.remove(nth))
    }

    fn apply(&mut self, change: &Change, start: Timestamp) -> Option<String> {
        let at = change.at.unwrap_or(start);
        match change.kind.as_str() {
            "skip" => {
                self.cursor = self.calendar.end(start);
                let (from, until) = (start.as_microsecond(), self.cursor.as_microsecond());
                return Some(format!("passed {from} {until} 0"));
            }
            "by_day" => return self.stub(start),
            "plan" => self.amount = change.amount,
            "pause" => self.active = false,
            _ if self.active => return None,
            _ => {
                self.active = true;
                self.cursor = self.cursor.max(at);
            }
        }
        Some(format!("change {}", at.as_microsecond()))
    }

    /// The days up to the billing day, as a share of the interval that ends there.
    fn stub(&mut self, start: Timestamp) -> Option<String> {
        let days = self.days(self.cursor, start);
        let ended = self.periods_left == Some(0) || self.ends_at.is_some_and(|at| at <= start);
        let until = self.ends_at.map_or(start, |at| at.min(start));
        if days <= 0 || !self.active || ended || until <= self.cursor {
            return None;
        }
        let all = self.calendar.days_of_interval_before(start);
        let from = self.cursor;
        let served = self.days(from, until);
        Some(self.bill(from, until, Some((served, all))))
    }

    fn bill(&mut self, from: Timestamp, until: Timestamp, share: Option<(i64, i64)>) -> String {
        let sum = self.price(share);
        self.cursor = until;
        self.periods_left = self.periods_left.map(|left| (left - 1).max(0));
        let kind = if sum == 0 { "free" } else { "charge" };
        let (from, until) = (from.as_microsecond(), until.as_microsecond());
        format!("{kind} {from} {until} {sum}")
    }

    fn price(&mut self, share: Option<(i64, i64)>) -> i64 {
        let mut sum = match share {
            Some((days, all)) if days < all => (self.amount * days).div_euclid(all),
            _ => self.amount,
        };
        for discount in self.of("discount") {
            if discount.periods_left == Some(0) {
                continue;
            }
            let off = if discount.share_bp > 0 {
                (sum * discount.share_bp).div_euclid(10000)
            } else {
                discount.sum
            };
            sum -= off.min(sum);
            discount.periods_left = discount.periods_left.map(|left| left - 1);
        }
        for item in self.of("item") {
            sum += std::mem::take(&mut item.sum);
        }
        for credit in self.of("credit") {
            let used = credit.sum.min(sum);
            sum -= used;
            credit.sum -= used;
        }
        if sum < LEAST { 0 } else { sum }
    }

    fn of(&mut self, kind: &str) -> impl Iterator<Item = &mut Adjustment> {
        self.adjustments
            .iter_mut()
            .filter(move |adjustment| adjustment.kind == kind)
    }

    fn days(&self, from: Timestamp, until: Timestamp) -> i64 {
        self.calendar.days(from, until)
    }
}

impl Calendar {
    fn days(&self, from: Timestamp, until: Timestamp) -> i64 {
        let day = |at| self.zone.to_datetime(at).date();
        i64::from((day(until) - day(from)).get_days())
    }

    fn days_of_interval_before(&self, start: Timestamp) -> i64 {
        let day = self.zone.to_datetime(start).date();
        let before = |span: Span| day.checked_sub(span).unwrap();
        let first = match self.unit.as_str() {
            "week" => before(self.count.weeks()),
            "month" => self.billing_day_in(before(self.count.months())),
            _ => self.billing_day_in(before(self.count.years())),
        };
        i64::from((day - first).get_days())
    }
}
