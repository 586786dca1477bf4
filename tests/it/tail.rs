//! What a fail-over without the last commits must not cost: names, fences, and a rest.

use std::path::Path;
use std::time::{Duration, Instant};

use billd::domain::attempt::{ChargeOutcome, ChargeRequest};
use billd::domain::claim::Recorded;
use billd::domain::dunning::Decision;
use billd::domain::ids::MerchantUid;
use billd::domain::standstill::Reason;
use billd::gateway::Gateway;
use billd::store::{ClaimLimits, StoreError};
use billd_proof::arena::{Database, Lane, Standby};
use portone_sandbox::{self as sandbox, Route, Running};
use tokio_util::sync::CancellationToken;

use crate::support::{Book, House, engine, limits, policy, portone};
use crate::words::{
    LEASE, claim, claim_one, given, not_sent, paid, psql, record, send_again, take_over,
};

/// A book on a primary whose stand-by is about to take its place.
pub(crate) struct Pair {
    lane: Lane,
    database: Database,
    standby: Standby,
    pub(crate) book: Book,
    sandbox: Running,
}

impl Pair {
    /// With these subscriptions, which both servers have.
    pub(crate) async fn new(cards: &[&str]) -> Self {
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
    pub(crate) async fn lose_tail(&self) {
        self.standby.catch_up(&self.lane).await.unwrap();
        self.standby.lose_tail();
    }

    pub(crate) async fn fail_over(mut self) -> (Lane, House) {
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

/// Hazard: a fail-over forgets an attempt that was approved. Made again it can't leave, is written off,
/// and the debt is charged under the next name, which the gateway has never seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_a_fail_over_forgot_is_not_asked_for_again_under_another_name() {
    let pair = Pair::new(&["cust_1"]).await;
    pair.lose_tail().await;
    let lost = claim_one(&pair.book).await;
    let gateway = portone(&pair.sandbox.base_url(), 1);
    let charged = gateway.charge(&lost.request).await;
    assert!(matches!(charged, ChargeOutcome::Paid(_)), "{charged:?}");
    let (_lane, it) = pair.fail_over().await;

    it.attempts("null").await;
    assert_eq!(claim(&it).await.len(), 0);
    it.advance("90 seconds").await;
    let again = claim_one(&it).await;
    assert_eq!(again.request.merchant_uid, lost.request.merchant_uid);
    assert_eq!(record(&it, not_sent(&again)).await, Recorded::Moved);
    it.advance("31 seconds").await;
    it.sweep_until_nothing_is_open("6 seconds", 3).await;
    it.attempts("1 paid").await;
    it.approved(1);
    assert_eq!(it.requests(Route::Again), 2, "the second one was refused");
}

/// Hazard: a fence that counts on from the last one is, after a lost tail, the number that a claim
/// still holds; its old answer then passes for the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_under_a_forgotten_claim_moves_nothing() {
    let pair = Pair::new(&["cust_1"]).await;
    pair.lose_tail().await;
    let lost = claim_one(&pair.book).await;
    let (_lane, it) = pair.fail_over().await;
    claim(&it).await;
    it.advance("90 seconds").await;
    let held = claim_one(&it).await;
    assert_eq!(held.key.merchant_uid, lost.key.merchant_uid);
    assert_ne!(held.key.fence, lost.key.fence);
    let stale = Recorded::Stale {
        paid_written: false,
    };
    assert_eq!(record(&it, not_sent(&lost)).await, stale);
    it.attempts("1 started").await;
    assert_eq!(record(&it, paid(&held)).await, Recorded::Moved);
}

/// Hazard: a request of the lost tail is still under way when its name leaves again; the second one is
/// refused, the first one approved, and the book says declined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_promotion_nothing_is_begun_taken_over_or_sent_again_for_the_longest_lease() {
    let pair = Pair::new(&["under_way", "asked"]).await;
    let first =
        "update billd.subscription set next_charge_at = next_charge_at + interval '1 second'
        where customer_uid = 'under_way'";
    pair.book.run(first).await;
    let one = |lease| ClaimLimits { rows_max: 1, lease };
    // One daemon has a longer lease than all others.
    let long = Duration::from_secs(150);
    pair.book.store.claim_due(one(LEASE)).await.unwrap();
    pair.book.advance("151 seconds").await;
    let mut under_way = pair.book.store.claim_due(one(long)).await.unwrap();
    let under_way = under_way.claims.remove(0).unwrap();
    let asked = take_over(&pair.book).await.remove(0);
    pair.book.subscribe("due").await;
    pair.lose_tail().await;
    let (_lane, house) = pair.fail_over().await;
    let book = &house.book;
    assert!(
        book.store.standstill().await.unwrap().is_none(),
        "not met yet"
    );

    let before = Instant::now();
    let swept = house.engine.sweep(CancellationToken::new()).await.unwrap();
    assert_eq!((swept.counts.paid, swept.due_left), (0, 1));
    // The whole of the longest lease, less what has passed since it was met.
    waits(&house, long.saturating_sub(before.elapsed()), long).await;

    let again = record(book, send_again(&asked.claim)).await;
    assert_ne!(again, Recorded::Moved);
    book.attempts("1 started, 1 unknown abandoned").await;
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
    // Of the same cluster, so it is at home.
    book.shows("select is_elsewhere from billd_internal.gate", false)
        .await;
    assert_eq!(claim(book).await.len(), 1);
    assert_eq!(book.claim_open(9, LEASE).await.len(), 1);
    assert!(book.store.begin_one_off(&one_off, LEASE).await.is_ok());
}

