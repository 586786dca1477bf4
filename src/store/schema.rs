//! The schema: bringing it up to date, and telling whether this program and this database fit.

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::failpoint::crash_at;
use crate::store::{Store, StoreError, routines};

static MIGRATOR: Migrator = sqlx::migrate!();

/// A migration that waits for a table makes everybody behind it wait too, so not for ever.
const MIGRATION_LOCK_TIMEOUT: &str = "30s";

/// How the schema of the database relates to the one that this program was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaState {
    /// The same.
    Current,
    /// Some migrations are still to be applied: `billd migrate`.
    Older {
        /// How many.
        missing: usize,
    },
    /// The database was migrated by a newer program: this one must not touch it.
    Newer,
    /// The tables are those of this program, but functions, triggers or views are another's: `billd migrate`.
    OtherRoutines,
    /// Guards were dropped or disabled, or rows that everything goes by are missing.
    Incomplete {
        /// Which.
        missing: Vec<String>,
    },
    /// A migration was changed after it had been applied, or was left half done.
    Broken,
}

/// What `billd migrate` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The numbered migrations that were applied.
    pub versions: Vec<i64>,
    /// Whether functions, triggers and views were replaced.
    pub routines: bool,
    /// Sessions of a daemon of the version before, for whose sake what only it needs was kept.
    pub sessions_before: Vec<i32>,
    /// Rules that are kept by new rows, but not by all that stand in the book.
    pub not_kept: Vec<String>,
}

/// One migration that was begun on this database.
#[derive(sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

impl Store {
    /// Applies what is missing. Safe to run at any time, also by several at once: they take turns.
    /// Numbered migrations first, then the routines; what only the version before needs goes last.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        self.require_session().await?;
        // On a connection of its own, and without the limits of the daemon's statements: an index on
        // a large table takes its time, and a second migrator waits for the first.
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options([
            ("statement_timeout", "0"),
            ("lock_timeout", MIGRATION_LOCK_TIMEOUT),
        ]);
        let mut connection = PgConnection::connect_with(&options).await?;
        crash_at("migrate_next");
        // The migrator takes the same lock again. What another one applies meanwhile is not ours to tell.
        connection.lock().await.map_err(StoreError::Migration)?;
        let before = self.applied_versions().await?;
        let run = MIGRATOR.run(&mut connection).await;
        match run {
            Ok(()) => {}
            Err(MigrateError::Execute(error)) => return Err(error.into()),
            Err(error) => return Err(StoreError::Migration(error)),
        }
        let routines = routines::apply(&mut connection).await?;
        routines::fill(&mut connection).await?;
        let sessions_before = routines::contract(&mut connection).await?;
        let not_kept = routines::finish(&mut connection).await?;
        crash_at("migrate_done");
        connection.close().await?;
        let after = self.applied_versions().await?;
        Ok(Migrated {
            versions: after
                .into_iter()
                .filter(|version| !before.contains(version))
                .collect(),
            routines,
            sessions_before,
            not_kept,
        })
    }

    /// Compares the schema of the database with the one that this program was built for.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let wanted: Vec<_> = MIGRATOR
            .iter()
            .filter(|one| !one.migration_type.is_down_migration())
            .collect();
        if !self.has_migrations().await? {
            return Ok(SchemaState::Older {
                missing: wanted.len(),
            });
        }
        let applied = self.applied_migrations().await?;
        if applied.iter().any(|one| !one.success) {
            return Ok(SchemaState::Broken);
        }
        if applied
            .iter()
            .any(|one| wanted.iter().all(|known| known.version != one.version))
        {
            return Ok(SchemaState::Newer);
        }
        let changed = wanted.iter().any(|known| {
            applied
                .iter()
                .any(|one| one.version == known.version && one.checksum != *known.checksum)
        });
        if changed {
            return Ok(SchemaState::Broken);
        }
        let missing = wanted.len().saturating_sub(applied.len());
        if missing > 0 {
            return Ok(SchemaState::Older { missing });
        }
        if !self.within(routines::are_current(&self.pool)).await? {
            return Ok(SchemaState::OtherRoutines);
        }
        let missing = self.within(routines::missing_parts(&self.pool)).await?;
        Ok(if missing.is_empty() {
            SchemaState::Current
        } else {
            SchemaState::Incomplete { missing }
        })
    }

    /// Whether a newer program has migrated the database: a cheap look, for a daemon that runs.
    #[expect(
        clippy::disallowed_methods,
        reason = "the migrator makes this table, so the statement can't be checked when billd is built"
    )]
    pub async fn is_newer(&self) -> Result<bool, StoreError> {
        let newest = MIGRATOR.iter().map(|one| one.version).max();
        let statement = sqlx::query_scalar(
            "-- store::schema_is_newer
            select exists (select from billd.schema_migration where version > $1)",
        )
        .bind(newest)
        .fetch_one(&self.pool);
        self.within(statement).await
    }

    async fn applied_versions(&self) -> Result<Vec<i64>, StoreError> {
        if !self.has_migrations().await? {
            return Ok(Vec::new());
        }
        let applied = self.applied_migrations().await?;
        Ok(applied.into_iter().map(|one| one.version).collect())
    }

    /// What stands in the table of migrations.
    #[expect(
        clippy::disallowed_methods,
        reason = "the migrator makes this table, so the statement can't be checked when billd is built"
    )]
    async fn applied_migrations(&self) -> Result<Vec<Applied>, StoreError> {
        let statement = sqlx::query_as(
            "-- store::applied_migrations
            select version, success, checksum from billd.schema_migration order by version",
        )
        .fetch_all(&self.pool);
        self.within(statement).await
    }

    async fn has_migrations(&self) -> Result<bool, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::has_migrations
            select to_regclass('billd.schema_migration') is not null as "found!""#
        )
        .fetch_one(&self.pool);
        self.within(statement).await
    }
}
