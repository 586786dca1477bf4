//! Places in the one row of all daemons, under a rate cap. A claim books those of its requests itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::rate::spacing;
use crate::store::{Store, StoreError};

impl Store {
    /// Books the next free place for one request: an instant of the database's clock. `None`, and
    /// nothing is booked, if it lies further ahead than `within`: a place that can't be used would be
    /// lost to all.
    pub async fn book_place(
        &self,
        rate_per_second: u32,
        within: Duration,
    ) -> Result<Option<Timestamp>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::book_place
            update billd.rate_limit r
            set next_free_at = greatest(r.next_free_at, billd.now() + interval '20 ms')
                + make_interval(secs => $1::float8)
            where greatest(r.next_free_at, billd.now() + interval '20 ms')
                <= billd.now() + make_interval(secs => $2::float8)
            returning r.next_free_at - make_interval(secs => $1::float8) as "place!: jiff_sqlx::Timestamp""#,
            spacing(rate_per_second).as_secs_f64(),
            within.as_secs_f64(),
        )
        .fetch_optional(&self.pool);
        let place = self.within(statement).await?;
        Ok(place.map(jiff_sqlx::Timestamp::to_jiff))
    }

    /// How far ahead an instant lies, by the database's clock; negative if it has passed.
    pub async fn until(&self, instant: Timestamp) -> Result<SignedDuration, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::until
            select billd.now() as "now!: jiff_sqlx::Timestamp""#
        )
        .fetch_one(&self.pool);
        let now = self.within(statement).await?.to_jiff();
        Ok(instant.duration_since(now))
    }
}
