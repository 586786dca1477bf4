//! What the kernel knows: which machine this is, and what a process has used.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// The kernel counts the time of processes in hundredths of a second, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Where a run takes place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    postgresql: String,
    settings: String,
}

impl Machine {
    /// Looks around.
    pub(crate) fn look(postgresql: String, settings: String) -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/cpuinfo").context("this benchmark needs Linux")?;
        let processor = text
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, name)| name.trim())
            .to_owned();
        Ok(Self {
            processor,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            postgresql,
            settings,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} × {}, PostgreSQL {} ({})",
            self.processors, self.processor, self.postgresql, self.settings
        )
    }
}

/// How many processes wanted to run over the last minute, on average.
pub(crate) fn load() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context("/proc/loadavg has no number")
}

/// Processor time of one process so far. Of its children, those that have ended count.
fn used(pid: u32) -> anyhow::Result<(u32, Duration, Duration)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in brackets and may hold anything; after it come numbers.
    let (_, rest) = text.rsplit_once(") ").context("no name")?;
    let field = |place: usize| {
        let text = rest.split(' ').nth(place).context("a field is missing")?;
        text.parse::<u32>().context("a field is no number")
    };
    let ticks = |one: usize, other: usize| -> anyhow::Result<Duration> {
        Ok(TICK.saturating_mul(field(one)?.saturating_add(field(other)?)))
    };
    // Counted from the state, which is the first field after the name.
    Ok((field(1)?, ticks(11, 12)?, ticks(13, 14)?))
}

/// Processor time of one process so far.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    Ok(used(pid)?.1)
}

/// The process that started this one.
pub(crate) fn parent(pid: u32) -> anyhow::Result<u32> {
    Ok(used(pid)?.0)
}

/// Processor time of a process and of all its children, those that have ended included: for a
/// PostgreSQL, whose first process starts all others and waits for them.
pub(crate) fn processor_time_of_family(pid: u32) -> anyhow::Result<Duration> {
    let (_, own, ended) = used(pid)?;
    let mut all = own.saturating_add(ended);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that ends meanwhile is counted the next time, with those that have ended.
        if let Ok((parent, own, _)) = used(child)
            && parent == pid
        {
            all = all.saturating_add(own);
        }
    }
    Ok(all)
}

/// The most memory that a process has ever had, in bytes.
pub(crate) fn memory_max(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

/// The memory that a process has now, in bytes.
pub(crate) fn memory_now(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))
        .context("the kernel does not say how much memory a process has")?;
    Ok(kilobytes.trim().parse::<u64>()?.saturating_mul(1024))
}
