//! What each role may do and may not; and that nobody else speaks as billd itself.

use std::process::Command;

use billd::store::Store;
use portone_sandbox::Latency;

use crate::process::{billd, exits, run, sandbox_with, stderr, stdout};
use crate::support::{Book, connection, server};
use crate::words::given;

const ONE: &str = "(select id from billd.subscription where customer_uid = 'cust_1')";

/// What a role is allowed (`None`), or by which words it is refused.
type Rights<'a> = &'a [(&'a str, &'a str, Option<&'a str>)];

const NOBODY: Option<&str> = Some("permission denied for schema billd");
const DENIED: Option<&str> = Some("permission denied");
const NOT_BILLD: Option<&str> = Some("only billd itself writes as record");

/// Runs a statement as a role, and takes it back.
async fn tried(book: &Book, role: &str, statement: &str) -> Result<(), String> {
    let statement = format!("begin; set local role {role}; {statement}; rollback");
    let done = book.try_run(&statement).await.map(drop);
    book.sql.close().await;
    done
}

/// Hazard: the app's own role may do anything, so a hole in the app charges, stops or rewrites the book.
#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_nothing_else() {
    let it = given().due("cust_1").swept().await;
    it.run("create role nobody_of_billd").await;
    let pause = format!("select billd.pause({ONE})");
    let rights: Rights<'_> = &[
        ("nobody_of_billd", "select * from billd.subscription", NOBODY),
        ("billd_reader", "select * from billd.attention, billd.charging, billd.charge_attempt, billd.consent_due", None),
        ("billd_reader", &format!("select * from billd.forecast({ONE}, 3)"), None),
        ("billd_reader", &pause, DENIED),
        ("billd_reader", "update billd.subscription set amount = 1000", DENIED),
        ("billd_app", "insert into billd.subscription (customer_uid, name, amount) values ('c', 'n', 1000)", None),
        ("billd_app", "insert into billd.subscription (customer_uid, name, amount, trial_until)
            values ('c', 'n', 1000, now() + interval '7 days')", None),
        ("billd_app", "update billd.subscription set amount = 1000, row_version = row_version + 1", None),
        ("billd_app", "update billd.subscription set state = 'paused'", None),
        ("billd_app", &pause, None),
        ("billd_app", &format!("select billd.change_plan({ONE}, amount => 1000, at => 'now')"), None),
        ("billd_app", &format!("select billd.give_credit({ONE}, 1000)"), None),
        ("billd_app", &format!("select billd.record_consent({ONE}, 'increase', 12900, current_date + 10, now(), 'app', 'x')"), None),
        ("billd_app", "update billd.subscription set paid_until = now() + interval '9 years'", DENIED),
        ("billd_app", "insert into billd.charge_attempt (merchant_uid, amount, currency) values ('x', 1, 'KRW')", DENIED),
        ("billd_app", "update billd.billing_cycle set amount = 1", DENIED),
        ("billd_app", "select billd.stop_charging('x')", DENIED),
        ("billd_app", "select billd.adopt()", DENIED),
        ("billd_app", "select billd.close_attempt('x', 'y')", DENIED),
        ("billd_app", "update billd.control set surge = 2", DENIED),
        ("billd_app", "delete from billd.subscription", DENIED),
        ("billd_operator", "select billd.stop_charging('x'); select billd.start_charging(); select billd.adopt()", None),
        ("billd_operator", "select billd.close_attempt('x', 'y')", Some("no attempt of unknown fate")),
        ("billd_operator", "update billd.ceiling set day_max = 1000", None),
        ("billd_operator", "update billd.control set surge = 2, consent = 'off'", None),
        ("billd_operator", "update billd.finding set state = 'explained', note = 'x'", None),
        ("billd_operator", &pause, None),
        ("billd_operator", "update billd.control set home_account = 'x'", DENIED),
        ("billd_operator", "update billd.charge_attempt set state = 'paid'", DENIED),
        ("billd_operator", "insert into billd.charge_attempt (merchant_uid, amount, currency) values ('x', 1, 'KRW')", DENIED),
        ("billd_daemon", "delete from billd.subscription", DENIED),
        ("billd_daemon", "update billd.schema_migration set success = true", DENIED),
        ("billd_daemon", "create table billd.x ()", DENIED),
        // Who claims to be billd.
        ("billd_app", "set local billd.writer = 'record'; update billd.subscription set state = 'active'", NOT_BILLD),
        ("billd_app", "set local billd.writer = 'record'; insert into billd.subscription (customer_uid, name, amount)
            values ('c', 'n', 1000)", NOT_BILLD),
        ("billd_operator", "set local billd.writer = 'record'; update billd.subscription set amount = 1", NOT_BILLD),
        ("billd_operator", "set local billd.writer = 'record'; update billd.billing_cycle set amount = 1", NOT_BILLD),
        ("billd_daemon", "set local billd.writer = 'record'; update billd.subscription set recheck = true", None),
    ];
    for (role, statement, refused) in rights {
        // A session of its own: one that failed has its transaction open.
        let done = tried(&Book::on(it.url.clone()), role, statement).await;
        match (done, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) if error.contains(words) => {}
            (done, _) => panic!("{role}: {statement}: {done:?}"),
        }
    }
}

/// Hazard: a setting that was made before a verb is called, or that a verb leaves behind, opens the door.
#[tokio::test]
async fn a_verb_and_a_plain_update_leave_no_door_open() {
    let it = given().due("cust_1").swept().await;
    for first in [
        format!("select billd.pause({ONE})"),
        "update billd.subscription set amount = 1000".to_owned(),
        format!("set local billd.writer = 'record'; select billd.pause({ONE})"),
    ] {
        let statement = format!("{first}; update billd.subscription set state = 'past_due'");
        let done = tried(&Book::on(it.url.clone()), "billd_app", &statement).await;
        if first.starts_with("set") {
            assert!(
                done.unwrap_err().contains("only billd itself writes"),
                "{first}"
            );
        } else {
            // Judged as a plain update, whatever that comes to.
            assert!(
                done.is_err_and(|error| !error.contains("only billd")),
                "{first}"
            );
        }
    }
}

/// Hazard: the daemon's role owns the tables, so whoever gets hold of its password can drop them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_role_may_only_read_and_write_rows_does_all_of_its_work() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let name = book.text("select current_database()").await;
    book.run("create role daemon_of_billd login in role billd_daemon; create role app_of_billd login in role billd_app")
        .await;
    let as_role = |role: &str| -> Command { billd(&server_url(role, &name), &gateway.base_url()) };
    book.subscribe_many(5, "cust_").await;
    book.subscribe("decline-balance-1").await;
    book.subscribe("silent-after-approval-1").await;
    exits(&run(as_role("daemon_of_billd").arg("check")), 0);
    exits(&run(as_role("daemon_of_billd").arg("sweep")), 7);
    book.run("update billd.charge_attempt set ask_at = started_at where state = 'unknown'")
        .await;
    book.advance("1 hour").await;
    exits(&run(as_role("daemon_of_billd").arg("reconcile")), 0);
    // The second attempt, a planned change, a missed period.
    book.run(&format!("select billd.change_plan({ONE}, amount => 1000)"))
        .await;
    book.advance("40 days").await;
    exits(&run(as_role("daemon_of_billd").arg("sweep")), 7);
    exits(&run(as_role("daemon_of_billd").arg("audit")), 0);
    let again = [
        "charge", "again", "cust_1", "--amount", "1000", "--name", "x", "--yes",
    ];
    exits(&run(as_role("daemon_of_billd").args(again)), 0);
    exits(&run(as_role("daemon_of_billd").args(["stop", "try"])), 0);
    exits(&run(as_role("daemon_of_billd").arg("start")), 0);
    let id = book.text(ONE).await;
    exits(
        &run(as_role("app_of_billd").args(["subscription", "pause", &id])),
        0,
    );
    let refused = run(as_role("app_of_billd").args(["stop", "try"]));
    assert_ne!(refused.status.code(), Some(0), "{}", stdout(&refused));
    assert!(
        stderr(&refused).contains("permission denied"),
        "{}",
        stderr(&refused)
    );
    book.assert_sound().await;
}

