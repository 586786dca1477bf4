//! `billd listen` and `billd trigger`: for whoever writes a receiver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::delivery::{Answers, Shop};
use crate::process::{exits, run, stderr};

struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_developer_hears_examples_and_real_events_on_the_own_machine_signed_with_the_printed_secret()
 {
    let shop = Shop::new().await;
    shop.book.run("select billd.drop_webhook('app')").await;
    let mut child = Listener(
        shop.command()
            .args([
                "listen",
                "--forward-to",
                &shop.receiver.url(),
                "--kinds",
                "paid,created",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    let secret = line();
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert!(line().contains("Listening"));
    exits(&run(shop.command().args(["trigger", "paid"])), 0);
    exits(&run(shop.command().args(["trigger", "declined"])), 0);
    let first = line();
    assert!(
        first.starts_with("evt_1 ") && first.contains("paid") && first.contains("204"),
        "{first}"
    );
    shop.receiver.answers(Answers::Status(500));
    shop.created(1).await;
    let second = line();
    assert!(
        second.contains("created")
            && second.contains("HTTP 500")
            && second.contains("said the receiver"),
        "{second}"
    );
    let got = shop.receiver.got();
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|got| got.is_signed_by(&secret)));
    assert_eq!(got[0].json()["data"]["merchant_uid"], "example");

    let pid = child.0.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.0.wait().unwrap().success());
    shop.book
        .shows("select count(*) from billd.consumer", "0")
        .await;
}

/// Hazard: an example is taken for a payment, and somebody is let in for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_example_is_written_in_a_sandboxs_book_alone() {
    let shop = Shop::new().await;
    let refused = run(shop
        .command()
        .env("BILLD__GATEWAY__IMP_KEY", "1234567890")
        .args(["trigger", "paid"]));
    exits(&refused, 9);
    assert!(
        stderr(&refused).contains("the gateway is not a sandbox"),
        "{}",
        stderr(&refused)
    );
    shop.book
        .run("update billd.control set home_account = 'a1b2c3d4e5f6'")
        .await;
    let refused = run(shop.command().args(["trigger", "paid"]));
    assert!(
        stderr(&refused).contains("this book charges real cards"),
        "{}",
        stderr(&refused)
    );
    shop.book
        .run("update billd.control set home_account = null")
        .await;
    let refused = run(shop.command().args(["trigger", "payed"]));
    assert!(
        stderr(&refused).contains("there are no events of kind payed. Kinds are created, paid"),
        "{}",
        stderr(&refused)
    );
    shop.book
        .shows("select count(*) from billd.event", "0")
        .await;
}

/// Each kind can be tried, and an example has all keys of its kind; none of them is one that all bodies have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_example_of_each_kind_has_a_value_for_each_of_its_keys() {
    let shop = Shop::new().await;
    shop.book
        .run("select count(billd_internal.tell_example(kind)) from billd_internal.event_kind")
        .await;
    let missing =
        "select string_agg(e.kind || ' ' || k.key, ', ') from billd.event e, jsonb_each(e.data) k
        where k.value = 'null' and k.key not in ('periods_left')";
    shop.book.shows(missing, "null").await;
    let twice = "select count(*) from billd_internal.event_kind k, unnest(k.keys) x (key)
        where x.key = any ('{id,version,subscription_id,external_id,period,merchant_uid,cut}')";
    shop.book.shows(twice, "0").await;
}
