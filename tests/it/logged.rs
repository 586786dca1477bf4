//! The log of the real binary: what it says, and what becomes of a charge when it can't be written.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portone_sandbox::Latency;
use serde_json::Value;

use crate::places::{Folder, free_address};
use crate::process::{
    Daemon, billd, exits, http_get, paid, run, sandbox_with, stderr, stdout, until,
};
use crate::programs::needs;
use crate::support::Book;

/// A daemon whose standard error is the test's affair.
struct Silent(Child);

impl Silent {
    fn start(command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        let command = command.arg("run").stdin(Stdio::null()).stderr(stderr);
        Self(command.spawn().unwrap())
    }

    async fn stops(mut self) {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        until("it stops", async || self.0.try_wait().unwrap().is_some()).await;
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Hazard: the log's disk is full, the library that logs panics in the middle of a charge, and charging ends for good
/// behind a green probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charging_goes_on_while_the_log_cannot_be_written_and_what_is_lost_is_counted() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let listen = free_address();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = billd(&book.url, &gateway.base_url());
    command.env("BILLD__HTTP__LISTEN", listen.to_string());
    let daemon = Silent::start(&mut command, full);
    book.subscribe_many(20, "cust_").await;
    until("all is paid", async || paid(&book).await == "20").await;
    book.subscribe_many(20, "more_").await;
    until("all is paid", async || paid(&book).await == "40").await;
    until("the loss shows", async || {
        let metrics = http_get(listen, "metrics").await;
        let lost = metrics.lines().find_map(|line| {
            line.strip_prefix("billd_log_lines_lost_total ")?
                .parse::<u64>()
                .ok()
        });
        lost.unwrap() > 40
    })
    .await;
    daemon.stops().await;
}

/// Hazard: `billd run 2>&1 | head -1`. And when somebody reads again, nobody knows that lines are missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_read_again_says_how_many_lines_were_lost() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let folder = Folder::new("log");
    let pipe = folder.0.join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .unwrap()
    };
    let reader = open();
    let writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    let daemon = Silent::start(&mut billd(&book.url, &gateway.base_url()), writer);
    drop(reader);
    book.subscribe_many(20, "cust_").await;
    until("all is paid", async || paid(&book).await == "20").await;
    // This end writes, too, so the pipe does not end with the daemon.
    let mut reader = open();
    book.subscribe("again_1").await;
    until("it is paid", async || paid(&book).await == "21").await;
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let mut bytes = [0; 4096];
        while !said.contains("lines of this log were lost") {
            let count = reader.read(&mut bytes).unwrap();
            said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        told.send(said).unwrap();
    });
    let said = heard.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(said.contains("again_1") || said.contains("paid"), "{said}");
    daemon.stops().await;
}

/// Hazard: a statement is slow, and the log holds seven kilobytes of SQL and not what it is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_statement_is_named_and_not_quoted() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.run(
        "create function slow() returns trigger language plpgsql as
             $$ begin perform pg_sleep(1.1); return null; end $$;
         create trigger slow after insert on billd.charge_attempt execute function slow()",
    )
    .await;
    book.subscribe("cust_1").await;
    let sweep = run(billd(&book.url, &gateway.base_url()).arg("sweep"));
    exits(&sweep, 0);
    let said = stderr(&sweep);
    assert!(said.contains("store::claim_due took 1"), "{said}");
    assert!(
        !said.contains("insert into") && !said.contains("select "),
        "{said}"
    );
}

/// One sweep of a paid, a declined and a stolen card, as JSON lines.
async fn swept(book: &Book) -> String {
    let gateway = sandbox_with(Latency::None).await;
    for customer in ["cust_1", "decline-balance-1", "decline-stolen-1"] {
        book.subscribe(customer).await;
    }
    let mut command = billd(&book.url, &gateway.base_url());
    let sweep = run(command.env("BILLD__LOG__FORMAT", "json").arg("sweep"));
    exits(&sweep, 0);
    stderr(&sweep)
}

/// Hazard: the log is how this daemon is watched, and it names no customer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_charge_says_who_how_much_and_what_comes_next() {
    let book = Book::new().await;
    let said = swept(&book).await;
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let charge = |customer: &str| {
        let line = lines
            .iter()
            .find(|line| line["event"] == "charge" && line["customer_uid"] == customer);
        let line = line.unwrap_or_else(|| panic!("{customer}: {said}"));
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (
            word("level"),
            word("outcome"),
            word("next"),
            line["amount"].as_i64(),
            line["next_in_s"].as_i64(),
        )
    };
    let expect = |level: &str, outcome: &str, next: &str, seconds| {
        (
            level.to_owned(),
            outcome.to_owned(),
            next.to_owned(),
            Some(9900),
            seconds,
        )
    };
    assert_eq!(
        charge("cust_1"),
        expect("INFO", "paid", "next_period", None)
    );
    assert_eq!(
        charge("decline-balance-1"),
        expect("INFO", "declined", "retry", Some(86_400))
    );
    assert_eq!(
        charge("decline-stolen-1"),
        expect("WARN", "declined", "past_due", None)
    );
    let sweep = lines.iter().find(|line| line["event"] == "sweep").unwrap();
    assert_eq!(
        (&sweep["begun"], &sweep["paid"], &sweep["declined"]),
        (&3.into(), &1.into(), &2.into())
    );
    assert!(lines.iter().all(|line| line["event"].is_string()), "{said}");
}

/// Hazard: a query of the manual finds nothing, and whoever runs it believes that there is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_of_the_manual_finds_what_it_says() {
    needs!(JQ);
    let book = Book::new().await;
    let folder = Folder::new("queries");
    fs::write(folder.0.join("billd.log"), swept(&book).await).unwrap();
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
    let manual = fs::read_to_string(manual).unwrap();
    let queries: Vec<&str> = manual
        .lines()
        .filter(|line| line.starts_with("jq "))
        .collect();
    let found = queries.iter().map(|query| {
        let output = run(Command::new("sh")
            .args(["-c", query])
            .current_dir(&folder.0));
        exits(&output, 0);
        stdout(&output).trim().to_owned()
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            r#"["paid",9900,"KRW","next_period",null]"#,
            r#"{"KRW":9900}"#,
            r#"{"hard_card":1,"soft_funds":1}"#,
            "decline-stolen-1",
            "",
        ]
    );
}

/// Hazard: nobody reads a line per charge, and that nothing was charged shows in none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_a_day_a_line_sums_it_up() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.subscribe_many(3, "cust_").await;
    let mut command = billd(&book.url, &gateway.base_url());
    let mut daemon = Daemon::start(
        command
            .env("BILLD__LOG__DAY_CRON", "* * * * * *")
            .env("BILLD__LOG__FORMAT", "json"),
    );
    until("the day is told", async || {
        daemon.said().matches("\"event\":\"day\"").count() >= 3
    })
    .await;
    daemon.stops().await;
    let said = daemon.said();
    let days = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["event"] == "day");
    let days: Vec<Value> = days.collect();
    let paid: i64 = days.iter().map(|day| day["paid"].as_i64().unwrap()).sum();
    assert_eq!(
        (paid, &days.last().unwrap()["due"]),
        (3, &0.into()),
        "{said}"
    );
}
