//! What a fail-over without the last commits must not cost: names, fences, and a rest.

use std::path::Path;
use std::time::Duration;

use billd::domain::attempt::{ChargeOutcome, ChargeRequest, NotSent};
use billd::domain::claim::{Answer, Claim, Recorded};
use billd::domain::dunning::{Decision, decide};
use billd::domain::ids::MerchantUid;
use billd::gateway::Gateway;
use billd::store::{ClaimLimits, StoreError};
use billd_proof::arena::{Database, Lane, Standby};
use portone_sandbox::{self as sandbox, Route, Running};
use tokio_util::sync::CancellationToken;

use crate::crash::{claim, paid};
use crate::support::{Book, House, engine, limits, policy, portone};

const LEASE: Duration = Duration::from_secs(90);
const PACE: Duration = Duration::from_hours(1);
const ATTEMPTS: &str =
    "select string_agg(concat_ws(' ', attempt_no, state, sends), ', ' order by attempt_no, state)
    from billd.charge_attempt";

/// A book on a primary whose stand-by is about to take its place.
struct Pair {
    lane: Lane,
    database: Database,
    standby: Standby,
    book: Book,
    sandbox: Running,
}

impl Pair {
    /// With these subscriptions, which both servers have.
    async fn new(cards: &[&str]) -> Self {
        let mut lane = Lane::start(Path::new(env!("CARGO_BIN_EXE_billd")), "")
            .await
            .unwrap();
        let database = lane.fresh_database().await.unwrap();
        let standby = Standby::follow(&lane).await.unwrap();
        let book = Book::on(lane.url(&database));
        for card in cards {
            book.subscribe(card).await;
        }
        let options = sandbox::Options {
            latency: sandbox::Latency::None,
            ..sandbox::Options::default()
        };
        Self {
            lane,
            database,
            standby,
            book,
            sandbox: sandbox::start(options).await.unwrap(),
        }
    }

    /// From here on the primary's commits are lost.
    async fn lose_tail(&self) {
        self.standby.catch_up(&self.lane).await.unwrap();
        self.standby.lose_tail();
    }

    async fn fail_over(mut self) -> (Lane, House) {
        self.book.sql.close().await;
        self.book.store.close().await;
        self.standby.fail_over(&mut self.lane).await.unwrap();
        let book = Book::on(self.lane.url(&self.database));
        let engine = engine(&book, &self.sandbox.base_url(), policy(), limits());
        let house = House {
            book,
            sandbox: self.sandbox,
            engine,
        };
        (self.lane, house)
    }
}

/// What is written down of a request that found no connection.
fn not_sent(claim: &Claim) -> Answer {
    let outcome = ChargeOutcome::NotSent(NotSent::NoConnection("refused".to_owned()));
    Answer {
        decision: decide(&policy(), &outcome, claim.history),
        outcome: Some(outcome),
        ..paid(claim)
    }
}

async fn record(book: &Book, answer: Answer) -> Recorded {
    let recorded = book.store.record(&[answer], PACE, LEASE).await.unwrap();
    *recorded.first().unwrap()
}

/// Hazard: a fail-over forgets an attempt that was approved. Made again it can't leave, is written off,
/// and the debt is charged under the next name, which the gateway has never seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_a_fail_over_forgot_is_not_asked_for_again_under_another_name() {
    let pair = Pair::new(&["cust_1"]).await;
    pair.lose_tail().await;
    let lost = claim(&pair.book).await.remove(0);
    let charged = portone(&pair.sandbox.base_url(), 1)
        .charge(&lost.request)
        .await;
    assert!(matches!(charged, ChargeOutcome::Paid(_)), "{charged:?}");
    let (_lane, house) = pair.fail_over().await;

    assert_eq!(house.book.text(ATTEMPTS).await, "null", "it is forgotten");
    assert_eq!(claim(&house.book).await.len(), 0);
    house.book.advance("90 seconds").await;
    let again = claim(&house.book).await.remove(0);
    assert_eq!(again.request.merchant_uid, lost.request.merchant_uid);
    assert_eq!(record(&house.book, not_sent(&again)).await, Recorded::Moved);
    house.book.advance("31 seconds").await;
    house.sweep_until_nothing_is_open("6 seconds", 3).await;
    assert_eq!(house.book.text(ATTEMPTS).await, "1 paid 1");
    let summary = house.sandbox.summary();
    assert_eq!(
        (summary.approvals, summary.requests[&Route::Again]),
        (1, 2),
        "the second one was refused"
    );
}

