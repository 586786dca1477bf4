//! Hints: somebody says that there is news about these payments. Nothing is believed.

use std::time::Duration;

use crate::store::{Store, StoreError};

impl Store {
    /// Makes those of these attempts that are unknown due to be asked about now; returns how many.
    ///
    /// A started attempt is in its daemon's hands and is left alone, and so is one that was asked
    /// about within `call`, the longest a question takes: each question raises the fence, so a flood
    /// of hints could otherwise make every answer stale before it is written down.
    pub async fn request_lookups(
        &self,
        merchant_uids: &[String],
        call: Duration,
    ) -> Result<u64, StoreError> {
        let statement = sqlx::query!(
            "-- store::request_lookups
            update billd.charge_attempt
            set ask_at = billd.now()
            where merchant_uid = any($1) and state = 'unknown' and ask_at > billd.now()
              and (asked_at is null or asked_at < billd.now() - make_interval(secs => $2))",
            merchant_uids,
            call.as_secs_f64(),
        )
        .execute(&self.pool);
        Ok(self.within(statement).await?.rows_affected())
    }
}
