//! Charges by hand: begin, claim to ask about, record.

use std::time::Duration;

use crate::domain::attempt::ChargeOutcome;
use crate::domain::dunning::Question;
use crate::domain::hand::{HandCharge, HandKind};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::BookPayment;
use crate::store::answers::Evidence;
use crate::store::rows::seconds;
use crate::store::{Store, StoreError};

/// What became of the wish to charge.
#[derive(Debug)]
pub enum HandBegun {
    /// It is written down as `started` and may be sent now, once.
    Begun(HandKey),
    /// This `merchant_uid` is in the book already.
    Known(Box<BookPayment>),
    /// Another charge of the same card is open: one question at a time.
    Open(MerchantUid),
}

/// Which charge, and under which claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandKey {
    /// The charge.
    pub merchant_uid: MerchantUid,
    /// The claim.
    pub fence: i64,
}

/// A charge whose fate is open and which is leased to us to ask about.
pub struct OpenHand {
    /// Which, under which claim.
    pub key: HandKey,
    /// What was asked for.
    pub charge: HandCharge,
    /// How long and how often it has been asked about.
    pub question: Question,
    /// Whether it already waits for a person.
    pub parked: bool,
}

/// What to write down about one charge.
pub struct HandRecord<'a> {
    /// Which, under which claim.
    pub key: &'a HandKey,
    /// What was learnt; `None` if asking brought nothing new.
    pub outcome: Option<&'a ChargeOutcome>,
    /// When to ask next, if it stays open.
    pub wait: Duration,
    /// Whether it waits for a person.
    pub parked: bool,
    /// How often in a row the gateway said that it knows nothing of it.
    pub not_found: u16,
}

/// How often something is begun that stands against nothing.
pub(super) const BEGIN_TRIES: u32 = 2;

impl Store {
    /// Writes a charge down before it leaves; the intent is durable when this returns.
    pub async fn begin_hand(
        &self,
        charge: &HandCharge,
        lease: Duration,
    ) -> Result<HandBegun, StoreError> {
        // What stood in the way may have closed before it was looked at: then there is room now.
        for _ in 0..BEGIN_TRIES {
            if let Some(begun) = self.try_begin_hand(charge, lease).await? {
                return Ok(begun);
            }
        }
        Err(self
            .not_begun("a charge is neither new nor known nor open")
            .await)
    }

    async fn try_begin_hand(
        &self,
        charge: &HandCharge,
        lease: Duration,
    ) -> Result<Option<HandBegun>, StoreError> {
        let customer_uid = charge.customer_uid.as_ref().map(CustomerUid::as_str);
        let currency = charge.money.currency();
        let begun = sqlx::query_scalar!(
            "-- store::begin_hand
            insert into billd.hand_charge
                (merchant_uid, kind, customer_uid, name, amount, currency, tax_free, vat_amount,
                 ask_at, fence)
            select $1, $2, $3, $4, $5, $6, $7, $8, billd.now() + make_interval(secs => $9),
                billd_internal.next_fence(0)
            where (select billd_internal.may_charge(make_interval(secs => $9))) is null
              and not exists (select from billd.charge_attempt a where a.merchant_uid = $1)
            on conflict do nothing
            returning fence",
            charge.merchant_uid.as_str(),
            charge.kind.as_str(),
            customer_uid,
            charge.name,
            charge.money.amount(),
            currency.as_str(),
            charge.tax_free,
            charge.vat_amount,
            lease.as_secs_f64(),
        )
        .fetch_optional(&self.pool);
        if let Some(fence) = self.within(begun).await? {
            return Ok(Some(HandBegun::Begun(HandKey {
                merchant_uid: charge.merchant_uid.clone(),
                fence,
            })));
        }
        if let Some(known) = self.payment(&charge.merchant_uid).await? {
            return Ok(Some(HandBegun::Known(Box::new(known))));
        }
        let open = sqlx::query_scalar!(
            "-- store::begin_hand, the one that is open
            select merchant_uid from billd.hand_charge
            where customer_uid = $1 and state in ('started', 'unknown')",
            customer_uid,
        )
        .fetch_optional(&self.pool);
        let open = self.within(open).await?;
        open.map(|open| merchant_uid(&open).map(HandBegun::Open))
            .transpose()
    }

