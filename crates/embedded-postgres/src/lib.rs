//! A PostgreSQL of one's own, for tests and demos.
//!
//! The server is an installed one, or a downloaded one where none is installed; it lives in a fresh
//! folder and dies with its owner, by whatever the owner dies: see [`watchdog`]. Access is
//! open to whoever can reach its address, so it must never hold anything of value.

mod account;
mod binaries;
mod options;
mod watchdog;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use self::binaries::Binaries;
use self::watchdog::Watchdog;

pub use self::account::Account;
pub use self::options::{Listen, Options};

/// The superuser whom `initdb` makes; it has no password.
pub const SUPERUSER: &str = "postgres";

/// Long enough for a laptop that is busy compiling, short enough for a person to wait.
const START_LIMIT: Duration = Duration::from_mins(1);

/// PostgreSQL itself gives its processes five seconds to obey an immediate stop, and a fast one
/// has to write a checkpoint.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A start takes some tens of milliseconds; looking more rarely would be felt in every test run.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Even one lost race for a port is rare.
const RACES_MAX: usize = 5;

/// What the log says after a lost one.
const PORT_TAKEN: &str = "could not create any TCP/IP sockets";

/// How the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are cut off, and what was committed is written out.
    Fast,
    /// A power failure: nothing is written out, and the next start recovers.
    Immediate,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Not installed, and the download failed.
    #[error(
        "couldn't download PostgreSQL; install it (Debian/Ubuntu: apt-get install postgresql; \
         macOS: brew install postgresql@17) and try again"
    )]
    Download(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// PostgreSQL refuses to run as root, and nobody else is there to run it.
    #[error("PostgreSQL can't run as root, and /etc/passwd has neither `postgres` nor `nobody`")]
    NobodyToRunAs,
    /// The operating system refused something.
    #[error("couldn't {doing}")]
    System {
        /// What, for instance "create a folder for PostgreSQL".
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// `initdb` gave up.
    #[error("couldn't initialize a database cluster: {output}")]
    Initdb {
        /// What it printed.
        output: String,
    },
    /// The server ended before it took connections, or it took none in time.
    #[error("PostgreSQL didn't start; its log ends with: {log}")]
    Start {
        /// The last lines.
        log: String,
    },
    /// The server didn't end in time.
    #[error("PostgreSQL didn't stop within {STOP_LIMIT:?}; its log ends with: {log}")]
    Stop {
        /// The last lines.
        log: String,
    },
    /// It runs, but refused a statement.
    #[error("PostgreSQL refused a statement")]
    Statement(#[from] sqlx::Error),
}

/// A server that is ours alone. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Embedded {
    // Fields drop in this order: the folder may go once the server is gone, and the watchdog last.
    server: Option<Child>,
    folder: TempDir,
    watchdog: Watchdog,
    binaries: Binaries,
    account: Account,
    options: Options,
    port: u16,
}

impl Embedded {
    /// Finds or downloads PostgreSQL, initializes a cluster and starts it.
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let mut embedded = Self::prepare(options).await?;
        embedded.initialize().await?;
        embedded.start_on_free_port().await?;
        Ok(embedded)
    }

    /// Copies the server at `link`, an address as libpq takes it, and starts the copy as its
    /// stand-by, which follows it through that link.
    pub async fn start_standby(options: Options, link: &str) -> Result<Self, EmbeddedError> {
        let mut embedded = Self::prepare(options).await?;
        embedded.copy(link).await?;
        embedded.start_on_free_port().await?;
        Ok(embedded)
    }

    /// Makes a stand-by a server of its own, and waits until it is one.
    pub async fn promote(&self) -> Result<(), EmbeddedError> {
        self.run("select pg_promote()".to_owned()).await
    }

    async fn prepare(options: Options) -> Result<Self, EmbeddedError> {
        let account = Account::for_server()?;
        let binaries = Binaries::find_or_download(&options, account).await?;
        let folder = account.create_folder(options.in_memory)?;
        let watchdog = Watchdog::start(folder.path(), account, &options.search)
            .map_err(system("start a shell that watches over PostgreSQL"))?;
        Ok(Self {
            server: None,
            folder,
            watchdog,
            binaries,
            account,
            options,
            port: 0,
        })
    }

    /// The major version, for instance 17.
    pub fn version(&self) -> u32 {
        self.binaries.version()
    }

    /// The address of one of its databases, as `psql` and `DATABASE_URL` take it.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The address of one of its databases for a role of one's own.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        let database = percent_encode(database);
        match self.options.listen {
            Listen::Tcp => format!(
                "postgres://{role}@{}:{}/{database}?sslmode=disable",
                Ipv4Addr::LOCALHOST,
                self.port,
            ),
            Listen::Socket => format!(
                "postgres://{role}@localhost:{}/{database}?host={}",
                self.port,
                percent_encode(&self.folder.path().to_string_lossy()),
            ),
        }
    }

    /// The Unix socket that it listens on, wherever else it does.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// The log, for whoever wants to show it. It goes with the server.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Creates an empty database.
    pub async fn create_database(&self, name: &str) -> Result<(), EmbeddedError> {
        self.create_database_from(name, "template1").await
    }

    /// Creates a copy of another database, to which nobody may be connected.
    pub async fn create_database_from(
        &self,
        name: &str,
        template: &str,
    ) -> Result<(), EmbeddedError> {
        let (name, template) = (quote(name), quote(template));
        // It needs two checkpoints, which cost nothing where nothing is flushed to a disk.
        let strategy = if self.options.durable || self.version() < 15 {
            ""
        } else {
            "strategy file_copy"
        };
        self.run(format!(
            "create database {name} template {template} {strategy}"
        ))
        .await
    }

    /// Drops a database, and cuts off whoever is connected to it.
    pub async fn drop_database(&self, name: &str) -> Result<(), EmbeddedError> {
        let name = quote(name);
        self.run(format!("drop database if exists {name} with (force)"))
            .await
    }

    /// Stops the server; its data stays until this value is dropped.
    pub async fn stop(&mut self, mode: StopMode) -> Result<(), EmbeddedError> {
        let signal = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        };
        self.end(signal).await
    }

    /// Kills the server's first process outright. The others notice on their own, a little later.
    pub async fn kill(&mut self) -> Result<(), EmbeddedError> {
        self.end(Signal::KILL).await
    }

    /// Stops the server and starts it again at the same address.
    pub async fn restart(&mut self, mode: StopMode) -> Result<(), EmbeddedError> {
        self.stop(mode).await?;
        self.resume().await
    }

    /// Starts a stopped server again at the same address.
    pub async fn resume(&mut self) -> Result<(), EmbeddedError> {
        if !self.has_ended()? {
            return Ok(());
        }
        match timeout(START_LIMIT, self.launch_until_ready()).await {
            Ok(done) => done,
            Err(_elapsed) => {
                let log = self.log_tail();
                self.kill().await?;
                Err(EmbeddedError::Start { log })
            }
        }
    }

    /// Another program may take a port between our look at it and the server's.
    async fn start_on_free_port(&mut self) -> Result<(), EmbeddedError> {
        for _lost in 0..RACES_MAX {
            self.port = self.free_port()?;
            match self.resume().await {
                Err(EmbeddedError::Start { log }) if log.contains(PORT_TAKEN) => {}
                done => return done,
            }
        }
        self.resume().await
    }

    async fn launch_until_ready(&mut self) -> Result<(), EmbeddedError> {
        loop {
            self.launch()?;
            while !self.has_ended()? {
                if let Ok(connection) = self.connect().await {
                    return Ok(connection.close().await?);
                }
                sleep(POLL_EVERY).await;
            }
            let log = self.log_tail();
            // The processes of a killed server may still be on their way out.
            if !log.contains("pre-existing shared memory block") {
                return Err(EmbeddedError::Start { log });
            }
            sleep(POLL_EVERY).await;
        }
    }

    fn launch(&mut self) -> Result<(), EmbeddedError> {
        let log = File::create(self.log()).map_err(system("write PostgreSQL's log"))?;
        let server = self
            .account
            .command(&self.binaries.postgres(), &self.options.search)
            .arg("-D")
            .arg(self.data())
            .args(self.options.arguments(self.folder.path(), self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(system("run PostgreSQL"))?;
        self.watchdog.watch(Some(server.id()));
        self.server = Some(server);
        Ok(())
    }

    /// Looks whether the server is gone, and forgets it then.
    fn has_ended(&mut self) -> Result<bool, EmbeddedError> {
        if let Some(server) = self.server.as_mut() {
            let status = server.try_wait().map_err(system("watch PostgreSQL"))?;
            if status.is_none() {
                return Ok(false);
            }
            self.server = None;
            self.watchdog.watch(None);
        }
        Ok(true)
    }

    async fn initialize(&mut self) -> Result<(), EmbeddedError> {
        let mut command = self
            .account
            .command(&self.binaries.initdb(), &self.options.search);
        command
            .args(["--auth=trust", "--no-sync", "--no-instructions"])
            .args(["--encoding=UTF8", "--locale=C", "--username", SUPERUSER])
            .arg("--pgdata")
            .arg(self.data());
        self.fill(command).await
    }

    async fn copy(&mut self, link: &str) -> Result<(), EmbeddedError> {
        let mut command = self
            .account
            .command(&self.binaries.basebackup(), &self.options.search);
        command
            .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync"])
            .arg("--write-recovery-conf")
            .arg("--dbname")
            .arg(link)
            .arg("--pgdata")
            .arg(self.data());
        self.fill(command).await
    }

    /// Runs the program that fills the data folder.
    async fn fill(&mut self, mut command: Command) -> Result<(), EmbeddedError> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let program = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(system("run the program that makes a database cluster"))?;
        self.watchdog.watch(program.id());
        let output = program
            .wait_with_output()
            .await
            .map_err(system("run the program that makes a database cluster"))?;
        self.watchdog.watch(None);
        if output.status.success() {
            Ok(())
        } else {
            Err(EmbeddedError::Initdb {
                output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            })
        }
    }

    fn free_port(&self) -> Result<u16, EmbeddedError> {
        match self.options.listen {
            Listen::Tcp => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .map(|address| address.port())
                .map_err(system("find a free port")),
            // It only names the socket's file, in a folder of our own.
            Listen::Socket => Ok(5432),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .port(self.port)
            .username(SUPERUSER)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
    }

    async fn run(&self, statement: String) -> Result<(), EmbeddedError> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    async fn end(&mut self, signal: Signal) -> Result<(), EmbeddedError> {
        if let Some(server) = self.server.as_ref() {
            send(server, signal);
        }
        let ended = timeout(STOP_LIMIT, async {
            while !self.has_ended()? {
                sleep(POLL_EVERY).await;
            }
            Ok(())
        });
        match ended.await {
            Ok(done) => done,
            Err(_elapsed) => Err(EmbeddedError::Stop {
                log: self.log_tail(),
            }),
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Embedded {
    /// The data goes with the server, so nothing needs to be written out.
    fn drop(&mut self) {
        if let Some(server) = self.server.as_mut() {
            send(server, Signal::QUIT);
            drop(server.wait());
        }
        self.watchdog.watch(None);
    }
}

/// A process that has ended is not yet gone while we hold it, so no other one can have its number.
fn send(server: &Child, signal: Signal) {
    kill_process(Pid::from_child(server), signal).ok();
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> EmbeddedError {
    move |source| EmbeddedError::System { doing, source }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
