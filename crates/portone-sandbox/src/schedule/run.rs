//! Carrying reservations out: when their second has come, or when somebody asks again.

use axum::http::StatusCode;

use super::super::Sandbox;
use super::super::answer::{Answer, Ending, Reply};
use super::super::behaviour::Verdict;
use super::super::book::{Book, Charge};
use super::super::call::Call;
use super::super::charge::{self, TAKEN, UNKNOWN_CUSTOMER};
use super::super::clock::seconds;
use super::super::fault::Lie;
use super::super::payment::Usage;
use super::annotation::payment_of;
use super::book::{Schedule, ScheduleStatus};
use super::{NO_KEY, ended};

/// `POST …/{merchant_uid}/retry`: charges at once. The turn must have been taken.
pub(crate) fn retry(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let mut book = sandbox.book();
    let schedule = match ended(&book, call) {
        Ok(schedule) => schedule,
        Err(answer) => return answer.into(),
    };
    let customer_uid = schedule.order.customer_uid.as_deref().unwrap_or_default();
    if book
        .keys()
        .ever(customer_uid)
        .is_some_and(|key| key.is_deleted)
    {
        return Answer::refuse(StatusCode::NOT_FOUND, 1, NO_KEY).into();
    }
    let ending = execute(sandbox, &mut book, schedule.clone());
    let done = book.schedules().get(&schedule.order.merchant_uid);
    match done.and_then(|done| payment_of(&book, done)) {
        Some(payment) => Reply {
            answer: Answer::ok(payment.annotation()),
            ending,
        },
        None => Answer::refuse(StatusCode::OK, 1, UNKNOWN_CUSTOMER).into(),
    }
}

/// Carries out every reservation whose second has come, each as its card decides.
pub(crate) fn run_due(sandbox: &Sandbox) {
    let now_s = seconds(sandbox.clock.now_us());
    let due = sandbox.book().schedules().due(now_s);
    for merchant_uid in due {
        let mut book = sandbox.book();
        // It may have been revoked or moved since the list was made.
        let schedule = book.schedules().get(&merchant_uid).cloned();
        let waiting = schedule.filter(|schedule| {
            schedule.status == ScheduleStatus::Scheduled
                && schedule.at_s <= now_s
                && !book.is_running(&merchant_uid)
        });
        if let Some(schedule) = waiting {
            execute(sandbox, &mut book, schedule);
        }
    }
}

fn execute(sandbox: &Sandbox, book: &mut Book, mut schedule: Schedule) -> Ending {
    let now_us = sandbox.clock.now_us();
    schedule.status = ScheduleStatus::Executed;
    schedule.executed_at_us = now_us;
    schedule.fail_reason = None;
    let order = schedule.order.clone();
    if book
        .of_merchant_uid(&order.merchant_uid)
        .any(|payment| payment.status.took_money())
    {
        schedule.fail_reason = Some(TAKEN.into());
        book.put_schedule(schedule);
        return Ending::Answer;
    }
    let customer_uid = order.customer_uid.clone().unwrap_or_default();
    let decision = book.decide(&customer_uid, sandbox.switches().key_required);
    let verdict = match decision.verdict {
        // The gateway asks itself here, so every refusal leaves a record.
        Verdict::Unknown => Verdict::Decline(UNKNOWN_CUSTOMER),
        Verdict::DeclineNull(reason) => Verdict::Decline(reason),
        verdict @ (Verdict::Approve | Verdict::Decline(_) | Verdict::Pending) => verdict,
    };
    let payment = book.charge(Charge {
        order,
        usage: Some(Usage::Scheduled),
        verdict,
        card_number: decision.card_number,
        requested_at_us: now_us,
        now_us,
    });
    charge::announce(sandbox, payment);
    schedule.payment = Some(payment.number);
    book.put_schedule(schedule);
    decision.ending
}
