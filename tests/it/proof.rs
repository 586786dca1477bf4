//! The proof in small: a bounded row of seeds, and the bugs that it must be able to see.
//!
//! The long row is `cargo run --profile proof --bin proof -- --seeds 1..10000`.

use std::fs;
use std::path::{Path, PathBuf};

use billd_proof::{Mutation, Order, Plan, Summary, prove};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::programs::needs;

/// Enough to meet a good part of the catalogue, few enough for every run of the tests.
const SEEDS: (u64, u64) = (1, 48);
/// Every kind of injury once.
const ROUND: (u64, u64) = (1, 90);
const LANES: u16 = 8;

/// One long row at a time: the judge holds daemons to times that two rows on one machine would miss.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Run {
    summary: Summary,
    /// Holds what failed seeds left behind.
    _kept: TempDir,
}

async fn run(seeds: (u64, u64), mutation: Option<Mutation>) -> Run {
    let kept = tempfile::tempdir().unwrap();
    let order = Order {
        program: PathBuf::from(env!("CARGO_BIN_EXE_billd")),
        first: seeds.0,
        last: seeds.1,
        lanes: if seeds.0 == seeds.1 { 1 } else { LANES },
        mutation,
        keep: kept.path().to_owned(),
    };
    let summary = prove(&order, &CancellationToken::new(), |_| {})
        .await
        .unwrap();
    Run {
        summary,
        _kept: kept,
    }
}

#[test]
fn a_plan_is_a_pure_function_of_its_seed() {
    for seed in [1, 77, 4_711] {
        assert_eq!(Plan::of(seed), Plan::of(seed));
    }
    assert_ne!(Plan::of(1), Plan::of(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_to_daemons_nobody_is_charged_twice_and_nothing_is_lost() {
    needs!(PGBOUNCER, FAKETIME);
    // The hazard: a process dies, a gateway lies, a commit is lost or a person types, and money moves
    // twice or a due period is forgotten.
    let _alone = ALONE.lock().await;
    let run = run(SEEDS, None).await;
    assert!(run.summary.is_sound(), "{:#?}", run.summary.failed);
    assert_eq!(run.summary.seeds, SEEDS.1 - SEEDS.0 + 1);
    // A row in which nothing was charged and nobody died would prove nothing.
    assert!(run.summary.approvals > 500, "{:?}", run.summary);
    assert!(
        run.summary.deaths.values().sum::<u64>() > 10,
        "{:?}",
        run.summary
    );
}

/// A mutation, and seeds that are likely to catch it; `docs/PROOF.md` names them, too. Threads are not planned:
/// a seed may let its mutation slip. If all of them do, all kinds of injury are tried, one after the other.
const CAUGHT_BY: [(Mutation, &[u64]); 17] = [
    (Mutation::SendBeforeBegin, &[5, 3]),
    (Mutation::TimeoutIsDecline, &[1, 2]),
    (Mutation::RescueBySending, &[34, 124]),
    (Mutation::RecordWithoutFence, &[66, 156, 50, 140]),
    (Mutation::ShortLease, &[140, 156, 66]),
    (Mutation::NewestRecordWins, &[34, 124]),
    (Mutation::DuplicateIsDecline, &[34, 214]),
    (Mutation::DeclineCountsTwice, &[1, 4]),
    (Mutation::PeriodSkipped, &[1, 2]),
    (Mutation::RateNotShared, &[28, 65, 54, 75]),
    (Mutation::NotFoundBelieved, &[34, 124]),
    (Mutation::OneOffWrittenOff, &[69, 72]),
    (Mutation::RefundForgotten, &[70, 81]),
    (Mutation::GapForgotten, &[17, 16]),
    (Mutation::PeriodsOverlap, &[1, 3]),
    (Mutation::EventForgotten, &[1, 2]),
    (Mutation::EventDoubled, &[1, 2]),
];

#[test]
fn every_mutation_of_a_statement_fits_the_statement_as_it_is() {
    // The hazard: a statement changes, a bug can no longer be put in, and is believed to be caught.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let statements: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
        .collect();
    for mutation in Mutation::ALL {
        if let Some((statement, piece)) = mutation.needs() {
            let texts = statements
                .iter()
                .filter(|text| text.contains(&format!("-- {statement}:")))
                .filter(|text| text.matches(piece).count() == 1);
            assert_eq!(texts.count(), 1, "{} does not fit", mutation.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_is_caught() {
    // The hazard: a judge that can't see a fault passes everything, and proves nothing.
    let _alone = ALONE.lock().await;
    let mut hunts = JoinSet::new();
    for (mutation, seeds) in CAUGHT_BY {
        hunts.spawn(async move { (mutation, is_caught(mutation, seeds).await) });
    }
    let mut slipped = Vec::new();
    while let Some(hunt) = hunts.join_next().await {
        let (mutation, is_caught) = hunt.unwrap();
        if !is_caught {
            slipped.push(mutation.name());
        }
    }
    assert_eq!(slipped, Vec::<&str>::new());
}

async fn is_caught(mutation: Mutation, seeds: &[u64]) -> bool {
    for seed in seeds {
        if run((*seed, *seed), Some(mutation))
            .await
            .summary
            .is_caught()
        {
            return true;
        }
    }
    // Ends with the first seed that catches it.
    run(ROUND, Some(mutation)).await.summary.is_caught()
}
