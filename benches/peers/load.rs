//! The callers: blocking sockets, a thread for each connection that is in use at the same time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::upstream::{APP_KEY, AUTHORIZATION, DOWNLOAD, SEND, UPLOAD, Upstream};

/// Whom to call, and what to say.
#[derive(Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    /// Without a proxy in between.
    tls: Option<Arc<ClientConfig>>,
    request: Arc<[u8]>,
    /// Said when the connection is to end with the answer.
    last_request: Arc<[u8]>,
}

/// What came of a load.
pub(crate) struct Ran {
    /// Calls that were answered with 200. Others end the benchmark.
    pub(crate) calls: u64,
    /// How long it took.
    pub(crate) took: Duration,
    /// Of each call, sorted.
    latencies: Vec<Duration>,
}

/// An open connection.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How long an answer may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Caller {
    /// Calls a contestant with a body of so many bytes. A stale token and an access key are
    /// brought, which must not arrive.
    pub(crate) fn of(address: SocketAddr, body: usize) -> Self {
        let stale = "Authorization: stale\r\nAppKey: stale\r\n";
        let json = "Content-Type: application/json\r\n";
        Self::new(address, None, "POST", SEND, &format!("{stale}{json}"), body)
    }

    /// Uploads so many bytes each time.
    pub(crate) fn uploading(address: SocketAddr, body: usize) -> Self {
        let kind = "Content-Type: multipart/form-data; boundary=x\r\n";
        Self::new(address, None, "POST", UPLOAD, kind, body)
    }

    /// Is answered with [`LARGE`](crate::upstream::LARGE) bytes each time.
    pub(crate) fn downloading(address: SocketAddr) -> Self {
        let kind = "Content-Type: application/json\r\n";
        Self::new(address, None, "POST", DOWNLOAD, kind, 2)
    }

    /// Calls the upstream itself.
    pub(crate) fn direct(upstream: &Upstream, body: usize) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(upstream.ca_pem.as_bytes()).unwrap()).unwrap();
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let pair = format!(
            "AppKey: {APP_KEY}\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json;charset=utf-8\r\n"
        );
        Self::new(upstream.address, Some(Arc::new(tls)), "POST", SEND, &pair, body)
    }

    fn new(
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        method: &str,
        target: &str,
        headers: &str,
        body: usize,
    ) -> Self {
        let host = format!("localhost:{}", address.port());
        let request = |last: &str| -> Arc<[u8]> {
            let mut request = format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: benchmark/1.0\r\n\
                 Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n{last}{headers}\
                 Content-Length: {body}\r\n\r\n"
            )
            .into_bytes();
            request.resize(request.len() + body, b'x');
            request.into()
        };
        let (usual, last_request) = (request(""), request("Connection: close\r\n"));
        Self { address, tls, request: usual, last_request }
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let name = "localhost".try_into().unwrap();
                let tls = ClientConnection::new(Arc::clone(tls), name).unwrap();
                Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        Ok(Connection { stream, buffer: vec![0; 16 * 1024] })
    }

    /// So many connections, each of which waits for its answer before it asks again.
    pub(crate) fn closed_loop(&self, connections: usize, duration: Duration) -> Ran {
        self.in_threads(connections, |caller, _| {
            let mut connection = caller.connect().unwrap();
            let mut latencies = Vec::new();
            let end = Instant::now() + duration;
            while Instant::now() < end {
                let began = Instant::now();
                connection.call(&caller.request).unwrap();
                latencies.push(began.elapsed());
            }
            latencies
        })
    }

    /// So many calls, one after the other on one connection.
    pub(crate) fn calls(&self, calls: usize) -> Ran {
        self.calls_on(1, calls)
    }

    /// So many calls on each of so many connections.
    pub(crate) fn calls_on(&self, connections: usize, calls: usize) -> Ran {
        self.in_threads(connections, |caller, _| {
            let mut connection = caller.connect().unwrap();
            let call = |_| {
                let began = Instant::now();
                connection.call(&caller.request).unwrap();
                began.elapsed()
            };
            (0..calls).map(call).collect()
        })
    }

    /// A new connection for every call.
    pub(crate) fn fresh(&self, at_once: usize, duration: Duration) -> Ran {
        self.in_threads(at_once, |caller, _| {
            let mut latencies = Vec::new();
            let end = Instant::now() + duration;
            while Instant::now() < end {
                let began = Instant::now();
                caller.once().unwrap();
                latencies.push(began.elapsed());
            }
            latencies
        })
    }

    /// So many calls a second, evenly spread, whatever the answers take: a call that has to wait
    /// for the one before it is late, and its latency counts from when it should have begun.
    pub(crate) fn paced(&self, rate: u32, connections: u32, duration: Duration) -> Ran {
        let (gap, start) = (Duration::from_secs(1) / rate, Instant::now() + PREPARATION);
        self.in_threads(connections as usize, move |caller, number| {
            let mut connection = caller.connect().unwrap();
            let mut latencies = Vec::new();
            let mut due = start + gap * u32::try_from(number).unwrap();
            while due < start + duration {
                let now = Instant::now();
                let began = if now < due {
                    thread::sleep(due - now);
                    Instant::now()
                } else {
                    due
                };
                connection.call(&caller.request).unwrap();
                latencies.push(began.elapsed());
                due += gap * connections;
            }
            latencies
        })
    }

    /// So many calls at the same time, on connections that stay open.
    pub(crate) fn at_once(&self, connections: &mut [Connection]) {
        for connection in connections.iter_mut() {
            connection.send(&self.request).unwrap();
        }
        for connection in connections {
            connection.receive().unwrap();
        }
    }

    /// One call on a connection of its own.
    pub(crate) fn once(&self) -> io::Result<()> {
        self.connect()?.call(&self.last_request)
    }

    fn in_threads(
        &self,
        threads: usize,
        run: impl Fn(&Self, usize) -> Vec<Duration> + Send + Sync,
    ) -> Ran {
        let began = Instant::now();
        let mut latencies = thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> =
                (0..threads).map(|number| scope.spawn(move || run(self, number))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        latencies.sort_unstable();
        Ran { calls: latencies.len() as u64, took: began.elapsed(), latencies }
    }
}

