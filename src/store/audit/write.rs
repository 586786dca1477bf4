//! Writes down what a page comes to, in one commit with how far the run has come.

use crate::domain::attempt::Payment;
use crate::domain::audit::{Comparison, Finding, FindingKind};
use crate::domain::ids::SubscriptionId;
use crate::store::audit::findings::upsert;
use crate::store::audit::runs::{Run, progress};
use crate::store::session::Tx;
use crate::store::{Store, StoreError};

impl Store {
    /// Writes down what a page comes to and how far the run has come, in one commit. `false`, and
    /// nothing is written, if the run is somebody else's by now.
    pub async fn write_comparison(
        &self,
        run: &Run,
        comparison: &Comparison,
    ) -> Result<bool, StoreError> {
        let mut tx = self.within(self.pool.begin()).await?;
        let written = self.within(write(&mut tx, run, comparison)).await?;
        if written {
            self.within(tx.commit()).await?;
        }
        Ok(written)
    }

    /// Writes down how much was given back of these payments in all, by somebody else.
    pub async fn note_given_back(&self, given_back: &[(String, i64)]) -> Result<(), StoreError> {
        let mut tx = self.within(self.pool.begin()).await?;
        self.within(follow_cancels(&mut tx, given_back)).await?;
        self.within(tx.commit()).await
    }
}

async fn write(tx: &mut Tx, run: &Run, comparison: &Comparison) -> Result<bool, sqlx::Error> {
    // First, because it takes the lock that keeps a second holder of the run out.
    if !progress(tx, run).await? {
        return Ok(false);
    }
    if !comparison.paid.is_empty() {
        write_paid(tx, comparison).await?;
    }
    if !comparison.cancelled.is_empty() {
        follow_cancels(tx, &comparison.cancelled).await?;
    }
    if !comparison.ask_now.is_empty() {
        ask_now(tx, &comparison.ask_now).await?;
    }
    if !comparison.seen.is_empty() {
        mark_seen(tx, run, comparison).await?;
    }
    upsert(tx, run.id, &comparison.findings).await?;
    if !comparison.seen.is_empty() {
        paid_twice(tx, run, comparison).await?;
    }
    if !comparison.refunded.is_empty() {
        correct_refunded(tx, comparison).await?;
    }
    Ok(true)
}

