//! What people want has a name, one meaning and a preview. Each test is named as a verb's rule.

use super::book::Life;

const NOTHING: [i64; 0] = [];

/// What a verb can change: the row, the debts, what is planned and given, and the story.
const ALL: &str = "
    select md5(concat((select string_agg(s::text, '') from billd.subscription s),
        (select string_agg(c::text, '' order by c.period) from billd.billing_cycle c),
        (select string_agg(p::text, '' order by p.id) from billd.planned_change p),
        (select string_agg(a::text, '' order by a.id) from billd.adjustment a),
        (select string_agg(c::text, '' order by c.id) from billd.consent c),
        (select count(*) from billd.history)))";

/// One that is declined for good on 10 March.
async fn past_due() -> Life {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-stolen-1'")
        .await;
    life.day("2026-03-10").await;
    life
}

/// One whose debt of 10 March was declined once.
async fn in_dunning() -> Life {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-balance-1'")
        .await;
    life.sweep().await;
    life
}

#[tokio::test]
async fn a_dry_run_says_what_follows_and_does_nothing() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-11", "skip", "2").await;
    for (verb, arguments) in [
        ("pause", "'2026-05-01 10:00+09'"),
        ("cancel", "'end'"),
        ("cancel", "'now'"),
        ("end_after", "3"),
        ("put_off", "'2026-06-20 10:00+09'"),
        ("skip", "2"),
        ("extend", "'2026-05-01 10:00+09'"),
        ("change_card", "'card-2'"),
        ("change_plan", "19900"),
        ("change_plan", "19900, at => 'now', by_payer => true"),
        ("change_plan", "unit => 'year', amount => 99000"),
        ("move_day", "day => 25, short => 'by_day'"),
        ("give_discount", "share => 0.1"),
        ("add_item", "'x', 1000"),
        ("give_credit", "1000"),
    ] {
        life.at("2026-03-20").await;
        let before = life.house.book.text(ALL).await;
        let said = life.preview("2026-03-20", verb, arguments).await;
        assert_eq!(
            life.house.book.text(ALL).await,
            before,
            "{verb} {arguments}"
        );
        let other = Life::paid("2026-03-10").await;
        other.call("2026-03-11", "skip", "2").await;
        other.call("2026-03-20", verb, arguments).await;
        assert_eq!(other.forecast(6).await, said, "{verb} {arguments}");
    }
}

/// A state, a verb, what it is given, and what it answers.
const SENSELESS: [(&str, &str, &str, &str); 28] = [
    ("paid", "resume", "", "subscription_is_in_service"),
    ("paid", "keep", "", "no end is planned"),
    ("paid", "retry_now", "", "no debt is open"),
    ("paid", "release", "", "nothing is held"),
    ("paid", "forgive", "", "that debt is not open"),
    ("paid", "skip", "0", "1 to 120 periods"),
    (
        "paid",
        "put_off",
        "'2026-05-20 10:00+09'",
        "the period ends at",
    ),
    ("paid", "put_off", "'2026-03-20 10:00+09'", "must lie ahead"),
    (
        "paid",
        "pause",
        "'2026-03-01 10:00+09'",
        "can't end in the past",
    ),
    ("paid", "cancel", "'2026-03-01 10:00+09'", "that has passed"),
    (
        "paid",
        "set_trial",
        "'2026-05-01 10:00+09'",
        "can't be moved",
    ),
    (
        "paid",
        "extend",
        "'2026-04-01 10:00+09'",
        "is paid, owed or past",
    ),
    ("paid", "renew_early", "'2026-05-10'", "the next period is"),
    ("paid", "change_plan", "", "give a price"),
    (
        "paid",
        "change_plan",
        "19900, at => '2026-03-01 10:00+09'",
        "has passed",
    ),
    ("paid", "move_day", "weekday => 3", "by the week"),
    (
        "paid",
        "give_discount",
        "share => 20",
        "between 0.0001 and 1",
    ),
    (
        "paid",
        "give_discount",
        "sum => 1, share => 0.1",
        "give a sum, or a share",
    ),
    ("paid", "add_item", "'x', 0", "a sum above 0"),
    ("past_due", "resume", "", "is past_due"),
    ("past_due", "renew_early", "", "is past_due"),
    (
        "past_due",
        "change_plan",
        "19900, at => 'now'",
        "is past_due",
    ),
    ("due", "change_plan", "19900, at => 'now'", "a debt is open"),
    ("due", "renew_early", "", "is not paid"),
    ("cancelled", "pause", "", "is cancelled"),
    ("cancelled", "cancel", "", "is cancelled"),
    ("cancelled", "resume", "", "begin must be old_day or now"),
    ("cancelled", "change_card", "'card-2'", "is cancelled"),
];

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_verb_that_does() {
    for (given, verb, arguments, words) in SENSELESS {
        let life = match given {
            "past_due" => past_due().await,
            "due" => in_dunning().await,
            _ => Life::paid("2026-03-10").await,
        };
        if given == "cancelled" {
            life.call("2026-03-11", "cancel", "'now'").await;
        }
        let refused = life.call_refused("2026-03-12", verb, arguments).await;
        let found = refused.contains(words)
            || words == "subscription_is_in_service" && refused.contains("is active");
        assert!(found, "{given}, {verb} {arguments}: {refused}");
    }
}

