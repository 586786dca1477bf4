//! What plain updates mean, and which have no one safe meaning: those are refused, with what has it in the hint.

use super::book::Life;
use crate::words::{claim, claim_one, paid, record};

/// Where the row stands when somebody writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// Paid from 10 March to 10 April; it is 20 March.
    Paid,
    /// The debt of 10 March is open, and is asked for again on the 11th.
    Refused,
    /// The same, with a stolen card.
    PastDue,
    /// Paid, and paused on 20 March.
    Paused,
    /// Paid, and cancelled on 20 March.
    Cancelled,
    /// The first attempt is under way.
    UnderWay,
}

async fn given(state: Given) -> Life {
    let card = match state {
        Given::Refused => "decline-balance-1",
        Given::PastDue => "decline-stolen-1",
        Given::Paid | Given::Paused | Given::Cancelled | Given::UnderWay => "card-1",
    };
    let life = Life::begun("2026-03-10", "", "").await;
    life.run(&format!(
        "update billd.subscription set customer_uid = '{card}'"
    ))
    .await;
    match state {
        Given::UnderWay => drop(claim(&life.house.book).await),
        Given::Refused | Given::PastDue => life.sweep().await,
        Given::Paid | Given::Paused | Given::Cancelled => {
            life.sweep().await;
            life.at("2026-03-20").await;
        }
    }
    match state {
        Given::Paused => life.set("2026-03-20", "state = 'paused'").await,
        Given::Cancelled => life.set("2026-03-20", "state = 'cancelled'").await,
        Given::Paid | Given::Refused | Given::PastDue | Given::UnderWay => {}
    }
    life
}

const DERIVED: [&str; 13] = [
    "period = period + 1",
    "due_at = due_at + interval '1 day'",
    "until_at = until_at + interval '1 day'",
    "settled_until = settled_until - interval '1 day'",
    "paid_until = now()",
    "attempts = 7",
    "declines = 0, attempts = 0, fence = 1",
    "open_attempt = 'x'",
    "recheck = true",
    "adjusted = not adjusted",
    "next_change_at = billd.now()",
    "last_result = 'unknown'",
    "name = 'n', last_reason = 'x', last_message = 'y'",
];

#[tokio::test]
async fn what_billd_derives_is_written_by_nobody_else() {
    let life = given(Given::Paid).await;
    let before = life.row().await;
    for change in DERIVED {
        let refused = life.refused(change).await;
        assert!(refused.contains("derived by billd"), "{change}: {refused}");
    }
    assert_eq!(life.row().await, before);
}

