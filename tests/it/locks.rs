//! Rows that somebody else holds or changes at the wrong moment.

use std::time::Duration;

use billd::domain::attempt::ChargeOutcome;
use billd::domain::claim::{Answer, Recorded};
use billd::domain::dunning::Decision;
use billd::store::{ClaimLimits, Store};
use portone_sandbox::{Fault, FaultKind, Route};
use sqlx::Acquire;
use tokio_util::sync::CancellationToken;

use crate::crash::{claim, paid};
use crate::guide::{CARD, Shop};
use crate::support::{Book, House, connection, limits};

const LEASE: Duration = Duration::from_secs(90);
const PACE: Duration = Duration::from_hours(1);

/// A transaction of a person at psql, left open.
pub(crate) async fn psql(
    book: &Book,
    statement: &'static str,
) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut transaction = book.sql.begin().await.unwrap();
    let connection = transaction.acquire().await.unwrap();
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
    transaction
}

/// Returns when a statement waits for a lock.
async fn somebody_waits(book: &Book) {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    while book.text(waiting).await == "0" {
        tokio::task::yield_now().await;
    }
}

/// A claim that waits under a cap until the turn is given up, while its snapshot grows old. It returns how
/// many rows it took.
async fn claim_that_waits(
    book: &Book,
) -> (
    sqlx::Transaction<'static, sqlx::Postgres>,
    tokio::task::JoinHandle<usize>,
) {
    // A longer lease than any before is written down by the claim, and waits for the row.
    book.run("update billd.control set lease = interval '90 seconds'")
        .await;
    let turn = psql(book, "select * from billd.control for update").await;
    let store = book.store.clone();
    let claiming = tokio::spawn(async move {
        let limits = ClaimLimits {
            rows_max: 10,
            lease: Duration::from_secs(91),
        };
        store.claim_due(limits).await.unwrap().claims.len()
    });
    somebody_waits(book).await;
    (turn, claiming)
}

/// Hazard: a due row is updated between the snapshot of the claim and its lock. The attempt is begun,
/// and its subscription does not know of it.
#[tokio::test]
async fn a_row_that_changes_while_it_is_claimed_is_claimed_whole() {
    let book = Book::new().await;
    book.subscribe_many(5, "cust_").await;
    let (turn, claiming) = claim_that_waits(&book).await;
    book.run("update billd.subscription set buyer_email = 'new@example.com' where customer_uid = 'cust_3'").await;
    turn.rollback().await.unwrap();
    assert_eq!(claiming.await.unwrap(), 5);
    book.assert_sound().await;
}

/// Hazard: somebody types `begin; update …` and goes to lunch. One row must not hold up the outcomes
/// of all others, nor the claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_locked_row_holds_up_nobody_else() {
    let house = House::new().await;
    let hasty = Store::new(&billd::store::Connection {
        timeout: Duration::from_secs(2),
        ..connection(&house.book.url)
    })
    .unwrap();
    let engine = house.engine_on(hasty, limits());
    house.book.subscribe_many(300, "cust_").await;
    house.sandbox.fault(Fault {
        latency_ms: Some(portone_sandbox::Latency::Fixed(300)),
        ..Fault::new(FaultKind::LatencyMs, Route::Again)
    });
    let sweeping = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.sweep(CancellationToken::new()).await })
    };
    let first = "select exists (select from billd.charge_attempt where customer_uid = 'cust_1')";
    while house.book.text(first).await == "false" {
        tokio::task::yield_now().await;
    }
    let lunch = psql(
        &house.book,
        "update billd.subscription set buyer_name = '점심' where customer_uid = 'cust_1'",
    )
    .await;
    let recorded = "select count(*) from billd.billing_cycle where state = 'paid'";
    while house.book.text(recorded).await != "299" {
        assert!(!sweeping.is_finished(), "the sweep ended without them");
        tokio::task::yield_now().await;
    }
    lunch.commit().await.unwrap();
    assert_eq!(sweeping.await.unwrap().unwrap().counts.paid, 300);
    house.book.assert_sound().await;
}

/// Hazard: a row that is locked keeps every other open attempt from being asked about.
#[tokio::test]
async fn asking_passes_a_locked_row_by() {
    let book = Book::new().await;
    book.subscribe_many(3, "cust_").await;
    assert_eq!(claim(&book).await.len(), 3);
    book.advance("2 minutes").await;
    let locked = psql(
        &book,
        "select * from billd.subscription where customer_uid = 'cust_2' for update",
    )
    .await;
    assert_eq!(book.claim_open(10, LEASE).await.len(), 2);
    locked.rollback().await.unwrap();
    assert_eq!(book.claim_open(10, LEASE).await.len(), 1);
}

