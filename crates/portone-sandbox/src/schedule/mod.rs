//! `/subscribe/payments/schedule`: charges that the gateway makes by itself at a given second.

mod annotation;
mod book;
mod run;

use axum::http::StatusCode;

pub(super) use self::book::{Schedule, ScheduleStatus, Schedules};
pub(super) use self::run::{retry, run_due};

use self::annotation::{annotation, payment_of};
use super::Sandbox;
use super::answer::{Answer, Reply};
use super::behaviour::Verdict;
use super::book::{Book, Charge};
use super::call::Call;
use super::charge::TAKEN;
use super::clock::seconds;
use super::customers;
use super::fault::Lie;
use super::fields::Fields;
use super::look_up::{Paging, reply};
use super::order;
use super::payment::Usage;

/// PortOne answers for at most three months.
const WINDOW_S_MAX: i64 = 92 * 24 * 60 * 60;

const NO_KEY: &str = "등록된 고객정보가 없습니다.";
const NOTHING: &str = "취소할 예약결제 기록이 존재하지 않습니다.";
const NO_SCHEDULE: &str = "존재하지 않는 결제예약입니다.";
const NOT_WAITING: &str = "이미 실행되었거나 취소된 결제예약입니다.";
const NOT_ENDED: &str = "아직 실행되지 않았거나 이미 승인된 결제예약입니다.";

/// `POST /subscribe/payments/schedule`: all of the reservations or none.
pub(super) fn create(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    reply(reserve(sandbox, call))
}

fn reserve(sandbox: &Sandbox, call: &Call) -> Result<Answer, Answer> {
    order::require(&call.fields, &["customer_uid", "schedules"])?;
    let wrong = || order::wrong("customer_uid");
    let customer_uid = call.fields.owned("customer_uid").ok_or_else(wrong)?;
    let now_us = sandbox.clock.now_us();
    let key_required = sandbox.switches().key_required;
    let mut book = sandbox.book();
    let has_key = book.keys().live(&customer_uid).is_some();
    let mut schedules: Vec<Schedule> = Vec::new();
    for fields in call.fields.objects("schedules") {
        order::require(&fields, &["merchant_uid", "schedule_at", "amount", "name"])?;
        let mut order = order::read(&fields, Some(&customer_uid))?;
        order.customer_uid = Some(customer_uid.clone());
        let taken = schedules
            .iter()
            .any(|s| s.order.merchant_uid == order.merchant_uid)
            || book.schedules().get(&order.merchant_uid).is_some()
            || book
                .of_merchant_uid(&order.merchant_uid)
                .any(|payment| payment.status.took_money());
        if taken {
            return Err(Answer::refuse(StatusCode::OK, 1, TAKEN));
        }
        schedules.push(Schedule {
            order,
            at_s: instant(&fields, now_us)?,
            status: ScheduleStatus::Scheduled,
            executed_at_us: 0,
            revoked_at_us: 0,
            payment: None,
            fail_reason: None,
        });
    }
    if schedules.is_empty() {
        return Err(order::wrong("schedules"));
    }
    if !has_key {
        if call.fields.has("card_number") {
            let card = customers::card(&call.fields, now_us)?;
            let key = customers::key(&call.fields, "buyer", &customer_uid, card, &book, now_us);
            book.put_key(key);
        } else if key_required || book.keys().ever(&customer_uid).is_some() {
            return Err(Answer::refuse(StatusCode::OK, 1, NO_KEY));
        }
    }
    check_card(sandbox, call, &mut book, &schedules)?;
    for schedule in &schedules {
        book.put_schedule(schedule.clone());
    }
    let made: Vec<_> = schedules.iter().map(|s| annotation(&book, s)).collect();
    Ok(Answer::ok(made))
}

/// Charges `checking_amount` and gives it back at once; a card that refuses it gets no reservation.
fn check_card(
    sandbox: &Sandbox,
    call: &Call,
    book: &mut Book,
    schedules: &[Schedule],
) -> Result<(), Answer> {
    let amount = call.fields.amount("checking_amount");
    let Some(amount) = amount.filter(|amount| amount.is_positive()) else {
        return Ok(());
    };
    let Some(first) = schedules.first() else {
        return Ok(());
    };
    let now_us = sandbox.clock.now_us();
    let mut order = first.order.clone();
    let customer_uid = order.customer_uid.clone().unwrap_or_default();
    let decision = book.decide(&customer_uid, false);
    if let Verdict::Decline(reason) | Verdict::DeclineNull(reason) = decision.verdict {
        return Err(Answer::refuse(StatusCode::OK, -1, reason));
    }
    order.merchant_uid = format!("check{now_us}").into();
    order.amount = amount;
    let payment = book.charge(Charge {
        order,
        usage: Some(Usage::Payment),
        verdict: Verdict::Approve,
        card_number: decision.card_number,
        requested_at_us: call.arrived_at_us,
        now_us,
    });
    let number = payment.number;
    book.cancel(number, amount, "checking_amount".into(), now_us, false);
    Ok(())
}

/// Reads `schedule_at`, which must lie ahead.
fn instant(fields: &Fields, now_us: i64) -> Result<i64, Answer> {
    order::require(fields, &["schedule_at"])?;
    let at_s = fields.integer("schedule_at");
    let at_s = at_s.filter(|at_s| *at_s > seconds(now_us));
    at_s.ok_or_else(|| order::wrong("schedule_at"))
}

