//! The gateway's books: every payment of a window, page by page.
//!
//! Reads only, and one page at a time, so memory does not grow with the books. A record is read with
//! tolerance: one that makes no sense is counted, and does not hide the others of its page.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Number;

use crate::domain::attempt::{Payment, bounded_message};
use crate::domain::audit::{BookEntry, BookStatus};
use crate::domain::ids::ImpUid;
use crate::domain::money::Currency;
use crate::gateway::portone_v1::client::{Answer, PortOne};
use crate::gateway::portone_v1::pages::{
    is_none, number_or_none, response, text_or_none, too_large,
};
use crate::gateway::portone_v1::wire::minor;
use crate::gateway::{BookPage, GatewayError, Window};

/// The most that PortOne puts on a page.
const PAGE_RECORDS_MAX: usize = 1000;
/// Pieces in which a page that is too large is read. Together they must make a page, so that the next
/// one goes on where the last of them ends.
const PIECES: u32 = 10;
const PIECE_RECORDS_MAX: usize = 100;

impl PortOne {
    /// Reads one page, in pieces if it is too large.
    pub(super) async fn books(&self, window: Window, page: u32) -> Result<BookPage, GatewayError> {
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
        let call = self
            .call(Method::GET, &["payments", "status", "all"])
            .with("from", &window.from.as_second().to_string())
            .with("to", &window.to.as_second().to_string())
            .with("page", &page.to_string())
            .with("limit", &limit.to_string())
            .with("sorting", "started");
        let Some(answer) = self.read_page(call).await? else {
            return Ok(None);
        };
        if is_none(&answer, page) {
            return Ok(Some(BookPage::default()));
        }
        book_page(&answer).map(Some)
    }
}

/// Reads a page that holds something.
pub(super) fn book_page(answer: &Answer) -> Result<BookPage, GatewayError> {
    let list: List = response(answer)?;
    let records = list.records.len();
    let entries: Vec<_> = list.records.into_iter().filter_map(Record::entry).collect();
    Ok(BookPage {
        unreadable: records.saturating_sub(entries.len()),
        entries,
        total: list.total,
        has_next: list.next != 0 && records > 0,
    })
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
                imp_uid: ImpUid::of_proved(&self.imp_uid)?,
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

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| bounded_message(text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use axum::Router;
    use axum::extract::Query;
    use axum::routing::{get, post};
    use jiff::Timestamp;
    use tokio::net::TcpListener;

    use super::*;
    use crate::gateway::Gateway;
    use crate::gateway::portone_v1::client::Endpoint;

    fn page(records: &str) -> List {
        let body = format!(
            r#"{{"code":0,"message":null,"response":{{"total":9,"previous":0,"next":2,"list":[{records}]}}}}"#
        );
        response(&(200, body.into_bytes())).unwrap()
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
            proxy: None,
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
}
