//! A socket to the upstream, below TLS: counts what leaves, and tells whether something came that
//! nobody asked for.
//!
//! The last decides whether a kept connection may carry another call: bytes that are here before
//! its request leaves would be taken for its answer.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that counts.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    /// Bytes given to the kernel: whether a request may have left is known, not guessed. Below
    /// TLS, so that a record that was written in part counts.
    left: u64,
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, left: 0 }
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()
    }

    /// Whether nothing is waiting to be read, not even the end, as far as the runtime has heard.
    pub(super) fn is_quiet(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        // What it heard of may have been read since.
        self.socket.poll_read_ready(&mut nobody).is_pending() || self.is_quiet_by_now()
    }

    /// The same, asking the kernel, because the runtime may not have heard of it yet.
    pub(super) fn is_quiet_by_now(&self) -> bool {
        let peeked = SockRef::from(&self.socket).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.left += *bytes as u64;
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One record is the rule, and the kernel takes a vector of one slower than a slice.
        let written = match bufs {
            [buf] => Pin::new(&mut self.socket).poll_write(cx, buf),
            bufs => Pin::new(&mut self.socket).poll_write_vectored(cx, bufs),
        };
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_came_unasked_is_seen_before_the_runtime_hears_of_it() {
        for ends in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (peer, _) = listener.accept().await.unwrap();
            let wire = Wire::new(socket);
            assert!(wire.is_quiet_by_now());
            if ends {
                drop(peer);
            } else {
                assert_eq!(peer.try_write(b"x").unwrap(), 1);
            }
            assert!(!wire.is_quiet_by_now());
        }
    }
}
