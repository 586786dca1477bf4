//! Waits: of days after a refusal, of seconds after our own or the network's fault.

use std::fmt;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Units of a wait, the largest first.
const UNITS: [(char, u64); 4] = [('d', DAY), ('h', HOUR), ('m', MINUTE), ('s', 1)];

/// Why a text is not a ladder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LadderError {
    /// Not a whole number with a unit.
    #[error("{0:?} is not a wait such as 30s, 10m, 6h or 3d")]
    Wait(String),
    /// A wait that would hammer the gateway, or outlive the customer's patience.
    #[error("{0} s is not between 1 s and 90 days")]
    Bounds(u64),
    /// More waits than a cycle could use within its attempts.
    #[error("{0} waits are more than {max}", max = Ladder::RUNGS_MAX)]
    TooLong(usize),
}

/// The waits after one kind of refusal, in order; each is a rung. Empty means no further attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder(Vec<Duration>);

impl Ladder {
    /// The most rungs: with one a day, more than any card company answers differently.
    pub const RUNGS_MAX: usize = 30;

    /// The shortest wait.
    pub const WAIT_MIN: Duration = Duration::from_secs(1);

    /// The longest wait.
    pub const WAIT_MAX: Duration = Duration::from_secs(90 * DAY);

    /// Accepts at most [`Ladder::RUNGS_MAX`] waits between the two bounds, in any order.
    pub fn new(waits: Vec<Duration>) -> Result<Self, LadderError> {
        let is_out_of_bounds =
            |wait: &&Duration| !(Self::WAIT_MIN..=Self::WAIT_MAX).contains(*wait);
        if waits.len() > Self::RUNGS_MAX {
            Err(LadderError::TooLong(waits.len()))
        } else if let Some(wait) = waits.iter().find(is_out_of_bounds) {
            Err(LadderError::Bounds(wait.as_secs()))
        } else {
            Ok(Self(waits))
        }
    }

    /// Reads `1d,3d,5d,7d`. Units are `s`, `m`, `h` and `d`; an empty text is the empty ladder.
    pub fn parse(text: &str) -> Result<Self, LadderError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let waits: Result<Vec<_>, _> = text.split(',').map(parse_wait).collect();
        Self::new(waits?)
    }

    /// Whether there is no rung at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rung with this index; `None` past the end.
    pub fn rung(&self, index: usize) -> Option<Duration> {
        self.0.get(index).copied()
    }

    /// The rung with this index, the last one past the end; `None` only if there is none.
    pub fn rung_or_last(&self, index: usize) -> Option<Duration> {
        self.rung(index).or_else(|| self.0.last().copied())
    }
}

/// Writes what [`Ladder::parse`] reads, a fraction of a second left out.
impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wait) in self.0.iter().enumerate() {
            let seconds = wait.as_secs();
            let unit = UNITS.iter().find(|(_, size)| seconds.is_multiple_of(*size));
            let (unit, size) = unit.copied().unwrap_or(('s', 1));
            let comma = if index == 0 { "" } else { "," };
            write!(
                f,
                "{comma}{}{unit}",
                seconds.checked_div(size).unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

fn parse_wait(text: &str) -> Result<Duration, LadderError> {
    let text = text.trim();
    let seconds = || {
        let (unit, size) = UNITS.iter().find(|(unit, _)| text.ends_with(*unit))?;
        let number = text.strip_suffix(*unit)?;
        // `parse` alone would take a plus sign.
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| is_number)?;
        number.checked_mul(*size)
    };
    let seconds = seconds().ok_or_else(|| LadderError::Wait(text.to_owned()))?;
    Ok(Duration::from_secs(seconds))
}

/// A wait that doubles from time to time, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after `earlier` waits before it.
    pub fn wait(self, earlier: u32) -> Duration {
        let factor = 2_u32.checked_pow(earlier).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}
