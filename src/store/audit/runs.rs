//! Runs: begun, moved, taken over, finished.

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use sqlx::types::Json;

use crate::store::session::Tx;
use crate::store::{Store, StoreError};

words! {
    /// What a run does next.
    pub enum Stage {
        /// Reads the gateway's payments of a window.
        Books = "books",
        /// Asks about our payments that they did not hold.
        Attempts = "attempts",
        /// Reads the gateway's reservations.
        Schedules = "schedules",
    }
}

/// One comparison of the books, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// The right to move it.
    pub fence: i64,
    /// The first instant that is compared.
    #[serde(rename = "from_at")]
    pub from: Timestamp,
    /// The instant behind the last.
    #[serde(rename = "to_at")]
    pub to: Timestamp,
    /// What comes next.
    #[serde(deserialize_with = "stage")]
    pub stage: Stage,
    /// Where the window begins that is being compared.
    pub window_from: Timestamp,
    /// The next page.
    pub page: u32,
    /// The last of our payments that was asked about.
    pub walked_to: String,
    /// Records read.
    pub payments: u64,
    /// Payments of ours asked about.
    pub attempts: u64,
    /// Reservations read.
    pub schedules: u64,
}

fn stage<'de, D: Deserializer<'de>>(word: D) -> Result<Stage, D::Error> {
    let word = String::deserialize(word)?;
    Stage::parse(&word).ok_or_else(|| Error::custom(format!("stage {word:?}")))
}

