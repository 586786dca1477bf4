//! What a command says must be so, and be of use to whoever reads it.

use portone_sandbox::Latency;

use crate::guide::Shop;
use crate::process::{billd, exits, run, sandbox_with, stderr, stdout};
use crate::support::{Book, server};
use crate::words::given;

/// A trigger of somebody's that lets no payment be written down.
const NO_PAYMENT: &str = "
    create function public.no_payment() returns trigger language plpgsql as
        $$ begin raise 'not on my watch'; end $$;
    create trigger no_payment before update on billd.charge_attempt for each row
        when (new.state = 'paid') execute function public.no_payment()";

/// Hazard: the money has moved and the row does not say so, but the sweep ends with "paid 1" and exit code 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_says_what_it_could_not_write_down() {
    let shop = Shop::new().await;
    shop.book.subscribe("cust_1").await;
    shop.book.run(NO_PAYMENT).await;
    let (code, output) = shop.run("sweep");
    let said = stdout(&output);
    assert_eq!(code, 7, "{said}");
    assert!(
        said.contains("1 of them could not be written down"),
        "{said}"
    );
    assert!(
        stderr(&output).contains("not on my watch"),
        "{}",
        stderr(&output)
    );
}

/// Hazard: a missing right looks like a database that is away, and an error says everything twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_told_from_a_database_that_is_away() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.run("do $$ begin create role nobody_special login; exception when duplicate_object then null; end $$").await;
    let role_less = book.url.replacen("postgres@", "nobody_special@", 1);
    assert_ne!(role_less, book.url);
    let denied = run(billd(&role_less, &gateway.base_url()).arg("sweep"));
    exits(&denied, 5);
    let said = stderr(&denied);
    assert!(
        said.contains("lacks a right") && !said.contains("not available"),
        "{said}"
    );
    assert_eq!(said.matches("permission denied").count(), 1, "{said}");

    let away = run(billd("postgres://billd@127.0.0.1:9/billd", &gateway.base_url()).arg("sweep"));
    exits(&away, 4);
    let said = stderr(&away);
    assert!(
        said.contains("the database at 127.0.0.1:9 is not available"),
        "{said}"
    );
    assert_eq!(said.matches("refused").count(), 1, "{said}");
}

/// Hazard: a library logs what it does not know of the address, and that was a password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_in_the_databases_address_is_never_shown() {
    let database = server().await.url("postgres");
    let sign = if database.contains('?') { '&' } else { '?' };
    for (parameter, code) in [
        ("sslpassword=hunter2", 3),
        ("pasword=hunter2", 3),
        ("pool_timeout=hunter2", 5),
    ] {
        let address = format!("{database}{sign}{parameter}");
        let output = run(billd(&address, "http://127.0.0.1:9")
            .env("BILLD__LOG__FILTER", "trace")
            .arg("sweep"));
        exits(&output, code);
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_kind_of_id_is_told_which_kind_is_wanted() {
    let shop = Shop::new().await;
    shop.book.subscribe("cust_1").await;
    let subscription = shop.book.text("select id from billd.subscription").await;
    for (payment, says) in [
        (subscription.as_str(), "is the id of a subscription"),
        ("cust-1", "is no payment's number"),
    ] {
        for command in ["payment show", "refund"] {
            let (code, output) = shop.run(&format!("{command} {payment}"));
            let said = stderr(&output);
            assert!(code == 9 && said.contains(says), "{code}: {said}");
        }
    }
}

/// Hazard: a product's name with a character that the provider does not take: the customer is asked for another card.
#[tokio::test]
async fn a_name_that_the_provider_refuses_sets_the_row_aside() {
    let it = given().due("decline-name").swept().await;
    it.row("past_due declined row_text 1 0").await;
    it.shows(
        "select split_part(state_reason, ';', 1) from billd.subscription",
        "bad_row",
    )
    .await;
}

#[tokio::test]
async fn sums_leave_in_the_unit_that_their_currency_has() {
    let it = given().due("cust_1").due("cust_2").await;
    it.run("update billd.subscription set amount = 1234, currency = 'KWD' where customer_uid = 'cust_1'").await;
    it.run("update billd.subscription set amount = 1234, currency = 'CLP' where customer_uid = 'cust_2'").await;
    it.subscribe("cust_3").await;
    let unknown = "update billd.subscription set currency = 'XYZ' where customer_uid = 'cust_3'";
    it.refuses(unknown, "no currency of ISO 4217").await;
    // Past the triggers, or from an older book.
    it.run(&format!(
        "begin; set local session_replication_role = replica; {unknown}; commit"
    ))
    .await;
    let swept = it.sweep().await;
    assert_eq!((swept.counts.paid, it.approvals()), (2, 2));
    let (row, state) = (
        "where customer_uid = 'cust_3'",
        "past_due not_sent unbuildable",
    );
    it.shows(
        &format!(
            "select concat_ws(' ', state, last_result, last_reason) from billd.subscription {row}"
        ),
        state,
    )
    .await;
}
