//! Refunds: begin, claim to look at, record.

use std::time::Duration;

use sqlx::types::Uuid;

use crate::domain::dunning::Question;
use crate::domain::ids::{CustomerUid, ImpUid};
use crate::domain::money::Currency;
use crate::domain::refund::{RefundDoubt, RefundRequest, RefundStatus, Refusal};
use crate::store::one_off::BEGIN_TRIES;
use crate::store::payment::word;
use crate::store::rows::{corrupt, merchant_uid, seconds};
use crate::store::{Store, StoreError};

/// What became of the wish to give money back.
#[derive(Debug)]
pub enum RefundBegun {
    /// It is written down as `started` and may be sent now, once.
    Begun(RefundKey),
    /// The same refund is in the book, done or open.
    Known(BookRefund),
    /// Another refund of the same payment is open: one question at a time.
    Open(BookRefund),
}

/// Which refund, and under which claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundKey {
    /// The refund.
    pub id: Uuid,
    /// The claim.
    pub fence: i64,
}

/// What our book says of one refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookRefund {
    /// Its name within the payment.
    pub key: String,
    /// `Started`, `Refunded` or `Unknown`.
    pub state: RefundStatus,
    /// The sum in minor units.
    pub amount: i64,
}

struct BookRow {
    key: String,
    state: String,
    amount: i64,
}

impl BookRow {
    fn into_refund(self) -> Result<BookRefund, StoreError> {
        Ok(BookRefund {
            key: self.key,
            state: word(RefundStatus::parse, &self.state)?,
            amount: self.amount,
        })
    }
}

/// A refund whose fate is open and which is leased to us to look at.
pub struct OpenRefund {
    /// Which, under which claim.
    pub key: RefundKey,
    /// What was asked for.
    pub request: RefundRequest,
    /// The card of the payment, if it is stored.
    pub customer_uid: Option<CustomerUid>,
    /// How long and how often it has been looked at; `not_found` counts unchanged balances.
    pub question: Question,
    /// Whether it already waits for a person.
    pub parked: bool,
    /// What speaks against believing a look at the payment.
    pub doubt: RefundDoubt,
}

struct OpenRow {
    id: Uuid,
    merchant_uid: String,
    imp_uid: String,
    amount: i64,
    currency: String,
    payment_amount: i64,
    checksum: i64,
    tax_free: Option<i64>,
    vat_amount: Option<i64>,
    note: Option<String>,
    fence: i64,
    asks: i16,
    unchanged: i16,
    parked: bool,
    age_seconds: f64,
    reason: Option<String>,
    customer_uid: Option<String>,
    booked: i64,
}

impl OpenRow {
    fn into_refund(self) -> Result<OpenRefund, StoreError> {
        let customer_uid = self.customer_uid.map(CustomerUid::parse);
        Ok(OpenRefund {
            key: RefundKey {
                id: self.id,
                fence: self.fence,
            },
            request: RefundRequest {
                merchant_uid: merchant_uid(&self.merchant_uid)?,
                imp_uid: ImpUid::parse(self.imp_uid).map_err(corrupt)?,
                amount: self.amount,
                checksum: self.checksum,
                payment_amount: self.payment_amount,
                currency: Currency::parse(&self.currency).map_err(corrupt)?,
                tax_free: self.tax_free,
                vat_amount: self.vat_amount,
                note: self.note,
            },
            customer_uid: customer_uid.transpose().map_err(corrupt)?,
            question: Question {
                age: seconds(self.age_seconds),
                asks: u16::try_from(self.asks).unwrap_or_default(),
                not_found: u16::try_from(self.unchanged).unwrap_or_default(),
                sends: 1,
            },
            parked: self.parked,
            doubt: RefundDoubt {
                booked: self.booked,
                is_contradicted: self.reason.as_deref() == Some(Refusal::Contradicted.as_str()),
            },
        })
    }
}

/// A state that a refund can be brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundState {
    /// Money was given back.
    Refunded,
    /// It was not, and the gateway won't.
    Refused,
    /// The request never left.
    NotSent,
    /// Nobody can tell yet.
    Unknown {
        /// Until the next look.
        wait: Duration,
        /// Whether a person must look.
        parked: bool,
    },
}

