//! A world for the auditor: many sound payments, one error of each kind, and another program that
//! charges beside us.

#![expect(
    clippy::indexing_slicing,
    reason = "a test's helper fails by panicking; clippy's own exception reaches test functions only"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use portone_sandbox::{self as sandbox, Running};
use serde_json::{Value, json};

use crate::support::{Book, House};

/// What a finding is known by.
pub(super) type Found = BTreeSet<(String, String)>;

/// How many payments that nothing is wrong with.
pub(super) fn payments() -> u32 {
    std::env::var_os("BILLD_TEST_PAYMENTS")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(2500)
}

/// A client such as another program of the merchant's would be.
pub(crate) struct Stranger {
    http: reqwest::Client,
    base_url: String,
    token: String,
}

impl Stranger {
    pub(crate) async fn at(sandbox: &Running) -> Self {
        let http = reqwest::Client::new();
        let base_url = sandbox.base_url();
        let key = json!({"imp_key": sandbox::IMP_KEY, "imp_secret": sandbox::IMP_SECRET});
        let answer = http.post(format!("{base_url}/users/getToken")).json(&key);
        let answer: Value = answer.send().await.unwrap().json().await.unwrap();
        let token = answer["response"]["access_token"].as_str().unwrap();
        Self {
            http,
            base_url,
            token: token.to_owned(),
        }
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.base_url));
        let answer = request.bearer_auth(&self.token).json(&body);
        let answer: Value = answer.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["code"], 0, "{path} {answer}");
        answer
    }

    /// Charges a card; returns the `imp_uid`.
    pub(super) async fn charge(
        &self,
        customer_uid: &str,
        merchant_uid: &str,
        amount: u32,
    ) -> String {
        let body = json!({"customer_uid": customer_uid, "merchant_uid": merchant_uid,
            "amount": amount, "name": "프리미엄 월간"});
        let answer = self.post("/subscribe/payments/again", body).await;
        answer["response"]["imp_uid"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn cancel(&self, merchant_uid: &str, amount: u32) {
        let body = json!({"merchant_uid": merchant_uid, "amount": amount});
        self.post("/payments/cancel", body).await;
    }

    /// Charges many at once: the gateway's own scheduler does it, when its clock has moved.
    pub(super) async fn charge_many(
        &self,
        sandbox: &Running,
        customer_uid: &str,
        merchant_uids: &[&str],
    ) {
        let at = sandbox
            .now_us()
            .div_euclid(1_000_000)
            .checked_add(60)
            .unwrap();
        for part in merchant_uids.chunks(1000) {
            let schedules: Vec<Value> = part
                .iter()
                .map(|name| json!({"merchant_uid": name, "schedule_at": at, "amount": 9900, "name": "월간"}))
                .collect();
            let body = json!({"customer_uid": customer_uid, "schedules": schedules});
            self.post("/subscribe/payments/schedule", body).await;
        }
        sandbox.advance(Duration::from_secs(61));
    }
}

/// One subscription whose first debt has one attempt in a given state; returns its name.
pub(super) async fn attempt(book: &Book, customer_uid: &str, state: &str, cycle: &str) -> String {
    let closed = if cycle == "due" || cycle == "unresolved" {
        "null"
    } else {
        "billd.now()"
    };
    let (finished, ask_at) = if state == "unknown" {
        ("null", "billd.now() + interval '1 day'")
    } else {
        ("billd.now()", "null")
    };
    book.run(&format!(
        "with s as (
            insert into billd.subscription (customer_uid, name, amount, state, attempts, next_charge_at)
            values ('{customer_uid}', '월간', 9900, 'past_due', 1, billd.now() + interval '10 days')
            returning *
        ), c as (
            insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at, state)
            select id, period, 9900, 'KRW', due_at, 'due' from s
        )
        select from s"
    ))
    .await;
    book.run(&format!(
        "insert into billd.charge_attempt (merchant_uid, subscription_id, period, attempt_no, amount,
            currency, customer_uid, state, finished_at, ask_at, imp_uid)
        select billd.merchant_uid(id, period, 1), id, period, 1, 9900, 'KRW', customer_uid,
            '{state}', {finished}, {ask_at}, case when '{state}' = 'paid' then 'imp_of_' || customer_uid end
        from billd.subscription where customer_uid = '{customer_uid}'"
    ))
    .await;
    book.run(&format!(
        "update billd.billing_cycle c set state = '{cycle}', closed_at = {closed}
        from billd.subscription s where s.id = c.subscription_id and s.customer_uid = '{customer_uid}'"
    ))
    .await;
    book.run(&format!(
        "select set_config('billd.writer', 'plan', true);
        update billd.subscription s set open_attempt = a.merchant_uid, next_charge_at = null
        from billd.charge_attempt a
        where a.subscription_id = s.id and a.state = 'unknown' and s.customer_uid = '{customer_uid}'"
    ))
    .await;
    name_of(book, customer_uid).await
}