/// Each with the words of its refusal, or of its hint.
const REFUSED: [(Given, &str, &str); 30] = [
    (
        Given::Paid,
        "next_charge_at = billd.now()",
        "lies before the next period",
    ),
    (
        Given::Paid,
        "next_charge_at = next_charge_at - interval '1 day'",
        "renew_early",
    ),
    (Given::Paid, "next_charge_at = until_at", "billd.skip"),
    (
        Given::Paid,
        "next_charge_at = '2027-05-10 10:00+09'",
        "move_day",
    ),
    (Given::Paid, "next_charge_at = null", "billd.pause"),
    (
        Given::Paid,
        "next_charge_at = '2026-04-12 10:00+09', interval_count = 2",
        "no one meaning",
    ),
    (
        Given::Paid,
        "next_charge_at = '2026-04-12 10:00+09', anchor_at = '2026-04-11 10:00+09'",
        "no one meaning",
    ),
    (
        Given::Paid,
        "anchor_at = '2026-03-15 10:00+09', billing_day = 15",
        "both say on which day",
    ),
    (
        Given::Paid,
        "state = 'past_due'",
        "does not become past_due",
    ),
    (
        Given::Paid,
        "state = 'paused', amount = 5000",
        "no one meaning",
    ),
    (
        Given::Paid,
        "state = 'cancelled', next_charge_at = null",
        "no one meaning",
    ),
    (
        Given::Paid,
        "state = 'paused', interval_unit = 'year'",
        "two statements",
    ),
    (
        Given::Refused,
        "next_charge_at = until_at",
        "behind the end of this period",
    ),
    (Given::Refused, "next_charge_at = null", "billd.pause"),
    (
        Given::Refused,
        "currency = 'USD'",
        "a debt, a credit or an item is open",
    ),
    (
        Given::PastDue,
        "next_charge_at = billd.now()",
        "billd.retry_now",
    ),
    (
        Given::PastDue,
        "state = 'active', next_charge_at = billd.now()",
        "no one meaning",
    ),
    (
        Given::PastDue,
        "state = 'active', amount = 100",
        "no one meaning",
    ),
    (
        Given::Paused,
        "next_charge_at = '2026-04-15 10:00+09'",
        "while it is paused",
    ),
    (
        Given::Paused,
        "state = 'active', next_charge_at = '2026-03-15 10:00+09'",
        "has passed",
    ),
    (
        Given::Paused,
        "state = 'active', billing_day = 5",
        "no one meaning",
    ),
    (
        Given::Paused,
        "state = 'past_due'",
        "does not become past_due",
    ),
    (Given::Cancelled, "state = 'active'", "billd.resume"),
    (
        Given::Cancelled,
        "state = 'paused'",
        "does not become paused",
    ),
    (
        Given::Cancelled,
        "next_charge_at = billd.now()",
        "while it is cancelled",
    ),
    (
        Given::UnderWay,
        "next_charge_at = billd.now() + interval '1 day'",
        "an attempt is under way",
    ),
    (
        Given::UnderWay,
        "next_charge_at = null",
        "an attempt is under way",
    ),
    (Given::UnderWay, "open_attempt = null", "derived by billd"),
    (Given::Paid, "row_version = row_version - 1", "has moved on"),
    (Given::Paid, "row_version = row_version + 2", "has moved on"),
];

#[tokio::test]
async fn an_update_without_one_safe_meaning_is_refused_and_the_hint_names_the_verb() {
    let mut at: Option<(Given, Life)> = None;
    for (state, change, words) in REFUSED {
        if at.as_ref().is_none_or(|(known, _)| *known != state) {
            at = Some((state, given(state).await));
        }
        let (_, life) = at.as_ref().unwrap();
        let before = life.row().await;
        let refused = life.refused_with_hint(change).await;
        assert!(refused.contains(words), "{state:?}, {change}: {refused}");
        assert_eq!(life.row().await, before, "{state:?}, {change}");
    }
}

