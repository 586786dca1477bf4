//! Two years and more at half of what the daemon can do, in half an hour: what grows that should not?
//!
//! A book with a year of history is charged month after month. A month takes a minute, in which all subscriptions
//! fall due one after the other while the month that ended a year ago is forgotten; then billd's clock is moved to
//! shortly before they fall due again.

use std::time::{Duration, Instant};

use anyhow::ensure;
use billd::terminal;
use tokio::time::sleep;

use crate::figure::{Bound, Figure, count_in, first_and_last, megabytes, number, ratio};
use crate::machine;
use crate::process::{Daemon, Sandbox, Tuning};
use crate::scenarios::{Scale, charges, lag};
use crate::window::{Watched, Window};
use crate::world::{Book, Size, World};

/// From the first due time of a month to its first window: time to get going.
const START: Duration = Duration::from_secs(5);
/// Longer than the last charges of a month take.
const MONTH_ENDS_WITHIN: Duration = Duration::from_mins(1);

/// What was owed and paid in the year before the first month.
const HISTORY: &str = "
    set session_replication_role = replica;
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, due_at, until_at, opened_at, state, closed_at)
    select s.id, (at at time zone s.time_zone)::date, s.amount, s.currency, at, at + interval '1 month', at, 'paid', at
    from generate_series(-12, -1) month
    cross join billd.subscription s
    cross join lateral (select s.anchor_at + month * interval '1 month' as at) due;
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, state,
         started_at, finished_at, fence, imp_uid, pg_provider, pg_tid, receipt_url)
    select billd.merchant_uid(c.subscription_id, c.period, 1), c.subscription_id, c.period, 1, c.amount,
        c.currency, s.customer_uid, 'paid', c.opened_at, c.closed_at, 1, 'imp_000000000000', 'html5_inicis',
        'sandbox_000000000000', 'https://example.com/receipt/000000000000'
    from billd.billing_cycle c
    join billd.subscription s on s.id = c.subscription_id
    order by c.opened_at;
    set session_replication_role = origin";

/// The tables that charges are written to.
const TABLES: [&str; 3] = ["subscription", "billing_cycle", "charge_attempt"];

/// How long a soak takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Months.
    pub(crate) months: u32,
    /// How long each of them is watched: a round of autovacuum, or the figures go up and down with it.
    pub(crate) window: Duration,
}

/// What was seen in one window and at its end.
struct Look {
    window: Window,
    /// In the order of [`TABLES`].
    dead: Vec<u64>,
    bytes: Vec<u64>,
    memory: u64,
    /// What it took to forget a month beside the charges.
    forgetting: Duration,
}

pub(super) async fn measure(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let rate = charges::half_of_capacity(world, scale).await?;
    let pace = scale.soak;
    let rows = count_in(START.saturating_add(pace.window), rate);
    let book = world.book(Size::nothing_due(rows)).await?;
    let sandbox = Sandbox::start(Duration::ZERO).await?;
    lag::plan(&book, rate).await?;
    book.run(HISTORY).await?;
    book.run("vacuum (analyze) billd.billing_cycle, billd.charge_attempt")
        .await?;
    book.run("checkpoint").await?;
    // All this takes longer than the head start that the plan gives.
    next_month(&book).await?;
    let tuning = Tuning {
        concurrency: scale.concurrency,
        rate_per_second: 0,
    };
    let daemons = [Daemon::start(&book.url, &sandbox, tuning).await?];
    let watched = Watched {
        world,
        book: &book,
        sandbox: &sandbox,
        daemons: &daemons,
    };
    let mut looks = Vec::new();
    for month in 1..=pace.months {
        sleep(lag::HEAD_START.saturating_add(START)).await;
        let look = look(&watched, pace.window).await?;
        tell(month, &look);
        looks.push(look);
        month_is_over(&book).await?;
        next_month(&book).await?;
    }
    for daemon in daemons {
        daemon.stop().await?;
    }
    let sent = sandbox.summary().await?.approvals;
    let due = u64::from(rows).saturating_mul(u64::from(pace.months));
    ensure!(sent == due, "{sent} charges of {due} were approved");
    let kept = book
        .number("select count(*) from billd.charge_attempt")
        .await?;
    // A year and the month that was charged; rows that were just being charged are left for the next time.
    let most = u64::from(rows).saturating_mul(14);
    ensure!(kept < most, "{kept} attempts were kept, more than a year's");
    sandbox.stop().await?;
    world.remove(book).await?;
    let what = format!(
        "{rows} subscriptions charged {} times, {rate:.0} falling due every second, half of capacity; a year \
         of history kept",
        pace.months
    );
    Ok((what, figures(&looks)))
}

