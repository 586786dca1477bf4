//! Endpoints of webhooks as people see and change them (`31_webhooks.sql`).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::store::delivery::{Letter, webhook_id};
use crate::store::subscription::VerbRefused;
use crate::store::{Store, StoreError};

/// What was done, or why it was refused.
pub type Verdict<T> = Result<Result<T, VerbRefused>, StoreError>;

/// How an endpoint is doing; see the view `billd.webhook`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Which events it is given; `None` for all.
    pub kinds: Option<Vec<String>>,
    /// well, failing, stopped or elsewhere.
    pub health: String,
    /// The last error, or why it is stopped.
    pub why: Option<String>,
    /// Since when no attempt has succeeded.
    pub failing_since: Option<Timestamp>,
    /// Since when the oldest event waits.
    pub waiting_since: Option<Timestamp>,
    /// How many wait, those of other kinds counted.
    pub waiting_at_most: i64,
    /// Dead letters.
    pub dead: i64,
    /// For how long the oldest event has waited.
    pub lag_seconds: Option<f64>,
}

/// An attempt to deliver, or a dead letter with its last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptShown {
    /// The event.
    pub event_id: i64,
    /// Its kind; `None` if it is gone.
    pub kind: Option<String>,
    /// Whose.
    pub lane: Option<String>,
    /// The number of the attempt.
    pub attempt_no: Option<i32>,
    /// When it ended.
    pub at: Option<Timestamp>,
    /// The HTTP status.
    pub status: Option<i16>,
    /// How long the answer took.
    pub latency_ms: Option<i32>,
    /// Why it failed.
    pub error: Option<String>,
    /// How the answer begins that said no.
    pub excerpt: Option<String>,
}

impl EndpointRow {
    /// The health of one that takes what it is sent.
    pub const WELL: &str = "well";

    /// Whether it takes what it is sent.
    pub fn is_well(&self) -> bool {
        self.health == Self::WELL
    }
}

/// Which events are sent again.
#[derive(Debug, Clone, Copy)]
pub enum Replay {
    /// The dead letters.
    Dead,
    /// One.
    Event(i64),
    /// All since a time.
    Since(Timestamp),
}

