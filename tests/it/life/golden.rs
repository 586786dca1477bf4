//! The dates and sums that were agreed on, through the daemon. The first fourteen are in `calendar`, `time` and `service`.

use super::book::Life;

#[tokio::test]
async fn an_earlier_billing_day_begins_behind_what_is_paid_and_the_days_between_are_free() {
    let life = Life::begun("2026-01-31", "", "").await;
    life.day("2026-01-31").await;
    life.call("2026-02-10", "move_day", "day => 15").await;
    assert_eq!(
        life.forecast(1).await,
        "charge 2026-03-15 2026-04-15 9900",
        "15 days free"
    );
}

#[tokio::test]
async fn a_quarter_that_is_moved_by_five_days_gets_no_months_for_nothing() {
    let life = Life::begun("2026-01-10", ", interval_count", ", 3").await;
    life.sweep().await;
    life.call("2026-02-01", "move_day", "day => 5").await;
    assert_eq!(life.forecast(1).await, "charge 2026-05-05 2026-08-05 9900");
}

#[tokio::test]
async fn another_hour_begins_behind_what_is_paid() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-11", "move_day", "hour => '08:00'").await;
    assert_eq!(
        life.forecast(1).await,
        "charge 2026-04-10 2026-05-10 08:00 9900"
    );
}

#[tokio::test]
async fn two_pauses_by_verb_with_no_sweep_between_bill_neither() {
    let life = Life::paid("2026-02-10").await;
    life.call("2026-03-05", "pause", "").await;
    life.call("2026-04-01", "resume", "").await;
    life.call("2026-04-05", "pause", "").await;
    life.call("2026-06-01", "resume", "").await;
    life.day("2026-06-01").await;
    assert_eq!(life.taken(), [9900]);
    assert_eq!(life.forecast(1).await, "charge 2026-06-10 2026-07-10 9900");
}

#[tokio::test]
async fn who_comes_back_begins_on_the_old_day_or_now() {
    for (begin, paid) in [
        ("old_day", "2026-03-10 2027-03-10 9900"),
        ("now", "2026-02-20 12:00 2027-02-20 12:00 9900"),
    ] {
        let life = Life::begun("2025-01-10", ", interval_unit", ", 'year'").await;
        life.sweep().await;
        life.call("2026-01-05", "pause", "").await;
        life.call("2026-02-20 12:00", "resume", &format!("'{begin}'"))
            .await;
        life.sweep().await;
        life.day("2026-03-10").await;
        assert_eq!(
            life.debts("state = 'paid' and due_at > '2026-01-01'").await,
            paid,
            "{begin}"
        );
    }
}

#[tokio::test]
async fn a_cancellation_inside_a_period_costs_its_share_of_days_and_can_be_undone() {
    let life = Life::paid("2026-04-10").await;
    life.call("2026-04-20", "cancel", "'2026-05-15 10:00+09'")
        .await;
    assert_eq!(
        life.forecast(6).await,
        "charge 2026-05-10 2026-05-15 1596, end 2026-05-15"
    );
    life.call("2026-04-21", "keep", "").await;
    assert_eq!(life.forecast(1).await, "charge 2026-05-10 2026-06-10 9900");
    life.call("2026-04-22", "cancel", "'2026-05-15 10:00+09'")
        .await;
    life.day("2026-05-10").await;
    life.day("2026-05-15").await;
    assert_eq!(life.taken(), [9900, 1596]);
    life.house
        .book
        .shows("select state from billd.subscription", "cancelled")
        .await;
}

#[tokio::test]
async fn another_plan_now_credits_the_unused_days_and_today_belongs_to_the_new_one() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-20 12:00", "change_plan", "19900, at => 'now'")
        .await;
    life.sweep().await;
    assert_eq!(life.taken(), [9900, 13194]);
    assert_eq!(
        life.debts("amount = 13194").await,
        "2026-03-20 12:00 2026-04-20 12:00 13194"
    );
    life.call("2026-03-20 15:00", "change_plan", "9900, at => 'now'")
        .await;
    life.sweep().await;
    assert_eq!(life.taken(), [9900, 13194], "nothing is given back");
    let left = "select string_agg(sum || ' ' || remaining, ', ' order by id) from billd.adjustment";
    life.house.book.shows(left, "6706 0, 19900 10000").await;
    assert_eq!(
        life.debts("state = 'free'").await,
        "2026-03-20 15:00 2026-04-20 15:00 0"
    );
    life.house
        .book
        .shows("select count(*) from billd.time_billed_twice", "0")
        .await;
}

#[tokio::test]
async fn after_downtime_a_planned_rise_counts_from_its_own_day_whatever_catch_up_says() {
    for (catch_up, taken, next) in [
        (
            "all",
            vec![9900, 9900, 9900, 12900, 12900],
            "charge 2026-06-10 2026-07-10 12900",
        ),
        (
            "latest",
            vec![9900, 12900],
            "charge 2026-06-10 2026-07-10 12900",
        ),
        ("none", vec![9900], "charge 2026-06-10 2026-07-10 12900"),
        ("hold", vec![9900], "hold 2026-02-10 2026-03-10 catch_up"),
    ] {
        let life = Life::begun("2026-01-10", ", catch_up", &format!(", '{catch_up}'")).await;
        life.sweep().await;
        life.call(
            "2026-01-20",
            "change_plan",
            "12900, at => '2026-04-01 00:00+09'",
        )
        .await;
        life.day("2026-05-20").await;
        assert_eq!(life.taken(), taken, "{catch_up}");
        assert_eq!(life.forecast(1).await, next, "{catch_up}");
    }
}

#[tokio::test]
async fn a_period_is_renewed_early_once_and_begins_where_the_one_before_ends() {
    let life = Life::begun("2026-09-01", ", paid_until", ", '2026-09-17 10:00+09'").await;
    life.sweep().await;
    assert_eq!(life.taken(), [0_i64; 0]);
    life.call("2026-09-05", "renew_early", "period => '2026-09-17'")
        .await;
    life.sweep().await;
    assert_eq!(life.paid_for().await, "2026-09-17 2026-10-17 9900");
    let refused = life.call_refused("2026-09-06", "renew_early", "").await;
    assert!(refused.contains("was renewed early itself"), "{refused}");
    assert_eq!(life.forecast(1).await, "charge 2026-10-17 2026-11-17 9900");
}
