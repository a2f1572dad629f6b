//! The upstream of every contestant: TLS, a thread a connection, and an answer of 400 unless the
//! headers are exactly right. What it counts is what the contestants' work is divided by.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The pair that every contestant is to send.
pub(crate) const APP_KEY: &str = "k-0123456789abcd";
/// See [`APP_KEY`].
pub(crate) const AUTHORIZATION: &str = "t-0123456789abcdef0123456789abcdef0123456789abcdef012345";

/// Paths; anything else is answered with 400.
pub(crate) const SEND: &str = "/api/sms/v3/msg/send";
/// Takes a body of whatever size on a path for uploads.
pub(crate) const UPLOAD: &str = "/api/whatsapp/v3/uploadFile";
/// Answers with [`LARGE`] bytes.
pub(crate) const DOWNLOAD: &str = "/api/download";
/// A large body, in bytes.
pub(crate) const LARGE: usize = 10 * 1024 * 1024;

const ANSWER: &str =
    r#"{"code":"0","success":true,"message":"Success","data":"10000000000000000001"}"#;

/// A running upstream.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Who signed its certificate, as PEM.
    pub(crate) ca_pem: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    good: AtomicU64,
    bad: AtomicU64,
}

impl Upstream {
    /// Starts one; it ends with the process.
    pub(crate) fn start() -> Self {
        let (ca_pem, config) = identity();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // std's own backlog is 128: too short for a thousand connections at once.
        rustix::net::listen(&listener, 4096).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, counts) = (Arc::clone(&config), Arc::clone(&shared));
                let thread = thread::Builder::new().stack_size(256 * 1024);
                thread.spawn(move || serve(socket, config, &counts)).unwrap();
            }
        });
        Self { address, ca_pem, counts }
    }

    /// How many requests were exactly right so far; panics if one was not.
    pub(crate) fn served(&self) -> u64 {
        assert_eq!(self.counts.bad.load(Relaxed), 0, "requests that were not exactly right");
        self.counts.good.load(Relaxed)
    }
}

fn identity() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Of another name than the leaf's, which OpenSSL would otherwise take for self-signed.
    params.distinguished_name.push(DnType::CommonName, "benchmark's authority");
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf)], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (ca.pem(), Arc::new(config))
}

/// Ends when the peer goes, in whatever way.
fn serve(socket: TcpStream, config: Arc<ServerConfig>, counts: &Counts) {
    let host = format!("localhost:{}", socket.local_addr().unwrap().port());
    socket.set_nodelay(true).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let Some((head, length, target)) = read_head(&mut stream, &mut buffer, &mut filled, &host)
        else {
            return;
        };
        let mut left = head + length.unwrap_or_default();
        while left > filled {
            left -= filled;
            filled = match stream.read(&mut buffer) {
                Ok(read) if read > 0 => read,
                _ => return,
            };
        }
        buffer.copy_within(left..filled, 0);
        filled -= left;
        let answer = match length {
            Some(_) if target == Target::Download => {
                counts.good.fetch_add(1, Relaxed);
                let mut answer = head_of(200, LARGE).into_bytes();
                answer.resize(answer.len() + LARGE, b'x');
                answer
            }
            Some(_) => {
                counts.good.fetch_add(1, Relaxed);
                (head_of(200, ANSWER.len()) + ANSWER).into_bytes()
            }
            None => {
                counts.bad.fetch_add(1, Relaxed);
                head_of(400, 0).into_bytes()
            }
        };
        if stream.write_all(&answer).is_err() || length.is_none() {
            return;
        }
    }
}

fn head_of(status: u16, length: usize) -> String {
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json;charset=UTF-8\r\n\
         Date: Mon, 23 Nov 2026 00:00:00 GMT\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Known,
    Download,
}

/// The length of the next head, and that of its body if it is exactly right; `None` at the end.
fn read_head(
    stream: &mut impl Read,
    buffer: &mut [u8],
    filled: &mut usize,
    host: &str,
) -> Option<(usize, Option<usize>, Target)> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if *filled > 0
            && let httparse::Status::Complete(head) = request.parse(&buffer[..*filled]).ok()?
        {
            let target = match request.path {
                Some(SEND | UPLOAD) => Some(Target::Known),
                Some(DOWNLOAD) => Some(Target::Download),
                _ => None,
            };
            let length = target.and_then(|_| judge(&request, host));
            return Some((head, length, target.unwrap_or(Target::Known)));
        }
        match stream.read(&mut buffer[*filled..]) {
            Ok(read) if read > 0 => *filled += read,
            _ => return None,
        }
    }
}

/// The length of the body, if every header that matters is there once and has the right value.
fn judge(request: &httparse::Request<'_, '_>, host: &str) -> Option<usize> {
    let only = |name: &str| {
        let mut all = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        let value = all.next()?.value;
        if all.next().is_none() { std::str::from_utf8(value).ok() } else { None }
    };
    let kind = only("content-type")?;
    let json = kind == "application/json;charset=utf-8";
    let right = only("appkey")? == APP_KEY
        && only("authorization")? == AUTHORIZATION
        && only("host")? == host
        && (json || (request.path == Some(UPLOAD) && kind.starts_with("multipart/form-data")))
        && only("transfer-encoding").is_none();
    if right { only("content-length")?.parse().ok() } else { None }
}
