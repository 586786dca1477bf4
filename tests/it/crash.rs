//! Crashes, lost claims, lost replies, poison: what the rows say, and that nothing is charged twice.

use std::sync::Arc;

use billd::domain::attempt::{ChargeOutcome, ChargeRequest, Lookup};
use billd::domain::card::Card;
use billd::domain::claim::{Answer, Recorded};
use billd::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use billd::domain::refund::{RefundOutcome, RefundRequest};
use billd::engine::{Doorbell, Engine};
use billd::gateway::portone_v1::PortOne;
use billd::gateway::{
    BillingKey, BookPage, CallError, Expected, Gateway, GatewayError, KeyOwner, PaymentRecord,
    Reservation, ReservationPage, Window,
};
use billd::metrics::Metrics;
use portone_sandbox::{FaultKind, Route};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::{limits, policy, portone, text};
use crate::words::{claim, claim_one, given, paid, record, record_all, take_over};

/// Looks at the database at the very moment it is asked for money.
struct AuditingGateway {
    inner: PortOne,
    sql: PgPool,
}

impl Gateway for AuditingGateway {
    async fn prepare(&self) -> Result<(), GatewayError> {
        self.inner.prepare().await
    }

    async fn charge(&self, request: &ChargeRequest) -> ChargeOutcome {
        let state = format!(
            "select state from billd.charge_attempt where merchant_uid = '{}'",
            request.merchant_uid
        );
        assert_eq!(text(&self.sql, &state).await, "started", "not on disk yet");
        let idle = "select count(*) from pg_stat_activity
             where datname = current_database() and state like 'idle in transaction%'";
        assert_eq!(text(&self.sql, idle).await, "0", "a transaction is open");
        self.inner.charge(request).await
    }

    async fn look_up(&self, expected: &Expected) -> Result<Lookup, GatewayError> {
        self.inner.look_up(expected).await
    }

    async fn refund(&self, request: &RefundRequest) -> RefundOutcome {
        self.inner.refund(request).await
    }

    async fn payment(&self, imp_uid: &ImpUid) -> Result<Option<PaymentRecord>, CallError> {
        self.inner.payment(imp_uid).await
    }

    async fn payments_of(&self, name: &MerchantUid) -> Result<Vec<PaymentRecord>, CallError> {
        self.inner.payments_of(name).await
    }

    async fn payments(&self, window: Window, page: u32) -> Result<BookPage, GatewayError> {
        self.inner.payments(window, page).await
    }

    async fn reservations(
        &self,
        window: Window,
        page: u32,
    ) -> Result<ReservationPage, GatewayError> {
        self.inner.reservations(window, page).await
    }

    async fn reservations_of(
        &self,
        name: &CustomerUid,
        window: Window,
    ) -> Result<Vec<Reservation>, CallError> {
        self.inner.reservations_of(name, window).await
    }

    async fn issue_key(
        &self,
        name: &CustomerUid,
        card: &Card,
        owner: &KeyOwner,
    ) -> Result<BillingKey, CallError> {
        self.inner.issue_key(name, card, owner).await
    }

    async fn key(&self, name: &CustomerUid) -> Result<Option<BillingKey>, CallError> {
        self.inner.key(name).await
    }

    async fn delete_key(
        &self,
        name: &CustomerUid,
        reason: Option<&str>,
    ) -> Result<Option<BillingKey>, CallError> {
        self.inner.delete_key(name, reason).await
    }

    fn token_refreshes(&self) -> u64 {
        self.inner.token_refreshes()
    }
}

/// Law: intent before effect. Swapping begin and charge is the bug that no test of outcomes sees.
#[tokio::test]
async fn the_intent_is_committed_before_the_request_leaves_and_no_transaction_is_open() {
    let it = given().due_many(20).await;
    let gateway = AuditingGateway {
        inner: portone(&it.sandbox.base_url(), 64),
        sql: it.sql.clone(),
    };
    let engine = Engine::new(
        it.store.clone(),
        gateway,
        policy(),
        limits(),
        Metrics::new(),
        Arc::new(Doorbell::default()),
    );
    // An assertion that fails leaves its attempt unrecorded.
    let swept = engine.sweep(CancellationToken::new()).await.unwrap();
    assert_eq!(swept.counts.paid, 20);
}

