//! Webhooks that go out: what is to be sent, and what came of it (`31_webhooks_send.sql`).
//!
//! All of it goes over connections of its own, so that neither a charge nor an outcome waits for it.

use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use crate::store::{Store, StoreError};

/// An event that is to be sent to an endpoint, leased to whoever has it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event_id: i64,
    /// The number of this attempt, which is its fence, too.
    pub attempt_no: i32,
    /// The event's kind.
    pub kind: String,
    /// Whose events keep their order: a subscription's id, or the name of a one-off charge.
    pub lane: String,
    /// What is sent; `None` if somebody has deleted the event.
    pub letter: Option<Letter>,
}

/// What is sent to an endpoint.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The same whenever the same is sent.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Each of them signs it.
    pub secrets: Vec<SecretString>,
    /// PostgreSQL's clock, in Unix seconds; not billd's, which a rehearsal moves.
    pub sent_at: i64,
    /// JSON.
    pub body: String,
}

/// How an attempt to deliver ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempted {
    /// The event.
    pub event_id: i64,
    /// The number of the attempt.
    pub attempt_no: i32,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How long it took.
    pub latency_ms: u64,
    /// Why it failed; `None` if it did not.
    pub error: Option<String>,
    /// How the answer begins that said no.
    pub excerpt: Option<String>,
}

words! {
    /// What became of a delivery after an attempt.
    pub enum Became {
        /// The endpoint answered 2xx.
        Delivered = "delivered",
        /// It is tried again later.
        Retried = "retried",
        /// It is not tried again by itself.
        Dead = "dead",
        /// The endpoint answered 410 and is stopped; the event waits.
        Gone = "gone",
        /// Somebody else has taken it up since.
        Stale = "stale",
    }
}

impl Store {
    /// The endpoints that events are sent to.
    pub async fn webhook_names(&self) -> Result<Vec<String>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::webhook_names
            select w.name from billd.webhook_endpoint w where w.state = 'active' order by w.name"#
        )
        .fetch_all(&self.delivery);
        self.within(statement).await
    }

    /// Takes new events of an endpoint, and leases what is due to this daemon.
    pub async fn claim_webhooks(
        &self,
        endpoint: &str,
        lease: Duration,
        rows_max: u16,
    ) -> Result<Vec<Delivery>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::claim_webhooks
            select d.event_id as "event_id!", d.attempt_no as "attempt_no!", coalesce(d.kind, '') as "kind!",
                d.lane as "lane!", d.url as "url!", d.secrets as "secrets!", d.sent_at as "sent_at!", d.body
            from billd_internal.claim_webhooks($1, make_interval(secs => $2), $3) d"#,
            endpoint,
            lease.as_secs_f64(),
            i32::from(rows_max),
        )
        .fetch_all(&self.delivery);
        let rows = self.within(statement).await?;
        Ok(rows
            .into_iter()
            .map(|row| Delivery {
                event_id: row.event_id,
                attempt_no: row.attempt_no,
                kind: row.kind,
                lane: row.lane,
                letter: row.body.map(|body| Letter {
                    id: webhook_id(row.event_id),
                    url: row.url,
                    secrets: row.secrets.into_iter().map(SecretString::from).collect(),
                    sent_at: row.sent_at,
                    body,
                }),
            })
            .collect())
    }

    /// Writes down what came of attempts. Returns, by event and number of the attempt, what follows.
    pub async fn record_webhooks(
        &self,
        endpoint: &str,
        results: &[Attempted],
    ) -> Result<Vec<(i64, i32, Became)>, StoreError> {
        let results: Value = serde_json::to_value(results)
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let statement = sqlx::query!(
            r#"-- store::record_webhooks
            select r.event_id as "event_id!", r.attempt_no as "attempt_no!", r.became as "became!"
            from billd_internal.record_webhooks($1, $2) r"#,
            endpoint,
            results,
        )
        .fetch_all(&self.delivery);
        let rows = self.within(statement).await?;
        rows.into_iter()
            .map(|row| {
                let became = Became::parse(&row.became).ok_or_else(|| {
                    StoreError::Corrupt(format!("a delivery became {}", row.became))
                })?;
                Ok((row.event_id, row.attempt_no, became))
            })
            .collect()
    }
}

/// As the receiver knows the event.
pub(super) fn webhook_id(event_id: i64) -> String {
    format!("evt_{event_id}")
}