impl RefundState {
    /// The same without what goes with it.
    pub fn status(self) -> RefundStatus {
        match self {
            Self::Refunded => RefundStatus::Refunded,
            Self::Refused => RefundStatus::Refused,
            Self::NotSent => RefundStatus::NotSent,
            Self::Unknown { .. } => RefundStatus::Unknown,
        }
    }

    /// The word for rows and results.
    pub fn as_str(self) -> &'static str {
        self.status().as_str()
    }
}

/// What to write down about one refund.
pub struct RefundRecord<'a> {
    /// Which, under which claim.
    pub key: &'a RefundKey,
    /// What it was asked for.
    pub request: &'a RefundRequest,
    /// What is known now.
    pub state: RefundState,
    /// Kind of doubt, or why it was not sent.
    pub reason: Option<&'a str>,
    /// What the gateway said.
    pub message: Option<&'a str>,
    /// How often in a row the balance was unchanged.
    pub unchanged: u16,
}

impl Store {
    /// Writes a refund down before it leaves; the intent is durable when this returns.
    pub async fn begin_refund(
        &self,
        request: &RefundRequest,
        key: &str,
        lease: Duration,
    ) -> Result<RefundBegun, StoreError> {
        // What stood in the way may have closed before it was looked at: then there is room now.
        for _ in 0..BEGIN_TRIES {
            if let Some(begun) = self.try_begin_refund(request, key, lease).await? {
                return Ok(begun);
            }
        }
        Err(self
            .not_begun("a refund is neither new nor known nor open")
            .await)
    }

    async fn try_begin_refund(
        &self,
        request: &RefundRequest,
        key: &str,
        lease: Duration,
    ) -> Result<Option<RefundBegun>, StoreError> {
        let begun = sqlx::query!(
            "-- store::begin_refund
            insert into billd.refund
                (merchant_uid, imp_uid, key, amount, currency, payment_amount, checksum, tax_free,
                 vat_amount, note, ask_at, fence)
            select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                billd.now() + make_interval(secs => $11), billd_internal.next_fence(0)
            where (select nullif(billd_internal.may_charge(make_interval(secs => $11)), 'stopped')) is null
              and not exists (
                select from billd.refund r
                where r.imp_uid = $2 and r.key = $3 and r.state = 'refunded')
            on conflict do nothing
            returning id, fence",
            request.merchant_uid.as_str(),
            request.imp_uid.as_str(),
            key,
            request.amount,
            request.currency.as_str(),
            request.payment_amount,
            request.checksum,
            request.tax_free,
            request.vat_amount,
            request.note,
            lease.as_secs_f64(),
        )
        .fetch_optional(&self.pool);
        if let Some(row) = self.within(begun).await? {
            return Ok(Some(RefundBegun::Begun(RefundKey {
                id: row.id,
                fence: row.fence,
            })));
        }
        if let Some(known) = self.refund_of_key(&request.imp_uid, key).await? {
            return Ok(Some(RefundBegun::Known(known)));
        }
        let open = sqlx::query_as!(
            BookRow,
            "-- store::begin_refund, the one that is open
            select key, state, amount from billd.refund
            where imp_uid = $1 and state in ('started', 'unknown')",
            request.imp_uid.as_str(),
        )
        .fetch_optional(&self.pool);
        let open = self.within(open).await?.map(BookRow::into_refund);
        Ok(open.transpose()?.map(RefundBegun::Open))
    }

    /// The refund of this name, if it is done or open.
    pub async fn refund_of_key(
        &self,
        imp_uid: &ImpUid,
        key: &str,
    ) -> Result<Option<BookRefund>, StoreError> {
        let statement = sqlx::query_as!(
            BookRow,
            "-- store::refund_of_key
            select key, state, amount from billd.refund
            where imp_uid = $1 and key = $2
              and (state in ('started', 'unknown') or state = 'refunded')
            order by state = 'refunded' desc
            limit 1",
            imp_uid.as_str(),
            key,
        )
        .fetch_optional(&self.pool);
        let known = self.within(statement).await?;
        known.map(BookRow::into_refund).transpose()
    }

