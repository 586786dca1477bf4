//! Events, for people who look. Programs read them with `billd.read_events`.

use serde_json::Value;

use crate::store::rows::corrupt;
use crate::store::{Store, StoreError};

impl Store {
    /// The latest events, oldest first, as JSON.
    pub async fn latest_events(
        &self,
        kind: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Value>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::latest_events
            select to_json(e)::text as "event!"
            from (
                select id, occurred_at, kind, subscription_id, period, merchant_uid, data from billd.event
                where kind = $1 or $1 is null order by id desc limit $2
            ) e order by id"#,
            kind,
            limit,
        )
        .fetch_all(&self.pool);
        in_json(&self.within(statement).await?)
    }

    /// Who reads, and how far each has come, as JSON.
    pub async fn consumers(&self) -> Result<Vec<Value>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::consumers
            select to_json(c)::text as "consumer!" from billd.consumer_lag c order by name"#,
        )
        .fetch_all(&self.pool);
        in_json(&self.within(statement).await?)
    }
}

fn in_json(rows: &[String]) -> Result<Vec<Value>, StoreError> {
    let values = rows.iter().map(|row| serde_json::from_str(row));
    values.collect::<Result<_, _>>().map_err(corrupt)
}
