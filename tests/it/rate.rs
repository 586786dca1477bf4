//! The rate cap, over several daemons and whatever they send.

use std::time::Duration;

use billd::domain::dunning::Policy;
use billd::engine::Limits;
use billd::store::Slots;
use portone_sandbox::{Fault, FaultKind, Route};
use tokio_util::sync::CancellationToken;

use crate::support::{Book, House, limits, policy};
use crate::words::{claim, given};

const CAP: u32 = 40;
/// Most in any one second: what is late for its slot stands beside later ones.
const CAP_AND_A_FIFTH: usize = 48;

fn capped() -> Limits {
    Limits {
        rate_per_second: CAP,
        ..limits()
    }
}

/// A policy that sends again what is not found at once.
fn hasty() -> Policy {
    Policy {
        settle: Duration::ZERO,
        not_found_min: 1,
        ..policy()
    }
}

#[track_caller]
fn assert_under_the_cap(it: &House) {
    let busiest = it.sandbox.summary().again_per_second_max;
    assert!(busiest <= CAP_AND_A_FIFTH, "{busiest} in one second");
}

/// Hazard: a cap per process is no cap: two daemons send twice as much.
#[tokio::test]
async fn a_rate_cap_holds_over_all_daemons_together() {
    let it = given().limits(capped()).due_many(120).await;
    let other = it.another_engine(capped());
    let (a, b) = tokio::join!(
        it.engine.sweep(CancellationToken::new()),
        other.sweep(CancellationToken::new()),
    );
    let paid = [a, b].map(|swept| swept.unwrap().counts.paid);
    assert_eq!(paid.iter().sum::<u64>(), 120);
    assert_under_the_cap(&it);
}

/// Hazard: two daemons are given different caps, and the gateway gets what neither of them allows.
#[tokio::test]
async fn the_strictest_cap_that_any_daemon_was_given_holds_for_all() {
    let it = given().limits(capped()).due_many(1).swept().await;
    it.subscribe_many(119, "more_").await;
    let others = [0, 4_000].map(|rate_per_second| {
        it.another_engine(Limits {
            rate_per_second,
            ..limits()
        })
    });
    let (a, b, c) = tokio::join!(
        it.engine.sweep(CancellationToken::new()),
        others[0].sweep(CancellationToken::new()),
        others[1].sweep(CancellationToken::new()),
    );
    let paid = [a, b, c].map(|swept| swept.unwrap().counts.paid);
    assert_eq!(paid.iter().sum::<u64>(), 119, "{paid:?}");
    assert_under_the_cap(&it);
    it.shows("select per_second from billd.rate_limit", CAP)
        .await;
}

/// Hazard: what a crash left is sent again beside the charges, and the cap is broken just then.
#[tokio::test]
async fn what_is_sent_again_takes_a_slot_under_the_cap() {
    let left = given().policy(hasty()).limits(capped()).due_many(60);
    let it = left.begun().later("2 minutes").await;
    it.subscribe_many(60, "another_").await;
    it.sweep_until_nothing_is_open("1 minute", 3).await;
    it.approved(120);
    assert_under_the_cap(&it);
}

/// Hazard: an access token is refused, and everything in flight leaves a second time at once.
#[tokio::test]
async fn what_met_an_expired_token_takes_another_slot_under_the_cap() {
    let it = given().limits(capped()).due_many(60).await;
    for nth in 1..=60 {
        let refused = Fault::new(FaultKind::Status401, Route::Again).times(1);
        it.sandbox
            .fault(refused.for_customer(&format!("cust_{nth}")));
    }
    assert_eq!(it.sweep().await.counts.paid, 60);
    it.approved(60);
    assert_under_the_cap(&it);
}

/// Hazard: the server's clock was two hours ahead while a slot was reserved, and nothing leaves for two hours.
#[tokio::test]
async fn a_slot_of_a_clock_that_was_far_ahead_counts_as_now() {
    let it = given().limits(capped()).due_many(5).await;
    it.run("update billd.rate_limit set next_free_at = clock_timestamp() + interval '2 hours'")
        .await;
    assert_eq!(it.sweep().await.counts.paid, 5);
}

