//! Everything that is written in SQL.
//!
//! Each statement is named in its first line, so `pg_stat_activity` and slow-query logs say which
//! it is. No transaction outlives a method of [`Store`], so none can be open across a call to the
//! gateway. Every call has a time limit; one that passes it proves nothing, and every statement
//! here may be run again.

mod answers;
mod attempts;
mod audit;
mod hints;
mod pulse;
mod recheck;
mod rows;
mod schema;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

pub use attempts::{ClaimLimits, Claimed};
pub use audit::{FindingRow, OpenFindings, Run, Stage, Unseen};
pub use pulse::{Pulse, ServerClock};
pub use recheck::Rechecked;
pub use schema::SchemaState;

/// Why a statement did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, went away, or is too busy: the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// No answer within the time limit. The statement may have been carried out.
    #[error("the database did not answer within {0:?}")]
    TooSlow(Duration),
    /// The database refused the statement: repeating it can't help.
    #[error("the database refused the statement")]
    Refused(#[source] sqlx::Error),
    /// A row breaks a promise that the schema makes.
    #[error("a row breaks a promise of the schema: {0}")]
    Corrupt(String),
    /// Migrations could not be read or applied.
    #[error("the migrations can't be applied")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The database URL can't be understood.
    #[error("the database URL can't be understood")]
    Url(#[source] sqlx::Error),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::TooSlow(_) => true,
            Self::Refused(_) | Self::Corrupt(_) | Self::Migration(_) | Self::Url(_) => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let refused = if let sqlx::Error::Database(answer) = &error {
            answer.code().is_some_and(|code| !passes(&code))
        } else {
            // Of the client's own errors these speak of the statement, all others of the connection.
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
        };
        if refused {
            Self::Refused(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

/// SQLSTATE classes that speak of the server's condition, not of the statement.
fn passes(code: &str) -> bool {
    // Connection, transaction rollback (deadlock, serialization), resources, operator intervention,
    // system error; and a lock or statement time-out.
    ["08", "40", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "55P03"
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    limit: Duration,
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `postgres://user:password@host/database`.
    pub url: secrecy::SecretString,
    /// Most connections of this process.
    pub connections_max: u32,
    /// How long a statement, or waiting for a connection, may take.
    pub timeout: Duration,
}

impl Store {
    /// Prepares connections, but makes none yet: a database that is down is met by the first call.
    pub fn new(connection: &Connection) -> Result<Self, StoreError> {
        use secrecy::ExposeSecret;
        let options: PgConnectOptions = connection
            .url
            .expose_secret()
            .parse()
            .map_err(StoreError::Url)?;
        // A plan made while a table was small must not outlive that; the statements are large
        // batches, so planning each of them costs little.
        let options = options
            .application_name("billd")
            .options([("plan_cache_mode", "force_custom_plan")]);
        let pool = PgPoolOptions::new()
            .max_connections(connection.connections_max)
            .acquire_timeout(connection.timeout)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            limit: connection.timeout,
        })
    }

    /// Connects once, outside the pool, and asks for the server's version. Unlike the pool, which
    /// waits and tries again, this says at once what is wrong with an address or a password.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        let options = self.pool.connect_options();
        self.within(async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let version = sqlx::query_scalar!(
                r#"-- store::server_version
                select current_setting('server_version') as "version!""#
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok(version)
        })
        .await
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
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
