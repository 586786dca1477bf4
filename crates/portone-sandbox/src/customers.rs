//! `/subscribe/customers`: billing keys.

use std::borrow::Cow;

use axum::http::StatusCode;

use super::Sandbox;
use super::answer::{Answer, Reply};
use super::book::Book;
use super::call::Call;
use super::card;
use super::clock::SECOND_US;
use super::fault::Lie;
use super::fields::Fields;
use super::key::Key;
use super::look_up::{Paging, reply, visible};
use super::order;

/// Billing keys of one batch, as many as payments.
const BATCH_MAX: usize = 100;

/// PortOne's sentence before the provider's when a key can't be issued.
const REFUSED: &str = "카드정보 인증 및 빌키 발급에 실패하였습니다.";

fn not_found(customer_uid: &str) -> Answer {
    let message =
        format!("요청하신 customer_uid({customer_uid})로 등록된 정보를 찾을 수 없습니다.");
    Answer::refuse(StatusCode::NOT_FOUND, 1, &message)
}

/// Has the provider look at a card: its masked number, or why there is no billing key for it.
pub(super) fn card(fields: &Fields, now_us: i64) -> Result<Box<str>, Answer> {
    order::require(fields, &["card_number", "expiry"])?;
    let refuse = |reason: &str| {
        let message = format!("{REFUSED} {reason}");
        Answer::refuse(StatusCode::OK, -1, &message)
    };
    let digits = fields.text("card_number").and_then(|n| card::digits(&n));
    let digits = digits.ok_or_else(|| refuse("[1214]카드번호 오류"))?;
    if digits == card::REFUSED_CARD {
        let reason = "[F112]유효하지않은 카드번호를 입력하셨습니다. (card_bin 없음)";
        return Err(refuse(reason));
    }
    let expiry = fields.text("expiry").and_then(|expiry| month(&expiry));
    let is_valid = expiry.is_some_and(|expiry| this_month(now_us).is_none_or(|now| now <= expiry));
    if !is_valid {
        return Err(refuse("[1223]유효기간 오류"));
    }
    Ok(card::mask(&digits))
}

/// Reads `YYYY-MM`.
fn month(text: &str) -> Option<(i16, i8)> {
    let (year, month) = text.split_once('-')?;
    let month = month
        .parse()
        .ok()
        .filter(|month| (1..=12).contains(month))?;
    Some((year.parse().ok()?, month))
}

fn this_month(now_us: i64) -> Option<(i16, i8)> {
    let now = jiff::Timestamp::from_microsecond(now_us).ok()?;
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    Some((today.year(), today.month()))
}

/// A new key, or the old one with another card. `prefix` is how the request names the owner:
/// `customer` here, `buyer` in a payment.
pub(super) fn key(
    fields: &Fields,
    prefix: &str,
    customer_uid: &str,
    card_number: Box<str>,
    book: &Book,
    now_us: i64,
) -> Key {
    let field = |name: &str| fields.owned(&format!("{prefix}_{name}"));
    let before = book.keys().live(customer_uid);
    Key {
        customer_uid: customer_uid.into(),
        card_number,
        customer_id: fields.owned("customer_id"),
        customer_name: field("name"),
        customer_tel: field("tel"),
        customer_email: field("email"),
        customer_addr: field("addr"),
        customer_postcode: field("postcode"),
        inserted_at_us: before.map_or(now_us, |key| key.inserted_at_us),
        updated_at_us: now_us,
        is_deleted: false,
    }
}

/// `POST /subscribe/customers/{customer_uid}`: issues a key, silently in place of an older one.
pub(super) fn issue(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let customer_uid = call.part("customer_uid").unwrap_or_default();
    let now_us = sandbox.clock.now_us();
    let card = match card(&call.fields, now_us) {
        Ok(card) if customer_uid.chars().count() <= 80 => card,
        Ok(_) => return order::wrong("customer_uid").into(),
        Err(answer) => return answer.into(),
    };
    let mut book = sandbox.book();
    let mut key = key(&call.fields, "customer", customer_uid, card, &book, now_us);
    // A changed card shows by two different seconds, so one that is changed at once must wait a
    // second in the books.
    if key.inserted_at_us != now_us {
        let later = key.inserted_at_us.saturating_add(SECOND_US);
        key.updated_at_us = now_us.max(later);
    }
    let answer = Answer::ok(key.annotation());
    book.put_key(key);
    answer.into()
}

/// `GET /subscribe/customers/{customer_uid}`.
pub(super) fn show(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let customer_uid = call.part("customer_uid").unwrap_or_default();
    let book = sandbox.book();
    match book.keys().live(customer_uid) {
        Some(key) => Answer::ok(key.annotation()).into(),
        None => not_found(customer_uid).into(),
    }
}

/// `DELETE /subscribe/customers/{customer_uid}`. Nothing brings a deleted key back.
pub(super) fn delete(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let customer_uid = call.part("customer_uid").unwrap_or_default();
    let mut book = sandbox.book();
    let Some(mut key) = book.keys().live(customer_uid).cloned() else {
        return not_found(customer_uid).into();
    };
    let answer = Answer::ok(key.annotation());
    key.is_deleted = true;
    key.updated_at_us = sandbox.clock.now_us();
    book.put_key(key);
    answer.into()
}

/// `GET /subscribe/customers?customer_uid[]=…`: 207 when some are missing.
pub(super) fn batch(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let wanted = call.query.texts("customer_uid");
    if wanted.is_empty() || wanted.len() > BATCH_MAX {
        return order::wrong("customer_uid").into();
    }
    let book = sandbox.book();
    let found = wanted.iter().filter_map(|uid| book.keys().live(uid));
    let found: Vec<_> = found.map(Key::annotation).collect();
    if found.is_empty() {
        return not_found(&wanted.join(", ")).into();
    }
    let status = if found.len() == wanted.len() {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Answer::with(status, found).into()
}

/// `GET /subscribe/customers/{customer_uid}/payments`: the history of one card.
pub(super) fn payments(sandbox: &Sandbox, call: &Call, lie: Lie) -> Reply {
    let customer_uid = call.part("customer_uid").unwrap_or_default();
    let paging = match Paging::read(&call.query) {
        Ok(paging) => paging,
        Err(answer) => return answer.into(),
    };
    let now_us = sandbox.clock.now_us();
    let book = sandbox.book();
    let records: Vec<Cow<'_, _>> = book
        .of_customer_uid(customer_uid)
        .filter_map(|payment| visible(payment, lie, now_us))
        .collect();
    if records.is_empty() && book.keys().live(customer_uid).is_none() {
        return not_found(customer_uid).into();
    }
    reply(paging.page_of(records))
}