/// Hazard: while nobody knows whether money moved, a verb makes a second request possible.
#[tokio::test]
async fn verbs_that_ask_for_money_wait_until_an_open_attempt_is_proved() {
    let life = Life::begun("2026-03-10", "", "").await;
    drop(crate::words::claim(&life.house.book).await);
    for (verb, arguments) in [
        ("retry_now", ""),
        ("renew_early", ""),
        ("put_off", "'2026-03-20 10:00+09'"),
        ("forgive", ""),
        ("extend", "'2026-05-01 10:00+09'"),
        ("change_plan", "19900, at => 'now'"),
    ] {
        let refused = life.call_refused("2026-03-10 10:01", verb, arguments).await;
        assert!(
            refused.contains("an attempt is under way"),
            "{verb}: {refused}"
        );
    }
    // What counts from the next period on waits for nothing.
    life.call("2026-03-10 10:01", "change_plan", "19900").await;
    life.at("2026-03-10 10:30").await;
    life.sweep().await;
    life.day("2026-03-11").await;
    life.day("2026-04-10").await;
    assert_eq!(life.taken(), [9900, 19900]);
}

#[tokio::test]
async fn a_pause_ends_when_it_was_said_and_its_time_is_not_billed() {
    let life = Life::paid("2026-02-10").await;
    life.call("2026-03-01", "pause", "'2026-04-20 10:00+09'")
        .await;
    assert_eq!(
        life.forecast(2).await,
        "change 2026-04-20, charge 2026-05-10 2026-06-10 9900"
    );
    life.day("2026-04-25").await;
    life.house
        .book
        .shows("select state from billd.subscription", "active")
        .await;
    life.day("2026-05-10").await;
    assert_eq!(
        life.paid_for().await,
        "2026-02-10 2026-03-10 9900, 2026-05-10 2026-06-10 9900"
    );
}

#[tokio::test]
async fn a_planned_end_of_a_pause_lapses_when_it_was_resumed_before() {
    let life = Life::paid("2026-02-10").await;
    life.call("2026-03-01", "pause", "'2026-04-20 10:00+09'")
        .await;
    life.call("2026-03-05", "resume", "").await;
    life.call("2026-04-12", "pause", "").await;
    life.day("2026-04-25").await;
    life.house
        .book
        .shows("select state from billd.subscription", "paused")
        .await;
    life.house
        .book
        .shows("select state from billd.planned_change", "lapsed")
        .await;
}

#[tokio::test]
async fn a_debt_that_was_open_before_a_pause_is_asked_for_once_when_it_ends() {
    let life = past_due().await;
    life.call("2026-03-12", "pause", "'2026-06-01 10:00+09'")
        .await;
    life.call("2026-03-12", "change_card", "'card-2'").await;
    life.day("2026-05-01").await;
    assert_eq!(life.taken(), NOTHING);
    life.day("2026-06-01").await;
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.forecast(1).await, "charge 2026-06-10 2026-07-10 9900");
}

