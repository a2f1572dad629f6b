//! Opens a connection: resolve, judge, TCP, TLS, each with a deadline of its own.
//!
//! Invariant: what is connected to was looked up for this connection and judged after that lookup,
//! so a name whose answer changes (DNS rebinding) gains nothing by it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{Verdict, judge};
use super::error::{Error, Kind};
use super::wire::Wire;
use crate::config::{self, Deadlines};

/// Opens connections to the one origin.
pub(super) struct Connector {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    tls: TlsConnector,
    /// Private networks that the upstream may be in.
    allow_private: Vec<IpNet>,
    deadlines: Deadlines,
    /// Lookups under way. A lookup that hangs cannot be stopped, only kept from piling up.
    lookups: Arc<Semaphore>,
}

/// Bytes that the kernel may hold without having sent them.
const UNSENT: u32 = 128 * 1024;

/// A TLS connection.
pub(super) type Stream = TlsStream<Wire>;

impl Connector {
    pub(super) fn new(config: &config::Upstream, tls: Arc<ClientConfig>) -> Self {
        const LOOKUPS: usize = 4;
        let origin = &config.origin;
        Self {
            host: origin.bare_host().to_owned(),
            port: origin.port(),
            server_name: origin.server_name(),
            tls: TlsConnector::from(tls),
            allow_private: config.allow_private.clone(),
            deadlines: config.deadlines,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Stream, Error> {
        let addresses = self.permitted(self.resolve().await?)?;
        let socket = self.open(addresses).await?;
        // A request is written whole; waiting for more would only delay it. And what the kernel
        // still holds of an upload must be little: the answer's deadline begins at its last byte.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
        let handshake = self.tls.connect(self.server_name.clone(), Wire::new(socket));
        match timeout(self.deadlines.tls_handshake, handshake).await {
            Ok(Ok(stream)) => {
                let (wire, tls) = stream.get_ref();
                let (peer, version) = (wire.peer(), tls.protocol_version());
                tracing::debug!(?peer, ?version, "connected to InnoPaaS");
                Ok(stream)
            }
            Ok(Err(error)) if is_about_the_certificate(&error) => {
                Err(Error::unsent(Kind::CertificateRefused, error))
            }
            Ok(Err(error)) => Err(Error::unsent(Kind::TlsFailed, error)),
            Err(_) => Err(Error::unsent(Kind::TlsTimeout, "the handshake did not end")),
        }
    }

    /// Asks anew for every connection, so that a changed DNS entry is followed.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let lookup = async {
            let permit = Arc::clone(&self.lookups).acquire_owned().await;
            let (host, port) = (self.host.clone(), self.port);
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
            })
            .await
        };
        let failed = |cause: &dyn std::fmt::Display| {
            Error::unsent(Kind::ResolveFailed, format_args!("{}: {cause}", self.host))
        };
        match timeout(self.deadlines.resolve, lookup).await {
            Ok(Ok(Ok(addresses))) if addresses.is_empty() => Err(failed(&"no address")),
            Ok(Ok(Ok(addresses))) => Ok(addresses),
            Ok(Ok(Err(error))) => Err(failed(&error)),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(Error::unsent(
                Kind::ResolveTimeout,
                format_args!("{}: the name servers do not answer", self.host),
            )),
        }
    }

    /// Those of the addresses that may be connected to.
    fn permitted(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
        let mut refused = String::new();
        let mut permitted = addresses;
        permitted.retain(|address| {
            let why = match judge(address.ip(), &self.allow_private) {
                Verdict::Allowed => return true,
                Verdict::Private => "is not public",
                Verdict::Metadata => "is a cloud's metadata service",
            };
            let comma = if refused.is_empty() { "" } else { ", " };
            refused.push_str(&format!("{comma}{} {why}", address.ip()));
            false
        });
        if permitted.is_empty() {
            return Err(Error::unsent(
                Kind::AddressRefused,
                format_args!("{}: {refused}", self.host),
            ));
        }
        if !refused.is_empty() {
            tracing::warn!(refused, "the upstream's name has addresses that are not connected to");
        }
        Ok(permitted)
    }

    async fn open(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, Error> {
        match timeout(self.deadlines.connect, race(addresses)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(Error::unsent(Kind::ConnectRefused, error))
            }
            Ok(Err(error)) => Err(Error::unsent(Kind::ConnectFailed, error)),
            Err(_) => Err(Error::unsent(Kind::ConnectTimeout, "no address answered")),
        }
    }
}

fn is_about_the_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// Tries one address after the other, the next one a little later or at once when one fails; the
/// first that answers wins (RFC 8305).
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    const HEAD_START: Duration = Duration::from_millis(250);
    let mut rest = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        attempts.extend(rest.next().map(TcpStream::connect));
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) if attempts.is_empty() && rest.len() == 0 => return Err(error),
                Err(_) => {}
            },
            () = sleep(HEAD_START), if rest.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Raw};
    use crate::telemetry::code::Sent;

    fn connector() -> Connector {
        let config = Config::from_raw(Raw::defaults()).unwrap().upstream;
        let (tls, _) = super::super::client_config(None).unwrap();
        Connector::new(&config, tls)
    }

    async fn error(connector: &Connector) -> Error {
        connector.connect().await.map(drop).unwrap_err()
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_is_named_and_nothing_was_sent() {
        let mut connector = connector();
        connector.host = "no\0name".to_owned(); // refused before any name server is asked
        let error = error(&connector).await;
        assert_eq!((error.kind, error.sent), (Kind::ResolveFailed, Sent::No));
    }

    #[test]
    fn a_name_that_changes_from_a_public_or_listed_address_to_a_private_one_is_refused() {
        let addresses = |ips: &[&str]| -> Vec<SocketAddr> {
            ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect()
        };
        let mut connector = connector();
        connector.allow_private = vec!["10.1.0.0/16".parse().unwrap()];
        for good in [addresses(&["8.8.8.8", "2606:4700::1111"]), addresses(&["10.1.2.3"])] {
            assert_eq!(connector.permitted(good.clone()).unwrap(), good);
        }
        let error = connector.permitted(addresses(&["10.2.0.1", "169.254.169.254"])).unwrap_err();
        assert_eq!((error.kind, error.sent), (Kind::AddressRefused, Sent::No));
        for named in ["10.2.0.1 is not public", "169.254.169.254 is a cloud's metadata service"] {
            assert!(error.cause.contains(named), "{error}");
        }
        let mixed = addresses(&["127.0.0.1", "8.8.8.8", "::1"]);
        assert_eq!(connector.permitted(mixed).unwrap(), addresses(&["8.8.8.8"]));
    }

    #[tokio::test]
    async fn an_origin_that_is_itself_a_private_address_is_refused_before_a_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connector = connector();
        connector.host = "127.0.0.1".to_owned();
        connector.port = listener.local_addr().unwrap().port();
        let error = error(&connector).await;
        assert_eq!((error.kind, error.sent), (Kind::AddressRefused, Sent::No));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_that_hang_keep_the_next_one_waiting_no_longer_than_its_deadline() {
        let connector = connector();
        let _hanging = connector.lookups.acquire_many(4).await.unwrap();
        let error = error(&connector).await;
        assert_eq!((error.kind, error.sent), (Kind::ResolveTimeout, Sent::No));
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next_one_at_once() {
        let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = race(vec![refusing, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let error = race(vec![refusing, refusing]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
