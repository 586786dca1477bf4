//! Whether the book charges at all: the switch, its home, its clock, a fail-over. Each claim asks within its own
//! statement (`billd_internal.may_charge`); here it is said to people.

use jiff::Timestamp;

use crate::domain::standstill::{Reason, Standstill};
use crate::store::rows::{corrupt, seconds};
use crate::store::{Store, StoreError};

/// A time during which charging was, or is, switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Why, as whoever switched it off said.
    pub why: String,
    /// Who switched it off.
    pub stopped_by: String,
    /// When.
    pub stopped_at: Timestamp,
    /// When it comes back by itself, if it does.
    pub until: Option<Timestamp>,
}

struct Row {
    why: String,
    stopped_by: String,
    stopped_at: jiff_sqlx::Timestamp,
    until: Option<jiff_sqlx::Timestamp>,
}

impl From<Row> for Stop {
    fn from(row: Row) -> Self {
        Self {
            why: row.why,
            stopped_by: row.stopped_by,
            stopped_at: row.stopped_at.to_jiff(),
            until: row.until.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}

/// What billd asks the server itself, to know where it is.
const SERVER_FUNCTIONS: [&str; 3] = [
    "pg_control_system()",
    "pg_current_wal_insert_lsn()",
    "pg_walfile_name(pg_lsn)",
];

impl Store {
    /// Why nothing is charged, if so. A fail-over is told as the last claim found it.
    pub async fn standstill(&self) -> Result<Option<Standstill>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::standstill
            select reason as "reason!", says as "says!",
                case when isfinite(until) then extract(epoch from until - billd.now()) end::float8 as "left"
            from billd.charging
            where not is_on"#
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Standstill {
            reason: Reason::parse(&row.reason)
                .ok_or_else(|| corrupt(format!("unknown reason {:?}", row.reason)))?,
            says: row.says,
            left: row.left.map(seconds),
        }))
    }

    /// Why something was not begun though nothing in the book stands against it.
    pub(super) async fn not_begun(&self, otherwise: &str) -> StoreError {
        match self.standstill().await {
            Ok(Some(standstill)) => StoreError::OnHold(standstill),
            Ok(None) => StoreError::Corrupt(otherwise.to_owned()),
            Err(error) => error,
        }
    }

    /// Refuses to compare the book with those of another merchant.
    pub(super) async fn require_account(&self) -> Result<(), StoreError> {
        match self.standstill().await? {
            Some(still) if still.reason == Reason::OtherAccount => Err(StoreError::OnHold(still)),
            Some(_) | None => Ok(()),
        }
    }

    /// Switches charging off.
    pub async fn stop_charging(
        &self,
        why: &str,
        until: Option<Timestamp>,
        by: Option<&str>,
    ) -> Result<Stop, StoreError> {
        let statement = sqlx::query_as!(
            Row,
            r#"-- store::stop_charging
            select why as "why!", stopped_by as "stopped_by!", stopped_at as "stopped_at!: jiff_sqlx::Timestamp",
                case when until_at < '9999-01-01' then until_at end as "until: jiff_sqlx::Timestamp"
            from billd.stop_charging($1, coalesce($2, timestamptz 'infinity'), coalesce($3, session_user::text))"#,
            why,
            until.map(jiff_sqlx::Timestamp::from) as _,
            by,
        )
        .fetch_one(&self.pool);
        Ok(self.within(statement).await?.into())
    }

    /// Switches charging on. Returns the stop that has ended, if it was off.
    pub async fn start_charging(&self, by: Option<&str>) -> Result<Option<Stop>, StoreError> {
        let statement = sqlx::query_as!(
            Row,
            r#"-- store::start_charging
            select why as "why!", stopped_by as "stopped_by!", stopped_at as "stopped_at!: jiff_sqlx::Timestamp",
                case when until_at < '9999-01-01' then until_at end as "until: jiff_sqlx::Timestamp"
            from billd.start_charging(coalesce($1, session_user::text))
            where id is not null"#,
            by,
        )
        .fetch_optional(&self.pool);
        Ok(self.within(statement).await?.map(Stop::from))
    }

    /// Why a person must say yes before anything of what is due is charged, if so; and whether claims are
    /// to be counted.
    pub async fn judge_sweep(&self) -> Result<(Option<String>, bool), StoreError> {
        let statement = sqlx::query!(
            r#"-- store::judge_sweep
            select billd_internal.judge_sweep() as said, c.has_ceilings or c.surge is not null as "is_counted!"
            from billd.control c"#
        )
        .fetch_one(&self.pool);
        let row = self.within(statement).await?;
        Ok((row.said, row.is_counted))
    }

    /// Switches charging off, because of what a claim was told. Returns whether it was on.
    pub async fn stop_at_ceiling(&self, said: &str) -> Result<bool, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::stop_at_ceiling
            select billd_internal.stop_at_ceiling($1) as "was_on!""#,
            said,
        )
        .fetch_one(&self.pool);
        self.within(statement).await
    }

    /// Makes this database and this merchant account the home of the book.
    pub async fn adopt(&self, by: Option<&str>) -> Result<(), StoreError> {
        let statement = sqlx::query!(
            "-- store::adopt
            select from billd.adopt(coalesce($1, session_user::text))",
            by,
        )
        .execute(&self.pool);
        self.within(statement).await.map(drop)
    }

    /// The right that this role lacks to know which server it is on, as the statement that gives it.
    pub async fn missing_grant(&self) -> Result<Option<String>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::missing_grant
            select 'grant execute on function ' || string_agg(f, ', ') || ' to ' || quote_ident(current_user)
            from unnest($1::text[]) f
            where not has_function_privilege(f, 'execute')"#,
            &SERVER_FUNCTIONS as _,
        )
        .fetch_one(&self.pool);
        self.within(statement).await
    }
}
