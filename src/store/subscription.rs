//! The verbs of a subscription's life. What they do is SQL (migrations/routines); here they are called.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::postgres::PgDatabaseError;
use sqlx::types::{Json, Uuid};

use crate::domain::ids::SubscriptionId;
use crate::store::{Store, StoreError};

/// A subscription that a verb is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Which.
    pub id: SubscriptionId,
    /// Its time zone, in which its times are shown.
    pub time_zone: String,
}

/// A call of a verb.
#[derive(Debug, Clone, Copy)]
pub struct VerbCall<'a> {
    /// For which subscription.
    pub id: SubscriptionId,
    /// The verb, by its SQL name.
    pub verb: &'a str,
    /// Its arguments by name, as JSON.
    pub arguments: &'a str,
    /// Why, for the history.
    pub note: Option<&'a str>,
    /// Only asked: nothing is changed.
    pub dry_run: bool,
}

/// A row of what will follow; see the type `billd.forecast`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastRow {
    /// debt, charge, free, passed, change, hold, owes or end.
    pub kind: String,
    /// The period's name.
    pub period: Option<Date>,
    /// Where it begins, or when the change acts.
    pub from_at: Option<Timestamp>,
    /// Where it ends.
    pub until_at: Option<Timestamp>,
    /// When it is asked for.
    pub ask_at: Option<Timestamp>,
    /// The sum, in minor units.
    pub amount: Option<i64>,
    /// Of the sum.
    pub currency: Option<String>,
    /// How the sum comes about; none for the plain price.
    pub made_of: Option<Value>,
    /// What else is to be said.
    pub remark: Option<String>,
}

/// Why a verb was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerbRefused {
    /// What stands against it.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}

impl VerbRefused {
    /// What the schema refuses by a rule of its own; all else is an error.
    fn read(error: StoreError) -> Result<Self, StoreError> {
        const RULES: [&str; 6] = ["23514", "23505", "P0002", "22P02", "22007", "22008"];
        let StoreError::Refused(sqlx::Error::Database(refused)) = &error else {
            return Err(error);
        };
        let Some(refused) = refused.try_downcast_ref::<PgDatabaseError>() else {
            return Err(error);
        };
        if !RULES.contains(&refused.code()) {
            return Err(error);
        }
        Ok(Self {
            message: refused.message().to_owned(),
            hint: refused.hint().map(str::to_owned),
        })
    }

    /// Tells a refusal from an error.
    pub(super) fn judged<T>(done: Result<T, StoreError>) -> Result<Result<T, Self>, StoreError> {
        match done {
            Ok(done) => Ok(Ok(done)),
            Err(error) => Self::read(error).map(Err),
        }
    }
}

impl Store {
    /// Finds a subscription by its id, the merchant's `external_id`, or a planned change of it.
    pub async fn named(
        &self,
        id: Option<Uuid>,
        external_id: Option<&str>,
        change: Option<i64>,
    ) -> Result<Option<Named>, StoreError> {
        let statement = sqlx::query!(
            r#"-- store::named
            select s.id, s.time_zone::text as "time_zone!" from billd.subscription s
            where s.id = coalesce($1, (select c.subscription_id from billd.planned_change c where c.id = $3))
               or s.external_id = $2"#,
            id,
            external_id,
            change,
        )
        .fetch_optional(&self.pool);
        let row = self.within(statement).await?;
        Ok(row.map(|row| Named {
            id: SubscriptionId(row.id),
            time_zone: row.time_zone,
        }))
    }

    /// Calls a verb. The inner error says why it makes no sense for this subscription.
    pub async fn verb(
        &self,
        call: VerbCall<'_>,
    ) -> Result<Result<Vec<ForecastRow>, VerbRefused>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::verb
            select to_jsonb(f) as "row!: Json<ForecastRow>" from billd_internal.verb($1, $2, $3::text::jsonb, $4, $5) f"#,
            call.id.0,
            call.verb,
            call.arguments,
            call.note,
            call.dry_run,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await;
        VerbRefused::judged(rows.map(|rows| rows.into_iter().map(|Json(row)| row).collect()))
    }

    /// What will follow for a subscription, if every debt is paid when it is asked for.
    pub async fn forecast(
        &self,
        id: SubscriptionId,
        rows_max: i32,
    ) -> Result<Vec<ForecastRow>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::forecast
            select to_jsonb(f) as "row!: Json<ForecastRow>" from billd.forecast($1, $2) f"#,
            id.0,
            rows_max,
        )
        .fetch_all(&self.pool);
        let rows = self.within(statement).await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }
}
