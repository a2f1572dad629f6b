//! A socket to the upstream, below TLS: counts what leaves, bounds what comes before an answer's
//! head, and tells whether something came that nobody asked for.
//!
//! The last decides whether a kept connection may carry another call: bytes that are here before
//! its request leaves would be taken for its answer.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is known of one connection, shared by whoever drives it and whoever uses it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: RefCell<TcpStream>,
    /// Bytes given to the kernel: whether a request may have left is known, not guessed. Below
    /// TLS, so that a record that was written in part counts.
    left: Cell<u64>,
    /// How many bytes may still come before the head of the answer; `None` while none is due.
    before_head: Cell<Option<u64>>,
    flooded: Cell<bool>,
}

/// The end of a [`Wire`] that TLS reads and writes.
#[derive(Debug)]
pub(super) struct WireEnd(Rc<Wire>);

impl Wire {
    pub(super) fn new(socket: TcpStream) -> (Rc<Self>, WireEnd) {
        let wire = Rc::new(Self {
            socket: RefCell::new(socket),
            left: Cell::new(0),
            before_head: Cell::new(None),
            flooded: Cell::new(false),
        });
        (Rc::clone(&wire), WireEnd(wire))
    }

    pub(super) fn left(&self) -> u64 {
        self.left.get()
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.socket.borrow().peer_addr().ok()
    }

    /// An answer is due, and at most so many bytes may come before its head is complete: provisional
    /// answers (RFC 9110, section 15.2) are passed over, and would otherwise have no end.
    pub(super) fn head_is_due(&self, most: u64) {
        self.before_head.set(Some(most));
    }

    pub(super) fn head_is_here(&self) {
        self.before_head.set(None);
    }

    /// Whether more came before a head than was allowed.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// Whether nothing is waiting to be read, not even the end. Asks the kernel, because the
    /// runtime may not have heard of it yet.
    pub(super) fn is_quiet(&self) -> bool {
        let socket = self.socket.borrow();
        let peeked = SockRef::from(&*socket).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn came(&self, bytes: usize) -> io::Result<()> {
        let Some(most) = self.before_head.get() else { return Ok(()) };
        let rest = most.checked_sub(bytes as u64);
        self.flooded.set(rest.is_none());
        self.before_head.set(Some(rest.unwrap_or_default()));
        rest.map(drop).ok_or_else(|| io::Error::other("more came than any answer's head may have"))
    }
}

impl WireEnd {
    fn socket<T>(&self, act: impl FnOnce(Pin<&mut TcpStream>) -> T) -> T {
        act(Pin::new(&mut *self.0.socket.borrow_mut()))
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.0.left.set(self.0.left.get() + *bytes as u64);
        }
    }
}

impl AsyncRead for WireEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.socket(|socket| socket.poll_read(cx, buf));
        match read {
            Poll::Ready(Ok(())) => Poll::Ready(self.0.came(buf.filled().len() - before)),
            Poll::Ready(Err(_)) | Poll::Pending => read,
        }
    }
}

impl AsyncWrite for WireEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket(|socket| socket.poll_write(cx, buf));
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket(|socket| socket.poll_write_vectored(cx, bufs));
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.0.socket.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket(|socket| socket.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket(|socket| socket.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Rc<Wire>, WireEnd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (wire, end) = Wire::new(socket);
        (wire, end, peer)
    }

    #[tokio::test]
    async fn what_came_unasked_is_seen_before_the_runtime_hears_of_it() {
        for ends in [false, true] {
            let (wire, _end, peer) = pair().await;
            assert!(wire.is_quiet());
            if ends {
                drop(peer);
            } else {
                assert_eq!(peer.try_write(b"x").unwrap(), 1);
            }
            assert!(!wire.is_quiet());
        }
    }

    #[tokio::test]
    async fn no_more_than_allowed_comes_before_a_head_and_anything_after_it() {
        let (wire, mut end, mut peer) = pair().await;
        peer.write_all(&[b'x'; 20]).await.unwrap();
        wire.head_is_due(5);
        end.read_exact(&mut [0; 5]).await.unwrap();
        wire.head_is_here();
        end.read_exact(&mut [0; 5]).await.unwrap();
        wire.head_is_due(5);
        assert!(end.read(&mut [0; 6]).await.is_err() && wire.is_flooded());
    }
}