/// Each with the state, when it is asked for next, and the period that this is for.
const MEANT: [(Given, &str, &str); 17] = [
    (
        Given::Paid,
        "next_charge_at = '2026-04-12 10:00+09'",
        "active 2026-04-12 2026-04-10 2026-05-10",
    ),
    (
        Given::Paid,
        "next_charge_at = '2026-04-12 10:00+09', amount = 5000, name = 'n'",
        "active 2026-04-12 2026-04-10 2026-05-10",
    ),
    (
        Given::Paid,
        "anchor_at = '2026-04-15 10:00+09'",
        "active 2026-04-15 2026-04-15 2026-05-15",
    ),
    (
        Given::Paid,
        "anchor_at = '2026-03-15 10:00+09', next_charge_at = '2026-03-15 10:00+09'",
        "active 2026-04-15 2026-04-15 2026-05-15",
    ),
    (
        Given::Paid,
        "billing_day = 5",
        "active 2026-05-05 2026-05-05 2026-06-05",
    ),
    (
        Given::Paid,
        "interval_unit = 'year', time_zone = 'Asia/Tokyo', amount = 5000",
        "active 2026-04-10 2026-04-10 2027-04-10",
    ),
    (
        Given::Paid,
        "customer_uid = 'card-2', buyer_name = '점심'",
        "active 2026-04-10 2026-04-10 2026-05-10",
    ),
    (
        Given::Paid,
        "state = 'paused', state_reason = 'asked for it', buyer_name = '점심'",
        "paused 2026-04-10 2026-04-10 2026-05-10",
    ),
    (
        Given::Paid,
        "state = 'cancelled'",
        "cancelled 2026-04-10 2026-04-10 2026-05-10",
    ),
    (
        Given::Paid,
        "held = 'a dispute'",
        "active 2026-04-10 2026-05-10",
    ),
    (
        Given::Refused,
        "next_charge_at = billd.now()",
        "active 2026-03-10 2026-03-10 2026-04-10",
    ),
    (
        Given::Refused,
        "next_charge_at = '2026-03-20 10:00+09'",
        "active 2026-03-20 2026-03-10 2026-04-10",
    ),
    (
        Given::Refused,
        "state = 'paused'",
        "paused 2026-03-11 2026-03-10 2026-04-10",
    ),
    (
        Given::PastDue,
        "state = 'active', customer_uid = 'card-2'",
        "active 2026-03-10 2026-03-10 2026-04-10",
    ),
    (
        Given::PastDue,
        "state = 'active'",
        "active 2026-03-10 2026-03-10 2026-04-10",
    ),
    (
        Given::Paused,
        "state = 'active'",
        "active 2026-04-10 2026-04-10 2026-05-10",
    ),
    (
        Given::Paused,
        "state = 'active', next_charge_at = '2026-05-20 10:00+09'",
        "active 2026-05-20 2026-05-20 2026-06-20",
    ),
];

#[tokio::test]
async fn an_update_with_one_safe_meaning_does_what_a_person_means_by_it() {
    for (state, change, expected) in MEANT {
        let life = given(state).await;
        life.run(&format!("update billd.subscription set {change}"))
            .await;
        let shown = life.asked_next().await;
        assert_eq!(shown, expected, "{state:?}, {change}");
        let taken = usize::from(!matches!(state, Given::Refused | Given::PastDue));
        assert_eq!(life.taken().len(), taken, "{state:?}, {change}");
    }
}

#[tokio::test]
async fn one_refusal_among_many_rows_aborts_the_whole_update() {
    let life = given(Given::Refused).await;
    life.run(
        "insert into billd.subscription (customer_uid, name, amount, paid_until)
        values ('card-2', 'n', 9900, billd.now() + interval '9 days')",
    )
    .await;
    let refused = life.refused("next_charge_at = billd.now()").await;
    assert!(refused.contains("lies before the next period"), "{refused}");
    assert_eq!(
        life.asked_next().await,
        "active 2026-03-11 2026-03-10 2026-04-10"
    );
}

/// All columns that a program without a mapping of its own writes, with values of `copy`.
const SAVED: &str = "
    update billd.subscription s set (customer_uid, name, amount, currency, interval_unit, interval_count, time_zone,
        anchor_at, state, next_charge_at, period, due_at, state_reason, last_result, last_result_at, last_reason,
        last_message, attempts, declines, open_attempt, fence, recheck, tax_free, vat_amount, buyer_name,
        gateway_options, external_id, billing_day, trial_until, ends_at, periods_left, catch_up, settled_until,
        paid_until, until_at, held, adjusted) = (select c.customer_uid, c.name, c.amount, c.currency, c.interval_unit,
        c.interval_count, c.time_zone, c.anchor_at, c.state, c.next_charge_at, c.period, c.due_at, c.state_reason,
        c.last_result, c.last_result_at, c.last_reason, c.last_message, c.attempts, c.declines, c.open_attempt, c.fence,
        c.recheck, c.tax_free, c.vat_amount, $NAME, c.gateway_options, c.external_id, c.billing_day, c.trial_until,
        c.ends_at, c.periods_left, c.catch_up, c.settled_until, c.paid_until, c.until_at, c.held, c.adjusted from copy c)";

impl Life {
    async fn read(&self) {
        self.run(
            "drop table if exists copy; create table copy as select * from billd.subscription",
        )
        .await;
    }

