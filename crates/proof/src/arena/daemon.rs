//! A `billd run` of its own process, which can be killed, stopped in mid-air and woken up again.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::clock::{self, Clock};
use super::guard::{Guard, Watched};

/// What the log says once all is set up.
const RUNNING: &str = "billd is running";

const POLL_EVERY: Duration = Duration::from_millis(10);

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program; `run` is added.
    pub program: PathBuf,
    /// Names its log and its clock; unique within the folder.
    pub name: String,
    /// Its folder: empty of settings files, and where its log goes.
    pub folder: PathBuf,
    /// Its database, as a proxy gives it.
    pub database_url: String,
    /// The gateway.
    pub gateway_url: String,
    /// All other settings. Nothing of the harness's own environment is passed on.
    pub envs: Vec<(String, String)>,
    /// A clock of its own, or the machine's.
    pub clock: Option<Clock>,
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    process: u32,
    log: PathBuf,
    /// How long its log was when it started.
    said_before: u64,
    ended: Option<Ended>,
    is_faked: bool,
    _watched: Watched,
}

impl Daemon {
    /// Starts it. A second start of the same name writes on in the same log.
    pub fn start(spec: &Spec, guard: &Arc<Guard>) -> anyhow::Result<Self> {
        let log = spec.folder.join(format!("{}.log", spec.name));
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("couldn't write a daemon's log")?;
        let said_before = stderr.metadata()?.len();
        let mut command = Command::new(&spec.program);
        command
            .arg("run")
            .current_dir(&spec.folder)
            .env_clear()
            .env("DATABASE_URL", &spec.database_url)
            .env("BILLD__GATEWAY__BASE_URL", &spec.gateway_url)
            .envs(spec.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Straight into the file: what it says costs the harness nothing.
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true);
        if let Some(clock) = &spec.clock {
            command.envs(clock.environment());
        }
        let child = command.spawn().context("couldn't start a daemon")?;
        let process = child.id().context("a daemon ended at once")?;
        Ok(Self {
            _watched: guard.watch(process)?,
            child,
            process,
            log,
            said_before,
            ended: None,
            is_faked: spec.clock.is_some(),
        })
    }

    /// Its process number.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// The file that its log goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it, and those of its name before it, have said.
    pub fn said(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether this very process has said anything yet. Before that it has begun nothing, and a signal
    /// ends it as it ends any process that is just starting.
    pub fn has_spoken(&self) -> bool {
        fs::metadata(&self.log).is_ok_and(|log| log.len() > self.said_before)
    }

    /// Waits until it works, or fails if it ends before that or takes too long.
    pub async fn until_running(&mut self, limit: Duration) -> anyhow::Result<()> {
        let before = self.said().matches(RUNNING).count();
        let wait = async {
            while self.said().matches(RUNNING).count() <= before {
                if let Some(ended) = self.has_ended()? {
                    bail!("a daemon ended while it started: {ended:?}");
                }
                sleep(POLL_EVERY).await;
            }
            Ok(())
        };
        timeout(limit, wait)
            .await
            .with_context(|| format!("a daemon does not start within {limit:?}"))?
    }

    /// Whether it runs. One that is frozen does.
    pub fn is_alive(&mut self) -> anyhow::Result<bool> {
        Ok(self.has_ended()?.is_none())
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<Ended>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?.map(Ended::from);
        }
        Ok(self.ended)
    }

    /// Kills it outright, as a power failure does, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<Ended> {
        self.child.start_kill().ok();
        let ended = Ended::from(self.child.wait().await?);
        Ok(*self.ended.insert(ended))
    }

    /// Stops it in mid-air: it does nothing, but keeps its connections.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.send(Signal::STOP)
    }

    /// Lets a frozen one go on where it was.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.send(Signal::CONT)
    }

    /// Asks it to stop in order.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.send(Signal::TERM)
    }

    /// Waits for its end. `None` if it runs on past the limit.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<Option<Ended>> {
        if let Ok(status) = timeout(limit, self.child.wait()).await {
            self.ended = Some(Ended::from(status?));
        }
        Ok(self.ended)
    }

    /// One that has ended can't be reached, which is no failure: it may end at any moment.
    fn send(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        let process = Pid::from_raw(i32::try_from(id)?).context("a daemon has no number")?;
        kill_process(process, signal).context("couldn't send a signal to a daemon")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_faked {
            self.child.start_kill().ok();
            clock::sweep_after(self.process);
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        // It has either of the two.
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}
