//! Law 13: no time out of service is billed, and every gap counts.

use super::book::Life;

#[tokio::test]
async fn a_mended_card_pays_the_one_open_debt_and_then_what_falls_due_from_then_on() {
    let life = Life::begun("2026-03-10", ", state", ", 'active'").await;
    life.run("update billd.subscription set customer_uid = 'decline-stolen-1'")
        .await;
    life.day("2026-03-10").await;
    life.set("2026-06-01", "state = 'active', customer_uid = 'card-2'")
        .await;
    life.day("2026-06-01").await;
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.next().await, "active 2026-06-10 2026-07-10");
}

#[tokio::test]
async fn a_stolen_card_that_is_tried_months_later_bills_none_of_the_months_between() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-stolen-1'")
        .await;
    life.day("2026-03-10").await;
    life.set("2026-06-01", "state = 'active'").await;
    life.day("2026-06-01").await;
    life.set("2026-06-02", "state = 'active', customer_uid = 'card-2'")
        .await;
    life.day("2026-06-02").await;
    assert_eq!(life.taken(), [9900]);
    assert_eq!(life.next().await, "active 2026-06-10 2026-07-10");
}

#[tokio::test]
async fn two_pauses_with_no_sweep_between_bill_neither_of_them() {
    let life = Life::paid("2026-02-10").await;
    life.set("2026-03-05", "state = 'paused'").await;
    life.set("2026-04-01", "state = 'active'").await;
    life.set("2026-04-05", "state = 'paused'").await;
    life.set("2026-06-01", "state = 'active'").await;
    life.day("2026-06-01").await;
    assert_eq!(life.paid_for().await, "2026-02-10 2026-03-10 9900");
    assert_eq!(life.next().await, "active 2026-06-10 2026-07-10");
}

#[tokio::test]
async fn past_due_then_paused_then_active_asks_for_the_debt_once() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-stolen-1'")
        .await;
    life.day("2026-03-10").await;
    life.set("2026-03-20", "state = 'paused'").await;
    life.set("2026-07-01", "state = 'active', customer_uid = 'card-2'")
        .await;
    life.day("2026-07-01").await;
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.next().await, "active 2026-07-10 2026-08-10");
}

#[tokio::test]
async fn what_was_inserted_out_of_service_is_billed_from_its_activation_on() {
    for state in ["paused", "past_due"] {
        let columns = ", state, next_charge_at";
        let values = format!(", '{state}', '2026-01-10 10:00+09'");
        let life = Life::begun("2026-05-20", columns, &values).await;
        life.set("2026-06-01", "state = 'active'").await;
        life.day("2026-06-01").await;
        assert_eq!(life.paid_for().await, "", "{state}");
        assert_eq!(life.next().await, "active 2026-06-10 2026-07-10", "{state}");
    }
}

#[tokio::test]
async fn what_fell_due_and_was_not_opened_before_a_pause_is_passed_over_with_a_reason() {
    let life = Life::paid("2026-02-10").await;
    life.set("2026-03-15", "state = 'paused'").await;
    life.set("2026-03-20", "state = 'active'").await;
    life.day("2026-03-20").await;
    let gap = "state = 'void' and reason = 'fell due while the subscription was not active'";
    assert_eq!(life.debts(gap).await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.next().await, "active 2026-04-10 2026-05-10");
}

#[tokio::test]
async fn a_yearly_one_that_comes_back_begins_on_its_old_day_of_the_month() {
    let life = Life::begun("2025-01-10", ", interval_unit", ", 'year'").await;
    life.sweep().await;
    life.set("2026-01-05", "state = 'paused'").await;
    life.set("2026-02-20 12:00", "state = 'active'").await;
    assert_eq!(life.next().await, "active 2026-03-10 2027-03-10");
}

#[tokio::test]
async fn who_resumes_with_a_date_begins_on_that_date() {
    let life = Life::paid("2026-02-10").await;
    life.set("2026-02-20", "state = 'paused'").await;
    life.set(
        "2026-05-01",
        "state = 'active', next_charge_at = '2026-05-20 10:00+09'",
    )
    .await;
    assert_eq!(life.next().await, "active 2026-05-20 2026-06-20");
    life.day("2026-05-20").await;
    assert_eq!(
        life.paid_for().await,
        "2026-02-10 2026-03-10 9900, 2026-05-20 2026-06-20 9900"
    );
}

#[tokio::test]
async fn a_pause_that_ends_inside_what_is_paid_moves_nothing() {
    let life = Life::paid("2026-02-10").await;
    life.set("2026-02-12", "state = 'paused'").await;
    life.set("2026-03-01", "state = 'active'").await;
    assert_eq!(life.next().await, "active 2026-03-10 2026-04-10");
}

/// Hazard: free until the old day, or charged for the weeks away, depending on columns that nobody looked at.
#[tokio::test]
async fn who_was_cancelled_and_comes_back_says_from_when_on_and_is_billed_for_no_time_between() {
    for (begin, taken, next) in [
        ("'old_day'", 1, "active 2026-05-10 2026-06-10"),
        ("'now'", 2, "active 2026-06-01 2026-07-01"),
    ] {
        let life = Life::paid("2026-02-10").await;
        life.set("2026-02-20", "state = 'cancelled'").await;
        let unsaid = life.call_refused("2026-05-01", "resume", "").await;
        assert!(unsaid.contains("begin must be"), "{unsaid}");
        life.call("2026-05-01", "resume", begin).await;
        life.day("2026-05-01").await;
        assert_eq!(life.next().await, next);
        assert_eq!(life.taken().len(), taken);
    }
}

#[tokio::test]
async fn a_date_inside_what_is_paid_bills_nothing_before_that_ends() {
    let life = Life::paid("2026-02-10").await;
    life.set("2026-02-20", "state = 'paused'").await;
    life.set(
        "2026-02-25",
        "state = 'active', next_charge_at = '2026-03-01 10:00+09'",
    )
    .await;
    life.day("2026-03-02").await;
    assert_eq!(life.taken(), [9900]);
    assert_eq!(life.next().await, "active 2026-03-10 2026-04-10");
}
