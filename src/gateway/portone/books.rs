//! The gateway's books: every payment of a window, and every reservation ahead, page by page.
//!
//! Reads only, and one page at a time, so memory does not grow with the books. A record is read with
//! tolerance: one that makes no sense is counted, and does not hide the others of its page.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::AUTHORIZATION;
use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};
use tokio::time::Instant;

use super::{PortOne, in_time, left, under, unreachable};
use crate::domain::attempt::{Payment, bounded_message};
use crate::domain::audit::{BookEntry, BookStatus};
use crate::domain::ids::ImpUid;
use crate::domain::money::Currency;
use crate::gateway::GatewayError;
use crate::gateway::portone::wire::{Envelope, Outside, minor};

/// The most that PortOne puts on a page.
pub const PAGE_RECORDS_MAX: usize = 1000;
/// The longest window that PortOne answers for.
pub const WINDOW_MAX: Duration = Duration::from_hours(24 * 90);
/// Largest page that is read. A record is some two kilobytes, but a merchant's `custom_data` can
/// make it thirty.
const PAGE_BYTES_MAX: usize = 32 << 20;
/// Pieces in which a larger page is read. Together they must make a page, so that the next one goes
/// on where the last of them ends.
const PIECES: u32 = 10;
const PIECE_RECORDS_MAX: usize = 100;

/// A span of time: both ends belong to it, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub from: Timestamp,
    /// Its last second.
    pub to: Timestamp,
}

/// One page of the gateway's payments.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BookPage {
    /// The records that can be read.
    pub entries: Vec<BookEntry>,
    /// How many can't.
    pub unreadable: usize,
    /// How many records the whole window holds, as far as the gateway says.
    pub total: u64,
    /// Whether another page follows.
    pub has_next: bool,
}

/// One charge that the gateway is going to make by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The card.
    pub customer_uid: String,
    /// Under which number.
    pub merchant_uid: String,
    /// The sum in minor units, if it is a whole number of them.
    pub amount: Option<i64>,
    /// Its currency, as written there.
    pub currency: String,
    /// When.
    pub at: Option<Timestamp>,
}

/// One page of reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationPage {
    /// The reservations that wait.
    pub reservations: Vec<Reservation>,
    /// Whether another page may follow.
    pub has_next: bool,
}

impl PortOne {
    /// Reads one page, from 1, of all payments whose last change of state lies in the window,
    /// oldest first. The window must not be longer than [`WINDOW_MAX`].
    pub async fn payments(&self, window: Window, page: u32) -> Result<BookPage, GatewayError> {
        if let Some(read) = self.records(window, page, PAGE_RECORDS_MAX).await? {
            return Ok(read);
        }
        let before = page.saturating_sub(1).saturating_mul(PIECES);
        let mut whole = BookPage::default();
        for piece in 1..=PIECES {
            let piece = before.saturating_add(piece);
            let part = self.records(window, piece, PIECE_RECORDS_MAX).await?;
            let part = part.ok_or_else(too_large)?;
            whole.entries.extend(part.entries);
            whole.unreadable = whole.unreadable.saturating_add(part.unreadable);
            whole.total = whole.total.max(part.total);
            whole.has_next = part.has_next;
            if !part.has_next {
                break;
            }
        }
        Ok(whole)
    }

    /// Reads a page of up to `limit` records; `None` if it is too large.
    async fn records(
        &self,
        window: Window,
        page: u32,
        limit: usize,
    ) -> Result<Option<BookPage>, GatewayError> {
        let request = |http: &reqwest::Client| {
            http.get(under(&self.base, &["payments", "status", "all"]))
                .query(&[
                    ("from", window.from.as_second().to_string()),
                    ("to", window.to.as_second().to_string()),
                    ("page", page.to_string()),
                    ("limit", limit.to_string()),
                    ("sorting", "started".to_owned()),
                ])
        };
        let Some((status, body)) = self.read(request).await? else {
            return Ok(None);
        };
        if is_none(status, &body, page) {
            return Ok(Some(BookPage::default()));
        }
        let list: List = response(status, &body)?;
        let records = list.records.len();
        let entries: Vec<_> = list.records.into_iter().filter_map(Record::entry).collect();
        Ok(Some(BookPage {
            unreadable: records.saturating_sub(entries.len()),
            entries,
            total: list.total,
            has_next: list.next != 0 && records > 0,
        }))
    }