/// Hazard: a payment is reported late for one attempt, in the same batch as the decline of a later
/// one. The debt is paid, and must not be charged a third time.
#[tokio::test]
async fn a_late_payment_beside_a_later_decline_ends_the_charging() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    let first = claim(&house.book).await.remove(0);
    let declined = Answer {
        outcome: Some(ChargeOutcome::Declined(billd::domain::attempt::Decline {
            class: billd::domain::decline::DeclineClass::SoftFunds,
            pg_provider: None,
            code: None,
            message: "잔액부족".to_owned(),
            imp_uid: None,
        })),
        decision: Decision::Retry {
            wait: Duration::from_mins(1),
            took_rung: true,
        },
        ..paid(&first)
    };
    house
        .book
        .store
        .record(std::slice::from_ref(&declined), PACE, LEASE)
        .await
        .unwrap();
    house.book.advance("2 minutes").await;
    let second = claim(&house.book).await.remove(0);
    let again = Answer {
        key: second.key.clone(),
        ..declined
    };
    let recorded = house
        .book
        .store
        .record(&[paid(&first), again], PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(
        recorded,
        [Recorded::Stale { paid_written: true }, Recorded::Moved]
    );
    house.book.advance("1 day").await;
    assert_eq!(house.sweep().await.counts.paid, 0);
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle")
            .await,
        "paid"
    );
    assert_eq!(house.sandbox.summary().approvals, 0);
}

/// Hazard: a fact that is committed while a second look waits for its lock is not seen by it.
#[tokio::test]
async fn a_second_look_sees_what_was_committed_while_it_waited() {
    let house = House::new().await;
    house.book.subscribe("decline-balance-1").await;
    let late = claim(&house.book).await.remove(0);
    house.book.advance("2 minutes").await;
    house.sweep_until_nothing_is_open("5 minutes", 12).await;
    house
        .book
        .run("update billd.subscription set recheck = true")
        .await;
    let recorded = house
        .book
        .store
        .record(&[paid(&late)], PACE, LEASE)
        .await
        .unwrap();
    assert_eq!(recorded, [Recorded::Stale { paid_written: true }]);
    assert_eq!(
        house
            .book
            .text("select recheck from billd.subscription")
            .await,
        "true"
    );
    house.book.advance("30 days").await;
    let before = house.sandbox.summary().requests[&Route::Again];
    house.sweep().await;
    assert_eq!(
        house
            .book
            .text("select state from billd.billing_cycle order by period limit 1")
            .await,
        "paid"
    );
    let periods = house.sandbox.summary().requests[&Route::Again].checked_sub(before);
    assert_eq!(
        periods,
        Some(0),
        "the next period is not due yet, and the paid one is not charged"
    );
}

/// Hazard: a primary that was switched over refuses every write for a while. That speaks of the
/// server and not of the rows, so no outcome may be given up for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_outlast_a_server_that_is_read_only() {
    let house = House::new().await;
    house.book.subscribe_many(20, "cust_").await;
    house.sandbox.fault(Fault {
        latency_ms: Some(portone_sandbox::Latency::Fixed(400)),
        ..Fault::new(FaultKind::LatencyMs, Route::Again)
    });
    let sweeping = {
        let engine = house.engine.clone();
        tokio::spawn(async move { engine.sweep(CancellationToken::new()).await })
    };
    while house.sandbox.summary().requests.get(&Route::Again) != Some(&20) {
        tokio::task::yield_now().await;
    }
    let name = house.book.text("select current_database()").await;
    house
        .book
        .run(&format!(
            "alter database {name} set default_transaction_read_only = on"
        ))
        .await;
    house.book.run("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()").await;
    while house.sandbox.summary().approvals < 20 {
        tokio::task::yield_now().await;
    }
    let back = format!(
        "begin read write; alter database {name} set default_transaction_read_only = off; commit"
    );
    let refused = "select count(*) from pg_stat_activity where datname = current_database() and query like '%store::record%'";
    while house.book.text(refused).await == "0" {
        tokio::task::yield_now().await;
    }
    house.book.run(&back).await;
    house.book.run("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()").await;
    drop(sweeping.await.unwrap());
    let paid = "select count(*) from billd.charge_attempt where state = 'paid'";
    while house.book.text(paid).await != "20" {
        tokio::task::yield_now().await;
    }
    house.book.assert_sound().await;
}

