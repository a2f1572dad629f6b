//! What the caller is told when there is no answer: whose fault, what to do, and whether the
//! message may have been sent.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use innopaas_proxy::sandbox::{Act, Sandbox};

use crate::support::call::{connect, read_to_end};
use crate::support::canary;
use crate::support::raw_upstream::{answer, close, read_request};
use crate::support::{Call, PATIENCE, Proxy, RawUpstream, SMS, Setup, UPLOAD, eventually, raw};

#[test]
fn a_refused_connection_has_sent_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sandbox = Sandbox::start(innopaas_proxy::sandbox::Options::default()).unwrap();
    let proxy = Setup::new().start_before(&format!("https://127.0.0.1:{port}"), sandbox.ca_pem());
    let answer = proxy.call(Call::sms());
    answer.assert_problem(502, "connect_refused", "no");
    assert_eq!(answer.header("proxy-status"), Some("innopaas-proxy; error=connection_refused"));
    assert_eq!(proxy.metric(r#"innopaas_proxy_errors_total{code="connect_refused"}"#), 1);
    let recent = &proxy.admin("/status").json()["recent_errors"][0];
    assert_eq!(
        (recent["code"].as_str(), recent["count"].as_u64()),
        (Some("connect_refused"), Some(1))
    );
}

#[test]
fn an_unknown_authority_gets_no_byte_of_a_credential() {
    let (upstream, other) = (
        RawUpstream::start(|_, mut tls| {
            let mut bytes = Vec::new();
            assert!(tls.read_to_end(&mut bytes).is_err() || bytes.is_empty());
        }),
        RawUpstream::start(|_, _| {}),
    );
    let proxy = Setup::new().start_before(&upstream.origin(), other.ca_pem());
    let answer = proxy.call(Call::sms());
    answer.assert_problem(502, "certificate_refused", "no");
    assert!(answer.json()["detail"].as_str().unwrap().contains("certificate"), "{answer:?}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let sandbox = Sandbox::start(innopaas_proxy::sandbox::Options {
        address: "127.0.0.2:0".parse().unwrap(),
        ..Default::default()
    })
    .unwrap();
    let origin = format!("https://127.0.0.2:{}", sandbox.address().port());
    let proxy = Setup::new().start_before(&origin, sandbox.ca_pem());
    proxy.call(Call::sms()).assert_problem(502, "certificate_refused", "no");
    assert_eq!(sandbox.calls().total, 0);
}

#[test]
fn what_does_not_speak_tls_gets_no_byte_of_a_credential() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    let proxy = Setup::new().start_before(&origin, RawUpstream::start(|_, _| {}).ca_pem());
    proxy.call(Call::sms()).assert_problem(502, "tls_failed", "no");
    canary::assert_absent("what was sent in clear", &plain.join().unwrap());
}

#[test]
fn a_handshake_that_never_ends_has_a_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let trusted = RawUpstream::start(|_, _| {});
    let proxy = Setup::new()
        .set("upstream.deadlines.tls_handshake=100ms")
        .start_before(&origin, trusted.ca_pem());
    proxy.call(Call::sms()).assert_problem(504, "tls_timeout", "no");
}

#[test]
fn a_connection_that_is_never_accepted_has_a_deadline() {
    // The kernel completes as many connections as the queue holds, and is silent to the rest.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        queue.push(stream);
    }
    let trusted = RawUpstream::start(|_, _| {});
    let proxy = Setup::new()
        .set("upstream.deadlines.connect=100ms")
        .start_before(&format!("https://{address}"), trusted.ca_pem());
    proxy.call(Call::sms()).assert_problem(504, "connect_timeout", "no");
}

#[test]
fn a_reset_after_the_request_may_have_sent_it_and_is_not_repeated() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::Reset, None);
    let answer = proxy.call(Call::sms());
    answer.assert_problem(502, "upstream_closed", "maybe");
    assert!(answer.json()["remedy"].as_str().unwrap().contains("look there before"));
    assert_eq!(sandbox.calls().total, 1);
    assert_eq!(proxy.record()["sent"], "maybe");
}

#[test]
fn an_answer_that_does_not_begin_in_time_may_have_been_acted_on() {
    let (proxy, sandbox) = Setup::new().set("upstream.deadlines.response_head=150ms").start();
    sandbox.act(Act::SlowHead { ms: 60_000 }, Some(1));
    proxy.call(Call::sms()).assert_problem(504, "response_timeout", "maybe");
    assert_eq!(sandbox.calls().total, 1);
    assert_eq!(proxy.call(Call::sms()).status, 200);
}

#[test]
fn what_is_not_http_or_has_two_meanings_is_no_answer() {
    for junk in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    ] {
        let upstream = RawUpstream::start(move |_, mut tls| {
            read_request(&mut tls).unwrap();
            answer(&mut tls, junk);
        });
        let proxy = Setup::new().start_before_raw(&upstream);
        proxy.call(Call::sms()).assert_problem(502, "response_invalid", "maybe");
    }
}