    /// Reads one page, from 1, of the reservations in the window that still wait.
    pub async fn reservations(
        &self,
        window: Window,
        page: u32,
    ) -> Result<ReservationPage, GatewayError> {
        let request = |http: &reqwest::Client| {
            http.get(under(&self.base, &["subscribe", "payments", "schedule"]))
                .query(&[
                    ("schedule_from", window.from.as_second().to_string()),
                    ("schedule_to", window.to.as_second().to_string()),
                    ("schedule_status", "scheduled".to_owned()),
                    ("page", page.to_string()),
                    ("limit", PAGE_RECORDS_MAX.to_string()),
                    ("sorting", "scheduled".to_owned()),
                ])
        };
        let (status, body) = self.read(request).await?.ok_or_else(too_large)?;
        if is_none(status, &body, page) {
            return Ok(ReservationPage {
                reservations: Vec::new(),
                has_next: false,
            });
        }
        let (list, next) = match response(status, &body)? {
            ScheduledList::Bare(list) => (list, 0),
            ScheduledList::Page { list, next } => (list, next),
        };
        Ok(ReservationPage {
            // A bare list says neither how many there are nor whether more follow.
            has_next: next != 0 || list.len() >= PAGE_RECORDS_MAX,
            reservations: list.into_iter().map(Scheduled::reservation).collect(),
        })
    }

