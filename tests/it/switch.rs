//! The switch: charging off and on, and what goes on meanwhile.

use std::net::SocketAddr;
use std::process::Command;

use billd::domain::attempt::{ChargeRequest, ChargeTerms, Instrument};
use billd::domain::claim::Recorded;
use billd::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use billd::domain::money::{Currency, Money};
use billd::domain::refund::RefundRequest;
use billd::domain::standstill::Reason;
use billd::store::StoreError;
use portone_sandbox::{Latency, Route};
use tokio_util::sync::CancellationToken;

use crate::process::{Daemon, billd, exits, http_get, run, sandbox_with, stderr, stdout, until};
use crate::support::{Book, House};
use crate::words::{LEASE, approved, claim, given, record, send_again, take_over};

async fn stop(book: &Book, rest: &str) {
    book.run(&format!("select billd.stop_charging('wrong prices'{rest})"))
        .await;
}

async fn start(book: &Book) {
    book.run("select billd.start_charging()").await;
}

/// A one-off charge of another card.
async fn one_off(it: &House, name: &str) -> Result<(), StoreError> {
    let card = CustomerUid::parse("cust_one_off").unwrap();
    let request = ChargeRequest {
        merchant_uid: MerchantUid::parse(name).unwrap(),
        instrument: Instrument::BillingKey(card),
        money: Money::new(1_000, Currency::KRW).unwrap(),
        name: "coupon".to_owned(),
        terms: ChargeTerms::default(),
    };
    it.store.begin_one_off(&request, LEASE).await.map(drop)
}

/// Hazard: prices were written wrong this morning, and the only way to stop is to kill every daemon, which
/// also stops whoever asks what became of the charges under way.
#[tokio::test]
async fn while_charging_is_off_nothing_begins_and_what_is_open_is_asked_about() {
    let it = given()
        .due("lost")
        .begun()
        .due("cust_1")
        .later("91 seconds")
        .await;
    stop(&it, "").await;
    assert_eq!(claim(&it).await.len(), 0);
    let refused = one_off(&it, "oneoff1").await.unwrap_err();
    assert!(matches!(&refused, StoreError::OnHold(still) if still.reason == Reason::Stopped));
    assert!(refused.to_string().contains("wrong prices"), "{refused}");

    let asked = take_over(&it).await.remove(0);
    assert_ne!(record(&it, send_again(&asked.claim)).await, Recorded::Moved);
    it.advance("91 seconds").await;
    let swept = it.engine.sweep(CancellationToken::new()).await.unwrap();
    assert_eq!((swept.counts.paid, swept.due_left), (0, 1));
    assert_eq!(it.requests(Route::Again), 0);
    assert!(it.requests(Route::FindAll) > 0, "asked about");
    assert!(it.engine.health().reasons.concat().contains("wrong prices"));
    it.shows(
        "select kind from billd.attention where kind like 'charging%'",
        "charging_stopped",
    )
    .await;

    start(&it).await;
    assert_eq!(claim(&it).await.len(), 1);
    one_off(&it, "oneoff1").await.unwrap();
    it.shows(
        "select count(*) from billd.attention where kind like 'charging%'",
        0,
    )
    .await;
}

#[tokio::test]
async fn a_stop_with_an_end_ends_by_itself_and_says_who_and_why() {
    let it = given().due("cust_1").await;
    stop(&it, ", billd.now() + interval '1 hour', 'minji'").await;
    it.shows(
        "select concat_ws(' ', c.reason, c.until = s.stopped_at + interval '1 hour', s.stopped_by, s.why)
         from billd.charging c, billd.charging_stop s",
        "stopped t minji wrong prices",
    )
    .await;
    it.advance("59 minutes").await;
    assert_eq!(claim(&it).await.len(), 0);
    it.advance("2 minutes").await;
    assert_eq!(claim(&it).await.len(), 1);
    it.shows("select is_on from billd.charging", true).await;
    // A later start ends nothing that had ended.
    it.shows("select (billd.start_charging()).id", "null").await;
    for (call, words) in [
        ("billd.stop_charging(' ')", "charging_stop_says_why"),
        ("billd.stop_charging('x', billd.now())", "not in the future"),
    ] {
        it.refuses(&format!("select {call}"), words).await;
    }
}

/// Hazard: charging is off for three days; who said that missed days are not billed loses the merchant three
/// days of money, though nobody was away.
#[tokio::test]
async fn no_period_is_missed_because_charging_was_off() {
    for catch_up in ["all", "latest", "none", "hold"] {
        let it = given().await;
        it.run(&format!(
            "insert into billd.subscription (customer_uid, name, amount, interval_unit, catch_up)
             values ('daily', 'n', 100, 'day', '{catch_up}')"
        ))
        .await;
        it.sweep().await;
        stop(&it, "").await;
        for _ in 0..3 {
            it.advance("1 day").await;
            it.sweep().await;
        }
        it.debts("1 paid").await;
        it.advance("1 hour").await;
        start(&it).await;
        for _ in 0..4 {
            it.advance("61 minutes").await;
            it.sweep().await;
        }
        it.debts("4 paid").await;
        it.approved(4);
    }
}

