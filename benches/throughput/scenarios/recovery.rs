//! After a crash of a daemon and of the database: how fast it goes then, against a run without them.

use std::time::Duration;

use tokio::time::sleep;

use crate::figure::{Bound, Figure, ratio};
use crate::process::{Daemon, Sandbox, Tuning};
use crate::scenarios::Scale;
use crate::window::{Watched, Window};
use crate::world::{Order, Size, World};

/// Calls take time, so the rate is that of the calls under way and not of a busy machine.
const LATENCY: Duration = Duration::from_millis(200);
const IN_FLIGHT: u16 = 128;
/// More than is charged in the time that is watched.
const BOOK: Size = Size {
    order: Order::Scattered,
    rows: 100_000,
    due: 100_000,
};
/// From the start to the kill of a daemon, from there to the crash of the database, and from there to
/// the daemon's return.
const STEP: Duration = Duration::from_secs(2);

/// Two daemons; one is killed, the database crashes, the daemon comes back.
pub(super) async fn measure(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let (mut calm, mut after, mut recovered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.repeats {
        let without = run(world, scale, false).await?.charges_per_second;
        let with = run(world, scale, true).await?.charges_per_second;
        recovered.push(ratio(with, without));
        calm.push(without);
        after.push(with);
    }
    Ok((
        format!(
            "gateway at {} ms, {IN_FLIGHT} in flight in each of two daemons; one is killed, then the database",
            LATENCY.as_millis()
        ),
        vec![
            Figure::new("after the crashes, against a run without", "×", recovered)
                .must(Bound::AtLeast(0.98)),
            Figure::new("charges, no crash", "1/s", calm),
            Figure::new("charges, after the crashes", "1/s", after),
        ],
    ))
}

async fn run(world: &mut World, scale: Scale, with_crashes: bool) -> anyhow::Result<Window> {
    let book = world.book(BOOK).await?;
    let sandbox = Sandbox::start(LATENCY).await?;
    let tuning = Tuning {
        concurrency: IN_FLIGHT,
        rate_per_second: 0,
    };
    let first = Daemon::start(&book.url, &sandbox, tuning).await?;
    let second = Daemon::start(&book.url, &sandbox, tuning).await?;
    sleep(STEP).await;
    let second = if with_crashes {
        second.kill().await?;
        sleep(STEP).await;
        world.crash().await?;
        sleep(STEP).await;
        Daemon::start(&book.url, &sandbox, tuning).await?
    } else {
        sleep(STEP.saturating_mul(2)).await;
        second
    };
    let daemons = [first, second];
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
