//! `health` and `wait`: what containers without a shell ask a running proxy with.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::proxy::{Process, Proxy, Setup, binary};
use crate::support::{Mount, canary, eventually};

fn asked(proxy: &Proxy, arguments: &[&str]) -> (Option<i32>, String, String) {
    let admin = proxy.admin.to_string();
    said(binary().args(arguments).args(["--admin", &admin]))
}

fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| {
        canary::assert_absent("what it says", &bytes);
        String::from_utf8(bytes).unwrap()
    };
    (status.code(), text(stdout), text(stderr))
}

fn waiting(admin: SocketAddr, arguments: &[&str]) -> Process {
    let mut command = binary();
    command.args(["wait", "--admin", &admin.to_string()]).args(arguments);
    Process::start(command)
}

/// Answers each connection with the next of these, then with the last one again.
fn impostor(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for turn in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answers[turn.min(answers.len() - 1)].as_bytes());
        }
    });
    address
}

#[test]
fn health_is_0_with_the_probes_words_or_1_with_the_reason() {
    let (proxy, _sandbox) = Setup::new().mount(Mount::empty()).start();
    let (code, out, err) = asked(&proxy, &["health"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "ok\nworkers: 1 of 1 answer\n", ""));
    assert_eq!(asked(&proxy, &["health", "startupz"]).0, Some(0));

    let (code, out, err) = asked(&proxy, &["health", "readyz"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for words in ["/readyz: 503 Service Unavailable", "credentials: none was loaded yet"] {
        assert!(err.contains(words), "{words}\n{err}");
    }
    proxy.mount.swap_in(&canary::pair());
    eventually("it is ready", || asked(&proxy, &["health", "readyz"]).0 == Some(0));
}

#[test]
fn health_finds_the_address_in_the_settings_also_if_it_is_every_one_of_the_pod() {
    let (proxy, _sandbox) = Setup::new().set("admin.address=0.0.0.0:0").start();
    let everywhere = format!("0.0.0.0:{}", proxy.admin.port());
    let (code, out, err) =
        said(binary().arg("health").env("INNOPAAS_PROXY_ADMIN__ADDRESS", &everywhere));
    assert_eq!(code, Some(0), "{out}{err}");

    let (code, _, err) =
        said(binary().args(["health", "--admin", "here"]).env("INNOPAAS_PROXY_LOG__LEVEL", "info"));
    assert_eq!(code, Some(64), "{err}");
    let (code, _, err) = said(binary().args(["health", "wellz"]));
    assert_eq!(code, Some(64), "{err}");
}

#[test]
fn health_and_wait_say_that_nobody_is_there_or_that_nothing_is_answered() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, _, err) = said(binary().args(["health", "--admin", &free]));
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("http://{free}/livez: Connection refused")), "{err}");

    let (code, _, err) = said(binary().args(["wait", "--admin", &free, "--timeout", "200ms"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("not ready after 200ms: ") && err.contains("refused"), "{err}");

    // One that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, _, err) = said(binary().args(["health", "--admin", &address]));
    assert_eq!(code, Some(1));
    assert!(err.contains("no answer within 2s"), "{err}");
}

#[test]
fn wait_becomes_the_command_once_calls_can_be_taken() {
    let (proxy, _sandbox) = Setup::new().mount(Mount::empty()).start();
    let script =
        "trap 'echo ended; exit 7' TERM; echo \"become $$ with $1\"; while :; do sleep 0.1; done";
    let mut waits = waiting(proxy.admin, &["--", "sh", "-c", script, "sh", "an argument"]);
    // It says why nothing happens, once.
    eventually("the reason", || waits.output().contains("none was loaded yet"));
    assert!(!waits.output().contains("become"), "{}", waits.output());

    proxy.mount.swap_in(&canary::pair());
    let itself = format!("become {} with an argument", waits.pid());
    eventually("the command runs", || waits.output().contains(&itself));
    assert_eq!(waits.output().matches("not ready yet").count(), 1, "{}", waits.output());
    waits.signal("TERM");
    assert_eq!(waits.wait(), 7, "{}", waits.output());
}

#[test]
fn wait_without_a_command_ends_with_0_and_one_that_cannot_be_executed_with_1() {
    let (proxy, _sandbox) = Proxy::start();
    assert_eq!(asked(&proxy, &["wait"]).0, Some(0));
    let mut waits = waiting(proxy.admin, &["--", "/no/such/program"]);
    assert_eq!(waits.wait(), 1);
    assert!(waits.output().contains("cannot execute /no/such/program"), "{}", waits.output());
}

/// A process that is the first of its container is not ended by a signal that it does not take; and
/// a Job that never ran must not look like one that is done.
#[test]
fn wait_that_is_told_to_end_has_failed() {
    for signal in ["TERM", "INT"] {
        let (proxy, _sandbox) = Setup::new().mount(Mount::empty()).start();
        let mut waits = waiting(proxy.admin, &["--", "true"]);
        eventually("it waits", || waits.output().contains("not ready yet"));
        waits.signal(signal);
        assert_eq!(waits.wait(), 1, "{}", waits.output());
        assert!(waits.output().contains("told to end"), "{}", waits.output());
    }
}

/// Also while the answer, which is yes, is on its way.
#[test]
fn wait_that_is_told_to_end_starts_no_command_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut waits = waiting(listener.local_addr().unwrap(), &["--", "echo", "started"]);
    let (mut asking, _) = listener.accept().unwrap();
    waits.signal("TERM");
    let _ = asking.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(waits.wait(), 1, "{}", waits.output());
    assert!(!waits.output().contains("started"), "{}", waits.output());
}

