//! The routes that read payment records.

use std::borrow::Cow;
use std::cmp::Reverse;

use axum::http::StatusCode;
use serde::Serialize;

use super::Sandbox;
use super::answer::{Answer, Reply};
use super::call::Call;
use super::clock::{SECOND_US, seconds};
use super::fault::Lie;
use super::fields::Fields;
use super::order::wrong;
use super::payment::{Annotation, Payment, Status};

const NO_PAYMENT: &str = "존재하지 않는 결제정보입니다.";
const NO_STATUS: &str = "지원되지 않는 상태값입니다.";

/// Longest window of `/payments/status`.
const WINDOW_S_MAX: i64 = 90 * 24 * 60 * 60;
/// Records of a page, unless asked otherwise.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// Payments of one batch.
const BATCH_MAX: usize = 100;
/// What the lie about a paid record says.
const LIE: &str = "[129999][실시간빌링실패|기타 오류]";

/// A page of records.
#[derive(Serialize)]
pub(super) struct Page<T> {
    total: usize,
    previous: usize,
    next: usize,
    pub(super) list: Vec<T>,
}

/// Which page of a list is wanted, and in which order.
pub(super) struct Paging {
    page: usize,
    limit: usize,
    sorting: Sorting,
}

#[derive(Clone, Copy)]
struct Sorting {
    by: By,
    newest_first: bool,
}

#[derive(Clone, Copy)]
enum By {
    Started,
    Paid,
    Updated,
}

impl Paging {
    /// Reads `page`, `limit` and `sorting`, or says which of them is wrong.
    pub(super) fn read(query: &Fields) -> Result<Self, Answer> {
        let mut paging = Self::unsorted(query)?;
        let sorting = query.text("sorting").unwrap_or(Cow::Borrowed("-started"));
        let (word, newest_first) = match sorting.strip_prefix('-') {
            Some(word) => (word, true),
            None => (&*sorting, false),
        };
        let by = match word {
            "started" => By::Started,
            "paid" => By::Paid,
            "updated" => By::Updated,
            _ => return Err(wrong("sorting")),
        };
        paging.sorting = Sorting { by, newest_first };
        Ok(paging)
    }

    /// Reads `page` and `limit` only.
    pub(super) fn unsorted(query: &Fields) -> Result<Self, Answer> {
        let number = |name: &str, default: usize, longest: usize| match query.text(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if (1..=longest).contains(&number) => Ok(number),
                Ok(_) | Err(_) => Err(wrong(name)),
            },
        };
        let page = number("page", 1, usize::MAX)?;
        let limit = number("limit", LIMIT, LIMIT_MAX)?;
        Ok(Self {
            page,
            limit,
            sorting: Sorting {
                by: By::Started,
                newest_first: true,
            },
        })
    }

    fn sort(&self, records: &mut [Cow<'_, Payment>]) {
        let key = |payment: &Cow<'_, Payment>| {
            let at_us = match self.sorting.by {
                By::Started => payment.started_at_us,
                By::Paid => payment.paid_at_us,
                By::Updated => payment.updated_at_us,
            };
            // The number settles what happened within one microsecond.
            (at_us, payment.number)
        };
        if self.sorting.newest_first {
            records.sort_by_key(|payment| Reverse(key(payment)));
        } else {
            records.sort_by_key(key);
        }
    }

    /// The wanted page of these records, in the wanted order.
    pub(super) fn page_of(&self, mut records: Vec<Cow<'_, Payment>>) -> Result<Answer, Answer> {
        self.sort(&mut records);
        let page = self.cut(records)?;
        Ok(Answer::ok(Page {
            total: page.total,
            previous: page.previous,
            next: page.next,
            list: annotations(&page.list),
        }))
    }

    /// Cuts the page out, or refuses a page behind the last one.
    pub(super) fn cut<T>(&self, all: Vec<T>) -> Result<Page<T>, Answer> {
        let total = all.len();
        let pages = total.div_ceil(self.limit).max(1);
        if self.page > pages {
            return Err(wrong("page"));
        }
        let before = self.page.saturating_sub(1);
        let list = all.into_iter().skip(before.saturating_mul(self.limit));
        Ok(Page {
            total,
            previous: before,
            next: if self.page < pages {
                self.page.saturating_add(1)
            } else {
                0
            },
            list: list.take(self.limit).collect(),
        })
    }
}

fn not_found() -> Answer {
    Answer::refuse(StatusCode::NOT_FOUND, -1, NO_PAYMENT)
}

/// A record as the look-up shows it: later, never, or not as it is, if a fault says so.
pub(super) fn visible(payment: &Payment, lie: Lie, now_us: i64) -> Option<Cow<'_, Payment>> {
    if lie.nothing || payment.decided_at_us().saturating_add(lie.lag_us) > now_us {
        return None;
    }
    if !lie.failed || payment.status != Status::Paid {
        return Some(Cow::Borrowed(payment));
    }
    let mut failed = payment.clone();
    failed.status = Status::Failed;
    failed.failed_at_us = failed.paid_at_us;
    failed.paid_at_us = 0;
    failed.fail_reason = Some(LIE.into());
    Some(Cow::Owned(failed))
}

/// Reads the status in the path; without one there is no filter.
fn wanted_status(call: &Call) -> Result<Option<Status>, Answer> {
    let Some(word) = call.part("status") else {
        return Ok(None);
    };
    let status = Status::parse(word).ok_or_else(|| Answer::bad_request(NO_STATUS))?;
    Ok(Some(status))
}

