//! Brings a seed to rest: nothing open, nothing due, nothing to be looked at again.
//!
//! Waits of hours are stepped over by moving billd's clock, and the gateway's with it; but only
//! while no request can be under way, since a lease is counted on two clocks.
#![expect(
    clippy::float_arithmetic,
    reason = "waits are stepped over by and by; none of them is money"
)]

use std::time::Duration;

use anyhow::Context;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::time::{Instant, sleep};

use crate::wall_clock_us;
use portone_sandbox as sandbox;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Waits shorter than this are waited for.
const WORTH_A_STEP: f64 = 0.4;
/// Past all ladders, before the next day's period.
const HORIZON: f64 = 12.0 * 3_600.0;
/// A seed in which nothing has ended for so long never comes to rest.
const PATIENCE: Duration = Duration::from_secs(40);
/// Nor does one that goes on for so long: a busy machine takes a fraction of it.
const PATIENCE_IN_ALL: Duration = Duration::from_mins(3);

/// What is not at rest.
#[derive(Debug, Clone, PartialEq)]
struct Unrest {
    started: i64,
    unknown: i64,
    due: i64,
    rechecks: i64,
    /// Refunds whose fate is open.
    refunds: i64,
    /// Attempts that have ended, by which one sees that things move.
    ended: i64,
    /// Seconds until something more comes up.
    next_in: Option<f64>,
}

/// What waits for a person is at rest once the gateway was asked about it twice since it tells the truth again:
/// the answer to the first of these questions is written down by then.
const LOOK: &str = "-- proof::look
    with asked as (
        select coalesce(j.new ->> 'id', j.new ->> 'merchant_uid') as name
        from proof.journal j
        where j.at > to_timestamp($MENDED) and j.table_name in ('charge_attempt', 'refund')
          and (j.new ->> 'asks')::int > (j.old ->> 'asks')::int
        group by 1 having count(*) > 1
    ),
    -- Not sent again for who has left or has another card.
    left_to_a_person as (
        select a.merchant_uid, a.subscription_id
        from billd.charge_attempt a
        join billd.subscription s on s.id = a.subscription_id
        join billd.billing_cycle c on c.subscription_id = s.id and c.period = a.period
        where a.state = 'unknown' and a.parked_at is not null and a.merchant_uid in (select name from asked)
          and (s.state <> 'active' or s.customer_uid <> a.customer_uid or c.amount <> a.amount)
    ),
    open_refund as (
        select r.ask_at from billd.refund r
        where r.state in ('started', 'unknown')
          and not (r.parked_at is not null and r.id::text in (select name from asked))
    )
    select
        count(*) filter (where a.state = 'started') as started,
        count(*) filter (where a.state = 'unknown') as unknown,
        (select count(*) from billd.charge_attempt e where e.state in ('paid', 'declined')) as ended,
        (select count(*) from billd.subscription s
         where s.state = 'active' and s.next_charge_at <= billd.now()) as due,
        (select count(*) from billd.subscription s where s.recheck
           and s.id not in (select l.subscription_id from left_to_a_person l)) as rechecks,
        (select count(*) from open_refund) as refunds,
        extract(epoch from least(
            min(a.ask_at) filter (where a.state = 'unknown'),
            (select min(r.ask_at) from open_refund r),
            (select min(s.next_charge_at) from billd.subscription s where s.state = 'active')
        ) - billd.now())::float8 as next_in
    from billd.charge_attempt a
    where a.state in ('started', 'unknown')
      and a.merchant_uid not in (select l.merchant_uid from left_to_a_person l)
      and not (a.parked_at is not null
               and ($REPRICED or a.subscription_id is null and a.merchant_uid in (select name from asked)))";

/// The share lock keeps every claim out until the clock has moved.
const STEP: &str = "
    lock table billd.charge_attempt, billd.refund in share mode;
    update billd.control set clock_shift = clock_shift + make_interval(secs => $SECONDS)
    where not exists (select from billd.charge_attempt where state = 'started')
      and not exists (select from billd.refund where state = 'started');";

/// Waits for rest. What waits for a person is at rest if sums were changed beside a lost tail, see
/// [`Terms::repriced`](crate::checker::Terms::repriced). `Err` with what is still open, if it does not come.
pub(super) async fn come_to_rest(
    database: &mut PgConnection,
    gateway: &sandbox::Running,
    repriced: bool,
) -> anyhow::Result<Result<(), String>> {
    let statement = LOOK
        .replace("$REPRICED", &repriced.to_string())
        .replace("$MENDED", &format!("{} / 1e6", wall_clock_us()));
    let started = Instant::now();
    let mut stepped = 0.0;
    let mut quiet_looks: u8 = 0;
    let (mut ended, mut moved) = (0, started);
    loop {
        let unrest = look(database, &statement)
            .await
            .context("couldn't look at the book")?;
        let is_busy = unrest.started > 0 || unrest.due > 0 || unrest.rechecks > 0;
        let next_in = unrest.next_in.filter(|next_in| stepped + next_in < HORIZON);
        if is_busy || unrest.unknown > 0 || unrest.refunds > 0 || next_in.is_some() {
            quiet_looks = 0;
        } else {
            quiet_looks = quiet_looks.saturating_add(1);
        }
        if quiet_looks > 0 {
            return Ok(Ok(()));
        }
        if unrest.ended != ended {
            (ended, moved) = (unrest.ended, Instant::now());
        }
        if moved.elapsed() > PATIENCE || started.elapsed() > PATIENCE_IN_ALL {
            let took = started.elapsed().as_secs();
            return Ok(Err(format!("not at rest after {took} s: {unrest:?}")));
        }
        if let Some(next_in) = next_in.filter(|next_in| !is_busy && *next_in > WORTH_A_STEP) {
            step(database, gateway, next_in).await?;
            stepped += next_in;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(database: &mut PgConnection, statement: &str) -> sqlx::Result<Unrest> {
    let statement = AssertSqlSafe(statement.to_owned());
    let row = sqlx::raw_sql(statement).fetch_one(database).await?;
    Ok(Unrest {
        started: row.try_get("started")?,
        unknown: row.try_get("unknown")?,
        due: row.try_get("due")?,
        rechecks: row.try_get("rechecks")?,
        refunds: row.try_get("refunds")?,
        ended: row.try_get("ended")?,
        next_in: row.try_get("next_in")?,
    })
}

async fn step(
    database: &mut PgConnection,
    gateway: &sandbox::Running,
    seconds: f64,
) -> anyhow::Result<()> {
    let statement = STEP.replace("$SECONDS", &seconds.to_string());
    // One simple query of two statements is one transaction.
    let done = sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(database)
        .await
        .context("couldn't move billd's clock")?;
    if done.rows_affected() > 0 {
        gateway.advance(Duration::from_secs_f64(seconds));
    }
    Ok(())
}
