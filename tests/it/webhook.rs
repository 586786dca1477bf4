//! Webhooks: whatever comes in, the final state is the gateway's and nobody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use billd::domain::networks::Networks;
use billd::engine::Doorbell;
use billd::http::Server;
use billd::metrics::Metrics;
use billd::webhook;
use portone_sandbox::{Fault, FaultKind, Route};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::audit::world::Daemon;
use crate::support::House;
use crate::words::{LEASE, given};

/// A server that takes webhooks for a house; gone with its guard.
struct Inlet {
    url: String,
    http: reqwest::Client,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Inlet {
    async fn of(house: &House, sources: &str) -> Self {
        let stop = CancellationToken::new();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any_port).await.unwrap();
        let url = format!("http://{}/webhooks/portone", server.addr().unwrap());
        let sources = Networks::parse(sources).unwrap();
        let metrics = Metrics::new();
        let (router, named, _given_back) = webhook::router(sources, metrics.webhooks.clone());
        let (store, doorbell) = (house.store.clone(), Arc::new(Doorbell::default()));
        tokio::spawn(webhook::pass_on(
            named,
            store,
            doorbell,
            LEASE,
            stop.clone(),
        ));
        let (engine, figures) = (house.engine.clone(), Arc::clone(&metrics));
        tokio::spawn(server.serve(engine, figures, router, stop.clone()));
        Self {
            url,
            http: reqwest::Client::new(),
            metrics,
            _stop: stop.drop_guard(),
        }
    }

    async fn send(&self, merchant_uid: &str, status: &str) -> u16 {
        let body = json!({"imp_uid": "imp_forged", "merchant_uid": merchant_uid, "status": status});
        let answer = self.http.post(&self.url).json(&body).send().await;
        answer.unwrap().status().as_u16()
    }

    async fn send_form(&self, merchant_uid: &str, status: &str) -> u16 {
        let body = [("merchant_uid", merchant_uid), ("status", status)];
        let answer = self.http.post(&self.url).form(&body).send().await;
        answer.unwrap().status().as_u16()
    }

    async fn send_raw(&self, body: Vec<u8>) -> u16 {
        let answer = self.http.post(&self.url).body(body).send().await;
        answer.unwrap().status().as_u16()
    }
}

/// Gives the runner time to pass on what was taken.
async fn hints_are_passed_on() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

/// Four subscriptions: paid; unknown, but charged; unknown, and not charged; declined.
async fn world() -> House {
    let house = given()
        .due("plain")
        .due("charged")
        .due("uncharged")
        .due("decline-limit-1")
        .await;
    for (kind, customer_uid) in [
        (FaultKind::DropAfter, "charged"),
        (FaultKind::SilenceBefore, "uncharged"),
    ] {
        let fault = Fault::new(kind, Route::Again).times(1);
        house.sandbox.fault(fault.for_customer(customer_uid));
    }
    house
        .sandbox
        .fault(Fault::new(FaultKind::LookupNotFound, Route::FindAll).times(2));
    house.sweep().await;
    let states = "select string_agg(state, ' ' order by customer_uid) from billd.charge_attempt";
    house.shows(states, "unknown declined paid unknown").await;
    house
}

const PUT_OFF: &str = "update billd.charge_attempt set ask_at = billd.now() + interval '1 day'
    where state = 'unknown'";

async fn name_of(house: &House, customer_uid: &str) -> String {
    let name = format!(
        "select merchant_uid from billd.charge_attempt where customer_uid = '{customer_uid}'"
    );
    house.text(&name).await
}

/// Everything that matters in the end, without instants and receipts' numbers.
async fn final_state(house: &House) -> String {
    house.sandbox.clear_faults();
    for _ in 0..8 {
        house.sweep().await;
        house.advance("10 minutes").await;
    }
    house
        .book
        .text(
            "select string_agg(concat_ws(' ', s.customer_uid, s.state, s.last_result, s.last_reason,
                s.attempts, s.declines, s.open_attempt is null, s.recheck, c.state, c.amount,
                a.attempt_no, a.state, a.amount, a.imp_uid like 'imp_%' and a.imp_uid <> 'imp_forged',
                a.cancelled_amount, a.sends, a.parked_at is null), e'\\n' order by s.customer_uid, a.attempt_no)
            from billd.subscription s
            join billd.billing_cycle c on c.subscription_id = s.id
            join billd.charge_attempt a on a.subscription_id = s.id and a.period = c.period",
        )
        .await
}

