//! Crashes, lost claims, lost replies, poison: what the rows say, and that nothing is charged twice.

use std::sync::Arc;
use std::time::Duration;

use billd::domain::attempt::{ChargeOutcome, ChargeRequest, Lookup, Payment};
use billd::domain::card::Card;
use billd::domain::claim::{Answer, Claim, Recorded};
use billd::domain::dunning::Decision;
use billd::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use billd::domain::refund::{RefundOutcome, RefundRequest};
use billd::engine::{Doorbell, Engine};
use billd::gateway::portone_v1::PortOne;
use billd::gateway::{
    BillingKey, BookPage, CallError, Expected, Gateway, GatewayError, KeyOwner, PaymentRecord,
    Reservation, ReservationPage, Window,
};
use billd::metrics::Metrics;
use billd::store::ClaimLimits;
use portone_sandbox::{Fault, FaultKind, Route};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::{Book, House, limits, policy, portone, text};

const LEASE: Duration = Duration::from_secs(90);
const PACE: Duration = Duration::from_hours(1);

pub(crate) async fn claim(book: &Book) -> Vec<Claim> {
    let limits = ClaimLimits {
        rows_max: 500,
        lease: LEASE,
    };
    book.store
        .claim_due(limits)
        .await
        .unwrap()
        .claims
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

pub(crate) fn paid(claim: &Claim) -> Answer {
    Answer {
        key: claim.key.clone(),
        outcome: Some(ChargeOutcome::Paid(Payment {
            imp_uid: ImpUid::parse("imp_1").unwrap(),
            pg_provider: None,
            pg_tid: None,
            receipt_url: None,
            cancelled_amount: 0,
        })),
        decision: Decision::Advance,
        not_found: 0,
    }
}

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
        let state = text(
            &self.sql,
            &format!(
                "select state from billd.charge_attempt where merchant_uid = '{}'",
                request.merchant_uid
            ),
        )
        .await;
        assert_eq!(
            state, "started",
            "the intent is on disk before the request leaves"
        );
        let idle = text(
            &self.sql,
            "select count(*) from pg_stat_activity
             where datname = current_database() and state like 'idle in transaction%'",
        )
        .await;
        assert_eq!(
            idle, "0",
            "no transaction is open across a call to the gateway"
        );
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
    let house = House::new().await;
    house.book.subscribe_many(20, "cust_").await;
    let gateway = AuditingGateway {
        inner: portone(&house.sandbox.base_url(), 64),
        sql: house.book.sql.clone(),
    };
    let engine = Engine::new(
        house.book.store.clone(),
        gateway,
        policy(),
        limits(),
        Metrics::new(),
        Arc::new(Doorbell::default()),
    );
    let swept = engine.sweep(CancellationToken::new()).await.unwrap();
    assert_eq!(
        swept.counts.paid, 20,
        "an assertion that fails leaves its attempt unrecorded"
    );
}

/// Hazard: a daemon dies after the claim. Whoever rescues by sending again charges those twice
/// whose request had already left.
#[tokio::test]
async fn what_a_dead_daemon_left_is_asked_about_after_the_lease_and_never_blindly_sent() {
    let house = House::new().await;
    house.book.subscribe_many(10, "cust_").await;
    let claims = claim(&house.book).await;
    // Half of the requests had left when it died.
    let gateway = portone(&house.sandbox.base_url(), 64);
    for claim in claims.iter().take(5) {
        assert!(matches!(
            gateway.charge(&claim.request).await,
            ChargeOutcome::Paid(_)
        ));
    }
    assert_eq!(
        house.sweep().await.counts.paid,
        0,
        "not while the lease holds"
    );
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.charge_attempt where state = 'started'")
            .await,
        "10"
    );
    house.book.advance("91 seconds").await;
    assert_eq!(
        house.sweep().await.counts.paid,
        5,
        "those that had left are found"
    );
    assert_eq!(
        house.sandbox.summary().requests[&Route::Again],
        5,
        "nothing was sent again yet"
    );
    house.sweep_until_nothing_is_open("5 minutes", 12).await;
    assert_eq!(house.sandbox.summary().approvals, 10);
    assert_eq!(house.sandbox.summary().merchant_uids_approved_twice, 0);
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.charge_attempt where attempt_no > 1")
            .await,
        "0"
    );
}

