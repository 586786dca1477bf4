//! A clock of a daemon's own: libfaketime, loaded before the program.
//!
//! Only the wall clock is bent. Time-outs run on the monotonic clock, which no operator can step.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Where libraries are: below one folder per architecture, or not.
const FOLDERS: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib"];

/// A wall clock that is off by what its file says, and can be stepped while the daemon runs.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// Makes a clock that is off by so many seconds, with its file in a folder.
    pub fn new(folder: &Path, name: &str, seconds: i64) -> anyhow::Result<Self> {
        let library = find_library().context(
            "couldn't find libfaketime; install it (Debian/Ubuntu: apt-get install faketime)",
        )?;
        let clock = Self {
            library,
            file: folder.join(format!("clock-{name}")),
        };
        clock.step_to(seconds)?;
        Ok(clock)
    }

    /// Steps the clock: from now on it is off by so many seconds.
    pub fn step_to(&self, seconds: i64) -> anyhow::Result<()> {
        // Replaced in one step: the daemon may read it at any moment.
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{seconds:+}\n"))
            .and_then(|()| fs::rename(&fresh, &self.file))
            .context("couldn't set a daemon's clock")
    }

    /// What a daemon needs in its environment.
    pub(super) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", Path::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
        ]
    }
}

/// Removes what the library leaves in shared memory when its process is killed.
pub(super) fn sweep_after(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        fs::remove_file(format!("/dev/shm/{name}{process}")).ok();
    }
}

fn find_library() -> Option<PathBuf> {
    FOLDERS.into_iter().map(Path::new).find_map(|folder| {
        let below = children(folder).unwrap_or_default();
        [folder.to_owned()]
            .into_iter()
            .chain(below)
            .map(|folder| folder.join(LIBRARY))
            .find(|library| library.is_file())
    })
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}
