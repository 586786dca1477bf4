//! What the story stands on: a database, a gateway and a daemon, and how to wait for them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::demo::book::{Book, FINISHED, UNDER_WAY};
use crate::demo::daemon::Daemon;
use crate::demo::log_view::LogView;
use crate::demo::page::{CLOCK, say, text};
use crate::store::{Connection, Pooler, Store};
use crate::terminal;
use embedded_postgres::{Embedded, Listen, Options, StopMode};
use portone_sandbox::{self as sandbox, Latency, Running};

/// The name of the database.
const DATABASE: &str = "billd";
/// A look costs a millisecond, and nobody sees a delay that is shorter.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Nothing in the story takes a quarter of it, even on a machine that is busy compiling.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Card companies take this long on a good day.
const LATENCY: Latency = Latency::Spread {
    median: 90,
    p99: 400,
};

/// Everything that runs. Dropping it stops it and removes its data.
#[derive(Debug)]
pub(super) struct Stage {
    // Fields drop in this order: the daemon before what it stands on.
    daemon: Option<Daemon>,
    pub(super) gateway: Arc<Running>,
    pub(super) book: Book,
    pub(super) log: Arc<LogView>,
    /// The daemon's working folder, which stays empty.
    folder: TempDir,
    postgres: Embedded,
}

impl Stage {
    /// Starts database and gateway, and tells where they are.
    pub(super) async fn set() -> anyhow::Result<Self> {
        terminal::progress("   starting PostgreSQL …");
        let postgres = Embedded::start(Options {
            listen: Listen::Tcp,
            durable: true,
            in_memory: false,
            tell: |news| {
                terminal::progress_done();
                text(news);
            },
            ..Options::default_for_user()
        })
        .await?;
        postgres.create_database(DATABASE).await?;
        let url = postgres.url(DATABASE);
        migrate(&url).await?;
        terminal::progress_done();
        let gateway = sandbox::start(sandbox::Options {
            latency: LATENCY,
            ..sandbox::Options::default()
        })
        .await
        .context("couldn't start the sandbox")?;
        text(&format!(
            "PostgreSQL {} is up, with billd's tables in it. So is the sandbox, which speaks PortOne V1.\n\
             Both are this demo's own: no card is charged, and nothing stays behind.",
            postgres.version()
        ));
        let book = Book::open(&url)?;
        Ok(Self {
            daemon: None,
            gateway: Arc::new(gateway),
            log: Arc::new(LogView::new(book.clone())),
            book,
            folder: TempDir::with_prefix("billd-demo-").context("couldn't create a folder")?,
            postgres,
        })
    }

    /// The database's address, as `psql` takes it.
    pub(super) fn url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// Starts a daemon, and waits until it says that it runs.
    pub(super) async fn start_daemon(&mut self) -> anyhow::Result<()> {
        let (database, gateway) = (self.url(), self.gateway.base_url());
        let daemon = Daemon::start(&database, &gateway, self.folder.path(), &self.log).await?;
        self.daemon = Some(daemon);
        let log = Arc::clone(&self.log);
        self.wait_for("the daemon to start", async || Ok(log.is_running()))
            .await
    }

    /// Kills the daemon, and returns its process number. What it wrote last may never have reached its log.
    pub(super) async fn kill_daemon(&mut self) -> anyhow::Result<u32> {
        let daemon = self.daemon.take().context("no daemon runs")?;
        let process = daemon.process;
        daemon.end(Signal::KILL).await?;
        self.log.count_as_told(self.book.words(FINISHED).await?);
        Ok(process)
    }

    /// Moves billd's clock. Only while nothing is under way: no lease may end before its time.
    pub(super) async fn set_clock(&mut self, to: &str, words: &str) -> anyhow::Result<()> {
        self.book.set_clock(to).await?;
        say(CLOCK, words);
        self.wait_until_quiet().await
    }

    /// Waits until nothing is due or open, and all of it has been told.
    pub(super) async fn wait_until_quiet(&mut self) -> anyhow::Result<()> {
        if self.daemon.is_none() {
            return Ok(());
        }
        let (book, log) = (self.book.clone(), Arc::clone(&self.log));
        self.wait_for("the daemon to do what is due", async || {
            Ok(book.number(UNDER_WAY).await? == 0 && log.has_told(&book.words(FINISHED).await?))
        })
        .await
    }

    /// Waits for something that must happen soon, unless the daemon ends before.
    pub(super) async fn wait_for(
        &mut self,
        what: &str,
        happened: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        while !happened().await? {
            if started.elapsed() > WAIT_MAX {
                bail!(
                    "waited {WAIT_MAX:?} in vain for {what}; the daemon's last words are\n{}",
                    self.log.tail()
                );
            }
            self.look()?;
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Returns when the daemon has ended by itself, which it must not.
    pub(super) async fn wait_for_ever(&mut self) -> anyhow::Result<()> {
        loop {
            self.look()?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Fails if there is a daemon that has ended by itself.
    fn look(&mut self) -> anyhow::Result<()> {
        match self.daemon.as_mut().map(Daemon::has_ended).transpose()? {
            Some(true) => bail!("the daemon has ended; it said\n{}", self.log.tail()),
            Some(false) | None => Ok(()),
        }
    }

    /// Stops everything, in order, and removes it.
    pub(super) async fn clear(mut self) -> anyhow::Result<()> {
        if let Some(daemon) = self.daemon.take() {
            daemon.end(Signal::TERM).await?;
        }
        if let Some(gateway) = Arc::into_inner(self.gateway) {
            gateway.stop().await;
        }
        self.book.close().await;
        self.postgres.stop(StopMode::Fast).await?;
        Ok(())
    }
}

async fn migrate(url: &str) -> anyhow::Result<()> {
    let store = Store::new(&Connection {
        url: SecretString::from(url),
        pooler: Pooler::None,
        account: Some("sandbox".to_owned()),
        connections_max: 2,
        timeout: Duration::from_secs(30),
    })?;
    store.migrate().await?;
    store.close().await;
    Ok(())
}
