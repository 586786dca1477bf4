//! Each outcome through the real store and the sandbox: what the rows say afterwards.

use portone_sandbox::Route;
use tokio_util::sync::CancellationToken;

use crate::words::given;

const PAID: &str = "select count(*) from billd.billing_cycle where state = 'paid'";

#[tokio::test]
async fn what_is_due_is_charged_once_and_moves_on_by_one_month() {
    let it = given().due_many(300).await;
    let swept = it.sweep().await;
    let counts = (swept.counts.paid, swept.unknown_left, swept.due_left);
    assert_eq!(counts, (300, 0, 0));
    assert_eq!(it.sweep().await.counts.paid, 0, "nothing is due any more");
    it.approved(300);
    let one_month_on = "select count(*) from billd.subscription
        where (next_charge_at at time zone 'Asia/Seoul')
            = (anchor_at at time zone 'Asia/Seoul') + interval '1 month'";
    it.shows(one_month_on, 300).await;
    it.debts("300 paid").await;
    it.tally("300 paid").await;
    it.shows("select count(imp_uid) from billd.charge_attempt", 300)
        .await;
}

#[tokio::test]
async fn a_soft_decline_climbs_the_ladder_and_ends_past_due() {
    let it = given().due("decline-limit-1").await;
    for (declines, wait) in [(1, "1 day"), (2, "3 days"), (3, "5 days"), (4, "7 days")] {
        it.sweep().await;
        let row = format!("active declined soft_funds {declines} {declines}");
        it.row(&row).await;
        let waits = "select next_charge_at - last_result_at from billd.subscription";
        it.shows(waits, wait).await;
        it.advance(wait).await;
    }
    it.sweep().await;
    it.row("past_due declined soft_funds 5 4").await;
    it.debts("1 uncollectible").await;
    let reason = it.text("select state_reason from billd.subscription").await;
    assert!(reason.contains("월 사용한도"), "it is the gateway's own");
    it.advance("30 days").await;
    it.sweep().await;
    assert_eq!(it.sandbox.summary().declines, 5, "past due is not charged");
}

#[tokio::test]
async fn a_stolen_card_is_never_tried_again() {
    let it = given().due("decline-stolen-1").await;
    for _ in 0..3 {
        it.sweep().await;
        it.advance("10 days").await;
    }
    it.row("past_due declined hard_card 1 0").await;
    assert_eq!(it.sandbox.summary().declines, 1);
}

/// Hazard: the gateway takes the money, then the connection breaks. A client that takes the error
/// for a failure charges the customer again under a new number.
#[tokio::test]
async fn an_approval_whose_answer_is_lost_is_asked_for_and_never_charged_again() {
    let it = given().due("drop-after-approval-1").swept().await;
    it.attempts("1 unknown connection_lost").await;
    it.debts("1 unresolved").await;
    it.advance("6 seconds").await;
    it.sweep().await;
    it.attempts("1 paid").await;
    it.row("active paid 0 0").await;
    it.approved(1);
}

/// Hazard: no answer within the time-out says nothing about the charge, whichever way it went.
#[tokio::test]
async fn a_charge_that_times_out_is_unknown_until_the_gateway_says() {
    for (card, ends) in [
        ("silent-after-approval-1", "1 paid"),
        ("silent-before-approval-once-1", "1 paid sent 2"),
    ] {
        let it = given().due(card).swept().await;
        it.attempts("1 unknown timeout").await;
        it.sweep_until_nothing_is_open("5 minutes", 12).await;
        it.attempts(ends).await;
        it.approved(1);
    }
}

/// Hazard: a look-up that does not find a charge is no proof that there is none. Only after the
/// settle time does the same number leave again, and the gateway refuses it if it was paid.
#[tokio::test]
async fn what_the_gateway_never_saw_is_sent_again_under_the_same_number() {
    let it = given().due("drop-before-approval-once-1").swept().await;
    it.advance("6 seconds").await;
    it.sweep().await;
    assert_eq!(it.requests(Route::Again), 1, "not before the settle time");
    it.sweep_until_nothing_is_open("5 minutes", 12).await;
    it.attempts("1 paid sent 2").await;
    it.approved(1);
}

/// Hazard: things fall due all the time, and each waits for the next ring of the schedule. Here nobody
/// rings, and without a ring an engine that has nothing to do looks every five seconds.
#[tokio::test]
async fn what_falls_due_right_behind_a_batch_does_not_wait_for_a_ring() {
    let it = given().due_many(20).await;
    let stop = CancellationToken::new();
    let (engine, stopped) = (it.engine.clone(), stop.clone());
    let running = tokio::spawn(async move { engine.run(stopped, CancellationToken::new()).await });
    it.comes_to(PAID, "20").await;
    it.run(
        "insert into billd.subscription (customer_uid, name, amount, next_charge_at)
         values ('late', 'late', 9900, billd.now() + interval '150 milliseconds')",
    )
    .await;
    it.comes_to(PAID, "21").await;
    let waited = "select max(a.started_at - c.due_at) < interval '2 seconds'
        from billd.charge_attempt a
        join billd.billing_cycle c using (subscription_id, period)
        where a.customer_uid = 'late'";
    it.shows(waited, true).await;
    stop.cancel();
    assert!(running.await.unwrap().is_quiet);
}
