//! Law 12: no time is billed twice, whatever is changed in between.

use super::book::Life;

const YEARLY: (&str, &str) = (", interval_unit", ", 'year'");

#[tokio::test]
async fn another_zone_charges_no_instant_a_second_time() {
    let daily = (
        ", interval_unit, anchor_at, next_charge_at",
        ", 'day', '2026-05-10 09:00+09', '2026-05-10 09:00+09'",
    );
    let life = Life::begun("2026-05-10 09:00", daily.0, daily.1).await;
    life.sweep().await;
    life.set("2026-05-10 12:00", "time_zone = 'America/New_York'")
        .await;
    life.at("2026-05-11 09:00").await;
    life.sweep().await;
    assert_eq!(
        life.paid_for().await,
        "2026-05-10 09:00 2026-05-11 09:00 9900, 2026-05-11 09:00 2026-05-12 09:00 9900"
    );
    let names = "select string_agg(period::text, ' ' order by period) from billd.billing_cycle";
    assert_eq!(life.house.book.text(names).await, "2026-05-10 2026-05-11");
}

#[tokio::test]
async fn a_zone_that_is_ahead_loses_no_day() {
    let daily = (
        ", interval_unit, time_zone, next_charge_at",
        ", 'day', 'America/New_York', '2026-05-10 22:00+09'",
    );
    let life = Life::begun("2026-05-10 22:00", daily.0, daily.1).await;
    life.sweep().await;
    life.set("2026-05-11 09:00", "time_zone = 'Asia/Seoul'")
        .await;
    assert_eq!(
        life.next().await,
        "active 2026-05-11 22:00 2026-05-12 22:00"
    );
}

