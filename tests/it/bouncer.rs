//! A PgBouncer of a test's own, in transaction mode, with fewer servers than there are clients.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use billd::store::{Connection, Pooler};
use sqlx::postgres::{PgConnectOptions, PgPool};
use tempfile::TempDir;
use url::Url;

use crate::programs::PGBOUNCER;
use crate::support::connection;

/// Servers that PgBouncer opens for one database. Fewer than any daemon's connections, so that the
/// statements of two clients really meet on one of them.
pub(crate) const SERVERS: u32 = 3;

/// A running PgBouncer; dropping it ends it, and every connection through it.
pub(crate) struct PgBouncer {
    process: Child,
    folder: TempDir,
}

impl PgBouncer {
    /// In front of the server that this address names, whichever database is asked for.
    pub(crate) fn before(url: &str) -> Self {
        Self::with(url, "")
    }

    /// With further lines of configuration.
    pub(crate) fn with(url: &str, configuration: &str) -> Self {
        let url = Url::parse(url).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgbouncer.ini");
        // A socket in its own folder: no port that somebody else could take first.
        let text = format!(
            "[databases]
            * = host={host} port={port} user={user}
            [pgbouncer]
            unix_socket_dir = {folder}
            listen_port = 6432
            auth_type = any
            pool_mode = transaction
            default_pool_size = {SERVERS}
            max_client_conn = 200
            {configuration}\n",
            host = socket_or_host(&url),
            port = url.port().unwrap(),
            user = url.username(),
            folder = folder.path().display(),
        );
        let text: Vec<&str> = text.lines().map(str::trim).collect();
        fs::write(&file, text.join("\n")).unwrap();
        let process = start(&folder, &file);
        Self { process, folder }
    }

    /// The address of the same database through it.
    pub(crate) fn url(&self, direct: &str) -> String {
        let direct = Url::parse(direct).unwrap();
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!(
            "postgres://{}@{folder}:6432{}",
            direct.username(),
            direct.path()
        )
    }

    /// How a store is told to go through it.
    pub(crate) fn connection(&self, direct: &str) -> Connection {
        Connection {
            pooler: Pooler::Transaction,
            ..connection(&self.url(direct))
        }
    }
}

impl PgBouncer {
    /// A person's connections through it, as `psql` makes them.
    pub(crate) fn sql(&self, direct: &str) -> PgPool {
        let options: PgConnectOptions = self.url(direct).parse().unwrap();
        PgPool::connect_lazy_with(options.extra_float_digits(None))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn socket_or_host(url: &Url) -> String {
    url.query_pairs()
        .find(|(name, _)| name == "host")
        .map_or_else(
            || url.host_str().unwrap().to_owned(),
            |(_, folder)| folder.into_owned(),
        )
}

/// Starts it and waits until it says that it is up.
fn start(folder: &TempDir, file: &Path) -> Child {
    let program = (PGBOUNCER.find)().unwrap();
    let mut command = Command::new(program);
    // Like PostgreSQL it refuses to run as root.
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = nobody();
        for path in [folder.path(), file] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        command.uid(uid).gid(gid);
    }
    let mut process = command
        .arg(file)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut log = Vec::new();
    loop {
        match said.next() {
            Some(Ok(line)) if line.contains("process up") => break,
            Some(Ok(line)) => log.push(line),
            Some(Err(_)) | None => panic!("pgbouncer didn't start: {log:#?}"),
        }
    }
    // Nobody reads on, but a full pipe would stop it.
    std::thread::spawn(move || said.for_each(drop));
    process
}

fn nobody() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = ["postgres:", "nobody:"]
        .into_iter()
        .find_map(|name| passwd.lines().find(|line| line.starts_with(name)))
        .unwrap();
    let number = |place| line.split(':').nth(place).unwrap().parse().unwrap();
    (number(2), number(3))
}
