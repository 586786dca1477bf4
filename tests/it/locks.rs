//! Rows that somebody else holds or changes at the wrong moment.

use std::time::Duration;

use billd::domain::claim::{Answer, Recorded};
use billd::store::{ClaimLimits, Connection, Store};
use portone_sandbox::{Fault, FaultKind, Route};
use sqlx::{Acquire, Postgres, Row, Transaction};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::guide::{CARD, Shop};
use crate::process::{Daemon, billd, http_get, until};
use crate::support::{Book, connection, limits};
use crate::words::{
    PACE, claim, claim_at_most, claim_one, declined, given, paid, psql, record, record_all,
    take_over, type_on,
};

const OTHERS_IN_THIS_DATABASE: &str =
    "pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";

fn free_address() -> std::net::SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0");
    free.unwrap().local_addr().unwrap()
}

/// Returns when a statement waits for a lock.
async fn somebody_waits(book: &Book) {
    let waiting = "select exists (select from pg_stat_activity
        where wait_event_type = 'Lock' and datname = current_database())";
    book.comes_to(waiting, "true").await;
}

/// A claim that waits for a row of control, while its snapshot grows old. It returns how many rows it took.
async fn claim_that_waits(book: &Book) -> (Transaction<'static, Postgres>, JoinHandle<usize>) {
    // A longer lease than any before is written down by the claim, and waits for the row.
    book.run("update billd.control set lease = interval '90 seconds'")
        .await;
    let control = psql(book, "select * from billd.control for update").await;
    let store = book.store.clone();
    let claiming = tokio::spawn(async move {
        let limits = ClaimLimits {
            rows_max: 10,
            lease: Duration::from_secs(91),
        };
        store.claim_due(limits).await.unwrap().claims.len()
    });
    somebody_waits(book).await;
    (control, claiming)
}

/// Hazard: a due row is updated between the snapshot of the claim and its lock. The attempt is begun,
/// and its subscription does not know of it.
#[tokio::test]
async fn a_row_that_changes_while_it_is_claimed_is_claimed_whole() {
    let it = given().due_many(5).await;
    let (control, claiming) = claim_that_waits(&it).await;
    it.run("update billd.subscription set buyer_email = 'new@example.com' where customer_uid = 'cust_3'")
        .await;
    control.rollback().await.unwrap();
    assert_eq!(claiming.await.unwrap(), 5);
    it.assert_sound().await;
}

/// Hazard: somebody types `begin; update …` and goes to lunch. One row must not hold up the outcomes
/// of all others, nor the claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_locked_row_holds_up_nobody_else() {
    let it = given().due_many(300).await;
    let hasty = Connection {
        timeout: Duration::from_secs(2),
        ..connection(&it.url)
    };
    let engine = it.engine_on(Store::new(&hasty).unwrap(), limits());
    it.slow(Route::Again, 300);
    let sweeping = tokio::spawn(async move { engine.sweep(CancellationToken::new()).await });
    let first = "select exists (select from billd.charge_attempt where customer_uid = 'cust_1')";
    it.comes_to(first, "true").await;
    let edit = "update billd.subscription set buyer_name = '점심' where customer_uid = 'cust_1'";
    let lunch = psql(&it, edit).await;
    let recorded = "select count(*) from billd.billing_cycle where state = 'paid'";
    it.comes_to(recorded, "299").await;
    assert!(!sweeping.is_finished(), "it waits for the last one");
    lunch.commit().await.unwrap();
    assert_eq!(sweeping.await.unwrap().unwrap().counts.paid, 300);
    it.assert_sound().await;
}

/// Hazard: a row that is locked keeps every other open attempt from being asked about.
#[tokio::test]
async fn asking_passes_a_locked_row_by() {
    let it = given().due_many(3).begun().later("2 minutes").await;
    let lock = "select * from billd.subscription where customer_uid = 'cust_2' for update";
    let locked = psql(&it, lock).await;
    assert_eq!(take_over(&it).await.len(), 2);
    locked.rollback().await.unwrap();
    assert_eq!(take_over(&it).await.len(), 1);
}

/// Hazard: a payment is reported late for one attempt, in the same batch as the decline of a later
/// one. The debt is paid, and must not be charged a third time.
#[tokio::test]
async fn a_late_payment_beside_a_later_decline_ends_the_charging() {
    let it = given().due("cust_1").await;
    let first = claim_one(&it).await;
    record(&it, declined(&first)).await;
    it.advance("2 minutes").await;
    let second = Answer {
        key: claim_one(&it).await.key,
        ..declined(&first)
    };
    let paid_written = Recorded::Stale { paid_written: true };
    assert_eq!(
        record_all(&it, &[paid(&first), second]).await,
        [paid_written, Recorded::Moved]
    );
    it.advance("1 day").await;
    assert_eq!(it.sweep().await.counts.paid, 0);
    it.debts("1 paid").await;
    it.approved(0);
}

