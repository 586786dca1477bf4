//! A cap on requests per second, as the spacing of the slots in which requests leave.

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A request that is later than this for its slot has missed it: beside the requests of later slots
/// it would carry any one second more than a fifth above the cap.
pub const LATE_MAX: Duration = Duration::from_millis(150);

/// How far apart the slots of a cap are; zero if there is no cap.
pub fn spacing(rate_per_second: u32) -> Duration {
    SECOND.checked_div(rate_per_second).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_slots_is_a_minute_of_the_cap() {
        for rate in 1..=10_000 {
            let minute = spacing(rate).saturating_mul(rate * 60);
            let short = SECOND.saturating_mul(60).saturating_sub(minute);
            assert!(short < Duration::from_millis(1), "{rate}");
        }
    }

    #[test]
    fn no_second_holds_a_fifth_more_than_the_cap_however_late_requests_leave_within_their_slots() {
        for rate in 10..=10_000_u32 {
            // Whoever leaves within a second has a slot in that second or up to LATE_MAX before.
            let window = SECOND.saturating_add(LATE_MAX).as_nanos();
            let most = window.div_ceil(spacing(rate).as_nanos());
            assert!((most - 1) * 5 <= u128::from(rate) * 6, "{rate}");
        }
    }

    #[test]
    fn no_cap_is_no_spacing() {
        assert_eq!(spacing(0), Duration::ZERO);
    }
}
