//! Claim, begin, record: the three writes of a charge, each a batch in one commit.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::types::Uuid;
use sqlx::{Executor, Postgres};

use crate::domain::claim::{Answer, BadRow, Claim, OpenAttempt, Recorded};
use crate::store::answers::Columns;
use crate::store::error::is_data_exception;
use crate::store::rows::{AttemptRow, Instant};
use crate::store::session::Tx;
use crate::store::{Store, StoreError};

/// Bounds of one claim.
#[derive(Debug, Clone, Copy)]
pub struct ClaimLimits {
    /// Most attempts: never more than can be sent at once.
    pub rows_max: u32,
    /// How long the claim holds.
    pub lease: Duration,
}

/// What a claim brought.
pub struct Claimed {
    /// Attempts that are written down and may be sent, in the order in which they fell due, and
    /// rows that can't be.
    pub claims: Vec<Result<Claim, BadRow>>,
    /// Where the next claim may go on; `None` if nothing was claimed.
    pub reached: Option<Position>,
}

/// How far claims have come, in the order in which things fall due.
///
/// What lies before it has been claimed, but the index goes on to lead there until PostgreSQL has
/// cleaned up, and that takes as long as the oldest transaction of anybody. A claim that goes on from
/// here never reads that again. What was put there later, by hand for instance, is found by the
/// next claim that looks at everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    at: Timestamp,
    id: Uuid,
}

/// A row that says it is due now is seen by others only when it is committed, a little later.
const COMMITTED_WITHIN: Duration = Duration::from_secs(2);

impl Position {
    /// Right behind this row, but never so close to the present that a late commit is missed.
    fn behind(row: &AttemptRow) -> Option<Self> {
        let at = row.next_charge_at.as_ref()?.known()?;
        let settled = row.now.to_jiff().checked_sub(COMMITTED_WITHIN).ok()?;
        Some(if at < settled {
            let id = row.subscription_id?;
            Self { at, id }
        } else {
            let id = Uuid::nil();
            Self { at: settled, id }
        })
    }
}

impl Store {
    /// Looks at everything: see [`Store::claim_due_after`].
    pub async fn claim_due(&self, limits: ClaimLimits) -> Result<Claimed, StoreError> {
        self.claim_due_after(None, limits, &[]).await
    }

    /// Claims what is due and begins an attempt for each: the intents are durable when this returns.
    /// Goes on where an earlier claim ended, if told where that was. Passes these channels by; the empty one is
    /// that of rows that name none.
    pub async fn claim_due_after(
        &self,
        after: Option<Position>,
        limits: ClaimLimits,
        passed_by: &[String],
    ) -> Result<Claimed, StoreError> {
        let rows = self
            .within(claim_due(&self.pool, after, limits, passed_by))
            .await?;
        claimed(rows)
    }

    /// The same where there is a ceiling: what is begun is counted, and nothing is if that would pass one.
    pub async fn claim_due_counted(
        &self,
        after: Option<Position>,
        limits: ClaimLimits,
        passed_by: &[String],
    ) -> Result<Claimed, StoreError> {
        let mut tx = self.within(self.pool.begin()).await?;
        let rows = self
            .within(claim_due(&mut tx, after, limits, passed_by))
            .await?;
        self.within(count_asked(&mut tx, &rows)).await?;
        self.within(tx.commit()).await?;
        claimed(rows)
    }

