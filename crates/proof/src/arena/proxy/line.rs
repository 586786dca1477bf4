//! One connection through the proxy.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, watch};

use super::alter::{Alteration, LateCommit};
use super::frames::{Reply, Request, Requests, next_reply};
use super::swallow::Swallow;

/// What a server that speaks no TLS answers.
const NO_ENCRYPTION: &[u8] = b"N";

/// What ends the run of a prepared statement.
const SYNC: u8 = b'S';

/// Carries one connection until either end closes it, or a reply is swallowed. What is held is
/// never delivered if the proxy goes meanwhile.
pub(super) async fn carry(
    client: TcpStream,
    upstream: PathBuf,
    held: watch::Receiver<bool>,
    swallow: &Swallow,
    alteration: Option<Alteration>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    // However it ends, the client sees a reset: an orderly end is the exception that it knows.
    client.set_zero_linger()?;
    let server = UnixStream::connect(upstream).await?;
    let (mut from_client, to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let line = Line {
        to_client: Mutex::new(to_client),
        is_marked: AtomicBool::new(false),
        is_in_transaction: AtomicBool::new(false),
        swallow,
        alteration,
        late: LateCommit::new(),
    };
    let (gate, other_gate) = (Gate(held.clone()), Gate(held));
    tokio::select! {
        ended = line.forward_requests(&mut from_client, &mut to_server, gate) => ended,
        ended = line.forward_replies(&mut from_server, other_gate) => ended,
    }
}

/// Nothing passes while it is held, and nothing ever again once the proxy is gone.
struct Gate(watch::Receiver<bool>);

impl Gate {
    async fn pass(&mut self) -> io::Result<()> {
        match self.0.wait_for(|held| !held).await {
            Ok(_open) => Ok(()),
            Err(_gone) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

struct Line<'a, C> {
    to_client: Mutex<C>,
    /// Whether the reply to what the client does now is to be swallowed, should it succeed.
    is_marked: AtomicBool,
    is_in_transaction: AtomicBool,
    swallow: &'a Swallow,
    alteration: Option<Alteration>,
    late: LateCommit,
}

impl<C> Drop for Line<'_, C> {
    /// A line that ends otherwise, or is cut, has swallowed nothing.
    fn drop(&mut self) {
        if *self.is_marked.get_mut() {
            self.swallow.give_back();
        }
    }
}

impl<C: AsyncWrite + Unpin> Line<'_, C> {
    async fn forward_requests(
        &self,
        client: &mut (impl AsyncRead + Unpin),
        server: &mut (impl AsyncWrite + Unpin),
        mut gate: Gate,
    ) -> io::Result<()> {
        let mut requests = Requests::default();
        let mut buffer = BytesMut::new();
        loop {
            gate.pass().await?;
            if client.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            gate.pass().await?;
            let mut passed = BytesMut::new();
            while let Some(request) = requests.next(&mut buffer) {
                match request {
                    Request::Encryption => {
                        self.to_client.lock().await.write_all(NO_ENCRYPTION).await?;
                    }
                    Request::Runs(name, frame) => {
                        if self.commits_late(&name) {
                            passed.extend_from_slice(self.late.begin());
                        }
                        // Marked before the server has it, so the reply can't come too early.
                        if !self.is_marked.load(Ordering::Acquire) && self.swallow.take(&name) {
                            self.is_marked.store(true, Ordering::Release);
                        }
                        passed.extend_from_slice(&frame);
                    }
                    Request::Other(frame) => {
                        let is_end = frame.first() == Some(&SYNC);
                        let frame = match self.alteration {
                            Some(alteration) => alteration.text_of(frame)?,
                            None => frame,
                        };
                        passed.extend_from_slice(&frame);
                        if is_end && self.late.is_under_way() {
                            server.write_all(&passed.split()).await?;
                            server.write_all(self.late.commit().await).await?;
                            self.late.committed().await;
                        }
                    }
                }
            }
            server.write_all(&passed).await?;
        }
    }

    /// Whether a transaction of ours is put around a statement that is about to run.
    fn commits_late(&self, name: &str) -> bool {
        !self.is_in_transaction.load(Ordering::Acquire)
            && self
                .alteration
                .is_some_and(|alteration| alteration.delays(name))
    }

    async fn forward_replies(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        mut gate: Gate,
    ) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let mut kept = Kept::default();
        loop {
            gate.pass().await?;
            if server.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            gate.pass().await?;
            let mut passed = BytesMut::new();
            while let Some((reply, frame)) = next_reply(&mut buffer) {
                let Some(frame) = self.late.seen(&reply, frame) else {
                    continue;
                };
                if let Reply::Ready { in_transaction } = reply {
                    self.is_in_transaction
                        .store(in_transaction, Ordering::Release);
                }
                if !self.is_marked.load(Ordering::Acquire) {
                    passed.extend_from_slice(&frame);
                    continue;
                }
                match kept.add(&reply, &frame) {
                    Verdict::Wait => {}
                    Verdict::Pass => passed.unsplit(kept.take()),
                    Verdict::PassAndForget => {
                        passed.unsplit(kept.take());
                        self.is_marked.store(false, Ordering::Release);
                        self.swallow.give_back();
                    }
                    Verdict::Swallow => {
                        self.is_marked.store(false, Ordering::Release);
                        self.swallow.done();
                        return Ok(());
                    }
                }
            }
            self.to_client.lock().await.write_all(&passed).await?;
        }
    }
}

/// The reply that may have to be swallowed, until it is known how the statement ended.
#[derive(Debug, Default)]
struct Kept {
    frames: BytesMut,
    has_failed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The reply is not whole.
    Wait,
    /// It succeeded inside a transaction: the reply that matters is the one to `COMMIT`.
    Pass,
    /// It failed, so nothing was applied.
    PassAndForget,
    /// It is applied.
    Swallow,
}

impl Kept {
    fn add(&mut self, reply: &Reply, frame: &Bytes) -> Verdict {
        self.frames.extend_from_slice(frame);
        match reply {
            Reply::Other => Verdict::Wait,
            Reply::Refused | Reply::RolledBack => {
                self.has_failed = true;
                Verdict::Wait
            }
            Reply::Ready { .. } if self.has_failed => Verdict::PassAndForget,
            Reply::Ready {
                in_transaction: true,
            } => Verdict::Pass,
            Reply::Ready {
                in_transaction: false,
            } => Verdict::Swallow,
        }
    }

    fn take(&mut self) -> BytesMut {
        self.has_failed = false;
        self.frames.split()
    }
}
