//! What people do by hand, before, between and during charges.

use crate::support::{House, limits, policy};

const STATE: &str = "select concat_ws(' ', state, coalesce(last_result, '-'), attempts, recheck) from billd.subscription";

#[tokio::test]
async fn a_subscription_paused_or_cancelled_a_moment_ago_is_not_charged() {
    let house = House::new().await;
    house.book.subscribe_many(10, "cust_").await;
    house
        .book
        .run("update billd.subscription set state = 'paused' where customer_uid = 'cust_1'")
        .await;
    house
        .book
        .run("update billd.subscription set state = 'cancelled' where customer_uid = 'cust_2'")
        .await;
    assert_eq!(house.sweep().await.counts.paid, 8);
    assert_eq!(house.sandbox.summary().approvals, 8);
}

#[tokio::test]
async fn periods_of_a_pause_are_passed_over_and_the_next_regular_one_is_charged() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    house.sweep().await;
    house
        .book
        .run("update billd.subscription set state = 'paused'")
        .await;
    house.book.advance("100 days").await;
    assert_eq!(house.sweep().await.counts.paid, 0);
    house
        .book
        .run("update billd.subscription set state = 'active'")
        .await;
    assert_eq!(
        house.sweep().await.counts.paid,
        0,
        "resuming bills nothing for the pause"
    );
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.billing_cycle where state = 'void' and until_at > billd.now()")
            .await,
        "1",
        "one time that was passed over"
    );
    assert_eq!(
        house.book.text("select next_charge_at > billd.now() and next_charge_at = due_at from billd.subscription").await,
        "true"
    );
    house.book.advance("31 days").await;
    assert_eq!(house.sweep().await.counts.paid, 1);
}

#[tokio::test]
async fn a_mended_card_is_charged_for_the_same_debt_from_the_first_rung() {
    let house = House::new().await;
    house.book.subscribe("decline-stolen-1").await;
    house.sweep().await;
    assert_eq!(house.book.text(STATE).await, "past_due declined 1 f");
    house
        .book
        .run("update billd.subscription set state = 'active', customer_uid = 'new-card'")
        .await;
    assert_eq!(house.sweep().await.counts.paid, 1);
    assert_eq!(
        house.book.text("select string_agg(attempt_no || ' ' || state, ', ' order by attempt_no) from billd.charge_attempt").await,
        "1 declined, 2 paid"
    );
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.billing_cycle")
            .await,
        "1",
        "one debt, not two"
    );
}

#[tokio::test]
async fn a_debt_that_a_person_voids_is_left_behind() {
    let house = House::new().await;
    house.book.subscribe("decline-limit-1").await;
    house.sweep().await;
    let period = house
        .book
        .text("select period from billd.subscription")
        .await;
    house.book.run("update billd.billing_cycle set state = 'void', closed_at = now(), reason = 'our mistake'").await;
    house.book.advance("2 days").await;
    house.sweep().await;
    assert_eq!(
        house.sandbox.summary().declines,
        1,
        "a void debt is not charged"
    );
    assert_ne!(
        house
            .book
            .text("select period from billd.subscription")
            .await,
        period
    );
    assert_eq!(house.book.text(STATE).await, "active declined 0 f");
}

#[tokio::test]
async fn cancelling_in_the_middle_of_dunning_voids_the_debt() {
    let house = House::new().await;
    house.book.subscribe("decline-limit-1").await;
    house.sweep().await;
    house
        .book
        .run("update billd.subscription set state = 'cancelled'")
        .await;
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle")
            .await,
        "void"
    );
    house.book.advance("2 days").await;
    house.sweep().await;
    assert_eq!(house.sandbox.summary().declines, 1);
}

/// Hazard: a price that changes between two attempts of one debt charges a sum nobody agreed to.
#[tokio::test]
async fn a_new_price_counts_from_the_next_period() {
    let house = House::new().await;
    house.book.subscribe("decline-balance-once-1").await;
    house.sweep().await;
    house
        .book
        .run("update billd.subscription set amount = 12900")
        .await;
    house.book.advance("1 day").await;
    house.sweep().await;
    house.book.advance("31 days").await;
    house.sweep().await;
    let amounts: Vec<i64> = house
        .sandbox
        .ledger()
        .iter()
        .map(|entry| entry.amount)
        .collect();
    assert_eq!(amounts, [9900, 12900]);
}

/// Hazard: a row edited while its charge is under way. The charge ends as it began; the edit holds.
#[tokio::test]
async fn a_pause_during_a_charge_lets_it_end_and_stays_a_pause() {
    let house = House::new().await;
    house.book.subscribe("drop-after-approval-1").await;
    house.sweep().await;
    house
        .book
        .run("update billd.subscription set state = 'paused'")
        .await;
    house.book.advance("10 seconds").await;
    house.sweep().await;
    assert_eq!(house.book.text(STATE).await, "paused paid 0 f");
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle")
            .await,
        "paid"
    );
}

