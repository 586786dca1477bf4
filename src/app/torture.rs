//! `billd torture`: the proof, to be repeated by anyone.

use std::path::Path;

use anyhow::{Context, anyhow};

use crate::app::exit::{Exit, Failure};
use crate::app::signals::stop_signals;
use crate::cli;
use crate::sabotage::Bug;
use crate::terminal;
use crate::torture::{self, Order, Plan, Summary};

/// A seed mostly waits.
const LANES_PER_CORE: usize = 6;

pub(super) async fn torture(options: cli::Torture) -> Result<Exit, Failure> {
    if let Some(folder) = &options.judge {
        return judge(folder);
    }
    let (stop, _hurry) = stop_signals().context("couldn't listen for signals")?;
    let order = order(&options)?;
    if let Some(seed) = options.seed.filter(|_| !options.json) {
        let plan =
            serde_json::to_string_pretty(&Plan::of(seed)).context("couldn't show the plan")?;
        terminal::line(&plan);
    }
    let of = order.last.saturating_sub(order.first).saturating_add(1);
    let summary = torture::torture(&order, &stop, |summary| {
        terminal::progress(&format!(
            "{} of {of} seeds, {} failed, {} s",
            summary.seeds,
            summary.failed.len(),
            summary.seconds,
        ));
    })
    .await?;
    terminal::progress_done();
    show(&summary, options.json)?;
    let is_as_hoped = summary.is_sound() != order.bug.is_some();
    Ok(if is_as_hoped {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn order(options: &cli::Torture) -> Result<Order, Failure> {
    let (first, last) = match (options.seeds, options.seed) {
        (Some(seeds), _) => seeds,
        (None, Some(seed)) => (seed, seed),
        (None, None) => (1, 1),
    };
    let bug = match &options.bug {
        None => None,
        Some(name) => Some(
            Bug::ALL
                .into_iter()
                .find(|bug| bug.name() == name)
                .ok_or_else(|| {
                    let known = Bug::ALL.map(Bug::name).join(", ");
                    anyhow!("there is no bug {name}; there are {known}")
                })?,
        ),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lanes = options
        .lanes
        .unwrap_or_else(|| u16::try_from(cores.saturating_mul(LANES_PER_CORE)).unwrap_or(u16::MAX));
    let seeds = last.saturating_sub(first).saturating_add(1);
    Ok(Order {
        program: torture::this_program()?,
        first,
        last,
        lanes: lanes.min(u16::try_from(seeds).unwrap_or(u16::MAX)),
        bug,
        keep: std::path::absolute(&options.keep).context("couldn't find the folder to keep in")?,
    })
}

fn show(summary: &Summary, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string(summary).context("couldn't write JSON")?;
        terminal::line(&text);
        return Ok(());
    }
    for failed in &summary.failed {
        terminal::line(&format!("seed {} failed:", failed.seed));
        for found in &failed.found {
            terminal::line(&format!("  {found}"));
        }
        terminal::line(&format!(
            "  plan, ledgers and logs: {}",
            failed.kept.display()
        ));
        terminal::line(&format!("  again: billd torture --seed {}", failed.seed));
    }
    terminal::line(&summary.verdict());
    Ok(())
}

fn judge(folder: &Path) -> Result<Exit, Failure> {
    let found = torture::judge(folder)?;
    for violation in &found {
        terminal::line(&violation.to_string());
    }
    terminal::line(&format!("{} violations", found.len()));
    Ok(if found.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
