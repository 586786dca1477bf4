//! Law 16: a book charges only at home; and only by a clock that is not moved.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use billd::domain::standstill::Reason;
use billd::store::{Connection, Store};
use embedded_postgres::{Embedded, Options};
use portone_sandbox::{self as sandbox, Latency, Route, Running};

use crate::process::{Daemon, billd, exits, run, stderr, stdout, until};
use crate::programs::{PG_DUMP, needs};
use crate::support::{Book, connection, server};
use crate::words::{LEASE, given, send_again, take_over};

/// PortOne's keys are digits; to billd these are real ones.
const KEY: &str = "1234567890123456";
const OTHER_KEY: &str = "6543210987654321";

async fn gateway_of(key: &str) -> Running {
    let options = sandbox::Options {
        imp_key: key.to_owned(),
        latency: Latency::None,
        ..sandbox::Options::default()
    };
    sandbox::start(options).await.unwrap()
}

fn billd_with(key: &str, book: &Book, gateway: &Running) -> Command {
    let mut command = billd(&book.url, &gateway.base_url());
    command.env("BILLD__GATEWAY__IMP_KEY", key);
    command
}

/// Requests for money that the gateway has seen.
fn asked_for(gateway: &Running) -> u64 {
    let requests = gateway.summary().requests;
    requests.get(&Route::Again).copied().unwrap_or(0)
}

/// Puts a dump of one database into another one.
pub(crate) fn copy(from: &str, to: &str) {
    let programs = (PG_DUMP.find)().unwrap();
    let folder = PathBuf::from(programs.parent().unwrap());
    let dump = Command::new(&programs)
        .args(["--no-privileges", "--dbname", from])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(dump.status.success());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump.stdout).unwrap();
    let restored = Command::new(folder.join("psql"))
        .args([
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
            to,
            "--file",
        ])
        .arg(file.path())
        .output()
        .unwrap();
    exits(&restored, 0);
}

/// Hazard: last night's dump of production is put back on a test machine, with production's settings; 90 seconds
/// later the test machine charges real cards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_that_is_put_back_elsewhere_charges_nothing_until_it_is_adopted() {
    needs!(PG_DUMP);
    let home = Book::new().await;
    let gateway = gateway_of(KEY).await;
    home.subscribe("cust_1").await;
    home.subscribe("silent-after-approval-1").await;
    // One is paid, and of the other nobody knows.
    exits(&run(billd_with(KEY, &home, &gateway).arg("sweep")), 7);
    home.subscribe("cust_2").await;

    let elsewhere = Embedded::start(Options::default_for_user()).await.unwrap();
    elsewhere.create_database("restored").await.unwrap();
    let other_server = Book::on(elsewhere.url("restored"));
    server()
        .await
        .create_database("restored_beside")
        .await
        .unwrap();
    let beside = Book::on(server().await.url("restored_beside"));
    for copied in [&other_server, &beside] {
        copy(&home.url, &copied.url);
        charges_nothing_before_it_is_adopted(copied, &gateway).await;
    }

    let unsure = run(billd_with(KEY, &beside, &gateway).arg("adopt"));
    exits(&unsure, 9);
    let adopted = run(billd_with(KEY, &beside, &gateway).args(["adopt", "--yes", "--json"]));
    exits(&adopted, 0);
    assert!(
        stdout(&adopted).contains("\"charges\":true"),
        "{}",
        stdout(&adopted)
    );
    exits(&run(billd_with(KEY, &beside, &gateway).arg("sweep")), 0);
    beside.tally("3 paid").await;
    exits(&run(billd_with(KEY, &beside, &gateway).arg("check")), 0);
    assert_eq!(gateway.summary().approvals, 3);
    // Home is what it was.
    exits(&run(billd_with(KEY, &home, &gateway).arg("check")), 0);
}

async fn charges_nothing_before_it_is_adopted(copied: &Book, gateway: &Running) {
    let before = asked_for(gateway);
    let checked = run(billd_with(KEY, copied, gateway).arg("check"));
    exits(&checked, 9);
    let said = stdout(&checked);
    assert!(
        said.contains("FAIL  charging  the home of this book is database test_"),
        "{said}"
    );
    let swept = run(billd_with(KEY, copied, gateway).args(["sweep", "--json"]));
    exits(&swept, 7);
    assert!(
        stdout(&swept).contains("before billd adopt"),
        "{}",
        stdout(&swept)
    );
    let charged = run(billd_with(KEY, copied, gateway).args([
        "charge", "again", "cust_1", "--amount", "1000", "--name", "x", "--yes",
    ]));
    exits(&charged, 9);
    assert!(
        stderr(&charged).contains("billd adopt"),
        "{}",
        stderr(&charged)
    );
    let mut daemon = Daemon::start(&mut billd_with(KEY, copied, gateway));
    // It asks, and writes down what it learns.
    until("what is open is asked about", async || {
        copied
            .text("select count(*) from billd.charge_attempt where state = 'unknown'")
            .await
            == "0"
    })
    .await;
    until("it says why", async || {
        daemon.said().contains("the home of this book is")
    })
    .await;
    daemon.stops().await;
    assert_eq!(asked_for(gateway), before, "no request for money has left");
}