fn server_url(role: &str, database: &str) -> String {
    futures_util::FutureExt::now_or_never(server())
        .unwrap()
        .url_as(role, database)
}

/// Hazard: who migrates may make no roles, and so can't migrate; or the roles are there already, of another book.
#[tokio::test]
async fn whoever_may_not_make_roles_migrates_and_gives_rights_to_those_that_are_there() {
    let server = server().await;
    server.create_database("without_roles").await.unwrap();
    let admin = Book::on(server.url("without_roles"));
    admin.run("create role owner_of_billd login; grant create on database without_roles to owner_of_billd").await;
    let url = server.url_as("owner_of_billd", "without_roles");
    let store = Store::new(&connection(&url)).unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let denied = tried(
        &Book::on(server.url("without_roles")),
        "billd_reader",
        "select * from billd.charging",
    )
    .await;
    denied.unwrap();
}

/// Hazard: a merchant's own role wrote subscriptions before there were roles, and after the upgrade it may not
/// call a verb.
#[tokio::test]
async fn a_role_that_could_write_before_may_call_verbs_after_the_upgrade() {
    let it = given().due("cust_1").swept().await;
    it.run(
        "create role merchants_own; grant usage on schema billd to merchants_own;
        grant select, update on billd.subscription, billd.control to merchants_own;
        select billd_internal.grant_rights()",
    )
    .await;
    for statement in [
        format!("select billd.pause({ONE})"),
        "select billd.stop_charging('x')".to_owned(),
    ] {
        tried(&Book::on(it.url.clone()), "merchants_own", &statement)
            .await
            .unwrap();
    }
}
