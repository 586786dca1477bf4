//! What the merchant and the operator of the demo type into psql.
//!
//! These are statements of the product's users, so they don't belong to the store.

use anyhow::Context;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row};

/// The merchant's subscriptions.
pub(super) const BOOK: &str = include_str!("book.sql");
/// Those that are under way when the daemon is killed.
pub(super) const RUSH: &str = include_str!("rush.sql");
const SKIPPED: &str = include_str!("skipped.sql");

/// The book as people see it.
const OVERVIEW: &str = "
    select coalesce(buyer_name, name), name, customer_uid, amount::text,
           to_char(next_charge_at at time zone time_zone, 'FMDD FMMonth, HH24:MI'), interval_unit
    from billd.subscription order by buyer_name";

/// What the book is like in the end.
const OUTCOMES: &str = "
    select s.buyer_name, s.state, count(a.*) filter (where a.state = 'paid'),
           coalesce(sum(a.amount) filter (where a.state = 'paid'), 0)::bigint,
           count(a.*) filter (where a.state = 'declined'),
           coalesce(to_char(s.next_charge_at at time zone s.time_zone, 'FMDD FMMonth YYYY'), '–')
    from billd.subscription s
    left join billd.charge_attempt a on a.subscription_id = s.id
    where s.customer_uid not like 'rush-%'
    group by s.id order by s.buyer_name";

const UNDER_WAY: &str = "
    select count(*) from billd.subscription
    where open_attempt is not null or recheck
       or (state = 'active' and next_charge_at <= billd.now())";

/// One attempt of the book, as the audit compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) merchant_uid: String,
    pub(super) customer_uid: String,
    pub(super) amount: i64,
    pub(super) state: String,
    /// Subscription and period.
    pub(super) debt: String,
}

/// An attempt and what follows from it, in words.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) name: String,
    pub(super) amount: i64,
    pub(super) reason: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) next_day: String,
    pub(super) next_time: String,
}

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

    /// Runs one or more statements.
    pub(super) async fn run(&self, statements: &str) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.0)
            .await
            .with_context(|| format!("couldn't run {statements}"))?;
        Ok(())
    }

    pub(super) async fn rows(&self, query: &str) -> anyhow::Result<Vec<PgRow>> {
        sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
            .fetch_all(&self.0)
            .await
            .with_context(|| format!("couldn't run {query}"))
    }

    async fn row(&self, query: &str) -> anyhow::Result<PgRow> {
        let rows = self.rows(query).await?;
        rows.into_iter().next().context("a row is missing")
    }

    /// The only number of a query.
    pub(super) async fn number(&self, query: &str) -> anyhow::Result<i64> {
        Ok(self.row(query).await?.try_get(0)?)
    }

    /// The first column of a query.
    pub(super) async fn words(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let rows = self.rows(query).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Sets billd's clock.
    pub(super) async fn set_clock(&self, to: &str) -> anyhow::Result<()> {
        self.run(&format!(
            "update billd.control set clock_shift = timestamptz '{to}+09' - statement_timestamp()"
        ))
        .await
    }

    /// How many subscriptions are due, or have an attempt whose fate is open.
    pub(super) async fn under_way(&self) -> anyhow::Result<i64> {
        self.number(UNDER_WAY).await
    }

    /// The attempts whose fate is proved.
    pub(super) async fn finished(&self) -> anyhow::Result<Vec<String>> {
        self.words("select merchant_uid from billd.charge_attempt where finished_at is not null")
            .await
    }

    /// Periods that fell due and have no debt.
    pub(super) async fn skipped(&self) -> anyhow::Result<i64> {
        self.number(SKIPPED).await
    }

    /// One attempt, and what follows from it. A number of billd's holds letters and digits only.
    pub(super) async fn charge(&self, merchant_uid: &str) -> anyhow::Result<Charge> {
        anyhow::ensure!(
            merchant_uid.chars().all(|one| one.is_ascii_alphanumeric()),
            "{merchant_uid} is no merchant_uid of billd's"
        );
        let row = self
            .row(&format!(
                "select coalesce(s.buyer_name, s.name), a.amount, coalesce(a.reason, ''),
                        coalesce('[' || a.code || ']', ''), coalesce(a.message, ''),
                        to_char(s.next_charge_at at time zone s.time_zone, 'FMDD FMMonth YYYY'),
                        to_char(s.next_charge_at at time zone s.time_zone, 'FMDD FMMonth, HH24:MI')
                 from billd.charge_attempt a
                 join billd.subscription s on s.id = a.subscription_id
                 where a.merchant_uid = '{merchant_uid}'"
            ))
            .await?;
        let text = |column: usize| row.try_get::<Option<String>, _>(column);
        Ok(Charge {
            name: row.try_get(0)?,
            amount: row.try_get(1)?,
            reason: row.try_get(2)?,
            code: row.try_get(3)?,
            message: row.try_get(4)?,
            next_day: text(5)?.unwrap_or_default(),
            next_time: text(6)?.unwrap_or_default(),
        })
    }

    /// All attempts.
    pub(super) async fn attempts(&self) -> anyhow::Result<Vec<Attempt>> {
        let rows = self
            .rows(
                "select merchant_uid, customer_uid, amount, state, subscription_id || ' ' || period
                 from billd.charge_attempt",
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Attempt {
                    merchant_uid: row.try_get(0)?,
                    customer_uid: row.try_get(1)?,
                    amount: row.try_get(2)?,
                    state: row.try_get(3)?,
                    debt: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// Every subscription: person, product, card, amount, first charge, interval.
    pub(super) async fn overview(&self) -> anyhow::Result<Vec<PgRow>> {
        self.rows(OVERVIEW).await
    }

    /// Every subscription of the first act: person, state, payments, sum, declines, next charge.
    pub(super) async fn outcomes(&self) -> anyhow::Result<Vec<PgRow>> {
        self.rows(OUTCOMES).await
    }
}
