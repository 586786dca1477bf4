//! The operations of PortOne's guide as shell commands of the real binary, against the sandbox.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use portone_sandbox::{self as sandbox, Running};
use serde_json::{Value, json};

use crate::process::{billd, stderr, stdout};
use crate::support::{Book, portone};

/// The card that all tests type in: what no output may hold.
pub(crate) const NUMBER: &str = "4111-1111-1111-7293";
pub(crate) const CARD: &str = r#"{"card_number": "4111-1111-1111-7293", "expiry": "2031-07", "birth": "8202134571", "pwd_2digit": "57"}"#;

/// A book, a gateway, and the binary between them.
pub(crate) struct Shop {
    pub(crate) book: Book,
    pub(crate) gateway: Running,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self {
            book: Book::new().await,
            gateway: sandbox::start(sandbox::Options::default()).await.unwrap(),
        }
    }

    /// A command, as a script gives it: it says yes where it would be asked.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = billd(&self.book.url, &self.gateway.base_url());
        command.args(arguments.split(' '));
        if arguments.starts_with("refund ") || arguments.starts_with("charge again ") {
            command.arg("--yes");
        }
        command
    }

    /// Runs a command, with its standard input, and says how it ended.
    pub(crate) fn with_input(&self, input: &str, arguments: &str) -> (i32, Output) {
        ended(&mut self.command(arguments), input)
    }

    /// Runs a command that reads no card.
    pub(crate) fn run(&self, arguments: &str) -> (i32, Output) {
        self.with_input("", arguments)
    }

    /// Runs a command with `--json` that must end with this code.
    pub(crate) fn json(&self, code: i32, input: &str, arguments: &str) -> Value {
        let (ended, output) = self.with_input(input, &format!("{arguments} --json"));
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(ended, code, "{arguments}: {said}");
        serde_json::from_str(&stdout(&output)).unwrap_or(Value::Null)
    }
}

pub(crate) fn ended(command: &mut Command, input: &str) -> (i32, Output) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have ended before it is written.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_five_operations_of_the_guide_work_as_shell_commands() {
    let shop = Shop::new().await;
    // §2: a payment by a card that is not stored.
    let paid = shop.json(
        0,
        CARD,
        "charge onetime --amount 3000 --name coupon --merchant-uid order1",
    );
    assert_eq!(
        (&paid["outcome"], &paid["merchant_uid"]),
        (&json!("paid"), &json!("order1"))
    );
    assert_eq!(paid["customer_uid"], Value::Null);

    // §3: a billing key.
    let issued = shop.json(0, CARD, "billing-key issue cust_1");
    assert_eq!(issued["key"]["card_number"], json!("411111******7293"));
    assert_eq!(issued["replaced"], json!(false));

    // §4: a billing key and the first payment at once; the card as lines this time.
    let lines =
        "card_number = 4111 1111 1111 7293\nexpiry=07/31\nbirth=8202134571\npwd_2digit=57\n";
    let paid = shop.json(
        0,
        lines,
        "charge onetime --amount 9900 --name first --customer-uid cust_2",
    );
    assert_eq!(
        (&paid["outcome"], &paid["customer_uid"]),
        (&json!("paid"), &json!("cust_2"))
    );
    let key = shop.json(0, "", "billing-key show cust_2");
    assert_eq!(key["key"]["card_number"], json!("411111******7293"));

    // §5: a payment by the billing key.
    let paid = shop.json(
        0,
        "",
        "charge again cust_2 --amount 5000 --name seat --merchant-uid order2",
    );
    assert_eq!(
        (&paid["outcome"], &paid["amount"]),
        (&json!("paid"), &json!(5000))
    );

    let shown = shop.json(0, "", "payment show order2");
    assert_eq!(shown["gateway"][0]["status"], json!("paid"));
    assert_eq!(
        (&shown["book"]["state"], &shown["book"]["kind"]),
        (&json!("paid"), &json!("again"))
    );
    let by_imp_uid = format!("payment show {}", paid["imp_uid"].as_str().unwrap());
    assert_eq!(shop.json(0, "", &by_imp_uid), shown);

    three_are_charged(&shop).await;
    let (code, _) = shop.run("payment show nothing1");
    assert_eq!(code, 9);
}

