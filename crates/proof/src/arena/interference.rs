//! What others do to a database while daemons work on it.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::lane::{Database, Lane, OPERATOR};

/// A transaction that still sees the book as it was. Dropping it ends it.
#[derive(Debug)]
pub struct OldSnapshot(PgConnection);

impl OldSnapshot {
    /// The only value of a query, as text, as the snapshot sees it.
    pub async fn text(&mut self, query: &str) -> anyhow::Result<Option<String>> {
        let query = AssertSqlSafe(format!("select ({query})::text"));
        Ok(sqlx::raw_sql(query).fetch_one(&mut self.0).await?.get(0))
    }
}

/// Connections that do nothing but be there. Dropping them lets others in.
#[derive(Debug)]
pub struct Crowd(Vec<PgConnection>);

impl Crowd {
    /// How many there are.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl Lane {
    /// Opens a transaction that keeps old row versions from being removed, until it is dropped.
    pub async fn pin_old_snapshot(&self, database: &Database) -> anyhow::Result<OldSnapshot> {
        let mut connection = self.connect_as(OPERATOR, database).await?;
        // A snapshot is taken by the first statement that reads.
        for statement in [
            "begin isolation level repeatable read",
            "select count(*) from billd.subscription",
        ] {
            sqlx::raw_sql(statement).execute(&mut connection).await?;
        }
        Ok(OldSnapshot(connection))
    }

    /// Cuts the connections of a role at the server. Returns how many there were.
    pub async fn terminate_backends(&self, role: &str) -> anyhow::Result<usize> {
        let mut connection = self.connect_to("postgres").await?;
        let role = role.replace('\'', "''");
        let query = AssertSqlSafe(format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
        ));
        Ok(sqlx::raw_sql(query).fetch_all(&mut connection).await?.len())
    }

    /// Takes every connection that is free, until they are dropped. The harness itself still gets
    /// in: some are kept for superusers.
    pub async fn exhaust_connections(&self, database: &Database) -> anyhow::Result<Crowd> {
        let mut crowd = Vec::new();
        loop {
            match self.connect_as(OPERATOR, database).await {
                Ok(connection) => crowd.push(connection),
                Err(error) if is_full(&error) => return Ok(Crowd(crowd)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// SQLSTATE 53300: "too many clients", or only superusers may still enter.
fn is_full(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "53300")
}
