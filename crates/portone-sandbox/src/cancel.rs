//! `POST /payments/cancel`: giving money back.

use axum::http::StatusCode;

use super::Sandbox;
use super::amount::Amount;
use super::answer::{Answer, Reply};
use super::call::Call;
use super::fault::Lie;
use super::look_up::reply;
use super::order;
use super::payment::Payment;
use super::webhook::Notice;

const NOTHING: &str = "취소할 결제건이 존재하지 않습니다.";
const CANCELLED: &str = "이미 전액취소된 주문입니다.";
const CHECKSUM: &str = "취소 가능 잔액이 checksum 값과 일치하지 않습니다.";
const TOO_MUCH: &str = "취소 요청 금액이 취소 가능 잔액을 초과합니다.";

pub(super) fn cancel(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    reply(give_back(sandbox, call))
}

fn give_back(sandbox: &Sandbox, call: &Call) -> Result<Answer, Answer> {
    let fields = &call.fields;
    let refuse = |message| Answer::refuse(StatusCode::OK, 1, message);
    let part_shows_cancelled = sandbox.switches().partial_cancel_shows_cancelled;
    let mut book = sandbox.book();
    let took_money = |payment: &&Payment| payment.status.took_money();
    let payment = match (fields.text("imp_uid"), fields.text("merchant_uid")) {
        // `imp_uid` wins when both are sent.
        (Some(imp_uid), _) => book.by_imp_uid(&imp_uid).filter(took_money),
        (None, Some(merchant_uid)) => book.of_merchant_uid(&merchant_uid).find(took_money),
        (None, None) => {
            let message = "imp_uid, merchant_uid 파라메터가 누락되었습니다.";
            return Err(Answer::bad_request(message));
        }
    };
    let payment = payment.ok_or_else(|| refuse(NOTHING))?;
    let balance = payment.order.amount.minus(payment.cancelled());
    if !balance.is_positive() {
        return Err(refuse(CANCELLED));
    }
    let sum = |name: &str| {
        let sum = fields.amount(name);
        if sum.is_none() && fields.has(name) {
            return Err(order::wrong(name));
        }
        Ok(sum)
    };
    if sum("checksum")?.is_some_and(|checksum| checksum != balance) {
        return Err(refuse(CHECKSUM));
    }
    let amount = match sum("amount")? {
        None | Some(Amount::ZERO) => balance,
        Some(amount) if !amount.is_positive() => return Err(order::wrong("amount")),
        Some(amount) if amount > balance => return Err(refuse(TOO_MUCH)),
        Some(amount) => amount,
    };
    let reason = fields.owned("reason").unwrap_or_default();
    let (number, now_us) = (payment.number, sandbox.clock.now_us());
    let cancelled = book.cancel(number, amount, reason, now_us, part_shows_cancelled);
    let payment = cancelled.ok_or_else(|| refuse(NOTHING))?;
    // V1 is silent about cancels through the API unless it is asked to speak.
    if fields.flag("enable_webhook") {
        let notice = Notice {
            imp_uid: payment.imp_uid(),
            merchant_uid: payment.order.merchant_uid.to_string(),
            status: payment.status,
            cancellation_id: Some(payment.cancellation_id(payment.cancels.len())),
        };
        let notice_url = payment.order.notice_url.as_deref();
        sandbox.webhooks.send(notice_url, &notice);
    }
    Ok(Answer::ok(payment.annotation()))
}
