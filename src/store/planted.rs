//! Where the planted bugs of the store sit: see [`crate::sabotage`].

use std::time::Duration;

use crate::store::answers::Columns;
use crate::store::session::Tx;
use crate::store::{Store, StoreError};

/// Time enough for a request to arrive, and for a process to die.
const LATE: Duration = Duration::from_millis(150);

#[cfg(not(feature = "failpoints"))]
#[expect(
    clippy::unused_async,
    reason = "a torture build has something to do here"
)]
impl Store {
    /// Does nothing.
    pub(super) async fn forge_fences(&self, _: &mut Columns) -> Result<(), StoreError> {
        Ok(())
    }

    /// None.
    pub(super) async fn late_commit(&self) -> Result<Option<LateCommit>, StoreError> {
        Ok(None)
    }
}

/// A transaction that is committed long after its rows were handed out.
pub(super) struct LateCommit(Tx);

impl LateCommit {
    /// Gives the rows out, and commits after a while.
    pub(super) async fn hand_out<T>(
        mut self,
        claim: impl AsyncFnOnce(&mut Tx) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let rows = claim(&mut self.0).await?;
        tokio::spawn(async {
            tokio::time::sleep(LATE).await;
            self.0.commit().await.ok();
        });
        Ok(rows)
    }
}

#[cfg(feature = "failpoints")]
mod torture {
    use super::{Columns, LateCommit, Store, StoreError};
    use crate::sabotage::{Bug, planted};

    impl Store {
        /// Gives every answer the fence that its attempt has now, as if claims were not told apart.
        #[expect(
            clippy::disallowed_methods,
            reason = "the checked queries are those of the product"
        )]
        pub(in crate::store) async fn forge_fences(
            &self,
            columns: &mut Columns,
        ) -> Result<(), StoreError> {
            if !planted(Bug::RecordWithoutFence) {
                return Ok(());
            }
            let statement = sqlx::query_scalar(
                "-- store::forge_fences
                select coalesce(a.fence, 0)
                from unnest($1::text[]) with ordinality x (merchant_uid, position)
                left join billd.charge_attempt a using (merchant_uid)
                order by position",
            )
            .bind(&columns.merchant_uid)
            .fetch_all(&self.recording);
            columns.fence = self.within(statement).await?;
            Ok(())
        }

        /// A transaction for a claim whose requests leave before it is committed.
        pub(in crate::store) async fn late_commit(&self) -> Result<Option<LateCommit>, StoreError> {
            if !planted(Bug::SendBeforeBegin) {
                return Ok(None);
            }
            let tx = self.within(self.pool.begin()).await?;
            Ok(Some(LateCommit(tx)))
        }
    }
}
