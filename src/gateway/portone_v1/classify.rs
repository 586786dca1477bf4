//! What an answer proves. Pure: status and body in, conclusion out.
//!
//! HTTP 200 is not success and `code: 0` is not success. Whatever is not recognised here is
//! [`ChargeOutcome::Unknown`]; nothing else in this program may guess.

use crate::domain::attempt::{
    ChargeOutcome, Decline, Lookup, NotSent, Payment, Unknown, UnknownReason, bounded_message,
};
use crate::domain::card::redacted;
use crate::domain::decline::DeclineClass;
use crate::domain::ids::ImpUid;
use crate::gateway::portone_v1::decline::{classify as classify_decline, names_duplicate};
use crate::gateway::portone_v1::wire::{Envelope, Outside, Page, PaymentAnnotation, is_sum, minor};
use crate::gateway::{Expected, GatewayError};

/// Reads the answer to a request for money.
pub(super) fn charge(status: u16, body: &[u8], expected: &Expected) -> ChargeOutcome {
    match status {
        200 => accepted(body, expected),
        // PortOne checks the access token before it reads the charge.
        401 => ChargeOutcome::NotSent(NotSent::Unauthorized),
        _ => {
            let reason = match status {
                429 => UnknownReason::TooManyRequests,
                _ => UnknownReason::HttpStatus,
            };
            unknown(reason, &format!("HTTP {status}: {}", excerpt(body)))
        }
    }
}

/// HTTP 200: PortOne speaks; now the envelope counts.
fn accepted(body: &[u8], expected: &Expected) -> ChargeOutcome {
    // Nearly every answer is this. Any other is read again, for its envelope alone.
    if let Ok(Envelope {
        code: 0,
        response: Some(payment),
        ..
    }) = serde_json::from_slice::<Envelope<PaymentAnnotation>>(body)
    {
        return paid_or_declined(&payment, expected);
    }
    match serde_json::from_slice::<Outside>(body) {
        Ok(outside) if outside.code != 0 => {
            let message = outside.message.unwrap_or_default();
            // A refusal brings no payment. One that does contradicts itself.
            if outside.response.is_none() {
                refused(outside.code, &message)
            } else {
                unclear_refusal(outside.code, &message)
            }
        }
        Ok(_) | Err(_) => unknown(UnknownReason::Unreadable, &excerpt(body)),
    }
}

/// Decline shape B: `code` not 0, no payment in the answer.
fn refused(code: i64, message: &str) -> ChargeOutcome {
    if names_duplicate(message) {
        return unknown(UnknownReason::DuplicateMerchantUid, message);
    }
    let classified = classify_decline(None, message);
    if classified.proves_nothing() {
        return unclear_refusal(code, message);
    }
    ChargeOutcome::Declined(Decline {
        class: classified.class,
        pg_provider: None,
        code: classified.code,
        message: bounded_message(&redacted(message)),
        imp_uid: None,
    })
}

fn unclear_refusal(code: i64, message: &str) -> ChargeOutcome {
    unknown(
        UnknownReason::UnclearDecline,
        &format!("code {code}: {message}"),
    )
}

/// `code` 0 with a payment: only its status, number, sum and card say what happened.
fn paid_or_declined(payment: &PaymentAnnotation, expected: &Expected) -> ChargeOutcome {
    if let Some(difference) = difference(payment, expected) {
        return unknown(UnknownReason::Mismatch, &difference);
    }
    match payment.status.as_str() {
        "paid" => match receipt(payment, expected) {
            Some(receipt) => ChargeOutcome::Paid(receipt),
            None => unknown(UnknownReason::Unreadable, "no usable imp_uid"),
        },
        "failed" => {
            let decline = decline(payment);
            if decline.class == DeclineClass::Unclear {
                unknown(UnknownReason::UnclearDecline, &decline.message)
            } else {
                ChargeOutcome::Declined(decline)
            }
        }
        other => unknown(UnknownReason::NotFinal, &format!("status {other}")),
    }
}

/// Reads the answer to `findAll`.
pub(super) fn look_up(
    status: u16,
    body: &[u8],
    expected: &Expected,
) -> Result<Lookup, GatewayError> {
    let unreadable =
        || GatewayError::Unreadable(format!("HTTP {status} to a look-up: {}", excerpt(body)));
    // Whatever the body is: the access token has to be renewed.
    if status == 401 {
        return Err(GatewayError::Refused(excerpt(body)));
    }
    let outside: Outside = serde_json::from_slice(body).map_err(|_not_json| unreadable())?;
    match (status, outside.code) {
        (404, code) if code != 0 => Ok(Lookup::NotFound),
        (200, 0) => {
            let page = serde_json::from_slice::<Envelope<Page>>(body)
                .ok()
                .and_then(|envelope| envelope.response)
                .ok_or_else(unreadable)?;
            Ok(records(&page, expected))
        }
        _ => Err(unreadable()),
    }
}