pub(super) async fn name_of(book: &Book, customer_uid: &str) -> String {
    book.text(&format!(
        "select min(merchant_uid) from billd.charge_attempt where customer_uid = '{customer_uid}'"
    ))
    .await
}

pub(super) async fn set_imp_uid(book: &Book, merchant_uid: &str, imp_uid: &str) {
    book.run(&format!(
        "update billd.charge_attempt set imp_uid = '{imp_uid}' where merchant_uid = '{merchant_uid}'"
    ))
    .await;
}

/// Payments that both books hold alike.
pub(super) async fn sound_payments(house: &House, count: u32) {
    let book = &house.book;
    book.run(&format!(
        "insert into billd.subscription (customer_uid, name, amount, state, attempts, next_charge_at)
        select 'sound', '월간', 9900, 'active', 0, billd.now() + interval '20 days'
        from generate_series(1, {count})"
    ))
    .await;
    book.run(
        "insert into billd.billing_cycle
            (subscription_id, period, amount, currency, due_at, state, closed_at)
        select id, period - 30, 9900, 'KRW', due_at - interval '1 month', 'paid', billd.now()
        from billd.subscription where customer_uid = 'sound'",
    )
    .await;
    book.run(
        "insert into billd.charge_attempt (merchant_uid, subscription_id, period, attempt_no, amount,
            currency, customer_uid, state, finished_at, imp_uid)
        select billd.merchant_uid(id, period - 30, 1), id, period - 30, 1, 9900, 'KRW',
            customer_uid, 'paid', billd.now(), 'imp_to_come'
        from billd.subscription where customer_uid = 'sound'",
    )
    .await;
    let names = book
        .text("select string_agg(merchant_uid, ',') from billd.charge_attempt where imp_uid = 'imp_to_come'")
        .await;
    let names: Vec<&str> = names.split(',').collect();
    let stranger = Stranger::at(&house.sandbox).await;
    stranger.charge_many(&house.sandbox, "sound", &names).await;
    let mut receipts = String::new();
    for entry in house.sandbox.ledger() {
        write!(receipts, "('{}','{}'),", entry.merchant_uid, entry.imp_uid).unwrap();
    }
    let changed = book
        .run(&format!(
            "update billd.charge_attempt a set imp_uid = x.imp_uid
            from (values {}) as x (merchant_uid, imp_uid)
            where a.merchant_uid = x.merchant_uid and a.imp_uid = 'imp_to_come'",
            receipts.trim_end_matches(',')
        ))
        .await;
    assert_eq!(changed, u64::from(count));
}

