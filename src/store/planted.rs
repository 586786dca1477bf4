//! Where the planted bugs of the store sit: see [`crate::sabotage`].

use crate::store::answers::Columns;
use crate::store::{Store, StoreError};

#[cfg(not(feature = "torture"))]
impl Store {
    /// Does nothing.
    #[expect(
        clippy::unused_async,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "a torture build has something to do here"
    )]
    pub(super) async fn forge_fences(&self, _: &mut Columns) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(feature = "torture")]
impl Store {
    #[expect(
        clippy::disallowed_methods,
        reason = "the checked queries are those of the product"
    )]
    /// Gives every answer the fence that its attempt has now, as if claims were not told apart.
    pub(super) async fn forge_fences(&self, columns: &mut Columns) -> Result<(), StoreError> {
        use crate::sabotage::{Bug, planted};
        if !planted(Bug::RecordWithoutFence) {
            return Ok(());
        }
        let forged: Vec<i64> = sqlx::query_scalar(
            "-- store::forge_fences
            select coalesce(a.fence, 0)
            from unnest($1::text[]) with ordinality x (merchant_uid, position)
            left join billd.charge_attempt a using (merchant_uid)
            order by position",
        )
        .bind(&columns.merchant_uid)
        .fetch_all(&self.recording)
        .await?;
        columns.fence = forged;
        Ok(())
    }
}