/// Hazard: a fence that counts on from the last one is, after a lost tail, the number that a claim
/// still holds; its old answer then passes for the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_under_a_forgotten_claim_moves_nothing() {
    let pair = Pair::new(&["cust_1"]).await;
    pair.lose_tail().await;
    let lost = claim(&pair.book).await.remove(0);
    let (_lane, house) = pair.fail_over().await;
    claim(&house.book).await;
    house.book.advance("90 seconds").await;
    let held = claim(&house.book).await.remove(0);
    assert_eq!(held.key.merchant_uid, lost.key.merchant_uid);
    assert_ne!(held.key.fence, lost.key.fence);
    let stale = Recorded::Stale {
        paid_written: false,
    };
    assert_eq!(record(&house.book, not_sent(&lost)).await, stale);
    assert_eq!(house.book.text(ATTEMPTS).await, "1 started 1");
    assert_eq!(record(&house.book, paid(&held)).await, Recorded::Moved);
}

/// Hazard: a request of the lost tail is still under way when its name leaves again; the second one is
/// refused, the first one approved, and the book says declined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_promotion_nothing_is_begun_taken_over_or_sent_again_for_the_longest_lease() {
    let pair = Pair::new(&["under_way", "asked"]).await;
    pair.book
        .run("update billd.subscription set next_charge_at = next_charge_at - interval '1 second' where customer_uid = 'asked'")
        .await;
    let one = |lease| ClaimLimits { rows_max: 1, lease };
    // One daemon has a longer lease than all others.
    let long = Duration::from_secs(150);
    pair.book.store.claim_due(one(LEASE)).await.unwrap();
    pair.book.advance("151 seconds").await;
    let mut under_way = pair.book.store.claim_due(one(long)).await.unwrap();
    let under_way = under_way.claims.remove(0).unwrap();
    let asked = pair.book.claim_open(1, LEASE).await.remove(0);
    let asked = asked.unwrap();
    pair.book.subscribe("due").await;
    pair.lose_tail().await;
    let (_lane, house) = pair.fail_over().await;
    let book = &house.book;
    assert!(
        book.store.failover_hold().await.unwrap().is_none(),
        "not met yet"
    );

    let swept = house.engine.sweep(CancellationToken::new()).await.unwrap();
    assert_eq!((swept.counts.paid, swept.due_left), (0, 1));
    let rest = book.store.failover_hold().await.unwrap().unwrap();
    assert!(
        rest.before.ends_with("/1") && rest.now.ends_with("/2"),
        "{rest:?}"
    );
    assert!((140..=150).contains(&rest.left.as_secs()), "{rest:?}");
    let reasons = house.engine.health().reasons;
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("the database server changed")),
        "{reasons:?}"
    );

    let send_again = Answer {
        outcome: None,
        decision: Decision::SendAgain,
        ..paid(&asked.claim)
    };
    assert_ne!(record(book, send_again).await, Recorded::Moved);
    assert_eq!(book.text(ATTEMPTS).await, "1 started 1, 1 unknown 1");
    let one_off = ChargeRequest {
        merchant_uid: MerchantUid::parse("oneoff1").unwrap(),
        ..asked.claim.request.clone()
    };
    let refused = book.store.begin_one_off(&one_off, LEASE).await;
    assert!(matches!(refused, Err(StoreError::OnHold(_))));

    book.advance("135 seconds").await;
    assert_eq!(claim(book).await.len(), 0);
    assert_eq!(book.claim_open(9, LEASE).await.len(), 0);
    // What happened is written down at any time.
    assert_eq!(record(book, paid(&under_way)).await, Recorded::Moved);

    book.advance("16 seconds").await;
    assert_eq!(claim(book).await.len(), 1);
    assert_eq!(book.claim_open(9, LEASE).await.len(), 1);
    assert!(book.store.begin_one_off(&one_off, LEASE).await.is_ok());
}

/// Hazard: the book is put back from a dump into another cluster, whose timeline is the first one, too.
#[tokio::test]
async fn another_cluster_is_another_server_whatever_its_timeline() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    house
        .book
        .run("update billd.control set server_name = '1' || server_name")
        .await;
    assert_eq!(claim(&house.book).await.len(), 0);
    house.book.advance("89 seconds").await;
    assert_eq!(claim(&house.book).await.len(), 0, "met once, not anew");
    house.book.advance("2 seconds").await;
    assert_eq!(claim(&house.book).await.len(), 1);
}

/// Hazard: a gateway that is away for days uses up the numbers of a debt, which then waits for a person.
#[tokio::test]
async fn an_outage_of_any_length_costs_no_number_and_counts_no_send() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    for nth in 0..120_u32 {
        let claim = claim(&house.book).await.remove(0);
        assert_eq!(u32::from(claim.history.not_sent), nth);
        let answer = not_sent(&claim);
        let Decision::Retry { wait, .. } = answer.decision else {
            panic!("{:?}", answer.decision);
        };
        let doubled = Duration::from_secs(30).saturating_mul(2_u32.saturating_pow(nth));
        assert_eq!(wait, doubled.min(Duration::from_hours(1)));
        assert_eq!(record(&house.book, answer).await, Recorded::Moved);
        house.book.assert_sound().await;
        house.book.advance("1 hour").await;
    }
    assert_eq!(house.book.text(ATTEMPTS).await, "1 not_sent 1");
    house.sweep().await;
    assert_eq!(house.book.text(ATTEMPTS).await, "1 paid 1");
    assert_eq!(
        house
            .book
            .text("select attempts from billd.subscription")
            .await,
        "0"
    );
}