/// It says that the server has changed, and how long it waits.
async fn waits(house: &House, least: Duration, most: Duration) {
    let rest = house.book.store.standstill().await.unwrap().unwrap();
    assert_eq!(rest.reason, Reason::FailoverHold);
    assert!(
        rest.says.contains("/1 → ") && rest.says.contains("/2)"),
        "{rest:?}"
    );
    assert!((least..=most).contains(&rest.left.unwrap()), "{rest:?}");
    let reasons = house.engine.health().reasons;
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("the database server changed")),
        "{reasons:?}"
    );
}

/// Hazard: the book is put back from a dump into another cluster, whose timeline is the first one, too.
#[tokio::test]
async fn another_cluster_is_another_server_whatever_its_timeline() {
    let it = given().due("cust_1").await;
    it.run("update billd.control set server_name = '1' || server_name")
        .await;
    assert_eq!(claim(&it).await.len(), 0);
    it.advance("89 seconds").await;
    assert_eq!(claim(&it).await.len(), 0, "met once, not anew");
    it.advance("2 seconds").await;
    assert_eq!(claim(&it).await.len(), 1);
}

/// Hazard: a gateway that is away for days uses up the numbers of a debt, which then waits for a person.
#[tokio::test]
async fn an_outage_of_any_length_costs_no_number_and_counts_no_send() {
    let it = given().due("cust_1").await;
    for nth in 0..120_u32 {
        let claim = claim_one(&it).await;
        assert_eq!(u32::from(claim.history.not_sent), nth);
        let answer = not_sent(&claim);
        let doubled = Duration::from_secs(30).saturating_mul(2_u32.saturating_pow(nth));
        let wait = doubled.min(Duration::from_hours(1));
        let took_rung = false;
        assert_eq!(answer.decision, Decision::Retry { wait, took_rung });
        assert_eq!(record(&it, answer).await, Recorded::Moved);
        it.assert_sound().await;
        it.advance("1 hour").await;
    }
    it.attempts("1 not_sent no_connection").await;
    it.sweep().await;
    it.attempts("1 paid").await;
    it.row("active paid 0 0").await;
}

/// Hazard: under one name the gateway is asked for one sum, from one card. A repeat with another would
/// be refused as paid, or worse, looked up as this one's.
#[tokio::test]
async fn a_name_that_did_not_leave_is_kept_only_while_sum_and_card_are() {
    let (kept, ended) = ("1 started", "1 not_sent no_connection, 2 started");
    for (change, expected, not_sent_before) in [
        ("select", kept, 1),
        ("update billd.subscription set name = 'other'", kept, 1),
        ("update billd.subscription set customer_uid = 'b'", ended, 0),
        ("update billd.billing_cycle set amount = 100", ended, 0),
    ] {
        let it = given().due("cust_1").await;
        let first = claim_one(&it).await;
        record(&it, not_sent(&first)).await;
        it.run(change).await;
        it.advance("31 seconds").await;
        let second = claim_one(&it).await;
        it.attempts(expected).await;
        assert_eq!(second.history.not_sent, not_sent_before, "{change}");
        it.assert_sound().await;
    }
}

/// Hazard: a person opens an attempt with plain SQL, and nobody but the gateway knows that it is asked
/// for; or a claim meets an attempt that somebody holds, and takes the next name.
#[tokio::test]
async fn only_a_claim_opens_an_attempt_again_and_it_waits_for_whoever_holds_it() {
    let it = given().due("cust_1").await;
    let first = claim_one(&it).await;
    record(&it, not_sent(&first)).await;
    let open = "update billd.charge_attempt
        set state = 'started', finished_at = null, ask_at = billd.now()";
    it.refuses(open, "only a claim opens").await;
    let open = open.replace("'started'", "'unknown'");
    it.refuses(&open, "is never opened again").await;

    it.advance("31 seconds").await;
    let person = psql(&it, "select from billd.charge_attempt for update").await;
    assert_eq!(claim(&it).await.len(), 0);
    person.rollback().await.unwrap();
    assert_eq!(claim(&it).await.len(), 1);
    it.attempts("1 started").await;
}

/// Hazard: the reply to the commit is lost, and the batch is written again: a name that left twice
/// counts as sent three times, and is parked too early.
#[tokio::test]
async fn a_name_that_leaves_again_is_counted_once_however_often_that_is_written() {
    let it = given().due("cust_1").begun().later("91 seconds").await;
    let asked = take_over(&it).await.remove(0);
    let again = send_again(&asked.claim);
    let ends = "select concat_ws(' ', started_at, ask_at) from billd.charge_attempt";
    assert_eq!(record(&it, again.clone()).await, Recorded::Moved);
    let written = it.text(ends).await;
    assert_eq!(record(&it, again).await, Recorded::Moved);
    it.attempts("1 started abandoned sent 2").await;
    it.shows(ends, written).await;
}

/// Hazard: a zombie reports that an attempt is paid while its heir is about to send it again.
#[tokio::test]
async fn what_a_zombie_has_found_paid_is_not_sent_again() {
    let it = given().due("cust_1").await;
    let zombie = claim_one(&it).await;
    it.advance("91 seconds").await;
    let asked = take_over(&it).await.remove(0);
    let paid_written = Recorded::Stale { paid_written: true };
    assert_eq!(record(&it, paid(&zombie)).await, paid_written);
    let again = record(&it, send_again(&asked.claim)).await;
    assert_ne!(again, Recorded::Moved);
    it.sweep().await;
    it.attempts("1 paid").await;
    it.approved(0);
}
