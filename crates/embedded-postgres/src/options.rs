//! How the server is to be started.

use std::env;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::account;

/// Nothing is written for a crash, a stand-by or an archive that never comes.
const FORGETFUL: [(&str, &str); 6] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "256MB"),
];

/// Where the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On a free port of 127.0.0.1, where every program of this machine reaches it.
    Tcp,
    /// On a Unix socket in the server's folder, where only its user and root reach it.
    Socket,
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: Listen,
    /// Whether a commit survives [`StopMode::Immediate`](super::StopMode::Immediate). Tests that
    /// don't ask for it run faster.
    pub durable: bool,
    /// Whether the data may be in memory where there is room: faster, and it survives all that the
    /// server does to itself.
    pub in_memory: bool,
    /// Further settings of `postgresql.conf`; they win over ours.
    pub settings: Vec<(String, String)>,
    /// The folders in which programs are looked for, as in `PATH`.
    pub search: Vec<PathBuf>,
    /// Where a downloaded PostgreSQL is kept. The server's user must be able to read it.
    pub cache: PathBuf,
    /// Who is told of a step that takes a while: the download.
    pub tell: fn(&str),
}

impl Options {
    /// A fast, forgetful server in memory and on a socket, with this user's own search path and
    /// cache folder.
    pub fn default_for_user() -> Self {
        Self {
            listen: Listen::Socket,
            durable: false,
            in_memory: true,
            settings: Vec::new(),
            search: env::var_os("PATH")
                .map(|path| env::split_paths(&path).collect())
                .unwrap_or_default(),
            cache: cache_folder(),
            tell: |text| tracing::info!("{text}"),
        }
    }

    /// The server's settings, as its command line takes them; of two equal names the last one wins.
    pub(super) fn arguments(&self, folder: &Path, port: u16) -> Vec<String> {
        let listen = match self.listen {
            Listen::Tcp => Ipv4Addr::LOCALHOST.to_string(),
            Listen::Socket => String::new(),
        };
        let port = port.to_string();
        let folder = folder.to_string_lossy();
        let ours = [
            ("listen_addresses", listen.as_str()),
            ("port", &port),
            // Always there: a connection through it can't reach somebody else's server by mistake.
            ("unix_socket_directories", &folder),
            ("max_connections", "200"),
            ("shared_buffers", "128MB"),
            ("log_min_messages", "warning"),
        ];
        let forgetful: &[(&str, &str)] = if self.durable { &[] } else { &FORGETFUL };
        let theirs = self
            .settings
            .iter()
            .map(|(name, value)| (&**name, &**value));
        ours.into_iter()
            .chain(forgetful.iter().copied())
            .chain(theirs)
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
            .collect()
    }
}

/// Root's own cache folder can't be read by the user that the server runs as.
fn cache_folder() -> PathBuf {
    let base = if account::is_root() {
        PathBuf::from("/var/cache")
    } else if let Some(cache) = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        PathBuf::from(cache)
    } else {
        env::home_dir().unwrap_or_else(env::temp_dir).join(".cache")
    };
    base.join("embedded-postgres")
}
