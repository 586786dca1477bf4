//! A person writes to the tables while charges are under way.

use std::time::Duration;

use sqlx::Acquire;

use crate::support::{Book, House};
use crate::words::{claim, psql};

const LEASE: Duration = Duration::from_secs(90);

/// What moves a subscription away from what is due.
const MOVES: [&str; 3] = [
    "state = 'paused'",
    "state = 'cancelled'",
    "held = 'a dispute'",
];

/// Opens an attempt as nobody should.
const THIRD_ATTEMPT: &str = "
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, ask_at)
    select billd.merchant_uid(id, period, 3), id, period, 3, amount, currency, customer_uid, now()
    from billd.subscription";

/// The daemon of what is under way has died: somebody else asks what became of it.
async fn assert_asked_about_after_the_lease(book: &Book, change: &str) {
    assert_eq!(claim(book).await.len(), 0, "{change}");
    assert_eq!(book.claim_open(10, LEASE).await.len(), 0, "{change}");
    book.advance("91 seconds").await;
    assert_eq!(book.claim_open(10, LEASE).await.len(), 1, "{change}");
}

/// Hazard: an attempt under way is found among what is due. If its subscription leaves there by hand and
/// the daemon dies, nobody would ever ask what became of the money.
#[tokio::test]
async fn what_is_under_way_is_asked_about_wherever_a_person_moves_its_subscription() {
    for change in MOVES {
        let book = Book::new().await;
        book.subscribe("cust_1").await;
        assert_eq!(claim(&book).await.len(), 1);
        book.run(&format!("update billd.subscription set {change}"))
            .await;
        book.run("update billd.subscription set buyer_name = '점심'")
            .await;
        assert_asked_about_after_the_lease(&book, change).await;
    }
}

/// Hazard: a person's snapshot is older than the claim, and nothing in it says that money may be moving.
/// PostgreSQL refuses the write, because the claim is noted on the row.
#[tokio::test]
async fn whoever_could_not_see_that_an_attempt_is_under_way_moves_nothing() {
    for change in MOVES {
        let book = Book::new().await;
        book.subscribe("cust_1").await;
        let mut person = psql(
            &book,
            "set transaction isolation level repeatable read; select from billd.subscription",
        )
        .await;
        assert_eq!(claim(&book).await.len(), 1);
        let change_it = sqlx::AssertSqlSafe(format!("update billd.subscription set {change}"));
        let connection = person.acquire().await.unwrap();
        let refused = sqlx::raw_sql(change_it).execute(connection).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("could not serialize access"), "{refused}");
        person.rollback().await.unwrap();
        assert_asked_about_after_the_lease(&book, change).await;
    }
}

/// Hazard: an outcome is being written while a person pauses the subscription, and then can't be. The
/// pause must not pass the attempt by because it was locked at that moment.
#[tokio::test]
async fn what_is_under_way_is_asked_about_though_its_record_failed_beside_a_person() {
    let book = Book::new().await;
    book.subscribe("cust_1").await;
    assert_eq!(claim(&book).await.len(), 1);
    let record = psql(&book, "select from billd.charge_attempt for no key update").await;
    book.run("update billd.subscription set state = 'paused'")
        .await;
    record.rollback().await.unwrap();
    assert_asked_about_after_the_lease(&book, "state = 'paused'").await;
}

/// Hazard: a subscription is deleted, or its debt forgiven, under a snapshot that does not show what was
/// begun meanwhile. The request for money would belong to nothing.
#[tokio::test]
async fn what_can_not_be_judged_under_an_old_snapshot_is_refused() {
    for (statement, why) in [
        ("delete from billd.subscription", "could not serialize"),
        (
            "update billd.billing_cycle set state = 'void', closed_at = now()",
            "is repeatable read",
        ),
        (THIRD_ATTEMPT, "could not serialize"),
    ] {
        let book = Book::new().await;
        book.subscribe("decline-balance-1").await;
        book.run(
            "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at)
             select id, period, amount, currency, due_at from billd.subscription",
        )
        .await;
        let mut person = psql(
            &book,
            "set transaction isolation level repeatable read; select from billd.subscription",
        )
        .await;
        assert_eq!(claim(&book).await.len(), 1);
        let connection = person.acquire().await.unwrap();
        let refused = sqlx::raw_sql(statement).execute(connection).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

/// Hazard: a person opens an attempt by hand while a claim opens another. Neither sees the other one, and
/// both may be charged.
#[tokio::test]
async fn an_attempt_that_a_person_opens_and_a_claim_keep_out_of_each_others_way() {
    let book = Book::new().await;
    book.subscribe("cust_1").await;
    book.run(
        "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at)
         select id, period, amount, currency, due_at from billd.subscription",
    )
    .await;
    let person = psql(&book, THIRD_ATTEMPT).await;
    assert_eq!(claim(&book).await.len(), 0);
    person.commit().await.unwrap();
    // Whatever else is written to the row.
    book.run("update billd.subscription set buyer_name = '점심'")
        .await;
    book.run("vacuum freeze billd.subscription").await;
    assert_eq!(claim(&book).await.len(), 0);
    book.advance("1 second").await;
    assert_eq!(book.claim_open(10, LEASE).await.len(), 1);
}

/// Hazard: a person writes a debt down and goes to lunch. A claim that comes to write the same debt would
/// wait, and with it all the others.
#[tokio::test]
async fn a_debt_that_a_person_is_writing_down_holds_up_no_other() {
    let book = Book::new().await;
    book.subscribe_many(3, "cust_").await;
    let person = psql(
        &book,
        "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at)
         select id, period, amount, currency, due_at from billd.subscription
         where customer_uid = 'cust_1'",
    )
    .await;
    assert_eq!(claim(&book).await.len(), 2);
    person.rollback().await.unwrap();
    assert_eq!(claim(&book).await.len(), 1);
}

/// Hazard: a row that can't be written, or a look that takes too long, makes the search for abandoned
/// attempts fail. Nobody would be asked about anything any more.
#[tokio::test]
async fn a_search_for_abandoned_attempts_that_fails_holds_up_no_question() {
    let house = House::new().await;
    let book = &house.book;
    book.subscribe_many(2, "cust_").await;
    assert_eq!(claim(book).await.len(), 2);
    book.advance("91 seconds").await;
    assert_eq!(book.claim_open(1, LEASE).await.len(), 1);
    book.advance("91 seconds").await;
    book.run("create function billd.no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$")
        .await;
    book.run(
        "update billd.charge_attempt set ask_at = null where state = 'started';
         create trigger no before update on billd.charge_attempt
         for each row when (old.state = 'started') execute function billd.no()",
    )
    .await;
    house.sweep().await;
    assert_eq!(
        book.text(
            "select string_agg(state || ' ' || asks, ', ' order by asks) from billd.charge_attempt"
        )
        .await,
        "started 0, unknown 2"
    );
}

/// Hazard: a person moves the period of a subscription that is being dunned. The debt that is left behind would be
/// asked for by nobody, and its time be billed under another name.
#[tokio::test]
async fn nobody_moves_the_period_of_a_subscription_by_hand() {
    let book = Book::new().await;
    book.subscribe("cust_1").await;
    for column in [
        "period = period + 1",
        "due_at = due_at + interval '1 day'",
        "settled_until = due_at - interval '1 day'",
    ] {
        let refused = book
            .try_run(&format!("update billd.subscription set {column}"))
            .await;
        assert!(
            refused.unwrap_err().contains("derived by billd"),
            "{column}"
        );
    }
}
