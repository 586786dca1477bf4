//! The routes that move money: `again`, `onetime`, and what reservations share with them.

use axum::http::StatusCode;

use super::Sandbox;
use super::answer::{Answer, Ending, Reply};
use super::behaviour::Verdict;
use super::book::{Book, Charge, Decision, Refusal};
use super::call::Call;
use super::customers;
use super::fault::Lie;
use super::order;
use super::payment::{Order, Payment, Status, Usage};
use super::webhook::Notice;

/// PortOne's sentence for a `merchant_uid` that has taken money.
pub(super) const TAKEN: &str =
    "이미 주문이 이루어진 건입니다. (동일한 merchant_uid로 결제 또는 취소된 기록이 있습니다)";
/// The sandbox's own sentence: PortOne's is not known.
const RUNNING: &str = "동일한 merchant_uid로 결제가 진행 중입니다.";
pub(super) const UNKNOWN_CUSTOMER: &str = "등록되지 않은 구매자입니다.";

/// Takes the turn of a `merchant_uid`, so that no other request charges under it meanwhile.
pub(super) fn enter(
    sandbox: &Sandbox,
    call: &Call,
    merchant_uid: &str,
    failed_is_final: bool,
) -> Result<(), Answer> {
    let switches = sandbox.switches();
    let concurrent = switches.concurrent_charges;
    let mut book = sandbox.book();
    let entered = book.enter(merchant_uid, failed_is_final, concurrent);
    if let Err(Refusal::Taken) = entered
        && switches.refusals_recorded
        && let Ok(order) = order::read(&call.fields, None)
    {
        book.charge(Charge {
            order,
            usage: Some(Usage::Payment),
            verdict: Verdict::Decline(TAKEN),
            card_number: None,
            requested_at_us: call.arrived_at_us,
            now_us: sandbox.clock.now_us(),
        });
    }
    entered.map_err(|refusal| {
        let sentence = match refusal {
            Refusal::Taken => TAKEN,
            Refusal::Running => RUNNING,
        };
        let status = StatusCode::from_u16(switches.duplicate_http_status);
        Answer::refuse(status.unwrap_or(StatusCode::OK), 1, sentence)
    })
}

/// `POST /subscribe/payments/again`. The turn must have been taken.
pub(super) fn again(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let needed = ["customer_uid", "merchant_uid", "amount", "name"];
    let order =
        order::require(&call.fields, &needed).and_then(|()| order::read(&call.fields, None));
    let order = match order {
        Ok(order) => order,
        Err(answer) => return answer.into(),
    };
    let key_required = sandbox.switches().key_required;
    let mut book = sandbox.book();
    let customer_uid = order.customer_uid.as_deref().unwrap_or_default();
    let decision = book.decide(customer_uid, key_required);
    settle(
        sandbox,
        &mut book,
        order,
        Some(Usage::Payment),
        decision,
        call.arrived_at_us,
    )
}

/// `POST /subscribe/payments/onetime`. The turn must have been taken.
pub(super) fn onetime(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let needed = ["merchant_uid", "amount", "card_number", "expiry"];
    let read = order::require(&call.fields, &needed).and_then(|()| {
        let now_us = sandbox.clock.now_us();
        let order = order::read(&call.fields, None)?;
        let card = customers::card(&call.fields, now_us)?;
        Ok((order, card, now_us))
    });
    let (order, card, now_us) = match read {
        Ok(read) => read,
        Err(answer) => return answer.into(),
    };
    let keeps_key = sandbox.switches().failed_onetime_keeps_key;
    let mut book = sandbox.book();
    let mut decision = Book::decide_by_card(card.clone());
    let Some(customer_uid) = order.customer_uid.clone() else {
        let requested_at_us = call.arrived_at_us;
        return settle(sandbox, &mut book, order, None, decision, requested_at_us);
    };
    let by_uid = book.decide(&customer_uid, false);
    if by_uid.verdict != Verdict::Approve || by_uid.ending != Ending::Answer {
        decision = by_uid;
        decision.card_number = Some(card.clone());
    }
    if decision.verdict == Verdict::Approve || keeps_key {
        let key = customers::key(&call.fields, "buyer", &customer_uid, card, &book, now_us);
        book.put_key(key);
    }
    settle(
        sandbox,
        &mut book,
        order,
        Some(Usage::Issue),
        decision,
        call.arrived_at_us,
    )
}

/// Writes down what the card decided, tells the merchant's server, and answers.
pub(super) fn settle(
    sandbox: &Sandbox,
    book: &mut Book,
    order: Order,
    usage: Option<Usage>,
    decision: Decision,
    requested_at_us: i64,
) -> Reply {
    let Decision {
        verdict,
        ending,
        charges,
        card_number,
    } = decision;
    let charge = Charge {
        order,
        usage,
        verdict,
        card_number,
        requested_at_us,
        now_us: sandbox.clock.now_us(),
    };
    match verdict {
        Verdict::Unknown => return Answer::refuse(StatusCode::OK, 1, UNKNOWN_CUSTOMER).into(),
        Verdict::DeclineNull(reason) => {
            if sandbox.switches().null_declines_recorded {
                book.charge(charge);
            }
            return Answer::refuse(StatusCode::OK, -1, reason).into();
        }
        Verdict::Approve | Verdict::Decline(_) | Verdict::Pending => {}
    }
    if !charges {
        // The break comes before the money, so there is nothing to write down or to say.
        let answer = Answer::bad_request("");
        return Reply { answer, ending };
    }
    let payment = book.charge(charge);
    if payment.status == Status::Paid {
        announce(sandbox, payment);
    }
    Reply {
        answer: described(payment, ending),
        ending,
    }
}

/// Sends the webhook of a payment.
pub(super) fn announce(sandbox: &Sandbox, payment: &Payment) {
    let notice = Notice {
        imp_uid: payment.imp_uid(),
        merchant_uid: payment.order.merchant_uid.to_string(),
        status: payment.status,
        cancellation_id: None,
    };
    let notice_url = payment.order.notice_url.as_deref();
    sandbox.webhooks.send(notice_url, &notice);
}

/// The record, but for the endings that lie about it.
fn described(payment: &Payment, ending: Ending) -> Answer {
    let mut annotation = payment.annotation();
    match ending {
        Ending::WrongAmount => annotation.amount = annotation.amount.plus(annotation.amount),
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
