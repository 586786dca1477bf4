//! The hold after a fail-over: see `billd_internal.may_charge`, which every claim asks.

use std::time::Duration;

use crate::store::rows::seconds;
use crate::store::{Store, StoreError};

/// The book is on another server than before, and what was under way may not have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverHold {
    /// Cluster and timeline before.
    pub before: String,
    /// Cluster and timeline now.
    pub now: String,
    /// How long nothing is begun yet.
    pub left: Duration,
}

impl Store {
    /// Whether there is one, as the last one of them found. Asks nothing of the server itself.
    pub async fn failover_hold(&self) -> Result<Option<FailoverHold>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::failover_hold
            select coalesce(server_before, '') as "before!", server_name as now,
                extract(epoch from hold_until - billd.now())::float8 as "left!"
            from billd.control
            where hold_until > billd.now()"#
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        Ok(row.map(|row| FailoverHold {
            before: row.before,
            now: row.now,
            left: seconds(row.left),
        }))
    }

    /// Why something was not begun though nothing in the book stands against it.
    pub(super) async fn not_begun(&self, otherwise: &str) -> StoreError {
        match self.failover_hold().await {
            Ok(Some(hold)) => StoreError::OnHold(hold.left),
            Ok(None) => StoreError::Corrupt(otherwise.to_owned()),
            Err(error) => error,
        }
    }
}