/// Money moved for what counted as unpaid. The subscription is set aside for a second look, and the
/// debt is closed at once, so that nobody charges it in between.
async fn write_paid(tx: &mut Tx, comparison: &Comparison) -> Result<(), sqlx::Error> {
    let column = |field: fn(&(String, Payment)) -> Option<String>| {
        comparison.paid.iter().map(field).collect::<Vec<_>>()
    };
    let names: Vec<String> = comparison.paid.iter().map(|one| one.0.clone()).collect();
    let given_back: Vec<i64> = comparison
        .paid
        .iter()
        .map(|one| one.1.cancelled_amount)
        .collect();
    sqlx::query!(
        "-- store::audit, paid after all
        with answer as materialized (
            select *, set_config('billd.writer', 'audit', true)
            from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
                as x (merchant_uid, imp_uid, pg_provider, pg_tid, receipt_url, cancelled_amount)
        ),
        fact as (
            update billd.charge_attempt a
            set state = 'paid', finished_at = billd.now(), imp_uid = x.imp_uid,
                pg_provider = coalesce(x.pg_provider, a.pg_provider), pg_tid = x.pg_tid,
                receipt_url = x.receipt_url, reason = null, code = null, message = null,
                cancelled_amount = greatest(a.cancelled_amount, x.cancelled_amount)
            from answer x
            where a.merchant_uid = x.merchant_uid and a.state in ('declined', 'not_sent')
            returning a.subscription_id, a.period, a.attempt_no
        ),
        stray as (
            update billd.subscription s
            set recheck = true, row_version = s.row_version + 2,
                last_result = case when (s.period, s.attempts) = (f.period, f.attempt_no) then 'paid' else s.last_result end,
                last_reason = case when (s.period, s.attempts) = (f.period, f.attempt_no) then null else s.last_reason end,
                last_message = case when (s.period, s.attempts) = (f.period, f.attempt_no) then null else s.last_message end
            from fact f
            -- Attempts are locked before subscriptions, everywhere: this makes `fact` run first.
            where s.id = f.subscription_id and (select count(*) from fact) >= 0
            returning s.id
        )
        update billd.billing_cycle c
        set state = 'paid', closed_at = coalesce(c.closed_at, billd.now()), reason = null
        from fact f
        where c.subscription_id = f.subscription_id and c.period = f.period and c.state <> 'paid'
          -- And subscriptions before their debts.
          and (select count(*) from stray) >= 0
          and not billd_internal.has_open_attempt(f.subscription_id, f.period)",
        &names,
        &column(|one| Some(one.1.imp_uid.as_str().to_owned())) as _,
        &column(|one| one.1.pg_provider.clone()) as _,
        &column(|one| one.1.pg_tid.clone()) as _,
        &column(|one| one.1.receipt_url.clone()) as _,
        &given_back,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

async fn follow_cancels(tx: &mut Tx, cancelled: &[(String, i64)]) -> Result<(), sqlx::Error> {
    let (names, amounts): (Vec<String>, Vec<i64>) = cancelled.iter().cloned().unzip();
    sqlx::query!(
        "-- store::audit, given back
        update billd.charge_attempt a
        set cancelled_amount = x.amount
        from unnest($1::text[], $2::bigint[]) as x (merchant_uid, amount)
        where a.merchant_uid = x.merchant_uid and a.state = 'paid' and a.cancelled_amount < x.amount",
        &names,
        &amounts,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

/// A started attempt is in somebody's hands until its lease ends, so only unknown ones are touched, and not
/// those whose question may be under way; and those whose lease has ended without anybody noticing.
async fn ask_now(tx: &mut Tx, names: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- store::audit, ask now
        update billd.charge_attempt
        set ask_at = billd.now()
        where merchant_uid = any($1) and case state
            when 'unknown' then ask_at > billd.now()
                and (asked_at is null or asked_at < billd.now() - interval '10 minutes')
            when 'started' then ask_at is null
                and started_at + (select lease from billd.control) <= billd.now()
            else false
        end",
        names,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

async fn mark_seen(tx: &mut Tx, run: &Run, comparison: &Comparison) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- store::audit, seen
        insert into billd.audit_seen (run_id, merchant_uid)
        select $1, x from unnest($2::text[]) x
        on conflict do nothing",
        run.id,
        &comparison.seen,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- store::audit, there after all
        update billd.finding
        set state = 'mended'
        where kind = 'paid_here_not_there' and state = 'open' and merchant_uid = any($1)",
        &comparison.seen,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

/// Debts of this page for which more than one payment is kept, named by their latest payment.
async fn paid_twice(tx: &mut Tx, run: &Run, comparison: &Comparison) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- store::audit, paid twice
        select a.subscription_id as "subscription_id!", (array_agg(a.merchant_uid order by a.attempt_no desc))[1] as "merchant_uid!",
            (array_agg(a.imp_uid order by a.attempt_no desc))[1] as imp_uid,
            min(a.amount) as amount, sum(a.amount - a.cancelled_amount)::bigint as kept,
            min(a.currency) as currency,
            string_agg(a.merchant_uid, ', ' order by a.attempt_no) as "names!"
        from (
            select distinct b.subscription_id, b.period
            from billd.charge_attempt b
            where b.merchant_uid = any($1)
        ) debt
        cross join lateral billd.attempts_of(debt.subscription_id, debt.period) a
        where a.state = 'paid' and a.cancelled_amount < a.amount
        group by a.subscription_id, a.period
        having count(*) > 1"#,
        &comparison.seen,
    )
    .fetch_all(&mut *tx)
    .await?;
    let findings: Vec<_> = rows
        .into_iter()
        .map(|row| Finding {
            kind: FindingKind::PaidTwice,
            merchant_uid: row.merchant_uid,
            imp_uid: row.imp_uid,
            subscription: Some(SubscriptionId(row.subscription_id)),
            amount_ours: row.amount,
            amount_theirs: row.kept,
            currency: row.currency,
            note: Some(format!("one debt, several payments: {}", row.names)),
        })
        .collect();
    upsert(tx, run.id, &findings).await
}

async fn correct_refunded(tx: &mut Tx, comparison: &Comparison) -> Result<(), sqlx::Error> {
    let (names, imp_uids): (Vec<String>, Vec<String>) = comparison.refunded.iter().cloned().unzip();
    sqlx::query!(
        "-- store::audit, refunded
        update billd.finding f
        set state = 'mended'
        from unnest($1::text[], $2::text[]) as x (merchant_uid, imp_uid)
        where f.merchant_uid = x.merchant_uid and f.imp_uid = x.imp_uid and f.state = 'open'
          and f.kind in ('foreign_payment', 'paid_twice', 'amount_mismatch', 'customer_mismatch')",
        &names,
        &imp_uids,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}
