//! The proof's ground: each thing that it can do to a seed is done for real.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use billd_proof::arena::{
    Bouncer, Clock, Daemon, Database, Ended, Lane, OPERATOR, Proxy, Spec, Standby, daemon_role,
};
use embedded_postgres::StopMode;
use portone_sandbox as sandbox;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::timeout;

use crate::programs::needs;
const BILLD: &str = env!("CARGO_BIN_EXE_billd");

const LIMIT: Duration = Duration::from_mins(1);

/// Leaves a trace of who wrote, as the harness's own triggers do.
const SCRIPT: &str =
    "create table billd.trace (writer text not null default session_user, mark int);
    alter table billd.trace owner to book_owner;";

async fn lane() -> (Lane, Database) {
    let mut lane = Lane::start(Path::new(BILLD), SCRIPT).await.unwrap();
    let database = lane.fresh_database().await.unwrap();
    (lane, database)
}

async fn text(connection: &mut PgConnection, query: &str) -> String {
    let query = AssertSqlSafe(format!("select ({query})::text"));
    let row = sqlx::raw_sql(query).fetch_one(connection).await.unwrap();
    row.get::<Option<String>, _>(0).unwrap_or_default()
}

async fn run(connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(connection).await?;
    Ok(())
}

/// Marks that are in the book, as the harness sees it.
async fn marks(lane: &Lane, database: &Database) -> String {
    let mut connection = lane.connect(database).await.unwrap();
    let query = "select string_agg(writer || ' ' || mark, ', ' order by mark) from billd.trace";
    text(&mut connection, query).await
}

async fn mark(connection: &mut PgConnection, mark: u32) {
    let statement = format!("insert into billd.trace (mark) values ({mark})");
    run(connection, &statement).await.unwrap();
}

