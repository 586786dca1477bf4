//! A gateway that takes its time: what matters then is how many calls are under way.

use std::time::Duration;

use crate::figure::{Bound, Figure, number, ratio};
use crate::process::{Daemon, Sandbox, Tuning};
use crate::scenarios::Scale;
use crate::window::{Watched, Window};
use crate::world::World;

/// Every answer takes exactly so long, so that concurrency ÷ latency is exact too.
const LATENCY: Duration = Duration::from_millis(200);
const PER_SECOND: u16 = 5;

/// Charges in flight: 1,024 ÷ 200 ms is 5,120 a second.
const IN_FLIGHT: u16 = 1_024;
/// Few enough that two daemons don't meet at the limit of a small machine.
const IN_FLIGHT_OF_TWO: u16 = 256;

/// One daemon with many calls under way.
pub(super) async fn slow(world: &mut World, scale: Scale) -> anyhow::Result<(String, Vec<Figure>)> {
    let mut windows = Vec::new();
    for _ in 0..scale.repeats {
        windows.push(run(world, scale, 1, IN_FLIGHT).await?);
    }
    let of = |pick: fn(&Window) -> f64| windows.iter().map(pick).collect::<Vec<_>>();
    let ideal = number(u64::from(IN_FLIGHT.saturating_mul(PER_SECOND)));
    let shares = windows
        .iter()
        .map(|window| ratio(window.charges_per_second, ideal))
        .collect();
    Ok((
        format!(
            "gateway at {} ms, {IN_FLIGHT} in flight",
            LATENCY.as_millis()
        ),
        vec![
            Figure::new("charges", "1/s", of(|w| w.charges_per_second))
                .must(Bound::AtLeast(4_000.0)),
            Figure::new("share of concurrency ÷ latency", "", shares).aim(Bound::AtLeast(0.95)),
            Figure::new("PostgreSQL CPU per charge", "µs", of(|w| w.postgres_us)),
            Figure::new("billd CPU per charge", "µs", of(|w| w.billd_us)),
            Figure::new("sandbox CPU per charge", "µs", of(|w| w.sandbox_us)),
            Figure::new("commits per charge", "", of(|w| w.commits)),
            Figure::new("rows per claim", "", of(|w| w.rows_per_claim)),
            Figure::new("rows per recorded batch", "", of(|w| w.rows_per_record)),
        ],
    ))
}

/// A second daemon on the same book.
pub(super) async fn two_daemons(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let (mut one, mut two, mut gains) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.repeats {
        let alone = run(world, scale, 1, IN_FLIGHT_OF_TWO).await?;
        let both = run(world, scale, 2, IN_FLIGHT_OF_TWO).await?;
        one.push(alone.charges_per_second);
        two.push(both.charges_per_second);
        gains.push(ratio(both.charges_per_second, alone.charges_per_second));
    }
    Ok((
        format!(
            "gateway at {} ms, {IN_FLIGHT_OF_TWO} in flight in each daemon",
            LATENCY.as_millis()
        ),
        vec![
            Figure::new("two daemons against one", "×", gains).must(Bound::AtLeast(1.8)),
            Figure::new("charges, one daemon", "1/s", one),
            Figure::new("charges, two daemons", "1/s", two),
        ],
    ))
}

async fn run(
    world: &mut World,
    scale: Scale,
    count: u8,
    concurrency: u16,
) -> anyhow::Result<Window> {
    let book = world.book(scale.scattered).await?;
    let sandbox = Sandbox::start(LATENCY).await?;
    let tuning = Tuning {
        concurrency,
        rate_per_second: 0,
    };
    let mut daemons = Vec::new();
    for _ in 0..count {
        daemons.push(Daemon::start(&book.url, &sandbox, tuning).await?);
    }
    let watched = Watched {
        world,
        book: &book,
        sandbox: &sandbox,
        daemons: &daemons,
    };
    let window = watched.watch(scale.warm, scale.window).await?;
    for daemon in daemons {
        daemon.stop().await?;
    }
    sandbox.stop().await?;
    world.remove(book).await?;
    Ok(window)
}
