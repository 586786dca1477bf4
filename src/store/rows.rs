//! Rows into the domain's types, and back. The only judge of a bad row.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::types::Uuid;
use sqlx::{Decode, Postgres, Type};

use crate::domain::attempt::{ChargeRequest, ChargeTerms, Instrument};
use crate::domain::claim::{AttemptKey, BadRow, Claim, Debt, OpenAttempt};
use crate::domain::dunning::{History, Question};
use crate::domain::ids::{AttemptNo, CustomerUid, MerchantUid, SubscriptionId};
use crate::domain::money::{Currency, Money};
use crate::domain::purpose::Purpose;
use crate::store::StoreError;

/// An instant, or why it is none: rows are judged one by one, and a date that no calendar has is a fault of its row
/// alone.
#[derive(Debug, Clone)]
pub(super) struct Instant(Result<Timestamp, String>);

impl Type<Postgres> for Instant {
    fn type_info() -> PgTypeInfo {
        jiff_sqlx::Timestamp::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Instant {
    fn decode(value: PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        let instant = jiff_sqlx::Timestamp::decode(value);
        Ok(Self(
            instant.map(jiff_sqlx::Timestamp::to_jiff).map_err(text),
        ))
    }
}

impl Instant {
    /// None if no calendar has it.
    pub(super) fn known(&self) -> Option<Timestamp> {
        self.0.as_ref().ok().copied()
    }

    fn read(&self, column: &str) -> Result<Timestamp, String> {
        self.0
            .clone()
            .map_err(|fault| format!("{column} can't be read: {fault}"))
    }
}

/// What both claims return.
pub(super) struct AttemptRow {
    pub(super) merchant_uid: String,
    pub(super) next_charge_at: Option<Instant>,
    pub(super) subscription_id: Option<Uuid>,
    pub(super) period: Option<jiff_sqlx::Date>,
    pub(super) attempt_no: Option<i16>,
    pub(super) fence: i64,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) customer_uid: Option<String>,
    pub(super) asks: i16,
    pub(super) not_found: i16,
    pub(super) sends: i16,
    pub(super) parked: bool,
    pub(super) may_leave: bool,
    pub(super) by_card: bool,
    pub(super) age_seconds: f64,
    pub(super) declines: i16,
    pub(super) earlier_not_sent: i16,
    pub(super) name: String,
    pub(super) due_at: Instant,
    pub(super) tax_free: Option<i64>,
    pub(super) vat_amount: Option<i64>,
    pub(super) card_quota: Option<i16>,
    pub(super) gateway_fields: Vec<Option<String>>,
    pub(super) now: jiff_sqlx::Timestamp,
}

impl AttemptRow {
    /// Reads the row as an attempt to send.
    pub(super) fn into_claim(self) -> Result<Result<Claim, BadRow>, StoreError> {
        let key = self.key()?;
        let is_as_written = self.may_leave;
        let claim = self.claim(key.clone());
        let claim = if is_as_written {
            claim
        } else {
            claim.and_then(|claim| Err(otherwise_written(&claim)))
        };
        Ok(claim.map_err(|fault| BadRow { key, fault }))
    }

    /// Reads the row as an attempt to ask about.
    pub(super) fn into_open(self) -> Result<Result<OpenAttempt, BadRow>, StoreError> {
        let question = Question {
            age: seconds(self.age_seconds),
            asks: count(self.asks),
            not_found: count(self.not_found),
            sends: u8::try_from(self.sends).unwrap_or(u8::MAX),
        };
        let (parked, may_leave) = (self.parked, self.may_leave);
        let key = self.key()?;
        Ok(match self.claim(key.clone()) {
            Ok(claim) => Ok(OpenAttempt {
                claim,
                question,
                parked,
                may_leave,
            }),
            Err(fault) => Err(BadRow { key, fault }),
        })
    }

    /// The part that the schema guarantees; without it not even a fault could be written down.
    fn key(&self) -> Result<AttemptKey, StoreError> {
        Ok(AttemptKey {
            merchant_uid: MerchantUid::parse(self.merchant_uid.as_str())
                .map_err(|fault| StoreError::Corrupt(fault.to_string()))?,
            debt: self
                .subscription_id
                .zip(self.period)
                .map(|(id, period)| Debt {
                    subscription: SubscriptionId(id),
                    period: period.to_jiff(),
                }),
            fence: self.fence,
        })
    }

    fn claim(self, key: AttemptKey) -> Result<Claim, String> {
        let currency = Currency::parse(&self.currency).map_err(text)?;
        let money = Money::new(self.amount, currency).map_err(text)?;
        let history = History {
            attempt_no: match self.attempt_no {
                None => AttemptNo::FIRST,
                Some(number) => u8::try_from(number)
                    .ok()
                    .and_then(AttemptNo::new)
                    .ok_or_else(|| format!("attempt number {number} is not 1 to 99"))?,
            },
            declines: u8::try_from(self.declines).map_err(text)?,
            not_sent: count(self.earlier_not_sent),
        };
        if let Some(at) = &self.next_charge_at {
            at.read("next_charge_at")?;
        }
        let late = self
            .now
            .to_jiff()
            .duration_since(self.due_at.read("due_at")?);
        let customer_uid = self.customer_uid.map(CustomerUid::parse).transpose();
        Ok(Claim {
            purpose: match (key.debt, self.by_card) {
                (None, _) => Purpose::OneOff,
                (Some(_), true) => Purpose::FirstPayment,
                (Some(_), false) => Purpose::Debt,
            },
            request: ChargeRequest {
                merchant_uid: key.merchant_uid.clone(),
                instrument: match (self.by_card, customer_uid.map_err(text)?) {
                    (false, Some(customer_uid)) => Instrument::BillingKey(customer_uid),
                    (_, store_as) => Instrument::CardGone { store_as },
                },
                money,
                name: self.name,
                terms: ChargeTerms {
                    tax_free: self.tax_free,
                    vat_amount: self.vat_amount,
                    card_quota: self.card_quota,
                    ..terms(self.gateway_fields)?
                },
            },
            key,
            history,
            late: Duration::try_from(late).unwrap_or_default(),
        })
    }
}

/// Reads `billd_internal.gateway_fields`.
fn terms(gateway_fields: Vec<Option<String>>) -> Result<ChargeTerms, String> {
    if gateway_fields.len() != 10 {
        let count = gateway_fields.len();
        return Err(format!("{count} fields for the gateway, and not 10"));
    }
    let mut fields = gateway_fields.into_iter();
    let mut next = || fields.next().flatten();
    // In the order in which they stand there: a literal's fields are computed as they are written.
    Ok(ChargeTerms {
        buyer_name: next(),
        buyer_email: next(),
        buyer_tel: next(),
        buyer_addr: next(),
        buyer_postcode: next(),
        custom_data: next(),
        notice_url: next(),
        channel_key: next(),
        product_type: next(),
        extra: next().unwrap_or_else(|| "{}".to_owned()),
        ..ChargeTerms::default()
    })
}

/// Law: what is asked is what is owed.
fn otherwise_written(claim: &Claim) -> String {
    format!(
        "to be sent were {} {}; the debt or the attempt was written with another sum or card, \
         by a trigger on billing_cycle or charge_attempt for instance",
        claim.request.money.amount(),
        claim.request.money.currency(),
    )
}

/// Seconds as PostgreSQL counts them; what can't be a duration is none.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn count(number: i16) -> u16 {
    u16::try_from(number).unwrap_or_default()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn merchant_uid(text: &str) -> Result<MerchantUid, StoreError> {
    MerchantUid::parse(text).map_err(corrupt)
}

pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}
