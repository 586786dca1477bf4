//! A cap over several daemons, seen from the gateway.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use crate::figure::{Bound, Figure, number, ratio};
use crate::process::{Daemon, Sandbox, Tuning};
use crate::scenarios::Scale;
use crate::world::World;

const CAP: u16 = 50;
const DAEMONS: u8 = 3;
const SECOND_US: i64 = 1_000_000;

/// Everything is due, so that only the cap holds back.
pub(super) async fn measure(
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<(String, Vec<Figure>)> {
    let book = world.book(scale.small).await?;
    let sandbox = Sandbox::start(Duration::ZERO).await?;
    let tuning = Tuning {
        concurrency: 64,
        rate_per_second: CAP,
    };
    let mut daemons = Vec::new();
    for _ in 0..DAEMONS {
        daemons.push(Daemon::start(&book.url, &sandbox, tuning).await?);
    }
    sleep(scale.warm.saturating_add(scale.capped)).await;
    for daemon in daemons {
        daemon.stop().await?;
    }
    let own_count = sandbox.summary().await?.again_per_second_max;
    let mut arrivals: Vec<i64> = sandbox
        .ledger()
        .await?
        .iter()
        .map(|entry| entry.requested_at_us)
        .collect();
    arrivals.sort_unstable();
    sandbox.stop().await?;
    world.remove(book).await?;

    let sent = sent_in_the_minute(&arrivals, scale)?;
    let allowed = number(scale.capped.as_secs().saturating_mul(u64::from(CAP)));
    Ok((
        format!(
            "cap of {CAP} a second for {} s, {DAEMONS} daemons",
            scale.capped.as_secs()
        ),
        vec![
            Figure::new(
                "sent, as a share of the cap",
                "",
                vec![ratio(sent, allowed)],
            )
            .must(Bound::About(1.0, 0.02)),
            Figure::new("sent", "", vec![sent]),
            Figure::new(
                "most within any one second",
                "",
                vec![number(u64::try_from(busiest_second(&arrivals))?)],
            )
            .must(Bound::AtMost(f64::from(CAP))),
            Figure::new(
                "the same, as the gateway counts",
                "",
                vec![number(u64::try_from(own_count)?)],
            ),
        ],
    ))
}

/// The daemons start one after the other; the minute begins when all are there.
fn sent_in_the_minute(arrivals: &[i64], scale: Scale) -> anyhow::Result<f64> {
    let warm_us = i64::try_from(scale.warm.as_micros())?;
    let length_us = i64::try_from(scale.capped.as_micros())?;
    let first = arrivals.first().context("nothing was sent")?;
    let begin = first.saturating_add(warm_us);
    let end = begin.saturating_add(length_us);
    let sent = arrivals.iter().filter(|at| (begin..end).contains(*at));
    Ok(number(u64::try_from(sent.count())?))
}

/// Most arrivals within any window of a second, wherever it begins.
fn busiest_second(sorted_us: &[i64]) -> usize {
    let mut within = VecDeque::new();
    let mut most = 0;
    for at in sorted_us {
        within.push_back(*at);
        let second_ago = at.saturating_sub(SECOND_US);
        while within.front().is_some_and(|first| *first <= second_ago) {
            within.pop_front();
        }
        most = most.max(within.len());
    }
    most
}