    /// Takes over charges whose lease or waiting time has ended, to ask about them.
    pub async fn claim_open_hand(
        &self,
        rows_max: u32,
        lease: Duration,
    ) -> Result<Vec<OpenHand>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::claim_open_hand
            with open as materialized (
                select h.merchant_uid, h.state, h.reason
                from billd.hand_charge h
                where (select billd_internal.may_charge(make_interval(secs => $2))) is null
                  and h.state in ('started', 'unknown') and h.ask_at <= billd.now()
                order by h.ask_at
                limit $1::int
                for no key update skip locked
            )
            update billd.hand_charge h
            set state = 'unknown',
                reason = case when o.state = 'started' then 'abandoned' else o.reason end,
                ask_at = billd.now() + make_interval(secs => $2),
                asks = least(h.asks, 30000) + 1,
                asked_at = billd.now(),
                fence = billd_internal.next_fence(h.fence)
            from open o
            where h.merchant_uid = o.merchant_uid
            returning h.merchant_uid, h.kind, h.customer_uid, h.name, h.amount, h.currency, h.tax_free,
                h.vat_amount, h.fence, h.asks, h.not_found, h.parked_at is not null as "parked!",
                greatest(0, extract(epoch from billd.now() - h.started_at))::float8 as "age_seconds!""#,
            i32::try_from(rows_max).unwrap_or(i32::MAX),
            lease.as_secs_f64(),
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        rows.into_iter()
            .map(|row| {
                let merchant_uid = merchant_uid(&row.merchant_uid)?;
                let customer_uid = row.customer_uid.map(CustomerUid::parse).transpose();
                let currency = Currency::parse(&row.currency).map_err(corrupt)?;
                Ok(OpenHand {
                    key: HandKey {
                        merchant_uid: merchant_uid.clone(),
                        fence: row.fence,
                    },
                    charge: HandCharge {
                        merchant_uid,
                        kind: if row.kind == HandKind::Onetime.as_str() {
                            HandKind::Onetime
                        } else {
                            HandKind::Again
                        },
                        customer_uid: customer_uid.map_err(corrupt)?,
                        money: Money::new(row.amount, currency).map_err(corrupt)?,
                        name: row.name,
                        tax_free: row.tax_free,
                        vat_amount: row.vat_amount,
                    },
                    question: Question {
                        age: seconds(row.age_seconds),
                        asks: u16::try_from(row.asks).unwrap_or_default(),
                        not_found: u16::try_from(row.not_found).unwrap_or_default(),
                        sends: 1,
                    },
                    parked: row.parked,
                })
            })
            .collect()
    }

    /// Writes an outcome down. The fact that money moved is written whatever the fence says. Safe to
    /// repeat. Returns false if the claim was lost, and nothing was written.
    pub async fn record_hand(&self, record: HandRecord<'_>) -> Result<bool, StoreError> {
        let evidence = Evidence::of(record.outcome);
        let statement = sqlx::query!(
            "-- store::record_hand
            update billd.hand_charge h
            set state = $3,
                finished_at = case when $3 <> 'unknown' then billd.now() end,
                ask_at = case when $3 = 'unknown' then billd.now() + make_interval(secs => $4) end,
                parked_at = case when $5 then coalesce(h.parked_at, billd.now()) end,
                not_found = $6,
                imp_uid = coalesce($7, h.imp_uid),
                pg_provider = coalesce($8, h.pg_provider),
                pg_tid = coalesce($9, h.pg_tid),
                receipt_url = coalesce($10, h.receipt_url),
                cancelled_amount = greatest(h.cancelled_amount, $11),
                reason = case when $3 = 'paid' then null else coalesce($12, h.reason) end,
                code = $13,
                message = case when $3 = 'paid' then null else coalesce($14, h.message) end
            where h.merchant_uid = $1
              and (($3 = 'paid' and h.state <> 'paid')
                   or (h.state in ('started', 'unknown') and h.fence = $2))",
            record.key.merchant_uid.as_str(),
            record.key.fence,
            evidence.state,
            record.wait.as_secs_f64(),
            record.parked,
            i16::try_from(record.not_found).unwrap_or(i16::MAX),
            evidence.imp_uid,
            evidence.pg_provider,
            evidence.pg_tid,
            evidence.receipt_url,
            evidence.cancelled_amount,
            evidence.reason,
            evidence.code,
            evidence.message,
        )
        .execute(&self.recording);
        if self.within(statement).await?.rows_affected() > 0 {
            return Ok(true);
        }
        let now = self.payment(&record.key.merchant_uid).await?;
        Ok(now.is_some_and(|now| now.state.as_str() == evidence.state))
    }

    /// Makes every charge by hand and every refund whose fate is unknown due to be asked about now.
    pub async fn ask_all_by_hand_now(&self) -> Result<(), StoreError> {
        let charges = sqlx::query!(
            "-- store::ask_all_by_hand_now, charges
            update billd.hand_charge set ask_at = billd.now()
            where state = 'unknown' and ask_at > billd.now()"
        )
        .execute(&self.pool);
        self.within(charges).await?;
        let refunds = sqlx::query!(
            "-- store::ask_all_by_hand_now, refunds
            update billd.refund set ask_at = billd.now()
            where state = 'unknown' and ask_at > billd.now()"
        )
        .execute(&self.pool);
        self.within(refunds).await.map(drop)
    }
}

pub(super) fn merchant_uid(text: &str) -> Result<MerchantUid, StoreError> {
    MerchantUid::parse(text).map_err(corrupt)
}

pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}
