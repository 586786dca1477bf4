//! A subscription that begins with a payment made with the card itself.
//!
//! Subscription, debt and attempt are written in one transaction, before the request leaves. The
//! subscription is born with its attempt open, so no sweep can charge it, and the period that this
//! payment is for is the first one.

use std::time::Duration;

use sqlx::types::Uuid;

use crate::domain::attempt::{ChargeRequest, ChargeTerms, Instrument};
use crate::domain::calendar::{Interval, Zone};
use crate::domain::claim::{AttemptKey, Claim, Debt};
use crate::domain::dunning::History;
use crate::domain::ids::{CustomerUid, SubscriptionId};
use crate::domain::money::Money;
use crate::domain::purpose::Purpose;
use crate::store::rows::merchant_uid;
use crate::store::session::Tx;
use crate::store::{Store, StoreError};

/// What is agreed on.
pub struct FirstPayment {
    /// Under which name the card is stored, and charged from then on.
    pub customer_uid: CustomerUid,
    /// The card itself, for the first payment.
    pub instrument: Instrument,
    /// What the buyer's statement says.
    pub name: String,
    /// The sum of every period.
    pub money: Money,
    /// How often.
    pub interval: Interval,
    /// Where months and days are counted.
    pub zone: Zone,
    /// What else is sent with every charge.
    pub terms: ChargeTerms,
    /// Whether the card may have another subscription already.
    pub is_another: bool,
}

/// What became of the wish.
pub enum FirstBegun {
    /// It is written down; the payment may be sent now, once.
    Begun(Box<Claim>, Debt),
    /// The card has a subscription that has not ended.
    Exists(SubscriptionId),
    /// The first payment of this subscription of the card has an open fate: nobody can tell yet
    /// whether a repeat would charge twice.
    Open(SubscriptionId),
}

impl Store {
    /// Writes a subscription down together with its first attempt, `started` and leased to us.
    pub async fn begin_first_payment(
        &self,
        first: &FirstPayment,
        lease: Duration,
    ) -> Result<FirstBegun, StoreError> {
        let mut tx = self.within(self.pool.begin()).await?;
        if self.within(is_held(&mut tx, lease)).await? {
            self.within(tx.commit()).await?;
            return Err(self
                .not_begun("what stood against it has just ended; try again")
                .await);
        }
        let existing = self.within(existing(&mut tx, &first.customer_uid)).await?;
        if let Some(existing) = existing {
            let id = SubscriptionId(existing.id);
            if existing.is_open {
                return Ok(FirstBegun::Open(id));
            }
            if !first.is_another {
                return Ok(FirstBegun::Exists(id));
            }
        }
        let born = self.within(insert(&mut tx, first)).await?;
        let (merchant_uid, fence) = self.within(begin(&mut tx, &born, first, lease)).await?;
        let (claim, debt) = claim(first, &born, &merchant_uid, fence)?;
        self.within(tx.commit()).await?;
        Ok(FirstBegun::Begun(Box::new(claim), debt))
    }
}

/// Whether the book does not charge at present.
async fn is_held(tx: &mut Tx, lease: Duration) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- store::begin_first_payment, may it begin
        select billd_internal.may_charge(make_interval(secs => $1)) is not null as "is_held!""#,
        lease.as_secs_f64(),
    )
    .fetch_one(&mut *tx)
    .await
}

/// What the database derived for a new subscription.
struct Born {
    id: Uuid,
    period: jiff_sqlx::Date,
}