async fn through(proxy: &Proxy, role: &str, database: &Database) -> PgConnection {
    PgConnection::connect(&proxy.url(role, database.name()))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seed_has_a_fresh_book_in_which_one_can_tell_who_wrote() {
    let (mut lane, first) = lane().await;
    for role in [daemon_role(1), daemon_role(3), OPERATOR.to_owned()] {
        let mut connection = lane.connect_as(&role, &first).await.unwrap();
        mark(&mut connection, 1).await;
        run(
            &mut connection,
            "insert into billd.subscription (customer_uid, name, amount) values ('c', 'n', 9900)",
        )
        .await
        .unwrap();
    }
    let written = marks(&lane, &first).await;
    for role in ["daemon_1 1", "daemon_3 1", "operator 1"] {
        assert!(written.contains(role), "{written}");
    }
    let mut left = lane.connect_as(OPERATOR, &first).await.unwrap();
    let second = lane.fresh_database().await.unwrap();
    assert_eq!(marks(&lane, &second).await, "");
    assert!(
        run(&mut left, "select").await.is_err(),
        "whoever was there is thrown out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_cuts_everybody_and_keeps_what_was_committed() {
    let (mut lane, database) = lane().await;
    let proxy = Proxy::start(lane.socket()).await.unwrap();
    let mut client = through(&proxy, "daemon_1", &database).await;
    mark(&mut client, 1).await;
    lane.restart(StopMode::Immediate).await.unwrap();
    assert!(run(&mut client, "select").await.is_err());
    assert_eq!(marks(&lane, &database).await, "daemon_1 1");
    // Connections through the same proxy find it again.
    let mut client = through(&proxy, "daemon_1", &database).await;
    mark(&mut client, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_pin_a_snapshot_cut_connections_and_take_all_that_are_free() {
    let (lane, database) = lane().await;
    let mut client = lane.connect_as("daemon_2", &database).await.unwrap();
    let mut snapshot = lane.pin_old_snapshot(&database).await.unwrap();
    mark(&mut client, 1).await;
    let seen = snapshot.text("select count(*) from billd.trace").await;
    assert_eq!(seen.unwrap().as_deref(), Some("0"));

    assert_eq!(lane.terminate_backends("daemon_1").await.unwrap(), 0);
    assert_eq!(lane.terminate_backends("daemon_2").await.unwrap(), 1);
    assert!(run(&mut client, "select").await.is_err());

    let crowd = lane.exhaust_connections(&database).await.unwrap();
    assert!(crowd.size() > 30);
    assert!(lane.connect_as("daemon_2", &database).await.is_err());
    assert_eq!(marks(&lane, &database).await, "daemon_2 1");
    drop(crowd);
    let started = Instant::now();
    while lane.connect_as("daemon_2", &database).await.is_err() {
        assert!(started.elapsed() < LIMIT, "nobody gets in");
    }
}

/// Hazard: a fail-over loses what was committed last, and answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_loses_the_tail_and_nothing_before_it() {
    needs!(PGBOUNCER);
    let (mut lane, database) = lane().await;
    let proxy = Proxy::start(lane.socket()).await.unwrap();
    let bouncer = Bouncer::start(&lane, &database).await.unwrap();
    let pooled = Proxy::start(bouncer.socket()).await.unwrap();
    let mut client = through(&proxy, "daemon_1", &database).await;
    mark(&mut client, 1).await;
    let standby = Standby::follow(&lane).await.unwrap();
    mark(&mut client, 2).await;
    standby.catch_up(&lane).await.unwrap();
    standby.lose_tail();
    mark(&mut client, 3).await;
    let mut other = through(&pooled, "daemon_2", &database).await;
    mark(&mut other, 4).await;
    assert!(marks(&lane, &database).await.contains("daemon_1 3"));

    standby.fail_over(&mut lane).await.unwrap();
    proxy.point_at(lane.socket());
    bouncer.follow(&lane).unwrap();
    assert_eq!(marks(&lane, &database).await, "daemon_1 1, daemon_1 2");
    let mut client = through(&proxy, "daemon_1", &database).await;
    mark(&mut client, 5).await;
    let mut other = through(&pooled, "daemon_2", &database).await;
    mark(&mut other, 6).await;
    assert!(
        marks(&lane, &database)
            .await
            .ends_with("daemon_1 5, daemon_2 6")
    );
    // The lane goes on as before, also through a second one.
    Standby::follow(&lane)
        .await
        .unwrap()
        .fail_over(&mut lane)
        .await
        .unwrap();
    let fresh = lane.fresh_database().await.unwrap();
    assert_eq!(marks(&lane, &fresh).await, "");
}

/// Hazard: a statement is applied and its answer lost, so the client takes it for undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_leaves_an_error_here_and_the_row_there() {
    let (lane, database) = lane().await;
    let proxy = Proxy::start(lane.socket()).await.unwrap();
    let insert = "-- store::mark: writes a mark\ninsert into billd.trace (mark) values ($1)";
    #[expect(clippy::disallowed_methods, reason = "the table is the test's own")]
    let write = async |client: &mut PgConnection, mark: i32| {
        sqlx::query(insert).bind(mark).execute(client).await
    };

    // Prepared before it is wanted, as on a connection of a daemon's pool.
    let mut client = through(&proxy, "daemon_1", &database).await;
    write(&mut client, 1).await.unwrap();
    proxy.swallow_reply("store::mark", 2);
    run(&mut client, "insert into billd.trace values ('other', 2)")
        .await
        .unwrap();
    assert!(write(&mut client, 3).await.is_err());
    assert_eq!(proxy.swallowed(), 1);
    assert!(marks(&lane, &database).await.ends_with("daemon_1 3"));

    // In a transaction it is the answer to `COMMIT` that matters.
    let mut client = through(&proxy, "daemon_1", &database).await;
    let mut undone = client.begin().await.unwrap();
    write(&mut undone, 4).await.unwrap();
    undone.rollback().await.unwrap();
    let mut done = client.begin().await.unwrap();
    write(&mut done, 5).await.unwrap();
    assert_eq!(proxy.swallowed(), 1);
    assert!(done.commit().await.is_err());
    assert_eq!(proxy.swallowed(), 2);
    assert!(
        marks(&lane, &database)
            .await
            .ends_with("daemon_1 3, daemon_1 5")
    );

    let mut client = through(&proxy, "daemon_1", &database).await;
    write(&mut client, 6).await.unwrap();
    assert_eq!(proxy.swallowed(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_cuts_holds_and_refuses() {
    let (lane, database) = lane().await;
    let proxy = Proxy::start(lane.socket()).await.unwrap();
    let mut client = through(&proxy, "daemon_1", &database).await;

    proxy.hold();
    {
        let mut held = Box::pin(mark(&mut client, 1));
        assert!(
            timeout(Duration::from_millis(200), &mut held)
                .await
                .is_err()
        );
        assert_eq!(marks(&lane, &database).await, "");
        let url = proxy.url("daemon_1", database.name());
        let fresh = timeout(Duration::from_millis(200), PgConnection::connect(&url)).await;
        assert!(fresh.is_err(), "it is neither let in nor turned away");
        proxy.release();
        held.await;
    }
    assert_eq!(marks(&lane, &database).await, "daemon_1 1");

    proxy.refuse(true);
    let url = proxy.url("daemon_1", database.name());
    assert!(
        timeout(LIMIT, PgConnection::connect(&url))
            .await
            .unwrap()
            .is_err()
    );
    mark(&mut client, 2).await;
    proxy.refuse(false);
    proxy.cut_all();
    assert!(run(&mut client, "select").await.is_err());
    through(&proxy, "daemon_1", &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_bouncer_many_clients_share_three_connections() {
    needs!(PGBOUNCER);
    let (lane, database) = lane().await;
    let bouncer = Bouncer::start(&lane, &database).await.unwrap();
    let proxy = Proxy::start(bouncer.socket()).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = through(&proxy, "daemon_2", &database).await;
        mark(&mut client, number).await;
        clients.push(client);
    }
    let mut harness = lane.connect(&database).await.unwrap();
    let used = "select count(*) between 1 and 3 from pg_stat_activity where usename = 'daemon_2'";
    assert_eq!(text(&mut harness, used).await, "true");
    let socket = bouncer.socket();
    drop(bouncer);
    assert!(!socket.exists());
}

struct Seat {
    lane: Lane,
    database: Database,
    proxy: Proxy,
    gateway: sandbox::Running,
}

impl Seat {
    async fn new() -> Self {
        let (lane, database) = lane().await;
        let proxy = Proxy::start(lane.socket()).await.unwrap();
        let gateway = sandbox::start(sandbox::Options {
            latency: sandbox::Latency::None,
            ..sandbox::Options::default()
        })
        .await
        .unwrap();
        Self {
            lane,
            database,
            proxy,
            gateway,
        }
    }

    fn spec(&self, clock: Option<Clock>) -> Spec {
        let envs = [
            ("BILLD__GATEWAY__IMP_KEY", sandbox::IMP_KEY),
            ("BILLD__GATEWAY__IMP_SECRET", sandbox::IMP_SECRET),
            ("BILLD__HTTP__LISTEN", ""),
            ("BILLD__LOG__FORMAT", "json"),
        ];
        Spec {
            program: PathBuf::from(BILLD),
            name: "daemon_1".to_owned(),
            folder: self.lane.guard().folder().to_owned(),
            database_url: self.proxy.url("daemon_1", self.database.name()),
            gateway_url: self.gateway.base_url(),
            envs: envs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            clock,
        }
    }

    /// Adds a subscription that is due, and waits until the daemon has charged it.
    async fn charge_one(&self, card: &str, daemon: &Daemon) {
        let mut connection = self.lane.connect(&self.database).await.unwrap();
        let add = format!(
            "insert into billd.subscription (customer_uid, name, amount) values ('{card}', 'n', 9900);
             notify billd_due;"
        );
        run(&mut connection, &add).await.unwrap();
        let paid = format!(
            "select count(*) from billd.billing_cycle c join billd.subscription s on s.id = c.subscription_id
             where c.state = 'paid' and s.customer_uid = '{card}'"
        );
        let started = Instant::now();
        while text(&mut connection, &paid).await != "1" {
            assert!(started.elapsed() < LIMIT, "{}", daemon.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The wall clock of a log line, in seconds, as PostgreSQL reads it.
async fn seconds_ahead(seat: &Seat, daemon: &Daemon) -> i64 {
    let said = daemon.said();
    let line: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let stamp = line.get("timestamp").unwrap().as_str().unwrap();
    let mut connection = seat.lane.connect(&seat.database).await.unwrap();
    let ahead =
        format!("round(extract(epoch from '{stamp}'::timestamptz - clock_timestamp()))::bigint");
    text(&mut connection, &ahead).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_is_frozen_woken_killed_and_stopped() {
    let seat = Seat::new().await;
    let spec = seat.spec(None);
    let mut daemon = Daemon::start(&spec, seat.lane.guard()).unwrap();
    daemon.until_running(LIMIT).await.unwrap();
    seat.charge_one("first", &daemon).await;
    daemon.freeze().unwrap();
    assert!(daemon.is_alive().unwrap());
    let status = format!("/proc/{}/stat", daemon.process());
    // A process stops when it is next scheduled.
    let stopped = async {
        while !std::fs::read_to_string(&status).unwrap().contains(") T ") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, stopped).await.unwrap();
    daemon.thaw().unwrap();
    seat.charge_one("second", &daemon).await;
    assert_eq!(daemon.kill().await.unwrap(), Ended::Signal(9));
    assert!(!daemon.is_alive().unwrap());

    let mut daemon = Daemon::start(&spec, seat.lane.guard()).unwrap();
    daemon.until_running(LIMIT).await.unwrap();
    assert_eq!(daemon.wait(Duration::ZERO).await.unwrap(), None);
    daemon.terminate().unwrap();
    assert_eq!(daemon.wait(LIMIT).await.unwrap(), Some(Ended::Code(0)));
    assert_eq!(seat.gateway.summary().approvals, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_a_clock_of_its_own_works_on_while_it_is_wrong_and_stepped() {
    needs!(FAKETIME);
    let seat = Seat::new().await;
    let clock = Clock::new(seat.lane.guard().folder(), "daemon_1", 600).unwrap();
    let mut daemon = Daemon::start(&seat.spec(Some(clock.clone())), seat.lane.guard()).unwrap();
    daemon.until_running(LIMIT).await.unwrap();
    seat.charge_one("first", &daemon).await;
    let ahead = seconds_ahead(&seat, &daemon).await;
    assert!((540..=600).contains(&ahead), "{ahead}");

    clock.step_to(-600).unwrap();
    seat.charge_one("second", &daemon).await;
    // Timers are none of the wall clock's business: it stops in order, and in time.
    daemon.terminate().unwrap();
    assert_eq!(daemon.wait(LIMIT).await.unwrap(), Some(Ended::Code(0)));
    let ahead = seconds_ahead(&seat, &daemon).await;
    assert!((-660..=-600).contains(&ahead), "{ahead}");
    let process = daemon.process();
    drop(daemon);
    for left in ["faketime_shm_", "sem.faketime_sem_"] {
        let left = PathBuf::from(format!("/dev/shm/{left}{process}"));
        assert!(!left.exists(), "{}", left.display());
    }
}
