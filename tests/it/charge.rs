//! Each outcome through the real store and the sandbox: what the rows say afterwards.

use tokio_util::sync::CancellationToken;

use crate::support::House;

const SUBSCRIPTION: &str =
    "select concat_ws(' ', state, last_result, last_reason, attempts, declines,
    open_attempt is not null) from billd.subscription";
const ATTEMPTS: &str =
    "select string_agg(concat_ws(' ', attempt_no, state, reason, code), ', ' order by attempt_no)
    from billd.charge_attempt";

#[tokio::test]
async fn what_is_due_is_charged_once_and_moves_on_by_one_month() {
    let house = House::new().await;
    house.book.subscribe_many(300, "cust_").await;
    let swept = house.sweep().await;
    assert_eq!(
        (swept.counts.paid, swept.unknown_left, swept.due_left),
        (300, 0, 0)
    );
    let again = house.sweep().await;
    assert_eq!(again.counts.paid, 0, "nothing is due any more");

    let summary = house.sandbox.summary();
    assert_eq!(
        (summary.approvals, summary.merchant_uids_approved_twice),
        (300, 0)
    );
    let one_month_on = house
        .book
        .text(
            "select count(*) from billd.subscription
             where (next_charge_at at time zone 'Asia/Seoul')
                 = (anchor_at at time zone 'Asia/Seoul') + interval '1 month'",
        )
        .await;
    assert_eq!(one_month_on, "300");
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.billing_cycle where state = 'paid'")
            .await,
        "300"
    );
    assert_eq!(house.book.text("select count(*) from billd.charge_attempt where state = 'paid' and imp_uid is not null").await, "300");
}

#[tokio::test]
async fn a_soft_decline_climbs_the_ladder_and_ends_past_due() {
    let house = House::new().await;
    house.book.subscribe("decline-limit-1").await;
    for (rung, wait) in ["1 day", "3 days", "5 days", "7 days"]
        .into_iter()
        .enumerate()
    {
        house.sweep().await;
        let declines = rung.checked_add(1).unwrap();
        assert_eq!(
            house.book.text(SUBSCRIPTION).await,
            format!("active declined soft_funds {declines} {declines} f")
        );
        let waits = house
            .book
            .text(&format!(
                "select next_charge_at - last_result_at = interval '{wait}' from billd.subscription"
            ))
            .await;
        assert_eq!(waits, "true", "rung {rung}");
        house.book.advance(wait).await;
    }
    house.sweep().await;
    assert_eq!(
        house.book.text(SUBSCRIPTION).await,
        "past_due declined soft_funds 5 4 f"
    );
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle")
            .await,
        "uncollectible"
    );
    assert!(
        house
            .book
            .text("select state_reason from billd.subscription")
            .await
            .contains("월 사용한도"),
        "the reason is the gateway's own"
    );
    house.book.advance("30 days").await;
    house.sweep().await;
    assert_eq!(
        house.sandbox.summary().declines,
        5,
        "past due is not charged"
    );
}

#[tokio::test]
async fn a_stolen_card_is_never_tried_again() {
    let house = House::new().await;
    house.book.subscribe("decline-stolen-1").await;
    for _ in 0..3 {
        house.sweep().await;
        house.book.advance("10 days").await;
    }
    assert_eq!(
        house.book.text(SUBSCRIPTION).await,
        "past_due declined hard_card 1 0 f"
    );
    assert_eq!(house.sandbox.summary().declines, 1);
}

/// Hazard: the gateway takes the money, then the connection breaks. A client that takes the error
/// for a failure charges the customer again under a new number.
#[tokio::test]
async fn an_approval_whose_answer_is_lost_is_asked_for_and_never_charged_again() {
    let house = House::new().await;
    house.book.subscribe("drop-after-approval-1").await;
    house.sweep().await;
    assert_eq!(house.book.text(ATTEMPTS).await, "1 unknown connection_lost");
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle")
            .await,
        "unresolved"
    );
    house.book.advance("6 seconds").await;
    house.sweep().await;
    assert_eq!(house.book.text(ATTEMPTS).await, "1 paid");
    assert_eq!(house.book.text(SUBSCRIPTION).await, "active paid 0 0 f");
    assert_eq!(house.sandbox.summary().approvals, 1);
}

/// Hazard: no answer within the time-out says nothing about the charge, whichever way it went.
#[tokio::test]
async fn a_charge_that_times_out_is_unknown_until_the_gateway_says() {
    for (card, ends) in [
        ("silent-after-approval-1", "1 paid"),
        ("silent-before-approval-once-1", "1 paid"),
    ] {
        let house = House::new().await;
        house.book.subscribe(card).await;
        house.sweep().await;
        assert_eq!(
            house.book.text(ATTEMPTS).await,
            "1 unknown timeout",
            "{card}"
        );
        house.sweep_until_nothing_is_open("5 minutes", 12).await;
        assert_eq!(house.book.text(ATTEMPTS).await, ends, "{card}");
        assert_eq!(house.sandbox.summary().approvals, 1, "{card}");
    }
}

/// Hazard: a look-up that does not find a charge is no proof that there is none. Only after the
/// settle time does the same number leave again, and the gateway refuses it if it was paid.
#[tokio::test]
async fn what_the_gateway_never_saw_is_sent_again_under_the_same_number() {
    let house = House::new().await;
    house.book.subscribe("drop-before-approval-once-1").await;
    house.sweep().await;
    house.book.advance("6 seconds").await;
    house.sweep().await;
    assert_eq!(
        house.sandbox.summary().requests[&portone_sandbox::Route::Again],
        1,
        "not before the settle time"
    );
    house.sweep_until_nothing_is_open("5 minutes", 12).await;
    assert_eq!(house.book.text(ATTEMPTS).await, "1 paid");
    assert_eq!(
        house
            .book
            .text("select sends from billd.charge_attempt")
            .await,
        "2"
    );
    assert_eq!(house.sandbox.summary().approvals, 1);
}

/// Hazard: things fall due all the time, and each waits for the next ring of the schedule. Here nobody
/// rings, and without a ring an engine that has nothing to do looks every five seconds.
#[tokio::test]
async fn what_falls_due_right_behind_a_batch_does_not_wait_for_a_ring() {
    let house = House::new().await;
    house.book.subscribe_many(20, "cust_").await;
    let stop = CancellationToken::new();
    let running = {
        let (engine, stop) = (house.engine.clone(), stop.clone());
        tokio::spawn(async move { engine.run(stop, CancellationToken::new()).await })
    };
    let paid = "select count(*) from billd.billing_cycle where state = 'paid'";
    while house.book.text(paid).await != "20" {
        tokio::task::yield_now().await;
    }
    house
        .book
        .run(
            "insert into billd.subscription (customer_uid, name, amount, next_charge_at)
             values ('late', 'late', 9900, billd.now() + interval '150 milliseconds')",
        )
        .await;
    while house.book.text(paid).await != "21" {
        tokio::task::yield_now().await;
    }
    let waited = "select max(a.started_at - c.due_at) < interval '2 seconds'
        from billd.charge_attempt a
        join billd.billing_cycle c using (subscription_id, period)
        where a.customer_uid = 'late'";
    assert_eq!(house.book.text(waited).await, "true");
    stop.cancel();
    assert!(running.await.unwrap());
}