impl Store {
    /// All endpoints.
    pub async fn webhooks(&self) -> Result<Vec<EndpointRow>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::webhooks
            select to_jsonb(w) as "row!: Json<EndpointRow>" from billd.webhook w order by w.name"#
        )
        .fetch_all(&self.delivery);
        let rows = self.within(statement).await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }

    /// Adds an endpoint; returns its secret.
    pub async fn add_webhook(
        &self,
        name: &str,
        url: &str,
        kinds: Option<&[String]>,
        begin_at: &str,
    ) -> Verdict<String> {
        let statement = sqlx::query_scalar!(
            r#"-- store::add_webhook
            select billd.add_webhook($1, $2, $3, $4) as "secret!""#,
            name,
            url,
            kinds,
            begin_at,
        )
        .fetch_one(&self.pool);
        VerbRefused::judged(self.within(statement).await)
    }

    /// Changes what is named; no kinds at all are all kinds.
    pub async fn change_webhook(
        &self,
        name: &str,
        url: Option<&str>,
        kinds: Option<&[String]>,
        concurrency: Option<i32>,
    ) -> Verdict<()> {
        let statement = sqlx::query!(
            "-- store::change_webhook
            select billd.change_webhook($1, $2, $3, $4)",
            name,
            url,
            kinds,
            concurrency,
        )
        .execute(&self.pool);
        VerbRefused::judged(self.within(statement).await.map(drop))
    }

    /// Makes a new secret, and returns it.
    pub async fn rotate_webhook(&self, name: &str, overlap: &str) -> Verdict<String> {
        let statement = sqlx::query_scalar!(
            r#"-- store::rotate_webhook
            select billd.rotate_webhook($1, $2::text::interval) as "secret!""#,
            name,
            overlap,
        )
        .fetch_one(&self.pool);
        VerbRefused::judged(self.within(statement).await)
    }

    /// Stops an endpoint, or starts it again.
    pub async fn switch_webhook(&self, name: &str, on: bool, why: Option<&str>) -> Verdict<()> {
        let statement = sqlx::query!(
            "-- store::switch_webhook
            select case when $2 then billd.start_webhook($1) else billd.stop_webhook($1, $3) end",
            name,
            on,
            why,
        )
        .execute(&self.pool);
        VerbRefused::judged(self.within(statement).await.map(drop))
    }

    /// Forgets an endpoint.
    pub async fn drop_webhook(&self, name: &str) -> Verdict<()> {
        let statement = sqlx::query!(
            "-- store::drop_webhook
            select billd.drop_webhook($1)",
            name,
        )
        .execute(&self.pool);
        VerbRefused::judged(self.within(statement).await.map(drop))
    }

    /// Sends events again; returns how many will be looked at.
    pub async fn replay_webhook(&self, name: &str, which: Replay) -> Verdict<i64> {
        let (event, since) = match which {
            Replay::Dead => (None, None),
            Replay::Event(id) => (Some(id), None),
            Replay::Since(at) => (None, Some(jiff_sqlx::Timestamp::from(at))),
        };
        let statement = sqlx::query_scalar!(
            r#"-- store::replay_webhook
            select coalesce(billd.replay_webhook($1, $2, $3), 0) as "count!""#,
            name,
            event,
            since as _,
        )
        .fetch_one(&self.pool);
        VerbRefused::judged(self.within(statement).await)
    }

    /// The last attempts at an endpoint, newest first; of one event if it is named.
    pub async fn webhook_attempts(
        &self,
        name: &str,
        event_id: Option<i64>,
        rows_max: i64,
    ) -> Result<Vec<AttemptShown>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::webhook_attempts
            select to_jsonb(a) || jsonb_build_object('kind', v.kind, 'lane', d.lane) as "row!: Json<AttemptShown>"
            from (
                (select t.* from billd.webhook_attempt t
                where t.endpoint = $1 and $2::bigint is null order by t.at desc limit $3)
                union all
                (select t.* from billd.webhook_attempt t
                where t.endpoint = $1 and t.event_id = $2 order by t.at desc limit $3)
            ) a
            left join billd.webhook_delivery d on d.event_id = a.event_id and d.endpoint = a.endpoint
            left join billd_internal.event_row v on v.id = a.event_id
            order by a.at desc, a.event_id desc"#,
            name,
            event_id,
            rows_max,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }

    /// Dead letters, each with its last attempt.
    pub async fn webhook_dead(
        &self,
        name: &str,
        rows_max: i64,
    ) -> Result<Vec<AttemptShown>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::webhook_dead
            select coalesce(to_jsonb(a), '{}') || jsonb_build_object('event_id', d.event_id, 'kind', v.kind, 'lane', d.lane)
                as "row!: Json<AttemptShown>"
            from billd.webhook_delivery d
            left join billd.webhook_attempt a
                on a.event_id = d.event_id and a.endpoint = d.endpoint and a.attempt_no = d.attempts
            left join billd_internal.event_row v on v.id = d.event_id
            where d.endpoint = $1 and d.state = 'dead'
            order by d.event_id
            limit $2"#,
            name,
            rows_max,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }

    /// What is sent to try an endpoint: no event. `None` if there is no endpoint of this name.
    pub async fn test_letter(&self, name: &str) -> Result<Option<Letter>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::test_letter
            select w.url, array(
                    select s.secret from billd_internal.webhook_secret s
                    where s.endpoint = w.name and s.ends_at > billd.now() order by s.id desc limit 3) as "secrets!",
                extract(epoch from statement_timestamp())::bigint as "sent_at!", gen_random_uuid() as "id!",
                jsonb_build_object('type', 'test', 'timestamp',
                    to_char(statement_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'data', jsonb_build_object('endpoint', w.name))::text as "body!"
            from billd.webhook_endpoint w where w.name = $1"#,
            name,
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        Ok(row.map(|row| Letter {
            id: format!("test_{}", row.id.simple()),
            url: row.url,
            secrets: row.secrets.into_iter().map(SecretString::from).collect(),
            sent_at: row.sent_at,
            body: row.body,
        }))
    }

    /// Begins to read what happens from now on, for a developer's machine. Returns the reader's name and a secret.
    pub async fn listen(&self, kinds: Option<&[String]>) -> Verdict<(String, String)> {
        let statement = sqlx::query!(
            r#"-- store::listen
            select l.consumer as "consumer!", l.secret as "secret!" from billd_internal.listen($1) l"#,
            kinds,
        )
        .fetch_one(&self.pool);
        let row = self
            .within(statement)
            .await
            .map(|row| (row.consumer, row.secret));
        VerbRefused::judged(row)
    }

    /// The next events for it, with their kinds.
    pub async fn heard(
        &self,
        consumer: &str,
        url: &str,
        secret: &SecretString,
    ) -> Result<Vec<(String, Letter)>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::heard
            select r.id as "id!", r.kind as "kind!", extract(epoch from statement_timestamp())::bigint as "sent_at!",
                billd_internal.webhook_body(v) as "body!"
            from billd.read_events($1, 20) r
            join billd_internal.event_row v on v.id = r.id
            order by r.id"#,
            consumer,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        let letter = |id, sent_at, body| Letter {
            id: webhook_id(id),
            url: url.to_owned(),
            secrets: vec![secret.clone()],
            sent_at,
            body,
        };
        Ok(rows
            .into_iter()
            .map(|row| (row.kind, letter(row.id, row.sent_at, row.body)))
            .collect())
    }

    /// Ends a reader.
    pub async fn stop_listening(&self, consumer: &str) -> Result<(), StoreError> {
        let statement = sqlx::query!(
            "-- store::stop_listening
            select billd.drop_consumer($1)",
            consumer,
        )
        .execute(&self.pool);
        self.within(statement).await.map(drop)
    }

    /// Writes an example event, in a book of a sandbox; returns its id.
    pub async fn trigger(&self, kind: &str) -> Verdict<i64> {
        let statement = sqlx::query_scalar!(
            r#"-- store::trigger
            select billd_internal.tell_example($1) as "id!""#,
            kind,
        )
        .fetch_one(&self.pool);
        VerbRefused::judged(self.within(statement).await)
    }
}