impl Store {
    /// Reads billd's clock.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::now
            select billd.now() as "now!: jiff_sqlx::Timestamp""#
        )
        .fetch_one(&self.pool);
        Ok(self.within(statement).await?.to_jiff())
    }

    /// Begins a run. `None` if it is a daemon's and another daemon's is under way, or has only just
    /// begun: several wake at the same hour.
    pub async fn begin_audit(
        &self,
        from: Timestamp,
        to: Timestamp,
        by_cron: bool,
    ) -> Result<Option<Run>, StoreError> {
        self.require_account().await?;
        let statement = sqlx::query_scalar!(
            r#"-- store::begin_audit
            insert into billd.audit_run (by_cron, from_at, to_at, window_from)
            select $1, $2, $3, $2
            where not ($1 and exists (
                select from billd.audit_run
                where by_cron and started_at > billd.now() - interval '1 minute'))
            on conflict (by_cron) where by_cron and state = 'running' do nothing
            returning to_jsonb(audit_run) as "run!: Json<Run>""#,
            by_cron,
            jiff_sqlx::Timestamp::from(from) as _,
            jiff_sqlx::Timestamp::from(to) as _,
        )
        .fetch_optional(&self.pool);
        Ok(self.within(statement).await?.map(|Json(run)| run))
    }

    /// Takes over the newest run that was cut short. A daemon takes only another daemon's, and only
    /// one that has not moved for ten minutes; a person takes any.
    pub async fn take_audit(&self, by_cron: bool) -> Result<Option<Run>, StoreError> {
        self.require_account().await?;
        let statement = sqlx::query_scalar!(
            r#"-- store::take_audit
            update billd.audit_run
            set fence = billd_internal.next_fence(fence), touched_at = statement_timestamp()
            where id = (
                select id
                from billd.audit_run
                where state = 'running'
                  and (not $1 or (by_cron and touched_at < statement_timestamp() - interval '10 minutes'))
                order by id desc
                limit 1
                for update skip locked)
            returning to_jsonb(audit_run) as "run!: Json<Run>""#,
            by_cron,
        )
        .fetch_optional(&self.pool);
        Ok(self.within(statement).await?.map(|Json(run)| run))
    }

    /// Lets go of a run, for whoever wakes next.
    pub async fn release_audit(&self, run: &Run) -> Result<(), StoreError> {
        let statement = sqlx::query!(
            "-- store::release_audit
            update billd.audit_run
            set touched_at = '-infinity'
            where id = $1 and fence = $2 and state = 'running'",
            run.id,
            run.fence,
        )
        .execute(&self.pool);
        self.within(statement).await.map(drop)
    }

    /// Gives a run up: nobody takes it over any more. `false` if somebody else has it by now.
    pub async fn fail_audit(&self, run: &Run) -> Result<bool, StoreError> {
        let statement = sqlx::query!(
            "-- store::fail_audit
            with failed as (
                update billd.audit_run
                set state = 'failed', touched_at = statement_timestamp()
                where id = $1 and fence = $2 and state = 'running'
                returning id
            ),
            forgotten as (
                delete from billd.audit_seen n using failed f where n.run_id = f.id
            )
            select id from failed",
            run.id,
            run.fence,
        )
        .fetch_optional(&self.pool);
        Ok(self.within(statement).await?.is_some())
    }

    /// Writes down how far a run has come, and forgets what its last window held if a new one
    /// begins. `false` if the run is somebody else's by now.
    pub async fn move_audit(&self, run: &Run) -> Result<bool, StoreError> {
        let mut tx = self.within(self.pool.begin()).await?;
        if run.stage != Stage::Attempts && run.page == 1 {
            let statement = sqlx::query!(
                "-- store::move_audit, a new window
                delete from billd.audit_seen where run_id = $1",
                run.id,
            )
            .execute(&mut tx);
            self.within(statement).await?;
        }
        let is_ours = self.within(progress(&mut tx, run)).await?;
        self.within(tx.commit()).await?;
        Ok(is_ours)
    }

    /// Ends a run: what it could have seen again and did not is corrected.
    pub async fn finish_audit(&self, run: &Run) -> Result<bool, StoreError> {
        let mut tx = self.within(self.pool.begin()).await?;
        let is_ours = self.within(progress(&mut tx, run)).await?;
        if !is_ours {
            return Ok(false);
        }
        let schedules = sqlx::query!(
            "-- store::finish_audit, reservations that are gone
            update billd.finding f
            set state = 'mended'
            from billd.audit_run r
            where r.id = $1 and f.kind = 'foreign_schedule' and f.state = 'open'
              and f.last_seen_at < r.started_at",
            run.id,
        )
        .execute(&mut tx);
        self.within(schedules).await?;
        let twice = sqlx::query!(
            "-- store::finish_audit, surplus that was given back
            update billd.finding f
            set state = 'mended'
            from billd.charge_attempt a
            where f.kind = 'paid_twice' and f.state = 'open'
              and a.merchant_uid = f.merchant_uid and a.imp_uid = f.imp_uid
              and 2 > (
                  select count(*)
                  from billd.attempts_of(a.subscription_id, a.period) b
                  where b.state = 'paid' and b.cancelled_amount < b.amount)"
        )
        .execute(&mut tx);
        self.within(twice).await?;
        let done = sqlx::query!(
            "-- store::finish_audit
            update billd.audit_run set state = 'done', finished_at = billd.now() where id = $1",
            run.id,
        )
        .execute(&mut tx);
        self.within(done).await?;
        self.within(tx.commit()).await?;
        Ok(true)
    }
}

/// Moves a run within the caller's transaction; `false` if somebody else has taken it over.
pub(super) async fn progress(tx: &mut Tx, run: &Run) -> Result<bool, sqlx::Error> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let moved = sqlx::query!(
        "-- store::audit, progress
        update billd.audit_run
        set stage = $3, window_from = $4, page = $5, walked_to = $6, payments = $7, attempts = $8,
            schedules = $9, touched_at = statement_timestamp()
        where id = $1 and fence = $2 and state = 'running'",
        run.id,
        run.fence,
        run.stage.as_str(),
        jiff_sqlx::Timestamp::from(run.window_from) as _,
        i32::try_from(run.page).unwrap_or(i32::MAX),
        run.walked_to,
        count(run.payments),
        count(run.attempts),
        count(run.schedules),
    )
    .execute(&mut *tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}
