//! Chance with a seed: the same run meets the same faults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The 99th percentile of the standard normal distribution.
const Z_P99: f64 = 2.326_347_874;

/// A seeded source of chance.
#[derive(Debug, Clone)]
pub(super) struct Rng(fastrand::Rng);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Above 0 and at most 1, so that it has a logarithm.
    #[expect(clippy::float_arithmetic, reason = "chance, not money")]
    fn unit(&mut self) -> f64 {
        1.0 - self.0.f64()
    }

    /// True for this share of the draws.
    pub(super) fn hits(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() <= share
    }

    #[expect(clippy::float_arithmetic, reason = "chance, not money")]
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// How long the gateway thinks before it acts, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Latency {
    /// Not at all.
    #[default]
    None,
    /// Always the same.
    Fixed(u64),
    /// Mostly about the median, rarely much longer: a log-normal distribution.
    Spread {
        /// Half of the requests take less.
        median: u64,
        /// One request in a hundred takes more.
        p99: u64,
    },
}

impl Latency {
    #[expect(clippy::float_arithmetic, reason = "chance, not money")]
    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(ms) => Duration::from_millis(ms),
            Self::Spread { median, p99 } => {
                let tail = Duration::from_millis(p99.max(median).max(1));
                let middle = Duration::from_millis(median.max(1));
                let spread = tail.div_duration_f64(middle).powf(rng.normal() / Z_P99);
                // A minute is longer than any client waits; the bound keeps the far tail finite.
                Duration::try_from_secs_f64(middle.as_secs_f64() * spread)
                    .unwrap_or_default()
                    .min(Duration::from_mins(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_keeps_its_median_and_its_tail() {
        let mut rng = Rng::new(7);
        let latency = Latency::Spread {
            median: 100,
            p99: 1_000,
        };
        let mut drawn: Vec<_> = (0..10_000).map(|_| latency.draw(&mut rng)).collect();
        drawn.sort();
        let (median, p99) = (drawn[5_000].as_millis(), drawn[9_900].as_millis());
        assert!((90..=110).contains(&median), "median {median} ms");
        assert!((800..=1_250).contains(&p99), "p99 {p99} ms");
    }

    #[test]
    fn a_share_is_about_its_share_and_the_same_for_the_same_seed() {
        let hits = |seed| {
            let mut rng = Rng::new(seed);
            (0..10_000).filter(|_| rng.hits(0.1)).count()
        };
        assert!((900..=1_100).contains(&hits(1)), "{}", hits(1));
        assert_eq!(hits(1), hits(1));
        let mut rng = Rng::new(1);
        assert!((0..1_000).all(|_| rng.hits(1.0) && !rng.hits(0.0)));
    }
}
