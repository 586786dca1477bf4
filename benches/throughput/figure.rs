//! Figures, and the little arithmetic they need. Nothing here is money.
#![expect(
    clippy::float_arithmetic,
    reason = "rates, shares and costs are measured, not owed"
)]

use std::time::Duration;

use serde::Serialize;

/// Where a figure should lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
    /// Neither more nor less than this, but for so much.
    About(f64, f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::About(middle, by) => (value - middle).abs() <= by,
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// In what.
    pub(crate) unit: &'static str,
    /// The median of the runs.
    pub(crate) median: f64,
    /// Every run, in order.
    pub(crate) runs: Vec<f64>,
    /// What it must reach.
    pub(crate) must: Option<Bound>,
    /// What it should reach then.
    pub(crate) aim: Option<Bound>,
}

impl Figure {
    /// A figure that is only shown.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, runs: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            unit,
            median: median(&runs),
            runs,
            must: None,
            aim: None,
        }
    }

    /// With a bound that it must keep.
    pub(crate) fn must(mut self, bound: Bound) -> Self {
        self.must = Some(bound);
        self
    }

    /// With a bound that it should keep.
    pub(crate) fn aim(mut self, bound: Bound) -> Self {
        self.aim = Some(bound);
        self
    }

    /// What the bounds say of the median.
    pub(crate) fn verdict(&self) -> &'static str {
        let holds = |bound: Option<Bound>| bound.map(|bound| bound.holds(self.median));
        match (holds(self.must), holds(self.aim)) {
            (Some(false), _) => "MISSED",
            (_, Some(true)) => "aim",
            (Some(true), _) => "must",
            (None, Some(false)) => "below aim",
            (None, None) => "",
        }
    }
}

/// The middle of the runs, or between the two in the middle.
pub(crate) fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() >> 1;
    let lower = sorted.len().saturating_sub(1) >> 1;
    match (sorted.get(lower), sorted.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        (None, _) | (_, None) => f64::NAN,
    }
}

/// The medians of the first and of the last third.
pub(crate) fn first_and_last(runs: &[f64]) -> (f64, f64) {
    let third = runs.len().div_ceil(3);
    let first = runs.get(..third).unwrap_or(runs);
    let last = runs.get(runs.len().saturating_sub(third)..).unwrap_or(runs);
    (median(first), median(last))
}

/// The value that `percent` of the sorted values do not pass.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// A count as a number to compute with; exact up to 2^53.
pub(crate) fn number(count: u64) -> f64 {
    let half = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    half(count >> 32) * 4_294_967_296.0 + half(count & 0xFFFF_FFFF)
}

/// So many per second.
pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    number(count) / took.as_secs_f64()
}

/// So much of a total for each.
pub(crate) fn each(total: u64, count: u64) -> f64 {
    number(total) / number(count)
}

/// So many microseconds for each.
pub(crate) fn micros_each(total: Duration, count: u64) -> f64 {
    total.as_secs_f64() * 1e6 / number(count)
}

/// Milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Millions of bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

/// One by another.
pub(crate) fn ratio(one: f64, other: f64) -> f64 {
    one / other
}

/// What two steps allow that must share the same cores: the time of each charge is the sum of theirs.
pub(crate) fn together(one: f64, other: f64) -> f64 {
    1.0 / (1.0 / one + 1.0 / other)
}

/// One half.
pub(crate) fn half(value: f64) -> f64 {
    value / 2.0
}

/// How many there are in a time, at so many per second.
pub(crate) fn count_in(time: Duration, per_second: f64) -> u32 {
    // A whole number of seconds is the only way from a float to an integer that can't go wrong.
    let count = Duration::try_from_secs_f64(time.as_secs_f64() * per_second);
    u32::try_from(count.unwrap_or_default().as_secs()).unwrap_or(u32::MAX)
}
