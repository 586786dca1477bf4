//! One-off charges: attempts without a period. Begun here, asked about and recorded like all others.

use std::time::Duration;

use crate::domain::attempt::{ChargeCall, ChargeRequest};
use crate::domain::claim::{AttemptKey, Claim};
use crate::domain::dunning::History;
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::payment::BookPayment;
use crate::domain::purpose::Purpose;
use crate::store::rows::merchant_uid;
use crate::store::{Store, StoreError};

/// What became of the wish to charge.
pub enum OneOffBegun {
    /// It is written down as `started` and may be sent now, once.
    Begun(Box<Claim>),
    /// This `merchant_uid` is in the book already.
    Known(Box<BookPayment>),
    /// Another one-off charge of the same card is open: one question at a time.
    Open(MerchantUid),
}

/// How often something is begun that stands against nothing.
pub(super) const BEGIN_TRIES: u32 = 2;

impl Store {
    /// Writes a charge down before it leaves; the intent is durable when this returns.
    pub async fn begin_one_off(
        &self,
        request: &ChargeRequest,
        lease: Duration,
    ) -> Result<OneOffBegun, StoreError> {
        // What stood in the way may have closed before it was looked at: then there is room now.
        for _ in 0..BEGIN_TRIES {
            if let Some(claim) = self.insert_one_off(request, lease).await? {
                return Ok(OneOffBegun::Begun(Box::new(claim)));
            }
            if let Some(known) = self.payment(&request.merchant_uid).await? {
                return Ok(OneOffBegun::Known(Box::new(known)));
            }
            if let Some(open) = self.open_one_off(request.instrument.customer_uid()).await? {
                return Ok(OneOffBegun::Open(open));
            }
        }
        Err(self
            .not_begun("a charge is neither new nor known nor open")
            .await)
    }

    /// The number of a charge like this one that was made within a day under a number of ours, if there is one.
    pub async fn repeated_one_off(
        &self,
        request: &ChargeRequest,
    ) -> Result<Option<MerchantUid>, StoreError> {
        let currency = request.money.currency();
        let before = sqlx::query_scalar!(
            "-- store::repeated_one_off
            select a.merchant_uid from billd.charge_attempt a
            where a.merchant_uid >= 'hand' and a.merchant_uid < 'hane' and a.subscription_id is null
              and (a.customer_uid, a.amount, a.currency, a.name) = ($1, $2, $3, $4)
              and a.state = 'paid' and a.finished_at > billd.now() - interval '1 day'
            order by a.finished_at desc
            limit 1",
            request.instrument.customer_uid().map(CustomerUid::as_str),
            request.money.amount(),
            currency.as_str(),
            request.name,
        )
        .fetch_optional(&self.pool);
        let before = self.within(before).await?;
        before.map(|before| merchant_uid(&before)).transpose()
    }

    async fn insert_one_off(
        &self,
        request: &ChargeRequest,
        lease: Duration,
    ) -> Result<Option<Claim>, StoreError> {
        let currency = request.money.currency();
        let begun = sqlx::query_scalar!(
            r#"-- store::begin_one_off
            with begun as (
            insert into billd.charge_attempt
                (merchant_uid, by_card, customer_uid, name, amount, currency, tax_free, vat_amount,
                 ask_at, fence)
            select $1, $2, $3, $4, $5, $6, $7, $8, billd.now() + make_interval(secs => $9),
                billd_internal.next_fence(0)
            where (select billd_internal.may_charge(make_interval(secs => $9))) is null
            on conflict do nothing
            returning fence, currency, amount
            )
            select b.fence as "fence!" from begun b where billd_internal.count_one(b.currency, b.amount)"#,
            request.merchant_uid.as_str(),
            request.instrument.call() == ChargeCall::Onetime,
            request.instrument.customer_uid().map(CustomerUid::as_str),
            request.name,
            request.money.amount(),
            currency.as_str(),
            request.terms.tax_free,
            request.terms.vat_amount,
            lease.as_secs_f64(),
        )
        .fetch_optional(&self.pool);
        let begun = self.within(begun).await?;
        Ok(begun.map(|fence| Claim {
            key: AttemptKey {
                merchant_uid: request.merchant_uid.clone(),
                debt: None,
                fence,
            },
            request: request.clone(),
            purpose: Purpose::OneOff,
            history: History::FIRST,
            late: Duration::ZERO,
        }))
    }

    async fn open_one_off(
        &self,
        customer_uid: Option<&CustomerUid>,
    ) -> Result<Option<MerchantUid>, StoreError> {
        let open = sqlx::query_scalar!(
            "-- store::begin_one_off, the one that is open
            select merchant_uid from billd.charge_attempt
            where subscription_id is null and ask_at is not null and customer_uid = $1",
            customer_uid.map(CustomerUid::as_str),
        )
        .fetch_optional(&self.pool);
        let open = self.within(open).await?;
        open.map(|open| merchant_uid(&open)).transpose()
    }
}
