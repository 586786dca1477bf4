//! `POST /payments/cancel`: giving money back.

use reqwest::Method;
use serde_json::{Map, Value};

use crate::causes::chain;
use crate::domain::attempt::{NotSent, Unknown, UnknownReason, bounded_message};
use crate::domain::refund::{RefundOutcome, RefundRequest};
use crate::gateway::portone::PortOne;
use crate::gateway::portone::call::{Answer, CallError, NoAnswer, opened};
use crate::gateway::portone::wire::{Envelope, PaymentAnnotation, major, minor};

impl PortOne {
    /// Asks the gateway to give money back, once, with the balance we believe in. There is no
    /// `Err`: what can't be proved is [`RefundOutcome::Unknown`].
    pub async fn refund(&self, request: &RefundRequest) -> RefundOutcome {
        let call = body(request).and_then(|body| {
            self.call(Method::POST, &["payments", "cancel"])
                .with_body(&body)
        });
        let call = match call {
            Ok(call) => call,
            Err(fault) => return RefundOutcome::NotSent(NotSent::Unbuildable(fault)),
        };
        match self.send(&call).await {
            Err(NoAnswer::NotSent(why)) => RefundOutcome::NotSent(why),
            Err(NoAnswer::Lost(doubt)) => RefundOutcome::Unknown(doubt),
            Ok(answer) => classify(&answer, request),
        }
    }
}

/// Both numbers are sent, and the sum always: a request without one gives everything back.
fn body(request: &RefundRequest) -> Result<Map<String, Value>, String> {
    let mut body = Map::new();
    let sums = [
        ("amount", Some(request.amount)),
        ("checksum", Some(request.checksum)),
        ("tax_free", request.tax_free),
        ("vat_amount", request.vat_amount),
    ];
    for (field, sum) in sums {
        if let Some(sum) = sum {
            let number = Value::Number(major(sum, request.currency)?);
            body.insert(field.to_owned(), number);
        }
    }
    let texts = [
        ("imp_uid", Some(request.imp_uid.as_str())),
        ("merchant_uid", Some(request.merchant_uid.as_str())),
        ("reason", request.note.as_deref()),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            body.insert(field.to_owned(), Value::from(text));
        }
    }
    Ok(body)
}

/// What an answer proves: only the payment itself, with the new balance, says that it is done.
fn classify(answer: &Answer, request: &RefundRequest) -> RefundOutcome {
    let unknown = |reason, detail: &str| {
        RefundOutcome::Unknown(Unknown {
            reason,
            detail: bounded_message(detail),
        })
    };
    let (status, body) = answer;
    match opened(answer) {
        Err(CallError::Refused { message, .. }) if *status == 200 || *status == 400 => {
            return RefundOutcome::Refused(message);
        }
        Err(error) if *status == 200 => {
            return unknown(UnknownReason::Unreadable, &chain(&error));
        }
        Err(error) => return unknown(UnknownReason::HttpStatus, &chain(&error)),
        Ok(()) => {}
    }
    let payment = serde_json::from_slice::<Envelope<PaymentAnnotation>>(body)
        .ok()
        .and_then(|envelope| envelope.response);
    let Some(payment) = payment else {
        return unknown(UnknownReason::Unreadable, "no payment in the answer");
    };
    let cancelled = payment
        .cancel_amount
        .as_ref()
        .and_then(|sum| minor(sum, request.currency));
    if payment.imp_uid == request.imp_uid.as_str() && cancelled == Some(request.cancelled_after()) {
        RefundOutcome::Refunded
    } else {
        let detail = format!(
            "{} given back in all in the answer, {} expected",
            cancelled.map_or_else(|| "nothing readable".to_owned(), |sum| sum.to_string()),
            request.cancelled_after()
        );
        unknown(UnknownReason::Mismatch, &detail)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::{ImpUid, MerchantUid};
    use crate::domain::money::Currency;

    fn request() -> RefundRequest {
        RefundRequest {
            merchant_uid: MerchantUid::parse("a1").unwrap(),
            imp_uid: ImpUid::parse("imp_1").unwrap(),
            amount: 1_000,
            checksum: 8_900,
            payment_amount: 9_900,
            currency: Currency::KRW,
            tax_free: None,
            vat_amount: None,
            note: None,
        }
    }

    fn said(status: u16, body: &Value) -> RefundOutcome {
        classify(&(status, serde_json::to_vec(body).unwrap()), &request())
    }

    fn payment(imp_uid: &str, cancelled: i64) -> Value {
        json!({"code": 0, "message": null, "response": {
            "imp_uid": imp_uid, "merchant_uid": "a1", "status": "paid", "amount": 9900,
            "currency": "KRW", "cancel_amount": cancelled,
        }})
    }

    /// Hazard: HTTP 200 and code 0 for something else than what was asked, taken for done.
    #[test]
    fn only_the_payment_with_its_new_balance_proves_a_refund() {
        assert_eq!(said(200, &payment("imp_1", 2_000)), RefundOutcome::Refunded);
        for body in [
            payment("imp_1", 1_000),
            payment("imp_1", 9_900),
            payment("imp_2", 2_000),
            json!({"code": 0, "message": null, "response": null}),
            json!([]),
        ] {
            let said = said(200, &body);
            assert!(matches!(said, RefundOutcome::Unknown(_)), "{said:?}");
        }
        let refused = json!({"code": 1, "message": "no", "response": null});
        assert_eq!(said(200, &refused), RefundOutcome::Refused("no".to_owned()));
        assert!(matches!(said(500, &refused), RefundOutcome::Unknown(_)));
    }

    #[test]
    fn the_sum_and_the_balance_are_always_sent() {
        let body = Value::Object(body(&request()).unwrap());
        assert_eq!(
            body,
            json!({"amount": 1000, "checksum": 8900, "imp_uid": "imp_1", "merchant_uid": "a1"})
        );
    }
}
