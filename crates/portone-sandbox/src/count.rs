//! Counters of requests, and the busiest second.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::clock::SECOND_US;
use super::route::Route;

/// What happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Requests by route, whatever became of them.
    pub requests: BTreeMap<Route, u64>,
    /// Charges that moved money.
    pub approvals: u64,
    /// Charges that the card refused.
    pub declines: u64,
    /// Charges refused because their `merchant_uid` had taken money before.
    pub refused_duplicates: u64,
    /// Charges refused because another one with their `merchant_uid` was running.
    pub refused_concurrent: u64,
    /// Different `merchant_uid`s with at least one record.
    pub merchant_uids: usize,
    /// Different `merchant_uid`s under which money moved more than once. Anything but 0 is a
    /// double charge.
    pub merchant_uids_approved_twice: u64,
    /// Webhooks that the merchant's server took.
    pub webhooks_delivered: u64,
    /// Webhooks that it did not take. They are not sent again.
    pub webhooks_failed: u64,
    /// Most `again` requests within any one second.
    pub again_per_second_max: usize,
}

/// Counts requests.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: BTreeMap<Route, u64>,
    /// Arrivals of `again` within the last second, in microseconds since the start.
    last_second: VecDeque<i64>,
    pub(super) again_per_second_max: usize,
}

impl Counts {
    /// Counts a request; says how many `again` the last second has seen, this one included.
    pub(super) fn request(&mut self, route: Route, now_us: i64) -> usize {
        let count = self.requests.entry(route).or_default();
        *count = count.saturating_add(1);
        if route == Route::Again {
            let second_ago_us = now_us.saturating_sub(SECOND_US);
            while self
                .last_second
                .front()
                .is_some_and(|at| *at <= second_ago_us)
            {
                self.last_second.pop_front();
            }
            self.last_second.push_back(now_us);
            self.again_per_second_max = self.again_per_second_max.max(self.last_second.len());
        }
        self.last_second.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_is_any_second_not_a_second_of_the_clock() {
        let mut counts = Counts::default();
        for at_us in [0, 600_000, 900_000, 1_100_000, 1_500_000, 5_000_000] {
            counts.request(Route::Again, at_us);
        }
        assert_eq!(counts.again_per_second_max, 4);
    }
}
