//! Everything that is written in SQL.
//!
//! Each statement is named in its first line, so `pg_stat_activity` and slow-query logs say which
//! it is. No transaction outlives a method of [`Store`], so none can be open across a call to the
//! gateway. Every call has a time limit; one that passes it proves nothing, and every statement
//! here may be run again.

mod answers;
mod attempts;
mod audit;
mod backlog;
mod connectivity;
mod delivery;
mod earlier;
mod events;
mod first_payment;
mod lookup_requests;
mod notices;
mod one_off;
mod payment;
mod rate_limit;
mod recheck;
mod refund;
mod routines;
mod rows;
mod schema;
mod session;
mod standstill;
mod subscription;
mod webhook_endpoint;

use std::time::Duration;

use crate::store::session::Pool;

pub use attempts::{ClaimLimits, Claimed, Position};
pub use audit::{FindingRow, MissingPayment, OpenFindings, Run, Stage};
pub use backlog::{Backlog, Locker, ServerClock};
pub use delivery::{Attempted, Became, Delivery, Letter};
pub use earlier::Earlier;
pub use first_payment::{FirstBegun, FirstPayment};
pub use notices::NoticeCursor;
pub use one_off::OneOffBegun;
pub use payment::KeyUse;
pub use rate_limit::Slots;
pub use recheck::Rechecked;
pub use refund::{BookRefund, OpenRefund, RefundBegun, RefundKey, RefundRecord, RefundState};
pub use schema::{Migrated, SchemaState};
pub use session::Pooler;
pub use standstill::{Reason, Standstill, Stop};
pub use subscription::{ForecastRow, Named, VerbCall, VerbRefused};
pub use webhook_endpoint::{AttemptShown, EndpointRow, Replay, Verdict};

/// Why a statement did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, went away, or won't serve us now: the same call may succeed
    /// later, whatever it says.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The role that billd connects as lacks a right. It may be given, so an outcome waits for that.
    #[error(
        "the database user lacks a right that billd needs; `billd check` says what else is missing"
    )]
    Denied(#[source] sqlx::Error),
    /// A row is locked by somebody else for too long, or the server is too slow: the same call may
    /// succeed later, and a smaller one sooner.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// No answer within the time limit. The statement may have been carried out.
    #[error("the database did not answer within {0:?}")]
    TooSlow(Duration),
    /// The database refused what the statement says: repeating it can't help.
    #[error("the database refused the statement")]
    Refused(#[source] sqlx::Error),
    /// The book doesn't charge at present: nothing was begun.
    #[error("nothing was begun: {0}")]
    OnHold(Standstill),
    /// It would pass a ceiling: nothing was begun.
    #[error("{0}")]
    Ceiling(String),
    /// A row breaks a promise that the schema makes.
    #[error("a row breaks a promise of the schema: {0}")]
    Corrupt(String),
    /// Migrations could not be read or applied.
    #[error("the migrations can't be applied")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The database URL can't be understood.
    #[error("the database URL can't be understood")]
    Url(#[source] sqlx::Error),
    /// What is asked for can't go through what stands between us and the database.
    #[error("{0}")]
    Pooler(&'static str),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_)
            | Self::Denied(_)
            | Self::Busy(_)
            | Self::TooSlow(_)
            | Self::OnHold(_) => true,
            Self::Refused(_)
            | Self::Ceiling(_)
            | Self::Corrupt(_)
            | Self::Migration(_)
            | Self::Url(_)
            | Self::Pooler(_) => false,
        }
    }

    /// Whether one row may be what holds up a batch of them.
    pub fn is_about_rows(&self) -> bool {
        match self {
            Self::Busy(_) | Self::TooSlow(_) | Self::Refused(_) | Self::Corrupt(_) => true,
            Self::Unavailable(_)
            | Self::Denied(_)
            | Self::OnHold(_)
            | Self::Ceiling(_)
            | Self::Migration(_)
            | Self::Url(_)
            | Self::Pooler(_) => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        let is_refused = match code.as_deref() {
            // The lock or the statement took too long.
            Some("55P03" | "57014") => return Self::Busy(error),
            Some(CEILING) => {
                let message = error.as_database_error().map(|it| it.message().to_owned());
                return Self::Ceiling(message.unwrap_or_default());
            }
            Some("42501") => return Self::Denied(error),
            Some(code) => speaks_of_the_row(code),
            None => is_our_own(&error),
        };
        if is_refused {
            Self::Refused(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

/// `billd_internal.count_asked` would pass a ceiling.
const CEILING: &str = "BL001";

/// SQLSTATE classes that speak of the rows: cardinality, data, constraints, views with check, and
/// `raise` of a trigger. All others (a server that is read-only, a password that was changed, a
/// deadlock) speak of the server's condition, and an outcome must outlast that.
fn speaks_of_the_row(code: &str) -> bool {
    ["21", "22", "23", "44", "P0"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// Whether a value could not be computed with, and nothing else is wrong.
fn is_data_exception(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    let code = error.and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("22"))
}

/// Errors of the client's own that speak of the statement; all others speak of the connection.
fn is_our_own(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
    )
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
    /// For outcomes alone: whatever else waits for a connection, what happened is written down.
    recording: Pool,
    /// For webhooks alone: however many endpoints there are, they take no connection from charges.
    delivery: Pool,
    limit: Duration,
}

/// Connections that write outcomes; two, so that a retry does not wait for the next batch.
const RECORDING_CONNECTIONS: u32 = 2;

/// Connections for webhooks, made when the first one is needed.
const DELIVERY_CONNECTIONS: u32 = 2;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `postgres://user:password@host/database`.
    pub url: secrecy::SecretString,
    /// What stands between here and there.
    pub pooler: Pooler,
    /// The merchant account behind the gateway's key, which a session says to the book (law 16).
    pub account: Option<String>,
    /// Most connections of this process.
    pub connections_max: u32,
    /// How long a statement, or waiting for a connection, may take.
    pub timeout: Duration,
}

impl Store {
    /// Prepares connections, but makes none yet: a database that is down is met by the first call.
    pub fn new(connection: &Connection) -> Result<Self, StoreError> {
        let options = session::options(connection)?;
        Ok(Self {
            pool: Pool::new(connection, options.clone(), connection.connections_max),
            delivery: Pool::new(connection, options.clone(), DELIVERY_CONNECTIONS),
            recording: Pool::kept(connection, options, RECORDING_CONNECTIONS),
            limit: connection.timeout,
        })
    }

    /// Where the database is looked for.
    pub fn place(&self) -> String {
        let options = self.pool.connect_options();
        match options.get_socket() {
            Some(folder) => format!("{}, port {}", folder.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }

    /// Opens the connections that outcomes are written over. To be called before anything is charged: whatever
    /// takes this process's files later, what happened is written down.
    pub async fn hold_recording(&self) -> Result<(), StoreError> {
        self.within(self.recording.fill()).await
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
        self.recording.close().await;
        self.delivery.close().await;
    }

    /// Runs a statement within the time limit.
    async fn within<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.limit, statement).await {
            Ok(result) => Ok(result?),
            Err(_elapsed) => Err(StoreError::TooSlow(self.limit)),
        }
    }
}
