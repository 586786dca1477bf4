//! What the merchant and the operator of the demo type into psql.
//!
//! These are statements of the product's users, so they don't belong to the store.

use anyhow::Context;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};

/// The merchant's subscriptions.
pub(super) const BOOK: &str = include_str!("book.sql");
/// Those that are under way when the daemon is killed.
pub(super) const RUSH: &str = include_str!("rush.sql");
/// Counts the periods that fell due and have no debt.
pub(super) const SKIPPED: &str = include_str!("skipped.sql");

/// The attempts whose fate is proved.
pub(super) const FINISHED: &str =
    "select merchant_uid from billd.charge_attempt where finished_at is not null";
/// How many subscriptions are due, or have an attempt whose fate is open.
pub(super) const UNDER_WAY: &str = "
    select count(*) from billd.subscription
    where open_attempt is not null or recheck
       or (state = 'active' and next_charge_at <= billd.now())";

/// A session at the database.
#[derive(Debug, Clone)]
pub(super) struct Book(PgPool);

impl Book {
    pub(super) fn open(url: &str) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(4);
        Ok(Self(pool.connect_lazy(url)?))
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    /// Runs one or more statements; returns the rows as psql shows them.
    pub(super) async fn rows(&self, statements: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let rows = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        let rows = rows.fetch_all(&self.0).await;
        let rows = rows.with_context(|| format!("couldn't run {statements}"))?;
        let cell = |row: &sqlx::postgres::PgRow, at| {
            let text = row.try_get_unchecked::<Option<String>, _>(at)?;
            anyhow::Ok(text.unwrap_or_default())
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|at| cell(row, at)).collect())
            .collect()
    }

    /// The first column of a query.
    pub(super) async fn words(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let rows = self.rows(query).await?.into_iter();
        Ok(rows.filter_map(|row| row.into_iter().next()).collect())
    }

    /// The only number of a query.
    pub(super) async fn number(&self, query: &str) -> anyhow::Result<i64> {
        let words = self.words(query).await?;
        Ok(words.first().context("a row is missing")?.parse()?)
    }

    /// Sets billd's clock.
    pub(super) async fn set_clock(&self, to: &str) -> anyhow::Result<()> {
        let shift = format!("timestamptz '{to}+09' - statement_timestamp()");
        let update = format!("update billd.control set clock_shift = {shift}");
        self.rows(&update).await.map(drop)
    }
}
