//! The figures that tell how the book is doing.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::SubscriptionId;
use crate::store::rows::seconds;
use crate::store::{Store, StoreError};

/// How the book is doing, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Subscriptions that are due and not in anybody's hands; counted up to [`Backlog::COUNT_MAX`].
    pub due: u64,
    /// For how long the longest of them has been waiting.
    pub due_age_oldest: Duration,
    /// Attempts under way: begun, outcome not recorded.
    pub started: u64,
    /// Attempts and refunds whose fate is unknown.
    pub unknown: u64,
    /// The age of the oldest of them.
    pub unknown_age_oldest: Duration,
    /// Those among the unknown that wait for a person.
    pub parked: u64,
}

impl Backlog {
    /// Counting stops here, so that taking the pulse of a large backlog stays cheap.
    pub const COUNT_MAX: u64 = 100_000;
}

/// What `check` asks the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerClock {
    /// PostgreSQL's time.
    pub server: Timestamp,
    /// How far billd's clock has been moved ahead of it. Zero in production.
    pub shift: Duration,
}

/// A session that has rows locked that wait for billd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locker {
    /// Its process; none for a prepared transaction.
    pub pid: Option<i32>,
    /// Its role and program.
    pub who: String,
    /// How many rows.
    pub rows: u64,
    /// One of them.
    pub subscription: SubscriptionId,
}

impl Store {
    /// Whether a commit of ours waits for a synchronous stand-by, and has for a while.
    pub async fn waits_for_standby(&self) -> Result<bool, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::waits_for_standby
            select exists (
                select from pg_stat_activity
                where usename = current_user and wait_event = 'SyncRep' and query_start < clock_timestamp() - interval '2 s'
            ) as "waits!""#
        )
        .fetch_one(&self.pool);
        self.within(statement).await
    }

    /// Who has had rows locked, for more than a minute, that are due or wait to be asked about.
    pub async fn lockers(&self) -> Result<Vec<Locker>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::lockers
            select r.pid, concat_ws(', ', min(r.role), min(r.program)) as "who!", count(*) as "rows!",
                (min(r.subscription_id::text))::uuid as "subscription!"
            from billd.locked_row r
            group by r.pid
            order by 3 desc
            limit 20"#
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        Ok(rows
            .into_iter()
            .map(|row| Locker {
                pid: row.pid,
                who: row.who,
                rows: u64::try_from(row.rows).unwrap_or_default(),
                subscription: SubscriptionId(row.subscription),
            })
            .collect())
    }

    /// Takes the pulse of the book.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::backlog
            with clock as materialized (
                select billd.now() as now
            ),
            -- What is under way is still due, and bears the mark of its claim.
            due as (
                select
                    count(*) filter (where open_attempt is null) as rows,
                    count(open_attempt) as started,
                    min(next_charge_at) filter (where open_attempt is null) as oldest
                from (
                    select s.next_charge_at, s.open_attempt
                    from billd.subscription s
                    where s.state = 'active' and s.next_charge_at <= (select now from clock)
                    order by s.next_charge_at
                    limit 100000
                ) bounded
            ),
            open as (
                select
                    count(*) filter (where state = 'started') as started,
                    count(*) filter (where state = 'unknown') as unknown,
                    count(*) filter (where parked_at is not null) as parked,
                    min(started_at) filter (where state = 'unknown') as oldest
                from (
                    (select state, parked_at, started_at
                    from billd.charge_attempt
                    where ask_at is not null
                    order by ask_at
                    limit 100000)
                    union all
                    select state, parked_at, started_at
                    from billd.refund
                    where state in ('started', 'unknown')
                ) bounded
            )
            select
                due.rows as "due!",
                greatest(0, extract(epoch from now - due.oldest))::float8 as due_age,
                due.started + open.started as "started!",
                open.unknown as "unknown!",
                open.parked as "parked!",
                greatest(0, extract(epoch from now - open.oldest))::float8 as unknown_age
            from clock, due, open"#
        )
        .fetch_one(&self.pool);
        let row = self.within(statement).await?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(Backlog {
            due: count(row.due),
            due_age_oldest: row.due_age.map(seconds).unwrap_or_default(),
            started: count(row.started),
            unknown: count(row.unknown),
            unknown_age_oldest: row.unknown_age.map(seconds).unwrap_or_default(),
            parked: count(row.parked),
        })
    }

    /// Reads PostgreSQL's clock and how far billd's has been moved ahead of it.
    pub async fn server_clock(&self) -> Result<ServerClock, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::server_clock
            select
                clock_timestamp() as "server!: jiff_sqlx::Timestamp",
                extract(epoch from clock_shift)::float8 as "shift!"
            from billd.control"#
        )
        .fetch_one(&self.pool);
        let row = self.within(statement).await?;
        Ok(ServerClock {
            server: row.server.to_jiff(),
            shift: seconds(row.shift),
        })
    }
}
