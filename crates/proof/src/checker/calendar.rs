//! The calendar of a subscription, walked from its anchor.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::ledger::Subscription;

/// More periods than any run goes through; a daily one of fifty years.
const STEPS_MAX: i64 = 20_000;

/// A billing day comes at least once in so many days.
const DAYS_MAX: usize = 32;

/// Whether a period begins when this one says it does. Who comes back on a billing day begins at once.
pub(super) fn is_on_calendar(subscription: &Subscription) -> bool {
    let begins = date_of(subscription, subscription.due_at)
        .and_then(|day| day.yesterday().ok())
        .and_then(|before| next_after(subscription, before));
    begins.is_some_and(|begins| {
        subscription.due_at >= begins && is_same_day(subscription, begins, subscription.due_at)
    })
}

/// Whether two instants lie on one day of the subscription's zone.
pub(super) fn is_same_day(subscription: &Subscription, one: Timestamp, other: Timestamp) -> bool {
    date_of(subscription, one) == date_of(subscription, other)
}

fn date_of(subscription: &Subscription, instant: Timestamp) -> Option<Date> {
    let zone = TimeZone::get(&subscription.time_zone).ok()?;
    Some(zone.to_datetime(instant).date())
}

/// Whether a date is the day that a person has chosen: of the week, or of the month; a short month ends with it.
fn is_billing_day(subscription: &Subscription, date: Date, day: i64) -> bool {
    if subscription.interval_unit == "week" {
        return i64::from(date.weekday().to_monday_one_offset()) == day;
    }
    i64::from(date.day()) == day.min(date.days_in_month().into())
}

/// When the first period after `date` begins. Each period is counted from the anchor, so that a 31st
/// comes back after a short month.
fn next_after(subscription: &Subscription, date: Date) -> Option<Timestamp> {
    let zone = TimeZone::get(&subscription.time_zone).ok()?;
    let anchor = zone.to_datetime(subscription.anchor_at);
    if let Some(day) = subscription.billing_day {
        let days = date.tomorrow().ok()?.series(Span::new().days(1));
        let mut billed = days
            .take(DAYS_MAX)
            .filter(|date| is_billing_day(subscription, *date, day));
        return zone
            .to_timestamp(billed.next()?.to_datetime(anchor.time()))
            .ok();
    }
    for k in 0..STEPS_MAX {
        let units = k.checked_mul(subscription.interval_count)?;
        let span = Span::new();
        let span = match subscription.interval_unit.as_str() {
            "day" => span.try_days(units),
            "week" => span.try_weeks(units),
            "month" => span.try_months(units),
            "year" => span.try_years(units),
            _ => return None,
        };
        let local = anchor.checked_add(span.ok()?).ok()?;
        if local.date() > date {
            let due_at = if k == 0 {
                subscription.anchor_at
            } else {
                zone.to_timestamp(local).ok()?
            };
            return Some(due_at);
        }
    }
    None
}
