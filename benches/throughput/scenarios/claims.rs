//! Claims alone: how long one takes in a large book, and beside an old snapshot.

use std::time::{Duration, Instant};

use anyhow::ensure;
use billd::engine::Cursor;

use crate::figure::{Bound, Figure, millis, number, percentile, ratio};
use crate::scenarios::Scale;
use crate::scenarios::limits::{BATCH, claim, record_paid};
use crate::world::{Book, World};

/// Enough for a 99th percentile.
const CLAIMS_MAX: u32 = 400;

/// The same claim in a large book and in a small one.
pub(super) async fn against_a_small_book(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let small = world.book(scale.small).await?;
    let in_small = Claims::run(&small, scale.small.due).await?;
    world.remove(small).await?;
    let large = world.large_book(scale.large).await?;
    let in_large = Claims::run(&large, scale.large.due).await?;
    world.remove(large).await?;
    Ok((
        format!(
            "claims of {BATCH} out of {} rows of which {} are due",
            scale.large.rows, scale.large.due
        ),
        vec![
            Figure::new("claim, p50", "ms", vec![millis(in_large.percentile(50))]),
            Figure::new("claim, p99", "ms", vec![millis(in_large.percentile(99))])
                .must(Bound::AtMost(50.0))
                .aim(Bound::AtMost(15.0)),
            Figure::new(
                format!("claim out of {} rows, p50", scale.small.rows),
                "ms",
                vec![millis(in_small.percentile(50))],
            ),
            Figure::new(
                format!("claim out of {} rows, p99", scale.small.rows),
                "ms",
                vec![millis(in_small.percentile(99))],
            ),
            Figure::new(
                "large against small, p50",
                "×",
                vec![ratio(
                    millis(in_large.percentile(50)),
                    millis(in_small.percentile(50)),
                )],
            )
            .must(Bound::AtMost(1.5))
            .aim(Bound::AtMost(1.1)),
            Figure::new(
                "sequential scans of subscriptions and debts",
                "",
                vec![number(in_large.scans)],
            )
            .must(Bound::AtMost(0.0)),
        ],
    ))
}

/// A tenth of a run is only twenty claims, so it takes more rounds than others to see something.
const ROUNDS_EACH: u8 = 5;

/// A snapshot from before the run keeps every row version that the run leaves behind. In turn with runs
/// without one: an index that is filled makes the last claims slower than the first in any case.
pub(super) async fn beside_an_old_snapshot(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let (mut first, mut last, mut growth) = (Vec::new(), Vec::new(), Vec::new());
    let mut growth_alone = Vec::new();
    for _ in 0..scale.repeats.saturating_mul(ROUNDS_EACH) {
        let book = world.book(scale.small).await?;
        let (head, tail) = first_and_last_tenth(&book, scale.small.due).await?;
        growth_alone.push(ratio(tail, head));
        world.remove(book).await?;

        let book = world.book(scale.small).await?;
        let mut snapshot = book.sql.acquire().await?;
        sqlx::raw_sql("begin isolation level repeatable read; select count(*) from billd.control")
            .execute(&mut *snapshot)
            .await?;
        let (head, tail) = first_and_last_tenth(&book, scale.small.due).await?;
        sqlx::raw_sql("rollback").execute(&mut *snapshot).await?;
        drop(snapshot);
        world.remove(book).await?;
        first.push(head);
        last.push(tail);
        growth.push(ratio(tail, head));
    }
    Ok((
        format!(
            "a run of {} beside a snapshot from before it",
            scale.small.due
        ),
        vec![
            Figure::new("claim time, last tenth against first", "×", growth)
                .must(Bound::AtMost(1.2))
                .aim(Bound::AtMost(1.1)),
            Figure::new("the same without a snapshot", "×", growth_alone),
            Figure::new("claim, first tenth", "ms", first),
            Figure::new("claim, last tenth", "ms", last),
        ],
    ))
}

/// Medians, in milliseconds, of a run of everything that is due.
async fn first_and_last_tenth(book: &Book, due: u32) -> anyhow::Result<(f64, f64)> {
    let claims = Claims::run_all(book, due).await?;
    let tenth = claims.times.len().div_ceil(10);
    let head = claims.times.get(..tenth).unwrap_or_default();
    let tail_from = claims.times.len().saturating_sub(tenth);
    let tail = claims.times.get(tail_from..).unwrap_or_default();
    Ok((millis(middle(head)), millis(middle(tail))))
}

fn middle(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    percentile(&sorted, 50)
}

/// What claims took, one after the other.
struct Claims {
    times: Vec<Duration>,
    scans: u64,
}

impl Claims {
    /// Claims until there is enough for a percentile, or nothing is due.
    async fn run(book: &Book, due: u32) -> anyhow::Result<Self> {
        Self::run_some(book, due.div_ceil(BATCH).min(CLAIMS_MAX)).await
    }

    /// Claims all that is due.
    async fn run_all(book: &Book, due: u32) -> anyhow::Result<Self> {
        Self::run_some(book, due.div_ceil(BATCH)).await
    }

    /// Only the claims are timed; each batch is recorded before the next, as a daemon would.
    async fn run_some(book: &Book, count: u32) -> anyhow::Result<Self> {
        let scans_before = scans(book).await?;
        let mut times = Vec::new();
        let cursor = Cursor::default();
        for _ in 0..count {
            let started = Instant::now();
            let claims = claim(&book.store, &cursor).await?;
            times.push(started.elapsed());
            ensure!(!claims.is_empty(), "the book ran out of what is due");
            record_paid(&book.store, claims).await?;
        }
        // A session says what it has scanned when it ends, or within a second.
        book.store.close().await;
        let scans = scans(book).await?.saturating_sub(scans_before);
        Ok(Self { times, scans })
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        percentile(&sorted, percent)
    }
}

/// How often a table was read from end to end. Not that of the attempts: PostgreSQL also counts each range of
/// blocks that a vacuum sums up for its BRIN index.
async fn scans(book: &Book) -> anyhow::Result<u64> {
    book.number(
        "select coalesce(sum(seq_scan), 0) from pg_stat_user_tables
         where relname in ('subscription', 'billing_cycle')",
    )
    .await
}
