//! How statements find their rows, by PostgreSQL's own counters.

use billd::store::Store;
use tokio_util::sync::CancellationToken;

use crate::support::{House, connection, limits};

const SEQUENTIAL: &str = "select string_agg(relname || ' ' || seq_scan, ', ' order by relname)
    from pg_stat_user_tables
    where relname in ('subscription', 'billing_cycle', 'charge_attempt')";

/// Hazard: the planner can't know how few rows a claim lets through, or plans with the statistics of
/// an empty table, and reads ten million rows for each batch.
#[tokio::test]
async fn no_statement_of_a_sweep_reads_a_whole_table() {
    let house = House::new().await;
    house.book.subscribe_many(3_000, "cust_").await;
    house.book.subscribe_many(2, "drop-after-approval-").await;
    house.book.subscribe_many(20, "decline-balance-").await;
    let store = Store::new(&connection(&house.book.url)).unwrap();
    let engine = house.engine_on(store.clone(), limits());
    // What was counted so far is told when its session ends.
    house.book.sql.close().await;
    house.book.store.close().await;
    let reader = sqlx::PgPool::connect(&house.book.url).await.unwrap();
    let before = crate::support::text(&reader, SEQUENTIAL).await;
    for _ in 0..2 {
        engine.sweep(CancellationToken::new()).await.unwrap();
        let advance =
            "update billd.clock_shift set shift = shift + interval '6 seconds' returning 1";
        sqlx::raw_sql(advance).execute(&reader).await.unwrap();
    }
    store.close().await;
    assert_eq!(house.sandbox.summary().approvals, 3_002);
    assert_eq!(crate::support::text(&reader, SEQUENTIAL).await, before);
}
