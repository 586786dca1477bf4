//! Migrations: applying them, and telling whether this program and this database fit.

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::sabotage::{CrashPoint, crash_at};
use crate::store::{Store, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!();

/// A migration that waits for a table makes everybody behind it wait too, so not for ever.
const MIGRATION_LOCK_TIMEOUT: &str = "30s";

/// How the schema of the database relates to the one that this program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A migration was changed after it had been applied, or was left half done.
    Broken,
}

impl Store {
    /// Applies what is missing. Safe to run at any time, also by several at once: they take turns.
    /// Returns the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, StoreError> {
        let before = self.applied_versions().await?;
        // On a connection of its own, and without the limits of the daemon's statements: an index on
        // a large table takes its time, and a second migrator waits for the first.
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options([
            ("statement_timeout", "0"),
            ("lock_timeout", MIGRATION_LOCK_TIMEOUT),
        ]);
        let mut connection = PgConnection::connect_with(&options).await?;
        crash_at(CrashPoint::MigrateNext);
        let run = MIGRATOR.run(&mut connection).await;
        crash_at(CrashPoint::MigrateDone);
        connection.close().await?;
        match run {
            Ok(()) => {}
            Err(MigrateError::Execute(error)) => return Err(error.into()),
            Err(error) => return Err(StoreError::Migration(error)),
        }
        let after = self.applied_versions().await?;
        Ok(after
            .into_iter()
            .filter(|version| !before.contains(version))
            .collect())
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
        let mut connection = self.within(self.pool.acquire()).await?;
        let table = "billd.schema_migration";
        let dirty = connection
            .dirty_version(table)
            .await
            .map_err(StoreError::Migration)?;
        let applied = connection
            .list_applied_migrations(table)
            .await
            .map_err(StoreError::Migration)?;
        if dirty.is_some() {
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
                .any(|one| one.version == known.version && one.checksum != known.checksum)
        });
        if changed {
            return Ok(SchemaState::Broken);
        }
        match wanted.len().saturating_sub(applied.len()) {
            0 => Ok(SchemaState::Current),
            missing => Ok(SchemaState::Older { missing }),
        }
    }

    async fn applied_versions(&self) -> Result<Vec<i64>, StoreError> {
        if !self.has_migrations().await? {
            return Ok(Vec::new());
        }
        let mut connection = self.within(self.pool.acquire()).await?;
        let applied = connection
            .list_applied_migrations("billd.schema_migration")
            .await
            .map_err(StoreError::Migration)?;
        Ok(applied.into_iter().map(|one| one.version).collect())
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
