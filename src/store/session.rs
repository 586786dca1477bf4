//! How statements reach the server: over connections of our own, or through a pooler that lends a
//! server for one transaction at a time.
//!
//! Of a connection of our own we ask for settings once, and it keeps our prepared statements: a
//! method's statement is one round trip. A pooler in transaction mode keeps neither, and may hand
//! even the two halves of one statement to two servers. There every statement runs in a transaction
//! that brings its settings along, and has no name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Describe, Either, Error, Execute, Executor, PgPool,
    Postgres, SqlStr, Transaction,
};
use tracing::warn;

use crate::store::error::StoreError;
use crate::store::routines::SESSION_NAME;

words! {
    /// What stands between billd and PostgreSQL.
    pub enum Pooler {
        /// Nothing: a connection is a session, and keeps what it was told.
        None = "none",
        /// A pooler that may give every transaction another server, such as PgBouncer in transaction
        /// mode. Costs three more round trips a statement.
        Transaction = "transaction",
    }
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `postgres://user:password@host/database`.
    pub url: secrecy::SecretString,
    /// What stands between here and there.
    pub pooler: Pooler,
    /// The merchant account behind the gateway's key, which a session says to the book (law 16).
    pub account: Option<String>,
    /// Most connections of this process, those for outcomes among them.
    pub connections_max: u32,
    /// How long a statement, or waiting for a connection, may take.
    pub timeout: Duration,
}

/// The settings that every statement runs with.
fn settings(connection: &Connection) -> Vec<(&'static str, String)> {
    // The server gives up before we do: a statement that we no longer wait for would hold its
    // locks and its connection. A row that somebody has locked is let go of sooner still.
    let millis = |part: u32| {
        let limit = connection.timeout.checked_div(part).unwrap_or_default();
        format!("{}ms", limit.as_millis().max(1))
    };
    let settings = [
        // What is called committed must survive a crash, whatever is set for the role or the
        // database: an intent that is forgotten after the call was made would be sent again.
        ("synchronous_commit", "on".to_owned()),
        // A plan made while a table was small must not outlive that; the statements are large
        // batches, so planning each of them costs little.
        ("plan_cache_mode", "force_custom_plan".to_owned()),
        // Every statement has its index. A table whose statistics are still those of an empty
        // one must not be read whole, and compiling a plan takes longer than running it.
        ("enable_seqscan", "off".to_owned()),
        ("jit", "off".to_owned()),
        // Who waited for a row must see what its holder has committed beside it.
        ("default_transaction_isolation", "read committed".to_owned()),
        ("lock_timeout", millis(10)),
        ("statement_timeout", millis(2)),
        // A machine that stands still between two statements must not keep its rows to itself.
        ("idle_in_transaction_session_timeout", millis(1)),
    ];
    // billd_internal.gate holds it against the book's own.
    let account = connection.account.clone();
    let account = account.map(|account| ("billd.account", account));
    settings.into_iter().chain(account).collect()
}

/// How to open connections.
pub(super) fn options(connection: &Connection) -> Result<PgConnectOptions, StoreError> {
    use secrecy::ExposeSecret;
    let options: PgConnectOptions = connection
        .url
        .expose_secret()
        .parse()
        .map_err(StoreError::Url)?;
    let options = options
        .application_name(SESSION_NAME)
        // The library would log whole texts; see [`Timed`].
        .disable_statement_logging();
    Ok(match connection.pooler {
        Pooler::None => options.options(settings(connection)),
        // PgBouncer turns away whoever asks for a setting that it does not keep for its clients.
        Pooler::Transaction => options.extra_float_digits(None),
    })
}

/// What begins a transaction through a pooler: one message, so one round trip.
fn begin(connection: &Connection) -> Option<Arc<str>> {
    match connection.pooler {
        Pooler::None => None,
        Pooler::Transaction => {
            let settings: Vec<String> = settings(connection)
                .into_iter()
                .map(|(name, value)| format!("set local {name} = '{value}'"))
                .collect();
            let settings = settings.join("; ");
            Some(format!("-- store::begin\nbegin; {settings}").into())
        }
    }
}

/// Connections, and how a statement is run on them. `&Pool` runs a single statement, which is
/// committed when its result is there.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    connections: PgPool,
    begin: Option<Arc<str>>,
}

impl Pool {
    /// Makes no connection yet.
    pub(super) fn new(
        connection: &Connection,
        options: PgConnectOptions,
        connections_max: u32,
    ) -> Self {
        let pool = PgPoolOptions::new().max_connections(connections_max);
        Self::of(pool, connection, options)
    }

    /// As [`Pool::new`], but once [`Pool::fill`] has opened the connections, they are kept.
    pub(super) fn kept(connection: &Connection, options: PgConnectOptions, count: u32) -> Self {
        let pool = PgPoolOptions::new().max_connections(count);
        Self::of(
            pool.idle_timeout(None).max_lifetime(None),
            connection,
            options,
        )
    }

    fn of(pool: PgPoolOptions, connection: &Connection, options: PgConnectOptions) -> Self {
        Self {
            connections: pool
                .acquire_timeout(connection.timeout)
                .connect_lazy_with(options),
            begin: begin(connection),
        }
    }

    /// Opens all connections.
    pub(super) async fn fill(&self) -> Result<(), Error> {
        let count = self.connections.options().get_max_connections();
        let open = (0..count).map(|_| self.connections.acquire());
        future::try_join_all(open).await.map(drop)
    }