    /// Sends a question, once more if the access token was refused, and reads the answer;
    /// `None` if it is too large.
    async fn read(
        &self,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Option<(StatusCode, Vec<u8>)>, GatewayError> {
        let deadline = in_time(self.timeout);
        let mut token = self.tokens.get(&self.http, left(deadline)).await?;
        for repeated in [false, true] {
            let answer = request(&self.http)
                .header(AUTHORIZATION, token.bearer.clone())
                .timeout(deadline.saturating_duration_since(Instant::now()))
                .send()
                .await
                .map_err(unreachable)?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED && !repeated {
                token = self
                    .tokens
                    .renew(&self.http, left(deadline), &token)
                    .await?;
                continue;
            }
            let body = whole(answer).await?;
            return Ok(body.map(|body| (status, body)));
        }
        Err(GatewayError::Refused("a fresh access token".to_owned()))
    }
}

fn too_large() -> GatewayError {
    GatewayError::Unreadable(format!("a page of more than {PAGE_BYTES_MAX} bytes"))
}

/// Reads a page whole, or not at all: half a page would pass for a short one. `None` if it is too
/// large.
async fn whole(mut answer: reqwest::Response) -> Result<Option<Vec<u8>>, GatewayError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len().saturating_add(chunk.len()) > PAGE_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Whether PortOne itself says that there is nothing: none in the window, or a page behind the last
/// one, for the list became shorter while it was read. Any other complaint about the first page must
/// be heard, and so must a proxy's own 404: what is gone from a list counts as put right.
fn is_none(status: StatusCode, body: &[u8], page: u32) -> bool {
    let is_said = serde_json::from_slice::<Outside>(body).is_ok_and(|outside| outside.code != 0);
    is_said && (status == StatusCode::NOT_FOUND || (status == StatusCode::BAD_REQUEST && page > 1))
}

fn response<T: for<'de> Deserialize<'de>>(
    status: StatusCode,
    body: &[u8],
) -> Result<T, GatewayError> {
    let outside = serde_json::from_slice::<Outside>(body).ok();
    let words = || match &outside {
        Some(outside) => {
            let message = outside.message.as_deref().unwrap_or_default();
            format!("code {}: {}", outside.code, bounded_message(message))
        }
        None => format!("{} bytes that are not the contract's JSON", body.len()),
    };
    if status == StatusCode::UNAUTHORIZED {
        return Err(GatewayError::Refused(words()));
    }
    if status != StatusCode::OK || outside.as_ref().is_none_or(|outside| outside.code != 0) {
        return Err(GatewayError::Unreadable(format!(
            "HTTP {} to a page of the books: {}",
            status.as_u16(),
            words()
        )));
    }
    serde_json::from_slice::<Envelope<T>>(body)
        .ok()
        .and_then(|envelope| envelope.response)
        .ok_or_else(|| GatewayError::Unreadable("a page of the books without a list".to_owned()))
}

/// A page of payments. Only what the auditor compares is kept.
#[derive(Deserialize)]
struct List {
    #[serde(rename = "list")]
    records: Vec<Record>,
    #[serde(default)]
    total: u64,
    /// 0 on the last page.
    #[serde(default)]
    next: i64,
}

#[derive(Deserialize)]
struct Record {
    #[serde(default, deserialize_with = "text_or_none")]
    imp_uid: String,
    #[serde(default, deserialize_with = "text_or_none")]
    merchant_uid: String,
    #[serde(default, deserialize_with = "text_or_none")]
    status: String,
    #[serde(default, deserialize_with = "text_or_none")]
    currency: String,
    #[serde(default, deserialize_with = "number_or_none")]
    amount: Option<Number>,
    #[serde(default, deserialize_with = "number_or_none")]
    cancel_amount: Option<Number>,
    #[serde(default, deserialize_with = "text_or_none")]
    customer_uid: String,
    #[serde(default, deserialize_with = "text_or_none")]
    pg_provider: String,
    #[serde(default, deserialize_with = "text_or_none")]
    pg_tid: String,
    #[serde(default, deserialize_with = "text_or_none")]
    receipt_url: String,
}

impl Record {
    /// `None` if the record names no payment, or a state that nobody knows.
    fn entry(self) -> Option<BookEntry> {
        let status = match self.status.as_str() {
            "paid" => BookStatus::Paid,
            "cancelled" => BookStatus::Cancelled,
            "failed" | "ready" => BookStatus::NoMoney,
            _ => return None,
        };
        if self.merchant_uid.is_empty() {
            return None;
        }
        let currency = Currency::parse(&self.currency).ok();
        let sum = |number: Option<Number>| number.and_then(|number| minor(&number, currency?));
        Some(BookEntry {
            merchant_uid: bounded_message(&self.merchant_uid),
            payment: Payment {
                imp_uid: ImpUid::parse(self.imp_uid).ok()?,
                pg_provider: given(&self.pg_provider),
                pg_tid: given(&self.pg_tid),
                receipt_url: given(&self.receipt_url),
                cancelled_amount: sum(self.cancel_amount).unwrap_or_default(),
            },
            status,
            amount: sum(self.amount),
            currency: self.currency,
            customer_uid: Some(self.customer_uid).filter(|uid| !uid.is_empty()),
        })
    }
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

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| bounded_message(text))
}

/// What is not text counts as empty; the record may still be worth reading.
fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            String::new()
        }
    })
}

fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Number>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => Some(number),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::Router;
    use axum::extract::Query;
    use axum::routing::{get, post};
    use tokio::net::TcpListener;

    use super::*;
    use crate::gateway::portone::Endpoint;

    fn page(records: &str) -> List {
        let body = format!(
            r#"{{"code":0,"message":null,"response":{{"total":9,"previous":0,"next":2,"list":[{records}]}}}}"#
        );
        response(StatusCode::OK, body.as_bytes()).unwrap()
    }

    #[test]
    fn a_record_that_makes_no_sense_does_not_hide_the_others_of_its_page() {
        let list = page(
            r#"{"imp_uid":"imp_1","merchant_uid":"a","status":"paid","amount":9900,"currency":"KRW"},
               {"imp_uid":7,"merchant_uid":null,"status":"paid","amount":"9900"},
               {"imp_uid":"imp_3","merchant_uid":"c","status":"tomorrow"},
               {"imp_uid":"imp_4","merchant_uid":"d","status":"cancelled","amount":9.99,
                "currency":"USD","cancel_amount":9.99,"customer_uid":"cust_1","new_field":{"x":[]}}"#,
        );
        assert_eq!((list.total, list.next), (9, 2));
        let entries: Vec<_> = list.records.into_iter().filter_map(Record::entry).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].amount, entries[0].is_kept()),
            (Some(9900), true)
        );
        assert_eq!(
            (entries[1].amount, entries[1].is_kept()),
            (Some(999), false)
        );
        assert_eq!(entries[1].customer_uid.as_deref(), Some("cust_1"));
    }

    const FAT_RECORDS: usize = 150;

    /// A page of a list whose records take a quarter of a megabyte each.
    async fn fat_page(Query(query): Query<HashMap<String, String>>) -> String {
        let number = |name: &str| query[name].parse::<usize>().unwrap();
        let (page, limit) = (number("page"), number("limit"));
        let start = page.checked_sub(1).unwrap().checked_mul(limit).unwrap();
        let end = start.checked_add(limit).unwrap().min(FAT_RECORDS);
        let custom_data = "x".repeat(250_000);
        let records: Vec<String> = (start..end)
            .map(|id| {
                format!(
                    r#"{{"imp_uid":"imp_{id}","merchant_uid":"m{id}","status":"paid","amount":9900,
                        "currency":"KRW","custom_data":"{custom_data}"}}"#
                )
            })
            .collect();
        let next = if end < FAT_RECORDS {
            page.checked_add(1).unwrap()
        } else {
            0
        };
        let list = records.join(",");
        format!(
            r#"{{"code":0,"message":null,"response":{{"total":{FAT_RECORDS},"next":{next},"list":[{list}]}}}}"#
        )
    }

    #[tokio::test]
    async fn a_page_that_is_too_large_is_read_in_pieces() {
        let token = r#"{"code":0,"message":null,
            "response":{"access_token":"t","now":1000,"expired_at":2800}}"#;
        let router = Router::new()
            .route("/users/getToken", post(async move || token))
            .route("/payments/status/all", get(fat_page));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let gateway = PortOne::new(Endpoint {
            base_url: format!("http://{address}"),
            imp_key: "key".into(),
            imp_secret: "secret".into(),
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            connections_max: 1,
        })
        .unwrap();
        let window = Window {
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
        };
        let page = gateway.payments(window, 1).await.unwrap();
        let names: Vec<_> = page
            .entries
            .iter()
            .map(|it| it.merchant_uid.as_str())
            .collect();
        let expected: Vec<_> = (0..FAT_RECORDS).map(|id| format!("m{id}")).collect();
        assert_eq!(names, expected);
        assert!(!page.has_next);
    }

    #[test]
    fn only_portones_own_words_make_an_empty_page() {
        let said = r#"{"code":-1,"message":"없음","response":null}"#;
        for (status, page, body, expected) in [
            (404, 1, said, true),
            (400, 2, said, true),
            (400, 1, said, false),
            (500, 2, said, false),
            (404, 1, "<html><h1>404 Not Found</h1></html>", false),
            (404, 1, "", false),
            (404, 1, r#"{"message":"no Route matched"}"#, false),
            (
                404,
                1,
                r#"{"code":0,"message":null,"response":null}"#,
                false,
            ),
            (400, 2, "<html>", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let none = is_none(status, body.as_bytes(), page);
            assert_eq!(none, expected, "{status} {page} {body}");
        }
    }

    #[test]
    fn an_answer_outside_the_contract_is_no_empty_page() {
        for (status, body) in [
            (200, r#"{"code":1,"message":"아니오","response":null}"#),
            (200, r#"{"code":0,"message":null,"response":null}"#),
            (200, "<html>"),
            (200, ""),
            (500, r#"{"code":0,"message":null,"response":{"list":[]}}"#),
            (404, r#"{"code":-1,"message":"없음","response":null}"#),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = response::<List>(status, body.as_bytes());
            assert!(
                matches!(answer, Err(GatewayError::Unreadable(_))),
                "{status} {body}"
            );
        }
    }
}