    async fn saved(&self) -> Result<(), String> {
        let statement = SAVED.replace("$NAME", "'점심'");
        self.house.book.try_run(&statement).await.map(drop)
    }

    /// Everything that the row says.
    async fn row(&self) -> String {
        self.house
            .book
            .text("select to_jsonb(s)::text from billd.subscription s")
            .await
    }

    /// When it is asked for next, and the period that this is for.
    async fn asked_next(&self) -> String {
        let day = |column: &str| format!("({column} at time zone 'Asia/Seoul')::date");
        let columns = ["next_charge_at", "due_at", "until_at"].map(day).join(", ");
        let query = format!(
            "select concat_ws(' ', state, {columns}) from billd.subscription order by created_at limit 1"
        );
        self.house.book.text(&query).await
    }

    /// The same as `refused`, with what the hint says.
    async fn refused_with_hint(&self, change: &str) -> String {
        let statement = sqlx::AssertSqlSafe(format!("update billd.subscription set {change}"));
        let error = sqlx::raw_sql(statement)
            .execute(&self.house.book.sql)
            .await
            .unwrap_err();
        let hint = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>())
            .and_then(sqlx::postgres::PgDatabaseError::hint)
            .unwrap_or_default()
            .to_owned();
        format!("{error}; {hint}")
    }
}

#[tokio::test]
async fn a_whole_row_that_was_read_just_now_may_be_saved() {
    for state in [Given::Paid, Given::Refused, Given::PastDue, Given::UnderWay] {
        let life = given(state).await;
        life.read().await;
        let before = life.asked_next().await;
        life.saved().await.unwrap();
        assert_eq!(life.asked_next().await, before, "{state:?}");
    }
}

/// Hazard: a copy from while an attempt was unknown, saved after it was proved, names a finished attempt: it would
/// never be billed again, and nobody would be told.
#[tokio::test]
async fn a_whole_row_from_while_an_attempt_was_open_is_refused_after_it_was_proved() {
    let life = Life::begun("2026-03-10", "", "").await;
    let claimed = claim_one(&life.house.book).await;
    life.read().await;
    record(&life.house.book, paid(&claimed)).await;
    let refused = life.saved().await.unwrap_err();
    assert!(refused.contains("derived by billd"), "{refused}");
    life.day("2026-04-10").await;
    assert_eq!(
        life.paid_for().await,
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900"
    );
}

/// Hazard: a copy from before a decline, saved again and again, asks a stolen card once more each time, and begins
/// the ladder anew.
#[tokio::test]
async fn a_whole_row_from_before_a_decline_is_refused_however_often_it_is_saved() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-stolen-1'")
        .await;
    life.read().await;
    for _ in 0..3 {
        life.sweep().await;
        let refused = life.saved().await.unwrap_err();
        assert!(refused.contains("derived by billd"), "{refused}");
    }
    assert_eq!(life.house.sandbox.summary().declines, 1);
}

/// Hazard: a nightly upsert of a whole book, six monthly charges in five days.
#[tokio::test]
async fn a_nightly_upsert_that_knows_an_old_date_is_refused() {
    let life = Life::begun("2026-03-10", ", external_id", ", 'shop-1'").await;
    life.sweep().await;
    for night in [
        "2026-03-11",
        "2026-03-12",
        "2026-03-13",
        "2026-03-14",
        "2026-03-15",
    ] {
        life.at(night).await;
        let upsert = "insert into billd.subscription as s (customer_uid, name, amount, external_id, next_charge_at)
            values ('card-1', '프리미엄 월간', 9900, 'shop-1', billd.now())
            on conflict (external_id) where external_id is not null do update
            set amount = excluded.amount, next_charge_at = excluded.next_charge_at";
        let refused = life.house.book.try_run(upsert).await.unwrap_err();
        assert!(refused.contains("lies before the next period"), "{refused}");
        life.sweep().await;
    }
    assert_eq!(life.taken(), [9900]);
}

