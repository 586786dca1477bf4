//! The rate cap, over several daemons and whatever they send.

use std::time::Duration;

use billd::domain::dunning::Policy;
use billd::domain::rate::spacing;
use billd::engine::Limits;
use billd::store::ClaimLimits;
use jiff::{SignedDuration, Timestamp};
use portone_sandbox::{Fault, FaultKind, Route};
use tokio_util::sync::CancellationToken;

use crate::crash::claim;
use crate::support::{Book, House, limits, policy};

const CAP: u32 = 40;
/// A busy machine may hold up a few requests on their way to the gateway.
const CAP_AND_A_TENTH: usize = 44;

fn capped() -> Limits {
    Limits {
        rate_per_second: CAP,
        ..limits()
    }
}

/// Hazard: a cap per process is no cap: two daemons send twice as much.
#[tokio::test]
async fn a_rate_cap_holds_over_all_daemons_together() {
    let house = House::with(policy(), capped()).await;
    house.book.subscribe_many(120, "cust_").await;
    let other = house.another_engine(capped());
    let (a, b) = tokio::join!(
        house.engine.sweep(CancellationToken::new()),
        other.sweep(CancellationToken::new()),
    );
    assert_eq!(
        a.unwrap().counts.paid.checked_add(b.unwrap().counts.paid),
        Some(120)
    );
    let busiest = house.sandbox.summary().again_per_second_max;
    assert!(busiest <= CAP_AND_A_TENTH, "{busiest} in one second");
}

/// Hazard: what a crash left is sent again beside the charges, and the cap is broken just then.
#[tokio::test]
async fn what_is_sent_again_takes_a_place_under_the_cap() {
    let hasty = Policy {
        settle: Duration::ZERO,
        not_found_min: 1,
        ..policy()
    };
    let house = House::with(hasty, capped()).await;
    house.book.subscribe_many(60, "cust_").await;
    assert_eq!(claim(&house.book).await.len(), 60, "and it died");
    house.book.advance("2 minutes").await;
    house.book.subscribe_many(60, "another_").await;
    house.sweep_until_nothing_is_open("1 minute", 3).await;
    let summary = house.sandbox.summary();
    assert_eq!(summary.approvals, 120);
    let busiest = summary.again_per_second_max;
    assert!(busiest <= CAP_AND_A_TENTH, "{busiest} in one second");
}

/// Hazard: an access token is refused, and everything in flight leaves a second time at once.
#[tokio::test]
async fn what_met_an_expired_token_takes_another_place_under_the_cap() {
    let house = House::with(policy(), capped()).await;
    house.book.subscribe_many(60, "cust_").await;
    let customers = house
        .book
        .text("select string_agg(customer_uid, ' ') from billd.subscription");
    for customer in customers.await.split(' ') {
        let refused = Fault::new(FaultKind::Status401, Route::Again);
        house.sandbox.fault(refused.times(1).for_customer(customer));
    }
    assert_eq!(house.sweep().await.counts.paid, 60);
    let summary = house.sandbox.summary();
    assert_eq!(summary.approvals, 60);
    let busiest = summary.again_per_second_max;
    assert!(busiest <= CAP_AND_A_TENTH, "{busiest} in one second");
}

#[tokio::test]
async fn claims_and_single_requests_stand_in_one_row() {
    let book = Book::new().await;
    book.subscribe_many(5, "cust_").await;
    let limits = ClaimLimits {
        rows_max: 5,
        lease: Duration::from_secs(90),
        rate_per_second: CAP,
    };
    let before = book_place(&book).await;
    let claimed = book.store.claim_due(limits).await.unwrap();
    let behind = book_place(&book).await;
    assert_eq!(claimed.claims.len(), 5);
    let first = claimed.first_place.unwrap();
    let between = SignedDuration::try_from(spacing(CAP)).unwrap();
    let micro = SignedDuration::from_micros(1);
    assert!(first.duration_since(before) >= between - micro);
    let apart = behind.duration_since(first);
    assert!(
        apart >= between * 5 - micro,
        "{apart} between the first of five and the next"
    );
}

/// Hazard: requests that can't leave within their lease book all places ahead, those behind them do the
/// same, and nobody is charged any more.
#[tokio::test]
async fn a_place_that_lies_too_far_ahead_is_not_booked() {
    let book = Book::new().await;
    let within = Duration::from_millis(100);
    // Far more than there are within a tenth of a second, however slowly they are booked.
    for _ in 0..50 {
        let Some(place) = book.store.book_place(CAP, within).await.unwrap() else {
            break;
        };
        let ahead = book.store.until(place).await.unwrap();
        assert!(ahead <= SignedDuration::try_from(within).unwrap());
    }
    let row = "select next_free_at from billd.rate_limit";
    let before = book.text(row).await;
    assert_eq!(
        book.store.book_place(CAP, Duration::ZERO).await.unwrap(),
        None
    );
    assert_eq!(book.text(row).await, before);
}

/// Hazard: what a crash left outnumbers the places within a lease, each attempt is written down as sent
/// again and does not leave, and at last all wait for a person.
#[tokio::test]
async fn what_finds_no_place_in_time_is_not_written_down_as_sent() {
    let hasty = Policy {
        settle: Duration::ZERO,
        not_found_min: 1,
        ..policy()
    };
    let slow = Limits {
        rate_per_second: 10,
        // A second is left for places: ten of them.
        lease: limits().call + Duration::from_secs(1),
        ..limits()
    };
    let house = House::with(hasty, slow).await;
    house.book.subscribe_many(30, "cust_").await;
    assert_eq!(claim(&house.book).await.len(), 30, "and it died");
    house.book.advance("2 minutes").await;
    house.sweep_until_nothing_is_open("10 minutes", 9).await;
    assert_eq!(house.sandbox.summary().approvals, 30);
    // A busy machine may miss a few places.
    let spent = "select count(*) filter (where sends > 2) <= 5 from billd.charge_attempt";
    assert_eq!(house.book.text(spent).await, "true");
}

#[tokio::test]
async fn without_a_cap_nobody_stands_in_a_row() {
    let book = Book::new().await;
    book.subscribe_many(5, "cust_").await;
    assert_eq!(claim(&book).await.len(), 5);
    assert_eq!(
        book.text("select next_free_at from billd.rate_limit").await,
        "-infinity"
    );
}

async fn book_place(book: &Book) -> Timestamp {
    let within = Duration::from_secs(1);
    book.store.book_place(CAP, within).await.unwrap().unwrap()
}
