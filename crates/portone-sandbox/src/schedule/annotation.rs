//! A reservation as PortOne writes it down.

use serde::Serialize;

use super::super::amount::Amount;
use super::super::book::Book;
use super::super::clock::seconds;
use super::super::payment::{Payment, Status};
use super::book::{Schedule, ScheduleStatus};

/// Every field of the schema's `ScheduleResultAnnotation`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Annotation<'a> {
    customer_uid: &'a str,
    merchant_uid: &'a str,
    imp_uid: Option<String>,
    pg_provider: &'static str,
    pg_id: &'static str,
    customer_id: Option<&'a str>,
    schedule_at: i64,
    executed_at: i64,
    revoked_at: i64,
    amount: Amount,
    currency: &'a str,
    name: Option<&'a str>,
    buyer_name: Option<&'a str>,
    buyer_email: Option<&'a str>,
    buyer_tel: Option<&'a str>,
    buyer_addr: Option<&'a str>,
    buyer_postcode: Option<&'a str>,
    custom_data: Option<&'a str>,
    schedule_status: Option<ScheduleStatus>,
    payment_status: Option<Status>,
    fail_reason: Option<&'a str>,
    promotion_id: Option<&'a str>,
}

pub(super) fn payment_of<'a>(book: &'a Book, schedule: &Schedule) -> Option<&'a Payment> {
    book.by_number(schedule.payment?)
}

/// The reservation as PortOne answers it.
pub(super) fn annotation<'a>(book: &'a Book, schedule: &'a Schedule) -> Annotation<'a> {
    let order = &schedule.order;
    let customer_uid = order.customer_uid.as_deref().unwrap_or_default();
    let key = book.keys().ever(customer_uid);
    let payment = payment_of(book, schedule);
    let reason = payment.and_then(|payment| payment.fail_reason.as_deref());
    Annotation {
        customer_uid,
        merchant_uid: &order.merchant_uid,
        imp_uid: payment.map(Payment::imp_uid),
        pg_provider: "html5_inicis",
        pg_id: "INIBillTst",
        customer_id: key.and_then(|key| key.customer_id.as_deref()),
        schedule_at: schedule.at_s,
        executed_at: seconds(schedule.executed_at_us),
        revoked_at: seconds(schedule.revoked_at_us),
        amount: order.amount,
        currency: order.currency(),
        name: order.name.as_deref(),
        buyer_name: order.buyer_name.as_deref(),
        buyer_email: order.buyer_email.as_deref(),
        buyer_tel: order.buyer_tel.as_deref(),
        buyer_addr: order.buyer_addr.as_deref(),
        buyer_postcode: order.buyer_postcode.as_deref(),
        custom_data: order.custom_data.as_deref(),
        schedule_status: Some(schedule.status),
        payment_status: payment.map(|payment| payment.status),
        fail_reason: reason.or(schedule.fail_reason.as_deref()),
        promotion_id: None,
    }
}
