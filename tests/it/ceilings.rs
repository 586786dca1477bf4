//! Ceilings: how much is asked for at most, and what happens when one is reached.

use std::process::Command;

use billd::store::StoreError;
use portone_sandbox::{Latency, Route};
use tokio_util::sync::CancellationToken;

use crate::process::{Daemon, billd, exits, run, sandbox_with, stderr, stdout, until};
use crate::support::{Book, House, limits};
use crate::words::{given, psql};

async fn ceiling(book: &Book, set: &str) {
    book.run(&format!(
        "update billd.ceiling set {set} where currency = 'KRW'"
    ))
    .await;
}

async fn sweep(it: &House) -> u64 {
    let swept = it.engine.sweep(CancellationToken::new()).await.unwrap();
    it.assert_sound().await;
    swept.counts.paid
}

/// Hazard: somebody writes 9,900,000,000 instead of 9,900 into one row; the customer is charged, or everybody
/// behind it waits.
#[tokio::test]
async fn a_debt_above_the_ceiling_is_held_and_its_neighbours_are_charged() {
    let it = given().due_many(3).await;
    it.run("update billd.subscription set amount = 10000001, next_charge_at = next_charge_at where customer_uid = 'cust_2'")
        .await;
    assert_eq!(sweep(&it).await, 2);
    it.approved(2);
    let held = "select concat_ws(' ', customer_uid, held, next_charge_at) from billd.subscription where held is not null";
    it.shows(held, "cust_2 ceiling").await;
    it.shows(
        "select concat_ws(': ', kind, reason, what_to_do) from billd.attention",
        "held: ceiling: look at the sum: change it, or raise charge_max in billd.ceiling",
    )
    .await;
    it.refuses(
        "select billd.release(id) from billd.subscription where held is not null",
        "above the ceiling",
    )
    .await;
    it.shows("select is_on from billd.charging", true).await;
    ceiling(&it, "charge_max = 10000001").await;
    assert_eq!(sweep(&it).await, 1);
    it.approved(3);
}

/// The same for a debt that is open, and for a sum that is made right.
#[tokio::test]
async fn an_open_debt_above_the_ceiling_is_held_until_its_sum_is_right() {
    let it = given().due("decline-balance-1").swept().await;
    ceiling(&it, "charge_max = 9899").await;
    it.advance("1 day 1 minute").await;
    it.sweep().await;
    it.attempts("1 declined soft_funds 1254").await;
    it.shows("select held from billd.subscription", "ceiling")
        .await;
    it.run("update billd.billing_cycle set amount = 9899").await;
    it.run("select billd.release(id) from billd.subscription")
        .await;
    it.sweep().await;
    it.shows("select max(attempt_no) from billd.charge_attempt", 2)
        .await;
}

/// Hazard: a slip makes all of the book due, and by the time that somebody sees it all is charged.
#[tokio::test]
async fn a_ceiling_is_reached_to_the_charge_switches_off_and_loses_nothing() {
    for (set, said) in [
        ("hour_charges_max = 100", "100 charges an hour"),
        ("day_charges_max = 100", "100 charges a day"),
        ("hour_max = 990000", "990000 an hour"),
        ("day_max = 995000", "995000 a day"),
    ] {
        let it = given().due_many(250).await;
        ceiling(&it, set).await;
        assert_eq!(sweep(&it).await, 100, "{set}");
        let why = it.text("select why from billd.charging_stop").await;
        assert!(why.contains(said), "{why}");
        it.shows("select stopped_by from billd.charging_stop", "billd")
            .await;
        assert!(it.engine.charging_stopped().unwrap().contains(said));
        it.shows("select count(*) from billd.subscription where state = 'active' and next_charge_at <= billd.now()", 150)
            .await;
        // A person has looked, and says yes: it counts anew.
        it.run("select billd.start_charging()").await;
        assert_eq!(sweep(&it).await, 100, "{set}");
        it.run("select billd.start_charging()").await;
        assert_eq!(sweep(&it).await, 50, "{set}");
        it.approved(250);
        it.shows("select is_on from billd.charging", true).await;
    }
}

/// Hazard: each daemon counts for itself, or before the other has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ceiling_holds_over_all_daemons_together() {
    let it = given().due_many(300).await;
    ceiling(&it, "hour_charges_max = 170").await;
    let small = billd::engine::Limits {
        charges_max: 16,
        ..limits()
    };
    let engines = [
        it.another_engine(small),
        it.another_engine(small),
        it.another_engine(small),
    ];
    let sweeps = engines.map(|engine| {
        tokio::spawn(async move {
            engine.sweep(CancellationToken::new()).await.unwrap();
        })
    });
    for sweep in sweeps {
        sweep.await.unwrap();
    }
    it.approved(170);
    it.shows("select count(*) from billd.charging_stop", 1)
        .await;
}

