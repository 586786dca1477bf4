//! `POST /subscribe/payments/again`: the only route that moves money.

use axum::http::StatusCode;

use super::Sandbox;
use super::answer::{Answer, Ending, Reply};
use super::behaviour::Verdict;
use super::book::Refusal;
use super::call::Call;
use super::fields::Fields;
use super::payment::{Order, Payment};

/// PortOne's sentence for a `merchant_uid` that has taken money.
const TAKEN: &str =
    "이미 주문이 이루어진 건입니다. (동일한 merchant_uid로 결제 또는 취소된 기록이 있습니다)";
/// The sandbox's own sentence: PortOne's is not known.
const RUNNING: &str = "동일한 merchant_uid로 결제가 진행 중입니다.";
const UNKNOWN_CUSTOMER: &str = "등록되지 않은 구매자입니다.";

/// Longest values, in characters.
const LENGTHS: [(&str, usize); 8] = [
    ("customer_uid", 80),
    ("merchant_uid", 40),
    ("name", 40),
    ("buyer_name", 16),
    ("buyer_email", 64),
    ("buyer_tel", 16),
    ("buyer_addr", 128),
    ("buyer_postcode", 8),
];

/// Reads an order, or says in PortOne's manner what is wrong with it.
pub(super) fn order(fields: &Fields, required: &[&str]) -> Result<Order, Answer> {
    let missing: Vec<_> = required
        .iter()
        .filter(|name| !fields.has(name))
        .copied()
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Answer::bad_request(&format!(
            "{missing} 파라메터가 누락되었습니다."
        )));
    }
    let wrong = |name: &str| Answer::bad_request(&format!("{name} 파라메터가 올바르지 않습니다."));
    for (name, longest) in LENGTHS {
        let value = fields.text(name);
        if value.is_some_and(|value| value.chars().count() > longest) {
            return Err(wrong(name));
        }
    }
    let amount = fields
        .amount("amount")
        .filter(|amount| amount.is_positive());
    Ok(Order {
        merchant_uid: fields
            .owned("merchant_uid")
            .ok_or_else(|| wrong("merchant_uid"))?,
        customer_uid: fields.owned("customer_uid"),
        amount: amount.ok_or_else(|| wrong("amount"))?,
        currency: fields.owned("currency"),
        name: fields.owned("name"),
        buyer_name: fields.owned("buyer_name"),
        buyer_email: fields.owned("buyer_email"),
        buyer_tel: fields.owned("buyer_tel"),
        buyer_addr: fields.owned("buyer_addr"),
        buyer_postcode: fields.owned("buyer_postcode"),
        card_quota: fields.integer("card_quota").unwrap_or_default(),
        custom_data: fields.owned("custom_data"),
    })
}

/// Takes the turn of the request's `merchant_uid`, so that no other request charges under it.
pub(super) fn enter(sandbox: &Sandbox, merchant_uid: &str) -> Result<(), Answer> {
    let switches = sandbox.switches();
    let entered = sandbox.book().enter(
        merchant_uid,
        !switches.failed_reusable,
        switches.concurrent_charges,
    );
    entered.map_err(|refusal| {
        let sentence = match refusal {
            Refusal::Taken => TAKEN,
            Refusal::Running => RUNNING,
        };
        Answer::refuse(StatusCode::OK, 1, sentence)
    })
}

/// Charges, as the card decides. The turn must have been taken.
pub(super) fn again(sandbox: &Sandbox, call: &Call) -> Reply {
    let order = match order(
        &call.fields,
        &["customer_uid", "merchant_uid", "amount", "name"],
    ) {
        Ok(order) => order,
        Err(answer) => return answer.into(),
    };
    let now_us = sandbox.clock.now_us();
    let requested_at_us = call.arrived_at_us;
    let leaves_record = sandbox.switches().null_declines_recorded;
    let mut book = sandbox.book();
    let behaviour = book.behaviour(order.customer_uid.as_deref().unwrap_or_default());
    let (verdict, ending, charges) = behaviour
        .map_or((Verdict::Approve, Ending::Answer, true), |behaviour| {
            (behaviour.verdict, behaviour.ending, behaviour.charges)
        });
    let refused = match verdict {
        Verdict::Unknown => Some((1, UNKNOWN_CUSTOMER)),
        Verdict::DeclineNull(reason) => Some((-1, reason)),
        Verdict::Approve | Verdict::Decline(_) | Verdict::Pending => None,
    };
    if let Some((code, message)) = refused {
        if verdict != Verdict::Unknown && leaves_record {
            book.charge(order, "payment", verdict, requested_at_us, now_us);
        }
        return Answer::refuse(StatusCode::OK, code, message).into();
    }
    if !charges {
        // The cut comes before the money, so there is nothing to write down or to say.
        let answer = Answer::bad_request("");
        return Reply { answer, ending };
    }
    let payment = book.charge(order, "payment", verdict, requested_at_us, now_us);
    Reply {
        answer: described(payment, ending),
        ending,
    }
}

/// The record, but for the endings that lie about it.
fn described(payment: &Payment, ending: Ending) -> Answer {
    let mut annotation = payment.annotation();
    match ending {
        Ending::WrongAmount => {
            annotation.amount = annotation.amount.plus(annotation.amount);
        }
        Ending::WrongMerchantUid => annotation.merchant_uid = "somebodyelses",
        Ending::Answer
        | Ending::Cut
        | Ending::Error500
        | Ending::Silence
        | Ending::CutBody
        | Ending::Garbage
        | Ending::Html
        | Ending::Empty => {}
    }
    Answer::ok(annotation)
}
