//! The receivers of docs/WEBHOOKS.md, run as they stand there.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::delivery::{LIMIT, Shop, add, events};
use crate::programs::{needs, receivers};

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The first block of a language on the page.
fn on_the_page(language: &str) -> String {
    let page = include_str!("../../../docs/WEBHOOKS.md");
    let (_, rest) = page.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```\n").unwrap().0.to_owned()
}

/// A port that nobody has just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs the page's program, sends it events and a forgery, and counts what it took.
async fn takes_events(language: &str, interpreter: &Path, count: impl Fn(&Path) -> usize) {
    let shop = Shop::new().await;
    let folder = std::env::temp_dir().join(format!("billd-{language}-{}", free_port()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, received) = (folder.join("receiver"), folder.join("received"));
    std::fs::write(&source, on_the_page(language)).unwrap();
    if language == "js" {
        std::fs::create_dir(&received).unwrap();
    }
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/webhooks");
    let secret = add(&shop.book, language, &url).await;
    let _program = Program(
        Command::new(interpreter)
            .arg(&source)
            .env("WEBHOOK_SECRET", secret)
            .env("PORT", port.to_string())
            .env("RECEIVED", &received)
            .env("NODE_PATH", receivers().join("node/node_modules"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Which needs a provider of TLS, as the daemon's has one.
    drop(crate::support::portone(&url, 1));
    let http = reqwest::Client::new();
    let forged = |timestamp: &str| {
        http.post(&url)
            .header("webhook-id", "evt_1")
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
            )
            .body("{}")
            .send()
    };
    let started = Instant::now();
    let refused = loop {
        match forged("1795885843").await {
            Ok(answer) => break answer.status(),
            Err(error) => assert!(started.elapsed() < LIMIT, "{error}"),
        }
    };
    assert_eq!(refused, 400, "a forgery");
    let _daemon = shop.daemon();
    shop.created(10).await;
    shop.paused_and_resumed(1).await;
    let all = events(&shop.book).await;
    shop.comes_to(&format!("{} delivered", all * 2)).await;
    assert_eq!(count(&received), all);
    // What comes twice is done once.
    shop.book
        .run(&format!(
            "select billd.replay_webhook('{language}', since => '2000-01-01')"
        ))
        .await;
    shop.book
        .comes_to(
            &format!(
                "select min(attempts) from billd.webhook_delivery where endpoint = '{language}'"
            ),
            "2",
        )
        .await;
    shop.comes_to(&format!("{} delivered", all * 2)).await;
    assert_eq!(count(&received), all);
    std::fs::remove_dir_all(folder).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_in_python_takes_each_event_once_and_no_forgery() {
    needs!(PYTHON_WEBHOOKS);
    let python = receivers().join("python/bin/python");
    takes_events("python", &python, |received| {
        let counted = Command::new(receivers().join("python/bin/python"))
            .arg("-c")
            .arg("import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('select count(*) from received').fetchone()[0])")
            .arg(received)
            .output()
            .unwrap();
        String::from_utf8(counted.stdout).unwrap().trim().parse().unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_in_node_takes_each_event_once_and_no_forgery() {
    needs!(NODE_WEBHOOKS);
    takes_events("js", &PathBuf::from("node"), |received| {
        std::fs::read_dir(received).unwrap().count()
    })
    .await;
}