/// Hazard: anybody can send a webhook. One that is believed marks an unpaid debt as paid, or a paid
/// one as failed, and a daemon that waits for one that never comes waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_a_doubled_and_a_missing_webhook_leave_the_same_final_state() {
    let missing = world().await;
    let expected = final_state(&missing).await;
    let approvals = missing.approvals();
    assert_eq!(approvals, 3, "{expected}");

    let forged = world().await;
    let inlet = Inlet::of(&forged, "").await;
    for customer_uid in ["uncharged", "decline-limit-1", "plain"] {
        let name = name_of(&forged, customer_uid).await;
        for status in ["paid", "failed", "cancelled", "ready"] {
            assert_eq!(inlet.send(&name, status).await, 200);
        }
    }
    assert_eq!(inlet.send("nobodyknowsthis", "paid").await, 200);
    hints_are_passed_on().await;
    assert_eq!(final_state(&forged).await, expected);
    assert_eq!(forged.approvals(), approvals);

    let doubled = world().await;
    let inlet = Inlet::of(&doubled, "").await;
    let name = name_of(&doubled, "charged").await;
    // Twice, in both shapes, and in the wrong order.
    for status in ["cancelled", "paid", "paid", "ready"] {
        assert_eq!(inlet.send(&name, status).await, 200);
        assert_eq!(inlet.send_form(&name, status).await, 200);
    }
    hints_are_passed_on().await;
    assert_eq!(final_state(&doubled).await, expected);
    assert_eq!(doubled.approvals(), approvals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_makes_an_unknown_attempt_due_to_be_asked_about_now() {
    let house = world().await;
    house.run(PUT_OFF).await;
    let inlet = Inlet::of(&house, "").await;
    let name = name_of(&house, "charged").await;
    assert_eq!(inlet.send(&name, "paid").await, 200);
    hints_are_passed_on().await;
    let due = "select string_agg(customer_uid, ' ') from billd.charge_attempt
        where state = 'unknown' and ask_at <= billd.now()";
    house.shows(due, "charged").await;
    house.sandbox.clear_faults();
    house.sweep().await;
    let state = "select state from billd.charge_attempt where customer_uid = 'charged'";
    house.shows(state, "paid").await;
}

/// Hazard: every question raises the fence, so hints that came faster than answers would make each
/// answer stale, and the attempt would stay unknown as long as somebody sends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_comes_to_one_question_and_the_rest_is_dropped() {
    let house = world().await;
    let inlet = Arc::new(Inlet::of(&house, "").await);
    let name = name_of(&house, "uncharged").await;
    let mut floods = tokio::task::JoinSet::new();
    for flood in 0..20 {
        let (inlet, name) = (Arc::clone(&inlet), name.clone());
        floods.spawn(async move {
            for number in 0..100 {
                let stranger = format!("order{flood}x{number}");
                assert_eq!(inlet.send(&stranger, "paid").await, 200);
                assert_eq!(inlet.send(&name, "paid").await, 200);
            }
        });
    }
    floods.join_all().await;
    hints_are_passed_on().await;
    let row = format!(
        "select asks || ' ' || (ask_at <= billd.now()) from billd.charge_attempt where merchant_uid = '{name}'"
    );
    house.shows(&row, "0 true").await;
    house.sweep().await;
    // One question for the whole flood.
    house.shows(&row, "1 false").await;

    house.run(PUT_OFF).await;
    inlet.send(&name, "paid").await;
    hints_are_passed_on().await;
    // The question may be under way.
    house.shows(&row, "1 false").await;
    house.advance("91 seconds").await;
    inlet.send(&name, "paid").await;
    hints_are_passed_on().await;
    house.shows(&row, "1 true").await;

    let figures = inlet.metrics.render();
    assert!(
        figures.contains(r#"billd_webhooks_total{verdict="dropped"}"#),
        "{figures}"
    );
    let rows = "select count(*) from billd.charge_attempt";
    house.shows(rows, "4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_started_attempt_is_left_to_its_daemon() {
    let house = given().due("plain").begun().await;
    let row = "select concat_ws(' ', state, ask_at, fence, asked_at) from billd.charge_attempt";
    let before = house.text(row).await;
    let inlet = Inlet::of(&house, "").await;
    inlet.send(&name_of(&house, "plain").await, "paid").await;
    hints_are_passed_on().await;
    house.shows(row, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_other_sources_and_unknown_shapes_come_to_nothing() {
    let house = given().await;
    let inlet = Inlet::of(&house, "").await;
    assert_eq!(inlet.send_raw(vec![b'{'; 16 << 10]).await, 200);
    assert_eq!(inlet.send_raw(vec![b'{'; (16 << 10) + 1]).await, 413);
    for body in [
        "",
        "[]",
        "event=Inicis.Escrow.Changed",
        r#"{"merchant_uid":7}"#,
    ] {
        assert_eq!(
            inlet.send_raw(body.as_bytes().to_vec()).await,
            200,
            "{body}"
        );
    }
    let answer = reqwest::get(&inlet.url).await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);

    let elsewhere = Inlet::of(&house, "52.78.100.19,52.78.48.223,52.78.5.241").await;
    assert_eq!(elsewhere.send("order1", "paid").await, 403);
    let here = Inlet::of(&house, "127.0.0.0/8").await;
    assert_eq!(here.send("order1", "paid").await, 200);
}

/// The whole way, with the real binary: a hint from outside ends a wait of a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_told_asks_at_once() {
    let house = world().await;
    house.sandbox.clear_faults();
    house.run(PUT_OFF).await;
    let daemon = Daemon::start(&house, &[]).await;
    let name = name_of(&house, "charged").await;
    let body = json!({"merchant_uid": name, "status": "failed"});
    let url = format!("http://{}/webhooks/portone", daemon.address);
    let answer = reqwest::Client::new().post(url).json(&body).send().await;
    assert_eq!(answer.unwrap().status().as_u16(), 200);
    let state = "select state from billd.charge_attempt where customer_uid = 'charged'";
    house.comes_to(state, "paid").await;
}