/// Hazard: under one name the gateway is asked for one sum, from one card. A repeat with another would
/// be refused as paid, or worse, looked up as this one's.
#[tokio::test]
async fn a_name_that_did_not_leave_is_kept_only_while_sum_and_card_are() {
    for (change, expected) in [
        ("select", "1 started 1"),
        (
            "update billd.subscription set name = 'other'",
            "1 started 1",
        ),
        (
            "update billd.subscription set customer_uid = 'new-card'",
            "1 not_sent 1, 2 started 1",
        ),
        (
            "update billd.billing_cycle set amount = 100",
            "1 not_sent 1, 2 started 1",
        ),
    ] {
        let house = House::new().await;
        house.book.subscribe("cust_1").await;
        let first = claim(&house.book).await.remove(0);
        record(&house.book, not_sent(&first)).await;
        house.book.run(change).await;
        house.book.advance("31 seconds").await;
        let second = claim(&house.book).await.remove(0);
        assert_eq!(house.book.text(ATTEMPTS).await, expected, "{change}");
        assert_eq!(
            u64::from(second.history.not_sent),
            u64::from(expected.starts_with("1 started"))
        );
        house.book.assert_sound().await;
    }
}

/// Hazard: a person opens an attempt with plain SQL, and nobody but the gateway knows that it is asked
/// for; or a claim meets an attempt that somebody holds, and takes the next name.
#[tokio::test]
async fn only_a_claim_opens_an_attempt_again_and_it_waits_for_whoever_holds_it() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    let first = claim(&house.book).await.remove(0);
    record(&house.book, not_sent(&first)).await;
    let open = "update billd.charge_attempt set state = 'started', finished_at = null, ask_at = billd.now()";
    let refused = house.book.try_run(open).await.unwrap_err();
    assert!(refused.contains("only a claim opens"), "{refused}");
    let open = open.replace("'started'", "'unknown'");
    let refused = house.book.try_run(&open).await.unwrap_err();
    assert!(refused.contains("is never opened again"), "{refused}");

    house.book.advance("31 seconds").await;
    let mut person = house.book.sql.begin().await.unwrap();
    sqlx::raw_sql("select from billd.charge_attempt for update")
        .execute(&mut *person)
        .await
        .unwrap();
    assert_eq!(claim(&house.book).await.len(), 0);
    person.rollback().await.unwrap();
    assert_eq!(claim(&house.book).await.len(), 1);
    assert_eq!(house.book.text(ATTEMPTS).await, "1 started 1");
}

/// Hazard: the reply to the commit is lost, and the batch is written again: a name that left twice
/// counts as sent three times, and is parked too early.
#[tokio::test]
async fn a_name_that_leaves_again_is_counted_once_however_often_that_is_written() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    claim(&house.book).await;
    house.book.advance("91 seconds").await;
    let mut open = house.book.claim_open(1, LEASE).await;
    let open = open.remove(0).unwrap();
    let again = Answer {
        outcome: None,
        decision: Decision::SendAgain,
        ..paid(&open.claim)
    };
    let ends = "select concat_ws(' ', started_at, ask_at) from billd.charge_attempt";
    assert_eq!(record(&house.book, again.clone()).await, Recorded::Moved);
    let written = house.book.text(ends).await;
    assert_eq!(record(&house.book, again).await, Recorded::Moved);
    assert_eq!(house.book.text(ATTEMPTS).await, "1 started 2");
    assert_eq!(house.book.text(ends).await, written);
}

/// Hazard: a zombie reports that an attempt is paid while its heir is about to send it again.
#[tokio::test]
async fn what_a_zombie_has_found_paid_is_not_sent_again() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    let zombie = claim(&house.book).await.remove(0);
    house.book.advance("91 seconds").await;
    let mut open = house.book.claim_open(1, LEASE).await;
    let open = open.remove(0).unwrap();
    let paid_written = Recorded::Stale { paid_written: true };
    assert_eq!(record(&house.book, paid(&zombie)).await, paid_written);
    let again = Answer {
        outcome: None,
        decision: Decision::SendAgain,
        ..paid(&open.claim)
    };
    assert_ne!(record(&house.book, again).await, Recorded::Moved);
    house.sweep().await;
    assert_eq!(house.book.text(ATTEMPTS).await, "1 paid 1");
    assert_eq!(house.sandbox.summary().approvals, 0);
}
