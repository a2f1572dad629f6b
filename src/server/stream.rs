//! A connection's socket, with or without TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use super::{Admission, Options};
use crate::telemetry::metrics::Refused;

/// A connection's socket, with or without TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// Lets a peer in, or refuses it without a byte: `None`.
pub(super) async fn secure(socket: Socket, options: &Options) -> Option<Stream> {
    match &options.admission {
        Admission::Anyone => Some(Stream::Plain(socket)),
        Admission::Users(allowed) => {
            let uid = socket.peer_uid();
            if uid.is_some_and(|uid| allowed.contains(&uid)) {
                return Some(Stream::Plain(socket));
            }
            options.refused(Refused::Uid);
            tracing::debug!(uid, "refused a user that listen.allowed_uids does not name");
            None
        }
        Admission::Tls(current) => handshake(current.load_full(), socket, options).await,
    }
}

async fn handshake(config: Arc<ServerConfig>, socket: Socket, options: &Options) -> Option<Stream> {
    let handshake = TlsAcceptor::from(config).accept(socket);
    match timeout(options.limits.head_deadline, handshake).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            options.refused(Refused::Tls);
            tracing::debug!(%error, "a caller's TLS handshake failed");
            None
        }
        Err(_) => {
            options.refused(Refused::Tls);
            tracing::debug!("a caller's TLS handshake took too long");
            None
        }
    }
}

impl Stream {
    /// Answers are written whole; waiting for more would only delay them.
    pub(super) fn set_nodelay(&self) {
        self.socket().set_nodelay();
    }

    /// Ends with a reset when it is closed, so that a peer cannot take the end for an orderly one.
    pub(super) fn reset_on_close(&self) {
        self.socket().reset_on_close();
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// The same call on whichever stream it is.
macro_rules! on {
    ($stream:expr, $call:ident($($argument:expr),*)) => {
        match $stream.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).$call($($argument),*),
            Stream::Tls(stream) => Pin::new(stream).$call($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, poll_shutdown(cx))
    }
}
