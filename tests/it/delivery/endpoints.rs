//! Endpoints as people see and change them.

use crate::delivery::{Answers, NOT_DUE, Receiver, Shop};
use crate::process::{Daemon, billd, exits, run, stderr, stdout};
use crate::support::{Book, server};

/// Hazard: while a secret is changed, what is signed with the new one is refused, or an old one goes on for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_secrets_are_rotated_both_sign_and_afterwards_the_new_one_alone() {
    let shop = Shop::new().await;
    let rotated =
        run(shop
            .command()
            .args(["webhook", "rotate", "app", "--overlap", "1 hour", "--json"]));
    exits(&rotated, 0);
    let rotated: serde_json::Value = serde_json::from_str(&stdout(&rotated)).unwrap();
    let new = rotated["secret"].as_str().unwrap();
    let _daemon = shop.daemon();
    shop.created(1).await;
    let got = shop.receiver.has_got(1).await;
    assert!(got[0].is_signed_by(&shop.secret) && got[0].is_signed_by(new));
    shop.comes_to("1 delivered").await;

    shop.book.advance("61 minutes").await;
    shop.created(1).await;
    let got = shop.receiver.has_got(2).await;
    assert!(!got[1].is_signed_by(&shop.secret) && got[1].is_signed_by(new));

    for _ in 0..4 {
        shop.book.run("select billd.rotate_webhook('app')").await;
    }
    shop.book
        .shows("select count(*) from billd_internal.webhook_secret", "3")
        .await;
    let last = shop
        .book
        .text("select billd.rotate_webhook('app', '0')")
        .await;
    shop.book
        .shows(
            "select string_agg(secret, ' ') from billd_internal.webhook_secret",
            last,
        )
        .await;
    shop.book
        .refuses(
            "select billd.rotate_webhook('app', '31 days')",
            "overlap is 0 to 30 days",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_gets_its_kinds_from_where_it_began_and_what_is_sent_again_has_the_same_id() {
    let shop = Shop::new().await;
    shop.book.run("select billd.drop_webhook('app')").await;
    shop.created(3).await;
    shop.paused_and_resumed(1).await;
    let before = shop.book.text("select billd.now()").await;
    let add = |name: &str, more: &[&str]| {
        let (name, url) = (name.to_owned(), shop.receiver.url());
        let added = run(shop
            .command()
            .args(["webhook", "add", &name, &url])
            .args(more));
        exits(&added, 0);
        assert!(stdout(&added).starts_with("whsec_"), "{}", stdout(&added));
    };
    add("kinds", &["--from", "start", "--kinds", "paused,resumed"]);
    add("later", &[]);
    let _daemon = shop.daemon();
    shop.comes_to("6 delivered").await;
    shop.paused_and_resumed(1).await;
    shop.comes_to("18 delivered").await;
    let kinds = "select string_agg(distinct endpoint || ' ' || kind, ', ') from billd.webhook_delivery d join billd.event e on e.id = d.event_id";
    shop.book
        .shows(
            kinds,
            "kinds paused, kinds resumed, later paused, later resumed",
        )
        .await;

    let got = shop.receiver.got().len();
    exits(
        &run(shop
            .command()
            .args(["webhook", "replay", "kinds", "--event", "4"])),
        0,
    );
    let again = shop.receiver.has_got(got + 1).await;
    assert_eq!(again.last().unwrap().id(), "evt_4");
    shop.comes_to("18 delivered").await;
    // From a time: what came after it, and of its kinds alone.
    let since = before.replace(' ', "T");
    exits(
        &run(shop
            .command()
            .args(["webhook", "replay", "kinds", "--since", &since])),
        0,
    );
    let again = shop.receiver.has_got(got + 7).await;
    let mut ids: Vec<String> = again[got + 1..]
        .iter()
        .map(super::receiver::Got::id)
        .collect();
    ids.sort();
    assert_eq!(
        ids,
        ["evt_10", "evt_11", "evt_12", "evt_13", "evt_14", "evt_15"]
    );
    shop.comes_to("18 delivered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_managed_by_commands_that_say_what_they_did_and_what_stands_against_it() {
    let shop = Shop::new().await;
    let url = shop.receiver.url();
    let app = format!("add app {url}");
    for (arguments, words) in [
        (app.as_str(), "there is a webhook endpoint app already"),
        (
            "add b https://shop.example --kinds payed",
            "there are no events of kind payed",
        ),
        (
            "add b https://10.0.0.1/",
            "10.0.0.1 is not a public address",
        ),
        ("add b shop.example", "it is no address such as"),
        (
            "add b https://shop.example --from yesterday",
            "begin_at is start, now",
        ),
        (
            "start nobody",
            "there is no webhook endpoint nobody. billd.webhook lists them",
        ),
        ("attempts nobody", "there is no webhook endpoint nobody"),
        ("replay app --event 99", "there is no event 99"),
        (
            "change app --concurrency 0",
            "webhook_endpoint_concurrency_is_1_to_64",
        ),
    ] {
        let refused = run(shop.command().arg("webhook").args(arguments.split(' ')));
        assert_ne!(refused.status.code(), Some(0), "{arguments:?}");
        assert!(
            stderr(&refused).contains(words),
            "{arguments:?}: {}",
            stderr(&refused)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_tried_stopped_changed_and_removed_by_commands() {
    let shop = Shop::new().await;
    let tried = run(shop.command().args(["webhook", "test", "app"]));
    exits(&tried, 0);
    assert!(stdout(&tried).contains(": 204, "), "{}", stdout(&tried));
    let got = shop.receiver.has_got(1).await;
    assert!(got[0].is_signed_by(&shop.secret) && got[0].id().starts_with("test_"));
    shop.receiver.answers(Answers::Status(500));
    let tried = run(shop.command().args(["webhook", "test", "app", "--json"]));
    exits(&tried, 9);
    let tried: serde_json::Value = serde_json::from_str(&stdout(&tried)).unwrap();
    assert_eq!(
        (&tried["status"], &tried["excerpt"]),
        (&500.into(), &"said the receiver".into())
    );

    let command = |arguments: &str| {
        let done = run(shop.command().args(arguments.split(' ')));
        exits(&done, 0);
        stdout(&done)
    };
    command("webhook stop app --why maintenance");
    let list = command("webhook list");
    assert!(
        list.contains("stopped") && list.contains("maintenance"),
        "{list}"
    );
    command("webhook change app --kinds paid --concurrency 2");
    shop.book
        .shows("select kinds::text from billd.webhook", "{paid}")
        .await;
    command("webhook change app --kinds all");
    command("webhook start app");
    let list: serde_json::Value = serde_json::from_str(&command("webhook list --json")).unwrap();
    assert_eq!(
        (
            &list["endpoints"][0]["health"],
            &list["endpoints"][0]["kinds"]
        ),
        (&"well".into(), &serde_json::Value::Null)
    );
    assert_eq!(command("webhook attempts app"), "there is none\n");
    command("webhook remove app");
    shop.book
        .shows(
            "select count(*) from billd.consumer, billd_internal.webhook_secret",
            "0",
        )
        .await;
}

/// Hazard: the role of a report, or of the app, reads a secret and signs what never happened; or the daemon's can't send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemons_role_alone_reads_secrets_and_it_suffices_to_send() {
    let shop = Shop::new().await;
    for role in ["billd_reader", "billd_app", "billd_operator"] {
        let denied = format!(
            "begin; set local role {role}; select secret from billd_internal.webhook_secret"
        );
        let error = Book::on(shop.book.url.clone())
            .try_run(&denied)
            .await
            .unwrap_err();
        assert!(error.contains("permission denied"), "{role}: {error}");
    }
    for (role, statement, is_allowed) in [
        (
            "billd_operator",
            "select billd.add_webhook('b', 'https://shop.example'); select billd.replay_webhook('b')",
            true,
        ),
        (
            "billd_app",
            "select billd.add_webhook('b', 'https://shop.example')",
            false,
        ),
        (
            "billd_reader",
            "select * from billd.webhook, billd.webhook_attempt, billd.webhook_delivery",
            true,
        ),
    ] {
        let tried = format!("begin; set local role {role}; {statement}; rollback");
        let done = Book::on(shop.book.url.clone()).try_run(&tried).await;
        assert_eq!(done.is_ok(), is_allowed, "{role}: {statement}: {done:?}");
    }
    let name = shop.book.text("select current_database()").await;
    shop.book
        .run("create role sender_of_billd login in role billd_daemon")
        .await;
    let url = futures_util::FutureExt::now_or_never(server())
        .unwrap()
        .url_as("sender_of_billd", &name);
    let mut command = billd(&url, &shop.gateway.base_url());
    let _daemon = Daemon::start(command.env("BILLD__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8"));
    shop.created(3).await;
    shop.comes_to("3 delivered").await;
    shop.receiver.took_in_order(3);
}

/// Hazard: one event with a long list fills a receiver's limits, and its subscription waits for three days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_larger_than_64_kib_and_one_that_would_be_says_that_it_is_cut() {
    let shop = Shop::new().await;
    for length in [65_000, 66_000] {
        shop.book
            .run(&format!(
                "select billd_internal.tell('paid', null, merchant_uid => 'order', more => jsonb_build_object('made_of', repeat('x', {length})))"
            ))
            .await;
    }
    let _daemon = shop.daemon();
    shop.comes_to("2 delivered").await;
    let got = shop.receiver.got();
    assert!(got.iter().all(|got| got.body.len() <= 64 << 10));
    let cut: Vec<_> = got
        .iter()
        .map(|got| got.json()["data"]["cut"].clone())
        .collect();
    assert_eq!(cut, [serde_json::Value::Null, true.into()]);
    assert_eq!(got[1].json()["data"]["merchant_uid"], "order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_bounded_and_what_was_closed_is_forgotten_with_the_history() {
    let shop = Shop::new().await;
    let other = Receiver::new().await;
    let _daemon = shop.daemon();
    shop.created(3).await;
    shop.comes_to("3 delivered").await;
    for _ in 0..25 {
        shop.book.run("select billd.replay_webhook('app', 1)").await;
        shop.comes_to("3 delivered").await;
    }
    shop.book.shows("select count(*) || ' ' || min(attempt_no) from billd.webhook_attempt where event_id = 1", "20 7").await;
    shop.book
        .run(&format!(
            "select billd.change_webhook('app', '{}')",
            other.url()
        ))
        .await;
    other.answers(Answers::Status(500));
    shop.book.run(&format!("{NOT_DUE}1) n")).await;
    other.has_got(1).await;
    shop.book
        .run("call billd_internal.forget_webhooks(current_date + 1, 2)")
        .await;
    shop.comes_to("1 pending").await;
    shop.book
        .comes_to("select count(*) from billd.webhook_attempt", "1")
        .await;
}