/// An hour ends, and a day; and another currency counts for itself.
#[tokio::test]
async fn a_ceiling_is_of_its_hour_its_day_and_its_currency() {
    let it = given().await;
    ceiling(&it, "hour_charges_max = 2, day_charges_max = 3").await;
    // So that no hour ends in mid-test, and no day between the steps.
    it.run(
        "update billd.control set clock_shift = date_trunc('day', now() at time zone 'Asia/Seoul')
        at time zone 'Asia/Seoul' + interval '1 day 10 hours' - now()",
    )
    .await;
    it.run(
        "insert into billd.subscription (customer_uid, name, amount, currency)
        select 'usd_' || n, 'n', 100, 'USD' from generate_series(1, 5) n",
    )
    .await;
    it.subscribe_many(2, "one_").await;
    assert_eq!(sweep(&it).await, 7);
    it.subscribe_many(1, "two_").await;
    assert_eq!(sweep(&it).await, 0);
    it.run("update billd.control set stopped_until = '-infinity'")
        .await;
    it.advance("1 hour").await;
    assert_eq!(sweep(&it).await, 1, "another hour");
    it.subscribe_many(1, "three_").await;
    assert_eq!(sweep(&it).await, 0);
    it.run("update billd.control set stopped_until = '-infinity'")
        .await;
    it.advance("2 hours").await;
    assert_eq!(sweep(&it).await, 0, "the day");
    it.run("update billd.control set stopped_until = '-infinity'")
        .await;
    it.advance("1 day").await;
    assert_eq!(sweep(&it).await, 1, "another day");
}

/// Hazard: a person types one nought too many, or charges past the ceiling of the day by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_by_hand_above_a_ceiling_is_refused_and_switches_nothing_off() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let again = |amount: &str, name: &str| -> Command {
        let mut command = billd(&book.url, &gateway.base_url());
        command.args([
            "charge",
            "again",
            "cust_1",
            "--amount",
            amount,
            "--name",
            "x",
            "--yes",
            "--merchant-uid",
            name,
        ]);
        command
    };
    let refused = run(&mut again("10000001", "one"));
    exits(&refused, 9);
    assert!(
        stderr(&refused).contains("more than may be asked for at once"),
        "{}",
        stderr(&refused)
    );
    book.run("update billd.ceiling set day_max = 15000 where currency = 'KRW'")
        .await;
    book.run("insert into billd_internal.asked select date_trunc('hour', billd.now()), 0, 'KRW', 0, 1, 10000").await;
    let refused = run(&mut again("10000", "two"));
    exits(&refused, 9);
    assert!(
        stderr(&refused).contains("15000 a day"),
        "{}",
        stderr(&refused)
    );
    book.shows("select count(*) from billd.charge_attempt", 0)
        .await;
    book.shows("select is_on from billd.charging", true).await;
}

/// Hazard: the dates of the whole book were moved to today, and the first sweep of the morning charges them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_far_larger_than_yesterdays_asks_for_a_yes_before_it_charges_anybody() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let billd = || billd(&book.url, &gateway.base_url());
    book.run("update billd.control set surge = 3").await;
    book.subscribe_many(10, "day_one_").await;
    exits(&run(billd().arg("sweep")), 0);
    book.advance("1 day").await;
    book.subscribe_many(30, "day_two_").await;
    exits(&run(billd().arg("sweep")), 0);
    assert_eq!(gateway.summary().approvals, 40, "three times as many go by");

    book.advance("1 day").await;
    book.subscribe_many(91, "day_three_").await;
    let mut daemon = Daemon::start(&mut billd());
    until("it asks", async || {
        daemon.said().contains("a person must say yes")
    })
    .await;
    let swept = run(billd().args(["sweep", "--json"]));
    exits(&swept, 7);
    assert!(
        stdout(&swept).contains("more than 90 are due"),
        "{}",
        stdout(&swept)
    );
    assert_eq!(gateway.summary().approvals, 40);
    exits(&run(billd().arg("start")), 0);
    until("all is paid", async || gateway.summary().approvals == 131).await;
    daemon.stops().await;
    exits(&run(billd().arg("sweep")), 0);
}

/// Hazard: the row that daemons take turns at is held by a session of somebody's.
#[tokio::test]
async fn whoever_holds_the_ceilings_holds_up_claims_and_loses_nothing() {
    let it = given().due_many(2).await;
    ceiling(&it, "hour_charges_max = 100").await;
    let person = psql(&it, "select from billd.ceiling for update").await;
    let limit = billd::store::ClaimLimits {
        rows_max: 10,
        lease: crate::words::LEASE,
    };
    let waited = it.store.claim_due_counted(None, limit, &[]).await;
    assert!(matches!(waited, Err(StoreError::Busy(_))));
    person.rollback().await.unwrap();
    assert_eq!(sweep(&it).await, 2);
    assert_eq!(it.requests(Route::Again), 2);
}