/// Hazard: a daemon dies after the claim. Whoever rescues by sending again charges those twice
/// whose request had already left.
#[tokio::test]
async fn what_a_dead_daemon_left_is_asked_about_after_the_lease_and_never_blindly_sent() {
    let it = given().due_many(10).await;
    let claims = claim(&it).await;
    // Half of the requests had left when it died.
    let gateway = portone(&it.sandbox.base_url(), 64);
    for claim in claims.iter().take(5) {
        let outcome = gateway.charge(&claim.request).await;
        assert!(matches!(outcome, ChargeOutcome::Paid(_)), "{outcome:?}");
    }
    assert_eq!(it.sweep().await.counts.paid, 0, "not while the lease holds");
    it.tally("10 started").await;
    it.advance("91 seconds").await;
    assert_eq!(it.sweep().await.counts.paid, 5, "those are found");
    assert_eq!(it.requests(Route::Again), 5, "nothing was sent again yet");
    it.sweep_until_nothing_is_open("5 minutes", 12).await;
    it.approved(10);
    it.tally("10 paid").await;
}

/// Hazard: a process that was stopped longer than its lease wakes up and writes over what another
/// has found out. (What else it may and may not say: `record.rs`.)
#[tokio::test]
async fn a_zombie_may_say_that_money_moved_but_may_not_move_the_cycle() {
    let it = given().due("cust_1").await;
    let zombie = claim_one(&it).await;
    it.advance("2 minutes").await;
    assert_eq!(take_over(&it).await.len(), 1);
    let paid_written = Recorded::Stale { paid_written: true };
    assert_eq!(record(&it, paid(&zombie)).await, paid_written);
    it.attempts("1 paid").await;
    it.row("active unknown abandoned 1 0 open recheck").await;

    assert_eq!(it.sweep().await.counts.paid, 0, "nobody charges it again");
    it.row("active unknown abandoned 0 0").await;
    it.debts("1 paid").await;
    it.approved(0);
}

/// Hazard: the commit was carried out, its reply was lost, and the batch is written once more.
#[tokio::test]
async fn a_batch_that_is_recorded_twice_changes_nothing_the_second_time() {
    let it = given().due_many(5).await;
    let answers: Vec<Answer> = claim(&it).await.iter().map(paid).collect();
    assert_eq!(record_all(&it, &answers).await, [Recorded::Moved; 5]);
    let rows = "select string_agg(s::text, '|' order by id) from billd.subscription s";
    let before = it.text(rows).await;
    assert_eq!(record_all(&it, &answers).await, [Recorded::Already; 5]);
    it.shows(rows, before).await;
}

/// Hazard: money is reported for a debt that was given up long ago.
#[tokio::test]
async fn a_payment_that_turns_up_late_closes_the_debt_and_ends_past_due() {
    let it = given().due("decline-stolen-1").await;
    let late = claim_one(&it).await;
    it.advance("2 minutes").await;
    it.sweep_until_nothing_is_open("5 minutes", 12).await;
    it.row("past_due declined hard_card 1 0").await;
    let paid_written = Recorded::Stale { paid_written: true };
    assert_eq!(record(&it, paid(&late)).await, paid_written);
    it.sweep().await;
    it.row("active declined hard_card 0 0").await;
    it.debts("1 paid").await;
}

/// Hazard: one row that the database refuses takes the outcomes of 499 others with it.
#[tokio::test]
async fn one_poison_row_in_a_batch_leaves_the_others_recorded() {
    let it = given().due_many(40).await;
    it.run(
        "create function poison() returns trigger language plpgsql as $$
         begin raise exception 'poison'; end $$;
         create trigger poison before update on billd.charge_attempt for each row
         when (new.customer_uid = 'cust_7' and new.state = 'paid') execute function poison()",
    )
    .await;
    it.sweep().await;
    it.tally("39 paid, 1 started").await;
    it.run("drop trigger poison on billd.charge_attempt").await;
    it.advance("2 minutes").await;
    assert_eq!(it.sweep().await.counts.paid, 1, "found by asking");
    it.approved(40);
}