    /// Right before the newest row that is due, through this channel if one is named. `None` if nothing is.
    pub async fn newest_due(&self, channel: Option<&str>) -> Result<Option<Position>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::newest_due
            select s.next_charge_at as "at!: jiff_sqlx::Timestamp", s.id
            from billd.subscription s
            where s.state = 'active' and s.next_charge_at <= billd.now()
              and s.open_attempt is null and not s.recheck and s.attempts < 99
              and ($1::text is null or coalesce(s.channel_key, '') = $1)
            order by s.next_charge_at desc, s.id desc
            limit 1"#,
            channel,
        )
        .fetch_optional(&self.pool);
        let newest = self.within(statement).await?;
        Ok(newest.map(|row| Position {
            at: row.at.to_jiff(),
            id: Uuid::from_u128(row.id.as_u128().saturating_sub(1)),
        }))
    }

    /// Gives attempts that were begun, and whose lease has ended without an outcome, to those who ask.
    ///
    /// They lie where claims begin, at the front of what is due, so looking at `rows_max` rows from there
    /// finds the attempts of all daemons together if they are not more.
    pub async fn notice_abandoned(&self, rows_max: u32) -> Result<(), StoreError> {
        let statement = sqlx::query_file!(
            "src/store/notice_abandoned.sql",
            i32::try_from(rows_max).unwrap_or(i32::MAX),
        )
        .execute(&self.pool);
        self.within(statement).await.map(drop)
    }

    /// Takes over open attempts whose lease or waiting time has ended, to ask about them.
    pub async fn claim_open(
        &self,
        rows_max: u32,
        lease: Duration,
    ) -> Result<Vec<Result<OpenAttempt, BadRow>>, StoreError> {
        let statement = sqlx::query_file_as!(
            AttemptRow,
            "src/store/claim_open.sql",
            i32::try_from(rows_max).unwrap_or(i32::MAX),
            lease.as_secs_f64(),
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        rows.into_iter().map(AttemptRow::into_open).collect()
    }

    /// Makes every unknown attempt due to be asked about now. Returns how many there are.
    pub async fn ask_all_now(&self) -> Result<u64, StoreError> {
        let statement = sqlx::query!(
            "-- store::ask_all_now
            update billd.charge_attempt
            set ask_at = billd.now()
            where state = 'unknown' and ask_at > billd.now()"
        )
        .execute(&self.pool);
        Ok(self.within(statement).await?.rows_affected())
    }

    /// Writes outcomes and decisions down, in one commit. The results stand in the answers' order.
    ///
    /// Safe to repeat after an error: what had been written is reported as [`Recorded::Already`].
    pub async fn record(
        &self,
        answers: &[impl Borrow<Answer>],
        catch_up: Duration,
        lease: Duration,
    ) -> Result<Vec<Recorded>, StoreError> {
        match self.record_and_move(answers, catch_up, lease, true).await {
            // A calendar that can't be read (a zone that this server knows no longer) keeps no payment from being
            // written down. What follows from it is left to the re-plan.
            Err(StoreError::Refused(error)) if answers.len() == 1 && is_data_exception(&error) => {
                self.record_and_move(answers, catch_up, lease, false).await
            }
            result => result,
        }
    }

    async fn record_and_move(
        &self,
        answers: &[impl Borrow<Answer>],
        catch_up: Duration,
        lease: Duration,
        may_go_on: bool,
    ) -> Result<Vec<Recorded>, StoreError> {
        let columns = Columns::of(answers.iter().map(Borrow::borrow));
        let statement = sqlx::query_file!(
            "src/store/record.sql",
            &columns.merchant_uid,
            &columns.subscription_id as _,
            &columns.period as _,
            &columns.fence,
            &columns.state,
            &columns.imp_uid as _,
            &columns.pg_provider as _,
            &columns.pg_tid as _,
            &columns.receipt_url as _,
            &columns.cancelled_amount,
            &columns.reason as _,
            &columns.code as _,
            &columns.message as _,
            &columns.decision,
            &columns.wait_seconds,
            &columns.took_rung,
            &columns.give_up_reason as _,
            &columns.not_found,
            catch_up.as_secs_f64(),
            lease.as_secs_f64(),
            may_go_on,
        )
        .fetch_all(&self.recording);
        let rows = self.within(statement).await?;
        let mut recorded: HashMap<String, Recorded> = HashMap::with_capacity(rows.len());
        for row in rows {
            let wanted = columns.state_of(&row.merchant_uid);
            // A one-off charge has nothing to move.
            let is_done = row.moved || row.written && row.is_one_off;
            let is_known = !row.written && row.state_before.as_deref() == wanted;
            let what = match (is_done, is_known) {
                (true, _) => Recorded::Moved,
                (false, true) => Recorded::Already,
                (false, false) => Recorded::Stale {
                    paid_written: row.written && wanted == Some("paid"),
                },
            };
            recorded.insert(row.merchant_uid, what);
        }
        let lost = Recorded::Stale {
            paid_written: false,
        };
        let of = |answer: &Answer| recorded.get(answer.key.merchant_uid.as_str());
        Ok(answers
            .iter()
            .map(|answer| of(answer.borrow()).copied().unwrap_or(lost))
            .collect())
    }
}

/// Counts what a claim has begun, by currency; fails if that would pass a ceiling, and with it the claim. What is sent
/// again under its name was counted before.
async fn count_asked(tx: &mut Tx, rows: &[AttemptRow]) -> Result<(), sqlx::Error> {
    let begun = rows.iter().filter(|row| row.earlier_not_sent == 0);
    let (currencies, amounts): (Vec<String>, Vec<i64>) =
        begun.map(|row| (row.currency.clone(), row.amount)).unzip();
    sqlx::query!(
        "-- store::count_asked
        select billd_internal.count_asked(b.currency, count(*), sum(b.amount))
        from unnest($1::text[], $2::bigint[]) b (currency, amount)
        group by b.currency",
        &currencies,
        &amounts,
    )
    .fetch_all(&mut *tx)
    .await
    .map(drop)
}

async fn claim_due<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    after: Option<Position>,
    limits: ClaimLimits,
    passed_by: &[String],
) -> Result<Vec<AttemptRow>, sqlx::Error> {
    sqlx::query_file_as!(
        AttemptRow,
        "src/store/claim_due.sql",
        i32::try_from(limits.rows_max).unwrap_or(i32::MAX),
        limits.lease.as_secs_f64(),
        after.map(|after| jiff_sqlx::Timestamp::from(after.at)) as _,
        after.map(|after| after.id),
        (!passed_by.is_empty()).then_some(passed_by) as _,
    )
    .fetch_all(executor)
    .await
}

/// In the order in which they fell due.
fn claimed(mut rows: Vec<AttemptRow>) -> Result<Claimed, StoreError> {
    rows.sort_by_key(|row| {
        let at = row.next_charge_at.as_ref().and_then(Instant::known);
        (at, row.subscription_id)
    });
    let reached = rows.last().and_then(Position::behind);
    let claims = rows
        .into_iter()
        .map(AttemptRow::into_claim)
        .collect::<Result<_, _>>()?;
    Ok(Claimed { claims, reached })
}
