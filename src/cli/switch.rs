//! `billd stop`, `billd start`, `billd adopt`: whether the book charges at all.

use clap::Args;
use jiff::Timestamp;

use crate::cli::output::Output;
use crate::cli::values::bounded;

/// Examples of `billd stop`.
pub(super) const STOP_HELP: &str = "\
For the whole book, at once, over all daemons: the next claim finds nothing. What was claimed already
leaves within seconds. What is due waits, and no period is lost: one that ends meanwhile is charged
afterwards, whatever catch_up says. What is open is asked about; refunds and audits go on. From psql:
select billd.stop_charging('why');

Examples:
  billd stop 'wrong prices since this morning'
  billd stop 'PortOne maintenance' --until 2026-12-01T06:00+09:00
  billd check                                    says that it is off, and why";

/// Examples of `billd start`.
pub(super) const START_HELP: &str = "\
Also the yes to a sweep that is far larger than yesterday's, and after a ceiling was reached, which
counts anew from here. From psql: select billd.start_charging();

Examples:
  billd start
  billd start --json | jq .was_off";

/// Examples of `billd adopt`.
pub(super) const ADOPT_HELP: &str = "\
A book charges only in the database and through the merchant account in which it did before: a dump
that is put back elsewhere, a copy of the database, or another merchant's key charge nothing. This says
that here is its home now. Stop every daemon of the place before first: nothing else does.
With a sandbox as its gateway a copy needs none of this.

Examples:
  billd check                                    says what differs
  billd adopt
  billd adopt --yes --json";

/// `billd stop`
#[derive(Debug, Args)]
pub struct Stop {
    /// Why; shown wherever somebody asks why nothing is charged
    #[arg(value_name = "WHY", value_parser = |text: &str| bounded(text, 1000))]
    pub why: String,
    /// When it comes back by itself [default: when somebody runs `billd start`]
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
    /// Who says so [default: the database role]
    #[arg(long, value_name = "NAME", value_parser = |text: &str| bounded(text, 100))]
    pub by: Option<String>,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

/// `billd start`
#[derive(Debug, Args)]
pub struct Start {
    /// Who says so [default: the database role]
    #[arg(long, value_name = "NAME", value_parser = |text: &str| bounded(text, 100))]
    pub by: Option<String>,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

/// `billd adopt`
#[derive(Debug, Args)]
pub struct Adopt {
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
    /// Who says so [default: the database role]
    #[arg(long, value_name = "NAME", value_parser = |text: &str| bounded(text, 100))]
    pub by: Option<String>,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}
