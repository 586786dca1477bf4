//! One request for money under its `merchant_uid`; and who uses a billing key.

use sqlx::types::Uuid;

use crate::domain::attempt::AttemptState;
use crate::domain::ids::{CustomerUid, ImpUid, MerchantUid, SubscriptionId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{BookPayment, GivenBack, PaymentKind};
use crate::domain::state::SubscriptionState;
use crate::store::rows::corrupt;
use crate::store::{Store, StoreError};

/// A subscription that charges a billing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Which.
    pub subscription: SubscriptionId,
    /// What the buyer's statement says.
    pub name: String,
    /// Where it stands.
    pub state: SubscriptionState,
}

impl Store {
    /// Looks a `merchant_uid` up in our book.
    pub async fn payment(
        &self,
        merchant_uid: &MerchantUid,
    ) -> Result<Option<BookPayment>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::payment
            select case when a.subscription_id is not null then 'attempt'
                        when a.by_card then 'onetime' else 'again' end as "kind!",
                a.state, a.amount, a.currency, a.customer_uid, a.subscription_id,
                a.period as "period: jiff_sqlx::Date", a.imp_uid, a.reason, a.code, a.message, a.cancelled_amount,
                coalesce(a.tax_free, c.tax_free) as tax_free, coalesce(a.vat_amount, c.vat_amount) as vat_amount,
                back.amount as "back!", back.tax_free as "back_tax_free!", back.vat_amount as "back_vat_amount!"
            from billd.charge_attempt a
            left join billd.billing_cycle c on c.subscription_id = a.subscription_id and c.period = a.period
            cross join lateral (
                select coalesce(sum(r.amount), 0)::bigint as amount, coalesce(sum(r.tax_free), 0)::bigint as tax_free,
                    coalesce(sum(r.vat_amount), 0)::bigint as vat_amount
                from billd.refund r
                where r.imp_uid = a.imp_uid and r.merchant_uid = a.merchant_uid and r.state = 'refunded'
            ) back
            where a.merchant_uid = $1"#,
            merchant_uid.as_str(),
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        row.map(|row| {
            let currency = Currency::parse(&row.currency).map_err(corrupt)?;
            let customer_uid = row.customer_uid.map(CustomerUid::parse).transpose();
            let imp_uid = row.imp_uid.map(ImpUid::parse).transpose();
            Ok(BookPayment {
                kind: word(PaymentKind::parse, &row.kind)?,
                state: word(AttemptState::parse, &row.state)?,
                money: Money::new(row.amount, currency).map_err(corrupt)?,
                customer_uid: customer_uid.map_err(corrupt)?,
                subscription: row.subscription_id.map(SubscriptionId),
                period: row.period.map(jiff_sqlx::Date::to_jiff),
                imp_uid: imp_uid.map_err(corrupt)?,
                reason: row.reason,
                code: row.code,
                message: row.message,
                cancelled_amount: row.cancelled_amount,
                tax_free: row.tax_free,
                vat_amount: row.vat_amount,
                given_back: GivenBack {
                    amount: row.back,
                    tax_free: row.back_tax_free,
                    vat_amount: row.back_vat_amount,
                },
            })
        })
        .transpose()
    }

    /// The subscriptions that charge a billing key and have not ended.
    pub async fn key_uses(&self, customer_uid: &CustomerUid) -> Result<Vec<KeyUse>, StoreError> {
        let statement = sqlx::query!(
            "-- store::key_uses
            select id, name, state from billd.subscription
            where customer_uid = $1 and state <> 'cancelled'
            order by created_at, id",
            customer_uid.as_str(),
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        rows.into_iter()
            .map(|row| {
                Ok(KeyUse {
                    subscription: SubscriptionId(row.id),
                    name: row.name,
                    state: word(SubscriptionState::parse, &row.state)?,
                })
            })
            .collect()
    }

    /// When the current period of a subscription is over, and whether it lives.
    pub async fn subscription_outlook(
        &self,
        subscription: SubscriptionId,
    ) -> Result<Option<(SubscriptionState, Option<jiff::Timestamp>)>, StoreError> {
        let id: Uuid = subscription.0;
        let statement = sqlx::query!(
            r#"-- store::subscription_outlook
            select state, next_charge_at as "next_charge_at: jiff_sqlx::Timestamp"
            from billd.subscription where id = $1"#,
            id,
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        row.map(|row| {
            let next = row.next_charge_at.map(jiff_sqlx::Timestamp::to_jiff);
            Ok((word(SubscriptionState::parse, &row.state)?, next))
        })
        .transpose()
    }
}

/// Reads a word of the schema.
pub(super) fn word<T>(parse: fn(&str) -> Option<T>, word: &str) -> Result<T, StoreError> {
    parse(word).ok_or_else(|| StoreError::Corrupt(format!("{word:?} where a state should be")))
}
