//! Whom the server runs as: PostgreSQL refuses to run as root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;

use super::{EmbeddedError, system};

/// Where the server's folder goes when the usual place is closed to the server's user.
const OPEN_FOLDER: &str = "/tmp";

/// Linux's file system in memory, where a new database takes a fraction of the time.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Room for some hundred small databases. A container that wasn't told otherwise has 64 MiB.
const MEMORY_BYTES_MIN: u64 = 3 << 30;

/// The user whom the server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Whoever runs us.
    Own,
    /// Somebody without privileges, because we are root.
    Lesser {
        /// Its number.
        uid: u32,
        /// Its group's number.
        gid: u32,
    },
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Account {
    /// The user whom a server is run as.
    pub fn for_server() -> Result<Self, EmbeddedError> {
        if !is_root() {
            return Ok(Self::Own);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(system("read /etc/passwd"))?;
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| find(&passwd, name))
            .ok_or(EmbeddedError::NobodyToRunAs)
    }

    /// A program that is to run as this user, without our environment: it may hold secrets, and
    /// its `PG…` variables speak of another server.
    pub fn command(self, program: &Path, search: &[PathBuf]) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            // The folder that we are in may be closed to this user.
            .current_dir("/")
            // A Ctrl-C at the terminal is for us: we decide when the server stops.
            .process_group(0);
        if let Ok(path) = env::join_paths(search)
            && !path.is_empty()
        {
            command.env("PATH", path);
        }
        match self {
            Self::Own => {}
            Self::Lesser { uid, gid } => {
                // The standard library drops root's supplementary groups along with the user.
                command.uid(uid).gid(gid);
            }
        }
        command
    }

    /// Creates a folder that belongs to this user alone, in memory if wanted and possible.
    pub fn create_folder(self, in_memory: bool) -> Result<TempDir, EmbeddedError> {
        let usual = env::temp_dir();
        let base = if in_memory && has_room(Path::new(MEMORY_FOLDER)) {
            Path::new(MEMORY_FOLDER)
        } else if self == Self::Own || is_open_to_all(&usual) {
            &usual
        } else {
            Path::new(OPEN_FOLDER)
        };
        let folder = tempfile::Builder::new()
            .prefix("embedded-postgres-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map_err(system("create a folder for PostgreSQL"))?;
        match self {
            Self::Own => {}
            Self::Lesser { uid, gid } => chown(folder.path(), Some(uid), Some(gid))
                .map_err(system("hand PostgreSQL's folder to its user"))?,
        }
        Ok(folder)
    }
}

/// Whether everybody may pass through a folder and all its parents.
fn is_open_to_all(folder: &Path) -> bool {
    folder.ancestors().all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    })
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= MEMORY_BYTES_MIN)
        && tempfile::tempdir_in(folder).is_ok()
}

/// Finds a user's line, `name:password:uid:gid:…`.
fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account::Lesser { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/:\n";
        let postgres = Account::Lesser { uid: 101, gid: 104 };
        assert_eq!(find(passwd, "postgres"), Some(postgres));
        assert_eq!(find(passwd, "nobody"), None);
    }
}