#[tokio::test]
async fn an_anchor_that_is_moved_begins_the_next_period_behind_what_is_paid() {
    for change in [
        "anchor_at = '2026-02-15 10:00+09'",
        "anchor_at = '2026-02-15 10:00+09', next_charge_at = '2026-02-15 10:00+09'",
        "billing_day = 15",
    ] {
        let life = Life::paid("2026-02-10").await;
        life.set("2026-02-12", change).await;
        life.day("2026-02-15").await;
        assert_eq!(life.taken(), [9900], "{change}");
        assert_eq!(
            life.next().await,
            "active 2026-03-15 2026-04-15",
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_year_is_a_year_and_a_quarter_three_months_from_the_end_of_what_is_paid() {
    for (change, until) in [
        ("interval_unit = 'year'", "2027-03-10"),
        ("interval_count = 3", "2026-06-10"),
        ("interval_unit = 'week', interval_count = 2", "2026-03-24"),
    ] {
        let life = Life::paid("2026-02-10").await;
        life.set("2026-02-25", change).await;
        assert_eq!(
            life.next().await,
            format!("active 2026-03-10 {until}"),
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_31st_stays_a_31st_when_the_interval_changes_in_a_short_month() {
    let life = Life::begun("2026-01-31", "", "").await;
    life.day("2026-01-31").await;
    life.set("2026-02-10", "interval_count = 3").await;
    assert_eq!(life.next().await, "active 2026-02-28 2026-05-31");
}

#[tokio::test]
async fn no_change_of_the_agreement_touches_a_debt_that_is_open() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-balance-once-1'")
        .await;
    life.sweep().await;
    life.set(
        "2026-03-10 12:00",
        "interval_unit = 'year', billing_day = 25, amount = 12900",
    )
    .await;
    life.day("2026-03-11").await;
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.next().await, "active 2026-04-25 2027-04-25");
}

#[tokio::test]
async fn another_hour_shortens_the_next_period_and_no_other() {
    let life = Life::paid("2026-03-10").await;
    life.set("2026-03-20", "anchor_at = '2026-03-10 08:00+09'")
        .await;
    assert_eq!(life.next().await, "active 2026-04-10 2026-05-10 08:00");
}

#[tokio::test]
async fn a_date_that_is_on_no_billing_day_is_refused() {
    let life = Life::paid("2026-03-10").await;
    let insert =
        "insert into billd.subscription (customer_uid, name, amount, anchor_at, next_charge_at)
        values ('c', 'n', 9900, '2026-01-31 10:00+09', '2026-04-15 10:00+09')";
    let refused = life.house.book.try_run(insert).await.unwrap_err();
    assert!(
        refused.contains("not on a day on which periods begin"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_year_that_was_mistyped_into_the_past_is_refused_unless_it_is_said_what_follows() {
    let life = Life::paid("2026-03-10").await;
    let insert = |column: &str, value: &str| {
        format!(
            "insert into billd.subscription (customer_uid, name, amount, next_charge_at {column})
             values ('c', 'n', 9900, '2016-03-15 10:00+09' {value})"
        )
    };
    let refused = life.house.book.try_run(&insert("", "")).await.unwrap_err();
    assert!(refused.contains("whole periods lie between"), "{refused}");
    life.run(&insert(", catch_up", ", 'none'")).await;
    life.day("2026-03-10").await;
    assert_eq!(life.taken(), [9900]);
}

#[tokio::test]
async fn what_is_imported_as_paid_begins_where_that_ends() {
    let life = Life::begun("2026-09-01", ", paid_until", ", '2026-09-17 10:00+09'").await;
    life.day("2026-09-01").await;
    assert_eq!(life.taken(), [0_i64; 0]);
    assert_eq!(life.next().await, "active 2026-09-17 2026-10-17");
}

#[tokio::test]
async fn whole_periods_that_were_missed_are_charged_passed_over_or_held_as_agreed() {
    for (catch_up, paid, next) in [
        (
            "all",
            "2026-01-10 2026-02-10 9900, 2026-02-10 2026-03-10 9900, 2026-03-10 2026-04-10 9900, \
                 2026-04-10 2026-05-10 9900, 2026-05-10 2026-06-10 9900",
            "active 2026-06-10 2026-07-10",
        ),
        (
            "latest",
            "2026-01-10 2026-02-10 9900, 2026-05-10 2026-06-10 9900",
            "active 2026-06-10 2026-07-10",
        ),
        (
            "none",
            "2026-01-10 2026-02-10 9900",
            "active 2026-06-10 2026-07-10",
        ),
        (
            "hold",
            "2026-01-10 2026-02-10 9900",
            "active 2026-02-10 2026-03-10",
        ),
    ] {
        let life = Life::begun("2026-01-10", ", catch_up", &format!(", '{catch_up}'")).await;
        life.sweep().await;
        life.day("2026-05-20").await;
        assert_eq!(life.paid_for().await, paid, "{catch_up}");
        assert_eq!(life.next().await, next, "{catch_up}");
    }
}

#[tokio::test]
async fn what_is_held_is_shown_and_goes_on_when_it_is_said_what_follows() {
    let life = Life::begun("2026-01-10", ", catch_up", ", 'hold'").await;
    life.sweep().await;
    life.day("2026-05-20").await;
    let shown = "select string_agg(kind || ' ' || reason, ', ') from billd.attention";
    assert_eq!(life.house.book.text(shown).await, "held catch_up");
    let refused = life.refused("held = null").await;
    assert!(refused.contains("because of: catch_up"), "{refused}");
    life.set("2026-05-21", "catch_up = 'latest'").await;
    life.day("2026-05-21").await;
    assert_eq!(life.taken(), [9900, 9900]);
    assert_eq!(life.house.book.text(shown).await, "null");
}

#[tokio::test]
async fn a_trial_is_free_and_the_first_charge_is_its_end() {
    let life = Life::begun("2026-06-26", ", trial_until", ", '2026-07-10 10:00+09'").await;
    life.day("2026-06-26").await;
    assert_eq!(
        life.debts("state = 'free'").await,
        "2026-06-26 2026-07-10 0"
    );
    assert_eq!(life.taken(), [0_i64; 0]);
    assert_eq!(life.next().await, "active 2026-07-10 2026-08-10");
    life.set("2026-07-01", "trial_until = '2026-07-20 10:00+09'")
        .await;
    life.day("2026-07-20").await;
    assert_eq!(life.paid_for().await, "2026-07-20 2026-08-20 9900");
    let refused = life.refused("trial_until = '2026-09-01 10:00+09'").await;
    assert!(refused.contains("can't be moved"), "{refused}");
}

#[tokio::test]
async fn the_last_period_is_cut_at_the_end_and_costs_its_share_of_days() {
    let life = Life::paid("2026-04-10").await;
    life.set("2026-04-20", "ends_at = '2026-05-15 10:00+09'")
        .await;
    life.day("2026-05-10").await;
    assert_eq!(
        life.debts("state = 'paid' and amount < 9900").await,
        "2026-05-10 2026-05-15 1596"
    );
    life.day("2026-05-15").await;
    assert_eq!(
        life.house
            .book
            .text("select state || ' ' || state_reason from billd.subscription")
            .await,
        "cancelled ended as agreed"
    );
    assert_eq!(life.taken(), [9900, 1596]);
}

#[tokio::test]
async fn after_so_many_periods_it_ends_by_itself() {
    let life = Life::begun("2026-01-10", ", periods_left", ", 2").await;
    for day in ["2026-01-10", "2026-02-10", "2026-03-10", "2026-04-10"] {
        life.day(day).await;
    }
    assert_eq!(life.taken(), [9900, 9900]);
    assert_eq!(
        life.house
            .book
            .text("select state from billd.subscription")
            .await,
        "cancelled"
    );
}

#[tokio::test]
async fn a_sum_that_the_gateway_does_not_charge_is_free_and_time_goes_on() {
    let life = Life::begun("2026-01-10", "", "").await;
    life.run("update billd.subscription set amount = 0").await;
    life.day("2026-01-10").await;
    life.day("2026-02-10").await;
    assert_eq!(
        life.debts("state = 'free'").await,
        "2026-01-10 2026-02-10 0, 2026-02-10 2026-03-10 0"
    );
    life.set("2026-02-20", "amount = 9900").await;
    life.day("2026-03-10").await;
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
}

#[tokio::test]
async fn an_import_that_is_run_twice_adds_nothing_twice() {
    let life = Life::begun("2026-01-10", ", external_id", ", 'shop-1'").await;
    let again = "insert into billd.subscription (customer_uid, name, amount, external_id)
        values ('card-1', '프리미엄 월간', 9900, 'shop-1')";
    let refused = life.house.book.try_run(again).await.unwrap_err();
    assert!(refused.contains("subscription_external_id"), "{refused}");
}

#[tokio::test]
async fn paid_until_says_until_when_it_is_paid_or_free() {
    let life = Life::begun(YEARLY_DAY, YEARLY.0, YEARLY.1).await;
    life.sweep().await;
    let until = "select paid_until = until_at - interval '1 year' and paid_until = settled_until from billd.subscription";
    assert_eq!(life.house.book.text(until).await, "true");
}

const YEARLY_DAY: &str = "2026-03-10";

/// Hazard: a debt that a person writes down by hand pays for time that is paid already.
#[tokio::test]
async fn nobody_writes_a_debt_down_for_time_that_is_billed() {
    let life = Life::paid("2026-03-10").await;
    for (statement, words) in [
        (
            "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at)
             select id, '2026-03-20', amount, currency, '2026-03-20 10:00+09' from billd.subscription",
            "is billed already",
        ),
        ("update billd.billing_cycle set until_at = until_at + interval '1 month'", "keeps the time"),
        ("update billd.billing_cycle set due_at = due_at - interval '1 month'", "keeps the time"),
    ] {
        let refused = life.house.book.try_run(statement).await.unwrap_err();
        assert!(refused.contains(words), "{statement}: {refused}");
    }
}

/// Hazard: a server that knows fewer zones than the one before keeps a payment from being written down.
#[tokio::test]
async fn a_payment_is_written_down_though_the_calendar_can_not_be_read() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run(
        "alter table billd.subscription disable trigger user;
         update billd.subscription set time_zone = 'Asia/Pyongyan';
         alter table billd.subscription enable trigger user",
    )
    .await;
    life.sweep().await;
    assert_eq!(life.taken(), [9900]);
    let row = "select concat_ws(' ', s.state, c.state, paid_until = c.until_at)
        from billd.subscription s, billd.billing_cycle c";
    assert_eq!(life.house.book.text(row).await, "active paid t");
    life.day("2026-04-10").await;
    assert_eq!(life.house.book.text(row).await, "past_due paid t");
}
