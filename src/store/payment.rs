//! One request for money under its `merchant_uid`, whichever table it stands in; and who uses a
//! billing key.

use jiff::civil::Date;
use sqlx::types::Uuid;

use crate::domain::ids::{CustomerUid, MerchantUid, SubscriptionId};
use crate::store::{Store, StoreError};

/// What our book says of one `merchant_uid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookPayment {
    /// `attempt` of a subscription, or by hand: `onetime` or `again`.
    pub kind: String,
    /// `started`, `paid`, `declined`, `not_sent` or `unknown`.
    pub state: String,
    /// The sum in minor units.
    pub amount: i64,
    /// Three letters.
    pub currency: String,
    /// The card, if it is stored.
    pub customer_uid: Option<String>,
    /// Whose debt it was.
    pub subscription: Option<SubscriptionId>,
    /// Which period's.
    pub period: Option<Date>,
    /// PortOne's number.
    pub imp_uid: Option<String>,
    /// Class of the decline, or kind of doubt.
    pub reason: Option<String>,
    /// The provider's code.
    pub code: Option<String>,
    /// What the gateway said.
    pub message: Option<String>,
    /// How much was given back, as far as we know.
    pub cancelled_amount: i64,
    /// The tax-free part of the amount, if it has one.
    pub tax_free: Option<i64>,
    /// The value-added tax of the amount, if it is given.
    pub vat_amount: Option<i64>,
}

/// A subscription that charges a billing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Which.
    pub subscription: SubscriptionId,
    /// What the buyer's statement says.
    pub name: String,
    /// `active`, `past_due` or `paused`.
    pub state: String,
}

impl Store {
    /// Looks a `merchant_uid` up in our book.
    pub async fn payment(
        &self,
        merchant_uid: &MerchantUid,
    ) -> Result<Option<BookPayment>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::payment
            select 'attempt' as "kind!", a.state as "state!", a.amount as "amount!",
                a.currency as "currency!", a.customer_uid, a.subscription_id as "subscription_id?",
                a.period as "period?: jiff_sqlx::Date", a.imp_uid, a.reason, a.code, a.message,
                a.cancelled_amount as "cancelled_amount!", c.tax_free, c.vat_amount
            from billd.charge_attempt a
            join billd.billing_cycle c on c.subscription_id = a.subscription_id and c.period = a.period
            where a.merchant_uid = $1
            union all
            select h.kind, h.state, h.amount, h.currency, h.customer_uid, null, null, h.imp_uid,
                h.reason, h.code, h.message, h.cancelled_amount, h.tax_free,
                h.vat_amount
            from billd.hand_charge h
            where h.merchant_uid = $1"#,
            merchant_uid.as_str(),
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        Ok(row.map(|row| BookPayment {
            kind: row.kind,
            state: row.state,
            amount: row.amount,
            currency: row.currency,
            customer_uid: row.customer_uid,
            subscription: row.subscription_id.map(SubscriptionId),
            period: row.period.map(jiff_sqlx::Date::to_jiff),
            imp_uid: row.imp_uid,
            reason: row.reason,
            code: row.code,
            message: row.message,
            cancelled_amount: row.cancelled_amount,
            tax_free: row.tax_free,
            vat_amount: row.vat_amount,
        }))
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
        Ok(rows
            .into_iter()
            .map(|row| KeyUse {
                subscription: SubscriptionId(row.id),
                name: row.name,
                state: row.state,
            })
            .collect())
    }

    /// When the current period of a subscription is over, and whether it lives.
    pub async fn subscription_outlook(
        &self,
        subscription: SubscriptionId,
    ) -> Result<Option<(String, Option<jiff::Timestamp>)>, StoreError> {
        let id: Uuid = subscription.0;
        let statement = sqlx::query!(
            r#"-- store::subscription_outlook
            select state, next_charge_at as "next_charge_at: jiff_sqlx::Timestamp"
            from billd.subscription where id = $1"#,
            id,
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        Ok(row.map(|row| {
            let next = row.next_charge_at.map(jiff_sqlx::Timestamp::to_jiff);
            (row.state, next)
        }))
    }
}
