//! Findings: each once, with one notification, and counted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::domain::audit::Finding;
use crate::store::session::Tx;
use crate::store::{Store, StoreError};

/// A finding as its row has it. State and kind are words, so that those of a newer billd can be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingRow {
    /// Its number.
    pub id: i64,
    /// What became of it.
    pub state: String,
    /// In which way the books differ.
    pub kind: String,
    /// Under which number.
    pub merchant_uid: String,
    /// The gateway's receipt.
    pub imp_uid: Option<String>,
    /// Whose it is.
    pub subscription: Option<Uuid>,
    /// What our books say.
    pub amount_ours: Option<i64>,
    /// What the gateway's say.
    pub amount_theirs: Option<i64>,
    /// What is known of it.
    pub note: Option<String>,
}

/// What the figures show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFindings {
    /// Open findings by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// When an audit last came to its end.
    pub finished_at: Option<Timestamp>,
}

impl Store {
    /// Findings that nobody was notified of yet, oldest first.
    pub async fn findings_to_notify(&self, rows_max: u32) -> Result<Vec<FindingRow>, StoreError> {
        let statement = sqlx::query_as!(
            FindingRow,
            "-- store::findings_to_notify
            select id, state, kind, merchant_uid, imp_uid, subscription_id as subscription, amount_ours,
                amount_theirs, note
            from billd.finding
            where told_at is null
            order by id
            limit $1",
            i64::from(rows_max),
        )
        .fetch_all(&self.pool);
        self.within(statement).await
    }

    /// Notes that somebody was notified of everything up to this finding; returns how many that are. Only
    /// afterwards: twice is better than never.
    pub async fn mark_notified(&self, last_id: i64) -> Result<u64, StoreError> {
        let statement = sqlx::query!(
            "-- store::mark_notified
            update billd.finding set told_at = billd.now() where told_at is null and id <= $1",
            last_id,
        )
        .execute(&self.pool);
        Ok(self.within(statement).await?.rows_affected())
    }

    /// Findings that a run has seen and that are new by it or still open, for its report.
    pub async fn findings_to_show(
        &self,
        run_id: i64,
        rows_max: u32,
    ) -> Result<Vec<FindingRow>, StoreError> {
        let statement = sqlx::query_as!(
            FindingRow,
            "-- store::findings_to_show
            select f.id, f.state, f.kind, f.merchant_uid, f.imp_uid, f.subscription_id as subscription,
                f.amount_ours, f.amount_theirs, f.note
            from billd.finding f
            where f.state = 'open'
               or (f.run_id = $1 and f.first_seen_at >= (select started_at from billd.audit_run where id = $1))
            order by f.kind, f.id
            limit $2",
            run_id,
            i64::from(rows_max),
        )
        .fetch_all(&self.pool);
        self.within(statement).await
    }

    /// Counts what is open, and says when an audit last ended.
    pub async fn open_findings(&self) -> Result<OpenFindings, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::open_findings
            select kind as "kind!", count(*) as "count!"
            from billd.finding
            where state = 'open'
            group by kind"#
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        let finished_at = sqlx::query_scalar!(
            r#"-- store::open_findings, last audit
            select max(finished_at) as "finished_at: jiff_sqlx::Timestamp" from billd.audit_run"#
        )
        .fetch_one(&self.pool);
        let finished_at = self.within(finished_at).await?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(OpenFindings {
            by_kind: rows
                .into_iter()
                .map(|row| (row.kind, count(row.count)))
                .collect(),
            finished_at: finished_at.map(jiff_sqlx::Timestamp::to_jiff),
        })
    }
}

/// Writes findings down, each once. What a person has explained stays explained; what was corrected
/// and is there again is open again, with a new notification.
pub(super) async fn upsert(
    tx: &mut Tx,
    run_id: i64,
    findings: &[Finding],
) -> Result<(), sqlx::Error> {
    if findings.is_empty() {
        return Ok(());
    }
    let texts =
        |field: fn(&Finding) -> Option<String>| findings.iter().map(field).collect::<Vec<_>>();
    let sums = |field: fn(&Finding) -> Option<i64>| findings.iter().map(field).collect::<Vec<_>>();
    let subscriptions: Vec<Option<Uuid>> = findings
        .iter()
        .map(|finding| finding.subscription.map(|id| id.0))
        .collect();
    sqlx::query!(
        "-- store::audit, findings
        insert into billd.finding as f
            (kind, merchant_uid, imp_uid, subscription_id, amount_ours, amount_theirs, currency,
             note, run_id, state)
        select distinct on (x.kind, x.merchant_uid, coalesce(x.imp_uid, ''))
            x.kind, x.merchant_uid, x.imp_uid, x.subscription_id, x.amount_ours, x.amount_theirs,
            x.currency, x.note, $9,
            -- Our books have followed: there is nothing left for a person to do.
            case when x.kind = 'cancelled_there' then 'mended' else 'open' end
        from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[],
                    $7::text[], $8::text[])
            as x (kind, merchant_uid, imp_uid, subscription_id, amount_ours, amount_theirs,
                  currency, note)
        order by x.kind, x.merchant_uid, coalesce(x.imp_uid, ''), x.amount_theirs desc
        on conflict (kind, merchant_uid, coalesce(imp_uid, '')) do update
        set last_seen_at = billd.now(),
            run_id = excluded.run_id,
            amount_ours = excluded.amount_ours,
            amount_theirs = excluded.amount_theirs,
            state = case when f.state = 'mended' then excluded.state else f.state end,
            told_at = case
                when f.state = 'mended' and (excluded.state = 'open'
                     or f.amount_theirs is distinct from excluded.amount_theirs) then null
                else f.told_at
            end",
        &texts(|finding| Some(finding.kind.as_str().to_owned())) as _,
        &texts(|finding| Some(finding.merchant_uid.clone())) as _,
        &texts(|finding| finding.imp_uid.clone()) as _,
        &subscriptions as _,
        &sums(|finding| finding.amount_ours) as _,
        &sums(|finding| finding.amount_theirs) as _,
        &texts(|finding| finding.currency.clone()) as _,
        &texts(|finding| finding.note.clone()) as _,
        run_id,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}
