//! The auditor: planted errors are named, each once, in one pass, with flat memory.
//!
//! `BILLD_TEST_PAYMENTS=10000` makes the worlds larger than a quick test needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use billd::sandbox::{self, Fault, FaultKind, Latency, Route, Running};
use serde_json::{Value, json};

use crate::support::{Book, House};

/// What a finding is known by.
type Found = BTreeSet<(String, String)>;

/// How many payments that nothing is wrong with.
fn payments() -> u32 {
    std::env::var_os("BILLD_TEST_PAYMENTS")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(2500)
}

/// A client such as another program of the merchant's would be.
struct Stranger {
    http: reqwest::Client,
    base_url: String,
    token: String,
}

impl Stranger {
    async fn at(sandbox: &Running) -> Self {
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

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.base_url));
        let answer = request.bearer_auth(&self.token).json(&body);
        let answer: Value = answer.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["code"], 0, "{path} {answer}");
        answer
    }

    /// Charges a card; returns the `imp_uid`.
    async fn charge(&self, customer_uid: &str, merchant_uid: &str, amount: u32) -> String {
        let body = json!({"customer_uid": customer_uid, "merchant_uid": merchant_uid,
            "amount": amount, "name": "프리미엄 월간"});
        let answer = self.post("/subscribe/payments/again", body).await;
        answer["response"]["imp_uid"].as_str().unwrap().to_owned()
    }

    async fn cancel(&self, merchant_uid: &str, amount: u32) {
        let body = json!({"merchant_uid": merchant_uid, "amount": amount});
        self.post("/payments/cancel", body).await;
    }

    /// Charges many at once: the gateway's own scheduler does it, when its clock has moved.
    async fn charge_many(&self, sandbox: &Running, customer_uid: &str, merchant_uids: &[&str]) {
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
async fn attempt(book: &Book, customer_uid: &str, state: &str, cycle: &str) -> String {
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
            select id, period, 9900, 'KRW', billd.now(), 'due' from s
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
    name_of(book, customer_uid).await
}

async fn name_of(book: &Book, customer_uid: &str) -> String {
    book.text(&format!(
        "select min(merchant_uid) from billd.charge_attempt where customer_uid = '{customer_uid}'"
    ))
    .await
}

async fn set_imp_uid(book: &Book, merchant_uid: &str, imp_uid: &str) {
    book.run(&format!(
        "update billd.charge_attempt set imp_uid = '{imp_uid}' where merchant_uid = '{merchant_uid}'"
    ))
    .await;
}

/// Payments that both books hold alike.
async fn sound_payments(house: &House, count: u32) {
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
        select id, period - 30, 9900, 'KRW', billd.now(), 'paid', billd.now()
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
async fn plant(house: &House) -> Found {
    let book = &house.book;
    let stranger = Stranger::at(&house.sandbox).await;
    let mut found = Found::new();
    let mut expect = |kind: &str, name: &str| {
        assert!(found.insert((kind.to_owned(), name.to_owned())));
    };

    let late = attempt(book, "late", "declined", "uncollectible").await;
    stranger.charge("late", &late, 9900).await;
    expect("paid_there_not_here", &late);

    expect(
        "paid_here_not_there",
        &attempt(book, "lost", "paid", "paid").await,
    );

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
    set_imp_uid(
        book,
        &dearer,
        &stranger.charge("dearer", &dearer, 99_000).await,
    )
    .await;
    expect("amount_mismatch", &dearer);

    let elsewhere = attempt(book, "elsewhere", "paid", "paid").await;
    let imp_uid = stranger.charge("another_card", &elsewhere, 9900).await;
    set_imp_uid(book, &elsewhere, &imp_uid).await;
    expect("customer_mismatch", &elsewhere);

    let returned = attempt(book, "returned", "paid", "paid").await;
    set_imp_uid(
        book,
        &returned,
        &stranger.charge("returned", &returned, 9900).await,
    )
    .await;
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

    // Nothing is wrong with these.
    stranger.charge("nobody_of_ours", "order8", 500).await;
    stranger.charge("late", "order9", 500).await;
    stranger.cancel("order9", 500).await;
    let open = attempt(book, "open", "unknown", "unresolved").await;
    stranger.charge("open", &open, 9900).await;
    attempt(book, "refused", "declined", "uncollectible").await;
    found
}

/// The audit of the last days and the next one, so that no midnight can fall into a test.
fn audit(house: &House, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_billd"));
    command
        .env_clear()
        .current_dir(std::env::temp_dir())
        .env("DATABASE_URL", &house.book.url)
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

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn findings(report: &Value) -> Found {
    let list = report["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter()
        .map(|one| (text(&one["kind"]), text(&one["merchant_uid"])))
        .collect()
}

fn lines_about_differences(output: &Output) -> usize {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .filter(|line| line.contains("books differ, "))
        .count()
}

async fn tomorrow(book: &Book) -> String {
    book.text("select ((billd.now() at time zone 'Asia/Seoul')::date + 1)")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_names_exactly_the_planted_errors_and_each_of_them_once() {
    let house = House::new().await;
    sound_payments(&house, payments()).await;
    let expected = plant(&house).await;
    house.book.advance("2 hours").await;
    let to = tomorrow(&house.book).await;

    let output = audit(&house, &["audit", "--json", "--to", &to])
        .output()
        .unwrap();
    let first = report(&output);
    assert_eq!(findings(&first), expected);
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(lines_about_differences(&output), expected.len());
    assert_eq!(
        first["open"].as_object().unwrap().len(),
        7,
        "a refund needs nobody"
    );
    assert_eq!(first["schedules"], 2);
    // Sound ones are met in the list, so only what is missing there is asked about by name.
    assert_eq!(first["asked_about"], 1);

    let before = house.sandbox.summary().requests;
    let output = audit(&house, &["audit", "--json", "--to", &to])
        .output()
        .unwrap();
    assert_eq!(lines_about_differences(&output), 0, "nothing is told twice");
    assert_eq!(output.status.code(), Some(9));
    let again = report(&output);
    assert_eq!(again["open"], first["open"]);
    let after = house.sandbox.summary().requests;
    let pages =
        |requests: &BTreeMap<Route, u64>| requests.get(&Route::Status).copied().unwrap_or(0);
    let read = pages(&after).checked_sub(pages(&before)).unwrap();
    assert!(
        read <= u64::from(payments()).div_ceil(1000) + 5,
        "one pass: {read} pages"
    );

    house
        .book
        .run("update billd.finding set state = 'explained' where state = 'open'")
        .await;
    let output = audit(&house, &["audit", "--to", &to]).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "what a person has explained is closed"
    );
    assert_eq!(lines_about_differences(&output), 0);
}

/// Hazard: money moved for an attempt that our books call declined. If a person only reads about
/// it, the next rung of the ladder charges the same debt again in the meantime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debt_that_the_gateways_books_prove_paid_is_never_charged_again() {
    let house = House::new().await;
    plant(&house).await;
    let to = tomorrow(&house.book).await;
    audit(&house, &["audit", "--to", &to]).output().unwrap();
    let of = |customer_uid: &str| {
        format!(
            "select concat_ws(' ', s.state, s.recheck, c.state, a.state, a.imp_uid is not null, a.cancelled_amount)
            from billd.subscription s
            join billd.billing_cycle c on c.subscription_id = s.id
            join billd.charge_attempt a on a.subscription_id = s.id
            where s.customer_uid = '{customer_uid}'"
        )
    };
    assert_eq!(
        house.book.text(&of("late")).await,
        "past_due t paid paid t 0"
    );
    assert_eq!(
        house.book.text(&of("returned")).await,
        "past_due f paid paid t 900"
    );
    assert_eq!(
        house
            .book
            .text(
                "select ask_at <= billd.now() from billd.charge_attempt where customer_uid = 'open'"
            )
            .await,
        "true"
    );
    let approvals = house.sandbox.summary().approvals;
    house.sweep().await;
    assert_eq!(house.sandbox.summary().approvals, approvals);
    assert_eq!(house.book.text(&of("late")).await, "active f paid paid t 0");
    let next = "select period > (select max(period) from billd.billing_cycle c where c.subscription_id = s.id)
        from billd.subscription s where customer_uid = 'late'";
    assert_eq!(house.book.text(next).await, "true");
    assert_eq!(house.metrics.bad_rows.get(), 0);
}

/// Hazard: an audit of a large book is killed in its middle. Begun anew each time it would never
/// reach the end, and started in the middle it would forget what it has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_was_killed_goes_on_where_it_stood_and_finds_the_same() {
    let house = House::new().await;
    sound_payments(&house, 2500).await;
    let expected = plant(&house).await;
    house.book.advance("2 hours").await;
    let to = tomorrow(&house.book).await;
    house.sandbox.fault(Fault {
        latency_ms: Some(Latency::Fixed(400)),
        ..Fault::new(FaultKind::LatencyMs, Route::Status)
    });
    let mut child = audit(&house, &["audit", "--to", &to]).spawn().unwrap();
    let started = Instant::now();
    let page = "select coalesce(max(page), 0) from billd.audit_run where state = 'running'";
    while house.book.text(page).await == "0" || house.book.text(page).await == "1" {
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "the audit reads no page"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        house
            .book
            .text("select string_agg(state, ',') from billd.audit_run")
            .await,
        "running"
    );
    house.sandbox.clear_faults();

    let output = audit(&house, &["audit", "--resume", "--json"])
        .output()
        .unwrap();
    let resumed = report(&output);
    assert_eq!(findings(&resumed), expected);
    assert_eq!(
        resumed["asked_about"], 1,
        "what was seen before the kill is remembered"
    );
    assert_eq!(
        house
            .book
            .text("select string_agg(state, ',') from billd.audit_run")
            .await,
        "done"
    );
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.audit_seen")
            .await,
        "0"
    );

    let output = audit(&house, &["audit", "--resume"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("nothing to do"), "{said}");
}

/// The most memory that a process ever had, in kilobytes, as far as it could be watched.
fn peak_kb(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = kb.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_ten_times_the_payments_takes_no_more_memory() {
    let mut peaks = Vec::new();
    for count in [2_000, 20_000] {
        let house = House::new().await;
        sound_payments(&house, count).await;
        let to = tomorrow(&house.book).await;
        let mut child = audit(&house, &["audit", "--to", &to])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        peaks.push(peak_kb(&mut child));
        assert!(child.wait().unwrap().success());
        let read = house
            .book
            .text("select payments from billd.audit_run")
            .await;
        assert_eq!(read, count.to_string());
    }
    let (small, large) = (peaks[0], peaks[1]);
    assert!(small > 0, "the process ended before it could be watched");
    assert!(
        large < small.checked_add(8 * 1024).unwrap(),
        "peaks in kB: {peaks:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_audits_at_its_hour_and_shows_each_kind_as_a_figure() {
    let house = House::new().await;
    attempt(&house.book, "late", "declined", "uncollectible").await;
    let stranger = Stranger::at(&house.sandbox).await;
    stranger.charge("late", "order7", 500).await;
    let mut child = audit(&house, &["run"])
        .env("BILLD__AUDIT__CRON", "* * * * * *")
        .env("BILLD__HTTP__LISTEN", "127.0.0.1:0")
        .env("BILLD__LOG__FORMAT", "json")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let address = tokio::task::spawn_blocking(move || {
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.contains("serving")).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let (_, rest) = line.split_once("/webhooks/portone on ").unwrap();
        rest.chars().take_while(|c| *c != '"').collect::<String>()
    })
    .await
    .unwrap();
    let started = Instant::now();
    loop {
        let figures = reqwest::get(format!("http://{address}/metrics"))
            .await
            .unwrap();
        let figures = figures.text().await.unwrap();
        let is_shown = figures.contains(r#"billd_findings_open{kind="foreign_payment"} 1"#)
            && figures.contains(r#"billd_findings_open{kind="paid_twice"} 0"#)
            && !figures.contains("billd_audit_finished_at 0");
        if is_shown {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{figures}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let runs = "select count(*) = 1 from billd.audit_run where by_cron";
    assert_eq!(
        house.book.text(runs).await,
        "true",
        "one run an hour, not one a second"
    );
}
