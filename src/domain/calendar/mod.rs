//! When a subscription is due: civil dates in its own time zone, counted from its anchor.
//!
//! Every period is computed from the anchor and never from the period before it, so neither a short
//! month nor a late charge moves those that follow. A period is known by the civil date on which it
//! starts in the subscription's zone; the instant only says from when it may be charged.

use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

#[cfg(test)]
mod tests;

/// The first date a period may start on: a `merchant_uid` carries two digits of the year.
pub const DATE_MIN: Date = date(2000, 1, 1);

/// The last date a period may start on.
pub const DATE_MAX: Date = date(2099, 12, 31);

/// Why there is no such interval, zone or period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Not a word for a unit.
    #[error("{0:?} is not day, week, month or year")]
    Unit(String),
    /// Every day of a leap year is the most; the bound stops a slipped finger.
    #[error("interval count {0} is not between 1 and {max}", max = Interval::COUNT_MAX)]
    Count(u16),
    /// A name the time zone database does not hold.
    #[error("{0:?} is not an IANA time zone")]
    Zone(String),
    /// A period outside the years that a `merchant_uid` can name.
    #[error("the period does not start between {DATE_MIN} and {DATE_MAX}")]
    OutOfRange,
}

/// What an interval is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IntervalUnit {
    /// Civil days, not 24 hours.
    Day,
    /// Seven civil days.
    Week,
    /// Months; a day the month lacks becomes the month's last.
    Month,
    /// Years; 29 February becomes 28 February in a common year.
    Year,
}

impl IntervalUnit {
    /// Reads the word that [`IntervalUnit::as_str`] writes.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        match text {
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            "year" => Ok(Self::Year),
            _ => Err(CalendarError::Unit(text.to_owned())),
        }
    }

    /// The word for rows and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// How often a subscription is charged: every so many days, weeks, months or years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    count: u16,
    unit: IntervalUnit,
}

impl Interval {
    /// The largest count of any unit.
    pub const COUNT_MAX: u16 = 366;

    /// Accepts 1 to [`Interval::COUNT_MAX`] of a unit.
    pub fn new(count: u16, unit: IntervalUnit) -> Result<Self, CalendarError> {
        if (1..=Self::COUNT_MAX).contains(&count) {
            Ok(Self { count, unit })
        } else {
            Err(CalendarError::Count(count))
        }
    }

    /// How many units, at least 1.
    pub fn count(self) -> u16 {
        self.count
    }

    /// The unit.
    pub fn unit(self) -> IntervalUnit {
        self.unit
    }

    /// `k` times the interval, in one step, so that a month end is clamped once and not repeatedly.
    fn times(self, k: i64) -> Option<Span> {
        let units = k.checked_mul(i64::from(self.count))?;
        match self.unit {
            IntervalUnit::Day => Span::new().try_days(units),
            IntervalUnit::Week => Span::new().try_weeks(units),
            IntervalUnit::Month => Span::new().try_months(units),
            IntervalUnit::Year => Span::new().try_years(units),
        }
        .ok()
    }

    /// How many whole intervals lie between two dates, counted in days or in calendar months.
    ///
    /// Ignores the day of the month, so it may be one too many, and never one too few.
    fn estimate(self, from: Date, to: Date) -> Option<i64> {
        let days = || from.until(to).ok().map(|span| i64::from(span.get_days()));
        let months = || month_number(to)?.checked_sub(month_number(from)?);
        let count = i64::from(self.count);
        match self.unit {
            IntervalUnit::Day => days()?.checked_div_euclid(count),
            IntervalUnit::Week => days()?.checked_div_euclid(count.checked_mul(7)?),
            IntervalUnit::Month => months()?.checked_div_euclid(count),
            IntervalUnit::Year => months()?.checked_div_euclid(count.checked_mul(12)?),
        }
    }
}

/// The time zone in which a subscription's calendar is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Finds a zone by its IANA name, `Asia/Seoul` for instance.
    pub fn parse(name: &str) -> Result<Self, CalendarError> {
        match TimeZone::get(name) {
            Ok(zone) if !zone.is_unknown() => Ok(Self(zone)),
            Ok(_) | Err(_) => Err(CalendarError::Zone(name.to_owned())),
        }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or_default()
    }
}

/// One period of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    /// The civil date in the subscription's zone on which it starts. This is its identity.
    pub date: Date,
    /// From when its billing cycle may be charged.
    pub due_at: Timestamp,
}

/// The grid of a subscription's periods: the anchor, and every whole interval after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    anchor: Timestamp,
    /// The anchor as a clock on the wall of the zone shows it.
    start: DateTime,
    interval: Interval,
    zone: Zone,
}

impl Schedule {
    /// Accepts an anchor whose date in `zone` lies between [`DATE_MIN`] and [`DATE_MAX`].
    pub fn new(anchor: Timestamp, interval: Interval, zone: Zone) -> Result<Self, CalendarError> {
        let start = zone.0.to_datetime(anchor);
        if (DATE_MIN..=DATE_MAX).contains(&start.date()) {
            Ok(Self {
                anchor,
                start,
                interval,
                zone,
            })
        } else {
            Err(CalendarError::OutOfRange)
        }
    }

    /// The first period that starts strictly after `date`.
    ///
    /// After a long downtime, give the date of the last period to walk through the missed ones, or
    /// today's to leave them out.
    pub fn next_after(&self, date: Date) -> Result<Period, CalendarError> {
        let estimate = self
            .interval
            .estimate(self.start.date(), date)
            .ok_or(CalendarError::OutOfRange)?
            .max(0);
        let period = self.period(estimate)?;
        if period.date > date {
            return Ok(period);
        }
        let following = estimate.checked_add(1).ok_or(CalendarError::OutOfRange)?;
        self.period(following)
    }

    /// The period `k` intervals after the anchor.
    fn period(&self, k: i64) -> Result<Period, CalendarError> {
        let local = self
            .interval
            .times(k)
            .and_then(|span| self.start.checked_add(span).ok())
            .filter(|local| (DATE_MIN..=DATE_MAX).contains(&local.date()))
            .ok_or(CalendarError::OutOfRange)?;
        let due_at = if k == 0 {
            // An anchor in the second of two equal hours must not be due an hour before itself.
            self.anchor
        } else {
            let local = self.zone.0.to_ambiguous_timestamp(local);
            local.compatible().ok().ok_or(CalendarError::OutOfRange)?
        };
        Ok(Period {
            date: local.date(),
            due_at,
        })
    }
}

/// Months since the year 0, so that months can be subtracted.
fn month_number(date: Date) -> Option<i64> {
    i64::from(date.year())
        .checked_mul(12)?
        .checked_add(i64::from(date.month()))
}
