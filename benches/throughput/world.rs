//! A PostgreSQL of this run's own, and the books in it.

use std::time::{Duration, Instant};

use anyhow::Context;
use billd::store::{Connection, Pooler, Store};
use billd::terminal;
use embedded_postgres::{Embedded, Listen, Options, StopMode};
use secrecy::SecretString;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};

use crate::machine;

/// What a small server for this job would be given. Everything that makes a commit durable is as
/// PostgreSQL ships it.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("maintenance_work_mem", "512MB"),
];

/// A book, as one statement.
const SUBSCRIPTIONS: &str = include_str!("book.sql");

/// In what order a book lies on disk, and in what order it falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All due at one instant, under the identifiers that billd gives.
    Midnight,
    /// Due at random within an hour, under random identifiers: nothing that is due one after the
    /// other lies together anywhere.
    Scattered,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Midnight => "midnight",
            Self::Scattered => "scattered",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Midnight => "billd_internal.new_id()",
            Self::Scattered => "gen_random_uuid()",
        }
    }

    fn due_at(self) -> &'static str {
        match self {
            Self::Midnight => "date_trunc('second', now()) - interval '1 hour'",
            Self::Scattered => "date_trunc('second', now()) - random() * interval '1 hour'",
        }
    }
}

/// How a book is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// How it lies.
    pub(crate) order: Order,
    /// Subscriptions.
    pub(crate) rows: u32,
    /// Those of them that are due.
    pub(crate) due: u32,
}

impl Size {
    /// Nothing is due yet, and nothing that falls due one after the other lies together.
    pub(crate) fn nothing_due(rows: u32) -> Self {
        Self {
            order: Order::Scattered,
            rows,
            due: 0,
        }
    }

    fn name(self) -> String {
        format!("{}_{}_{}", self.order.word(), self.rows, self.due)
    }
}

/// The server.
pub(crate) struct World {
    server: Embedded,
    /// PostgreSQL's first process.
    postmaster: u32,
    /// Books that were filled once and are copied from then on.
    templates: Vec<Size>,
    copies: u32,
}

impl World {
    /// Starts a server whose commits are durable, on a disk.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let server = Embedded::start(Options {
            listen: Listen::Tcp,
            durable: true,
            in_memory: false,
            settings: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            tell: terminal::note,
            ..Options::default_for_user()
        })
        .await?;
        let postmaster = postmaster_of(&server).await?;
        Ok(Self {
            server,
            postmaster,
            templates: Vec::new(),
            copies: 0,
        })
    }

    /// PostgreSQL's first process.
    pub(crate) fn postmaster(&self) -> u32 {
        self.postmaster
    }

    /// What the server says of itself: its version, and what its speed rests on.
    pub(crate) async fn description(&self) -> anyhow::Result<(String, String)> {
        let sql = PgPool::connect(&self.server.url("postgres")).await?;
        let row = sqlx::raw_sql(
            "select current_setting('server_version'), string_agg(name || ' ' || current_setting(name), ', ')
             from unnest(array['fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size']) name",
        )
        .fetch_one(&sql)
        .await?;
        sql.close().await;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// Ends the server as a crash does, and starts it again.
    pub(crate) async fn crash(&mut self) -> anyhow::Result<()> {
        self.server.restart(StopMode::Immediate).await?;
        self.postmaster = postmaster_of(&self.server).await?;
        Ok(())
    }

    /// A book of this size, fresh from the press.
    pub(crate) async fn book(&mut self, size: Size) -> anyhow::Result<Book> {
        let template = size.name();
        if !self.templates.contains(&size) {
            self.fill(&template, size).await?;
            self.templates.push(size);
        }
        self.copies = self.copies.saturating_add(1);
        let name = format!("{template}_{}", self.copies);
        self.server.create_database_from(&name, &template).await?;
        Book::open(self.server.url(&name), name).await
    }

    /// A book that is too large to keep a second one of.
    pub(crate) async fn large_book(&mut self, size: Size) -> anyhow::Result<Book> {
        let name = format!("{}_only", size.name());
        self.fill(&name, size).await?;
        Book::open(self.server.url(&name), name).await
    }

    /// Removes a book and all it holds.
    pub(crate) async fn remove(&self, book: Book) -> anyhow::Result<()> {
        let name = book.name.clone();
        book.close().await;
        Ok(self.server.drop_database(&name).await?)
    }

    async fn fill(&self, name: &str, size: Size) -> anyhow::Result<()> {
        let started = Instant::now();
        terminal::note(&format!("  filling a book of {} rows …", size.rows));
        self.server.create_database(name).await?;
        let book = Book::open(self.server.url(name), name.to_owned()).await?;
        book.store.migrate().await?;
        book.fill(size).await?;
        book.close().await;
        terminal::note(&format!("  filled in {} s", started.elapsed().as_secs()));
        Ok(())
    }
}