/// Hazard: the price changes while an attempt is open, and the same number leaves again with the old
/// sum and the new tax.
#[tokio::test]
async fn tax_and_instalments_belong_to_the_sum_of_their_cycle() {
    let book = Book::new().await;
    book.run("insert into billd.subscription (customer_uid, name, amount, tax_free, card_quota) values ('c', 'n', 60000, 60000, 3)").await;
    let first = claim(&book).await.remove(0);
    book.run("update billd.subscription set amount = 90000, tax_free = 90000, card_quota = 0")
        .await;
    book.advance("2 minutes").await;
    let open = book.claim_open(10, LEASE).await.remove(0).unwrap();
    let (now, before) = (&open.claim.request, &first.request);
    assert!(
        now.merchant_uid == before.merchant_uid
            && now.money == before.money
            && now.terms == before.terms,
        "what is sent again is what was sent before"
    );
}

/// Hazard: the handbook invites people to change a debt that is in dunning. While they do, its retry
/// must not hold up the claims, the questions and the second looks of everybody else.
#[tokio::test]
async fn a_locked_debt_holds_up_nobody_else() {
    let house = House::new().await;
    house.book.subscribe("decline-balance-once-1").await;
    house.sweep().await;
    house.book.advance("1 day").await;
    house.book.subscribe_many(5, "cust_").await;
    let statement = "update billd.billing_cycle set amount = 900 where state = 'due'";
    let editing = psql(&house.book, statement).await;
    let limits = ClaimLimits {
        rows_max: 10,
        lease: LEASE,
    };
    assert_eq!(
        house
            .book
            .store
            .claim_due(limits)
            .await
            .unwrap()
            .claims
            .len(),
        5
    );
    editing.commit().await.unwrap();
    let claimed = house.book.store.claim_due(limits).await.unwrap().claims;
    assert_eq!(claimed.len(), 1);
    let amounts = claimed
        .into_iter()
        .map(|claim| claim.unwrap().request.money.amount());
    assert_eq!(
        amounts.collect::<Vec<_>>(),
        [900],
        "and the new sum is asked for"
    );

    house.book.advance("2 minutes").await;
    let editing = psql(
        &house.book,
        "select * from billd.billing_cycle where amount = 900 for update",
    )
    .await;
    assert_eq!(house.book.claim_open(10, LEASE).await.len(), 5);
    editing.rollback().await.unwrap();
}

/// Hazard: the trigger that ends a failed first payment locks the period before its subscription, a
/// record the other way round, and PostgreSQL kills one of the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_first_payment_locks_the_subscription_before_its_period() {
    let shop = Shop::new().await;
    shop.gateway
        .fault(Fault::new(FaultKind::DropBefore, Route::Onetime).times(1));
    let subscribe = "charge onetime --amount 9900 --name x --customer-uid cust_1 --subscribe";
    shop.json(7, CARD, subscribe);
    let mut record = psql(
        &shop.book,
        "select from billd.subscription for no key update",
    )
    .await;
    let sql = shop.book.sql.clone();
    let closing = tokio::spawn(async move {
        let close = "update billd.charge_attempt set state = 'not_sent', finished_at = billd.now(), ask_at = null";
        sqlx::raw_sql(close).execute(&sql).await
    });
    somebody_waits(&shop.book).await;
    let period = "select from billd.billing_cycle for update nowait";
    let connection = record.acquire().await.unwrap();
    sqlx::raw_sql(period).execute(connection).await.unwrap();
    record.commit().await.unwrap();
    closing.await.unwrap().unwrap();
}

/// Hazard: a claim writes nothing to a subscription. One whose snapshot is older than another's commit
/// finds the rows free, and begins them a second time or fails altogether.
#[tokio::test]
async fn a_claim_that_was_overtaken_leaves_the_rows_to_the_other_one_and_takes_what_is_left() {
    let book = Book::new().await;
    book.subscribe_many(5, "cust_").await;
    let (turn, claiming) = claim_that_waits(&book).await;
    let three = ClaimLimits {
        rows_max: 3,
        lease: LEASE,
    };
    assert_eq!(book.store.claim_due(three).await.unwrap().claims.len(), 3);
    // One of them is written again by a person, so that no trace of the lock is left.
    book.run("update billd.subscription set buyer_name = '점심' where customer_uid = 'cust_1'")
        .await;
    turn.rollback().await.unwrap();
    assert_eq!(claiming.await.unwrap(), 2);
    assert_eq!(
        book.text("select count(*) from billd.charge_attempt").await,
        "5"
    );
    book.assert_sound().await;
}