/// `POST /subscribe/payments/unschedule`. A list limits it; without one everything of that
/// `customer_uid` goes.
pub(super) fn revoke(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let customer_uid = call.fields.text("customer_uid");
    let listed = call.fields.texts("merchant_uid");
    if customer_uid.is_none() && listed.is_empty() {
        let message = "customer_uid, merchant_uid 파라메터가 누락되었습니다.";
        return Answer::bad_request(message).into();
    }
    let now_us = sandbox.clock.now_us();
    let mut book = sandbox.book();
    let is_meant = |schedule: &&Schedule| {
        let order = &schedule.order;
        let of_customer = customer_uid
            .as_deref()
            .is_none_or(|uid| order.customer_uid.as_deref() == Some(uid));
        let of_list = listed.is_empty() || listed.iter().any(|uid| **uid == *order.merchant_uid);
        schedule.status == ScheduleStatus::Scheduled && of_customer && of_list
    };
    let mut revoked: Vec<_> = book.schedules().all().filter(is_meant).cloned().collect();
    if revoked.is_empty() {
        return Answer::refuse(StatusCode::OK, 1, NOTHING).into();
    }
    for schedule in &mut revoked {
        schedule.status = ScheduleStatus::Revoked;
        schedule.revoked_at_us = now_us;
        book.put_schedule(schedule.clone());
    }
    let revoked: Vec<_> = revoked.iter().map(|s| annotation(&book, s)).collect();
    Answer::ok(revoked).into()
}

/// `GET /subscribe/payments/schedule`.
pub(super) fn list(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let names = ["schedule_from", "schedule_to", "schedule_status"];
    reply(listed(sandbox, call, names, None))
}

/// `GET /subscribe/payments/schedule/customers/{customer_uid}` and its twin below
/// `/subscribe/customers`.
pub(super) fn list_of_customer(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let names = ["from", "to", "schedule-status"];
    reply(listed(sandbox, call, names, call.part("customer_uid")))
}

fn listed(
    sandbox: &Sandbox,
    call: &Call,
    [from, to, status]: [&str; 3],
    customer_uid: Option<&str>,
) -> Result<Answer, Answer> {
    let query = &call.query;
    order::require(query, &[from, to])?;
    let instant = |name: &str| query.integer(name).ok_or_else(|| order::wrong(name));
    let (from_s, to_s) = (instant(from)?, instant(to)?);
    if !(0..=WINDOW_S_MAX).contains(&to_s.saturating_sub(from_s)) {
        return Err(order::wrong(from));
    }
    let status = match query.text(status) {
        None => None,
        Some(word) => Some(ScheduleStatus::parse(&word).ok_or_else(|| order::wrong(status))?),
    };
    let oldest_first = query.text("sorting").as_deref() == Some("scheduled");
    let paging = Paging::unsorted(query)?;
    let is_paged = sandbox.switches().schedule_lists_paged;
    let book = sandbox.book();
    let within = |schedule: &&Schedule| {
        (from_s..to_s).contains(&schedule.at_s)
            && status.is_none_or(|status| schedule.status == status)
            && (customer_uid.is_none() || schedule.order.customer_uid.as_deref() == customer_uid)
    };
    let mut found: Vec<_> = book.schedules().all().filter(within).collect();
    found.sort_by_key(|schedule| (schedule.at_s, &schedule.order.merchant_uid));
    if !oldest_first {
        found.reverse();
    }
    let found = found.into_iter().map(|s| annotation(&book, s)).collect();
    let page = paging.cut(found)?;
    Ok(if is_paged {
        Answer::ok(page)
    } else {
        Answer::ok(page.list)
    })
}

fn known(book: &Book, call: &Call) -> Result<Schedule, Answer> {
    let merchant_uid = call.part("merchant_uid").unwrap_or_default();
    let schedule = book.schedules().get(merchant_uid).cloned();
    schedule.ok_or_else(|| Answer::refuse(StatusCode::NOT_FOUND, -1, NO_SCHEDULE))
}

/// `GET /subscribe/payments/schedule/{merchant_uid}`.
pub(super) fn show(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let book = sandbox.book();
    reply(known(&book, call).map(|schedule| Answer::ok(annotation(&book, &schedule))))
}

/// `PUT /subscribe/payments/schedule/{merchant_uid}`: another second for one that waits.
pub(super) fn change(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let mut book = sandbox.book();
    let changed = known(&book, call).and_then(|mut schedule| {
        if schedule.status != ScheduleStatus::Scheduled {
            return Err(Answer::bad_request(NOT_WAITING));
        }
        schedule.at_s = instant(&call.fields, sandbox.clock.now_us())?;
        Ok(schedule)
    });
    reply(changed.map(|schedule| put(&mut book, &schedule)))
}

/// `POST …/{merchant_uid}/reschedule`: another chance for one that failed or was revoked.
pub(super) fn reschedule(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let mut book = sandbox.book();
    let changed = ended(&book, call).and_then(|mut schedule| {
        schedule.at_s = instant(&call.fields, sandbox.clock.now_us())?;
        schedule.status = ScheduleStatus::Scheduled;
        schedule.payment = None;
        Ok(schedule)
    });
    reply(changed.map(|schedule| put(&mut book, &schedule)))
}

fn put(book: &mut Book, schedule: &Schedule) -> Answer {
    book.put_schedule(schedule.clone());
    Answer::ok(annotation(book, schedule))
}

/// Refuses another chance for one that waits, runs or is paid.
pub(super) fn not_ended() -> Answer {
    Answer::bad_request(NOT_ENDED)
}

/// A reservation that was carried out in vain, or revoked.
fn ended(book: &Book, call: &Call) -> Result<Schedule, Answer> {
    let schedule = known(book, call)?;
    let took_money = payment_of(book, &schedule).is_some_and(|p| p.status.took_money());
    if schedule.status == ScheduleStatus::Scheduled || took_money {
        return Err(not_ended());
    }
    Ok(schedule)
}
