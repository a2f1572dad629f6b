//! A connection's socket, with or without TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::{Socket, read_and_write_by_variant};
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
        // Large, and a plain connection would have room for it otherwise.
        Admission::Tls(current) => Box::pin(handshake(current.load_full(), socket, options)).await,
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
    /// Whether there is something to read, as far as the runtime has heard.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_read_ready(cx)
    }

    /// Ends with a reset when it is closed, so that a peer cannot take the end for an orderly one.
    pub(super) fn reset_on_close(&self) {
        self.socket().reset_on_close();
    }

    /// Whether to close it says all that there is to say at the end; TLS has words of its own.
    pub(super) fn ends_when_closed(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

read_and_write_by_variant!(Stream: Plain, Tls);
