//! The daemon as the demo runs it: this very program, as a process of its own that can be killed.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::{env, io};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::demo::log_view::LogView;
use portone_sandbox as sandbox;

/// Waits of seconds, so that a crash is mended while one looks on. All else is as in production.
const SETTINGS: [(&str, &str); 11] = [
    ("BILLD__DATABASE__TIMEOUT", "3s"),
    ("BILLD__GATEWAY__TIMEOUT", "2s"),
    ("BILLD__GATEWAY__IMP_KEY", sandbox::IMP_KEY),
    ("BILLD__GATEWAY__IMP_SECRET", sandbox::IMP_SECRET),
    ("BILLD__ENGINE__LEASE", "5s"),
    ("BILLD__ENGINE__DRAIN", "5s"),
    ("BILLD__RECONCILE__SETTLE", "3s"),
    ("BILLD__RECONCILE__NOT_FOUND_MIN", "2"),
    ("BILLD__RECONCILE__ASKS", "1s,1s,2s,1h"),
    ("BILLD__HTTP__LISTEN", "127.0.0.1:0"),
    ("BILLD__LOG__FORMAT", "json"),
];

/// Ends the daemon when its own owner was killed: the last line names the process, or nobody. An
/// orphan would go on looking for a database that is gone. Its folder goes with it.
const GUARD: &str = r#"
daemon=0
while read -r line; do daemon=$line; done
[ "$daemon" -eq 0 ] || { kill -KILL "$daemon"; rm -f "$1/production.toml"; rmdir "$1"; }
"#;

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: JoinHandle<()>,
    guard: ChildStdin,
    pub(super) process: u32,
}

impl Daemon {
    /// In an empty folder: settings files that lie about are not the demo's.
    pub(super) async fn start(
        database_url: &str,
        gateway_url: &str,
        folder: &Path,
        view: &Arc<LogView>,
    ) -> anyhow::Result<Self> {
        let program = env::current_exe().context("couldn't find the program that runs")?;
        let mut guard =
            start_guard(folder).context("couldn't start a shell that watches the daemon")?;
        // Settings of its own, which are none.
        std::fs::write(folder.join("production.toml"), "")
            .context("couldn't write the daemon's settings")?;
        let mut child = alone(
            Command::new(program)
                .args(["run", "--config-dir"])
                .arg(folder),
        )
        .current_dir(folder)
        .env("DATABASE_URL", database_url)
        .env("BILLD__GATEWAY__BASE_URL", gateway_url)
        .envs(SETTINGS)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("couldn't start the daemon")?;
        let process = child.id().context("the daemon ended at once")?;
        guard.write_all(format!("{process}\n").as_bytes()).await?;
        let stderr = child.stderr.take().context("the daemon has no log")?;
        view.new_daemon(process);
        let view = Arc::clone(view);
        let log = tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                view.hear(&line).await;
            }
        });
        Ok(Self {
            child,
            log,
            guard,
            process,
        })
    }

    /// Whether it has ended by itself, which it must not.
    pub(super) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Kills it outright, as a power failure does, or stops it in order, and reads its log to the end.
    pub(super) async fn end(mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(process) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let process = Pid::from_raw(process).context("the daemon has no number")?;
            kill_process(process, signal)?;
        }
        self.child.wait().await?;
        self.guard.write_all(b"0\n").await?;
        self.log.await?;
        Ok(())
    }
}

fn start_guard(folder: &Path) -> io::Result<ChildStdin> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", GUARD, "billd-demo-guard"]).arg(folder);
    let mut shell = alone(&mut shell)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // The shell ends when its input does, so its pipe is all we have to hold.
    shell.stdin.take().ok_or_else(io::Error::last_os_error)
}

/// Without our environment, our terminal, or a Ctrl-C at it, which is for the demo: it stops everything in its
/// order.
fn alone(command: &mut Command) -> &mut Command {
    let command = command.env_clear().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null())
}
