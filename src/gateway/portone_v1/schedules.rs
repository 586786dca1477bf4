//! Reservations: charges that PortOne will make by itself.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Number;

use crate::domain::attempt::bounded_message;
use crate::domain::ids::CustomerUid;
use crate::domain::money::Currency;
use crate::gateway::portone_v1::client::{Answer, PortOne, found};
use crate::gateway::portone_v1::pages::{
    is_none, number_or_none, response, text_or_none, too_large,
};
use crate::gateway::portone_v1::wire::minor;
use crate::gateway::{CallError, GatewayError, Reservation, ReservationPage, Window};

/// The most that PortOne puts on a page.
const PAGE_RECORDS_MAX: usize = 1000;

impl PortOne {
    /// Reads one page of the reservations in the window that still wait.
    pub(super) async fn schedules(
        &self,
        window: Window,
        page: u32,
    ) -> Result<ReservationPage, GatewayError> {
        let call = self
            .call(Method::GET, &["subscribe", "payments", "schedule"])
            .with("schedule_from", &window.from.as_second().to_string())
            .with("schedule_to", &window.to.as_second().to_string())
            .with("schedule_status", "scheduled")
            .with("page", &page.to_string())
            .with("limit", &PAGE_RECORDS_MAX.to_string())
            .with("sorting", "scheduled");
        let answer = self.read_page(call).await?.ok_or_else(too_large)?;
        if is_none(&answer, page) {
            return Ok(ReservationPage::default());
        }
        reservation_page(&answer)
    }

    /// Reads the reservations of one billing key that still wait.
    pub(super) async fn schedules_of(
        &self,
        customer_uid: &CustomerUid,
        window: Window,
    ) -> Result<Vec<Reservation>, CallError> {
        let uid = customer_uid.as_str();
        let call = self
            .call(Method::GET, &["subscribe", "customers", uid, "schedules"])
            .with("from", &window.from.as_second().to_string())
            .with("to", &window.to.as_second().to_string())
            .with("schedule-status", "scheduled");
        let found: Option<ScheduledList> = found(&self.send(&call).await?)?;
        Ok(found.map(ScheduledList::reservations).unwrap_or_default())
    }
}

/// Reads a page that holds something.
pub(super) fn reservation_page(answer: &Answer) -> Result<ReservationPage, GatewayError> {
    let list: ScheduledList = response(answer)?;
    let next = list.next();
    let reservations = list.reservations();
    Ok(ReservationPage {
        // A bare list says neither how many there are nor whether more follow.
        has_next: next != 0 || reservations.len() >= PAGE_RECORDS_MAX,
        reservations,
    })
}

#[derive(Deserialize)]
struct Scheduled {
    #[serde(default, deserialize_with = "text_or_none")]
    customer_uid: String,
    #[serde(default, deserialize_with = "text_or_none")]
    merchant_uid: String,
    #[serde(default, deserialize_with = "text_or_none")]
    currency: String,
    #[serde(default, deserialize_with = "number_or_none")]
    amount: Option<Number>,
    #[serde(default, deserialize_with = "number_or_none")]
    schedule_at: Option<Number>,
}

/// PortOne's schema names a bare array where its text, and its own clients, speak of pages.
#[derive(Deserialize)]
#[serde(untagged)]
enum ScheduledList {
    Bare(Vec<Scheduled>),
    Page {
        list: Vec<Scheduled>,
        #[serde(default)]
        next: i64,
    },
}

impl ScheduledList {
    /// 0 on the last page.
    fn next(&self) -> i64 {
        match self {
            Self::Bare(_) => 0,
            Self::Page { next, .. } => *next,
        }
    }

    fn reservations(self) -> Vec<Reservation> {
        let (Self::Bare(list) | Self::Page { list, .. }) = self;
        list.into_iter().map(Scheduled::reservation).collect()
    }
}

impl Scheduled {
    fn reservation(self) -> Reservation {
        let currency = Currency::parse(&self.currency).ok();
        Reservation {
            customer_uid: self.customer_uid,
            merchant_uid: bounded_message(&self.merchant_uid),
            amount: self
                .amount
                .and_then(|number| minor(&number, currency.unwrap_or(Currency::KRW))),
            currency: self.currency,
            at: self
                .schedule_at
                .and_then(|number| Timestamp::from_second(number.as_i64()?).ok()),
        }
    }
}
