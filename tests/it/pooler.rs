//! Through a pooler that lends a server for one transaction at a time.

use std::time::Duration;

use billd::domain::ids::ImpUid;
use billd::sandbox::Latency;
use billd::store::{Connection, Pooler, Store, StoreError};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::bouncer::PgBouncer;
use crate::process::{Daemon, billd, paid, run, sandbox_with, stderr, stdout, until};
use crate::support::{Book, House, connection, limits, text};

/// Hazard: a pooler hands the statements of many clients to few servers, so a name that one client
/// gave, or a setting that it made, is another one's by the next statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_behind_a_pooler_charge_every_row_once_while_a_person_looks_on() {
    let house = House::new().await;
    let pooler = PgBouncer::before(&house.book.url);
    house.book.subscribe_many(600, "cust_").await;
    let engine = || {
        let store = Store::new(&pooler.connection(&house.book.url)).unwrap();
        house.engine_on(store, limits())
    };
    let (one, other) = (engine(), engine());
    let person = PgPool::connect_lazy(&pooler.url(&house.book.url)).unwrap_or_else(|_| panic!());
    let done = CancellationToken::new();
    let looking = async {
        let mut looks = 0;
        while !done.is_cancelled() {
            text(&person, "select count(*) from billd.charge_attempt").await;
            looks += 1;
        }
        looks
    };
    let charging = async {
        let never = CancellationToken::new;
        let (one, other) = tokio::join!(one.sweep(never()), other.sweep(never()));
        done.cancel();
        one.unwrap().counts.paid + other.unwrap().counts.paid
    };
    let (charged, looks) = tokio::join!(charging, looking);
    assert_eq!(charged, 600);
    assert!(looks > 0);
    let summary = house.sandbox.summary();
    assert_eq!(
        (summary.approvals, summary.merchant_uids_approved_twice),
        (600, 0)
    );
    assert_eq!(paid(&house.book).await, "600");
    house.book.assert_sound().await;
}
