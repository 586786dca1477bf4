//! A shell that ends the server and removes its folder once we are gone.
//!
//! It reads from a pipe that only we can write to, so it notices our end even if it was a
//! `SIGKILL`, a panic or the exit of a test process whose server stands in a `static`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::account::Account;

/// Every line of its input is the number of the process to end, or 0 for none.
///
/// The folder may only go once the server is gone, or the server would write into it again. Its
/// lock file tells sooner than its process, which in a container may stay behind as a zombie.
const SCRIPT: &str = r#"
server=0
while read -r line; do server=$line; done
if [ "$server" -gt 0 ] && kill -QUIT "$server"; then
    tries=100
    while [ "$tries" -gt 0 ] && [ -e "$1/data/postmaster.pid" ] && kill -0 "$server"; do
        sleep 0.1
        tries=$((tries - 1))
    done
fi
rm -rf -- "$1"
"#;

/// The shell and our end of its pipe.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    pub(super) fn start(folder: &Path, account: Account, search: &[PathBuf]) -> io::Result<Self> {
        account
            .command(Path::new("/bin/sh"), search)
            .args(["-c", SCRIPT, "embedded-postgres-watchdog"])
            .arg(folder)
            .stdin(Stdio::piped())
            // Whoever reads our output must not have to wait for the watchdog's end.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
    }

    /// Names the process to end. A watchdog that is gone itself can't be told, and isn't missed
    /// while we live.
    pub(super) fn watch(&mut self, process: Option<u32>) {
        if let Some(pipe) = self.0.stdin.as_mut() {
            drop(writeln!(pipe, "{}", process.unwrap_or(0)));
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Waiting closes the pipe first.
        drop(self.0.wait());
    }
}