/// Hazard: the daemon is started with another merchant's key; what is open is not found in that merchant's
/// books, is sent again there, and is approved at both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_merchants_key_neither_charges_nor_asks() {
    let book = Book::new().await;
    let (gateway, other) = (gateway_of(KEY).await, gateway_of(OTHER_KEY).await);
    book.subscribe("silent-after-approval-1").await;
    exits(&run(billd_with(KEY, &book, &gateway).arg("sweep")), 7);
    book.run("update billd.charge_attempt set ask_at = started_at, started_at = started_at - interval '1 hour'")
        .await;
    book.subscribe("cust_2").await;
    let before = "select concat_ws(' ', state, asks, not_found) from billd.charge_attempt";
    let was = book.text(before).await;
    for key in [OTHER_KEY, sandbox::IMP_KEY] {
        let other = if key == OTHER_KEY {
            &other
        } else {
            &gateway_of(key).await
        };
        exits(&run(billd_with(key, &book, other).arg("sweep")), 7);
        exits(&run(billd_with(key, &book, other).arg("reconcile")), 7);
        exits(&run(billd_with(key, &book, other).arg("audit")), 9);
        book.shows("select count(*) from billd.finding", 0).await;
        assert_eq!(book.text(before).await, was, "nothing was learnt from it");
        assert_eq!(asked_for(other), 0);
        let checked = run(billd_with(key, &book, other).arg("check"));
        exits(&checked, 9);
        assert!(
            stdout(&checked).contains("merchant account"),
            "{}",
            stdout(&checked)
        );
    }
    exits(&run(billd_with(KEY, &book, &gateway).arg("sweep")), 0);
    book.tally("2 paid").await;
    assert_eq!(gateway.summary().merchant_uids_approved_twice, 0);
}

/// Hazard: staging copies production every night, and each morning somebody has to adopt it by hand, until a script
/// does, which one day runs in production.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_with_a_sandbox_as_its_gateway_needs_no_ceremony() {
    let book = Book::new().await;
    let gateway = gateway_of(sandbox::IMP_KEY).await;
    book.run("update billd.control set home_cluster = '1', home_database = 1, home_account = '0123456789ab'")
        .await;
    book.subscribe("cust_1").await;
    exits(
        &run(billd_with(sandbox::IMP_KEY, &book, &gateway).arg("sweep")),
        0,
    );
    book.tally("1 paid").await;
    book.shows("select home_account from billd.control", "0123456789ab")
        .await;
}

/// Hazard: the clock of a rehearsal is left moved, and real customers are charged a month early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_moved_charges_nobody_but_a_sandbox() {
    let book = Book::new().await;
    let gateway = gateway_of(KEY).await;
    book.subscribe("cust_1").await;
    book.advance("1 second").await;
    let checked = run(billd_with(KEY, &book, &gateway).arg("check"));
    exits(&checked, 9);
    assert!(
        stdout(&checked).contains("clock is moved by 00:00:01"),
        "{}",
        stdout(&checked)
    );
    exits(&run(billd_with(KEY, &book, &gateway).arg("sweep")), 7);
    assert_eq!(asked_for(&gateway), 0);
    book.run("update billd.control set clock_shift = '0'").await;
    exits(&run(billd_with(KEY, &book, &gateway).arg("sweep")), 0);
    assert_eq!(asked_for(&gateway), 1);
}

/// Hazard: the name that is to be sent again is sent from the copy, beside home.
#[tokio::test]
async fn elsewhere_nothing_is_sent_again() {
    let it = given().due("cust_1").begun().later("91 seconds").await;
    it.run("update billd.control set home_database = 1").await;
    let away = Store::new(&Connection {
        account: Some("0123456789ab".to_owned()),
        ..connection(&it.url)
    })
    .unwrap();
    it.run("update billd.control set home_account = '0123456789ab'")
        .await;
    let asked = take_over(&it).await.remove(0);
    let again = [send_again(&asked.claim)];
    away.record(&again, LEASE, LEASE).await.unwrap();
    it.attempts("1 unknown abandoned").await;
    let standstill = away.standstill().await.unwrap().unwrap();
    assert_eq!(standstill.reason, Reason::Elsewhere);
}

/// Hazard: a role lacks the right to ask which server this is, and all that is said is that the database is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grant_that_is_missing_is_named() {
    let book = Book::new().await;
    let gateway = gateway_of(KEY).await;
    let name = book.text("select current_database()").await;
    book.run("create role home_of_billd login; grant usage on schema billd, billd_internal to home_of_billd;
        grant select on all tables in schema billd, billd_internal to home_of_billd;
        revoke execute on function pg_control_system() from public").await;
    let limited = Book::on(server().await.url_as("home_of_billd", &name));
    let checked = run(billd_with(KEY, &limited, &gateway).arg("check"));
    exits(&checked, 4);
    let grant = "grant execute on function pg_control_system() to home_of_billd";
    assert!(stdout(&checked).contains(grant), "{}", stdout(&checked));
    let ran = run(billd_with(KEY, &limited, &gateway).arg("run"));
    exits(&ran, 4);
    assert!(stderr(&ran).contains(grant), "{}", stderr(&ran));
}
