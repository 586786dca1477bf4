//! The way to the gateway: connections that close, a proxy, no certificate authorities.

use std::process::Command;
use std::time::Duration;

use portone_sandbox::{Latency, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::{Daemon, billd, exits, paid, run, sandbox_with, stdout, until};
use crate::support::Book;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(1);

/// A front of the gateway's that ends a connection which was idle for a second, just when a request comes in on it: the
/// worst that a keep-alive limit does. And word of each connection that has ended, or will at the next request.
async fn impatient_front(gateway: &Running) -> (String, mpsc::Receiver<()>) {
    let behind = gateway.base_url().trim_start_matches("http://").to_owned();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", front.local_addr().unwrap());
    let (ends, ended) = mpsc::channel(99);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = front.accept().await {
            let (behind, ends) = (behind.clone(), ends.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(behind).await.unwrap();
                let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
                loop {
                    let reads = tokio::select! {
                        read = timeout(IDLE, client.read_buf(&mut from_client)) => read,
                        read = server.read_buf(&mut from_server) => Ok(read),
                    };
                    match reads {
                        Ok(Ok(1..)) => {}
                        Ok(_) => break,
                        Err(_idle) => {
                            ends.send(()).await.ok();
                            drop(client.read_buf(&mut from_client).await);
                            return;
                        }
                    }
                    server
                        .write_all(&std::mem::take(&mut from_client))
                        .await
                        .unwrap();
                    client
                        .write_all(&std::mem::take(&mut from_server))
                        .await
                        .unwrap();
                }
                ends.send(()).await.ok();
            });
        }
    });
    (base_url, ended)
}

/// Hazard: a connection is used again in the moment in which the gateway closes it, and nobody knows whether the charge
/// arrived: 2 of 75.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_charge_leaves_on_a_connection_that_was_idle() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let (front, mut ended) = impatient_front(&gateway).await;
    let mut daemon = Daemon::start(&mut billd(&book.url, &front));
    for round in 1..=4 {
        book.subscribe(&format!("cust_{round}")).await;
        let all = round.to_string();
        until("it is paid", async || paid(&book).await == all).await;
        ended.recv().await.unwrap();
    }
    daemon.stops().await;
    book.tally("4 paid").await;
    assert_eq!(
        daemon.said().matches("asked what became").count(),
        0,
        "{}",
        daemon.said()
    );
}

/// Hazard: money leaves by a way that somebody chose for the package manager; or the only way out is a proxy, and nobody
/// says why nothing arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_proxy_of_the_setting_is_gone_through() {
    let book = Book::new().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://user:s3cret@{}", proxy.local_addr().unwrap());
    let (asked, mut asks) = mpsc::channel(9);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = proxy.accept().await {
            let mut head = vec![0; 4096];
            let count = client.read(&mut head).await.unwrap();
            head.truncate(count);
            client
                .write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                .await
                .ok();
            asked.send(String::from_utf8(head).unwrap()).await.unwrap();
        }
    });
    let check = |set: &[(&str, &str)]| {
        let mut command = billd(&book.url, "https://gateway.invalid");
        command.envs(set.iter().copied()).arg("check");
        tokio::task::spawn_blocking(move || run(&mut command))
    };
    let unheeded = check(&[("HTTPS_PROXY", &at)]).await.unwrap();
    exits(&unheeded, 6);
    assert!(
        stdout(&unheeded).contains("HTTPS_PROXY is set and not heeded"),
        "{}",
        stdout(&unheeded)
    );
    assert!(asks.is_empty());
    let heeded = check(&[("BILLD__GATEWAY__PROXY", &at)]).await.unwrap();
    exits(&heeded, 6);
    let ask = asks.recv().await.unwrap();
    assert!(
        ask.starts_with("CONNECT gateway.invalid:443 HTTP/1.1\r\n"),
        "{ask}"
    );
    assert!(
        ask.to_lowercase().contains("proxy-authorization: basic"),
        "{ask}"
    );
    assert!(!stdout(&heeded).contains("s3cret"), "{}", stdout(&heeded));
}

/// Hazard: a container without certificate authorities can't even charge a sandbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_authorities_are_needed_for_https_only() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let without = |gateway: &str| {
        let mut command: Command = billd(&book.url, gateway);
        run(command
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nowhere")
            .arg("check"))
    };
    exits(&without(&gateway.base_url()), 0);
    let https = without("https://gateway.invalid");
    assert!(
        stdout(&https).contains("SSL_CERT_FILE"),
        "{}",
        stdout(&https)
    );
}