#[tokio::test]
async fn another_card_asks_for_the_open_debt_at_once_unless_told_not_to() {
    for (arguments, taken) in [("'card-2'", 1), ("'card-2', retry => false", 0)] {
        let life = past_due().await;
        life.call("2026-06-01", "change_card", arguments).await;
        life.day("2026-06-01").await;
        assert_eq!(life.taken().len(), taken, "{arguments}");
    }
}

#[tokio::test]
async fn the_open_debt_is_tried_again_and_then_what_falls_due_from_then_on() {
    let life = past_due().await;
    life.run("update billd.subscription set customer_uid = 'card-2'")
        .await;
    life.call("2026-06-01", "retry_now", "").await;
    life.day("2026-06-01").await;
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.forecast(1).await, "charge 2026-06-10 2026-07-10 9900");
}

#[tokio::test]
async fn a_debt_that_is_forgiven_is_never_billed_and_the_agreement_goes_on() {
    let life = past_due().await;
    life.call("2026-03-20", "forgive", "").await;
    life.run("update billd.subscription set customer_uid = 'card-2'")
        .await;
    life.day("2026-04-10").await;
    assert_eq!(life.paid_for().await, "2026-04-10 2026-05-10 9900");
}

#[tokio::test]
async fn a_cancellation_at_the_end_uses_up_what_is_paid_and_keep_undoes_it() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "cancel", "").await;
    assert_eq!(life.forecast(6).await, "end 2026-04-10");
    let state = "select concat_ws(' ', state, paid_until > billd.now()) from billd.subscription";
    life.house.book.shows(state, "active t").await;
    life.call("2026-03-25", "keep", "").await;
    life.day("2026-04-10").await;
    life.call("2026-04-20", "cancel", "").await;
    life.day("2026-05-10").await;
    life.house.book.shows(state, "cancelled f").await;
    assert_eq!(life.taken(), [9900, 9900]);
}

#[tokio::test]
async fn a_cancellation_now_makes_the_open_debt_void() {
    let life = in_dunning().await;
    life.call("2026-03-10 12:00", "cancel", "'now'").await;
    life.run("update billd.subscription set customer_uid = 'card-2'")
        .await;
    life.day("2026-04-10").await;
    assert_eq!(life.taken(), NOTHING);
    assert_eq!(
        life.debts("state = 'void'").await,
        "2026-03-10 2026-04-10 9900"
    );
}

#[tokio::test]
async fn the_days_up_to_the_billing_day_are_charged_by_the_day_if_that_is_said() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "move_day", "day => 15, short => 'by_day'")
        .await;
    life.day("2026-04-10").await;
    life.day("2026-04-15").await;
    assert_eq!(
        life.paid_for().await,
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-04-15 1596, 2026-04-15 2026-05-15 9900"
    );
}

#[tokio::test]
async fn a_kept_agreement_whose_end_was_cut_short_charges_the_rest_by_the_day_if_that_is_said() {
    let life = Life::paid("2026-04-10").await;
    life.call("2026-04-20", "cancel", "'2026-05-15 10:00+09'")
        .await;
    life.day("2026-05-10").await;
    life.call("2026-05-12", "keep", "'by_day'").await;
    life.day("2026-05-15").await;
    assert_eq!(life.taken(), [9900, 1596, 8303]);
    assert_eq!(life.forecast(1).await, "charge 2026-06-10 2026-07-10 9900");
}

#[tokio::test]
async fn it_ends_after_so_many_periods_of_which_gifts_skips_and_pauses_are_none() {
    let life = Life::paid("2026-01-10").await;
    life.call("2026-01-11", "end_after", "2").await;
    life.call("2026-01-11", "skip", "").await;
    life.day("2026-02-10").await;
    life.call("2026-02-11", "extend", "'2026-04-10 10:00+09'")
        .await;
    for day in ["2026-03-10", "2026-04-10", "2026-05-10", "2026-06-10"] {
        life.day(day).await;
    }
    assert_eq!(life.taken(), [9900, 9900, 9900]);
    life.house
        .book
        .shows("select state from billd.subscription", "cancelled")
        .await;
}

