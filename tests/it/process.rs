//! The real binary as a process: signals, kills, exit codes, what it prints.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use embedded_postgres::{Embedded, Options, StopMode};
use portone_sandbox::{self as sandbox, Fault, FaultKind, Latency, Route, Running};

use crate::support::{Book, server};
use crate::words::approved;

/// A billd command with short times and nothing of this process's environment.
pub(crate) fn billd(url: &str, gateway: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_billd"));
    command
        .env_clear()
        .current_dir(std::env::temp_dir())
        .env("DATABASE_URL", url)
        .env("BILLD__GATEWAY__BASE_URL", gateway)
        .env("BILLD__GATEWAY__IMP_KEY", sandbox::IMP_KEY)
        .env("BILLD__GATEWAY__IMP_SECRET", sandbox::IMP_SECRET)
        .env("BILLD__GATEWAY__TIMEOUT", "2s")
        .env("BILLD__ENGINE__LEASE", "4s")
        .env("BILLD__RECONCILE__SETTLE", "1s")
        .env("BILLD__RECONCILE__ASKS", "1s,1s,1s,1m")
        .env("BILLD__HTTP__LISTEN", "");
    command
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub(crate) fn exits(output: &Output, code: i32) {
    let said = stdout(output) + &stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
}

/// Fails unless the result names this.
#[track_caller]
fn says(output: &Output, words: &str) {
    let said = stdout(output);
    assert!(said.contains(words), "{words} is not in {said}");
}

/// Fails unless the error names this.
#[track_caller]
fn complains(output: &Output, words: &str) {
    let said = stderr(output);
    assert!(said.contains(words), "{words} is not in {said}");
}

/// A daemon that dies with the test, and everything that it said.
pub(crate) struct Daemon {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .arg("run")
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (
            BufReader::new(child.stderr.take().unwrap()),
            Arc::clone(&said),
        );
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut heard = heard.lock().unwrap();
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Self { child, said }
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) async fn ends_with(&mut self, code: i32) {
        assert_eq!(self.exit_code().await, Some(code), "{}", self.said());
    }

    /// Is asked to stop, and does so in order.
    pub(crate) async fn stops(&mut self) {
        self.signal("-TERM");
        self.ends_with(0).await;
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        until("the daemon ends", async || {
            match self.child.try_wait().unwrap() {
                Some(status) => {
                    code = status.code();
                    true
                }
                None => false,
            }
        })
        .await;
        code
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for something to become true; looks often, gives up late.
pub(crate) async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "{what}: not within a minute"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn sandbox_with(latency: Latency) -> Running {
    sandbox::start(sandbox::Options {
        latency,
        ..sandbox::Options::default()
    })
    .await
    .unwrap()
}

pub(crate) async fn paid(book: &Book) -> String {
    book.text("select count(*) from billd.billing_cycle where state = 'paid'")
        .await
}

/// Hazard: a daemon dies in mid-run with requests on their way. Every queue engine sends those again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_daemons_and_a_kill_charge_every_row_once_and_leave_nothing_behind() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(60)).await;
    book.subscribe_many(1_000, "cust_").await;
    let mut daemons: Vec<Daemon> = (0..3)
        .map(|_| Daemon::start(&mut billd(&book.url, &gateway.base_url())))
        .collect();
    until("charges are under way", async || {
        gateway.summary().approvals >= 200
    })
    .await;
    daemons[0].child.kill().unwrap();
    until("all is paid", async || paid(&book).await == "1000").await;
    approved(&gateway, 1_000);
    book.tally("1000 paid").await;
    let left = "select count(*) from billd.subscription where open_attempt is not null or recheck";
    book.shows(left, 0).await;
    let ledger = gateway.ledger();
    assert_eq!(ledger.len(), 1_000);
    for daemon in &mut daemons[1..] {
        daemon.stops().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_calls_end_records_them_and_exits_0() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(700)).await;
    book.subscribe_many(40, "cust_").await;
    let mut daemon = Daemon::start(&mut billd(&book.url, &gateway.base_url()));
    until("requests are under way", async || {
        gateway
            .summary()
            .requests
            .get(&Route::Again)
            .is_some_and(|count| *count >= 40)
    })
    .await;
    daemon.stops().await;
    assert_eq!(paid(&book).await, "40");
    assert!(
        daemon.said().contains("nothing is under way"),
        "{}",
        daemon.said()
    );
}

/// Hazard: an impatient second Ctrl-C drops an answer that has already come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_wait_but_loses_no_answer() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.subscribe_many(20, "cust_").await;
    book.subscribe("silent-after-approval-1").await;
    let mut daemon = Daemon::start(
        billd(&book.url, &gateway.base_url())
            .env("BILLD__GATEWAY__TIMEOUT", "30s")
            .env("BILLD__ENGINE__LEASE", "40s"),
    );
    until("all but one are recorded, and one call hangs", async || {
        gateway.summary().approvals == 21 && paid(&book).await == "20"
    })
    .await;
    daemon.signal("-TERM");
    until("it stops", async || daemon.said().contains("stopping")).await;
    daemon.signal("-TERM");
    daemon.ends_with(7).await;
    assert_eq!(paid(&book).await, "20");
    book.tally("20 paid, 1 started").await;
}