#[test]
fn an_answer_whose_head_is_too_large_is_refused() {
    let upstream = RawUpstream::start(|_, mut tls| {
        read_request(&mut tls).unwrap();
        answer(&mut tls, &format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "a".repeat(17 * 1024)));
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    proxy.call(Call::sms()).assert_problem(502, "response_too_large", "maybe");
}

#[test]
fn a_connection_that_closed_while_unused_costs_nobody_a_call() {
    let (tell, closed) = mpsc::channel();
    let upstream = RawUpstream::start(move |_, mut tls| {
        read_request(&mut tls).unwrap();
        answer(&mut tls, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        close(tls);
        tell.send(()).unwrap();
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    for _ in 0..20 {
        assert_eq!(proxy.call(Call::sms()).status, 200);
        closed.recv().unwrap(); // whether the proxy has heard of it already or not
    }
    assert_eq!(upstream.connections(), 20);
}

#[test]
fn an_answer_that_is_cut_never_looks_complete() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::CutBody, None);
    let request =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    let text = raw(proxy.listen, request.as_bytes());
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(body.len() < length.parse().unwrap(), "{text}");
    eventually("the record", || proxy.records().iter().any(|record| record["outcome"] == "cut"));
}

#[test]
fn an_answer_that_stands_still_is_cut() {
    let upstream = RawUpstream::start(|_, mut tls| {
        read_request(&mut tls).unwrap();
        answer(&mut tls, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let _ = tls.read(&mut [0]); // until the proxy gives up
    });
    let proxy =
        Setup::new().set("upstream.deadlines.body_progress=100ms").start_before_raw(&upstream);
    let request =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    let text = raw(proxy.listen, request.as_bytes());
    assert!(text.contains("abc") && !text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn a_declared_body_that_is_too_large_is_refused_unread() {
    let (proxy, sandbox) = Setup::new().set("limits.json_body=1KiB").start();
    let answer = proxy.call(Call::post(SMS, "x".repeat(1025)));
    answer.assert_problem(413, "body_too_large", "no");
    // A caller that writes on regardless can still read why.
    let answer = proxy.call(Call::post(SMS, "x".repeat(1 << 20)));
    answer.assert_problem(413, "body_too_large", "no");
    assert_eq!(sandbox.calls().total, 0);
}

#[test]
fn a_body_in_chunks_that_grows_too_large_is_cut_and_may_have_been_sent() {
    let (proxy, sandbox) = Setup::new().set("limits.json_body=64KiB").start();
    let mut stream = connect(proxy.listen);
    let head =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..3 {
        stream.write_all(chunk.as_bytes()).unwrap();
    }
    let text = read_to_end(stream);
    assert!(text.starts_with("HTTP/1.1 413 ") && text.contains(r#""sent":"maybe""#), "{text}");
    eventually("the sandbox sees the cut", || sandbox.calls().cut == 1);
}

#[test]
fn a_caller_that_stops_sending_is_told_so_and_nothing_left() {
    let (proxy, sandbox) = Setup::new().set("limits.body_progress=100ms").start();
    let head = format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{");
    let text = raw(proxy.listen, head.as_bytes());
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains(r#""sent":"no""#), "{text}");
    assert_eq!(sandbox.calls().total, 0);
}

#[test]
fn a_caller_that_stops_in_the_middle_of_a_stream_may_have_sent_some_of_it() {
    let (proxy, sandbox) = Setup::new().set("limits.body_progress=100ms").start();
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    );
    let text = raw(proxy.listen, head.as_bytes());
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains(r#""sent":"maybe""#), "{text}");
    eventually("the sandbox sees the cut", || sandbox.calls().cut == 1);
}

#[test]
fn a_malformed_chunk_is_the_callers_fault() {
    let (proxy, _sandbox) = Proxy::start();
    let request = format!(
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\n{{}}\r\nnonsense\r\n"
    );
    let text = raw(proxy.listen, request.as_bytes());
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("body_broken"), "{text}");
}

#[test]
fn an_upstream_that_stops_taking_an_upload_has_a_deadline() {
    let upstream = RawUpstream::start(|_, mut tls| {
        tls.conn.complete_io(&mut tls.sock).unwrap();
        std::thread::park_timeout(PATIENCE);
    });
    let proxy =
        Setup::new().set("upstream.deadlines.body_progress=300ms").start_before_raw(&upstream);
    let mut stream = connect(proxy.listen);
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || while writer.write_all(&[b'x'; 8192]).is_ok() {});
    let text = read_to_end(stream);
    assert!(text.starts_with("HTTP/1.1 504 ") && text.contains("upload_stalled"), "{text}");
    writing.join().unwrap();
}

#[test]
fn an_answer_before_the_request_is_over_is_passed_back() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::EarlyAnswer, None);
    let mut stream = connect(proxy.listen);
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || while writer.write_all(&[b'x'; 8192]).is_ok() {});
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(read_to_end(stream));
    writing.join().unwrap();
}

#[test]
fn a_caller_that_goes_away_ends_its_call_upstream() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::SlowHead { ms: 60_000 }, None);
    let mut stream = connect(proxy.listen);
    let request =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).unwrap();
    eventually("the sandbox has the call", || sandbox.calls().total == 1);
    drop(stream);
    eventually("the record says so", || {
        let records = proxy.records();
        records.iter().any(|r| r["outcome"] == "client_gone" && r["sent"] == "maybe")
    });
    eventually("the upstream connection is closed", || {
        proxy.metric("innopaas_proxy_upstream_connections") == 0
    });
}

#[test]
fn a_cut_answer_that_ends_with_its_connection_does_not_look_complete() {
    let upstream = RawUpstream::start(|_, mut tls| {
        read_request(&mut tls).unwrap();
        answer(&mut tls, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
        close(tls);
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let mut stream = connect(proxy.listen);
    let request = format!("POST {SMS} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