#[tokio::test]
async fn what_is_put_off_is_asked_later_for_the_same_period() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "put_off", "'2026-04-20 10:00+09'")
        .await;
    life.day("2026-04-10").await;
    assert_eq!(life.taken(), [9900]);
    life.day("2026-04-20").await;
    assert_eq!(
        life.debts("due_at > '2026-04-01'").await,
        "2026-04-10 2026-05-10 9900"
    );
    assert_eq!(life.taken(), [9900, 9900]);
}

#[tokio::test]
async fn skipped_periods_are_passed_over_with_a_reason_unless_they_are_taken_back() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "skip", "2").await;
    assert_eq!(
        life.forecast(3).await,
        "passed 2026-04-10 2026-05-10 0, passed 2026-05-10 2026-06-10 0, charge 2026-06-10 2026-07-10 9900"
    );
    life.day("2026-04-10").await;
    life.run("select count(*) from billd.take_back((select max(id) from billd.planned_change))")
        .await;
    life.day("2026-05-10").await;
    assert_eq!(life.taken(), [9900, 9900]);
    assert_eq!(
        life.debts("reason = 'skipped'").await,
        "2026-04-10 2026-05-10 9900"
    );
    let again = "select billd.take_back((select max(id) from billd.planned_change))";
    life.house.book.refuses(again, "not pending any more").await;
}

#[tokio::test]
async fn a_gift_is_free_and_what_follows_begins_on_the_first_billing_day_behind_it() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "extend", "'2026-05-01 10:00+09'")
        .await;
    life.day("2026-04-10").await;
    life.day("2026-05-10").await;
    assert_eq!(
        life.debts("state = 'free'").await,
        "2026-04-10 2026-05-01 0"
    );
    assert_eq!(
        life.paid_for().await,
        "2026-03-10 2026-04-10 9900, 2026-05-10 2026-06-10 9900"
    );
}

#[tokio::test]
async fn a_trial_is_set_moved_and_left_without_a_charge() {
    let life = Life::begun("2026-03-10", ", next_charge_at", ", '2026-03-12 10:00+09'").await;
    life.call("2026-03-10", "set_trial", "'2026-03-24 10:00+09'")
        .await;
    life.call("2026-03-11", "set_trial", "'2026-03-25 10:00+09'")
        .await;
    assert_eq!(life.forecast(1).await, "charge 2026-03-25 2026-04-25 9900");
    life.call("2026-03-20", "cancel", "").await;
    life.day("2026-03-25").await;
    assert_eq!(life.taken(), NOTHING);
    life.house
        .book
        .shows("select state from billd.subscription", "cancelled")
        .await;
}

#[tokio::test]
async fn another_plan_at_the_end_is_seen_taken_back_and_applied_on_time() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "change_plan", "99000, 'year', name => '연간'")
        .await;
    assert_eq!(
        life.forecast(2).await,
        "change 2026-04-10, charge 2026-04-10 2027-04-10 99000"
    );
    life.run("select count(*) from billd.take_back((select max(id) from billd.planned_change))")
        .await;
    assert_eq!(life.forecast(1).await, "charge 2026-04-10 2026-05-10 9900");
    life.call("2026-03-20", "change_plan", "99000, 'year'")
        .await;
    life.day("2026-04-10").await;
    assert_eq!(life.taken(), [9900, 99000]);
}

/// Hazard: a plan that was meant for the end of the period overrides the newer one that ends this period now.
#[tokio::test]
async fn another_plan_now_takes_the_place_of_one_that_was_planned_for_the_end() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-15", "change_plan", "11200").await;
    life.call("2026-03-20 12:00", "change_plan", "19900, at => 'now'")
        .await;
    life.sweep().await;
    assert_eq!(life.taken(), [9900, 13194]);
    assert_eq!(
        life.forecast(1).await,
        "charge 2026-04-20 12:00 2026-05-20 12:00 19900"
    );
}