#[tokio::test]
async fn several_engines_on_one_book_share_the_work_and_charge_nothing_twice() {
    let it = given().due_many(600).await;
    let others = [it.another_engine(limits()), it.another_engine(limits())];
    let (a, b, c) = tokio::join!(
        it.engine.sweep(CancellationToken::new()),
        others[0].sweep(CancellationToken::new()),
        others[1].sweep(CancellationToken::new()),
    );
    let swept = [a, b, c].map(Result::unwrap);
    let paid = swept.iter().map(|swept| swept.counts.paid);
    assert_eq!(paid.sum::<u64>(), 600, "{swept:?}");
    it.approved(600);
}

/// Hazard: the access token ends in the middle of a sweep.
#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_charge_goes_through() {
    let it = given().due_many_of(30, "a").swept().await;
    it.sandbox.expire_tokens();
    it.subscribe_many(30, "b").await;
    assert_eq!(it.sweep().await.counts.paid, 30);
    let asked_for = it.engine.gateway().token_refreshes();
    assert_eq!(asked_for, 2, "once at each need, by one call");
}

/// Hazard: the gateway is down for a while; every attempt made meanwhile is one that annoys.
#[tokio::test]
async fn a_gateway_that_is_down_stops_charging_and_loses_nothing() {
    let it = given().due_many(200).await;
    it.fault(FaultKind::Error500Before, Route::GetToken);
    let swept = it.sweep().await;
    // None was begun, so no attempt was wasted.
    assert_eq!((swept.counts.paid, swept.due_left), (0, 200));
    it.sandbox.clear_faults();
    it.advance("2 hours").await;
    let healthy = it.another_engine(limits());
    let swept = healthy.sweep(CancellationToken::new()).await.unwrap();
    let counts = (swept.counts.paid, swept.due_left, swept.unknown_left);
    assert_eq!(counts, (200, 0, 0));
    it.approved(200);
}

/// Hazard: a look-up that is behind says "not found" about a charge that was approved.
#[tokio::test]
async fn a_look_up_that_is_behind_leads_to_no_second_charge() {
    let it = given().due("drop-after-approval-1").await;
    it.fault(FaultKind::LookupNotFound, Route::FindAll);
    it.sweep().await;
    for _ in 0..6 {
        it.advance("10 minutes").await;
        it.sweep().await;
    }
    it.approved(1);
    let summary = it.sandbox.summary();
    assert!(
        summary.refused_duplicates >= 1,
        "sent again under the same number, and refused: {summary:?}"
    );
    it.sandbox.clear_faults();
    it.sweep_until_nothing_is_open("1 day", 3).await;
    it.tally("1 paid").await;
}

/// Hazard: the answer says "paid", for another sum. Taking it for a payment hides a wrong charge.
#[tokio::test]
async fn an_answer_for_another_sum_is_an_alarm_and_no_payment() {
    let it = given().due("wrong-amount-1").swept().await;
    it.attempts("1 unknown mismatch parked").await;
    it.shows("select kind from billd.attention", "unknown")
        .await;
}

/// Hazard: the gateway is away for a minute, and with its return each attempt that waits for a person is an alarm and
/// an event once more.
#[tokio::test]
async fn what_waits_for_a_person_goes_on_waiting_while_the_gateway_gives_no_answer() {
    let it = given().due("wrong-amount-1").swept().await;
    it.fault(FaultKind::Error500Before, Route::FindAll);
    it.advance("1 day").await;
    it.sweep().await;
    assert!(it.requests(Route::FindAll) > 0, "it was asked about");
    it.attempts("1 unknown mismatch parked").await;
    it.sandbox.clear_faults();
    it.advance("1 day").await;
    it.sweep().await;
    it.shows("select count(*) from billd.event where kind = 'parked'", 1)
        .await;
}
