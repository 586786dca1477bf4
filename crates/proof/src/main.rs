//! `proof`: the proof, to be repeated by anyone.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, anyhow};
use billd_proof::{Mutation, Order, Plan, Summary, judge, program, prove};
use clap::{ArgGroup, Parser};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A seed mostly waits.
const LANES_PER_CORE: usize = 6;

/// Injure real daemons by seeded plans, then compare the gateway's ledger with the book.
#[derive(Debug, Clone, Parser)]
#[command(
    version,
    after_help = "\
Each seed starts daemons on a database and a gateway of its own, does to them what its plan says
(kills, freezes, lying gateways, lost commits, people who type), lets all come to rest, and judges.
The plan depends on the seed alone. Exits with 1 if any seed fails; what a failed seed left behind
is kept. billd is built first, from the sources beside this program.

Examples, each after `cargo run --profile proof --bin proof --`:
  --seeds 1..100
  --seeds 1..10000 --lanes 24 --json > proof.json
  --seed 4711                      again, with all it says
  --seeds 1..500 --mutation rescue_by_sending    until it is caught
  --judge proof-kept/4711          judge kept ledgers once more",
    group = ArgGroup::new("what").required(true).args(["seeds", "seed", "judge"])
)]
struct Cli {
    /// Which seeds: FIRST..LAST, both included
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds)]
    seeds: Option<(u64, u64)>,
    /// One seed; its plan and what was found are printed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Judge the ledgers of a kept seed once more
    #[arg(long, value_name = "DIR")]
    judge: Option<PathBuf>,
    /// How many seeds run side by side, each on a PostgreSQL of its own [default: 6 per core]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=200))]
    lanes: Option<u16>,
    /// Give the daemons a bug, and stop at the first seed that catches it; exits with 1 if none does
    #[arg(long, value_name = "NAME", value_parser = mutation, conflicts_with = "judge")]
    mutation: Option<Mutation>,
    /// A billd that was built with the feature `failpoints` [default: build one]
    #[arg(long, value_name = "FILE", conflicts_with = "judge")]
    program: Option<PathBuf>,
    /// Where the plan, the ledgers and the logs of failed seeds are kept
    #[arg(long, value_name = "DIR", default_value = "proof-kept")]
    keep: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let whole = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|error| error.to_string())
    };
    let (first, last) = text
        .split_once("..")
        .ok_or("FIRST..LAST is wanted, as in 1..100")?;
    match (whole(first)?, whole(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        (first, last) => Err(format!("{first} comes after {last}")),
    }
}

fn mutation(name: &str) -> Result<Mutation, String> {
    let known = Mutation::ALL.map(Mutation::name).join(", ");
    Mutation::ALL
        .into_iter()
        .find(|one| one.name() == name)
        .ok_or(format!("there are {known}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match &cli.judge {
        Some(folder) => judge_once_more(folder),
        None => run(&cli).await,
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(io::stderr(), "proof: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Runs seeds. Whether all is as hoped: every seed passed, or the bug was caught.
async fn run(cli: &Cli) -> anyhow::Result<bool> {
    let stop = stop_signal().context("couldn't listen for signals")?;
    let order = order(cli)?;
    if let Some(seed) = cli.seed.filter(|_| !cli.json) {
        line(&serde_json::to_string_pretty(&Plan::of(seed))?);
    }
    let of = order.last.saturating_sub(order.first).saturating_add(1);
    let summary = prove(&order, &stop, |summary| {
        progress(&format!(
            "{} of {of} seeds, {} failed, {} s",
            summary.seeds,
            summary.failed.len(),
            summary.seconds,
        ));
    })
    .await?;
    progress("");
    show(&summary, cli.json)?;
    Ok(match order.mutation {
        Some(_) => summary.is_caught(),
        None => summary.is_sound(),
    })
}

fn order(cli: &Cli) -> anyhow::Result<Order> {
    let (first, last) = match (cli.seeds, cli.seed) {
        (Some(seeds), _) => seeds,
        (None, Some(seed)) => (seed, seed),
        (None, None) => return Err(anyhow!("no seed is named")),
    };
    let program = match &cli.program {
        Some(program) => std::path::absolute(program).context("couldn't find the program")?,
        None => program::build()?,
    };
    program::has_failpoints(&program)?;
    let cores = available_parallelism().map_or(1, usize::from);
    let lanes = cli
        .lanes
        .unwrap_or_else(|| u16::try_from(cores.saturating_mul(LANES_PER_CORE)).unwrap_or(u16::MAX));
    let seeds = last.saturating_sub(first).saturating_add(1);
    Ok(Order {
        program,
        first,
        last,
        lanes: lanes.min(u16::try_from(seeds).unwrap_or(u16::MAX)),
        mutation: cli.mutation,
        keep: std::path::absolute(&cli.keep).context("couldn't find the folder to keep in")?,
    })
}

fn show(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        line(&serde_json::to_string(summary)?);
        return Ok(());
    }
    for failed in &summary.failed {
        line(&format!("seed {} failed:", failed.seed));
        for found in &failed.found {
            line(&format!("  {found}"));
        }
        line(&format!(
            "  plan, ledgers and logs: {}",
            failed.kept.display()
        ));
        line(&format!("  again: --seed {}", failed.seed));
    }
    line(&summary.verdict());
    Ok(())
}

fn judge_once_more(folder: &Path) -> anyhow::Result<bool> {
    let found = judge(folder)?;
    for violation in &found {
        line(&violation.to_string());
    }
    line(&format!("{} violations", found.len()));
    Ok(found.is_empty())
}

/// Cancelled by SIGTERM or SIGINT: seeds under way end, and no others are begun.
fn stop_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let heard = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        heard.cancel();
    });
    Ok(stop)
}

/// A reader that has gone away is no error.
fn line(text: &str) {
    writeln!(io::stdout().lock(), "{text}").ok();
}

/// Shows how far the work is, on one line that is written over. Only a person sees it.
fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        write!(stderr, "\r\x1b[2K{text}").ok();
        stderr.flush().ok();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
