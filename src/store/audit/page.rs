//! What our books hold of a page of the gateway's, and what the page did not hold of ours.

use std::collections::HashMap;

use sqlx::types::Uuid;

use crate::domain::attempt::AttemptState;
use crate::domain::audit::{OwnEntry, OwnState, PartialMatch, is_named_like_ours};
use crate::domain::ids::{ImpUid, SubscriptionId, subscription_named_in};
use crate::store::audit::runs::Run;
use crate::store::payment::word;
use crate::store::{Store, StoreError};

/// A payment of ours that the gateway's books did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPayment {
    /// Our number.
    pub merchant_uid: String,
    /// What else our books say.
    pub own: OwnEntry,
}

impl Store {
    /// What our books say under these numbers.
    pub async fn own_entries(
        &self,
        merchant_uids: &[String],
    ) -> Result<HashMap<String, OwnEntry>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::own_entries
            select a.merchant_uid, a.subscription_id, a.state, a.amount, a.currency, a.customer_uid, a.imp_uid,
                a.cancelled_amount,
                exists (
                    select from billd.refund r
                    where r.imp_uid = a.imp_uid and r.merchant_uid = a.merchant_uid
                      and r.state in ('started', 'unknown')) as "is_being_refunded!"
            from billd.charge_attempt a
            where a.merchant_uid = any($1)"#,
            merchant_uids,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        rows.into_iter()
            .map(|row| {
                let state = match word(AttemptState::parse, &row.state)? {
                    AttemptState::Started | AttemptState::Unknown => OwnState::Open,
                    AttemptState::Paid => OwnState::Paid,
                    AttemptState::Declined | AttemptState::NotSent => OwnState::Final,
                };
                let own = OwnEntry {
                    subscription: row.subscription_id.map(SubscriptionId),
                    state,
                    amount: row.amount,
                    currency: row.currency,
                    customer_uid: row.customer_uid,
                    imp_uid: row.imp_uid.and_then(|uid| ImpUid::parse(uid).ok()),
                    cancelled_amount: row.cancelled_amount,
                    is_being_refunded: row.is_being_refunded,
                };
                Ok((row.merchant_uid, own))
            })
            .collect()
    }

    /// What our books say of these payments, in their order.
    async fn own_payments(&self, names: Vec<String>) -> Result<Vec<MissingPayment>, StoreError> {
        let mut own = self.own_entries(&names).await?;
        let known = names.into_iter().filter_map(|merchant_uid| {
            let own = own.remove(&merchant_uid)?;
            Some(MissingPayment { merchant_uid, own })
        });
        Ok(known.collect())
    }

    /// What ties these records, which match no row of ours, to our subscriptions; in their order.
    /// A record is its card, if it names one, and its `merchant_uid`.
    pub async fn partial_matches(
        &self,
        unmatched: &[(Option<String>, String)],
    ) -> Result<Vec<PartialMatch>, StoreError> {
        if unmatched.is_empty() {
            return Ok(Vec::new());
        }
        let cards: Vec<Option<String>> = unmatched.iter().map(|one| one.0.clone()).collect();
        let named: Vec<Option<Uuid>> = unmatched
            .iter()
            .map(|one| subscription_named_in(&one.1).map(|id| id.0))
            .collect();
        let statement = sqlx::query!(
            r#"-- store::partial_matches
            select
                (select s.id from billd.subscription s
                 where s.customer_uid = x.customer_uid order by s.id limit 1) as by_card,
                (select s.id from billd.subscription s where s.id = x.named) as by_name
            from unnest($1::text[], $2::uuid[]) with ordinality as x (customer_uid, named, place)
            order by x.place"#,
            &cards as _,
            &named as _,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        Ok(rows
            .into_iter()
            .zip(unmatched)
            .map(|(row, (_card, merchant_uid))| PartialMatch {
                by_card: row.by_card.map(SubscriptionId),
                by_name: row.by_name.map(SubscriptionId),
                is_named_like_ours: is_named_like_ours(merchant_uid),
            })
            .collect())
    }

    /// What was last paid for subscriptions that are asked for again within a day, and paid longer ago than `days`;
    /// behind where the page before ended, and where this one does.
    pub async fn payments_before_renewal(
        &self,
        days: u16,
        after: Option<(jiff::Timestamp, Uuid)>,
        rows_max: u32,
    ) -> Result<(Vec<MissingPayment>, Option<(jiff::Timestamp, Uuid)>), StoreError> {
        let statement = sqlx::query!(
            r#"-- store::payments_before_renewal
            select s.next_charge_at as "next_charge_at!: jiff_sqlx::Timestamp", s.id, a.merchant_uid as "merchant_uid!"
            from billd.subscription s
            cross join lateral (
                select p.* from billd.attempts_of(s.id) p
                where p.state = 'paid'
                order by p.merchant_uid desc
                limit 1
            ) a
            where s.state = 'active' and s.attempts = 0
              and s.next_charge_at > billd.now() and s.next_charge_at <= billd.now() + interval '25 hours'
              and (s.next_charge_at, s.id) > (coalesce($1::timestamptz, '-infinity'),
                  coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'))
              and a.started_at < billd.now() - make_interval(days => $3::int) and a.cancelled_amount < a.amount
            order by s.next_charge_at, s.id
            limit $4"#,
            after.map(|(at, _)| jiff_sqlx::Timestamp::from(at)) as _,
            after.map(|(_, id)| id),
            i32::from(days),
            i64::from(rows_max),
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        let reached = rows
            .last()
            .map(|row| (row.next_charge_at.to_jiff(), row.id));
        let names = rows.into_iter().map(|row| row.merchant_uid).collect();
        Ok((self.own_payments(names).await?, reached))
    }

    /// Our payments of the run's window up to `until` that the books did not hold, behind the one
    /// that was asked about last.
    ///
    /// Payments of the last hour are left out: the gateway's books may be behind.
    pub async fn missing_payments(
        &self,
        run: &Run,
        until: jiff::Timestamp,
        rows_max: u32,
    ) -> Result<Vec<MissingPayment>, StoreError> {
        let statement = sqlx::query_scalar!(
            "-- store::missing_payments
            select a.merchant_uid
            from billd.charge_attempt a
            where a.state = 'paid'
              and a.started_at >= $2
              and a.started_at < least($3, billd.now() - interval '1 hour')
              and a.merchant_uid > $4
              and not exists (
                  select from billd.audit_seen n
                  where n.run_id = $1 and n.merchant_uid = a.merchant_uid)
            order by a.merchant_uid
            limit $5",
            run.id,
            jiff_sqlx::Timestamp::from(run.window_from) as _,
            jiff_sqlx::Timestamp::from(until) as _,
            run.walked_to,
            i64::from(rows_max),
        )
        .fetch_all(&self.pool);
        let names = self.within(statement).await?;
        self.own_payments(names).await
    }
}
