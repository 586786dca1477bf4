//! A stretch of time in the life of daemons at work, and what was used in it.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::figure::{each, micros_each, per_second};
use crate::machine;
use crate::process::{Daemon, Sandbox};
use crate::world::{Book, World};

/// What everyone had used at one moment.
struct Mark {
    at: Instant,
    charges: u64,
    claims: (u64, u64),
    records: (u64, u64),
    billd: Duration,
    postgres: Duration,
    sandbox: Duration,
    log_bytes: u64,
    commits: u64,
}

/// Who is watched.
pub(crate) struct Watched<'a> {
    pub(crate) world: &'a World,
    pub(crate) book: &'a Book,
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) daemons: &'a [Daemon],
}

impl Watched<'_> {
    /// Lets everybody run warm, then watches for so long.
    pub(crate) async fn watch(&self, warm: Duration, length: Duration) -> anyhow::Result<Window> {
        sleep(warm).await;
        let before = self.mark().await?;
        sleep(length).await;
        let after = self.mark().await?;
        Ok(Window::between(&before, &after))
    }

    async fn mark(&self) -> anyhow::Result<Mark> {
        let (mut charges, mut billd) = (0_u64, Duration::ZERO);
        let (mut claims, mut records) = ((0, 0), (0, 0));
        for daemon in self.daemons {
            let metrics = daemon.metrics().await?;
            charges = charges.saturating_add(metrics.outcomes());
            claims = sum(claims, metrics.claims());
            records = sum(records, metrics.records());
            billd = billd.saturating_add(machine::processor_time(daemon.pid())?);
        }
        let at = Instant::now();
        Ok(Mark {
            at,
            charges,
            claims,
            records,
            billd,
            postgres: machine::processor_time_of_family(self.world.postmaster())?,
            sandbox: machine::processor_time(self.sandbox.pid())?,
            log_bytes: self.book.log_bytes().await?,
            commits: self.book.commits().await?,
        })
    }
}

fn sum(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0.saturating_add(other.0), one.1.saturating_add(other.1))
}

/// What was used between two moments, for each charge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) charges_per_second: f64,
    pub(crate) postgres_us: f64,
    pub(crate) billd_us: f64,
    pub(crate) sandbox_us: f64,
    pub(crate) log_bytes: f64,
    pub(crate) commits: f64,
    pub(crate) rows_per_claim: f64,
    pub(crate) rows_per_record: f64,
}

impl Window {
    fn between(before: &Mark, after: &Mark) -> Self {
        let charges = after.charges.saturating_sub(before.charges);
        let since = |pick: fn(&Mark) -> u64| pick(after).saturating_sub(pick(before));
        let used = |pick: fn(&Mark) -> Duration| {
            micros_each(pick(after).saturating_sub(pick(before)), charges)
        };
        Self {
            charges_per_second: per_second(charges, after.at.saturating_duration_since(before.at)),
            postgres_us: used(|mark| mark.postgres),
            billd_us: used(|mark| mark.billd),
            sandbox_us: used(|mark| mark.sandbox),
            log_bytes: each(since(|mark| mark.log_bytes), charges),
            commits: each(since(|mark| mark.commits), charges),
            rows_per_claim: each(since(|mark| mark.claims.0), since(|mark| mark.claims.1)),
            rows_per_record: each(since(|mark| mark.records.0), since(|mark| mark.records.1)),
        }
    }
}
