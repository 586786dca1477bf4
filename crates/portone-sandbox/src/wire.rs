//! The TCP side: a listener whose connections can be cut in the middle of anything.
//!
//! A charge that was approved and never answered is the fault this server exists for. An HTTP
//! library always answers something, so the cut is made below it: the handler spends the
//! connection's allowance of bytes, and the next write resets the connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// No limit on what a connection may send.
const UNLIMITED: usize = usize::MAX;

/// A handler's hold on the connection its request came through.
#[derive(Debug, Clone)]
pub(super) struct Line {
    allowance: Arc<AtomicUsize>,
}

impl Line {
    /// Lets no further byte out: the caller sees a reset and no answer.
    pub(super) fn cut(&self) {
        self.cut_after(0);
    }

    /// Lets this many bytes out, head included, then resets the connection.
    pub(super) fn cut_after(&self, bytes: usize) {
        self.allowance.store(bytes, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Exchange>> for Line {
    fn connect_info(stream: IncomingStream<'_, Exchange>) -> Self {
        stream.io().line.clone()
    }
}

/// The listener.
pub(super) struct Exchange(pub(super) TcpListener);

impl Listener for Exchange {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        // Without it a small answer waits for the delayed acknowledgement of the one before. A
        // socket that refuses the option is only slower.
        stream.set_nodelay(true).ok();
        let line = Line {
            allowance: Arc::new(AtomicUsize::new(UNLIMITED)),
        };
        (Wire { stream, line }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    line: Line,
}

impl Wire {
    /// How many of `wanted` bytes may go out, or the error that ends the connection.
    fn allowed(&self, wanted: usize) -> io::Result<usize> {
        match self.line.allowance.load(Ordering::Acquire) {
            0 => {
                // With a linger of zero the kernel sends a reset instead of an orderly end, as a
                // crashed server does. If it can't, the caller still sees the end without answer.
                self.stream.set_zero_linger().ok();
                Err(io::ErrorKind::ConnectionReset.into())
            }
            allowance => Ok(allowance.min(wanted)),
        }
    }

    fn spend(&self, sent: usize) {
        let allowance = self.line.allowance.load(Ordering::Acquire);
        if allowance != UNLIMITED {
            self.line.cut_after(allowance.saturating_sub(sent));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = self.allowed(bytes.len())?;
        let bytes = bytes.get(..allowed).unwrap_or(bytes);
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(sent)) = written {
            self.spend(sent);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
