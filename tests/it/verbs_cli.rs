//! The verbs as shell commands of the real binary.

use serde_json::json;

use crate::guide::Shop;
use crate::process::{stderr, stdout};

const BOOK: &str =
    "insert into billd.subscription (external_id, customer_uid, name, amount, paid_until)
    values ('order-1', 'cust_1', '프리미엄 월간', 9900, billd.now() + interval '10 days')";
const STATE: &str = "select state || ' ' || customer_uid from billd.subscription";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_on_the_command_line_says_what_will_follow_and_a_dry_run_changes_nothing() {
    let shop = Shop::new().await;
    shop.book.run(BOOK).await;
    let asked = shop.json(0, "", "subscription pause order-1 --dry-run");
    assert_eq!(asked["dry_run"], json!(true));
    assert_eq!(asked["forecast"][0]["remark"], json!("paused"));
    shop.book.shows(STATE, "active cust_1").await;

    let forecast = shop.json(0, "", "subscription forecast order-1 --rows 2");
    assert_eq!(forecast["forecast"][1]["amount"], json!(9900));
    let given = shop.json(
        0,
        "",
        "subscription give-discount order-1 --share 0.5 --periods 1",
    );
    let sums = [
        &given["forecast"][0]["amount"],
        &given["forecast"][1]["amount"],
    ];
    assert_eq!(sums, [&json!(4950), &json!(9900)]);
    assert_eq!(
        given["forecast"][0]["made_of"][1]["what"],
        json!("discount")
    );

    shop.json(0, "", "subscription change-card order-1 cust_2 --note lost");
    shop.book.shows(STATE, "active cust_2").await;
    let history =
        "select string_agg(verb || coalesce(' ' || split_part(note, ';', 1), ''), ', ' order by id)
                   from billd.history where verb = 'change_card'";
    shop.book.shows(history, "change_card lost").await;

    let (code, output) = shop.run("subscription cancel order-1");
    let said = stdout(&output);
    assert_eq!(code, 0, "{}", stderr(&output));
    assert!(
        said.contains("times in Asia/Seoul") && said.contains("ends as agreed"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_that_makes_no_sense_ends_with_9_and_says_what_to_do_instead() {
    let shop = Shop::new().await;
    shop.book.run(BOOK).await;
    for (arguments, words) in [
        (
            "subscription pause nobody",
            "there is no subscription with id or external_id nobody",
        ),
        ("subscription take-back 7", "there is no planned change 7"),
        ("subscription resume order-1", "It is in service"),
        (
            "subscription cancel order-1 --at tomorrowish",
            "tomorrowish",
        ),
    ] {
        let (code, output) = shop.run(arguments);
        let said = stderr(&output);
        assert_eq!(code, 9, "{arguments}: {said}");
        assert!(said.contains(words), "{arguments}: {said}");
    }
    shop.book.shows(STATE, "active cust_1").await;
}
