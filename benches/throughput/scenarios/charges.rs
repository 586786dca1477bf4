//! Everything is due, and the gateway answers at once.

use std::time::Duration;

use billd::terminal;

use crate::figure::{Bound, Figure, half, megabytes, number, ratio, together};
use crate::machine;
use crate::process::{Daemon, Sandbox, Tuning};
use crate::scenarios::{Scale, limits};
use crate::window::{Watched, Window};
use crate::world::{Order, Size, World};

/// The daemon between its two limits, each in turn, so that whatever else the machine does meets all
/// three alike.
pub(super) async fn measure(
    world: &mut World,
    scale: Scale,
    size: Size,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let (mut calls, mut statements) = (Vec::new(), Vec::new());
    let (mut windows, mut memory) = (Vec::new(), Vec::new());
    for round in 1..=scale.repeats {
        let sandbox = Sandbox::start(Duration::ZERO).await?;
        calls.push(limits::calls(&sandbox, scale).await?);
        sandbox.stop().await?;

        let book = world.book(size).await?;
        statements.push(limits::statements(world, &book, scale).await?);
        world.remove(book).await?;

        let (window, bytes) = charge(world, scale, size).await?;
        terminal::note(&format!(
            "  round {round}: {:.0} charges/s",
            window.charges_per_second
        ));
        windows.push(window);
        memory.push(megabytes(bytes));
    }
    let allowed: Vec<f64> = calls
        .iter()
        .zip(&statements)
        .map(|(calls, statements)| together(calls.per_second, statements.per_second))
        .collect();
    let shares = windows
        .iter()
        .zip(&allowed)
        .map(|(window, allowed)| ratio(window.charges_per_second, *allowed))
        .collect();
    let when = match size.order {
        Order::Midnight => "at one instant",
        Order::Scattered => "at times of their own, under random identifiers",
    };
    let what = format!(
        "{} due {when}, instant gateway, {} in flight",
        size.due, scale.concurrency
    );
    let mut figures = figures(&windows, memory, shares);
    figures.extend(limit_figures(&calls, &statements));
    figures.push(Figure::new("both limits together", "1/s", allowed));
    Ok((what, figures))
}

/// Of the daemon.
fn figures(windows: &[Window], memory: Vec<f64>, shares: Vec<f64>) -> Vec<Figure> {
    let of = |pick: fn(&Window) -> f64| windows.iter().map(pick).collect::<Vec<_>>();
    vec![
        Figure::new("charges", "1/s", of(|w| w.charges_per_second))
            .must(Bound::AtLeast(8_000.0))
            .aim(Bound::AtLeast(12_000.0)),
        Figure::new("share of what both limits together allow", "", shares)
            .aim(Bound::AtLeast(0.8)),
        Figure::new("PostgreSQL CPU per charge", "µs", of(|w| w.postgres_us))
            .must(Bound::AtMost(80.0))
            .aim(Bound::AtMost(60.0)),
        Figure::new("billd CPU per charge", "µs", of(|w| w.billd_us)),
        Figure::new("sandbox CPU per charge", "µs", of(|w| w.sandbox_us)),
        Figure::new("commits per charge", "", of(|w| w.commits)).must(Bound::AtMost(0.02)),
        Figure::new("WAL per charge", "B", of(|w| w.log_bytes))
            .must(Bound::AtMost(1_600.0))
            .aim(Bound::AtMost(1_250.0)),
        Figure::new("peak memory of billd", "MB", memory)
            .must(Bound::AtMost(100.0))
            .aim(Bound::AtMost(64.0)),
        Figure::new("rows per claim", "", of(|w| w.rows_per_claim)),
        Figure::new("rows per recorded batch", "", of(|w| w.rows_per_record)),
    ]
}

/// Of each of its two halves alone.
fn limit_figures(calls: &[limits::Limit], statements: &[limits::Limit]) -> Vec<Figure> {
    let limit = |limits: &[limits::Limit], pick: fn(&limits::Limit) -> f64| {
        limits.iter().map(pick).collect::<Vec<_>>()
    };
    vec![
        Figure::new("limit: calls alone", "1/s", limit(calls, |l| l.per_second)),
        Figure::new(
            "limit: calls, client CPU",
            "µs",
            limit(calls, |l| l.ours_us),
        ),
        Figure::new(
            "limit: calls, sandbox CPU",
            "µs",
            limit(calls, |l| l.theirs_us),
        ),
        Figure::new(
            "limit: SQL alone",
            "1/s",
            limit(statements, |l| l.per_second),
        ),
        Figure::new(
            "limit: SQL, client CPU",
            "µs",
            limit(statements, |l| l.ours_us),
        ),
        Figure::new(
            "limit: SQL, PostgreSQL CPU",
            "µs",
            limit(statements, |l| l.theirs_us),
        ),
    ]
}

/// Half of what one daemon can do on this machine, in charges per second.
pub(super) async fn half_of_capacity(world: &mut World, scale: Scale) -> anyhow::Result<f64> {
    let (capacity, _) = charge(world, scale, scale.scattered).await?;
    Ok(half(capacity.charges_per_second))
}

/// One daemon with more than it can do: what it used, and the most memory it had.
async fn charge(world: &mut World, scale: Scale, size: Size) -> anyhow::Result<(Window, u64)> {
    let book = world.book(size).await?;
    let sandbox = Sandbox::start(Duration::ZERO).await?;
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
    let window = watched.watch(scale.warm, scale.window).await?;
    let due_left = book
        .number(
            "select count(*) from (
                select from billd.subscription
                where state = 'active' and next_charge_at <= billd.now() limit 1) due",
        )
        .await?;
    anyhow::ensure!(
        number(due_left) > 0.0,
        "the book ran out of what is due; the window was not full"
    );
    let mut memory = 0;
    for daemon in daemons {
        memory = memory.max(machine::memory_max(daemon.pid())?);
        daemon.stop().await?;
    }
    sandbox.stop().await?;
    world.remove(book).await?;
    Ok((window, memory))
}
