//! Who may call: Unix sockets and their users, TLS and certificates, tokens, other addresses.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::support::call::connect;
use crate::support::proxy::binary;
use crate::support::raw_upstream::{answer, read_request};
use crate::support::{
    Call, Mount, PATIENCE, Proxy, RawUpstream, SMS, Setup, canary, eventually, raw,
};

/// A directory of its own, and a path in it.
fn place(name: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    (directory, path)
}

fn on(path: &Path) -> Setup {
    Setup::new().set(&format!("listen.address=unix:{}", path.display()))
}

fn sms(close: &str) -> String {
    format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\n{close}Content-Length: 2\r\n\r\n{{}}")
}

const CLOSE: &str = "Connection: close\r\n";

/// Calls through the socket; all that comes back.
fn call(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who is refused may find the socket closed already.
    let _ = stream.write_all(sms(CLOSE).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    canary::assert_absent("an answer through a socket", &answer);
    String::from_utf8(answer).unwrap()
}

fn is_served(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 OK")
}

/// A start that fails: exit code and what is said.
fn start(settings: &[&str]) -> (i32, String) {
    let mut command = binary();
    command.args(["run", "--admin", "127.0.0.1:0"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    outcome(&mut command)
}

fn outcome(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    canary::assert_absent("the problems", &stderr);
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn refusals(proxy: &Proxy, reason: &str) -> u64 {
    proxy.metric(&format!(r#"innopaas_proxy_connections_refused_total{{reason="{reason}"}}"#))
}

#[test]
fn a_call_through_a_unix_socket_is_served_and_the_file_goes_with_the_process() {
    let (directory, path) = place("p.sock");
    let (mut proxy, sandbox) = on(&path).set("listen.socket_mode=0600").start();
    assert_eq!(proxy.socket.as_deref(), Some(path.as_path()));
    let file = fs::symlink_metadata(&path).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(is_served(&call(&path)));
    assert_eq!(sandbox.calls().accepted, 1);
    assert_eq!(proxy.stop(), 0, "{}", proxy.output());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_kept_connection_on_a_unix_socket_takes_call_after_call() {
    let (_directory, path) = place("p.sock");
    let (_proxy, sandbox) = on(&path).start();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        stream.write_all(sms("").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
    }
    assert_eq!(sandbox.calls().accepted, 3);
}

#[test]
fn several_workers_share_a_unix_socket() {
    let (_directory, path) = place("p.sock");
    let (mut proxy, sandbox) = on(&path).set("limits.workers=2").start();
    let held: Vec<_> = (0..8).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for _ in 0..8 {
        assert!(is_served(&call(&path)));
    }
    drop(held);
    assert_eq!(sandbox.calls().accepted, 8);
    assert_eq!(proxy.stop(), 0, "{}", proxy.output());
}

#[test]
fn who_stands_in_a_unix_sockets_queue_when_the_door_closes_is_still_served() {
    const CALLERS: usize = 50;
    let (_directory, path) = place("p.sock");
    let (mut proxy, _sandbox) = on(&path).set("limits.workers=2").start();
    proxy.signal("STOP");
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(sms("").as_bytes()).unwrap();
            stream
        })
        .collect();
    proxy.signal("TERM");
    proxy.signal("CONT");
    for mut stream in callers {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(is_served(&answer), "{answer}");
    }
    assert_eq!(proxy.wait(), 0, "{}", proxy.output());
}

#[test]
fn a_socket_that_nobody_serves_is_replaced() {
    let (_directory, path) = place("p.sock");
    drop(UnixListener::bind(&path).unwrap());
    let before = fs::symlink_metadata(&path).unwrap().ino();
    let (proxy, _sandbox) = on(&path).start();
    assert!(is_served(&call(&path)));
    assert_ne!(fs::symlink_metadata(&path).unwrap().ino(), before);
    drop(proxy); // killed, so that it leaves its file behind
    let (_proxy, _sandbox) = on(&path).start();
    assert!(is_served(&call(&path)));
}

#[test]
fn a_socket_that_somebody_serves_is_left_to_them_with_a_remedy() {
    let (_directory, path) = place("p.sock");
    let _taken = UnixListener::bind(&path).unwrap();
    let (code, err) = start(&[&format!("listen.address=unix:{}", path.display())]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("is in use: another process serves that socket"), "{err}");
    assert!(err.contains("--set listen.address=unix:/PATH"), "{err}");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn what_is_not_a_socket_is_never_removed() {
    let (directory, path) = place("precious");
    fs::write(&path, "precious").unwrap();
    let (code, err) = start(&[&format!("listen.address=unix:{}", path.display())]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("is not a socket and is left as it is"), "{err}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_process_that_cannot_start_takes_its_socket_away_again() {
    let (directory, path) = place("p.sock");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = binary();
    command.args(["run", "--listen", &format!("unix:{}", path.display())]);
    command.args(["--admin", &taken.local_addr().unwrap().to_string()]);
    let (code, err) = outcome(&mut command);
    assert_eq!(code, 1, "{err}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn only_the_users_that_are_named_are_served() {
    let own = fs::metadata("/proc/self").unwrap().uid();
    let (_directory, path) = place("p.sock");
    let stranger = own + 12_345;
    let (proxy, sandbox) = on(&path).set(&format!("listen.allowed_uids={stranger}")).start();
    assert_eq!(call(&path), "", "not a byte");
    eventually("it is counted", || refusals(&proxy, "uid") == 1);
    assert_eq!((sandbox.calls().total, proxy.records().len()), (0, 0));

    let (_directory, path) = place("p.sock");
    let (proxy, _sandbox) = on(&path).set(&format!("listen.allowed_uids={stranger},{own}")).start();
    assert!(is_served(&call(&path)));
    assert_eq!(refusals(&proxy, "uid"), 0);
}

/// An authority, and what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// The files of a listener that speaks TLS.
struct TlsFiles(TempDir);

impl TlsFiles {
    fn new(identity: &Identity) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(identity);
        files
    }

    fn write(&self, identity: &Identity) {
        fs::write(self.path("tls.crt"), &identity.certificate).unwrap();
        fs::write(self.path("tls.key"), &identity.key).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self) -> [String; 2] {
        let set =
            |setting: &str, name| format!("listen.tls.{setting}={}", self.path(name).display());
        [set("certificate_file", "tls.crt"), set("key_file", "tls.key")]
    }

    fn client_ca(&self) -> String {
        format!("listen.tls.client_ca_file={}", self.path("ca.crt").display())
    }

    fn setup(&self) -> Setup {
        let [certificate, key] = self.settings();
        Setup::new().set("credentials.poll=20ms").set(&certificate).set(&key)
    }
}

/// Who a caller trusts and what it shows.
fn client(trusted: &Authority, shown: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Arc::new(config)
}

/// Calls over TLS; what comes back, empty if the handshake or the call fails.
fn call_tls(address: SocketAddr, name: &'static str, config: &Arc<ClientConfig>) -> String {
    let name = ServerName::try_from(name).unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut tls = StreamOwned::new(connection, connect(address));
    let mut answer = Vec::new();
    let _ = tls.write_all(sms(CLOSE).as_bytes());
    let _ = tls.read_to_end(&mut answer);
    canary::assert_absent("an answer over TLS", &answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_caller_is_met_with_tls_and_plain_http_is_refused() {
    let authority = Authority::new();
    let files = TlsFiles::new(&authority.sign("one.example"));
    let (proxy, sandbox) = files.setup().set("limits.workers=2").start();
    let config = client(&authority, None);
    for _ in 0..3 {
        assert!(is_served(&call_tls(proxy.listen, "one.example", &config)));
    }
    assert_eq!(call_tls(proxy.listen, "one.example", &client(&Authority::new(), None)), "");
    let plain = raw(proxy.listen, sms(CLOSE).as_bytes());
    assert!(!plain.contains("HTTP/1.1"), "{plain}");
    eventually("both are counted", || refusals(&proxy, "tls") == 2);
    assert_eq!(sandbox.calls().total, 3);
}

#[test]
fn a_handshake_that_never_ends_has_a_deadline_and_keeps_nobody_out() {
    let authority = Authority::new();
    let files = TlsFiles::new(&authority.sign("one.example"));
    let (proxy, _sandbox) = files.setup().set("limits.head_deadline=200ms").start();
    // A record that promises more than comes, and nothing at all.
    for begun in [&b"\x16\x03\x01\x02\x00\x01"[..], b""] {
        assert_eq!(raw(proxy.listen, begun), ""); // ends, because the proxy closes
    }
    eventually("both are counted", || refusals(&proxy, "tls") == 2);

    let (proxy, _sandbox) =
        files.setup().set("limits.head_deadline=1h").set("limits.connections=4").start();
    let _flood: Vec<_> = (0..10).map(|_| connect(proxy.listen)).collect();
    let config = client(&authority, None);
    assert!(is_served(&call_tls(proxy.listen, "one.example", &config)));
}

#[test]
fn where_an_authority_is_named_only_its_certificates_are_served() {
    let (servers, callers) = (Authority::new(), Authority::new());
    let files = TlsFiles::new(&servers.sign("one.example"));
    fs::write(files.path("ca.crt"), &callers.pem).unwrap();
    let (proxy, sandbox) = files.setup().set(&files.client_ca()).start();
    let shown = callers.sign("shop");
    let good = client(&servers, Some(&shown));
    for _ in 0..2 {
        assert!(is_served(&call_tls(proxy.listen, "one.example", &good)));
    }
    assert_eq!(call_tls(proxy.listen, "one.example", &client(&servers, None)), "");
    let stranger = client(&servers, Some(&Authority::new().sign("shop")));
    assert_eq!(call_tls(proxy.listen, "one.example", &stranger), "");
    eventually("both are counted", || refusals(&proxy, "tls") == 2);
    assert_eq!(sandbox.calls().total, 2);

    // A session of the old authority's time, if there were one, would be in `good`.
    let successors = Authority::new();
    fs::write(files.path("ca.crt"), &successors.pem).unwrap();
    proxy.signal("HUP");
    let new = client(&servers, Some(&successors.sign("shop")));
    eventually("the new authority is in use", || {
        is_served(&call_tls(proxy.listen, "one.example", &new))
    });
    assert_eq!(call_tls(proxy.listen, "one.example", &good), "");
}

#[test]
fn a_new_certificate_is_shown_once_its_files_are_there_and_a_broken_one_never() {
    let authority = Authority::new();
    let files = TlsFiles::new(&authority.sign("one.example"));
    let (proxy, _sandbox) = files.setup().start();
    let config = client(&authority, None);
    let shows = |name| is_served(&call_tls(proxy.listen, name, &config));
    assert!(shows("one.example") && !shows("two.example"));
    files.write(&authority.sign("two.example"));
    eventually("the new one is shown", || shows("two.example"));

    let warnings = || {
        let warned = |line: &serde_json::Value| {
            line["message"] == "the last good files for callers stay in use"
        };
        proxy.log().into_iter().filter(warned).collect::<Vec<_>>()
    };
    fs::write(files.path("tls.key"), "-----BEGIN PRIVATE KEY-----\nbm90IGE=\n").unwrap();
    eventually("it is said", || !warnings().is_empty());
    assert!(shows("two.example"));
    let said = warnings()[0]["problem"].as_str().unwrap().to_owned();
    assert!(said.contains("listen.tls.key_file") && said.contains("tls.key"), "{said}");
    assert!(!proxy.output().contains("bm90IGE"), "{said}");
    // A certificate without its key is as good as broken; what follows heals.
    fs::write(files.path("tls.key"), authority.sign("three.example").key).unwrap();
    eventually("it is said", || warnings().len() == 2);
    assert!(shows("two.example"));
    files.write(&authority.sign("four.example"));
    eventually("the good one is shown", || shows("four.example"));
    assert_eq!(warnings().len(), 2, "once for each problem");
}

#[test]
fn files_of_no_use_are_problems_of_the_configuration_at_start_and_in_check() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let identity = authority.sign("one.example");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (file("crt", &identity.certificate), file("key", &identity.key));
    let other = file("other", &authority.sign("one.example").key);
    let (junk, empty) = (file("junk", canary::CALLER_TOKEN), file("empty", ""));
    let cut = file("cut", &format!("-----BEGIN {}\n", canary::CALLER_TOKEN));
    let lines = file("lines", &format!("{}\nBearer {0}\n", canary::CALLER_TOKEN));
    let tls = |certificate: &str, key: &str, ca: Option<&str>| {
        let mut settings = vec![
            format!("listen.tls.certificate_file={certificate}"),
            format!("listen.tls.key_file={key}"),
        ];
        settings.extend(ca.map(|ca| format!("listen.tls.client_ca_file={ca}")));
        settings
    };
    let tokens = |path: &str| vec![format!("listen.caller_token_file={path}")];
    for (settings, words) in [
        (tls("/nowhere.crt", &key, None), "certificate_file: /nowhere.crt: there is no such file"),
        (tls(&junk, &key, None), "holds no certificate that can be used"),
        (tls(&cut, &key, None), "holds no certificate that can be used"),
        (tls(&certificate, &junk, None), "listen.tls.key_file"),
        (tls(&certificate, &other, None), "is not the key of the certificate"),
        (tls(&certificate, &key, Some(&empty)), "listen.tls.client_ca_file"),
        (tls(&certificate, "/dev/null", None), "is not a regular file"),
        (tokens("/nowhere"), "listen.caller_token_file: /nowhere: there is no such file"),
        (tokens(&empty), "it is empty; write one token a line"),
        (tokens(&lines), "line 2: it begins with an authentication scheme"),
    ] {
        for command in ["run", "check"] {
            let mut child = binary();
            child.arg(command);
            for setting in &settings {
                child.args(["--set", setting]);
            }
            let (code, err) = outcome(&mut child);
            assert_eq!(code, 64, "{err}");
            assert!(err.contains(words), "{words}\n{err}");
        }
    }
}

/// A proxy that asks for one of these tokens.
fn with_tokens(content: &str) -> (TempDir, PathBuf, Setup) {
    let (directory, path) = place("tokens");
    fs::write(&path, content).unwrap();
    let setting = format!("listen.caller_token_file={}", path.display());
    (directory, path, Setup::new().set("credentials.poll=20ms").set(&setting))
}

const SHOWN: &str = "Innopaas-Proxy-Token";

fn shown(token: &str) -> Call {
    Call::sms().header(SHOWN, token)
}

#[test]
fn only_who_shows_a_token_once_is_served_and_learns_nothing_else() {
    let (_directory, _, setup) =
        with_tokens(&format!("{}\nsecond-token-of-enough-bytes\n", canary::CALLER_TOKEN));
    let (proxy, sandbox) = setup.start();
    let good = canary::CALLER_TOKEN;
    for refused in [
        Call::sms(),
        shown("wrong"),
        shown(""),
        shown(&good[1..]),
        shown(&format!("Bearer {good}")),
        shown(good).header(SHOWN, good),
        shown(good).header("innopaas-proxy-token", "wrong"),
        Call::sms().header("innopaas_proxy_token", good),
        // A stranger does not learn what else would be wrong.
        Call::new("TRACE", "/"),
        Call::sms().header("host", "evil.example"),
    ] {
        let answer = proxy.call(refused);
        answer.assert_problem(403, "caller_refused", "no");
        assert!(answer.json()["remedy"].as_str().unwrap().contains(SHOWN), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "a stranger keeps no place");
    }
    assert_eq!(sandbox.calls().total, 0);
    for served in [
        shown(good),
        shown("second-token-of-enough-bytes"),
        Call::sms().header("INNOPAAS-PROXY-TOKEN", good),
    ] {
        assert_eq!(proxy.call(served).status, 200);
    }
    assert_eq!(sandbox.calls().accepted, 3);
}

#[test]
fn without_a_pair_a_stranger_is_told_no_more_than_otherwise() {
    let (_directory, _, setup) = with_tokens(canary::CALLER_TOKEN);
    let (proxy, _sandbox) = setup.mount(Mount::empty()).start();
    proxy.call(Call::sms()).assert_problem(403, "caller_refused", "no");
    proxy.call(shown(canary::CALLER_TOKEN)).assert_problem(503, "credentials_missing", "no");
}

#[test]
fn tokens_are_replaced_without_a_gap_and_a_broken_file_changes_nothing() {
    let (_directory, path, setup) = with_tokens("old-of-enough-bytes");
    let (proxy, _sandbox) = setup.start();
    let serves = |token: &str| proxy.call(shown(token)).status == 200;
    assert!(serves("old-of-enough-bytes") && !serves("new-of-enough-bytes"));
    fs::write(&path, "old-of-enough-bytes\nnew-of-enough-bytes\n").unwrap();
    eventually("both are good", || serves("new-of-enough-bytes"));
    assert!(serves("old-of-enough-bytes"));
    fs::write(&path, "new-of-enough-bytes\n").unwrap();
    eventually("the old one is not", || !serves("old-of-enough-bytes"));
    fs::write(&path, "").unwrap();
    eventually("it is said", || proxy.output().contains("it is empty; write one token"));
    assert!(serves("new-of-enough-bytes"));
    fs::write(&path, "newer-of-enough-bytes\n").unwrap();
    proxy.signal("HUP");
    eventually("the newer one is good", || serves("newer-of-enough-bytes"));
}

#[test]
fn the_token_does_not_go_on_to_the_upstream() {
    let upstream = RawUpstream::start(|_, mut tls| {
        while let Some(request) = read_request(&mut tls) {
            let leaked = request.to_ascii_lowercase().replace('_', "-").contains("proxy-token")
                || request.contains(canary::CALLER_TOKEN);
            let status = if leaked { 500 } else { 200 };
            answer(&mut tls, &format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let (_directory, _, setup) = with_tokens(canary::CALLER_TOKEN);
    let proxy = setup.start_before_raw(&upstream);
    let call = shown(canary::CALLER_TOKEN).header("innopaas_proxy_token", canary::CALLER_TOKEN);
    assert_eq!(proxy.call(call).status, 200);
    // Where no token is asked for, one that comes all the same does not leave either.
    let proxy = Setup::new().start_before_raw(&upstream);
    assert_eq!(proxy.call(shown(canary::CALLER_TOKEN)).status, 200);
}

#[test]
fn another_address_than_a_loopback_one_needs_two_words() {
    let (_directory, path, setup) = with_tokens(canary::CALLER_TOKEN);
    let setup = setup.set("listen.address=0.0.0.0:0").set("listen.exposed=true");
    let (proxy, _sandbox) = setup.start();
    let address = SocketAddr::from(([127, 0, 0, 1], proxy.listen.port()));
    assert_eq!(shown(canary::CALLER_TOKEN).to(address).status, 200);
    Call::sms().to(address).assert_problem(403, "caller_refused", "no");

    let token = format!("listen.caller_token_file={}", path.display());
    let address = "listen.address=0.0.0.0:0";
    for settings in [&[address][..], &[address, "listen.exposed=true"], &[address, &token]] {
        let (code, err) = start(settings);
        assert_eq!(code, 64, "{err}");
        assert!(err.contains("whoever reaches the proxy can spend money"), "{err}");
    }
}
