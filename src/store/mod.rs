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
mod error;
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

use std::io;
use std::time::Duration;

use crate::store::session::Pool;

pub use attempts::{ClaimLimits, Claimed, Position};
pub use audit::{FindingRow, MissingPayment, OpenFindings, Run, Stage};
pub use backlog::{Backlog, Locker, ServerClock};
pub use connectivity::Server;
pub use delivery::{Attempted, Became, Delivery, Letter};
pub use earlier::Earlier;
pub use error::StoreError;
pub use first_payment::{FirstBegun, FirstPayment};
pub use notices::NoticeCursor;
pub use one_off::OneOffBegun;
pub use payment::KeyUse;
pub use rate_limit::Slots;
pub use recheck::Rechecked;
pub use refund::{BookRefund, OpenRefund, RefundBegun, RefundKey, RefundRecord, RefundState};
pub use schema::{Migrated, SchemaState};
pub use session::{Connection, Pooler};
pub use standstill::Stop;
pub use subscription::{ForecastRow, Named, VerbCall, VerbRefused};
pub use webhook_endpoint::{AttemptShown, EndpointRow, Replay, Verdict};

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
    /// For outcomes alone: whatever else waits for a connection, what happened is written down.
    recording: Pool,
    /// For webhooks: however many endpoints there are, they take no connection from charges, but where there are few in all.
    delivery: Pool,
    limit: Duration,
}

/// Connections that write outcomes; two, so that a retry does not wait for the next batch.
const RECORDING_CONNECTIONS: u32 = 2;

/// Connections for webhooks, made when the first one is needed.
const DELIVERY_CONNECTIONS: u32 = 2;

/// Fewest connections that a daemon can work with: those for outcomes, and one for all else.
pub const CONNECTIONS_MIN: u32 = RECORDING_CONNECTIONS + 1;

impl Store {
    /// Prepares connections, but makes none yet: a database that is down is met by the first call.
    pub fn new(connection: &Connection) -> Result<Self, StoreError> {
        let options = session::options(connection)?;
        let rest = connection
            .connections_max
            .saturating_sub(RECORDING_CONNECTIONS);
        // Where there are few, webhooks have none of their own.
        let own = if rest > 2 * DELIVERY_CONNECTIONS {
            DELIVERY_CONNECTIONS
        } else {
            0
        };
        let pool = Pool::new(connection, options.clone(), rest.saturating_sub(own).max(1));
        Ok(Self {
            delivery: match own {
                0 => pool.clone(),
                own => Pool::new(connection, options.clone(), own),
            },
            pool,
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
    /// takes this process's files or the server's connections later, what happened is written down.
    pub async fn hold_recording(&self) -> Result<(), StoreError> {
        match self.within(self.recording.fill()).await {
            Err(StoreError::TooSlow(_) | StoreError::Unavailable(sqlx::Error::Io(_))) => {
                Err(StoreError::Unavailable(sqlx::Error::Io(io::Error::other(
                    "the connections that outcomes are written over can't be had, and nothing is begun without them: \
                     the database is away, or the server gives no more (a connection limit of the user or the \
                     database, max_connections)",
                ))))
            }
            held => held,
        }
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
