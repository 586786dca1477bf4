//! The network between a daemon and its database: a TCP proxy that can fail as networks do.

mod alter;
mod frames;
mod line;
mod swallow;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use self::swallow::Swallow;

pub use self::alter::Alteration;

/// A proxy on a port of 127.0.0.1. Dropping it cuts all who are connected.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    held: watch::Sender<bool>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<PathBuf>,
    refuses: AtomicBool,
    swallow: Swallow,
    alteration: Option<Alteration>,
    lines: Mutex<JoinSet<()>>,
}

impl Proxy {
    /// Starts a proxy in front of a Unix socket: a server's or a bouncer's.
    pub async fn start(upstream: PathBuf) -> anyhow::Result<Self> {
        Self::start_altering(upstream, None).await
    }

    /// Starts one that alters what its clients ask for.
    pub async fn start_altering(
        upstream: PathBuf,
        alteration: Option<Alteration>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("couldn't find a free port for a proxy")?;
        let address = listener.local_addr()?;
        let held = watch::Sender::new(false);
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            refuses: AtomicBool::new(false),
            swallow: Swallow::new(),
            alteration,
            lines: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), held.subscribe()));
        Ok(Self {
            address,
            shared,
            held,
            accepting: accepting.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a database through it, as `DATABASE_URL` takes it.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!(
            "postgres://{role}@{}/{database}?sslmode=disable",
            self.address
        )
    }

    /// Cuts every connection, as a router that restarts does. New ones are let through.
    pub fn cut_all(&self) {
        self.shared.lines().abort_all();
    }

    /// From now on no byte passes in either direction, and nothing is closed.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets pass what was held, and all after it.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Whether new connections are cut at once. Those that are there stay.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Release);
    }

    /// Leads new connections to another socket. Those that are there stay.
    pub fn point_at(&self, upstream: PathBuf) {
        *self.shared.upstream() = upstream;
    }

    /// The next so many times that a statement of this name has been applied, its answer is lost
    /// and its connection cut. A statement inside a transaction is applied by `COMMIT`, whose answer
    /// is lost then; one that fails is answered, and does not count.
    pub fn swallow_reply(&self, of: &str, times: u32) {
        self.shared.swallow.want(of, times);
    }

    /// How many answers were lost that way.
    pub fn swallowed(&self) -> u32 {
        self.shared.swallow.count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

impl Shared {
    fn upstream(&self) -> MutexGuard<'_, PathBuf> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, held: watch::Receiver<bool>) {
    // A client that gave up in the queue is no reason to stop.
    loop {
        let Ok((client, _peer)) = listener.accept().await else {
            continue;
        };
        if shared.refuses.load(Ordering::Acquire) {
            client.set_zero_linger().ok();
            continue;
        }
        let line = carry(client, Arc::clone(&shared), held.clone());
        let mut lines = shared.lines();
        while lines.try_join_next().is_some() {}
        lines.spawn(line);
    }
}

async fn carry(client: TcpStream, shared: Arc<Shared>, held: watch::Receiver<bool>) {
    let upstream = shared.upstream().clone();
    if let Err(error) =
        line::carry(client, upstream, held, &shared.swallow, shared.alteration).await
    {
        tracing::debug!(%error, "a line through the proxy was cut");
    }
}