    /// Takes over refunds whose lease or waiting time has ended, to look at their payments.
    pub async fn claim_open_refund(
        &self,
        rows_max: u32,
        lease: Duration,
    ) -> Result<Vec<OpenRefund>, StoreError> {
        let statement = sqlx::query_as!(
            OpenRow,
            r#"-- store::claim_open_refund
            with open as materialized (
                select r.id, r.merchant_uid, r.state, r.reason
                from billd.refund r
                where (select billd_internal.may_ask(make_interval(secs => $2))) is null
                  and r.state in ('started', 'unknown') and r.ask_at <= billd.now()
                order by r.ask_at
                limit $1::int
                for no key update skip locked
            )
            update billd.refund r
            set state = 'unknown',
                reason = case when o.state = 'started' then 'abandoned' else o.reason end,
                ask_at = billd.now() + make_interval(secs => $2),
                asks = least(r.asks, 30000) + 1,
                fence = billd_internal.next_fence(r.fence)
            from open o
            -- Kept for ever, so there is one: refund_belongs_to_a_payment.
            join billd.charge_attempt a on a.merchant_uid = o.merchant_uid
            where r.id = o.id
            returning r.id, r.merchant_uid, r.imp_uid, r.amount, r.currency, r.payment_amount,
                r.checksum, r.tax_free, r.vat_amount, r.note, r.fence, r.asks, r.unchanged,
                r.parked_at is not null as "parked!",
                greatest(0, extract(epoch from billd.now() - r.started_at))::float8 as "age_seconds!",
                r.reason, a.customer_uid, a.cancelled_amount as booked"#,
            i32::try_from(rows_max).unwrap_or(i32::MAX),
            lease.as_secs_f64(),
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        rows.into_iter().map(OpenRow::into_refund).collect()
    }

    /// Makes every refund whose fate is unknown due to be looked at now.
    pub async fn look_at_all_refunds_now(&self) -> Result<(), StoreError> {
        let refunds = sqlx::query!(
            "-- store::look_at_all_refunds_now
            update billd.refund set ask_at = billd.now()
            where state = 'unknown' and ask_at > billd.now()"
        )
        .execute(&self.pool);
        self.within(refunds).await.map(drop)
    }

    /// Writes down what became of a refund; the payment's own row follows in the same commit. That
    /// money was given back is written whatever the fence says. Returns false if the claim was lost,
    /// and nothing was written.
    pub async fn record_refund(&self, record: &RefundRecord<'_>) -> Result<bool, StoreError> {
        let (wait, parked) = match record.state {
            RefundState::Unknown { wait, parked } => (wait, parked),
            RefundState::Refunded | RefundState::Refused | RefundState::NotSent => {
                (Duration::ZERO, false)
            }
        };
        let statement = sqlx::query_scalar!(
            r#"-- store::record_refund
            with refund as (
                update billd.refund r
                set state = $3,
                    finished_at = case when $3 <> 'unknown' then billd.now() end,
                    ask_at = case
                        when $3 = 'unknown' then billd.now() + make_interval(secs => $4)
                    end,
                    parked_at = case when $5 then coalesce(r.parked_at, billd.now()) end,
                    unchanged = $6,
                    reason = case when $3 = 'refunded' then null else coalesce($7, r.reason) end,
                    message = case when $3 = 'refunded' then null else coalesce($8, r.message) end
                where r.id = $1
                  and (($3 = 'refunded' and r.state <> 'refunded')
                       or (r.state in ('started', 'unknown') and r.fence = $2))
                returning r.merchant_uid
            ),
            attempt as (
                update billd.charge_attempt a
                set cancelled_amount = greatest(a.cancelled_amount, $9)
                from refund r
                where a.merchant_uid = r.merchant_uid and $3 = 'refunded'
            )
            select exists (select from refund)
                or exists (select from billd.refund r where r.id = $1 and r.state = $3) as "written!""#,
            record.key.id,
            record.key.fence,
            record.state.as_str(),
            wait.as_secs_f64(),
            parked,
            i16::try_from(record.unchanged).unwrap_or(i16::MAX),
            record.reason,
            record.message,
            record.request.cancelled_after(),
        )
        .fetch_one(&self.recording);
        self.within(statement).await
    }
}