/// Hazard: a fact that is committed while a second look waits for its lock is not seen by it.
#[tokio::test]
async fn a_second_look_sees_what_was_committed_while_it_waited() {
    let it = given().due("decline-balance-1").await;
    let late = claim_one(&it).await;
    it.advance("2 minutes").await;
    it.sweep_until_nothing_is_open("5 minutes", 12).await;
    it.run(
        "select set_config('billd.writer', 'plan', true);
         update billd.subscription set recheck = true",
    )
    .await;
    let paid_written = Recorded::Stale { paid_written: true };
    assert_eq!(record(&it, paid(&late)).await, paid_written);
    it.shows("select recheck from billd.subscription", true)
        .await;
    it.advance("30 days").await;
    let before = it.requests(Route::Again);
    it.sweep().await;
    let first = "select state from billd.billing_cycle order by period limit 1";
    it.shows(first, "paid").await;
    // The next period is not due yet, and the paid one is not charged.
    assert_eq!(it.requests(Route::Again), before);
}

/// Hazard: a primary that was switched over refuses every write for a while. That speaks of the
/// server and not of the rows, so no outcome may be given up for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_outlast_a_server_that_is_read_only() {
    let it = given().due_many(20).await;
    it.slow(Route::Again, 400);
    let sweeping = it.sweeping();
    while it.requests(Route::Again) != 20 {
        tokio::task::yield_now().await;
    }
    let cut = format!("select pg_terminate_backend(pid) from {OTHERS_IN_THIS_DATABASE}");
    let name = it.text("select current_database()").await;
    let read_only = format!("alter database {name} set default_transaction_read_only =");
    it.run(&format!("{read_only} on")).await;
    it.run(&cut).await;
    while it.approvals() < 20 {
        tokio::task::yield_now().await;
    }
    let refused = format!(
        "select exists (select from {OTHERS_IN_THIS_DATABASE} and query like '%store::record%')"
    );
    it.comes_to(&refused, "true").await;
    it.run(&format!("begin read write; {read_only} off; commit"))
        .await;
    it.run(&cut).await;
    drop(sweeping.await.unwrap());
    let paid = "select count(*) from billd.charge_attempt where state = 'paid'";
    it.comes_to(paid, "20").await;
    it.assert_sound().await;
}

/// Hazard: the price changes while an attempt is open, and the same number leaves again with the old
/// sum and the new tax.
#[tokio::test]
async fn tax_and_instalments_belong_to_the_sum_of_their_cycle() {
    let it = given().due("cust_1").await;
    it.run("update billd.subscription set amount = 60000, tax_free = 60000, card_quota = 3")
        .await;
    let first = claim_one(&it).await;
    it.run("update billd.subscription set amount = 90000, tax_free = 90000, card_quota = 0")
        .await;
    it.advance("2 minutes").await;
    let open = take_over(&it).await.remove(0);
    let (now, before) = (&open.claim.request, &first.request);
    // What is sent again is what was sent before.
    assert_eq!(now.merchant_uid, before.merchant_uid);
    assert!(now.money == before.money && now.terms == before.terms);
}

/// Hazard: the handbook invites people to change a debt that is in dunning. While they do, its retry
/// must not hold up the claims, the questions and the second looks of everybody else.
#[tokio::test]
async fn a_locked_debt_holds_up_nobody_else() {
    let it = given().due("decline-balance-once-1").swept().await;
    it.advance("1 day").await;
    it.subscribe_many(5, "cust_").await;
    let edit = "update billd.billing_cycle set amount = 900 where state = 'due'";
    let editing = psql(&it, edit).await;
    assert_eq!(claim(&it).await.len(), 5);
    editing.commit().await.unwrap();
    // And the new sum is asked for.
    assert_eq!(claim_one(&it).await.request.money.amount(), 900);

    it.advance("2 minutes").await;
    let lock = "select * from billd.billing_cycle where amount = 900 for update";
    let editing = psql(&it, lock).await;
    assert_eq!(take_over(&it).await.len(), 5);
    editing.rollback().await.unwrap();
}

