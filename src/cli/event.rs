//! `billd event`.

use clap::Subcommand;

use crate::cli::output::Output;

/// Examples of `billd event`.
pub(super) const HELP: &str = "\
Looks only. Programs read events by SQL, in their own transaction: docs/EVENTS.md.

Examples:
  billd event list
  billd event list --kind past_due --limit 100 --json | jq .data
  billd event consumers";

/// `billd event …`
#[derive(Debug, Subcommand)]
pub enum Event {
    /// Show the latest events, oldest first; with --json one object a line
    List {
        /// This kind only
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Show who reads events, and how far each has come
    Consumers {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
}
