//! `billd sandbox` and `billd run`, as processes of their own.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use portone_sandbox::{IMP_KEY, IMP_SECRET, LedgerEntry};
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// The program under test. Cargo builds it, with the release profile, before it runs a benchmark.
const PROGRAM: &str = env!("CARGO_BIN_EXE_billd");

/// Ends a process whose owner was killed: its input ends without a line then.
const GUARD: &str = r#"read -r done || kill -KILL "$0""#;

/// Both start within a fraction of it; a stop waits for calls under way.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A process that dies with us, however we die.
struct Process {
    child: Child,
    pid: u32,
    guard: ChildStdin,
}

impl Process {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("couldn't run {PROGRAM}"))?;
        let pid = child.id().context("the process ended at once")?;
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD, &pid.to_string()])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("couldn't run a shell")?;
        let guard = guard.stdin.take().context("the shell has no input")?;
        Ok(Self { child, pid, guard })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid)?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        timeout(PATIENCE, self.child.wait())
            .await
            .context("a process doesn't stop")??;
        self.guard.write_all(b"done\n").await?;
        Ok(())
    }
}

/// The gateway.
pub(crate) struct Sandbox {
    process: Process,
    url: String,
    http: Client,
    /// Open for as long as it may print.
    _stdout: BufReader<ChildStdout>,
}

impl Sandbox {
    /// Starts a gateway that takes so long for every answer.
    pub(crate) async fn start(latency: Duration) -> anyhow::Result<Self> {
        let mut process = Process::start(
            Command::new(PROGRAM)
                .args(["sandbox", "--listen", "127.0.0.1:0", "--latency-ms"])
                .arg(latency.as_millis().to_string())
                .env_clear()
                .stdout(Stdio::piped()),
        )?;
        let stdout = process.child.stdout.take().context("no output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        timeout(PATIENCE, stdout.read_line(&mut line)).await??;
        let address = line
            .trim()
            .strip_prefix("# the sandbox listens on ")
            .with_context(|| format!("the sandbox says {line:?}"))?;
        Ok(Self {
            process,
            url: format!("http://{address}"),
            http: Client::new(),
            _stdout: stdout,
        })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Every approval, in the order in which money moved.
    pub(crate) async fn ledger(&self) -> anyhow::Result<Vec<LedgerEntry>> {
        let answer = self
            .http
            .get(format!("{}/sandbox/ledger", self.url))
            .send()
            .await?;
        Ok(answer.json().await?)
    }

    /// What it counted itself.
    pub(crate) async fn summary(&self) -> anyhow::Result<portone_sandbox::Summary> {
        let answer = self
            .http
            .get(format!("{}/sandbox/summary", self.url))
            .send()
            .await?;
        Ok(answer.json().await?)
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

/// How a daemon differs from one with the default settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Charges in flight.
    pub(crate) concurrency: u16,
    /// Charges per second over all daemons; 0 for no cap.
    pub(crate) rate_per_second: u16,
}

/// A daemon. It logs as in production, into a file.
pub(crate) struct Daemon {
    process: Process,
    url: String,
    http: Client,
    /// Its settings (none) and its log.
    _folder: TempDir,
}

impl Daemon {
    /// Starts a daemon; it is at work when this returns.
    pub(crate) async fn start(
        database_url: &str,
        sandbox: &Sandbox,
        tuning: Tuning,
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let log = folder.path().join("log");
        let mut process = Process::start(
            Command::new(PROGRAM)
                .arg("run")
                .current_dir(folder.path())
                .env_clear()
                .env("DATABASE_URL", database_url)
                .env("BILLD__GATEWAY__BASE_URL", sandbox.url())
                .env("BILLD__GATEWAY__IMP_KEY", IMP_KEY)
                .env("BILLD__GATEWAY__IMP_SECRET", IMP_SECRET)
                .env(
                    "BILLD__GATEWAY__RATE_PER_SECOND",
                    tuning.rate_per_second.to_string(),
                )
                .env("BILLD__ENGINE__CONCURRENCY", tuning.concurrency.to_string())
                .env("BILLD__HTTP__LISTEN", "127.0.0.1:0")
                .env("BILLD__AUDIT__CRON", "")
                .env("BILLD__LOG__FORMAT", "json")
                .stdout(Stdio::null())
                .stderr(File::create(&log)?),
        )?;
        let url = timeout(PATIENCE, served_at(&log, &mut process.child))
            .await
            .context("billd doesn't start")??;
        Ok(Self {
            process,
            url,
            http: Client::new(),
            _folder: folder,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its own figures.
    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer = self.http.get(format!("{}/metrics", self.url)).send();
        Ok(Metrics(answer.await?.text().await?))
    }

    /// Kills it outright; what it had under way stays open.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.child.kill().await?;
        self.process.guard.write_all(b"done\n").await?;
        Ok(())
    }

    /// Stops it: calls under way end, and outcomes are recorded.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

/// Where it serves its figures, which only its log says.
async fn served_at(log: &Path, child: &mut Child) -> anyhow::Result<String> {
    loop {
        let text = tokio::fs::read_to_string(log).await?;
        let address = text.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line.get("address")?.as_str()?.to_owned())
        });
        if let Some(address) = address {
            return Ok(format!("http://{address}"));
        }
        ensure!(child.try_wait()?.is_none(), "billd ended; it said:\n{text}");
        sleep(POLL_EVERY).await;
    }
}

/// The figures that a daemon serves.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Outcomes that are durable.
    pub(crate) fn outcomes(&self) -> u64 {
        self.sum("billd_outcomes_total")
    }

    /// How many rows the claims brought, and how many claims there were.
    pub(crate) fn claims(&self) -> (u64, u64) {
        let rows = self.sum("billd_claim_rows_sum");
        (rows, self.sum("billd_claim_rows_count"))
    }

    /// How many outcomes were recorded, and in how many batches.
    pub(crate) fn records(&self) -> (u64, u64) {
        let rows = self.sum("billd_record_rows_sum");
        (rows, self.sum("billd_record_rows_count"))
    }

    /// A figure over all its labels, whole.
    fn sum(&self, name: &str) -> u64 {
        self.0
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let is_whole_name = rest.starts_with([' ', '{']);
                let value = rest.rsplit(' ').next().filter(|_| is_whole_name)?;
                value.split('.').next()?.parse::<u64>().ok()
            })
            .fold(0, u64::saturating_add)
    }
}
