//! What a debt was asked for before: looked up once more before it is asked for again.

use jiff_sqlx::ToSqlx;

use crate::domain::claim::{AttemptKey, Debt};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::{Currency, Money};
use crate::store::rows::{corrupt, merchant_uid};
use crate::store::{Store, StoreError};

/// An earlier attempt of a debt that was declined by answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Which.
    pub key: AttemptKey,
    /// With which card.
    pub customer_uid: Option<CustomerUid>,
    /// For which sum.
    pub money: Money,
}

impl Store {
    /// The attempts of a debt before this one that were declined by answer, the latest first.
    pub async fn earlier_attempts(
        &self,
        debt: Debt,
        before: &MerchantUid,
    ) -> Result<Vec<Earlier>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::earlier_attempts
            select a.merchant_uid as "merchant_uid!", a.fence as "fence!", a.customer_uid,
                a.amount as "amount!", a.currency as "currency!"
            from billd.attempts_of($1, $2) a
            where a.merchant_uid < $3 and a.state = 'declined'
            order by a.merchant_uid desc"#,
            debt.subscription.0,
            debt.period.to_sqlx() as _,
            before.as_str(),
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        rows.into_iter()
            .map(|row| {
                let currency = Currency::parse(&row.currency).map_err(corrupt)?;
                Ok(Earlier {
                    key: AttemptKey {
                        merchant_uid: merchant_uid(&row.merchant_uid)?,
                        debt: Some(debt),
                        fence: row.fence,
                    },
                    customer_uid: row
                        .customer_uid
                        .map(CustomerUid::parse)
                        .transpose()
                        .map_err(corrupt)?,
                    money: Money::new(row.amount, currency).map_err(corrupt)?,
                })
            })
            .collect()
    }
}
