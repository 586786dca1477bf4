//! Hints: somebody says that there is news about these payments. Nothing is believed.

use std::time::Duration;

use crate::store::{Store, StoreError};

impl Store {
    /// Makes those of these attempts that are unknown due to be asked about now; returns how many.
    ///
    /// A started attempt is in its daemon's hands and is left alone. One hint per attempt and
    /// `lease` is followed: each question raises the fence, so a flood of hints could otherwise keep
    /// every answer from being written down.
    pub async fn hint(&self, merchant_uids: &[String], lease: Duration) -> Result<u64, StoreError> {
        let statement = sqlx::query!(
            "-- store::hint
            update billd.charge_attempt
            set ask_at = billd.now(), hinted_at = billd.now()
            where merchant_uid = any($1) and state = 'unknown' and ask_at > billd.now()
              and (hinted_at is null or hinted_at < billd.now() - make_interval(secs => $2))",
            merchant_uids,
            lease.as_secs_f64(),
        )
        .execute(&self.pool);
        Ok(self.within(statement).await?.rows_affected())
    }
}