async fn insert(tx: &mut Tx, first: &FirstPayment) -> Result<Born, sqlx::Error> {
    let terms = &first.terms;
    let currency = first.money.currency();
    sqlx::query_as!(
        Born,
        r#"-- store::begin_first_payment, the agreement
        insert into billd.subscription
            (customer_uid, name, amount, currency, interval_unit, interval_count, time_zone,
             tax_free, vat_amount, buyer_name, buyer_email, buyer_tel, buyer_addr, buyer_postcode,
             card_quota, custom_data, notice_url, product_type)
        values ($1, $2, $3, $4::text, $5, $6, $7::text, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        returning id, period as "period: jiff_sqlx::Date""#,
        first.customer_uid.as_str(),
        first.name,
        first.money.amount(),
        currency.as_str(),
        first.interval.unit().as_str(),
        i16::try_from(first.interval.count()).unwrap_or(i16::MAX),
        first.zone.name(),
        terms.tax_free,
        terms.vat_amount,
        terms.buyer_name,
        terms.buyer_email,
        terms.buyer_tel,
        terms.buyer_addr,
        terms.buyer_postcode,
        terms.card_quota,
        terms.custom_data,
        terms.notice_url,
        terms.product_type,
    )
    .fetch_one(&mut *tx)
    .await
}

/// A subscription of the card.
struct Existing {
    id: Uuid,
    is_open: bool,
}

/// Two impatient repeats of one command take turns; the second one then finds the first.
async fn existing(
    tx: &mut Tx,
    customer_uid: &CustomerUid,
) -> Result<Option<Existing>, sqlx::Error> {
    sqlx::query!(
        "-- store::begin_first_payment, in turn
        select pg_advisory_xact_lock(hashtextextended('billd first payment ' || $1, 0))",
        customer_uid.as_str(),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query_as!(
        Existing,
        r#"-- store::begin_first_payment, another
        select s.id, exists (
            select from billd.attempts_of(s.id) a where a.by_card and a.state in ('started', 'unknown')
        ) as "is_open!"
        from billd.subscription s
        where s.customer_uid = $1 and s.state <> 'cancelled'
        order by 2 desc
        limit 1"#,
        customer_uid.as_str(),
    )
    .fetch_optional(&mut *tx)
    .await
}

/// Opens the debt and its first attempt. No sweep sees the subscription before this is committed,
/// and none claims it while the attempt is open. To the database this attempt is somebody's that a claim
/// didn't begin, so it marks the subscription for `recheck`; but here the attempt is noted.
async fn begin(
    tx: &mut Tx,
    born: &Born,
    first: &FirstPayment,
    lease: Duration,
) -> Result<(String, i64), sqlx::Error> {
    let begun = sqlx::query!(
        "-- store::begin_first_payment, debt and attempt
        with cycle as (
            insert into billd.billing_cycle
                (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at)
            select id, period, amount, currency, tax_free, vat_amount, card_quota, due_at
            from billd.subscription where id = $1
            returning subscription_id, period, amount, currency
        )
        insert into billd.charge_attempt
            (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid,
             ask_at, fence, by_card)
        select billd.merchant_uid(c.subscription_id, c.period, 1), c.subscription_id, c.period, 1,
            c.amount, c.currency, $2, billd.now() + make_interval(secs => $3), billd_internal.next_fence(0), true
        from cycle c
        returning merchant_uid, fence, billd_internal.count_one(currency, amount)",
        born.id,
        first.customer_uid.as_str(),
        lease.as_secs_f64(),
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "-- store::begin_first_payment, open
        with writer as materialized (select set_config('billd.writer', 'first_payment', true))
        update billd.subscription
        set open_attempt = $2, attempts = 1, fence = $3, recheck = false, row_version = row_version + 2
        from writer
        where id = $1",
        born.id,
        begun.merchant_uid,
        begun.fence,
    )
    .execute(&mut *tx)
    .await?;
    Ok((begun.merchant_uid, begun.fence))
}

fn claim(
    first: &FirstPayment,
    born: &Born,
    name: &str,
    fence: i64,
) -> Result<(Claim, Debt), StoreError> {
    let merchant_uid = merchant_uid(name)?;
    let debt = Debt {
        subscription: SubscriptionId(born.id),
        period: born.period.to_jiff(),
    };
    let claim = Claim {
        key: AttemptKey {
            merchant_uid: merchant_uid.clone(),
            debt: Some(debt),
            fence,
        },
        request: ChargeRequest {
            merchant_uid,
            instrument: first.instrument.clone(),
            money: first.money,
            name: first.name.clone(),
            terms: first.terms.clone(),
        },
        purpose: Purpose::FirstPayment,
        history: History::FIRST,
        late: Duration::ZERO,
    };
    Ok((claim, debt))
}