/// Hazard: a daemon was down for days, and was then switched off for an hour: the days that were missed before
/// come back to life.
#[tokio::test]
async fn what_was_missed_before_charging_was_off_stays_missed() {
    for (catch_up, expected) in [("latest", "2 paid, 1 void"), ("none", "1 paid, 1 void")] {
        let it = given().await;
        it.run(&format!(
            "insert into billd.subscription (customer_uid, name, amount, interval_unit, catch_up)
             values ('daily', 'n', 100, 'day', '{catch_up}')"
        ))
        .await;
        it.sweep().await;
        it.advance("3 days 12 hours").await;
        stop(&it, ", billd.now() + interval '1 hour'").await;
        it.advance("2 hours").await;
        it.sweep().await;
        it.debts(expected).await;
    }
}

/// Hazard: a debt that is in dunning is written off, because its tries fell into the time when charging was off.
#[tokio::test]
async fn a_debt_in_dunning_waits_and_loses_no_try() {
    let it = given().due("decline-balance-1").swept().await;
    it.row("active declined soft_funds 1 1").await;
    stop(&it, "").await;
    it.advance("40 days").await;
    it.sweep().await;
    it.row("active declined soft_funds 1 1").await;
    start(&it).await;
    it.sweep().await;
    it.row("active declined soft_funds 2 2").await;
}

/// Hazard: the switch is read by the daemon now and then, and hundreds of charges leave after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_daemon_stops_at_the_next_claim_and_tells_everybody() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(50)).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let billd = || {
        let mut command = billd(&book.url, &gateway.base_url());
        command
            .env("BILLD__HTTP__LISTEN", free.to_string())
            .env("BILLD__ENGINE__CONCURRENCY", "4");
        command
    };
    book.subscribe_many(400, "cust_").await;
    let mut daemon = Daemon::start(&mut billd());
    until("charges are under way", async || {
        gateway.summary().approvals >= 20
    })
    .await;
    let stopped = run(billd().args(["stop", "wrong prices", "--by", "minji", "--json"]));
    exits(&stopped, 0);
    assert!(
        stdout(&stopped).contains("\"by\":\"minji\""),
        "{}",
        stdout(&stopped)
    );
    book.comes_to("select count(*) from billd.under_way", "0")
        .await;
    let approvals = gateway.summary().approvals;
    answers(free, "readyz", "switched off by minji").await;
    answers(free, "metrics", "billd_standstill 1").await;
    assert_eq!(
        gateway.summary().approvals,
        approvals,
        "nothing has left since"
    );
    assert!(daemon.said().contains("wrong prices"), "{}", daemon.said());
    each_command_says_that_charging_is_off(billd);

    let started = run(billd().args(["start", "--json"]));
    exits(&started, 0);
    assert!(
        stdout(&started).contains("\"was_off\":true"),
        "{}",
        stdout(&started)
    );
    until("all is paid", async || gateway.summary().approvals == 400).await;
    answers(free, "readyz", "\"ready\":true").await;
    assert!(
        daemon.said().contains("charging goes on"),
        "{}",
        daemon.said()
    );
    daemon.stops().await;
    approved(&gateway, 400);
}

async fn answers(daemon: SocketAddr, path: &str, with: &str) {
    until(&format!("{path} says {with}"), async || {
        http_get(daemon, path).await.contains(with)
    })
    .await;
}

fn each_command_says_that_charging_is_off(billd: impl Fn() -> Command) {
    let checked = run(billd().arg("check"));
    exits(&checked, 9);
    assert!(stdout(&checked).contains("FAIL  charging  charging is switched off by minji"));
    let swept = run(billd().args(["sweep", "--json"]));
    exits(&swept, 7);
    assert!(stdout(&swept).contains("\"charging_stopped\":\"charging is switched off"));
    let charged = run(billd().args([
        "charge", "again", "cust_1", "--amount", "1000", "--name", "x", "--yes",
    ]));
    exits(&charged, 9);
    assert!(
        stderr(&charged).contains("wrong prices"),
        "{}",
        stderr(&charged)
    );
}

/// Hazard: the operator stops charging in the middle of a bad morning, and can't give money back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_go_on_while_charging_is_off() {
    let it = given().due("cust_1").swept().await;
    stop(&it, "").await;
    let imp_uid = it.text("select imp_uid from billd.charge_attempt").await;
    let payment = it
        .text("select merchant_uid from billd.charge_attempt")
        .await;
    let request = RefundRequest {
        merchant_uid: MerchantUid::parse(&payment).unwrap(),
        imp_uid: ImpUid::parse(&imp_uid).unwrap(),
        amount: 9_900,
        currency: Currency::KRW,
        payment_amount: 9_900,
        checksum: 9_900,
        tax_free: None,
        vat_amount: None,
        note: None,
    };
    it.engine.refund(&request, None, "full").await.unwrap();
    it.shows("select state from billd.refund", "refunded").await;
    it.run("update billd.control set home_account = 'another'")
        .await;
    let refused = it.engine.refund(&request, None, "again").await;
    assert!(matches!(refused, Err(StoreError::OnHold(_))), "{refused:?}");
}