async fn look(watched: &Watched<'_>, length: Duration) -> anyhow::Result<Look> {
    let (window, forgetting) =
        tokio::join!(watched.watch(Duration::ZERO, length), forget(watched.book));
    let (window, forgetting) = (window?, forgetting?);
    let (mut dead, mut bytes, mut memory) = (Vec::new(), Vec::new(), 0_u64);
    for table in TABLES {
        let count = format!(
            "select n_dead_tup from pg_stat_user_tables
             where schemaname = 'billd' and relname = '{table}'"
        );
        dead.push(watched.book.number(&count).await?);
        let size = format!("select pg_total_relation_size('billd.{table}')");
        bytes.push(watched.book.number(&size).await?);
    }
    for daemon in watched.daemons {
        memory = memory.saturating_add(machine::memory_now(daemon.pid())?);
    }
    Ok(Look {
        window,
        dead,
        bytes,
        memory,
        forgetting,
    })
}

/// As a merchant does who keeps a year.
async fn forget(book: &Book) -> anyhow::Result<Duration> {
    let began = Instant::now();
    book.run("call billd.forget_before((billd.now() - interval '1 year')::date)")
        .await?;
    Ok(began.elapsed())
}

fn tell(month: u32, look: &Look) {
    let dead: Vec<String> = look.dead.iter().map(u64::to_string).collect();
    let bytes: Vec<String> = look
        .bytes
        .iter()
        .map(|bytes| format!("{:.0}", megabytes(*bytes)))
        .collect();
    terminal::note(&format!(
        "  month {month}: {:.0}/s, PostgreSQL {:.0} µs, billd {:.0} µs and {:.0} MB, dead {}, MB {}, \
         forgotten in {} s",
        look.window.charges_per_second,
        look.window.postgres_us,
        look.window.billd_us,
        megabytes(look.memory),
        dead.join(" "),
        bytes.join(" "),
        look.forgetting.as_secs(),
    ));
}

/// Waits until everything that fell due is charged and recorded.
async fn month_is_over(book: &Book) -> anyhow::Result<()> {
    let open = "(select count(*) from billd.charge_attempt where ask_at is not null)
        + (select count(*) from (
            select from billd.subscription
            where state = 'active' and next_charge_at <= billd.now() + interval '1 hour' limit 1) due)";
    let began = Instant::now();
    while book.number(&format!("select {open}")).await? > 0 {
        ensure!(
            began.elapsed() < MONTH_ENDS_WITHIN,
            "the daemon falls behind: a month doesn't end"
        );
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Nothing is open, so no lease is cut short by this.
async fn next_month(book: &Book) -> anyhow::Result<()> {
    book.run(&format!(
        "update billd.control set clock_shift =
             (select min(next_charge_at) from billd.subscription where state = 'active')
             - interval '{} seconds' - statement_timestamp()",
        lag::HEAD_START.as_secs()
    ))
    .await
}

fn figures(looks: &[Look]) -> Vec<Figure> {
    let of = |pick: &dyn Fn(&Look) -> f64| looks.iter().map(pick).collect::<Vec<_>>();
    let growth = |name: &str, runs: &[f64]| {
        let (first, last) = first_and_last(runs);
        Figure::new(
            format!("{name}, last third to first"),
            "×",
            vec![ratio(last, first)],
        )
        .must(Bound::AtMost(1.2))
        .aim(Bound::AtMost(1.1))
    };
    let rate = of(&|look| look.window.charges_per_second);
    let postgres = of(&|look| look.window.postgres_us);
    let billd = of(&|look| look.window.billd_us);
    let memory = of(&|look| megabytes(look.memory));
    let mut figures = vec![
        growth("PostgreSQL CPU per charge", &postgres),
        growth("billd CPU per charge", &billd),
        growth("memory of billd", &memory),
        Figure::new("charges", "1/s", rate),
        Figure::new("PostgreSQL CPU per charge", "µs", postgres),
        Figure::new("billd CPU per charge", "µs", billd),
        Figure::new("memory of billd", "MB", memory),
        Figure::new(
            "forgetting a month beside it",
            "s",
            of(&|look| look.forgetting.as_secs_f64()),
        ),
    ];
    for (place, table) in TABLES.into_iter().enumerate() {
        let at = |list: &[u64]| list.get(place).copied().unwrap_or_default();
        let dead = of(&|look| number(at(&look.dead)));
        let bytes = of(&|look| megabytes(at(&look.bytes)));
        figures.push(growth(&format!("dead rows of {table}"), &dead));
        figures.push(growth(&format!("size of {table}"), &bytes));
        figures.push(Figure::new(format!("dead rows of {table}"), "", dead));
        figures.push(Figure::new(format!("size of {table}"), "MB", bytes));
    }
    figures
}
