//! A shell that ends what we started, once we are gone ourselves.
//!
//! One for a whole lane: it reads from a pipe that only we can write to, so it notices our end by
//! whatever we end. A process that it ends may be stopped or busy; `KILL` reaches both.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tempfile::TempDir;

/// Its input names processes that start (`+`) and have ended (`-`).
const SCRIPT: &str = r#"
alive=" "
while read -r sign process; do
    case $sign in
        +) alive="$alive$process " ;;
        -) alive="${alive%% "$process" *} ${alive#* "$process" }" ;;
    esac
done
for process in $alive; do kill -KILL "$process"; done
rm -rf -- "$1"
"#;

/// The shell, and a folder for what belongs to the lane. Both go with the last holder.
#[derive(Debug)]
pub struct Guard {
    shell: Mutex<Child>,
    folder: TempDir,
}

impl Guard {
    /// Starts the shell.
    pub fn start() -> anyhow::Result<Arc<Self>> {
        let folder = tempfile::Builder::new()
            .prefix("billd-proof-")
            .tempdir()
            .context("couldn't create a folder")?;
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "billd-proof-guard"])
            .arg(folder.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for us.
            .process_group(0)
            .spawn()
            .context("couldn't start a shell that watches the daemons")?;
        Ok(Arc::new(Self {
            shell: Mutex::new(shell),
            folder,
        }))
    }

    /// A folder that goes with the lane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has a process ended when we are gone, until the returned value is dropped.
    pub fn watch(self: &Arc<Self>, process: u32) -> anyhow::Result<Watched> {
        self.tell('+', process)
            .context("couldn't tell the shell that watches the daemons")?;
        Ok(Watched {
            guard: Arc::clone(self),
            process,
        })
    }

    fn tell(&self, sign: char, process: u32) -> io::Result<()> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        match shell.stdin.as_mut() {
            Some(pipe) => writeln!(pipe, "{sign} {process}"),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let shell = self.shell.get_mut();
        // Waiting closes the pipe first.
        drop(shell.unwrap_or_else(PoisonError::into_inner).wait());
    }
}

/// A process under guard. Drop it once the process has ended.
#[derive(Debug)]
pub struct Watched {
    guard: Arc<Guard>,
    process: u32,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A guard that is gone isn't missed while we live.
        self.guard.tell('-', self.process).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn when_we_are_gone_what_was_watched_is_ended_and_what_had_ended_is_forgotten() {
        let sleeper = || Command::new("sleep").arg("600").spawn().unwrap();
        let (mut kept, mut first, mut second) = (sleeper(), sleeper(), sleeper());
        let guard = Guard::start().unwrap();
        let watched = guard.watch(kept.id()).unwrap();
        guard.tell('+', first.id()).unwrap();
        guard.tell('+', second.id()).unwrap();
        drop(watched);
        // Nobody else holds the pipe, so this is our end as the shell sees it.
        let folder = guard.folder().to_owned();
        drop(guard);
        assert!(!first.wait().unwrap().success() && !second.wait().unwrap().success());
        assert!(kept.try_wait().unwrap().is_none());
        assert!(!folder.exists());
        kept.kill().unwrap();
        kept.wait().unwrap();
    }
}