    /// Begins a transaction of several statements.
    pub(super) async fn begin(&self) -> Result<Tx, Error> {
        let transaction = match &self.begin {
            None => self.connections.begin().await?,
            Some(begin) => {
                let begin = AssertSqlSafe(Arc::clone(begin));
                self.connections.begin_with(begin).await?
            }
        };
        Ok(Tx {
            transaction,
            is_named: self.begin.is_none(),
        })
    }

    pub(super) fn pooler(&self) -> Pooler {
        match self.begin {
            None => Pooler::None,
            Some(_) => Pooler::Transaction,
        }
    }

    pub(super) fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.connections.connect_options()
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

/// A transaction. Dropped without a commit, it is rolled back.
#[derive(Debug)]
pub(super) struct Tx {
    transaction: Transaction<'static, Postgres>,
    is_named: bool,
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await
    }
}

/// A statement on its way: its name, and whether it is prepared under one, which is only where that will be found
/// again.
struct Statement {
    sql: SqlStr,
    prepared: Option<PgStatement>,
    arguments: Result<Option<PgArguments>, BoxDynError>,
    is_persistent: bool,
}

impl Statement {
    fn of<'q>(mut query: impl Execute<'q, Postgres>, may_be_named: bool) -> (Self, Timed) {
        let is_persistent = may_be_named && query.persistent();
        let prepared = query.statement().cloned();
        let arguments = query.take_arguments();
        let sql = query.sql();
        let timed = Timed {
            name: name_of(sql.as_str()).to_owned(),
            started: Instant::now(),
        };
        let statement = Self {
            sql,
            prepared,
            arguments,
            is_persistent,
        };
        (statement, timed)
    }
}

impl Execute<'_, Postgres> for Statement {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.prepared.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        std::mem::replace(&mut self.arguments, Ok(None))
    }

    fn persistent(&self) -> bool {
        self.is_persistent
    }
}

/// Each statement of ours begins with its name.
fn name_of(sql: &str) -> &str {
    let first = sql.trim_start().lines().next().unwrap_or_default();
    let name = first
        .strip_prefix("-- ")
        .and_then(|it| it.split_whitespace().next());
    name.map_or("without a name", |name| name.trim_end_matches(':'))
}

/// Longer than any statement should take, the wait for a connection included.
const SLOW: Duration = Duration::from_secs(1);

/// A statement under way. One that took long is named in the log; its text may fill a screen.
struct Timed {
    name: String,
    started: Instant,
}

impl Drop for Timed {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if took >= SLOW {
            let statement = &self.name;
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            warn!(
                event = "slow_statement",
                statement,
                took_ms,
                "{statement} took {took_ms} ms, the wait for a connection included"
            );
        }
    }
}

type Answer = Either<PgQueryResult, PgRow>;

/// A statement that is prepared now and run later is what a pooler does not carry.
macro_rules! refuses_ahead {
    ($life:lifetime) => {
        fn prepare_with<'e>(
            self,
            _sql: SqlStr,
            _parameters: &'e [PgTypeInfo],
        ) -> BoxFuture<'e, Result<PgStatement, Error>>
        where
            $life: 'e,
        {
            Box::pin(future::err(Error::Protocol(NOT_AHEAD.to_owned())))
        }

        fn describe<'e>(self, _sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
        where
            $life: 'e,
        {
            Box::pin(future::err(Error::Protocol(NOT_AHEAD.to_owned())))
        }
    };
}

const NOT_AHEAD: &str = "the store prepares no statement ahead of running it";

impl<'c> Executor<'c> for &'c Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Answer, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (statement, timed) = Statement::of(query, self.begin.is_none());
        if self.begin.is_none() {
            return timing(self.connections.fetch_many(statement), timed);
        }
        let answers = async move {
            let mut tx = self.begin().await?;
            let answers: Vec<Answer> = tx.transaction.fetch_many(statement).try_collect().await?;
            tx.commit().await?;
            drop(timed);
            Ok(stream::iter(answers.into_iter().map(Ok)))
        };
        Box::pin(answers.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (statement, timed) = Statement::of(query, self.begin.is_none());
        Box::pin(async move {
            let _timed = timed;
            if self.begin.is_none() {
                return self.connections.fetch_optional(statement).await;
            }
            let mut tx = self.begin().await?;
            let row = tx.transaction.fetch_optional(statement).await?;
            tx.commit().await?;
            Ok(row)
        })
    }

    refuses_ahead!('c);
}

impl<'c> Executor<'c> for &'c mut Tx {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Answer, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (statement, timed) = Statement::of(query, self.is_named);
        timing(self.transaction.fetch_many(statement), timed)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (statement, timed) = Statement::of(query, self.is_named);
        Box::pin(async move {
            let _timed = timed;
            self.transaction.fetch_optional(statement).await
        })
    }

    refuses_ahead!('c);
}

/// Answers, timed until the last of them has been taken.
fn timing(
    answers: BoxStream<'_, Result<Answer, Error>>,
    timed: Timed,
) -> BoxStream<'_, Result<Answer, Error>> {
    let until_then = stream::once(future::lazy(move |_| drop(timed)));
    let end = until_then.filter_map(|()| future::ready(None));
    Box::pin(answers.chain(end))
}
