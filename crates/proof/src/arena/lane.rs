//! A database cluster that serves one seed after the other, each with a database of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;
use tokio::time::timeout;

use super::guard::Guard;
use embedded_postgres::{Embedded, Options, StopMode};

/// Whom a person works as who types SQL.
pub const OPERATOR: &str = "operator";

/// Whom a command of billd works as beside the daemons; to the judge it is one of them.
pub const COMMAND: &str = "daemon_command";

/// Most daemons of one seed.
const DAEMONS: u32 = 3;

/// Owns the book. Everybody who works on it is a member, so a trigger can tell them apart.
const OWNER: &str = "book_owner";

const TEMPLATE: &str = "book_template";

/// Most connections of all; three of them are the harness's alone. Enough for three daemons and
/// little more: each costs several milliseconds of CPU when a seed takes all that are free.
const CONNECTIONS: u32 = 64;

/// How many seeds use one database, one after the other.
const SEEDS_PER_DATABASE: u64 = 20;

/// Makes a used book a new one. As a replica, because the book itself lets nobody take anything away.
const EMPTY: &str = "
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
    set session_replication_role = replica;
    do $$
    declare
        tables text := (
            select string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables
            where schemaname in ('billd', 'proof') and tablename <> 'schema_migration'
                or schemaname = 'billd_internal' and tablename <> 'routines');
    begin
        execute 'truncate ' || tables || ' restart identity cascade';
    end $$;
    insert into billd.rate_limit default values;
    insert into billd.control (server_name, event_cluster) values (billd_internal.server_name(), billd_internal.event_cluster());
    reset session_replication_role;";

/// A migrator has the machine to itself, but the machine may be busy.
const MIGRATION_LIMIT: Duration = Duration::from_mins(1);
const MIGRATION_TIMEOUT: &str = "30s";

/// A crash of a process loses nothing that was committed; a crash of the machine does not occur, so
/// nothing needs to reach a disk. A stand-by can follow.
const SETTINGS: [(&str, &str); 10] = [
    ("fsync", "off"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "replica"),
    // A copy takes a moment; what is written meanwhile must still be there for it.
    ("wal_keep_size", "64MB"),
    ("max_wal_size", "128MB"),
    ("min_wal_size", "32MB"),
    ("shared_buffers", "32MB"),
    ("track_commit_timestamp", "on"),
    // A database of one seed is gone before it would be worth it.
    ("autovacuum", "off"),
];

/// The role of a daemon, counted from 1.
pub fn daemon_role(number: u32) -> String {
    format!("daemon_{number}")
}

/// Everybody who works on a book.
pub(super) fn members() -> impl Iterator<Item = String> {
    (1..=DAEMONS)
        .map(daemon_role)
        .chain([OPERATOR, COMMAND].map(str::to_owned))
}

/// A book of one seed. The next one of the same lane takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    name: String,
}

impl Database {
    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One cluster, with a migrated template for the databases of its seeds.
#[derive(Debug)]
pub struct Lane {
    pub(super) server: Embedded,
    guard: Arc<Guard>,
    seeds: u64,
}

impl Lane {
    /// Starts a cluster. Its template is migrated by a `billd`; then the script is applied to it, as
    /// superuser.
    pub async fn start(billd: &Path, script: &str) -> anyhow::Result<Self> {
        let server = Embedded::start(options())
            .await
            .context("couldn't start PostgreSQL")?;
        let lane = Self {
            server,
            guard: Guard::start()?,
            seeds: 0,
        };
        lane.make_template(billd, script).await?;
        Ok(lane)
    }

    /// Ends what this lane starts when the harness is gone.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// The socket that a proxy or a bouncer leads to. A fail-over changes it.
    pub fn socket(&self) -> PathBuf {
        self.server.socket()
    }

