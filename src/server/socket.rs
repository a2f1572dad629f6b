//! TCP or a Unix socket: the listeners and connections that the rest does not tell apart.
//!
//! What only TCP can do is done where the socket is TCP, and left out where it is not.

use std::os::unix;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, net};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A bound and listening socket that does not block; not yet part of a runtime.
#[derive(Debug)]
pub enum Listener {
    /// An address of this host, and a port.
    Tcp(net::TcpListener),
    /// A socket in the file system.
    Unix(unix::net::UnixListener),
}

/// A listener within a worker's runtime.
#[derive(Debug)]
pub(super) enum Entrance {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection within a worker's runtime.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection between two runtimes.
#[derive(Debug)]
pub(super) enum Parted {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl Listener {
    /// To be called within the runtime.
    pub(super) fn open(self) -> io::Result<Entrance> {
        Ok(match self {
            Self::Tcp(listener) => Entrance::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener) => Entrance::Unix(UnixListener::from_std(listener)?),
        })
    }

    /// The next connection that the kernel has for us, without waiting.
    pub(super) fn accept_now(&self) -> io::Result<Parted> {
        let parted = match self {
            Self::Tcp(listener) => Parted::Tcp(listener.accept()?.0),
            Self::Unix(listener) => Parted::Unix(listener.accept()?.0),
        };
        match &parted {
            Parted::Tcp(stream) => stream.set_nonblocking(true)?,
            Parted::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(parted)
    }
}

impl Entrance {
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => Socket::Tcp(listener.accept().await?.0),
            Self::Unix(listener) => Socket::Unix(listener.accept().await?.0),
        })
    }

    pub(super) fn part(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(listener.into_std()?),
            Self::Unix(listener) => Listener::Unix(listener.into_std()?),
        })
    }
}

impl Parted {
    /// To be called within the runtime.
    pub(super) fn join(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl Socket {
    pub(super) fn part(self) -> io::Result<Parted> {
        Ok(match self {
            Self::Tcp(stream) => Parted::Tcp(stream.into_std()?),
            Self::Unix(stream) => Parted::Unix(stream.into_std()?),
        })
    }

    /// The user that the peer's process ran as when it connected (`SO_PEERCRED`); `None` for TCP,
    /// or if the kernel does not tell.
    pub(super) fn peer_uid(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => stream.peer_cred().ok().map(|peer| peer.uid()),
        }
    }

    /// Whether there is something to read, as far as the runtime has heard.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// A Unix socket has no reset. Its peer finds that an answer broke off by the answer's own
    /// framing, unless it is HTTP/1.0 and the answer ends with the connection.
    pub(super) fn reset_on_close(&self) {
        match self {
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            Self::Unix(_) => {}
        }
    }
}

/// Reads and writes by whichever of these the value is.
macro_rules! read_and_write_by_variant {
    ($name:ident: $($variant:ident),+) => {
        impl tokio::io::AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_read(cx, buf),)+
                }
            }
        }

        impl tokio::io::AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_write(cx, buf),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$variant(stream) => stream.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_shutdown(cx),)+
                }
            }
        }
    };
}
pub(super) use read_and_write_by_variant;

read_and_write_by_variant!(Socket: Tcp, Unix);