/// One book.
pub(crate) struct Book {
    /// Its address.
    pub(crate) url: String,
    /// What the product uses.
    pub(crate) store: Store,
    /// For whoever measures.
    pub(crate) sql: PgPool,
    name: String,
}

impl Book {
    async fn open(url: String, name: String) -> anyhow::Result<Self> {
        let store = Store::new(&Connection {
            url: SecretString::from(url.clone()),
            connections_max: 8,
            timeout: Duration::from_secs(30),
            pooler: Pooler::None,
            account: Some("sandbox".to_owned()),
        })?;
        let sql = PgPoolOptions::new()
            .max_connections(2)
            .connect(&url)
            .await?;
        Ok(Self {
            url,
            store,
            sql,
            name,
        })
    }

    async fn close(self) {
        self.store.close().await;
        self.sql.close().await;
    }

    /// Fills an empty book: without the indexes but the key's and without triggers, which is many
    /// times faster for ten million rows and ends in the same book.
    async fn fill(&self, size: Size) -> anyhow::Result<()> {
        let statement = SUBSCRIPTIONS
            .replace("{id}", size.order.id())
            .replace("{due_at}", size.order.due_at())
            .replace("{rows}", &size.rows.to_string())
            .replace("{due}", &size.due.to_string());
        let rows = sqlx::raw_sql(
            "select i.schemaname || '.' || i.indexname, i.indexdef
             from pg_indexes i
             where i.schemaname = 'billd' and i.tablename = 'subscription'
               and not exists (select from pg_constraint c where c.conname = i.indexname)",
        )
        .fetch_all(&self.sql)
        .await?;
        let mut script = String::from("set session_replication_role = replica;\n");
        let mut indexes = String::new();
        for row in rows {
            let name: String = row.try_get(0)?;
            let definition: String = row.try_get(1)?;
            script.extend(["drop index ", name.as_str(), ";\n"]);
            indexes.extend([definition.as_str(), ";\n"]);
        }
        script.extend([statement.as_str(), ";\n", indexes.as_str()]);
        script.push_str("set session_replication_role = origin;");
        self.run(&script).await?;
        // As autovacuum would have left it.
        self.run("vacuum (analyze) billd.subscription").await?;
        // What was just written is not to be written out in the middle of a measurement.
        self.run("checkpoint").await
    }

    /// Runs statements.
    pub(crate) async fn run(&self, statements: &str) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.sql)
            .await
            .with_context(|| format!("couldn't run {statements}"))?;
        Ok(())
    }

    /// The only number of a query.
    pub(crate) async fn number(&self, query: &str) -> anyhow::Result<u64> {
        let query = AssertSqlSafe(format!("select ({query})::bigint"));
        let row = sqlx::raw_sql(query).fetch_one(&self.sql).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?)?)
    }

    /// Bytes of write-ahead log so far, over the whole server.
    pub(crate) async fn log_bytes(&self) -> anyhow::Result<u64> {
        self.number("pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            .await
    }

    /// Transactions committed in this book so far. Sessions report theirs within a second.
    pub(crate) async fn commits(&self) -> anyhow::Result<u64> {
        self.number("select xact_commit from pg_stat_database where datname = current_database()")
            .await
    }
}

/// PostgreSQL's first process: the parent of every session.
async fn postmaster_of(server: &Embedded) -> anyhow::Result<u32> {
    let sql = PgPool::connect(&server.url("postgres")).await?;
    let row = sqlx::raw_sql("select pg_backend_pid()")
        .fetch_one(&sql)
        .await?;
    let session = u32::try_from(row.try_get::<i32, _>(0)?)?;
    // While the session still lives.
    let postmaster = machine::parent(session)?;
    sql.close().await;
    Ok(postmaster)
}
