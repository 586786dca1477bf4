//! Where the daemon runs: its log, its connections, its signals, its files, with the real binary.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use portone_sandbox::Latency;
use tokio::net::TcpListener;

use crate::process::{Daemon, billd, exits, run, sandbox_with, stderr, stdout, until};
use crate::support::Book;

/// An address of this machine that nobody has.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A folder that is gone at the end of the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("billd-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Hazard: the task that charges is gone, the probes are green, and nobody is charged until somebody asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_dies_ends_the_daemon_with_a_code_of_its_own() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let mut command = billd(&book.url, &gateway.base_url());
    let mut daemon = Daemon::start(command.env("BILLD_FAILPOINT", "charging:3"));
    daemon.ends_with(11).await;
    for words in ["panicked at", "a part has ended: charging"] {
        assert!(daemon.said().contains(words), "{}", daemon.said());
    }
}

/// Hazard: a terminal is closed, the daemon dies at once, and charges stay `started`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_lets_calls_end_as_any_stop() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(500)).await;
    book.subscribe_many(20, "cust_").await;
    let mut daemon = Daemon::start(&mut billd(&book.url, &gateway.base_url()));
    until("a request is under way", async || {
        book.text("select count(*) from billd.charge_attempt").await != "0"
    })
    .await;
    daemon.signal("-HUP");
    daemon.ends_with(0).await;
    let started = "select count(*) from billd.charge_attempt where state = 'started'";
    assert_eq!(book.text(started).await, "0");
}

/// Hazard: the gateway's name can't be looked up, or it is silent; a stop waits for that, and the log goes on
/// behind its last line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_gateway_that_is_silent() {
    let book = Book::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", silent.local_addr().unwrap());
    book.subscribe("cust_1").await;
    let mut command = billd(&book.url, &base_url);
    command
        .env("BILLD__GATEWAY__TIMEOUT", "50s")
        .env("BILLD__ENGINE__LEASE", "60s");
    let mut daemon = Daemon::start(&mut command);
    let (_asked, _) = silent.accept().await.unwrap();
    let begun = Instant::now();
    daemon.stops().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    let said = daemon.said();
    assert!(
        said.lines().last().unwrap().contains("has stopped"),
        "{said}"
    );
}

/// Hazard: the system gives no thread, and the first words of a new daemon are those of a panic.
#[test]
fn without_threads_there_is_an_error_with_a_code_and_no_panic() {
    let program = env!("CARGO_BIN_EXE_billd");
    let script = format!("ulimit -u 1; exec {program} check");
    // The limit is not for root.
    let is_root = stdout(&run(Command::new("id").arg("-u"))).trim() == "0";
    let mut command = Command::new(if is_root { "setpriv" } else { "bash" });
    if is_root {
        command.args(["--reuid=65534", "--clear-groups", "bash"]);
    }
    let output = run(command.args(["-c", &script]));
    exits(&output, 1);
    let said = stderr(&output);
    assert!(
        said.contains("too few threads") && !said.contains("panicked"),
        "{said}"
    );
}

/// Hazard: a settings file that can't be read is passed over, and with it the address of the sandbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_file_that_was_read_is_named_and_one_that_could_not_be_is_a_fault() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let folder = Folder::new("config");
    let file = folder.0.join("production.toml");
    let check = || {
        let mut command = billd(&book.url, &gateway.base_url());
        run(command.arg("--config-dir").arg(&folder.0).arg("check"))
    };
    exits(&check(), 3);
    fs::write(&file, "[audit]\ndays = 5\n").unwrap();
    let good = check();
    exits(&good, 0);
    let named = format!("settings read from {}", file.display());
    assert!(stdout(&good).contains(&named), "{}", stdout(&good));
    let mut command = billd(&book.url, &gateway.base_url());
    let mut daemon = Daemon::start(
        command
            .env("BILLD__LOG__FORMAT", "json")
            .arg("--config-dir")
            .arg(&folder.0),
    );
    until("it runs", async || {
        daemon.said().contains("billd is running")
    })
    .await;
    daemon.stops().await;
    let lines: Vec<serde_json::Value> = daemon
        .said()
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert!(lines[0]["message"].as_str().unwrap().contains(&named));
    let setting = |key: &str| lines.iter().find(|line| line["key"] == key).unwrap();
    assert_eq!(
        (
            &setting("audit.days")["value"],
            &setting("audit.days")["from"]
        ),
        (&"5".into(), &file.display().to_string().into())
    );
    assert_eq!(
        (
            &setting("database.url")["value"],
            &setting("database.url")["from"]
        ),
        (&"(secret)".into(), &"the environment".into())
    );

    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("nowhere.toml", &file).unwrap();
    let dangling = check();
    exits(&dangling, 3);
    assert!(stdout(&dangling).contains("a link to a file that does not exist"));
}

/// Hazard: an address was pasted from a provider's page, and half of it means nothing here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_of_a_pasted_address_is_said() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let url = format!(
        "{}&channel_binding=prefer&pgbouncer=true&connection_limit=1&schema=public",
        book.url
    );
    let check = run(billd(&url, &gateway.base_url()).arg("check"));
    exits(&check, 0);
    for name in ["channel_binding", "pgbouncer", "connection_limit", "schema"] {
        let words = format!("ok    settings  {name} of the address is left out: ");
        assert!(stdout(&check).contains(&words), "{}", stdout(&check));
    }
}
