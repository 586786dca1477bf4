//! What goes wrong on the way: endpoints that fail, hang, lead elsewhere or are gone, and daemons that die.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::delivery::{Answers, Receiver, Shop, add, events};
use crate::process::{Daemon, exits, run, stdout};
use crate::support::Book;

const ATTEMPT: &str = "select concat_ws(' ', status, error) from billd.webhook_attempt where error is not null order by at desc, event_id desc limit 1";

/// How the only delivery has failed last, once it has so many attempts.
async fn failed(book: &Book, attempts: u32) -> String {
    book.comes_to(
        "select max(attempt_no) from billd.webhook_attempt",
        &attempts.to_string(),
    )
    .await;
    book.text(ATTEMPT).await
}

/// Hazard: a program gives access by what it is told, and is told twice, too late, in another order, or by somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_sent_once_in_order_and_signed_as_the_library_of_others_has_it() {
    let shop = Shop::new().await;
    let daemon = shop.daemon();
    shop.created(10).await;
    shop.paused_and_resumed(3).await;
    shop.book.subscribe_many(10, "due_").await;
    shop.book
        .comes_to("select count(*) from billd.event where kind = 'paid'", "10")
        .await;
    let count = events(&shop.book).await;
    shop.comes_to(&format!("{count} delivered")).await;
    assert_eq!(shop.receiver.got().len(), count, "none came twice");
    shop.receiver.took_in_order(count);
    for got in shop.receiver.got() {
        assert!(got.is_signed_by(&shop.secret), "{}", got.id());
        assert_eq!(got.header("content-type"), "application/json");
        let body = got.json();
        let keys: BTreeSet<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(
            keys.into_iter().collect::<Vec<_>>(),
            ["data", "timestamp", "type"]
        );
        let id = &body["data"]["id"];
        shop.book
            .shows(
                &format!(
                    "select kind || ' ' || (data <@ ('{}'::jsonb -> 'data')) from billd.event where id = {id}",
                    String::from_utf8_lossy(&got.body).replace('\'', "''")
                ),
                format!("{} true", got.kind()),
            )
            .await;
    }
    let said = daemon.said();
    assert!(!said.contains("whsec_"), "{said}");
}

/// Hazard: what an endpoint refuses is overtaken by what follows it, and a customer is let in who was just put out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_fails_holds_up_its_own_subscription_and_no_other() {
    let shop = Shop::new().await;
    shop.receiver.answers(Answers::OfKind("paused", 500));
    let _daemon = shop.daemon();
    shop.created(3).await;
    shop.book
        .run("select count(f) from billd.subscription s cross join lateral billd.pause(s.id) f where customer_uid = 'cust_1'")
        .await;
    shop.book
        .run("select count(f) from billd.subscription s cross join lateral billd.resume(s.id) f where customer_uid = 'cust_1'")
        .await;
    shop.comes_to("3 delivered, 2 pending").await;
    shop.book.comes_to(ATTEMPT, "500 HTTP 500").await;
    let kinds: Vec<String> = shop
        .receiver
        .got()
        .iter()
        .map(super::receiver::Got::kind)
        .collect();
    assert!(!kinds.contains(&"resumed".to_owned()), "{kinds:?}");
    shop.receiver.answers(Answers::Status(204));
    shop.comes_to_rest().await;
    shop.receiver.took_in_order(5);
}

/// Hazard: what counts as taken was not, or what was taken is sent for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_not_2xx_in_time_is_a_failure_and_is_tried_again() {
    let shop = Shop::new().await;
    let _daemon = shop.daemon();
    let mut count = 0;
    for (answers, words) in [
        (Answers::Status(500), "500 HTTP 500"),
        (Answers::Status(404), "404 HTTP 404"),
        (
            Answers::Redirect,
            "307 HTTP 307: redirects are not followed",
        ),
        (Answers::Silence, "no answer within 1s"),
        (Answers::Late(Duration::from_secs(2)), "no answer within 1s"),
        (Answers::Flood(503), "503 HTTP 503"),
    ] {
        shop.receiver.answers(answers);
        shop.book.run("truncate billd.webhook_attempt").await;
        shop.created(1).await;
        assert_eq!(failed(&shop.book, 1).await, words);
        shop.receiver.answers(Answers::Status(204));
        count += 1;
        shop.comes_to_rest().await;
        shop.comes_to(&format!("{count} delivered")).await;
    }
    // However much follows, 2xx is 2xx.
    shop.receiver.answers(Answers::Flood(200));
    shop.created(1).await;
    shop.comes_to(&format!("{} delivered", count + 1)).await;
    let excerpt = "select distinct excerpt from billd.webhook_attempt where error is null";
    shop.book.shows(excerpt, "null").await;
    let got = shop.receiver.got();
    assert!(got.iter().all(|got| got.is_signed_by(&shop.secret)));
}

