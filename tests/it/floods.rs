//! Too much at once, from whoever can reach the daemon or from the gateway: charging goes on.

use std::net::SocketAddr;
use std::process::Command;

use portone_sandbox::{self as sandbox, Latency, Switches};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Daemon, billd, http_get, paid, sandbox_with, until};
use crate::support::Book;
use crate::words::approved;

/// This process opens more files than a daemon may.
fn allow_many_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    let current = most;
    let limit = Rlimit {
        current,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The same command in a process that may have so many files.
fn with_files(command: &Command, files: u32) -> Command {
    let mut limited = Command::new("sh");
    limited
        .env_clear()
        .current_dir(std::env::temp_dir())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
        .arg(command.get_program());
    limited
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Connections that send this much and then nothing.
async fn silent(count: usize, to: SocketAddr, bytes: &str) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        if let Ok(mut stream) = TcpStream::connect(to).await {
            stream.write_all(bytes.as_bytes()).await.ok();
            open.push(stream);
        }
    }
    open
}

/// Hazard: half requests take all the files a process may have, and with them the connections over which
/// outcomes are recorded; nothing is charged, and no probe says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_half_requests_stop_neither_probes_nor_charging_nor_recording() {
    allow_many_files();
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(20)).await;
    let port = free_port();
    let mut command = billd(&book.url, &gateway.base_url());
    command.env("BILLD__HTTP__LISTEN", port.to_string());
    let mut daemon = Daemon::start(&mut with_files(&command, 1_024));
    until("it listens", async || {
        TcpStream::connect(port).await.is_ok()
    })
    .await;

    let heads = silent(1_100, port, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    assert_eq!(heads.len(), 1_100);
    assert!(http_get(port, "livez").await.ends_with("ok\n"));
    book.subscribe_many(200, "cust_").await;
    until("all is paid", async || paid(&book).await == "200").await;

    let head = "POST /webhooks/portone HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n{";
    let bodies = silent(1_100, port, head).await;
    assert!(http_get(port, "livez").await.ends_with("ok\n"));
    book.subscribe_many(200, "more_").await;
    until("all is paid", async || paid(&book).await == "400").await;
    assert!(http_get(port, "readyz").await.contains(r#"{"ready":true,"#));
    let late = silent(1, port, "GET /livez HTTP/1.1\r\n").await;
    for mut silent in bodies.into_iter().next_back().into_iter().chain(late) {
        // An answer or none: what counts is that the daemon lets go of it.
        silent.read_to_end(&mut Vec::new()).await.ok();
    }
    drop(heads);
    approved(&gateway, 400);
    daemon.stops().await;
}

/// Hazard: a gateway that takes 50 charges a second is sent thousands. Two thirds come back as "too many",
/// each of them is in doubt, and the circuit breaker stops what would have gone through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_says_too_many_is_asked_more_slowly_and_all_is_charged() {
    let book = Book::new().await;
    let options = sandbox::Options {
        latency: Latency::Fixed(20),
        switches: Switches {
            again_per_second_limit: Some(50),
            ..Switches::default()
        },
        ..sandbox::Options::default()
    };
    let gateway = sandbox::start(options).await.unwrap();
    book.subscribe_many(600, "cust_").await;
    let mut daemon = Daemon::start(&mut billd(&book.url, &gateway.base_url()));
    until("all is paid", async || paid(&book).await == "600").await;
    daemon.stops().await;
    approved(&gateway, 600);
    let said = daemon.said();
    let doubts = said.matches(": unknown (too_many_requests)").count();
    assert!((1..150).contains(&doubts), "{doubts}: {said}");
    assert!(said.contains("too many requests: they leave"), "{said}");
    assert!(!said.contains("charging is stopped"), "{said}");
}
