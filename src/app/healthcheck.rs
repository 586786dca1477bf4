//! `billd healthcheck`: asks the daemon of this machine, for containers and scripts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::exit::{Exit, Failure};
use crate::settings::{Needs, Settings, Source};
use crate::terminal;

/// A daemon that takes longer than this to say that it lives does not.
const LIMIT: Duration = Duration::from_secs(4);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) async fn healthcheck(source: &Source, ready: bool) -> Result<Exit, Failure> {
    let settings = Settings::load(source, Needs::Nothing)?;
    let Some(listen) = settings.http.listen else {
        let error =
            anyhow::anyhow!("http.listen is off, so there is nothing to ask; set it to an address");
        return Err(Failure::new(Exit::Settings, error));
    };
    let path = if ready { "readyz" } else { "livez" };
    let address = reachable(listen);
    let answer = timeout(LIMIT, get(address, path))
        .await
        .context("it took too long")
        .and_then(|answer| answer.context("it is not running, or listens elsewhere"))
        .with_context(|| format!("no daemon answers at http://{address}/{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    terminal::line(body.trim_end());
    let ok = head.split(' ').nth(1) == Some("200");
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

/// Two lines of HTTP/1.0: an HTTP client of full size has nothing to add on the loopback address.
async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET /{path} HTTP/1.0\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .await?;
    Ok(answer)
}

/// A daemon that listens everywhere is reached on the loopback address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}