/// Hazard: a process that was stopped longer than its lease wakes up and writes over what another
/// has found out.
#[tokio::test]
async fn a_zombie_may_say_that_money_moved_but_may_not_move_the_cycle() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    let zombie = claim(&house.book).await.remove(0);
    house.book.advance("2 minutes").await;
    let open = house.book.claim_open(10, LEASE).await;
    assert_eq!(open.len(), 1);

    let recorded = house
        .book
        .store
        .record(&[paid(&zombie)], PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(recorded, [Recorded::Stale { paid_written: true }]);
    let row = "select concat_ws(' ', open_attempt is not null, recheck) from billd.subscription";
    assert_eq!(
        house
            .book
            .text("select state from billd.charge_attempt")
            .await,
        "paid"
    );
    assert_eq!(
        house.book.text(row).await,
        "t t",
        "the fact stands, the move does not"
    );

    assert_eq!(
        house.sweep().await.counts.paid,
        0,
        "and nobody charges it again"
    );
    assert_eq!(house.book.text(row).await, "f f");
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle")
            .await,
        "paid"
    );
    assert_eq!(house.sandbox.summary().approvals, 0);
}

/// Hazard: a stale "declined" closes an attempt that was sent again meanwhile.
#[tokio::test]
async fn a_zombie_can_not_say_that_no_money_moved() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    let zombie = claim(&house.book).await.remove(0);
    house.book.advance("2 minutes").await;
    drop(house.book.claim_open(10, LEASE).await);
    let answer = Answer {
        outcome: Some(ChargeOutcome::NotSent(
            billd::domain::attempt::NotSent::LeaseTooShort,
        )),
        decision: Decision::Retry {
            wait: Duration::from_secs(30),
            took_rung: false,
        },
        ..paid(&zombie)
    };
    let recorded = house
        .book
        .store
        .record(&[answer], PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(
        recorded,
        [Recorded::Stale {
            paid_written: false
        }]
    );
    assert_eq!(
        house
            .book
            .text("select state from billd.charge_attempt")
            .await,
        "unknown"
    );
}