fn annotations<'a>(records: &'a [Cow<'a, Payment>]) -> Vec<Annotation<'a>> {
    records.iter().map(|payment| payment.annotation()).collect()
}

/// `GET /payments/findAll/{merchant_uid}[/{status}]`: every record of that number.
pub(super) fn find_all(sandbox: &Sandbox, call: &Call, lie: Lie) -> Reply {
    reply(find_by_number(sandbox, call, lie, |paging, records| {
        let page = paging.cut(annotations(records))?;
        Ok(Answer::ok(page))
    }))
}

/// `GET /payments/find/{merchant_uid}[/{status}]`: the first of its records, by default the newest.
pub(super) fn find(sandbox: &Sandbox, call: &Call, lie: Lie) -> Reply {
    reply(find_by_number(sandbox, call, lie, |_paging, records| {
        let first = records.first().ok_or_else(not_found)?;
        Ok(Answer::ok(first.annotation()))
    }))
}

fn find_by_number(
    sandbox: &Sandbox,
    call: &Call,
    lie: Lie,
    answer: impl FnOnce(&Paging, &[Cow<'_, Payment>]) -> Result<Answer, Answer>,
) -> Result<Answer, Answer> {
    let status = wanted_status(call)?;
    let paging = Paging::read(&call.query)?;
    let merchant_uid = call.part("merchant_uid").unwrap_or_default();
    let now_us = sandbox.clock.now_us();
    let book = sandbox.book();
    let mut records: Vec<_> = book
        .of_merchant_uid(merchant_uid)
        .filter_map(|payment| visible(payment, lie, now_us))
        .filter(|payment| status.is_none_or(|status| payment.status == status))
        .collect();
    if records.is_empty() {
        return Err(not_found());
    }
    paging.sort(&mut records);
    answer(&paging, &records)
}

/// `GET /payments/{imp_uid}`: the only look-up that hides records of test channels.
pub(super) fn payment(sandbox: &Sandbox, call: &Call, lie: Lie) -> Reply {
    let now_us = sandbox.clock.now_us();
    let shows_tests =
        call.query.flag("include_sandbox") || !sandbox.switches().test_payments_hidden;
    let book = sandbox.book();
    let found = book
        .by_imp_uid(call.part("imp_uid").unwrap_or_default())
        .filter(|_| shows_tests)
        .and_then(|payment| visible(payment, lie, now_us));
    match found {
        Some(payment) => Answer::ok(payment.annotation()).into(),
        None => not_found().into(),
    }
}

/// `GET /payments?imp_uid[]=…&merchant_uid[]=…`: at most a hundred, 207 when some are missing.
pub(super) fn batch(sandbox: &Sandbox, call: &Call, lie: Lie) -> Reply {
    let imp_uids = call.query.texts("imp_uid");
    let merchant_uids = call.query.texts("merchant_uid");
    let wanted = imp_uids.len().saturating_add(merchant_uids.len());
    if !(1..=BATCH_MAX).contains(&wanted) {
        return wrong("imp_uid").into();
    }
    let now_us = sandbox.clock.now_us();
    let book = sandbox.book();
    let by_imp_uid = imp_uids.iter().map(|uid| book.by_imp_uid(uid));
    let by_merchant_uid = merchant_uids
        .iter()
        .map(|uid| book.of_merchant_uid(uid).last());
    let found: Vec<_> = by_imp_uid
        .chain(by_merchant_uid)
        .flatten()
        .filter_map(|payment| visible(payment, lie, now_us))
        .collect();
    if found.is_empty() {
        return not_found().into();
    }
    let status = if found.len() == wanted {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Answer::with(status, annotations(&found)).into()
}

/// `GET /payments/status/{status}`: everything of a window of at most 90 days.
pub(super) fn by_status(sandbox: &Sandbox, call: &Call, lie: Lie) -> Reply {
    reply(find_by_status(sandbox, call, lie))
}

fn find_by_status(sandbox: &Sandbox, call: &Call, lie: Lie) -> Result<Answer, Answer> {
    let status = match call.part("status") {
        Some("all") => None,
        Some(_) | None => wanted_status(call)?,
    };
    let paging = Paging::read(&call.query)?;
    let now_us = sandbox.clock.now_us();
    let instant = |name: &str, default: i64| match call.query.text(name) {
        None => Ok(default),
        Some(text) => text.parse::<i64>().map_err(|_not_a_number| wrong(name)),
    };
    let to_s = instant("to", seconds(now_us))?;
    let from_s = instant("from", to_s.saturating_sub(WINDOW_S_MAX))?;
    let length_s = to_s.saturating_sub(from_s);
    if !(0..=WINDOW_S_MAX).contains(&length_s) {
        return Err(wrong("from"));
    }
    let window = from_s.saturating_mul(SECOND_US)..to_s.saturating_add(1).saturating_mul(SECOND_US);
    let book = sandbox.book();
    let records: Vec<_> = book
        .all()
        .filter(|payment| window.contains(&payment.decided_at_us()))
        .filter_map(|payment| visible(payment, lie, now_us))
        .filter(|payment| status.is_none_or(|status| payment.status == status))
        .collect();
    paging.page_of(records)
}

pub(super) fn reply(answer: Result<Answer, Answer>) -> Reply {
    match answer {
        Ok(answer) | Err(answer) => answer.into(),
    }
}
