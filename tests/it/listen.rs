//! Who may call: Unix sockets and their users, TLS and certificates, tokens, other addresses.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::proxy::binary;
use crate::support::{PATIENCE, Proxy, SMS, Setup, canary, eventually};

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