/// Hazard: a daemon dies with a request under way, and nobody knows whether it was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_daemon_had_under_way_is_sent_again_under_the_same_id_when_its_lease_has_ended()
 {
    let shop = Shop::new().await;
    shop.receiver.answers(Answers::Silence);
    let mut command = shop.command();
    let daemon = Daemon::start(command.env("BILLD__WEBHOOKS__TIMEOUT", "1m"));
    shop.created(1).await;
    let first = shop.receiver.has_got(1).await;
    shop.paused_and_resumed(1).await;
    daemon.signal("-KILL");
    shop.receiver.answers(Answers::Status(204));
    let _second = shop.daemon();
    // Its lease holds.
    shop.created(1).await;
    shop.comes_to("1 delivered, 3 pending").await;
    shop.book.advance("2 minutes").await;
    shop.comes_to("4 delivered").await;
    shop.receiver.took_in_order(4);
    let again: Vec<_> = shop
        .receiver
        .got()
        .iter()
        .filter(|got| got.id() == first[0].id())
        .map(|got| got.status)
        .collect();
    assert_eq!(again, [0, 204]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_told_to_stop_records_what_is_under_way() {
    let shop = Shop::new().await;
    shop.receiver
        .answers(Answers::Late(Duration::from_millis(300)));
    let mut daemon = shop.daemon();
    shop.created(1).await;
    shop.receiver.has_got(1).await;
    daemon.stops().await;
    shop.book
        .shows("select state from billd.webhook_delivery", "delivered")
        .await;
}

/// Hazard: an endpoint that is dead, or takes 30 seconds to answer, takes the daemon's time from charges and from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_and_a_slow_endpoint_cost_the_others_and_the_charges_nothing() {
    let shop = Shop::new().await;
    let (dead, slow) = (Receiver::new().await, Receiver::new().await);
    slow.answers(Answers::Silence);
    add(&shop.book, "slow", &slow.url()).await;
    add(&shop.book, "dead", &dead.url()).await;
    drop(dead);
    let mut command = shop.command();
    let _daemon = Daemon::start(command.env("BILLD__WEBHOOKS__TIMEOUT", "1m"));
    shop.book.subscribe_many(300, "due_").await;
    shop.book
        .comes_to(
            "select count(*) from billd.event where kind = 'paid'",
            "300",
        )
        .await;
    shop.book
        .comes_to("select count(*) from billd.webhook_delivery where endpoint = 'app' and state = 'delivered'", "600")
        .await;
    shop.receiver.took_in_order(600);
    assert_eq!(
        slow.got().len(),
        8,
        "as many as an endpoint may have under way"
    );
    let attempts = "select count(*) < 20 and min(status) is null from billd.webhook_attempt where endpoint = 'dead'";
    shop.book.shows(attempts, "true").await;
}

/// Hazard: an endpoint that is down gets all the day's events at once, again and again, and never comes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_endpoint_is_tried_with_one_event_at_a_time_after_growing_waits() {
    let shop = Shop::new().await;
    shop.receiver.answers(Answers::Status(500));
    let _daemon = shop.daemon();
    shop.created(100).await;
    let tried = "select count(*) from billd.webhook_attempt";
    shop.book
        .comes_to(
            "select failures >= 5 and probe_at > billd.now() and not exists (
                select from billd.webhook_delivery where lease_until is not null) from billd.webhook_endpoint",
            "true",
        )
        .await;
    let in_all: usize = shop.book.text(tried).await.parse().unwrap();
    assert!((5..=16).contains(&in_all), "{in_all}");
    shop.receiver.has_got(in_all).await;
    for probes in 1..4 {
        shop.book.run("update billd.control set clock_shift = clock_shift + (select probe_at - billd.now() from billd.webhook_endpoint)").await;
        shop.book
            .comes_to(tried, &(in_all + probes).to_string())
            .await;
    }
    assert_eq!(shop.receiver.got().len(), in_all + 3);
    shop.receiver.answers(Answers::Status(204));
    shop.comes_to_rest().await;
    shop.receiver.took_in_order(100);
}