/// For all connections of a paced load to be open.
const PREPARATION: Duration = Duration::from_millis(100);

impl Ran {
    /// So many calls, of which nobody knows how long each took.
    pub(crate) fn of(calls: u64, took: Duration) -> Self {
        Self { calls, took, latencies: Vec::new() }
    }

    /// What so many of a thousand calls did not exceed, in microseconds.
    pub(crate) fn permille(&self, permille: usize) -> f64 {
        let index = (self.latencies.len() * permille / 1000).min(self.latencies.len() - 1);
        self.latencies[index].as_secs_f64() * 1e6
    }
}

impl Connection {
    fn call(&mut self, request: &[u8]) -> io::Result<()> {
        let sent = self.send(request);
        // Who stops reading may have said why.
        self.receive().and(sent)
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(request),
            Stream::Tls(stream) => stream.write_all(request),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut filled = 0;
        loop {
            let read = self.read(filled)?;
            filled += read;
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut answer = httparse::Response::new(&mut headers);
            let parsed = answer.parse(&self.buffer[..filled]).map_err(io::Error::other)?;
            let httparse::Status::Complete(head) = parsed else { continue };
            if answer.code != Some(200) {
                return Err(io::Error::other(String::from_utf8_lossy(&self.buffer[..filled])));
            }
            let length = answer
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
                .ok_or_else(|| io::Error::other("an answer without a length"))?;
            let mut left = (head + length).saturating_sub(filled);
            while left > 0 {
                left = left.saturating_sub(self.read(0)?);
            }
            return Ok(());
        }
    }

    fn read(&mut self, from: usize) -> io::Result<usize> {
        let into = &mut self.buffer[from..];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(into)?,
            Stream::Tls(stream) => stream.read(into)?,
        };
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
    }
}