/// Hazard: the trigger that ends a failed first payment locks the period before its subscription, a
/// record the other way round, and PostgreSQL kills one of the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_first_payment_locks_the_subscription_before_its_period() {
    let shop = Shop::new().await;
    let lost = Fault::new(FaultKind::DropBefore, Route::Onetime).times(1);
    shop.gateway.fault(lost);
    let subscribe = "charge onetime --amount 9900 --name x --customer-uid cust_1 --subscribe";
    shop.json(7, CARD, subscribe);
    let lock = "select from billd.subscription for no key update";
    let mut record = psql(&shop.book, lock).await;
    let sql = shop.book.sql.clone();
    let closing = tokio::spawn(async move {
        let close = "update billd.charge_attempt
            set state = 'not_sent', finished_at = billd.now(), ask_at = null";
        sqlx::raw_sql(close).execute(&sql).await
    });
    somebody_waits(&shop.book).await;
    let period = "select from billd.billing_cycle for update nowait";
    type_on(&mut record, period).await.unwrap();
    record.commit().await.unwrap();
    closing.await.unwrap().unwrap();
}

/// Hazard: a claim whose snapshot is older than another's commit finds the rows free, and begins them a
/// second time or fails altogether.
#[tokio::test]
async fn a_claim_that_was_overtaken_leaves_the_rows_to_the_other_one_and_takes_what_is_left() {
    let it = given().due_many(5).await;
    let (control, claiming) = claim_that_waits(&it).await;
    assert_eq!(claim_at_most(&it, 3).await.len(), 3);
    // One of them is written again by a person, so that no trace of the lock is left.
    it.run("update billd.subscription set buyer_name = '점심' where customer_uid = 'cust_1'")
        .await;
    control.rollback().await.unwrap();
    assert_eq!(claiming.await.unwrap(), 2);
    it.tally("5 started").await;
    it.assert_sound().await;
}

/// Hazard: 250 rows that are to be planned anew are locked in somebody's session, and each look takes the first 250.
#[tokio::test]
async fn rows_to_plan_anew_that_somebody_has_locked_take_the_place_of_no_others() {
    let it = given().due_many(30).await;
    it.run("begin; set local billd.writer = 'plan'; update billd.subscription set recheck = true; commit")
        .await;
    let lock = "select id from billd.subscription order by id limit 20 for update";
    let lunch = psql(&it, lock).await;
    let planned = it.store.recheck(10, PACE).await.unwrap();
    assert_eq!(planned.len(), 10);
    assert!(planned.iter().all(|one| one.moved), "{planned:?}");
    lunch.rollback().await.unwrap();
    assert_eq!(it.store.recheck(100, PACE).await.unwrap().len(), 20);
}

/// Hazard: a session that was left open holds a row that is due, and nothing anywhere says why it is not charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_a_session_open_on_a_row_that_is_due_is_named() {
    let it = given().due_many(3).await;
    let (lunch, pid) = {
        let lock = "select * from billd.subscription where customer_uid = 'cust_2' for update";
        let mut lunch = psql(&it, lock).await;
        let connection = lunch.acquire().await.unwrap();
        let pid = sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection);
        let pid: i32 = pid.await.unwrap().get(0);
        (lunch, pid)
    };
    let told = "select string_agg(concat_ws(' ', kind, customer_uid, substring(reason from 'process \\d+')), ', ')
        from billd.attention a join billd.subscription s on s.id = a.subscription_id";
    it.shows(told, "null").await;
    it.advance("2 minutes").await;
    it.shows(told, format!("locked cust_2 process {pid}")).await;

    let free = free_address();
    let mut command = billd(&it.url, &it.sandbox.base_url());
    let mut daemon = Daemon::start(command.env("BILLD__HTTP__LISTEN", free.to_string()));
    it.comes_to(
        "select count(*) from billd.charge_attempt where state = 'paid'",
        "2",
    )
    .await;
    until("the figure says so", async || {
        let metrics = http_get(free, "metrics").await;
        metrics.contains("billd_locked_rows 1")
    })
    .await;
    let said = daemon.said();
    assert!(said.contains(&format!("process {pid} ")), "{said}");
    it.debts("2 paid").await;
    lunch.rollback().await.unwrap();
    until("it is charged, and the figure is back", async || {
        let metrics = http_get(free, "metrics").await;
        metrics.contains("billd_locked_rows 0") && crate::process::paid(&it).await == "3"
    })
    .await;
    it.shows(told, "null").await;
    daemon.stops().await;
}

/// A debt or an attempt that is locked keeps its subscription waiting just so.
#[tokio::test]
async fn whoever_holds_a_debt_that_is_to_be_asked_for_is_named_too() {
    let it = given().due("decline-balance-1").swept().await;
    it.advance("1 day 2 minutes").await;
    let lunch = psql(&it, "select * from billd.billing_cycle for update").await;
    it.advance("2 minutes").await;
    it.shows(
        "select string_agg(of_table, ',') from billd.locked_row",
        "billing_cycle",
    )
    .await;
    lunch.rollback().await.unwrap();
}