/// Hazard: what could not be delivered is forgotten, or blocks what follows for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ten_failures_over_three_days_an_event_is_a_dead_letter_that_can_be_sent_again() {
    let shop = Shop::new().await;
    shop.receiver.answers(Answers::OfKind("created", 500));
    let daemon = shop.daemon();
    shop.created(1).await;
    shop.paused_and_resumed(1).await;
    let started = shop.book.text("select billd.now()").await;
    for attempts in 1..=10 {
        failed(&shop.book, attempts).await;
        shop.book
            .shows(
                "select count(*) from billd.webhook_delivery where state = 'delivered'",
                "0",
            )
            .await;
        shop.book.run("update billd.control set clock_shift = clock_shift + coalesce((select max(greatest(d.next_at, e.probe_at)) - billd.now()
            from billd.webhook_delivery d, billd.webhook_endpoint e where d.tries between 1 and 9), '0')").await;
    }
    shop.book.advance("15 minutes").await;
    shop.comes_to("1 dead, 2 delivered").await;
    let days = format!(
        "select billd.now() - '{started}' between interval '3 days' and interval '4 days 6 hours'"
    );
    shop.book.shows(&days, "true").await;
    let said = daemon.said();
    assert!(
        said.contains("webhook dead: evt_1 (created) could not be delivered to app"),
        "{said}"
    );
    let dead = run(shop.command().args(["webhook", "dead", "app", "--json"]));
    exits(&dead, 0);
    let dead: serde_json::Value = serde_json::from_str(&stdout(&dead)).unwrap();
    assert_eq!(
        (&dead["dead"][0]["event_id"], &dead["dead"][0]["excerpt"]),
        (&1.into(), &"said the receiver".into())
    );
    shop.book.shows("select dead from billd.webhook", "1").await;

    shop.receiver.answers(Answers::Status(204));
    exits(&run(shop.command().args(["webhook", "replay", "app"])), 0);
    shop.comes_to("3 delivered").await;
    let ids: Vec<String> = shop
        .receiver
        .taken()
        .iter()
        .map(super::receiver::Got::id)
        .collect();
    assert_eq!(ids, ["evt_2", "evt_3", "evt_1"]);
}

/// Hazard: an endpoint that was taken down for good is called for years, or what it missed is gone when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_says_410_is_stopped_and_goes_on_where_it_was_when_a_person_starts_it() {
    let shop = Shop::new().await;
    shop.receiver.answers(Answers::Status(410));
    let daemon = shop.daemon();
    shop.created(1).await;
    shop.book
        .comes_to("select health from billd.webhook", "stopped")
        .await;
    let asked = shop.receiver.got().len();
    shop.created(20).await;
    shop.book.advance("4 days").await;
    shop.receiver.answers(Answers::Status(204));
    let check = stdout(&run(shop.command().arg("check")));
    assert!(
        check.contains("ok    webhooks  app is stopped: it answered 410 Gone"),
        "{check}"
    );
    assert_eq!(shop.receiver.got().len(), asked);
    assert!(
        daemon
            .said()
            .contains("webhook stopped: app answered 410 Gone")
    );
    exits(&run(shop.command().args(["webhook", "start", "app"])), 0);
    shop.comes_to("21 delivered").await;
    shop.receiver.took_in_order(21);
}

