//! From due to sent, while subscriptions fall due one after the other at half of what the daemon can do.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use sqlx::Row;
use tokio::time::sleep;

use crate::figure::{Bound, Figure, count_in, millis, percentile};
use crate::process::{Daemon, Sandbox, Tuning};
use crate::scenarios::{Scale, charges};
use crate::world::{Book, Size, World};

/// Time to start before the first one falls due.
pub(super) const HEAD_START: Duration = Duration::from_secs(3);
/// A daemon with nothing to do looks once a second; what falls due this soon finds it asleep, and is told apart.
const WAKES_WITHIN: Duration = Duration::from_secs(1);
/// Time for the last ones to be recorded.
const TAIL: Duration = Duration::from_secs(3);

/// Measures capacity first, so that half of it is this machine's.
pub(super) async fn measure(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let rate = charges::half_of_capacity(world, scale).await?;
    let (mut p50, mut p99, mut most, mut woken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.repeats {
        let (asleep, awake) = run(world, scale, rate).await?;
        p50.push(millis(percentile(&awake, 50)));
        p99.push(millis(percentile(&awake, 99)));
        most.push(millis(percentile(&awake, 100)));
        woken.push(millis(percentile(&asleep, 100)));
    }
    Ok((
        format!("{rate:.0} falling due every second, half of capacity, instant gateway"),
        vec![
            Figure::new("due to sent, p50", "ms", p50),
            Figure::new("due to sent, p99", "ms", p99)
                .must(Bound::AtMost(1_000.0))
                .aim(Bound::AtMost(250.0)),
            Figure::new("due to sent, longest", "ms", most),
            Figure::new("… in the first second, out of sleep", "ms", woken),
        ],
    ))
}

/// Shortest first: of what fell due in the first second, and of all the rest.
async fn run(
    world: &mut World,
    scale: Scale,
    rate: f64,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let rows = count_in(scale.arrivals, rate);
    // None is due yet; `plan` says when.
    let book = world.book(Size::nothing_due(rows)).await?;
    let sandbox = Sandbox::start(Duration::ZERO).await?;
    let tuning = Tuning {
        concurrency: scale.concurrency,
        rate_per_second: 0,
    };
    plan(&book, rate).await?;
    let daemon = Daemon::start(&book.url, &sandbox, tuning).await?;
    sleep(
        HEAD_START
            .saturating_add(scale.arrivals)
            .saturating_add(TAIL),
    )
    .await;
    daemon.stop().await?;
    let sent = sent(&book, &sandbox).await?;
    anyhow::ensure!(
        sent.len() == usize::try_from(rows)?,
        "{} of {rows} were sent",
        sent.len()
    );
    sandbox.stop().await?;
    world.remove(book).await?;
    let first = sent.iter().map(|sent| sent.due_us).min().unwrap_or(0);
    let awake_from = first.saturating_add(i64::try_from(WAKES_WITHIN.as_micros())?);
    let lags = |awake: bool| {
        let mut lags: Vec<Duration> = sent
            .iter()
            .filter(|sent| (sent.due_us >= awake_from) == awake)
            .map(|sent| sent.lag)
            .collect();
        lags.sort_unstable();
        lags
    };
    Ok((lags(false), lags(true)))
}

/// Spreads the due times evenly, in no order on disk.
pub(super) async fn plan(book: &Book, rate: f64) -> anyhow::Result<()> {
    let start = HEAD_START.as_secs();
    book.run(&format!(
        "set session_replication_role = replica;
         update billd.subscription s
         set next_charge_at = due, due_at = due, anchor_at = due, settled_until = due, until_at = due + interval '1 month',
             period = (due at time zone 'Asia/Seoul')::date
         from (
            select id, clock_timestamp() + interval '{start} seconds'
                       + interval '1 second' * (row_number() over (order by random()) / {rate}) as due
            from billd.subscription
         ) planned
         where planned.id = s.id;
         reset session_replication_role"
    ))
    .await?;
    book.run("vacuum (analyze) billd.subscription").await
}

/// One request: when it fell due, and how much later it arrived.
struct Sent {
    due_us: i64,
    lag: Duration,
}

/// The gateway's arrival times against the book's due times; both clocks are this machine's.
async fn sent(book: &Book, sandbox: &Sandbox) -> anyhow::Result<Vec<Sent>> {
    let rows = sqlx::raw_sql(
        "select a.merchant_uid, (extract(epoch from c.due_at) * 1000000)::bigint
         from billd.charge_attempt a
         join billd.billing_cycle c using (subscription_id, period)",
    )
    .fetch_all(&book.sql)
    .await?;
    let mut due = HashMap::with_capacity(rows.len());
    for row in rows {
        due.insert(row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)?);
    }
    sandbox
        .ledger()
        .await?
        .iter()
        .map(|entry| {
            let due_us = *due
                .get(&entry.merchant_uid)
                .context("a payment that the book does not know")?;
            let lag = u64::try_from(entry.requested_at_us.saturating_sub(due_us)).unwrap_or(0);
            Ok(Sent {
                due_us,
                lag: Duration::from_micros(lag),
            })
        })
        .collect()
}
