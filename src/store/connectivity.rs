//! Whether the database can be reached as the settings say, asked before any work begins.

use sqlx::{Connection as _, PgConnection};

use crate::store::session::Pooler;
use crate::store::{Store, StoreError};

const UNEXPECTED_POOLER: &str = "there is a pooler between billd and PostgreSQL that does not keep \
     what it is told; set database.pooler to \"transaction\", or let database.url name PostgreSQL \
     itself";

const NO_SESSION: &str = "migrations need a connection of their own for as long as they take, which \
     a pooler does not give; for this command set database.pooler to \"none\" and let database.url \
     name PostgreSQL itself";

/// What answers at the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// PostgreSQL's.
    pub version: String,
    /// Most connections that it gives our user.
    pub connections_max: u32,
}

impl Store {
    /// Connects once, outside the pool, and looks at the server. Unlike the pool, which
    /// waits and tries again, this says at once what is wrong with an address or a password, and
    /// that there is a pooler which the settings do not speak of.
    pub async fn server(&self) -> Result<Server, StoreError> {
        let mut connection = match self.connect_once().await {
            Err(StoreError::Unavailable(source)) => {
                let place = self.place();
                return Err(StoreError::Unreachable { place, source });
            }
            connected => connected?,
        };
        // Unprepared, so that it says the same through whatever stands in between.
        let statement = sqlx::raw_sql(
            "-- store::server
            select current_setting('server_version') as version,
                (select least(nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1))
                 from pg_roles r, pg_database d
                 where r.rolname = current_user and d.datname = current_database() and not r.rolsuper) as given,
                current_setting('plan_cache_mode') = 'force_custom_plan'
                    and current_setting('enable_seqscan') = 'off'
                    and current_setting('jit') = 'off'
                    and current_setting('lock_timeout') <> '0'
                    and current_setting('statement_timeout') <> '0' as is_set",
        )
        .fetch_one(&mut connection);
        let row = self.within(statement).await?;
        self.within(connection.close()).await?;
        let (version, given, is_set): (String, Option<i32>, bool) = sqlx::FromRow::from_row(&row)?;
        let given = given.and_then(|given| u32::try_from(given).ok());
        match self.pool.pooler() {
            Pooler::None if !is_set => Err(StoreError::Pooler(UNEXPECTED_POOLER)),
            Pooler::None => Ok(Server {
                version,
                connections_max: given.unwrap_or(u32::MAX),
            }),
            // What stands between shares its own among us.
            Pooler::Transaction => Ok(Server {
                version,
                connections_max: u32::MAX,
            }),
        }
    }

    /// Fails unless a connection is a session, which migrations need: nothing else in billd does.
    pub async fn require_session(&self) -> Result<(), StoreError> {
        if self.pool.pooler() != Pooler::None {
            return Err(StoreError::Pooler(NO_SESSION));
        }
        self.require_own_servers().await
    }

    /// Fails if there is a pooler in transaction mode that the settings do not speak of: of two
    /// connections that are open at once each has a server process of its own, or else there is one.
    pub async fn require_own_servers(&self) -> Result<(), StoreError> {
        if self.pool.pooler() != Pooler::None {
            return Ok(());
        }
        let mut one = self.connect_once().await?;
        let mut other = self.connect_once().await?;
        let is_shared =
            server_process(self, &mut one).await? == server_process(self, &mut other).await?;
        self.within(one.close()).await?;
        self.within(other.close()).await?;
        if is_shared {
            Err(StoreError::Pooler(UNEXPECTED_POOLER))
        } else {
            Ok(())
        }
    }

    async fn connect_once(&self) -> Result<PgConnection, StoreError> {
        let options = self.pool.connect_options();
        let connecting = async { Ok(PgConnection::connect_with(&options).await) };
        match self.within(connecting).await? {
            Ok(connection) => Ok(connection),
            Err(error) if is_turned_away(&error) => Err(StoreError::Pooler(UNEXPECTED_POOLER)),
            Err(error) => Err(error.into()),
        }
    }
}

async fn server_process(store: &Store, connection: &mut PgConnection) -> Result<i32, StoreError> {
    let statement = sqlx::raw_sql(
        "-- store::server_process
        select pg_backend_pid()",
    )
    .fetch_one(connection);
    let row = store.within(statement).await?;
    let (process,) = sqlx::FromRow::from_row(&row)?;
    Ok(process)
}

/// What PgBouncer says to settings in a greeting; PostgreSQL never does.
fn is_turned_away(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("08P01")
            && error.message().contains("unsupported startup parameter")
    })
}
