//! A stand-by that follows a lane's cluster, asynchronously, and takes its place.

use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::time::{sleep, timeout};

use super::lane::{self, Lane};
use super::proxy::Proxy;
use embedded_postgres::{Embedded, SUPERUSER};

/// What is on its way arrives within milliseconds, unless the machine is very busy.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

const POLL_EVERY: Duration = Duration::from_millis(5);

/// The second half of a pair; the first is the lane's cluster.
#[derive(Debug)]
pub struct Standby {
    server: Embedded,
    /// What the primary writes reaches the stand-by through here.
    link: Proxy,
}

impl Standby {
    /// Copies the lane's cluster as it is, and follows it.
    pub async fn follow(lane: &Lane) -> anyhow::Result<Self> {
        let link = Proxy::start(lane.socket()).await?;
        let address = format!(
            "host={} port={} user={SUPERUSER} sslmode=disable",
            link.address().ip(),
            link.address().port()
        );
        let server = Embedded::start_standby(lane::options(), &address)
            .await
            .context("couldn't start a stand-by")?;
        Ok(Self { server, link })
    }

    /// Waits until it has all that the primary has committed by now.
    pub async fn catch_up(&self, lane: &Lane) -> anyhow::Result<()> {
        let mut primary = lane.connect_to("postgres").await?;
        let position = text(&mut primary, "pg_current_wal_lsn()").await?;
        let mut own = connect(&self.server).await?;
        let reached = format!("coalesce(pg_last_wal_replay_lsn() >= '{position}', false)");
        let wait = async {
            while text(&mut own, &reached).await? != "true" {
                sleep(POLL_EVERY).await;
            }
            anyhow::Ok(())
        };
        timeout(CATCH_UP_LIMIT, wait)
            .await
            .context("the stand-by does not catch up")?
    }

    /// From now on the primary commits and answers, but nothing of it reaches the stand-by.
    pub fn lose_tail(&self) {
        self.link.hold();
    }

    /// Kills the primary outright and promotes the stand-by, which is the lane's cluster from then
    /// on: proxies and bouncers are to be pointed at its socket. Returns how long there was none.
    pub async fn fail_over(self, lane: &mut Lane) -> anyhow::Result<Duration> {
        let started = Instant::now();
        lane.server
            .kill()
            .await
            .context("couldn't kill the primary")?;
        // What is held in the link must not arrive after all.
        drop(self.link);
        self.server
            .promote()
            .await
            .context("couldn't promote the stand-by")?;
        lane.server = self.server;
        Ok(started.elapsed())
    }
}

async fn connect(server: &Embedded) -> anyhow::Result<PgConnection> {
    use sqlx::Connection as _;
    Ok(PgConnection::connect(&server.url("postgres")).await?)
}

async fn text(connection: &mut PgConnection, value: &str) -> anyhow::Result<String> {
    let query = AssertSqlSafe(format!("select ({value})::text"));
    Ok(sqlx::raw_sql(query).fetch_one(connection).await?.get(0))
}