/// Hazard: the commit was carried out, its reply was lost, and the batch is written once more.
#[tokio::test]
async fn a_batch_that_is_recorded_twice_changes_nothing_the_second_time() {
    let house = House::new().await;
    house.book.subscribe_many(5, "cust_").await;
    let answers: Vec<Answer> = claim(&house.book).await.iter().map(paid).collect();
    let first = house
        .book
        .store
        .record(&answers, PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(first, [Recorded::Moved; 5]);
    let rows = "select string_agg(s::text, '|' order by id) from billd.subscription s";
    let before = house.book.text(rows).await;
    let second = house
        .book
        .store
        .record(&answers, PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(second, [Recorded::Already; 5]);
    assert_eq!(house.book.text(rows).await, before);
}

/// Hazard: money is reported for a debt that was given up long ago.
#[tokio::test]
async fn a_payment_that_turns_up_late_closes_the_debt_and_ends_past_due() {
    let house = House::new().await;
    house.book.subscribe("decline-stolen-1").await;
    let late = claim(&house.book).await.remove(0);
    house.book.advance("2 minutes").await;
    house.sweep_until_nothing_is_open("5 minutes", 12).await;
    assert_eq!(
        house
            .book
            .text("select state from billd.subscription")
            .await,
        "past_due"
    );
    let recorded = house
        .book
        .store
        .record(&[paid(&late)], PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(recorded, [Recorded::Stale { paid_written: true }]);
    house.sweep().await;
    assert_eq!(
        house.book.text("select concat_ws(' ', s.state, c.state) from billd.subscription s, billd.billing_cycle c").await,
        "active paid"
    );
}

/// Hazard: one row that the database refuses takes the outcomes of 499 others with it.
#[tokio::test]
async fn one_poison_row_in_a_batch_leaves_the_others_recorded() {
    let house = House::new().await;
    house.book.subscribe_many(40, "cust_").await;
    house
        .book
        .run(
            "create function poison() returns trigger language plpgsql as $$
             begin raise exception 'poison'; end $$;
             create trigger poison before update on billd.charge_attempt for each row
             when (new.customer_uid = 'cust_7' and new.state = 'paid') execute function poison()",
        )
        .await;
    house.sweep().await;
    assert_eq!(
        house
            .book
            .text(
                "select string_agg(state || ' ' || n, ', ' order by state) from
            (select state, count(*) as n from billd.charge_attempt group by state) g"
            )
            .await,
        "paid 39, started 1"
    );
    house
        .book
        .run("drop trigger poison on billd.charge_attempt")
        .await;
    house.book.advance("2 minutes").await;
    assert_eq!(
        house.sweep().await.counts.paid,
        1,
        "found by asking, once the row can be written"
    );
    assert_eq!(house.sandbox.summary().approvals, 40);
}

#[tokio::test]
async fn several_engines_on_one_book_share_the_work_and_charge_nothing_twice() {
    let house = House::new().await;
    house.book.subscribe_many(600, "cust_").await;
    let others = [
        house.another_engine(limits()),
        house.another_engine(limits()),
    ];
    let (a, b, c) = tokio::join!(
        house.engine.sweep(CancellationToken::new()),
        others[0].sweep(CancellationToken::new()),
        others[1].sweep(CancellationToken::new()),
    );
    let counts = [a, b, c].map(|swept| swept.unwrap().counts.paid);
    assert_eq!(counts.iter().sum::<u64>(), 600, "{counts:?}");
    assert_eq!(house.sandbox.summary().approvals, 600);
    assert_eq!(house.sandbox.summary().merchant_uids_approved_twice, 0);
}

/// Hazard: the access token ends in the middle of a sweep.
#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_charge_goes_through() {
    let house = House::new().await;
    house.book.subscribe_many(30, "a").await;
    house.sweep().await;
    house.sandbox.expire_tokens();
    house.book.subscribe_many(30, "b").await;
    assert_eq!(house.sweep().await.counts.paid, 30);
    assert_eq!(
        house.engine.gateway().token_refreshes(),
        2,
        "asked for once at each need, by one call"
    );
}

/// Hazard: the gateway is down for a while; every attempt made meanwhile is one that annoys.
#[tokio::test]
async fn a_gateway_that_is_down_stops_charging_and_loses_nothing() {
    let house = House::new().await;
    house
        .sandbox
        .fault(Fault::new(FaultKind::Error500Before, Route::GetToken));
    house.book.subscribe_many(200, "cust_").await;
    let swept = house.sweep().await;
    assert_eq!(swept.counts.paid, 0);
    assert_eq!(
        swept.due_left, 200,
        "none was begun, so no attempt was wasted"
    );
    house.sandbox.clear_faults();
    house.book.advance("2 hours").await;
    let healthy = house.another_engine(limits());
    let swept = healthy.sweep(CancellationToken::new()).await.unwrap();
    assert_eq!(
        (swept.counts.paid, swept.due_left, swept.unknown_left),
        (200, 0, 0)
    );
    assert_eq!(house.sandbox.summary().approvals, 200);
}

/// Hazard: a look-up that is behind says "not found" about a charge that was approved.
#[tokio::test]
async fn a_look_up_that_is_behind_leads_to_no_second_charge() {
    let house = House::new().await;
    house.book.subscribe("drop-after-approval-1").await;
    house
        .sandbox
        .fault(Fault::new(FaultKind::LookupNotFound, Route::FindAll));
    house.sweep().await;
    for _ in 0..6 {
        house.book.advance("10 minutes").await;
        house.sweep().await;
    }
    let summary = house.sandbox.summary();
    assert_eq!(summary.approvals, 1);
    assert!(
        summary.refused_duplicates >= 1,
        "sent again under the same number, and refused: {summary:?}"
    );
    house.sandbox.clear_faults();
    house.sweep_until_nothing_is_open("1 day", 3).await;
    assert_eq!(
        house
            .book
            .text("select state || ' ' || attempt_no from billd.charge_attempt")
            .await,
        "paid 1"
    );
}

/// Hazard: the answer says "paid", for another sum. Taking it for a payment hides a wrong charge.
#[tokio::test]
async fn an_answer_for_another_sum_is_an_alarm_and_no_payment() {
    let house = House::new().await;
    house.book.subscribe("wrong-amount-1").await;
    house.sweep().await;
    assert_eq!(
        house.book.text("select concat_ws(' ', state, reason, parked_at is not null) from billd.charge_attempt").await,
        "unknown mismatch t"
    );
    assert_eq!(
        house.book.text("select kind from billd.attention").await,
        "unknown"
    );
}