/// Plants one error of each kind, and what only looks like one. Returns what must be found.
pub(super) async fn plant(house: &House) -> Found {
    let book = &house.book;
    let stranger = Stranger::at(&house.sandbox).await;
    let mut found = Found::new();
    let mut expect = |kind: &str, name: &str| {
        assert!(found.insert((kind.to_owned(), name.to_owned())));
    };

    let late = attempt(book, "late", "declined", "uncollectible").await;
    stranger.charge("late", &late, 9900).await;
    expect("paid_there_not_here", &late);

    let lost = attempt(book, "lost", "paid", "paid").await;
    expect("paid_here_not_there", &lost);

    let first = attempt(book, "twice", "paid", "paid").await;
    set_imp_uid(book, &first, &stranger.charge("twice", &first, 9900).await).await;
    let second = format!("{}02", first.strip_suffix("01").unwrap());
    let imp_uid = stranger.charge("twice", &second, 9900).await;
    book.run(&format!(
        "insert into billd.charge_attempt (merchant_uid, subscription_id, period, attempt_no, amount,
            currency, customer_uid, state, finished_at, imp_uid)
        select '{second}', subscription_id, period, 2, amount, currency, customer_uid, 'paid',
            billd.now(), '{imp_uid}'
        from billd.charge_attempt where merchant_uid = '{first}'"
    ))
    .await;
    expect("paid_twice", &second);

    let dearer = attempt(book, "dearer", "paid", "paid").await;
    let imp_uid = stranger.charge("dearer", &dearer, 99_000).await;
    set_imp_uid(book, &dearer, &imp_uid).await;
    expect("amount_mismatch", &dearer);

    let elsewhere = attempt(book, "elsewhere", "paid", "paid").await;
    let imp_uid = stranger.charge("another_card", &elsewhere, 9900).await;
    set_imp_uid(book, &elsewhere, &imp_uid).await;
    expect("customer_mismatch", &elsewhere);

    let returned = attempt(book, "returned", "paid", "paid").await;
    let imp_uid = stranger.charge("returned", &returned, 9900).await;
    set_imp_uid(book, &returned, &imp_uid).await;
    stranger.cancel(&returned, 900).await;
    expect("cancelled_there", &returned);

    stranger.charge("late", "order7", 500).await;
    expect("foreign_payment", "order7");

    let at = house.sandbox.now_us().div_euclid(1_000_000);
    let at = at.checked_add(120 * 86_400).unwrap();
    for (customer_uid, name) in [("late", "reserved1"), ("nobody_of_ours", "reserved2")] {
        let body = json!({"customer_uid": customer_uid, "schedules": [
            {"merchant_uid": name, "schedule_at": at, "amount": 9900, "name": "월간"}]});
        stranger.post("/subscribe/payments/schedule", body).await;
    }
    expect("foreign_schedule", "reserved1");

    plant_lookalikes(house, &stranger).await;
    found
}

/// What only looks like an error: nothing is wrong with these.
async fn plant_lookalikes(house: &House, stranger: &Stranger) {
    let book = &house.book;
    stranger.charge("nobody_of_ours", "order8", 500).await;
    stranger.charge("late", "order9", 500).await;
    stranger.cancel("order9", 500).await;
    let open = attempt(book, "open", "unknown", "unresolved").await;
    stranger.charge("open", &open, 9900).await;
    attempt(book, "refused", "declined", "uncollectible").await;
}

/// The audit of the last days and the next one, so that no midnight can fall into a test.
pub(super) fn audit(house: &House, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_billd"));
    command
        .env_clear()
        .current_dir(std::env::temp_dir())
        .env("DATABASE_URL", &house.url)
        .env("BILLD__GATEWAY__BASE_URL", house.sandbox.base_url())
        .env("BILLD__GATEWAY__IMP_KEY", sandbox::IMP_KEY)
        .env("BILLD__GATEWAY__IMP_SECRET", sandbox::IMP_SECRET)
        .env("BILLD__HTTP__LISTEN", "")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An audit until tomorrow, to its end.
pub(super) async fn audited(house: &House, options: &[&str]) -> Output {
    let to = tomorrow(house).await;
    let mut command = audit(house, &["audit", "--to", &to]);
    command.args(options).output().unwrap()
}

/// The audit that was cut short, to its end.
pub(super) fn resumed(house: &House, options: &[&str]) -> Output {
    let mut command = audit(house, &["audit", "--resume"]);
    command.args(options).output().unwrap()
}

pub(super) fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

pub(super) fn findings(report: &Value) -> Found {
    let list = report["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter()
        .map(|one| (text(&one["kind"]), text(&one["merchant_uid"])))
        .collect()
}

pub(super) fn lines_about_differences(output: &Output) -> usize {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .filter(|line| line.contains("books differ, "))
        .count()
}

pub(super) async fn tomorrow(book: &Book) -> String {
    book.text("select ((billd.now() at time zone 'Asia/Seoul')::date + 1)")
        .await
}

/// A real daemon that serves HTTP; it dies with the test.
pub(crate) struct Daemon {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Daemon {
    pub(crate) async fn start(house: &House, variables: &[(&str, &str)]) -> Self {
        let mut child = audit(house, &["run"])
            .env("BILLD__HTTP__LISTEN", "127.0.0.1:0")
            .env("BILLD__LOG__FORMAT", "json")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = tokio::task::spawn_blocking(move || {
            let mut lines = lines.map_while(Result::ok);
            let line = lines.find(|line| line.contains("serving")).unwrap();
            // Read on, or the daemon would wait for room in the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            let (_, rest) = line.split_once("/webhooks/portone on ").unwrap();
            rest.chars().take_while(|c| *c != '"').collect()
        });
        let address = address.await.unwrap();
        Self { child, address }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