/// One record that moved money wins over any number that did not.
fn records(page: &Page, expected: &Expected) -> Lookup {
    let list = &page.list;
    let with_status = |status: &'static str| list.iter().filter(move |it| it.status == status);
    let is_ours = |it: &PaymentAnnotation| it.merchant_uid == expected.merchant_uid.as_str();
    if !list.iter().all(is_ours) {
        return unclear(UnknownReason::Mismatch, "a record of another merchant_uid");
    }
    if with_status("paid").count() > 1 {
        return unclear(UnknownReason::Mismatch, "more than one paid record");
    }
    // What is still paid says more than what was given back before.
    if let Some(payment) = with_status("paid").chain(with_status("cancelled")).next() {
        if let Some(difference) = difference(payment, expected) {
            return unclear(UnknownReason::Mismatch, &difference);
        }
        return match receipt(payment, expected) {
            Some(receipt) => Lookup::Paid(receipt),
            None => unclear(UnknownReason::Unreadable, "no usable imp_uid"),
        };
    }
    if let Some(open) = list.iter().find(|payment| payment.status != "failed") {
        return unclear(UnknownReason::NotFinal, &format!("status {}", open.status));
    }
    if page.next != 0 {
        return unclear(UnknownReason::NotFinal, "more records than one page");
    }
    // A refusal that may hide a charge is not made up for by a plainer one beside it.
    let declines: Vec<Decline> = list.iter().map(decline).collect();
    let doubtful = declines
        .iter()
        .find(|decline| decline.class == DeclineClass::Unclear);
    match doubtful.or(declines.first()) {
        None => Lookup::NotFound,
        Some(decline) => Lookup::Failed {
            decline: decline.clone(),
            records: u16::try_from(declines.len()).unwrap_or(u16::MAX),
        },
    }
}

fn unclear(reason: UnknownReason, detail: &str) -> Lookup {
    Lookup::Unclear(doubt(reason, detail))
}

/// Says in what a payment differs from what was asked for; `None` if in nothing.
///
/// A card that is absent from the answer is no difference: PortOne's schema allows it, and the
/// `merchant_uid` is ours alone.
fn difference(payment: &PaymentAnnotation, expected: &Expected) -> Option<String> {
    if payment.merchant_uid != expected.merchant_uid.as_str() {
        return Some(format!(
            "merchant_uid {} in the answer",
            bounded_message(&payment.merchant_uid)
        ));
    }
    if !is_sum(&payment.amount, &payment.currency, expected.money) {
        return Some(format!(
            "{} {} in the answer, {} asked for",
            payment.amount,
            bounded_message(&payment.currency),
            expected.money
        ));
    }
    match (&payment.customer_uid, &expected.customer_uid) {
        (Some(card), Some(asked)) if card != asked.as_str() => {
            Some("another customer_uid in the answer".to_owned())
        }
        (Some(_) | None, Some(_) | None) => None,
    }
}

fn receipt(payment: &PaymentAnnotation, expected: &Expected) -> Option<Payment> {
    Some(Payment {
        imp_uid: ImpUid::of_proved(&payment.imp_uid)?,
        pg_provider: payment.pg_provider.as_deref().map(bounded_message),
        pg_tid: payment.pg_tid.as_deref().map(bounded_message),
        receipt_url: payment.receipt_url.as_deref().map(bounded_message),
        cancelled_amount: payment.cancel_amount.as_ref().map_or(0, |amount| {
            minor(amount, expected.money.currency()).unwrap_or(Payment::CANCELLED_UNREADABLE)
        }),
    })
}

fn decline(payment: &PaymentAnnotation) -> Decline {
    let message = payment.fail_reason.as_deref().unwrap_or_default();
    let classified = classify_decline(payment.pg_provider.as_deref(), message);
    Decline {
        class: classified.class,
        pg_provider: payment.pg_provider.as_deref().map(bounded_message),
        code: classified.code,
        message: bounded_message(&redacted(message)),
        imp_uid: ImpUid::of_proved(&payment.imp_uid),
    }
}

fn unknown(reason: UnknownReason, detail: &str) -> ChargeOutcome {
    ChargeOutcome::Unknown(doubt(reason, detail))
}

/// The gateway has seen the card and may quote it. It is redacted before the text is cut: half a
/// number would not be known as one.
fn doubt(reason: UnknownReason, detail: &str) -> Unknown {
    Unknown {
        reason,
        detail: bounded_message(&redacted(detail)),
    }
}

/// The start of a body that is not the contract's, for the row and the log. An answer of the
/// contract never comes through here: it could hold the buyer's details.
fn excerpt(body: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 120;
    let message = serde_json::from_slice::<Outside>(body).map(|outside| {
        format!(
            "code {}: {}",
            outside.code,
            outside.message.unwrap_or_default()
        )
    });
    let text = match message {
        Ok(message) => message,
        Err(_) if body.is_empty() => "empty body".to_owned(),
        Err(_) if body.trim_ascii_start().starts_with(b"<") => "a page of HTML".to_owned(),
        Err(_) => format!("{} bytes that are not the contract's JSON", body.len()),
    };
    let text = bounded_message(&redacted(&text));
    text.chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
