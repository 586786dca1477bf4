//! Slots under a rate cap, from the one row that all daemons share.

use std::time::Duration;

use crate::domain::rate_limit::spacing;
use crate::store::rows::seconds;
use crate::store::{Store, StoreError};

/// Slots that nobody else will use, [`spacing`] apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// How long after the database's answer the first one is.
    pub wait: Duration,
    /// How many.
    pub count: u32,
}

impl Store {
    /// The cap of the book in charges a second, 0 for none, once this daemon's own has been counted in: the strictest
    /// holds, for all.
    pub async fn agree_on_rate(&self, own: u32) -> Result<u32, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::agree_on_rate
            with stricter as (
                update billd.rate_limit set per_second = $1
                where $1 > 0 and (per_second is null or per_second > $1)
                returning per_second
            )
            -- Locked, so as it stands now: another daemon may have written it while this one waited to.
            select coalesce((select per_second from stricter), (select r.per_second from billd.rate_limit r for share), 0)
                as "rate!""#,
            i32::try_from(own).unwrap_or(i32::MAX),
        )
        .fetch_one(&self.pool);
        let rate = self.within(statement).await?;
        Ok(u32::try_from(rate).unwrap_or(own))
    }

    /// Reserves the next free slots, up to `most` and none further ahead than `within`. `None`, and
    /// nothing is reserved, if there is none: a slot that can't be used would be lost to all.
    pub async fn reserve_slots(
        &self,
        rate_per_second: u32,
        most: u32,
        within: Duration,
    ) -> Result<Option<Slots>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::reserve_slots
            select wait_seconds as "wait_seconds!", slots as "slots!"
            from billd_internal.reserve_slots($1, $2, $3)"#,
            spacing(rate_per_second).as_secs_f64(),
            i32::try_from(most).unwrap_or(i32::MAX),
            within.as_secs_f64(),
        )
        .fetch_one(&self.pool);
        let row = self.within(statement).await?;
        let count = u32::try_from(row.slots).unwrap_or_default();
        Ok((count > 0).then(|| Slots {
            wait: seconds(row.wait_seconds),
            count,
        }))
    }
}
