//! An upstream that speaks TLS and then whatever a test wants, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;

/// The upstream's side of one connection.
pub(crate) type Tls = StreamOwned<ServerConnection, TcpStream>;

pub(crate) struct RawUpstream {
    address: SocketAddr,
    ca_pem: String,
    connections: Arc<AtomicUsize>,
}

impl RawUpstream {
    /// Every connection is given to `serve`, on a thread of its own, with its number from 0.
    /// The threads end with the process.
    pub(crate) fn start(serve: impl Fn(usize, Tls) + Send + Sync + 'static) -> Self {
        let (config, ca_pem) = identity();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, serve) = (Arc::clone(&connections), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, serve) = (Arc::clone(&config), Arc::clone(&serve));
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // What is written is to be there when the writing is over.
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    serve(number, StreamOwned::new(tls, stream));
                });
            }
        });
        Self { address, ca_pem, connections }
    }

    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads a request's head, and as much body as its Content-Length says; `None` at the end.
pub(crate) fn read_request(tls: &mut Tls) -> Option<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match tls.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    tls.read_exact(&mut body).ok()?;
    request.extend(body);
    Some(String::from_utf8(request).unwrap())
}

/// Answers with these bytes.
pub(crate) fn answer(tls: &mut Tls, bytes: &str) {
    // The proxy may have given up already, which is what some tests are about.
    let _ = tls.write_all(bytes.as_bytes()).and_then(|()| tls.flush());
}

/// Says goodbye in TLS's way and closes.
pub(crate) fn close(mut tls: Tls) {
    tls.conn.send_close_notify();
    let _ = tls.flush();
}

fn identity() -> (Arc<ServerConfig>, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), made.cert.pem())
}
