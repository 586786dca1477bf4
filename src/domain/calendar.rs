//! How often a subscription is charged, and in which zone its days are counted.
//!
//! When its periods begin and end is counted in SQL (`migrations/routines/11_calendar.sql`), and nowhere else.

use jiff::tz::TimeZone;

/// Why there is no such interval or zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Every day of a leap year is the most; the bound stops a slipped finger.
    #[error("interval count {0} is not between 1 and {max}", max = Interval::COUNT_MAX)]
    Count(u16),
    /// A name the time zone database does not hold.
    #[error("{0:?} is not an IANA time zone")]
    Zone(String),
}

words! {
    /// What an interval is counted in.
    pub enum IntervalUnit {
        /// Civil days, not 24 hours.
        Day = "day",
        /// Seven civil days.
        Week = "week",
        /// Months; a day the month lacks becomes the month's last.
        Month = "month",
        /// Years; 29 February becomes 28 February in a common year.
        Year = "year",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_1_to_366_of_a_unit() {
        for (count, is_good) in [(0, false), (1, true), (366, true), (367, false)] {
            assert_eq!(Interval::new(count, IntervalUnit::Day).is_ok(), is_good);
        }
    }

    #[test]
    fn a_zone_has_an_iana_name() {
        assert_eq!(Zone::parse("Asia/Seoul").unwrap().name(), "Asia/Seoul");
        for name in ["", "Asia/Pyongyan", "KST-9", "Etc/Unknown"] {
            assert!(Zone::parse(name).is_err(), "{name}");
        }
    }
}
