//! `POST /payments/cancel`: giving money back.

use reqwest::Method;
use serde_json::{Map, Value};

use crate::causes::chain;
use crate::domain::attempt::{NotSent, Unknown, UnknownReason, bounded_message};
use crate::domain::refund::{RefundOutcome, RefundRequest, RefusalMeaning};
use crate::gateway::CallError;
use crate::gateway::portone_v1::client::{Answer, NoAnswer, PortOne, opened};
use crate::gateway::portone_v1::decline;
use crate::gateway::portone_v1::wire::{Envelope, PaymentAnnotation, major, minor};

impl PortOne {
    /// The call leaves once more if its access token was refused.
    pub(super) async fn cancel(&self, request: &RefundRequest) -> RefundOutcome {
        let call = body(request).map(|body| {
            self.call(Method::POST, &["payments", "cancel"])
                .with_json(body)
        });
        let call = match call {
            Ok(call) => call,
            Err(fault) => return RefundOutcome::NotSent(NotSent::Unbuildable(fault)),
        };
        match self.send(&call).await {
            Err(NoAnswer::NoToken(error)) => {
                RefundOutcome::NotSent(NotSent::NoToken(chain(&error)))
            }
            Err(NoAnswer::NotSent(why)) => RefundOutcome::NotSent(why),
            Err(NoAnswer::Lost(doubt)) => RefundOutcome::Unknown(doubt),
            Ok(answer) => classify(&answer, request),
        }
    }
}

/// Both numbers are sent, and the sum always: a request without one gives everything back.
fn body(request: &RefundRequest) -> Result<Vec<u8>, String> {
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
    serde_json::to_vec(&body).map_err(|error| error.to_string())
}

/// What an answer proves: only the payment itself, with the new balance, says that it is done.
pub(super) fn classify(answer: &Answer, request: &RefundRequest) -> RefundOutcome {
    let unknown = |reason, detail: &str| {
        RefundOutcome::Unknown(Unknown {
            reason,
            detail: bounded_message(detail),
        })
    };
    let (status, body) = answer;
    match opened(answer) {
        Err(CallError::Refused { message, .. }) if *status == 200 || *status == 400 => {
            let meaning = meaning(&message);
            return RefundOutcome::Refused { meaning, message };
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

/// What the words of a refusal say about the balance.
fn meaning(message: &str) -> RefusalMeaning {
    if message.contains("checksum") {
        return RefusalMeaning::AnotherBalance;
    }
    if ["전액취소된", "전액 취소된"]
        .iter()
        .any(|it| message.contains(it))
    {
        return RefusalMeaning::NothingLeft;
    }
    if decline::classify(None, message).proves_nothing() {
        RefusalMeaning::Doubtful
    } else {
        RefusalMeaning::Unchanged
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
        let expected = RefundOutcome::Refused {
            meaning: RefusalMeaning::Doubtful,
            message: "no".to_owned(),
        };
        assert_eq!(said(200, &refused), expected);
        assert!(matches!(said(500, &refused), RefundOutcome::Unknown(_)));
    }

    #[test]
    fn the_sum_and_the_balance_are_always_sent() {
        let body: Value = serde_json::from_slice(&body(&request()).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({"amount": 1000, "checksum": 8900, "imp_uid": "imp_1", "merchant_uid": "a1"})
        );
    }

    /// Hazard: "no answer from the card company" is taken for a refusal, and the money was given
    /// back.
    #[test]
    fn words_that_nobody_knows_do_not_exclude_that_money_moved() {
        for (message, expected) in [
            ("", RefusalMeaning::Doubtful),
            ("no", RefusalMeaning::Doubtful),
            ("카드사 응답 시간초과", RefusalMeaning::Doubtful),
            ("이미 처리된 거래입니다.", RefusalMeaning::Doubtful),
            ("[7777]취소 불가 가맹점", RefusalMeaning::Unchanged),
            (
                "취소 가능 잔액이 checksum 값과 일치하지 않습니다.",
                RefusalMeaning::AnotherBalance,
            ),
            ("이미 전액취소된 주문입니다.", RefusalMeaning::NothingLeft),
        ] {
            assert_eq!(meaning(message), expected, "{message}");
        }
    }
}