/// Hazard: the database restarts under load; answers that came in meanwhile must not be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_and_comes_back_loses_nothing() {
    let mut options = Options::default_for_user();
    options.durable = true;
    options.listen = embedded_postgres::Listen::Tcp;
    let mut server = Embedded::start(options).await.unwrap();
    server.create_database("billd").await.unwrap();
    let book = Book::on(server.url("billd"));
    book.store.migrate().await.unwrap();
    let gateway = sandbox_with(Latency::Fixed(40)).await;
    book.subscribe_many(600, "cust_").await;
    let mut daemon = Daemon::start(&mut billd(&book.url, &gateway.base_url()));
    until("charges are under way", async || {
        gateway.summary().approvals >= 100
    })
    .await;
    server.restart(StopMode::Immediate).await.unwrap();
    until("all is paid", async || paid(&book).await == "600").await;
    approved(&gateway, 600);
    daemon.stops().await;
    book.sql.close().await;
    book.store.close().await;
    server.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_charges_all_that_is_due_and_tells_scripts_how_it_went() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.subscribe_many(30, "cust_").await;
    book.subscribe("decline-stolen-1").await;
    let output = run(billd(&book.url, &gateway.base_url()).args(["sweep", "--json"]));
    exits(&output, 0);
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&report["paid"], &report["declined"], &report["complete"]),
        (&30.into(), &1.into(), &true.into())
    );

    book.subscribe("drop-after-approval-1").await;
    let output = run(billd(&book.url, &gateway.base_url()).arg("sweep"));
    exits(&output, 7);
    says(&output, "1 still unknown");
    let output = run(billd(&book.url, &gateway.base_url()).args(["reconcile", "--json"]));
    exits(&output, 0);
    assert_eq!(gateway.summary().approvals, 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_refuses_an_older_or_newer_schema_and_says_what_to_do() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.run("insert into billd.schema_migration (version, description, success, checksum, execution_time) values (9999, 'tomorrow', true, '', 0)").await;
    let output = run(billd(&book.url, &gateway.base_url()).arg("run"));
    exits(&output, 5);
    complains(&output, "newer billd");

    let server = server().await;
    server.create_database("empty").await.unwrap();
    let empty = server.url("empty");
    let output = run(billd(&empty, &gateway.base_url()).arg("run"));
    exits(&output, 5);
    complains(&output, "billd migrate");
    let output = run(billd(&empty, &gateway.base_url()).arg("migrate"));
    exits(&output, 0);
    assert_eq!(stdout(&output).lines().next(), Some("applied migration 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tries_everything_and_names_what_fails() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let good = run(billd(&book.url, &gateway.base_url()).args(["check", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&stdout(&good)).unwrap();
    assert_eq!(
        (good.status.code(), &report["ok"]),
        (Some(0), &true.into()),
        "{report}"
    );

    let secret = run(billd(&book.url, &gateway.base_url())
        .env("BILLD__GATEWAY__IMP_SECRET", "wr0ng")
        .arg("check"));
    exits(&secret, 6);
    says(&secret, "API키와 secret");

    let nobody = run(billd(&book.url, "http://127.0.0.1:9").arg("check"));
    exits(&nobody, 6);

    let away = run(billd("postgres://billd@127.0.0.1:9/billd", &gateway.base_url()).arg("check"));
    exits(&away, 4);
    says(&away, "ok    gateway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_without_its_database_says_so_and_exits_4() {
    let mut command = billd("postgres://billd@127.0.0.1:9/billd", "http://127.0.0.1:9");
    let output = run(command.env("BILLD__DATABASE__TIMEOUT", "1s").arg("run"));
    exits(&output, 4);
}

#[test]
fn every_fault_of_the_settings_is_named_at_once() {
    let output = run(Command::new(env!("CARGO_BIN_EXE_billd"))
        .env_clear()
        .current_dir(std::env::temp_dir())
        .env("BILLD__GATEWAY__TIMEOOUT", "5s")
        .env("BILLD__GATEWAY__TIMEOUT", "100s")
        .env("BILLD__ENGINE__CONCURRENCY", "many")
        .arg("run"));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for name in [
        "BILLD__GATEWAY__TIMEOOUT",
        "BILLD__ENGINE__CONCURRENCY",
        "BILLD__GATEWAY__IMP_KEY",
        "BILLD__GATEWAY__IMP_SECRET",
        "BILLD__DATABASE__URL",
    ] {
        assert!(said.contains(name), "{name} is missing in: {said}");
    }
}

const FIGURES: [&str; 13] = [
    "billd_outcomes_total{outcome=\"paid\",class=\"\"} 1",
    "billd_outcomes_total{outcome=\"declined\",class=\"hard_card\"} 1",
    "billd_due ",
    "billd_due_age_seconds",
    "billd_in_flight",
    "billd_gateway_seconds_bucket",
    "billd_record_rows",
    "billd_record_seconds",
    "billd_unknown ",
    "billd_unknown_age_seconds",
    "billd_stale_fences_total",
    "billd_token_refreshes",
    "# EOF",
];

const SECRETS: [&str; 5] = [
    sandbox::IMP_SECRET,
    "김민지",
    "minji@example.com",
    "010-1234",
    "access_token",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_tells_how_it_is_and_never_what_is_secret() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let free: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    book.run(
        "insert into billd.subscription (customer_uid, name, amount, buyer_name, buyer_email, buyer_tel)
         values ('card-of-minji', '프리미엄', 9900, '김민지', 'minji@example.com', '010-1234-5678'),
                ('decline-stolen-card', '프리미엄', 9900, '이서준', 'seojun@example.com', '010-8765-4321')",
    )
    .await;
    let mut command = billd(&book.url, &gateway.base_url());
    command
        .env("BILLD__HTTP__LISTEN", free.to_string())
        .env("BILLD__LOG__FORMAT", "json")
        .env("BILLD__LOG__FILTER", "trace");
    let mut daemon = Daemon::start(&mut command);
    until("both are charged", async || {
        book.text("select count(*) from billd.charge_attempt where finished_at is not null")
            .await
            == "2"
    })
    .await;
    let health = |arguments: &[&str]| {
        run(billd(&book.url, &gateway.base_url())
            .env("BILLD__HTTP__LISTEN", free.to_string())
            .arg("healthcheck")
            .args(arguments))
    };
    assert_eq!(health(&[]).status.code(), Some(0));
    let ready = health(&["--ready"]);
    assert_eq!(
        (ready.status.code(), stdout(&ready).trim()),
        (Some(0), r#"{"ready":true,"reasons":[]}"#)
    );
    let metrics = http_get(free, "metrics").await;
    for figure in FIGURES {
        assert!(
            metrics.contains(figure),
            "{figure} is missing in:\n{metrics}"
        );
    }
    daemon.signal("-TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    let said = daemon.said();
    for line in said.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok(),
            "not JSON: {line}"
        );
    }
    assert!(
        said.contains("\"outcome\":\"paid\"") && said.contains("past due, hard_decline"),
        "{said}"
    );
    for secret in SECRETS {
        assert!(!said.contains(secret), "the log holds {secret}");
    }
    assert_eq!(health(&[]).status.code(), Some(1), "no daemon, no health");
}

pub(crate) async fn http_get(address: SocketAddr, path: &str) -> String {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap()
}

/// Hazard: the gateway takes the money and is then silent for longer than the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_resolves_lost_answers_by_itself() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    for kind in [
        "drop-after-approval",
        "error-after-approval",
        "cut-body",
        "silent-after-approval",
    ] {
        for number in 1..=3 {
            book.subscribe(&format!("{kind}-{number}")).await;
        }
    }
    let lag = Fault {
        lag_s: Some(1),
        ..Fault::new(FaultKind::LookupLag, Route::FindAll)
    };
    gateway.fault(lag);
    let _daemon = Daemon::start(&mut billd(&book.url, &gateway.base_url()));
    until("all is paid", async || paid(&book).await == "12").await;
    approved(&gateway, 12);
    book.tally("12 paid").await;
}
