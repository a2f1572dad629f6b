//! Callers that are slow, odd, or mean harm. (What they may do is a chapter of its own; this is
//! the ground: what is refused is refused before anything is sent.)

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::call::{Connection, block_on, connect, read_to_end};
use crate::support::{Call, Proxy, SMS, Setup, eventually, raw};

#[test]
fn what_has_no_single_meaning_is_refused_and_nothing_is_sent() {
    let (proxy, sandbox) = Proxy::start();
    let with = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
    };
    let sms = format!("POST {SMS}");
    for (request, status, code) in [
        (with("CONNECT api.innopaas.com:443", "Host: localhost\r\n"), 405, "method_refused"),
        (with(&format!("TRACE {SMS}"), "Host: localhost\r\n"), 405, "method_refused"),
        (with("GET *", "Host: localhost\r\n"), 400, "target_refused"),
        (with("GET //evil.example/api", "Host: localhost\r\n"), 400, "target_refused"),
        (with("GET /api/ü", "Host: localhost\r\n"), 400, "target_refused"),
        (with("GET http://evil.example/api", "Host: localhost\r\n"), 421, "host_refused"),
        (with(&sms, "Host: evil.example\r\n"), 421, "host_refused"),
        (with(&sms, ""), 400, "host_invalid"),
        (with(&sms, "Host: localhost\r\nHost: localhost\r\n"), 400, "host_invalid"),
        (
            with(&sms, "Host: localhost\r\nTransfer-Encoding: ,chunked\r\n") + "0\r\n\r\n",
            400,
            "framing_ambiguous",
        ),
        (
            with(
                &sms,
                "Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            ) + "0\r\n\r\n",
            400,
            "framing_ambiguous",
        ),
        (
            with(&sms, "Host: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"),
            400,
            "upgrade_refused",
        ),
        (with(&sms, "Host: localhost\r\nExpect: 200-ok\r\n"), 417, "expectation_refused"),
    ] {
        let text = raw(proxy.listen, request.as_bytes());
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{text}");
        assert!(text.contains(&format!(r#""code":"{code}""#)), "{request}\n{text}");
        assert!(text.contains(r#""sent":"no""#), "{text}");
    }
    assert_eq!((sandbox.calls().total, sandbox.connections()), (0, 0));
}

#[test]
fn what_is_not_http_is_refused_bare_and_nothing_is_sent() {
    let (proxy, sandbox) = Proxy::start();
    let long =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n", "a".repeat(20_000));
    let many = format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(200));
    for (request, status) in [
        (format!("POST {SMS} HTTP/1.1\r\nHost : localhost\r\n\r\n"), "400"),
        (format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n"), "400"),
        (format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n"), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (long, "431"),
        (many, "431"),
    ] {
        let text = raw(proxy.listen, request.as_bytes());
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{text}");
    }
    assert_eq!(sandbox.calls().total, 0);
}

#[test]
fn an_http_2_preface_is_answered_in_http_2_and_closed() {
    let (proxy, sandbox) = Proxy::start();
    let text = raw(proxy.listen, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(text.starts_with("\0\0\0\x04\0\0\0\0\0"), "SETTINGS first: {text:?}");
    assert!(text.contains("speaks HTTP/1.1") && text.contains("\0\0\0\x0d"), "{text:?}");
    assert_eq!(sandbox.calls().total, 0);
}

#[test]
fn a_head_that_never_ends_has_a_deadline_and_an_unused_connection_has_not() {
    let (proxy, _sandbox) = Setup::new().set("limits.head_deadline=200ms").start();
    block_on(async {
        let mut unused = Connection::open(proxy.listen).await;
        assert_eq!(unused.call(Call::sms()).await.status, 200);
        let started = Instant::now();
        let mut slow = connect(proxy.listen);
        slow.write_all(b"POST /api/sms HTTP/1.1\r\nHost: loc").unwrap();
        assert_eq!(read_to_end(slow), "");
        assert!(started.elapsed() >= Duration::from_millis(200));
        assert_eq!(unused.call(Call::sms()).await.status, 200, "kept through all that");
    });
}

#[test]
fn an_unused_connection_is_closed_after_a_long_time() {
    let (proxy, _sandbox) =
        Setup::new().set("limits.idle=200ms").set("limits.head_deadline=100ms").start();
    let mut stream = connect(proxy.listen);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    eventually("it is counted out", || proxy.metric("innopaas_proxy_downstream_connections") == 0);
}

#[test]
fn a_caller_that_does_not_read_its_answer_has_a_deadline() {
    let (proxy, _sandbox) = Setup::new().set("limits.body_progress=200ms").start();
    let mut stream = connect(proxy.listen);
    stream
        .write_all(
            b"GET /api/whatsapp/v3/media/1?bytes=100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .unwrap();
    eventually("its connection is cut", || {
        proxy.records().iter().any(|record| record["outcome"] == "client_gone")
    });
    assert_eq!(proxy.metric("innopaas_proxy_upstream_connections"), 0);
}

#[test]
fn connections_over_the_limit_wait_and_the_admin_endpoints_do_not() {
    let (proxy, _sandbox) = Setup::new().set("limits.connections=2").start();
    let first = connect(proxy.listen);
    let _second = connect(proxy.listen);
    eventually("both are open", || proxy.metric("innopaas_proxy_downstream_connections") == 2);
    let address = proxy.listen;
    let third = std::thread::spawn(move || Call::sms().to(address).status);
    assert_eq!(proxy.admin("/readyz").status, 200);
    assert!(!third.is_finished());
    drop(first);
    assert_eq!(third.join().unwrap(), 200);
}

#[test]
fn a_caller_that_expects_continue_gets_it() {
    let (proxy, sandbox) = Proxy::start();
    let mut stream = connect(proxy.listen);
    let head = format!(
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    assert!(read_to_end(stream).starts_with("HTTP/1.1 200 OK"));
    assert!(!sandbox.calls().records[0].header_names.contains(&"expect".to_owned()));
}
