//! A cap on requests per second, as the spacing of the places from which requests leave.

use std::time::Duration;

/// A second and what its edges need.
///
/// Places stand 1.015 s ÷ cap apart. So the first and the last of one request more than the cap have
/// places 1.015 s apart, and still arrive more than a second apart when the first is late by all of
/// [`LATE_MAX`] and the last is not, with 5 ms left for what a request needs on its way and for reading
/// the database's clock: no second holds more than the cap. The price is 1.5 % of the cap, and that
/// leaves 0.5 % for places that are missed before a total is 2 % short.
const ROUND: Duration = Duration::from_millis(1015);

/// A request that is later than this for its place has missed it: it would stand at the side of others.
pub const LATE_MAX: Duration = Duration::from_millis(10);

/// How far apart the places of a cap are; zero if there is no cap.
pub fn spacing(rate_per_second: u32) -> Duration {
    ROUND.checked_div(rate_per_second).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_request_more_than_the_cap_needs_more_than_a_second_however_late_the_first_is() {
        for rate in 1..=10_000 {
            let places = spacing(rate).saturating_mul(rate);
            assert!(places > SECOND.saturating_add(LATE_MAX), "{rate}");
        }
    }

    #[test]
    fn a_minute_holds_all_but_two_percent_of_the_cap() {
        for rate in 1..=10_000 {
            // 98 % of the cap's places end within the minute; all of them don't.
            let minute = SECOND.saturating_mul(60);
            let nearly = u64::from(rate * 60 * 98).div_ceil(100);
            assert!(
                spacing(rate).saturating_mul(u32::try_from(nearly).unwrap()) <= minute,
                "{rate}"
            );
            assert!(spacing(rate).saturating_mul(rate * 60) > minute, "{rate}");
        }
    }

    #[test]
    fn no_cap_is_no_spacing() {
        assert_eq!(spacing(0), Duration::ZERO);
    }
}