#[tokio::test]
async fn a_debt_keeps_what_it_asks_for_while_an_attempt_is_under_way_and_stays_closed_once_it_is() {
    for (state, change, words) in [
        (
            Given::UnderWay,
            "amount = 100",
            "an attempt of this cycle is open",
        ),
        (
            Given::UnderWay,
            "period = period + 1",
            "stays with its subscription and its period",
        ),
        (
            Given::UnderWay,
            "state = 'void', closed_at = now()",
            "an attempt of this cycle is open",
        ),
        (
            Given::Refused,
            "period = period + 1",
            "stays with its subscription and its period",
        ),
        (
            Given::Refused,
            "due_at = due_at - interval '1 day'",
            "keeps the time",
        ),
        (
            Given::Cancelled,
            "until_at = until_at + interval '1 day'",
            "keeps the time",
        ),
    ] {
        let life = given(state).await;
        let statement = format!("update billd.billing_cycle set {change}");
        let refused = life.house.book.try_run(&statement).await.unwrap_err();
        assert!(refused.contains(words), "{state:?}, {change}: {refused}");
    }
    let life = given(Given::Refused).await;
    life.run("update billd.billing_cycle set state = 'void', closed_at = billd.now()")
        .await;
    let again = "update billd.billing_cycle set state = 'due', closed_at = null";
    let refused = life.house.book.try_run(again).await.unwrap_err();
    assert!(refused.contains("stays closed"), "{refused}");
}

#[tokio::test]
async fn the_parts_of_a_price_follow_it_where_there_is_one_right_way() {
    for (amount, tax_free, vat_amount, change, expected) in [
        (9900, "9900", "0", "amount = 5000", "5000 5000 0"),
        (9900, "9900", "null", "amount = 12000", "12000 12000 -"),
        (9900, "null", "null", "amount = 5000", "5000 - -"),
        (9900, "0", "null", "amount = 5000", "5000 0 -"),
        (22_000, "0", "2000", "amount = 11000", "refused"),
        (22_000, "11000", "null", "amount = 11000", "refused"),
        (22_000, "11000", "1000", "amount = 33000", "refused"),
        (
            22_000,
            "0",
            "2000",
            "amount = 11000, vat_amount = 1000",
            "11000 0 1000",
        ),
        (
            22_000,
            "11000",
            "1000",
            "amount = 33000, tax_free = 22000",
            "33000 22000 1000",
        ),
        (22_000, "0", "2000", "vat_amount = 22001", "refused"),
        (22_000, "0", "2000", "tax_free = 22001", "refused"),
        (22_000, "0", "2000", "tax_free = -1", "refused"),
    ] {
        let life = Life::begun("2026-03-10", "", "").await;
        life.run(&format!(
            "update billd.subscription set amount = {amount}, tax_free = {tax_free}, vat_amount = {vat_amount}"
        ))
        .await;
        let update = format!("update billd.subscription set {change}");
        let done = life.house.book.try_run(&update).await;
        let parts = "select concat_ws(' ', amount, coalesce(tax_free::text, '-'), coalesce(vat_amount::text, '-'))
            from billd.subscription";
        let shown = match done {
            Ok(_) => life.house.book.text(parts).await,
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(
            shown, expected,
            "{amount} {tax_free} {vat_amount}: {change}"
        );
    }
}

/// Hazard: billd 0.1 calls its sessions `billd`, and so may anybody. Its updates are its own plan and can't be judged;
/// once no daemon of it is left, that name opens nothing.
#[tokio::test]
async fn no_session_passes_for_a_daemon_of_billd_0_1_once_that_has_gone() {
    let life = Life::paid("2026-03-10").await;
    let careless = "set application_name = 'billd'; update billd.subscription set next_charge_at = billd.now()";
    let error = life.house.book.try_run(careless).await.unwrap_err();
    assert!(error.contains("lies before the next period"), "{error}");
}
