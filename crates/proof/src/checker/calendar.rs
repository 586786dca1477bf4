//! The calendar of a subscription, walked from its anchor.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::ledger::Subscription;

/// More periods than any run goes through; a daily one of fifty years.
const STEPS_MAX: i64 = 20_000;

/// The first period after `date` and when it falls due. Each period is counted from the anchor, so
/// that a 31st comes back after a short month.
pub(super) fn next_after(subscription: &Subscription, date: Date) -> Option<(Date, Timestamp)> {
    let zone = TimeZone::get(&subscription.time_zone).ok()?;
    let anchor = zone.to_datetime(subscription.anchor_at);
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
            return Some((local.date(), due_at));
        }
    }
    None
}