/// Hazard: the new interval counts from the end of what is paid, so a row is due before its change acts, and is
/// claimed and planned anew for ever.
#[tokio::test]
async fn another_interval_at_the_end_begins_on_the_day_that_was_moved_to_and_leaves_the_days_before_free()
 {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20", "move_day", "20").await;
    life.call("2026-03-20", "change_plan", "unit => 'week'")
        .await;
    assert_eq!(
        life.forecast(2).await,
        "change 2026-04-20, charge 2026-04-20 2026-04-27 9900"
    );
    life.day("2026-04-12").await;
    assert_eq!(life.taken(), [9900]);
    life.day("2026-04-20").await;
    assert_eq!(
        life.paid_for().await,
        "2026-03-10 2026-04-10 9900, 2026-04-20 2026-04-27 9900"
    );
}

#[tokio::test]
async fn a_planned_change_is_applied_when_its_time_has_come_though_nothing_is_due() {
    let life = Life::paid("2026-03-10").await;
    life.call(
        "2026-03-20",
        "change_plan",
        "12900, at => '2026-04-01 00:00+09'",
    )
    .await;
    let price = "select amount from billd.subscription";
    life.day("2026-03-25").await;
    life.house.book.shows(price, "9900").await;
    life.day("2026-04-01").await;
    life.house.book.shows(price, "12900").await;
}

#[tokio::test]
async fn history_says_who_changed_what_by_verb_by_update_and_by_plan_and_never_changes() {
    let life = Life::paid("2026-03-10").await;
    life.call(
        "2026-03-20",
        "change_plan",
        "12900, note => 'asked by phone'",
    )
    .await;
    life.set("2026-03-21", "name = '다른 이름'").await;
    life.call("2026-03-22", "pause", "dry_run => true").await;
    life.day("2026-04-10").await;
    let story = "select string_agg(concat_ws(' | ', verb, note, before, after), E'\n' order by id) from billd.history
        where session_role = session_user and at between '2026-03-19' and billd.now()";
    life.house
        .book
        .shows(
            story,
            "change_plan | asked by phone; at end, amount 12900, credit true, by_payer false | {} | {}\n\
             update | {\"name\": \"프리미엄 월간\"} | {\"name\": \"다른 이름\"}\n\
             planned plan | asked by phone | {\"amount\": 9900} | {\"amount\": 12900}",
        )
        .await;
    for change in [
        "update billd.history set note = 'x'",
        "delete from billd.history",
        "truncate billd.history",
    ] {
        life.house
            .book
            .refuses(change, "history is only added to")
            .await;
    }
}

#[tokio::test]
async fn a_full_refund_at_the_console_goes_on_or_ends_it_as_agreed() {
    for (on_refund, state) in [("go_on", "active"), ("end", "cancelled")] {
        let life = Life::begun("2026-03-10", ", on_refund", &format!(", '{on_refund}'")).await;
        life.sweep().await;
        life.run("update billd.charge_attempt set cancelled_amount = 5000")
            .await;
        let found = "select state from billd.subscription";
        life.house.book.shows(found, "active").await;
        life.run("update billd.charge_attempt set cancelled_amount = 9900")
            .await;
        life.house.book.shows(found, state).await;
        life.house
            .book
            .shows(
                "select paid_until = settled_until from billd.subscription",
                "true",
            )
            .await;
    }
}

#[tokio::test]
async fn every_verb_of_the_manual_says_what_it_does() {
    let life = Life::paid("2026-03-10").await;
    let silent = "
        select coalesce(string_agg(p.proname, ', '), '') from pg_proc p
        where p.pronamespace = 'billd'::regnamespace and obj_description(p.oid, 'pg_proc') is null";
    life.house.book.shows(silent, "").await;
}

/// Hazard: a debt has been refused for so long that the next period has begun. What lies between its end and the day of
/// a gift is then neither billed nor given.
#[tokio::test]
async fn a_gift_while_an_old_debt_is_open_begins_where_that_debt_ends() {
    let life = Life::begun("2026-03-10", ", interval_unit", ", 'week'").await;
    life.set("2026-03-10", "customer_uid = 'decline-balance-1'")
        .await;
    life.sweep().await;
    life.call("2026-03-20", "extend", "'2026-03-24 10:00+09'")
        .await;
    assert_eq!(
        life.debts("state in ('due', 'free')").await,
        "2026-03-10 2026-03-17 9900, 2026-03-17 2026-03-24 0"
    );
}