    /// An empty book; whoever is still connected to the one of the seed before is thrown out.
    ///
    /// Copying a whole database costs more than a seed does, so a book is emptied and used again, but not
    /// for ever: each time leaves something behind in PostgreSQL's own tables.
    pub async fn fresh_database(&mut self) -> anyhow::Result<Database> {
        let number = self.seeds.checked_div(SEEDS_PER_DATABASE).unwrap_or(0);
        let is_new = self.seeds.checked_rem(SEEDS_PER_DATABASE) == Some(0);
        self.seeds = self.seeds.saturating_add(1);
        let database = Database {
            name: format!("book_{number}"),
        };
        if is_new {
            self.copy_template(&database, number.checked_sub(1)).await?;
            return Ok(database);
        }
        let mut connection = self.connect_to(&database.name).await?;
        sqlx::raw_sql(EMPTY)
            .execute(&mut connection)
            .await
            .context("couldn't empty the book")?;
        connection.close().await?;
        Ok(database)
    }

    async fn copy_template(&self, database: &Database, before: Option<u64>) -> anyhow::Result<()> {
        let name = &database.name;
        let mut connection = self.connect_to("postgres").await?;
        // Older releases know no other way. Copying files costs two checkpoints, which are cheap in
        // memory; copying through the log costs the log of a whole database.
        let strategy = if self.server.version() < 15 {
            ""
        } else {
            "strategy file_copy"
        };
        let drop_before =
            before.map(|number| format!("drop database if exists book_{number} with (force)"));
        let create = format!("create database {name} template {TEMPLATE} owner {OWNER} {strategy}");
        for statement in drop_before.into_iter().chain([create]) {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .context("couldn't make a fresh database")?;
        }
        Ok(connection.close().await?)
    }

    /// A connection as superuser, past proxies and bouncers.
    pub async fn connect(&self, database: &Database) -> anyhow::Result<PgConnection> {
        self.connect_to(&database.name).await
    }

    /// A connection in a role, past proxies and bouncers.
    pub async fn connect_as(
        &self,
        role: &str,
        database: &Database,
    ) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url_as(role, database)).await?)
    }

    /// The address of a database for the superuser, past proxies and bouncers.
    pub fn url(&self, database: &Database) -> String {
        self.server.url(&database.name)
    }

    /// The address of a database for a role, past proxies and bouncers.
    pub fn url_as(&self, role: &str, database: &Database) -> String {
        self.server.url_as(role, &database.name)
    }

    /// Stops the cluster and starts it again. Returns how long it was away.
    pub async fn restart(&mut self, mode: StopMode) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.server
            .restart(mode)
            .await
            .context("couldn't restart PostgreSQL")?;
        Ok(started.elapsed())
    }

    pub(super) async fn connect_to(&self, database: &str) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.server.url(database))
            .await
            .context("couldn't connect to PostgreSQL")
    }

    async fn make_template(&self, billd: &Path, script: &str) -> anyhow::Result<()> {
        let mut roles = vec![format!("create role {OWNER} login")];
        roles.extend(members().map(|role| format!("create role {role} login in role {OWNER}")));
        let roles = roles.join(";");
        let mut connection = self.connect_to("postgres").await?;
        for statement in [roles, format!("create database {TEMPLATE} owner {OWNER}")] {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await?;
        }
        connection.close().await?;

        let url = self.server.url_as(OWNER, TEMPLATE);
        migrate(billd, &url, self.guard.folder()).await?;

        let mut connection = self.connect_to(TEMPLATE).await?;
        sqlx::raw_sql(AssertSqlSafe(script.to_owned()))
            .execute(&mut connection)
            .await
            .context("couldn't apply the script to the template")?;
        Ok(connection.close().await?)
    }
}

/// As an operator does, in an empty folder and without the harness's own environment.
async fn migrate(billd: &Path, url: &str, folder: &Path) -> anyhow::Result<()> {
    let command = Command::new(billd)
        .arg("migrate")
        .current_dir(folder)
        .env_clear()
        .env("DATABASE_URL", url)
        .env("BILLD__DATABASE__TIMEOUT", MIGRATION_TIMEOUT)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(MIGRATION_LIMIT, command)
        .await
        .context("billd migrate doesn't end")?
        .with_context(|| format!("couldn't run {}", billd.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "billd migrate failed: {said}");
    Ok(())
}

/// How the cluster of a lane runs; its stand-by runs likewise.
pub(super) fn options() -> Options {
    let own = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Options {
        // Not `durable: false`: that would lose commits at an immediate stop.
        durable: true,
        settings: own
            .into_iter()
            .chain([("max_connections".to_owned(), CONNECTIONS.to_string())])
            .collect(),
        ..Options::default_for_user()
    }
}