#[test]
fn wait_ends_at_its_timeout_also_while_nobody_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let mut waits = waiting(silent.local_addr().unwrap(), &["--timeout", "300ms"]);
    assert_eq!(waits.wait(), 1);
    assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[test]
fn wait_for_startupz_needs_no_pair() {
    let (proxy, _sandbox) = Setup::new().mount(Mount::empty()).start();
    assert_eq!(asked(&proxy, &["wait", "--for", "startupz"]).0, Some(0));
    assert_eq!(asked(&proxy, &["wait", "--timeout", "100ms"]).0, Some(1));
}

/// Whoever holds the port decides what comes, not what it does to a terminal or a log.
#[test]
fn what_is_answered_is_shown_as_text_and_in_moderation() {
    let answers = &[
        "HTTP/1.1 503 No\r\nContent-Length: 9\r\nConnection: close\r\n\r\n\u{1b}]0;you\u{7}\n",
        "HTTP/1.1 503 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\none",
        "HTTP/1.1 503 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntwo",
    ];
    let admin = impostor(answers).to_string();
    let (_, _, err) = said(binary().args(["health", "--admin", &admin]));
    assert!(err.contains("]0;you") && !err.contains('\u{1b}') && !err.contains('\u{7}'), "{err:?}");

    let (_, _, err) = said(binary().args(["wait", "--timeout", "1200ms", "--admin", &admin]));
    assert!(err.matches("not ready yet").count() <= 1, "{err}");

    let endless: &str = Box::leak(format!("HTTP/1.1 503 No\r\n\r\n{}", "x".repeat(1 << 20)).into());
    let admin = impostor(Box::leak(Box::new([endless]))).to_string();
    let (code, _, err) = said(binary().args(["health", "--admin", &admin]));
    assert!(code == Some(1) && err.len() < 66_000, "{code:?} {}", err.len());
    // However long it is, the status decides.
    let long: &str = Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1 << 20)).into());
    let admin = impostor(Box::leak(Box::new([long]))).to_string();
    assert_eq!(said(binary().args(["health", "--admin", &admin])).0, Some(0));
}

#[test]
fn the_exit_code_is_the_answer_also_where_nobody_reads_the_words() {
    let (proxy, _sandbox) = Setup::new().mount(Mount::empty()).start();
    let admin = proxy.admin.to_string();
    for (arguments, expected) in [(["health", "livez"], 0), (["health", "readyz"], 1)] {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = binary();
        command.args(arguments).args(["--admin", &admin]);
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(expected), "{arguments:?}");
    }
    let mut waits = binary();
    waits.args(["wait", "--timeout", "1500ms", "--admin", &admin]).stderr(Stdio::null());
    assert_eq!(waits.stdout(Stdio::null()).status().unwrap().code(), Some(1));
}