/// Hazard: whoever may add an endpoint makes the daemon call the machine beside it, or its cloud's own address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_public_is_refused_also_by_its_name_and_without_tls() {
    let shop = Shop::new().await;
    let port = shop.receiver.address.port();
    let mut command = shop.command();
    let _daemon = Daemon::start(command.env("BILLD__WEBHOOKS__ALLOWED_NETWORKS", "10.0.0.0/8"));
    shop.created(1).await;
    for (url, words) in [
        (
            format!("https://127.0.0.1:{port}/"),
            "127.0.0.1 is not a public address",
        ),
        (
            format!("https://0x7f000001:{port}/"),
            "127.0.0.1 is not a public address",
        ),
        (
            format!("https://[::ffff:127.0.0.1]:{port}/"),
            "::ffff:127.0.0.1 is not a public address",
        ),
        (
            format!("https://localhost:{port}/"),
            "is not a public address; webhooks.allowed_networks says",
        ),
        (
            format!("http://localhost:{port}/"),
            "would be reached without TLS",
        ),
    ] {
        shop.book
            .run(&format!(
                "truncate billd.webhook_attempt;
            select billd.change_webhook('app', '{url}'), billd.start_webhook('app')"
            ))
            .await;
        shop.book
            .comes_to("select count(*) > 0 from billd.webhook_attempt", "true")
            .await;
        let error = shop.book.text(ATTEMPT).await;
        assert!(error.contains(words), "{url}: {error}");
    }
    assert!(shop.receiver.got().is_empty());
}

/// Hazard: a copy of the book, for a rehearsal, tells the merchant's real programs what never happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_book_sends_nothing_until_somebody_says_so_there() {
    let shop = Shop::new().await;
    shop.book
        .run("update billd.webhook_endpoint set place = 'another/1'")
        .await;
    let _daemon = shop.daemon();
    shop.created(3).await;
    shop.book
        .comes_to(
            "select health || ' ' || waiting_at_most from billd.webhook",
            "elsewhere 3",
        )
        .await;
    assert!(shop.receiver.got().is_empty());
    shop.book.run("select billd.start_webhook('app')").await;
    shop.comes_to("3 delivered").await;
    shop.receiver.took_in_order(3);
}

/// Hazard: a mix of faults that nobody thought of. For an hour of it: `BILLD_TEST_WEBHOOK_MINUTES=60`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_fail_by_chance_get_everything_in_order_while_daemons_are_killed() {
    let shop = Shop::new().await;
    let other = Receiver::new().await;
    add(&shop.book, "other", &other.url()).await;
    let receivers = [&shop.receiver, &other];
    for receiver in receivers {
        receiver.answers(Answers::Anything);
    }
    let started = Instant::now();
    let minutes = std::env::var_os("BILLD_TEST_WEBHOOK_MINUTES");
    let limit =
        Duration::from_mins(minutes.map_or(0, |text| text.to_str().unwrap().parse().unwrap()));
    let mut rounds = 0;
    while rounds < 3 || started.elapsed() < limit {
        let daemons = [shop.daemon(), shop.daemon()];
        shop.created(10).await;
        for verb in ["pause", "resume", "pause", "resume"] {
            shop.book
                .run(&format!(
                    "select count(f) from (select id from billd.subscription order by id desc limit 10) s
                     cross join lateral billd.{verb}(s.id) f"
                ))
                .await;
        }
        let got = shop.receiver.got().len();
        let all = shop.receiver.has_got(got + 10).await;
        assert!(
            all[got..].iter().all(|got| got.is_signed_by(&shop.secret)),
            "round {rounds}"
        );
        for daemon in &daemons {
            daemon.signal("-KILL");
        }
        shop.book.advance("1 minute").await;
        rounds += 1;
    }
    for receiver in receivers {
        receiver.answers(Answers::Status(204));
    }
    let _daemon = shop.daemon();
    shop.comes_to_rest().await;
    let count = events(&shop.book).await;
    for receiver in receivers {
        receiver.took_in_order(count);
    }
    let got = shop.receiver.got();
    let twice = got
        .iter()
        .filter(|got| (200..300).contains(&got.status))
        .count()
        - count;
    billd::terminal::note(&format!(
        "{rounds} rounds, {} daemons killed, {count} events to each of 2 endpoints, {} requests to the first, {twice} taken \
         more than once",
        rounds * 2,
        got.len(),
    ));
}