async fn three_are_charged(shop: &Shop) {
    let summary = shop.gateway.summary();
    assert_eq!(
        (summary.approvals, summary.merchant_uids_approved_twice),
        (3, 0)
    );
    let book = "select string_agg(concat_ws(' ', case when by_card then 'onetime' else 'again' end, state, customer_uid, amount), ', ' order by started_at) from billd.charge_attempt where subscription_id is null";
    assert_eq!(
        shop.book.text(book).await,
        "onetime paid 3000, onetime paid cust_2 9900, again paid cust_2 5000"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_merchant_uid_twice_charges_once() {
    let shop = Shop::new().await;
    let again = "charge again cust_1 --amount 5000 --name seat --merchant-uid order2";
    assert_eq!(shop.json(0, "", again)["repeated"], json!(false));
    assert_eq!(shop.json(0, "", again)["repeated"], json!(true));
    let (code, output) =
        shop.run("charge again cust_1 --amount 6000 --name seat --merchant-uid order2");
    assert_eq!(code, 9, "{}", stderr(&output));
    assert_eq!(shop.gateway.summary().approvals, 1);

    let declined = "charge again decline-stolen-1 --amount 5000 --name seat --merchant-uid order3";
    let told = shop.json(8, "", declined);
    assert_eq!(
        (&told["reason"], &told["code"]),
        (&json!("hard_card"), &json!("1226"))
    );
    assert_eq!(shop.json(8, "", declined)["repeated"], json!(true));
    assert_eq!(shop.gateway.summary().declines, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_begins_with_the_payment_and_its_first_period_is_never_charged_again() {
    let shop = Shop::new().await;
    let subscribe = "charge onetime --amount 9900 --name premium --customer-uid cust_1 --subscribe";
    let paid = shop.json(0, CARD, subscribe);
    assert_eq!(
        (&paid["outcome"], &paid["subscription_state"]),
        (&json!("paid"), &json!("active"))
    );
    assert!(paid["next_charge_at"].is_string(), "{paid}");

    let swept = shop.json(0, "", "sweep");
    assert_eq!(swept["paid"], json!(0), "the first period is paid");
    assert_eq!(shop.gateway.summary().approvals, 1);
    let attempts = "select string_agg(concat_ws(' ', attempt_no, state, by_card), ', ' order by period) from billd.charge_attempt";
    assert_eq!(shop.book.text(attempts).await, "1 paid t");

    shop.book.advance("32 days").await;
    assert_eq!(shop.json(0, "", "sweep")["paid"], json!(1));
    assert_eq!(shop.book.text(attempts).await, "1 paid t, 1 paid f");
    let one_month_on = "select (due_at at time zone 'Asia/Seoul') = (anchor_at at time zone 'Asia/Seoul') + interval '2 months' from billd.subscription";
    assert_eq!(shop.book.text(one_month_on).await, "true");

    // Hazard: an impatient repeat of the command makes a second subscription.
    let (code, output) = shop.with_input(CARD, subscribe);
    assert_eq!(code, 9, "{}", stderr(&output));
    assert!(stderr(&output).contains("--another"), "{}", stderr(&output));
    assert_eq!(shop.gateway.summary().approvals, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_payment_that_is_declined_leaves_no_subscription_behind() {
    let shop = Shop::new().await;
    let card = CARD.replace(NUMBER, "4000-0000-0000-1216");
    let told = shop.json(
        8,
        &card,
        "charge onetime --amount 9900 --name premium --customer-uid cust_1 --subscribe",
    );
    assert_eq!(
        (&told["reason"], &told["subscription_state"]),
        (&json!("soft_funds"), &json!("cancelled"))
    );
    let book = "select concat_ws(' ', s.state, c.state, a.state, s.open_attempt is null) from billd.subscription s
        join billd.billing_cycle c on c.subscription_id = s.id join billd.charge_attempt a on a.subscription_id = s.id";
    assert_eq!(shop.book.text(book).await, "cancelled void declined t");
    let reason = shop
        .book
        .text("select state_reason from billd.subscription")
        .await;
    assert!(reason.starts_with("first_payment; soft_funds"), "{reason}");
    for _ in 0..2 {
        shop.book.advance("32 days").await;
        assert_eq!(shop.json(0, "", "sweep")["declined"], json!(0));
    }
    assert_eq!(shop.gateway.summary().declines, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_given_back_once_however_often_the_command_is_run() {
    let shop = Shop::new().await;
    shop.book.subscribe("cust_1").await;
    shop.json(0, "", "sweep");
    let merchant_uid = shop
        .book
        .text("select merchant_uid from billd.charge_attempt")
        .await;
    let cancelled = "select cancelled_amount from billd.charge_attempt";

    let part = format!("refund {merchant_uid} --amount 3000 --reason sorry");
    let told = shop.json(0, "", &part);
    assert_eq!(
        (&told["state"], &told["repeated"]),
        (&json!("refunded"), &json!(false))
    );
    assert_eq!(shop.json(0, "", &part)["repeated"], json!(true));
    assert_eq!(shop.book.text(cancelled).await, "3000");

    assert_eq!(
        shop.json(0, "", &format!("{part} --key second"))["repeated"],
        json!(false)
    );
    assert_eq!(shop.book.text(cancelled).await, "6000");
    let (code, output) = shop.run(&format!("refund {merchant_uid} --amount 4000"));
    assert_eq!(code, 9, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("3900 KRW are left"),
        "{}",
        stderr(&output)
    );

    // All that is left, by PortOne's number this time.
    let imp_uid = shop
        .book
        .text("select imp_uid from billd.charge_attempt")
        .await;
    let rest = shop.json(0, "", &format!("refund {imp_uid}"));
    assert_eq!(rest["amount"], json!(3900));
    assert_eq!(
        shop.json(0, "", &format!("refund {imp_uid}"))["repeated"],
        json!(true)
    );
    assert_eq!(shop.book.text(cancelled).await, "9900");
    let shown = shop.json(0, "", &format!("payment show {merchant_uid}"));
    assert_eq!(shown["gateway"][0]["cancel_amount"], json!(9900));

    let (code, output) = shop.run("refund order77");
    assert_eq!(code, 9);
    assert!(stderr(&output).contains("console"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_tax_payment_is_given_back_with_its_tax_free_part() {
    let shop = Shop::new().await;
    shop.book
        .run("insert into billd.subscription (customer_uid, name, amount, tax_free) values ('cust_1', 'premium', 9900, 900)")
        .await;
    shop.json(0, "", "sweep");
    let merchant_uid = shop
        .book
        .text("select merchant_uid from billd.charge_attempt")
        .await;
    let (code, output) = shop.run(&format!("refund {merchant_uid} --amount 3000"));
    assert_eq!(code, 9);
    assert!(
        stderr(&output).contains("--tax-free"),
        "{}",
        stderr(&output)
    );
    shop.json(0, "", &format!("refund {merchant_uid}"));
    assert_eq!(
        shop.book.text("select tax_free from billd.refund").await,
        "900"
    );
}

/// Hazard: the whole of a mixed-tax charge by hand is given back as taxable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_tax_one_off_charge_is_given_back_with_its_parts() {
    let shop = Shop::new().await;
    shop.json(
        0,
        "",
        "charge again cust_1 --amount 9900 --tax-free 900 --vat-amount 800 --name x --merchant-uid order1",
    );
    shop.json(0, "", "refund order1");
    let parts = "select concat_ws(' ', tax_free, vat_amount) from billd.refund";
    assert_eq!(shop.book.text(parts).await, "900 800");
}

/// Hazard: PortOne replaces the card behind a name without a word, and the wrong one is charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_replaces_another_is_warned_of() {
    let shop = Shop::new().await;
    shop.book.subscribe("cust_1").await;
    shop.json(0, CARD, "billing-key issue cust_1");
    let other = CARD.replace("7293", "0005");
    let (code, output) = shop.with_input(&other, "billing-key issue cust_1 --json");
    assert_eq!(code, 0);
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&told["replaced"], &told["card_before"]),
        (&json!(true), &json!("411111******7293"))
    );
    let said = stderr(&output);
    assert!(
        said.contains("WARNING") && said.contains("411111******0005"),
        "{said}"
    );
    assert!(
        said.contains("charged to it from now on: subscription"),
        "{said}"
    );

    let paid = shop.json(
        0,
        CARD,
        "charge onetime --amount 100 --name x --customer-uid cust_1",
    );
    assert!(
        paid["warning"].as_str().unwrap().contains("WARNING"),
        "{paid}"
    );

    let refused = CARD.replace(NUMBER, "4000-0000-0000-0112");
    shop.json(8, &refused, "billing-key issue cust_9");
    let (code, _) = shop.run("billing-key show cust_9");
    assert_eq!(code, 9);
}

/// A script that still calls it must not go on as if there were no keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_removed_list_of_billing_keys_is_refused_and_says_what_to_do_instead() {
    let shop = Shop::new().await;
    let (code, output) = shop.run("billing-key list cust_1 --json");
    let said = stderr(&output);
    assert_eq!(code, 9, "{said}");
    assert!(said.contains("billing-key show"), "{said}");
}

/// Hazard: a key is deleted by a script, and next month's charges of its subscriptions all fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_billing_key_with_something_hanging_on_it_is_deleted_only_after_a_yes() {
    let shop = Shop::new().await;
    for name in ["cust_1", "cust_2", "cust_3"] {
        shop.json(0, CARD, &format!("billing-key issue {name}"));
    }
    shop.book.subscribe("cust_1").await;
    reserve(&shop.gateway, "cust_2").await;

    let subscription = shop.book.text("select id from billd.subscription").await;
    for (name, names) in [("cust_1", subscription.as_str()), ("cust_2", "reserved1")] {
        let (code, output) = shop.run(&format!("billing-key delete {name}"));
        assert_eq!(code, 9, "{name}");
        let said = stderr(&output);
        assert!(
            said.contains(names) && said.contains("--yes"),
            "{name}: {said}"
        );
        shop.json(0, "", &format!("billing-key show {name}"));
        assert_eq!(
            shop.json(0, "", &format!("billing-key delete {name} --yes"))["deleted"],
            json!(true)
        );
        let (code, _) = shop.run(&format!("billing-key show {name}"));
        assert_eq!(code, 9);
    }
    assert_eq!(
        shop.json(0, "", "billing-key delete cust_3")["deleted"],
        json!(true)
    );
    assert_eq!(
        shop.json(0, "", "billing-key delete cust_3")["deleted"],
        json!(false)
    );
}

/// A reservation that somebody else made at PortOne, ten days ahead.
async fn reserve(gateway: &Running, customer_uid: &str) {
    // Building a client of ours is what makes TLS ready for this one.
    drop(portone(&gateway.base_url(), 1));
    let http = reqwest::Client::new();
    let secret = json!({"imp_key": sandbox::IMP_KEY, "imp_secret": sandbox::IMP_SECRET});
    let url = format!("{}/users/getToken", gateway.base_url());
    let token: Value = http
        .post(url)
        .json(&secret)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let at = gateway
        .now_us()
        .div_euclid(1_000_000)
        .saturating_add(864_000);
    let body = json!({"customer_uid": customer_uid, "schedules": [
        {"merchant_uid": "reserved1", "schedule_at": at, "amount": 1000, "name": "x"}]});
    let url = format!("{}/subscribe/payments/schedule", gateway.base_url());
    let token = token.pointer("/response/access_token").unwrap();
    let answer = http
        .post(url)
        .bearer_auth(token.as_str().unwrap())
        .json(&body)
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer.get("code"), Some(&json!(0)), "{answer}");
}

/// Hazard: a slip at the prompt moves money, or a key pressed twice moves it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_by_hand_asks_first_and_refuses_an_accidental_repeat() {
    let shop = Shop::new().await;
    let charge = "charge again cust_1 --amount 5000 --name seat";
    let refund = "refund order1 --amount 1000";
    shop.json(0, "", &format!("{charge} --merchant-uid order1"));
    for command in [charge, refund] {
        let mut without_yes = billd(&shop.book.url, &shop.gateway.base_url());
        let (code, output) = ended(without_yes.args(command.split(' ')), "");
        let said = stderr(&output);
        assert!(
            code == 9 && said.contains("add --yes if you mean it"),
            "{code}: {said}"
        );
    }
    let moved = "select concat_ws(' ', count(*), (select count(*) from billd.refund)) from billd.charge_attempt";
    shop.book.shows(moved, "1 0").await;

    shop.json(0, "", charge);
    let (code, output) = shop.run(charge);
    let said = stderr(&output);
    assert!(
        code == 9 && said.contains("within a day, as hand"),
        "{code}: {said}"
    );
    shop.json(0, "", &format!("{charge} --merchant-uid order2"));
    shop.json(0, "", "charge again cust_1 --amount 5000 --name other");
    shop.book.advance("25 hours").await;
    shop.json(0, "", charge);
    assert_eq!(shop.gateway.summary().approvals, 5);
}

/// Hazard: 6,000 of 5,500 tax-free are given back in parts, and the tax office is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_refund_are_held_to_what_is_left_of_them() {
    let shop = Shop::new().await;
    shop.json(
        0,
        "",
        "charge again cust_1 --amount 11000 --tax-free 5500 --name x --merchant-uid order1",
    );
    shop.json(0, "", "refund order1 --amount 3000 --tax-free 3000");
    let second = "refund order1 --key second --amount 3000 --tax-free";
    let (code, output) = shop.run(&format!("{second} 3000"));
    assert!(
        code == 9 && stderr(&output).contains("--tax-free can be 0 to 2500"),
        "{}",
        stderr(&output)
    );
    shop.json(0, "", &format!("{second} 2500"));
    shop.json(0, "", "refund order1");
    let back =
        "select string_agg(amount || ' ' || tax_free, ', ' order by started_at) from billd.refund";
    shop.book.shows(back, "3000 3000, 3000 2500, 5000 0").await;
    for command in [
        "refund order1 --amount 3000 --tax-free 3001",
        "charge again cust_1 --amount 3000 --tax-free 3000 --vat-amount 1 --name x",
    ] {
        let (code, output) = shop.run(command);
        assert!(
            code == 2 && stderr(&output).contains("are parts of the sum"),
            "{}",
            stderr(&output)
        );
    }
}
