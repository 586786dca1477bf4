//! `billd payment show`: one payment, in the gateway's books and in ours.

use serde_json::json;

use crate::app::exit::{Exit, Failure, not_done};
use crate::app::services::{self, Services, settings_for_work};
use crate::cli::{Output, Payment};
use crate::domain::ids::{CustomerUid, ImpUid, MerchantUid, PaymentName};
use crate::domain::payment::BookPayment;
use crate::gateway::{Gateway, PaymentRecord};
use crate::settings::Source;
use crate::terminal::{self, instant};

pub(super) async fn payment(source: &Source, command: Payment) -> Result<Exit, Failure> {
    let Payment::Show { payment, output } = command;
    let name = PaymentName::parse(&payment).map_err(|error| not_done(error.to_string()))?;
    let settings = settings_for_work(source)?;
    let services = services::open(&settings).await?;
    services.engine.gateway().prepare().await?;
    let shown = show(&services, &name, output).await;
    services.store.close().await;
    if shown? {
        Ok(Exit::Done)
    } else {
        Err(not_done(format!(
            "neither PortOne nor the book knows {payment}"
        )))
    }
}

async fn show(
    services: &Services<impl Gateway>,
    name: &PaymentName,
    output: Output,
) -> Result<bool, Failure> {
    let portone = services.engine.gateway();
    let (records, merchant_uid) = match name {
        PaymentName::Merchant(merchant_uid) => (
            portone.payments_of(merchant_uid).await?,
            Some(merchant_uid.clone()),
        ),
        PaymentName::Imp(imp_uid) => {
            let record = portone.payment(imp_uid).await?;
            // Other programs of the merchant may use numbers that ours can't be.
            let merchant_uid = record
                .as_ref()
                .and_then(|record| MerchantUid::parse(record.merchant_uid.as_str()).ok());
            (record.into_iter().collect(), merchant_uid)
        }
    };
    let book = match &merchant_uid {
        Some(merchant_uid) => services.store.payment(merchant_uid).await?,
        None => None,
    };
    if output.json {
        let book = book.as_ref().map(in_json);
        terminal::line(&json!({ "gateway": records, "book": book }).to_string());
    } else {
        for record in &records {
            terminal::line(&one_line(record));
        }
        if records.is_empty() {
            terminal::line("PortOne knows no such payment");
        }
        terminal::line(&match &book {
            Some(book) => format!("book: {}", in_words(book)),
            None => "book: not there; it was not charged by billd".to_owned(),
        });
    }
    Ok(!records.is_empty() || book.is_some())
}

fn one_line(record: &PaymentRecord) -> String {
    let at = [
        ("paid", record.paid_at),
        ("failed", record.failed_at),
        ("cancelled", record.cancelled_at),
        ("started", record.started_at),
    ];
    let times: Vec<String> = at
        .iter()
        .filter(|(_, at)| *at != 0)
        .map(|(what, at)| format!("{what} {}", instant(*at)))
        .collect();
    let cancelled = match &record.cancel_amount {
        Some(sum) if sum.to_string() != "0" => format!(", {sum} given back"),
        Some(_) | None => String::new(),
    };
    let reason = match &record.fail_reason {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    format!(
        "{}  {}  {} {}{cancelled}{reason}  {} {}  {}",
        record.imp_uid,
        record.status,
        record.amount,
        record.currency,
        record.card_name.as_deref().unwrap_or("?"),
        record.card_number.as_deref().unwrap_or("?"),
        times.join(", "),
    )
}

fn in_json(book: &BookPayment) -> serde_json::Value {
    json!({
        "kind": book.kind.as_str(),
        "state": book.state.as_str(),
        "amount": book.money.amount(),
        "currency": book.money.currency().as_str(),
        "customer_uid": book.customer_uid.as_ref().map(CustomerUid::as_str),
        "subscription_id": book.subscription.map(|id| id.to_string()),
        "period": book.period.map(|period| period.to_string()),
        "imp_uid": book.imp_uid.as_ref().map(ImpUid::as_str),
        "reason": book.reason,
        "code": book.code,
        "message": book.message,
        "cancelled_amount": book.cancelled_amount,
    })
}

fn in_words(book: &BookPayment) -> String {
    let whose = match (book.subscription, book.period) {
        (Some(id), Some(period)) => format!("subscription {id}, period {period}"),
        (Some(_) | None, Some(_) | None) => format!("one-off, {}", book.kind.as_str()),
    };
    let reason = match (&book.reason, &book.message) {
        (Some(reason), Some(message)) => format!(" ({reason}: {message})"),
        (Some(reason), None) => format!(" ({reason})"),
        (None, Some(_) | None) => String::new(),
    };
    format!(
        "{}, {}, {} given back{reason}; {whose}",
        book.state.as_str(),
        book.money,
        book.cancelled_amount
    )
}
