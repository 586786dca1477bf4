//! Through a pooler that lends a server for one transaction at a time.

use std::process::Command;
use std::time::Duration;

use billd::store::{ClaimLimits, Connection, Pooler, Store, StoreError};
use portone_sandbox::Latency;
use sqlx::{FromRow, PgPool};
use tokio_util::sync::CancellationToken;

use crate::bouncer::{PgBouncer, SERVERS};
use crate::process::{Daemon, billd, exits, paid, run, sandbox_with, stderr, stdout, until};
use crate::programs::needs;
use crate::support::{Book, connection, limits, text};
use crate::words::{LEASE, approved, given, psql};

/// Hazard: a pooler hands the statements of many clients to few servers, so a name that one client
/// gave, or a setting that it made, is another one's by the next statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_behind_a_pooler_charge_every_row_once_while_a_person_looks_on() {
    needs!(PGBOUNCER);
    let house = given().due_many(600).await;
    let pooler = PgBouncer::before(&house.url);
    let engine = || {
        let store = Store::new(&pooler.connection(&house.book.url)).unwrap();
        house.engine_on(store, limits())
    };
    let (one, other) = (engine(), engine());
    let person = pooler.sql(&house.book.url);
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
        [one, other].map(|swept| swept.unwrap().counts.paid)
    };
    let (charged, looks) = tokio::join!(charging, looking);
    assert_eq!(charged.iter().sum::<u64>(), 600);
    assert!(looks > 0);
    house.approved(600);
    assert_eq!(paid(&house.book).await, "600");
    house.book.assert_sound().await;
    assert_nothing_is_left_behind(&person).await;
}

/// Looks at every server of the pooler, by keeping all of them at once.
async fn assert_nothing_is_left_behind(person: &PgPool) {
    let mut kept = Vec::new();
    for _ in 0..SERVERS {
        let mut transaction = person.begin().await.unwrap();
        let row = sqlx::raw_sql(
            "select (select count(*) from pg_prepared_statements),
                current_setting('lock_timeout'), current_setting('plan_cache_mode')",
        )
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
        let found: (i64, String, String) = FromRow::from_row(&row).unwrap();
        assert_eq!(found, (0, "0".to_owned(), "auto".to_owned()));
        kept.push(transaction);
    }
}

/// Hazard: a daemon dies between a statement and its commit, and its server is given to the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_behind_a_pooler_survive_a_kill_and_charge_every_row_once() {
    needs!(PGBOUNCER);
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(60)).await;
    let pooler = PgBouncer::before(&book.url);
    let billd = || pooled(&pooler.url(&book.url), &gateway.base_url());
    let checked = run(billd().arg("check"));
    exits(&checked, 0);

    book.subscribe_many(400, "cust_").await;
    let mut daemons: Vec<Daemon> = (0..2).map(|_| Daemon::start(&mut billd())).collect();
    until("charges are under way", async || {
        gateway.summary().approvals >= 100
    })
    .await;
    daemons[0].signal("-KILL");
    until("all is paid", async || paid(&book).await == "400").await;
    approved(&gateway, 400);
    assert_eq!(gateway.ledger().len(), 400);
    book.assert_sound().await;
    daemons[1].stops().await;
}

/// Hazard: the time limits were settings of a session, so through a pooler there are none, and one
/// lock that somebody keeps stops everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_a_statement_hold_through_a_pooler() {
    needs!(PGBOUNCER);
    let book = Book::new().await;
    let pooler = PgBouncer::before(&book.url);
    let store = Store::new(&Connection {
        timeout: Duration::from_secs(2),
        ..pooler.connection(&book.url)
    })
    .unwrap();
    book.subscribe("cust_1").await;
    let lock = psql(&book, "select * from billd.control for update").await;
    let claim = ClaimLimits {
        rows_max: 10,
        lease: LEASE,
    };
    let waited = store.claim_due(claim).await;
    assert!(matches!(waited, Err(StoreError::Busy(_))));
    lock.rollback().await.unwrap();
    assert_eq!(store.claim_due(claim).await.unwrap().claims.len(), 1);
    assert_nothing_is_left_behind(&pooler.sql(&book.url)).await;
}

/// Hazard: a pooler that nobody told billd of takes the time limits away without a word, or stops
/// every statement in the night.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_the_settings_do_not_speak_of_is_named_before_any_work() {
    needs!(PGBOUNCER);
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let deaf = "ignore_startup_parameters = extra_float_digits, options";
    for configuration in ["", deaf] {
        let pooler = PgBouncer::with(&book.url, configuration);
        for command in ["check", "run", "migrate"] {
            let url = pooler.url(&book.url);
            let output = run(billd(&url, &gateway.base_url()).arg(command));
            let said = stdout(&output) + &stderr(&output);
            assert_eq!(output.status.code(), Some(3), "{command}: {said}");
            assert!(said.contains("database.pooler"), "{command}: {said}");
        }
    }

    // The database brings the settings along, so only the shared server gives the pooler away.
    book.run(
        "do $$ begin execute format('alter database %I set plan_cache_mode = force_custom_plan', current_database());
            execute format('alter database %I set enable_seqscan = off', current_database());
            execute format('alter database %I set jit = off', current_database());
            execute format('alter database %I set lock_timeout = 1000', current_database());
            execute format('alter database %I set statement_timeout = 5000', current_database()); end $$",
    )
    .await;
    let pooler = PgBouncer::with(&book.url, deaf);
    for command in ["check", "migrate"] {
        let url = pooler.url(&book.url);
        let output = run(billd(&url, &gateway.base_url()).arg(command));
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("database.pooler"), "{command}: {said}");
    }
}

/// Hazard: for speed somebody tells the database to confirm commits that are not on disk yet. After a crash the
/// intent is gone, and money that has moved is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_on_disk_when_it_is_confirmed_whatever_the_database_is_set_to() {
    needs!(PGBOUNCER);
    let house = given().due_many(2).await;
    let book = &house.book;
    book.run(
        "do $$ begin
             execute format('alter database %I set synchronous_commit = off', current_database());
         end $$;
         create table billd.seen (synchronous_commit text);
         create function billd.see() returns trigger language plpgsql as $$ begin
             insert into billd.seen values (current_setting('synchronous_commit'));
             return new;
         end $$;
         create trigger see before insert or update on billd.charge_attempt
         for each row execute function billd.see()",
    )
    .await;
    let pooler = PgBouncer::before(&book.url);
    for connection in [connection(&book.url), pooler.connection(&book.url)] {
        let engine = house.engine_on(Store::new(&connection).unwrap(), limits());
        let swept = engine.sweep(CancellationToken::new()).await.unwrap();
        assert_eq!(swept.counts.paid, 2);
        book.advance("1 month").await;
    }
    let seen =
        "select string_agg(distinct synchronous_commit, ', ') || ' ' || count(*) from billd.seen";
    book.shows(seen, "on 8").await;
}

/// Hazard: the migrator's lock belongs to a session. Through a pooler it stays with a server that is
/// somebody else's by then, and every later migration waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_refuses_to_go_through_a_pooler_and_says_where_to_go() {
    needs!(PGBOUNCER);
    let book = Book::new().await;
    let pooler = PgBouncer::before(&book.url);
    let output = run(pooled(&pooler.url(&book.url), "http://127.0.0.1:9").arg("migrate"));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("PostgreSQL itself"), "{said}");
}

/// A billd command whose settings speak of the pooler.
fn pooled(url: &str, gateway: &str) -> Command {
    let mut command = billd(url, gateway);
    command.env("BILLD__DATABASE__POOLER", Pooler::Transaction.as_str());
    command
}