#[tokio::test]
async fn slots_are_reserved_one_behind_the_other_whoever_asks() {
    let book = Book::new().await;
    let next_free = "select extract(epoch from next_free_at - $1)::numeric from billd.rate_limit";
    let reserved = reserve(&book, 5, Duration::from_secs(1)).await.unwrap();
    assert_eq!(reserved.count, 5);
    let free_at = book.text("select next_free_at from billd.rate_limit").await;
    let one = reserve(&book, 1, Duration::from_secs(1)).await.unwrap();
    assert_eq!(one.count, 1);
    let since = next_free.replace("$1", &format!("timestamptz '{free_at}'"));
    let apart: f64 = book.text(&since).await.parse().unwrap();
    // At a cap of 40 slots stand 25 ms apart. A slow machine may have let the first ones pass.
    assert!(apart >= 0.025 - 1e-6, "{apart}");
}

/// Hazard: requests that can't leave within their lease reserve all slots ahead, those behind them do the
/// same, and nobody is charged any more.
#[tokio::test]
async fn a_slot_that_lies_too_far_ahead_is_not_reserved() {
    let book = Book::new().await;
    let within = Duration::from_millis(100);
    // Far more than there are within a tenth of a second, however slowly they are reserved.
    for _ in 0..50 {
        let Some(slots) = reserve(&book, 1, within).await else {
            break;
        };
        assert!(slots.wait <= within);
    }
    book.run("update billd.rate_limit set next_free_at = clock_timestamp() + interval '1 minute'")
        .await;
    let row = "select next_free_at from billd.rate_limit";
    let before = book.text(row).await;
    assert_eq!(reserve(&book, 500, within).await, None);
    assert_eq!(book.text(row).await, before);
}

/// Hazard: what a crash left outnumbers the slots within a lease, each attempt is written down as sent
/// again and does not leave, and at last all wait for a person.
#[tokio::test]
async fn what_finds_no_slot_in_time_is_not_written_down_as_sent() {
    let slow = Limits {
        rate_per_second: 10,
        // A second is left for slots: ten of them.
        lease: limits().call + Duration::from_secs(1),
        ..limits()
    };
    let left = given().policy(hasty()).limits(slow).due_many(30);
    let it = left.begun().later("2 minutes").await;
    it.sweep_until_nothing_is_open("10 minutes", 9).await;
    it.approved(30);
    // A busy machine may miss a few slots.
    let spent = "select count(*) filter (where sends > 2) <= 5 from billd.charge_attempt";
    it.shows(spent, true).await;
}

/// Hazard: two daemons start at once, the second waits for what the first writes, sees no cap in what it read before
/// that, and charges without one.
#[tokio::test]
async fn daemons_that_start_at_once_agree_on_the_cap() {
    let book = Book::new().await;
    let mut first = book.sql.begin().await.unwrap();
    sqlx::raw_sql("update billd.rate_limit set per_second = 7")
        .execute(&mut *first)
        .await
        .unwrap();
    let store = book.store.clone();
    let second = tokio::spawn(async move { store.agree_on_rate(9).await.unwrap() });
    book.comes_to(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
             and datname = current_database() and query like '%store::agree_on_rate%'",
        "1",
    )
    .await;
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), 7);
}

#[tokio::test]
async fn without_a_cap_no_slot_is_reserved() {
    let book = Book::new().await;
    book.subscribe_many(5, "cust_").await;
    assert_eq!(claim(&book).await.len(), 5);
    book.shows("select next_free_at from billd.rate_limit", "-infinity")
        .await;
}

async fn reserve(book: &Book, most: u32, within: Duration) -> Option<Slots> {
    book.store.reserve_slots(CAP, most, within).await.unwrap()
}