#[tokio::test]
async fn missed_periods_are_charged_one_at_a_time_in_order_at_a_bounded_pace() {
    let house = House::new().await;
    house.book.run(
        "insert into billd.subscription (customer_uid, name, amount, interval_unit, anchor_at, next_charge_at, catch_up)
         values ('cust_1', '일간', 500, 'day', now() - interval '3 days', now() - interval '3 days', 'all')").await;
    for charged in 1..=4_u64 {
        assert_eq!(house.sweep().await.counts.paid, 1, "one per pace");
        assert_eq!(
            house.sweep().await.counts.paid,
            0,
            "not before the pace has passed"
        );
        assert_eq!(house.sandbox.summary().approvals, charged);
        house.book.advance("61 minutes").await;
    }
    assert_eq!(house.sweep().await.counts.paid, 0, "caught up");
    assert_eq!(
        house.book.text("select bool_and(due_at = anchor) from (select due_at, (select anchor_at from billd.subscription)
            + (row_number() over (order by period) - 1) * interval '1 day' as anchor from billd.billing_cycle) c").await,
        "true", "no period is skipped, none drifts"
    );
}

/// Hazard: a row that can't be worked with stops the sweep for everybody behind it.
#[tokio::test]
async fn a_bad_row_is_set_aside_and_stops_nobody() {
    let house = House::new().await;
    house.book.subscribe_many(50, "cust_").await;
    // As on a server that knows fewer zones than the one before.
    house.book.run("alter table billd.subscription disable trigger user;
        update billd.subscription set time_zone = 'Asia/Pyongyan', recheck = true where customer_uid = 'cust_7';
        alter table billd.subscription enable trigger user").await;
    let swept = house.sweep().await;
    assert_eq!((swept.counts.paid, swept.due_left), (49, 0));
    let bad = house.book.text("select state || ' ' || state_reason from billd.subscription where customer_uid = 'cust_7'").await;
    assert!(
        bad.starts_with("past_due bad_row") && bad.contains("Asia/Pyongyan"),
        "{bad}"
    );
    house
        .book
        .run(
            "update billd.subscription set time_zone = 'Asia/Seoul' where customer_uid = 'cust_7';
        update billd.subscription set state = 'active' where customer_uid = 'cust_7'",
        )
        .await;
    assert_eq!(house.sweep().await.counts.paid, 1, "mended, it is charged");
}

/// Hazard: counters edited past the triggers make the next attempt meet a number that exists.
#[tokio::test]
async fn counters_that_were_edited_are_brought_in_line_with_the_attempts() {
    let house = House::new().await;
    house.book.subscribe("decline-balance-once-1").await;
    house.sweep().await;
    house
        .book
        .run(
            "alter table billd.subscription disable trigger user;
            update billd.subscription set attempts = 0, declines = 0, next_charge_at = now();
            alter table billd.subscription enable trigger user",
        )
        .await;
    let swept = house.sweep().await;
    assert_eq!((swept.counts.paid, swept.due_left), (1, 0));
    assert_eq!(
        house
            .book
            .text("select max(attempt_no) from billd.charge_attempt")
            .await,
        "2"
    );
}

/// Hazard: one suspended contract turns the whole book into declined customers.
#[tokio::test]
async fn a_refusal_of_our_own_making_stops_charging_and_punishes_nobody() {
    let mut small = limits();
    small.charges_max = 1;
    let house = House::with(policy(), small).await;
    house.book.subscribe_many(20, "decline-config-").await;
    let swept = house.sweep().await;
    assert!(swept.counts.declined <= 4, "{swept:?}");
    assert!(swept.due_left >= 16, "{swept:?}");
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.subscription where state <> 'active' or declines > 0")
            .await,
        "0"
    );
}

/// Hazard: "pause all, mend, resume all" in an incident silently forgives a month.
#[tokio::test]
async fn a_debt_that_fell_due_on_the_day_of_a_pause_is_charged_after_it() {
    let house = House::new().await;
    // At noon in Seoul, so that an hour later it is the same day.
    house
        .book
        .run("update billd.control set clock_shift = date_trunc('day', now()) + interval '27 hours' - now()")
        .await;
    house.book.subscribe("cust_1").await;
    house.book.advance("1 hour").await;
    house
        .book
        .run("update billd.subscription set state = 'paused'")
        .await;
    house.book.advance("1 minute").await;
    house
        .book
        .run("update billd.subscription set state = 'active'")
        .await;
    assert_eq!(house.sweep().await.counts.paid, 1);
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.billing_cycle where state = 'void'")
            .await,
        "0"
    );
}

#[tokio::test]
async fn months_of_being_past_due_are_not_billed_when_the_card_is_mended() {
    let house = House::new().await;
    house.book.subscribe("decline-stolen-1").await;
    house.sweep().await;
    house.book.advance("100 days").await;
    house
        .book
        .run("update billd.subscription set state = 'active', customer_uid = 'new-card'")
        .await;
    for expected in [1, 0, 0] {
        assert_eq!(
            house.sweep().await.counts.paid,
            expected,
            "the failed debt, and no other"
        );
        house.book.advance("61 minutes").await;
    }
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.billing_cycle where state = 'void'")
            .await,
        "1",
        "one time that was passed over"
    );
}

/// Hazard: a parked attempt is closed by hand, with the SQL that comes to mind, and its subscription
/// waits for ever for an answer that nobody seeks.
#[tokio::test]
async fn an_attempt_that_a_person_closes_lets_its_subscription_go_on() {
    let house = House::new().await;
    house.book.subscribe("drop-before-approval-once-1").await;
    house.sweep().await;
    house.book.run("update billd.charge_attempt set state = 'not_sent', finished_at = now(), ask_at = null").await;
    assert_eq!(house.sweep().await.counts.paid, 1);
    assert_eq!(
        house
            .book
            .text("select max(attempt_no) from billd.charge_attempt")
            .await,
        "2"
    );
}
