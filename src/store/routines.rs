//! Functions, triggers, views and their comments: applied whole, whenever they differ from what the book has.
//!
//! Tables change by numbered migrations that are only added. Routines are code: one file per subject, each
//! statement `create or replace`, so that the newest text stands in one place.

use sqlx::{Connection, Executor, PgConnection, Postgres};

macro_rules! routines {
    ($($name:literal),* $(,)?) => {
        concat!($(include_str!(concat!("../../migrations/routines/", $name, ".sql")), "\n"),*)
    };
}

/// All files, in the order in which they are applied.
const ROUTINES: &str = routines![
    "01_clock_and_gate",
    "01_switch_and_home",
    "01_ceilings",
    "02_names",
    "02_values",
    "03_agreement",
    "04_debt",
    "05_attempt",
    "06_refund",
    "07_views",
    "08_history",
    "09_claim",
    "10_record",
    "11_calendar",
    "12_price",
    "13_next",
    "14_replan",
    "15_changes",
    "16_version_before",
    "16_rows_locked",
    "17_plain_updates",
    "17_rows_out_of_order",
    "18_history",
    "19_adjustment",
    "20_plan",
    "21_verb",
    "22_forecast",
    "23_consent",
    "24_verb_service",
    "25_verb_time",
    "26_verb_sum",
    "27_events",
    "27_events_read",
    "27_manual",
    "27_notices",
    "27_whole",
    "31_webhooks",
    "31_webhooks_send",
    "28_rights",
];

/// Takes away what the version before called by name, and this one does not.
const CONTRACT: &str = include_str!("../../migrations/contract/0.1.sql");

/// How sessions of the version before are called in `pg_stat_activity`.
const SESSION_NAME_BEFORE: &str = "billd";

/// How sessions of this version are called.
pub(super) const SESSION_NAME: &str = concat!("billd ", env!("CARGO_PKG_VERSION"));

/// Applies the routines if the book has others. Returns whether it had.
pub(super) async fn apply(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut tx = Connection::begin(&mut *connection).await?;
    // Several migrators take turns.
    sqlx::raw_sql("lock table billd_internal.routines in exclusive mode")
        .execute(&mut *tx)
        .await?;
    if are_current(&mut *tx).await? && missing_parts(&mut *tx).await?.is_empty() {
        return Ok(false);
    }
    sqlx::raw_sql(ROUTINES).execute(&mut *tx).await?;
    sqlx::query!(
        "-- store::note_routines
        insert into billd_internal.routines (hash, version) values (md5($1), $2)
        on conflict (only_row) do update
        set hash = excluded.hash, version = excluded.version, applied_at = now()",
        ROUTINES,
        env!("CARGO_PKG_VERSION"),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// Fills in, in short transactions, what a book of the version before does not have. Does nothing in any other.
pub(super) async fn fill(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_open = sqlx::query_scalar!(
        r#"-- store::is_to_be_filled
        select exists (
            select from pg_attribute
            where attrelid = 'billd.subscription'::regclass and attname = 'settled_until' and not attnotnull
        ) as "is_open!""#,
    )
    .fetch_one(&mut *connection)
    .await?;
    if is_open {
        sqlx::raw_sql("call billd_internal.fill_time()")
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Whether the book has the routines of this program.
pub(super) async fn are_current<'c>(
    connection: impl Executor<'c, Database = Postgres>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- store::routines_are_current
        select exists (select from billd_internal.routines where hash = md5($1)) as "is_current!""#,
        ROUTINES,
    )
    .fetch_one(connection)
    .await
}

/// What the schema lacks of what it was made of.
pub(super) async fn missing_parts<'c>(
    connection: impl Executor<'c, Database = Postgres>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- store::missing_parts
        select p as "part!" from billd_internal.missing_parts() p"#
    )
    .fetch_all(connection)
    .await
}

/// Looks at old rows for what was added as a rule for new ones, and notes what the schema is made of. Returns rules that
/// not all rows keep.
pub(super) async fn finish(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query!("-- store::note_parts\nselect billd_internal.note_parts()")
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar!(
        r#"-- store::validate_constraints
        select c as "broken!" from billd_internal.validate_constraints() c"#
    )
    .fetch_all(connection)
    .await
}

/// Takes away what only the version before needs, unless a daemon of it is connected. Returns the process
/// ids of those sessions.
pub(super) async fn contract(connection: &mut PgConnection) -> Result<Vec<i32>, sqlx::Error> {
    let before = sqlx::query_scalar!(
        r#"-- store::sessions_before
        select pid as "pid!" from pg_stat_activity
        where datname = current_database() and application_name = $1
        order by pid"#,
        SESSION_NAME_BEFORE,
    )
    .fetch_all(&mut *connection)
    .await?;
    if before.is_empty() {
        let mut tx = Connection::begin(&mut *connection).await?;
        sqlx::raw_sql(CONTRACT).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(before)
}
