//! PgBouncer in transaction mode, between a proxy and the database.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::guard::{Guard, Watched};
use super::lane::{Database, Lane, members};
use embedded_postgres::{Account, Options};

const PROGRAMS: [&str; 4] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
];

/// It names the socket's file, in a folder of its own.
const PORT: u16 = 6432;

const START_LIMIT: Duration = Duration::from_secs(20);

const POLL_EVERY: Duration = Duration::from_millis(5);

/// A running bouncer. Dropping it ends it.
#[derive(Debug)]
pub struct Bouncer {
    process: Child,
    account: Account,
    folder: TempDir,
    database: Database,
    _watched: Watched,
}

impl Bouncer {
    /// Starts one in front of a lane's database.
    pub async fn start(lane: &Lane, database: &Database) -> anyhow::Result<Self> {
        let program = PROGRAMS
            .map(|folder| Path::new(folder).join("pgbouncer"))
            .into_iter()
            .find(|program| program.is_file())
            .context(
                "couldn't find PgBouncer; install it (Debian/Ubuntu: apt-get install pgbouncer)",
            )?;
        let account = Account::for_server()?;
        let folder = account.create_folder(true)?;
        let settings = folder.path().join("pgbouncer.ini");
        write(
            account,
            &settings,
            &settings_for(folder.path(), lane, database),
        )?;
        write(account, &folder.path().join("users"), &users())?;
        let process = account
            .command(&program, &Options::default_for_user().search)
            .arg("-q")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("couldn't start PgBouncer")?;
        let mut bouncer = Self {
            _watched: watch(lane.guard(), &process)?,
            process,
            account,
            folder,
            database: database.clone(),
        };
        bouncer.until_listening().await?;
        Ok(bouncer)
    }

    /// The socket that a proxy leads to.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{PORT}"))
    }

    /// Leads it to where the lane's cluster is now, after a fail-over.
    pub fn follow(&self, lane: &Lane) -> anyhow::Result<()> {
        let settings = settings_for(self.folder.path(), lane, &self.database);
        write(
            self.account,
            &self.folder.path().join("pgbouncer.ini"),
            &settings,
        )?;
        kill_process(Pid::from_child(&self.process), Signal::HUP)
            .context("couldn't make PgBouncer read its settings")
    }

    async fn until_listening(&mut self) -> anyhow::Result<()> {
        let socket = self.socket();
        let wait = async {
            while UnixStream::connect(&socket).await.is_err() {
                if self.process.try_wait()?.is_some() {
                    bail!("PgBouncer ended while it started; it said: {}", self.said());
                }
                sleep(POLL_EVERY).await;
            }
            Ok(())
        };
        match timeout(START_LIMIT, wait).await {
            Ok(done) => done,
            Err(_elapsed) => bail!("PgBouncer does not listen; it said: {}", self.said()),
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn watch(guard: &Arc<Guard>, process: &Child) -> anyhow::Result<Watched> {
    guard.watch(process.id())
}

fn settings_for(folder: &Path, lane: &Lane, database: &Database) -> String {
    let name = database.name();
    let upstream = lane.socket();
    let host = upstream.parent().unwrap_or(&upstream).display();
    let folder = folder.display();
    format!(
        "[databases]
{name} = host={host} port=5432 dbname={name}
[pgbouncer]
pool_mode = transaction
default_pool_size = 3
auth_type = trust
auth_file = {folder}/users
listen_addr =
listen_port = {PORT}
unix_socket_dir = {folder}
logfile = {folder}/log
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
"
    )
}

fn users() -> String {
    members()
        .flat_map(|role| ["\"".to_owned(), role, "\" \"\"\n".to_owned()])
        .collect()
}

/// Writes a file that the bouncer's user can read.
fn write(account: Account, path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).context("couldn't write PgBouncer's settings")?;
    match account {
        Account::Own => Ok(()),
        Account::Lesser { uid, gid } => chown(path, Some(uid), Some(gid))
            .context("couldn't hand PgBouncer's settings to its user"),
    }
}
