//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What one run measures. Each scenario stands alone and makes its own book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scenario {
    /// A midnight: everything due at once, instant gateway: rate, costs, peak memory, and the two limits
    Charges,
    /// The same where each is due at a time of its own and nothing lies in any order
    Scattered,
    /// Claims out of ten million subscriptions, against one out of a hundred thousand
    Claims,
    /// Claims beside an old snapshot that keeps every dead row alive
    Snapshot,
    /// A gateway that takes 200 ms
    Latency,
    /// Two daemons against one, gateway at 200 ms
    Daemons,
    /// A cap of 50 a second over three daemons
    Rate,
    /// From due to sent, at half of capacity
    Lag,
    /// After the crash of a daemon and of the database, against a run without
    Recovery,
    /// Half an hour at half of capacity: what grows? Only if asked for
    Soak,
}

impl Scenario {
    /// As it is typed.
    pub(crate) fn word(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// How fast billd is, and what it costs: the figures of docs/PERFORMANCE.md, on this machine.
///
/// Starts everything it needs and removes it at the end: PostgreSQL with fsync and synchronous
/// commit on, `billd sandbox` and `billd run` as processes of their own. Needs Linux (its costs are
/// read from /proc), 8 GB of disk for the largest book, and a quiet machine.
#[derive(Debug, Parser)]
#[command(
    name = "throughput",
    bin_name = "cargo bench --bench throughput --",
    after_help = "\
Examples:
  cargo bench --bench throughput                          everything, under 25 minutes
  cargo bench --bench throughput -- charges lag           two scenarios
  cargo bench --bench throughput -- soak                  40 minutes, 15 GB of disk
  cargo bench --bench throughput -- --quick               does it work? Not to be quoted
  cargo bench --bench throughput -- --json figures.json   and the figures for a machine"
)]
pub(crate) struct Options {
    /// What to measure [default: all but the soak]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Small books and short runs: shows that it works, not how fast
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write every figure of every run to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// How often each measurement is repeated; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) repeats: u8,
    /// Charges in flight in one daemon, where the gateway answers at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) concurrency: u16,
    /// Cargo says this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// What to measure, in the order of the report.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() {
            let all = Scenario::value_variants().iter().copied();
            return all.filter(|scenario| *scenario != Scenario::Soak).collect();
        }
        let mut chosen = self.scenarios.clone();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}
