//! The calendar once more, in Rust and with another library, for the tests of the one in SQL.

use jiff::civil::{Date, Time, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// What of an agreement says when its periods begin and end.
#[derive(Debug)]
pub(super) struct Calendar {
    pub(super) anchor_at: Timestamp,
    pub(super) billing_day: Option<i8>,
    pub(super) unit: String,
    pub(super) count: i64,
    pub(super) zone: TimeZone,
}

impl Calendar {
    /// When the next period begins that must not begin before an instant.
    pub(super) fn start(&self, not_before: Timestamp) -> Timestamp {
        let first = self.billing_date(not_before);
        let day = match self.unit.as_str() {
            "day" => first,
            "week" => {
                let weekday = self.anchor_date().weekday().to_monday_one_offset();
                let weekday = self.billing_day.unwrap_or(weekday);
                std::iter::successors(Some(first), |day| day.tomorrow().ok())
                    .find(|day| day.weekday().to_monday_one_offset() == weekday)
                    .unwrap()
            }
            _ => std::iter::successors(Some(first), |day| day.tomorrow().ok())
                .find(|day| *day == self.billing_day_in(*day))
                .unwrap(),
        };
        self.instant(day).max(not_before)
    }

    /// When a period that begins at an instant ends.
    pub(super) fn end(&self, from: Timestamp) -> Timestamp {
        let first = self.billing_date(from);
        let after = |span: Span| first.checked_add(span).unwrap();
        self.instant(match self.unit.as_str() {
            "day" => after(self.count.days()),
            "week" => after(self.count.weeks()),
            "month" => self.billing_day_in(after(self.count.months())),
            _ => self.billing_day_in(after(self.count.years())),
        })
    }

    /// The day of this month on which money is due.
    pub(super) fn billing_day_in(&self, month: Date) -> Date {
        let day = self.billing_day.unwrap_or(self.anchor_date().day());
        let day = day.min(month.last_of_month().day());
        date(month.year(), month.month(), day)
    }

    fn billing_date(&self, at: Timestamp) -> Date {
        let wall = self.zone.to_datetime(at);
        let yesterday = wall.date().yesterday().unwrap();
        if wall.time() < self.clock() && self.instant(yesterday) == at {
            return yesterday;
        }
        wall.date()
    }

    fn anchor_date(&self) -> Date {
        self.zone.to_datetime(self.anchor_at).date()
    }

    fn clock(&self) -> Time {
        self.zone.to_datetime(self.anchor_at).time()
    }

    /// The first of two equal hours; a time that a gap leaves out moves on by the gap.
    fn instant(&self, day: Date) -> Timestamp {
        let wall = day.to_datetime(self.clock());
        self.zone.to_ambiguous_timestamp(wall).compatible().unwrap()
    }
}
