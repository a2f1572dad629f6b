//! Who the upstream must be before it gets a byte: a certificate for the origin's name, valid now,
//! from an authority that is trusted, over TLS 1.2 or later, at an address that is allowed. A
//! recorder below TLS keeps all that the proxy wrote to somebody else.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Call, PATIENCE, Setup, canary};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A server on loopback that keeps what it is sent.
struct Recorder {
    port: u16,
    received: Arc<Mutex<Vec<u8>>>,
}

/// The server's side of a connection, recording.
struct Recorded {
    stream: TcpStream,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Read for Recorded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stream.read(buf)?;
        self.received.lock().unwrap().extend_from_slice(&buf[..bytes]);
        Ok(bytes)
    }
}

impl Write for Recorded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Recorder {
    fn start(serve: impl Fn(Recorded) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                serve(Recorded { stream, received: Arc::clone(&kept) });
            }
        });
        Self { port, received }
    }

    /// Speaks TLS with this certificate.
    fn tls(config: Arc<ServerConfig>) -> Self {
        Self::start(move |recorded| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, recorded);
            let _ = stream.read_to_end(&mut Vec::new());
            let _ = stream.sock.read_to_end(&mut Vec::new());
        })
    }

    /// Says this to whatever it is sent, and reads on.
    fn saying(words: &'static [u8]) -> Self {
        Self::start(move |mut recorded| {
            let _ = recorded.read(&mut [0; 4096]);
            let _ = recorded.write_all(words);
            let _ = recorded.read_to_end(&mut Vec::new());
        })
    }

    /// Calls it by this host, trusting this authority; how the call ends, and that nothing of the
    /// pair left.
    #[track_caller]
    fn refuses(&self, setup: Setup, host: &str, ca_pem: &str, status: u16, code: &str) {
        let proxy = setup.start_before(&format!("https://{host}:{}", self.port), ca_pem);
        let answer = proxy.call(Call::sms());
        answer.assert_problem(status, code, "no");
        drop(proxy); // whatever it had to write is written
        let received = self.received.lock().unwrap();
        canary::assert_absent("what was sent to a stranger", &received);
        assert_handshake_alone(&received);
    }
}

/// Nothing but a handshake and its alerts. In TLS 1.3 an alert is encrypted and looks like data
/// from outside: then it is shorter than any request (RFC 8446, section 5.2).
#[track_caller]
fn assert_handshake_alone(mut records: &[u8]) {
    const ALERT: usize = 2 + 1 + 16;
    while let [kind, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let alert = *kind == 23 && length <= ALERT;
        assert!(matches!(kind, 20..=22) || alert, "a record of type {kind}, {length} bytes");
        records = rest.get(length..).unwrap_or_default();
    }
    assert!(records.is_empty());
}

/// An authority of our own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, valid within these days from now.
fn certified(
    by: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    days: std::ops::Range<i32>,
) -> Arc<ServerConfig> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let at = |days: i32| {
        let now = SystemTime::now();
        let span = DAY * days.unsigned_abs();
        if days < 0 { now - span } else { now + span }
    };
    params.not_before = at(days.start).into();
    params.not_after = at(days.end).into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    server_config(certificate.der().clone(), &key)
}

fn server_config(
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: &KeyPair,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

#[test]
fn a_certificate_that_does_not_prove_the_origin_is_refused_and_no_byte_of_the_pair_leaves() {
    let (ours, other) = (authority(), authority());
    let now = || -1..30;
    for (what, config, host) in [
        ("another name", certified(&ours, &["other.example"], now()), "localhost"),
        // The address that is connected to proves nothing about the name that was asked for.
        ("its address", certified(&ours, &["other.example", "127.0.0.1"], now()), "localhost"),
        ("the name for an address", certified(&ours, &["localhost"], now()), "127.0.0.1"),
        ("another address", certified(&ours, &["127.0.0.2"], now()), "127.0.0.1"),
        ("a longer name", certified(&ours, &["localhost.other.example"], now()), "localhost"),
        ("a wildcard", certified(&ours, &["*.localhost"], now()), "localhost"),
        ("an expired one", certified(&ours, &["localhost"], -30..-1), "localhost"),
        ("one of tomorrow", certified(&ours, &["localhost"], 1..30), "localhost"),
        ("another authority", certified(&other, &["localhost"], now()), "localhost"),
    ] {
        println!("{what}"); // shown if it fails
        let recorder = Recorder::tls(config);
        recorder.refuses(Setup::new(), host, &ours.pem(), 502, "certificate_refused");
    }
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let recorder = Recorder::tls(server_config(made.cert.der().clone(), &made.signing_key));
    recorder.refuses(Setup::new(), "localhost", &authority().pem(), 502, "certificate_refused");
}

#[test]
fn a_certificate_that_proves_the_origin_is_accepted() {
    let ours = authority();
    let recorder = Recorder::tls(certified(&ours, &["localhost"], -1..30));
    let proxy = Setup::new()
        .set("upstream.deadlines.response_head=200ms")
        .start_before(&format!("https://localhost:{}", recorder.port), &ours.pem());
    proxy.call(Call::sms()).assert_problem(504, "response_timeout", "maybe");
}

#[test]
fn what_speaks_older_tls_or_none_is_refused() {
    /// RFC 4346, section 7.4.1.3: a `ServerHello` of TLS 1.1 with `TLS_RSA_WITH_AES_128_CBC_SHA`.
    const TLS_1_1: &[u8] = &[
        22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0x2f, 0,
    ];
    /// The alert `protocol_version`.
    const VERSION: &[u8] = &[21, 3, 1, 0, 2, 2, 70];
    for words in [
        TLS_1_1,
        VERSION,
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail ESMTP\r\n",
        &[0; 64],
    ] {
        let recorder = Recorder::saying(words);
        recorder.refuses(Setup::new(), "localhost", &authority().pem(), 502, "tls_failed");
    }
}

#[test]
fn what_closes_at_once_is_refused() {
    let recorder = Recorder::start(drop);
    recorder.refuses(Setup::new(), "localhost", &authority().pem(), 502, "tls_failed");
}

#[test]
fn what_says_nothing_has_a_deadline() {
    let recorder = Recorder::saying(b"");
    let setup = Setup::new().set("upstream.deadlines.tls_handshake=100ms");
    recorder.refuses(setup, "localhost", &authority().pem(), 504, "tls_timeout");
}

#[test]
fn a_private_address_that_is_not_listed_gets_no_connection() {
    let ours = authority();
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"] {
        let recorder = Recorder::tls(certified(&ours, &["localhost", "127.0.0.1"], -1..30));
        let setup = Setup::new().set("upstream.allow_private=10.0.0.0/8");
        recorder.refuses(setup, host, &ours.pem(), 502, "address_refused");
        assert!(recorder.received.lock().unwrap().is_empty());
    }
    let proxy = Setup::new()
        .set("upstream.allow_private=0.0.0.0/0,::/0")
        .start_before("https://169.254.169.254", &ours.pem());
    let answer = proxy.call(Call::sms());
    answer.assert_problem(502, "address_refused", "no");
    let proxy_status = answer.header("proxy-status");
    assert_eq!(proxy_status, Some("innopaas-proxy; error=destination_ip_prohibited"));
    let problem = answer.json();
    assert!(problem["detail"].as_str().unwrap().contains("169.254.169.254"), "{problem}");
    assert!(problem["remedy"].as_str().unwrap().contains("upstream.allow_private"), "{problem}");
}
