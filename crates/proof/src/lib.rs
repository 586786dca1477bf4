//! Proof: real daemons are injured by plan, and afterwards two ledgers are compared.
//!
//! The gateway's request log says what was asked for and when; the journal of the book says what was
//! written, by whom and when it was committed. [`checker`] holds one against the other. It knows
//! nothing of the program that it judges.
//!
//! One seed is one [`Plan`]: a book, one to three daemons, one or two injuries. A seed mostly waits,
//! so many run side by side, each in a [`Lane`] with a PostgreSQL of its own.

pub mod arena;
mod catalogue;
pub mod checker;
mod commands;
mod draw;
pub mod failpoint;
mod fleet;
mod injure;
pub mod ledger;
mod merchant;
mod mutation;
mod person;
mod plan;
pub mod program;
mod rest;
mod rules;
mod run;
mod summary;
mod wishes;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::failpoint::Failpoint;
pub use self::mutation::Mutation;
pub use self::plan::Plan;
pub use self::summary::{Failed, Summary};

use self::arena::Lane;
use self::plan::Which;
use self::run::{Outcome, Workshop};

/// What else a database of a seed holds besides the book and its journal.
const INJURIES: &str = include_str!("injuries.sql");

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Order {
    /// The `billd` whose daemons are injured; built with the feature `failpoints`.
    pub program: PathBuf,
    /// The first seed.
    pub first: u64,
    /// The last seed, included.
    pub last: u64,
    /// How many seeds run side by side.
    pub lanes: u16,
    /// A bug that the daemons are to have; the first seed that catches it is the last one.
    pub mutation: Option<Mutation>,
    /// Where what failed seeds left behind is kept.
    pub keep: PathBuf,
}

/// Runs seeds until all are judged, or `stop`. `tell` hears of every seed.
pub async fn prove(
    order: &Order,
    stop: &CancellationToken,
    mut tell: impl FnMut(&Summary),
) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(order.first));
    let stop = stop.child_token();
    let (results, mut inbox) = mpsc::channel(64);
    let mut lanes = JoinSet::new();
    for _ in 0..order.lanes {
        let (order, next) = (order.clone(), Arc::clone(&next));
        let (stop, results) = (stop.clone(), results.clone());
        // A thread each: a future that holds so many borrowed connections is not proved to be Send.
        let runtime = Handle::current();
        lanes.spawn_blocking(move || runtime.block_on(work(order, next, stop, results)));
    }
    drop(results);
    let mut summary = Summary::default();
    while let Some((plan, verdict)) = inbox.recv().await {
        let seed = plan.seed;
        let found = match verdict {
            Ok(outcome) => {
                summary.add(&plan, &outcome);
                outcome.found
            }
            Err(error) => vec![format!("the seed could not be run: {error:#}")],
        };
        if !found.is_empty() {
            let kept = order.keep.join(seed.to_string());
            let failed = Failed { seed, found, kept };
            if order.mutation.is_some() && failed.breaks_a_property() {
                stop.cancel();
            }
            summary.failed.push(failed);
        }
        summary.seconds = started.elapsed().as_secs();
        tell(&summary);
    }
    while let Some(lane) = lanes.join_next().await {
        lane?;
    }
    summary.failed.sort_by_key(|failed| failed.seed);
    Ok(summary)
}

type Verdict = (Plan, anyhow::Result<Outcome>);

/// One lane, seed after seed. A fault of the harness costs the lane its cluster, not the others theirs.
async fn work(
    order: Order,
    next: Arc<AtomicU64>,
    stop: CancellationToken,
    results: mpsc::Sender<Verdict>,
) {
    let workshop = Workshop {
        program: order.program.clone(),
        mutation: order.mutation,
    };
    let mut spare = None;
    while !stop.is_cancelled() {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > order.last {
            return;
        }
        let plan = Plan::of(seed);
        let verdict = match one(
            spare.take(),
            plan.clone(),
            workshop.clone(),
            order.keep.clone(),
        )
        .await
        {
            Ok((lane, outcome)) => {
                spare = Some(lane);
                Ok(outcome)
            }
            Err(error) => Err(error),
        };
        if results.send((plan, verdict)).await.is_err() {
            return;
        }
    }
}

/// Runs a seed in a folder of its own, which stays only if the seed fails.
async fn one(
    lane: Option<Lane>,
    plan: Plan,
    workshop: Workshop,
    keep: PathBuf,
) -> anyhow::Result<(Lane, Outcome)> {
    let lane = if let Some(lane) = lane {
        lane
    } else {
        let bug = workshop.mutation.map_or("", Mutation::trigger);
        let script = format!("{}\n{INJURIES}\n{bug}", ledger::JOURNAL);
        Lane::start(&workshop.program, &script).await?
    };
    let folder = keep.join(plan.seed.to_string());
    if folder.exists() {
        fs::remove_dir_all(&folder).context("couldn't clear the folder of the seed")?;
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("couldn't make the folder {}", folder.display()))?;
    let (lane, outcome) = run::run(lane, plan, workshop, folder.clone()).await?;
    if outcome.found.is_empty() {
        fs::remove_dir_all(&folder).context("couldn't clear the folder of the seed")?;
    }
    Ok((lane, outcome))
}

/// Judges what a failed seed left behind once more.
pub fn judge(folder: &Path) -> anyhow::Result<Vec<checker::Violation>> {
    let terms = fs::read(folder.join("terms.json"))
        .with_context(|| format!("{} holds no terms.json", folder.display()))?;
    let terms = serde_json::from_slice(&terms)?;
    let requests = ledger::load_requests(folder)?;
    let book = ledger::Book::load(folder)?;
    Ok(checker::check(&terms, &requests, &book))
}

/// The database role of a daemon, and its name.
fn daemon_role(which: Which) -> String {
    arena::daemon_role(u32::from(which).saturating_add(1))
}

/// The wall clock of this machine in unix microseconds: the gateway and the database go by the same.
#[expect(
    clippy::disallowed_methods,
    reason = "two ledgers of one machine are compared by its clock"
)]
fn wall_clock_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or_default()
}
