//! An upstream, or what has taken its place, that answers with malice. Whatever it sends, a caller
//! reads well-formed HTTP that is whole, or visibly cut; and the next call gets its own answer.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::call::connect;
use crate::support::raw_upstream::{Tls, answer, close, read_request};
use crate::support::strict_answer::{StrictAnswer, strict_answer};
use crate::support::{Call, Proxy, RawUpstream, SMS, Setup, UPLOAD, canary, eventually};

/// What the caller must see.
#[derive(Debug, Clone)]
enum Wanted {
    /// Our problem with this code.
    Problem(&'static str),
    /// The upstream's answer with this status and body.
    Whole(u16, &'static str),
    /// An answer that begins and is visibly not whole.
    Cut,
    /// Any of them: the bytes are wrong, or right, by taste.
    WellFormed,
}

/// How the upstream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Says goodbye in TLS's way.
    Close,
    /// Closes TCP alone, which anybody on the path can do.
    Break,
    /// Waits for another call.
    Wait,
}

struct Case {
    class: &'static str,
    bytes: Vec<u8>,
    then: Then,
    wanted: Wanted,
}

use Then::{Break, Close, Wait};
use Wanted::{Cut, Problem, WellFormed, Whole};

const INVALID: Wanted = Problem("response_invalid");
const TOO_LARGE: Wanted = Problem("response_too_large");
const CLOSED: Wanted = Problem("upstream_closed");

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |class, then, wanted: &Wanted, bytes: &str| {
        let bytes = bytes.as_bytes().to_vec();
        cases.push(Case { class, bytes, then, wanted: wanted.clone() });
    };

    for line in [
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 -200 OK",
        "HTTP/1.1 2OO OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1200 OK",
        "http/1.1 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "HTTP/0.9 200 OK",
        "HTTP/11 200 OK",
        "HTTP/1.1 099 Low",
        "HTTP/1.1 000 Zero",
        "HTTP/1.1 600 High",
        "HTTP/1.1 999 Highest",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\u{7f}K",
        "ICY 200 OK",
        "200 OK",
        "SSH-2.0-OpenSSH_9.2",
        "\0\0\0\0",
        "<html>hello</html>",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d",
    ] {
        add("status line", Close, &INVALID, &format!("{line}\r\nContent-Length: 2\r\n\r\n{{}}"));
    }
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200 你好", "HTTP/1.0 200 OK"] {
        let bytes = format!("{line}\r\nContent-Length: 2\r\n\r\n{{}}");
        add("status line", Wait, &Whole(200, "{}"), &bytes);
    }
    add("nothing", Close, &CLOSED, "");
    add("nothing", Break, &CLOSED, "");
    add("nothing", Break, &CLOSED, "HTTP/1.1 200 OK\r\nContent-Le");

    for header in [
        "X-A: \0",
        "X-A: a\0b",
        "X-A: a\rb",
        "X-A: \r\r",
        "X-A: a\u{7f}b",
        "X-A: a\u{1}b",
        "X-A: a\r\n folded",
        "X-A: a\r\n\tfolded: b",
        "X-A : a",
        "X-A\t: a",
        "Content-Length : 7",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\u{b}: chunked",
        ": nameless",
        "no colon",
        "X\u{1}: a",
        "X(A): a",
        "X A: a",
        "你: a",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{header}\r\nContent-Length: 2\r\n\r\n{{}}");
        add("header", Close, &INVALID, &bytes);
    }
    for bytes in [
        "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        "HTTP/1.1 200 OK\r\nX-A: a\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\n folded: at once\r\nContent-Length: 2\r\n\r\n{}",
        "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nX-A: 你\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        add("header", Close, &WellFormed, bytes);
    }
    for (then, bytes) in [
        (Wait, "HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Empty: \t\r\ncontent-LENGTH:2\r\n\r\n{}"),
        (Close, "HTTP/1.0 200 OK\r\n\r\n{}"),
        (Close, "HTTP/1.1 200 OK\r\n\r\n{}"),
        (Close, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}"),
        (Wait, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"),
    ] {
        add("header", then, &Whole(200, "{}"), bytes);
    }

    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let many = |line: &str, times| line.repeat(times);
    add("1xx", Wait, &Whole(200, "{}"), &(many("HTTP/1.1 100 Continue\r\n\r\n", 10_000) + ok));
    add(
        "1xx",
        Wait,
        &Whole(200, "{}"),
        &(many("HTTP/1.1 102 P\r\n\r\nHTTP/1.1 199 P\r\n\r\n", 3) + ok),
    );
    let hints =
        |count| format!("HTTP/1.1 103 Early Hints\r\n{}\r\n", many("Link: </a>\r\n", count));
    add("1xx", Wait, &Whole(200, "{}"), &(hints(90) + ok));
    add("1xx", Close, &TOO_LARGE, &(hints(10_000) + ok));
    add("1xx", Close, &TOO_LARGE, &(many("HTTP/1.1 100 Continue\r\n\r\n", 1_000_000) + ok));
    add("1xx", Close, &TOO_LARGE, &(many(&hints(50), 10_000) + ok));
    add("1xx", Close, &INVALID, &format!("HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\nabc{ok}"));
    add("1xx", Close, &CLOSED, "HTTP/1.1 100 Continue\r\n\r\n");
    for bytes in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        add("1xx", Close, &INVALID, bytes);
    }

    for length in ["-1", "+5", "0x5", "5 5", "5,5", "5, 5", "5, 6", "five", "", "5.0", "5;", "٥"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        add("length", Close, &INVALID, &bytes);
    }
    for length in ["99999999999999999999", "18446744073709551616"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        add("length", Close, &INVALID, &bytes);
    }
    for length in ["18446744073709551615", "18446744073709551614", "9223372036854775808"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        add("length", Close, &WellFormed, &bytes);
    }
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 15\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        add("length", Close, &INVALID, bytes);
    }
    for then in [Close, Break] {
        add("length", then, &Cut, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    }
    add("length", Break, &Cut, "HTTP/1.1 200 OK\r\n\r\nhello");
    add("length", Break, &Cut, "HTTP/1.0 200 OK\r\n\r\nhello");
    add(
        "length",
        Wait,
        &Whole(200, "hello"),
        "HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\nhello",
    );

    for coding in [
        ",chunked",
        "chunked,",
        "chunked, identity",
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "identity",
        "chunked;q=1",
        "chunked\r\nTransfer-Encoding: chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "",
        "\"chunked\"",
        "chun ked",
    ] {
        let bytes = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        add("coding", Close, &INVALID, &bytes);
    }
    add(
        "coding",
        Close,
        &WellFormed,
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nhello",
        "7FFFFFFFFFFFFFFF\r\nhello",
        "5\r\nhello0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-A\0: b",
        "5\r\nhel",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0",
        "5",
        "",
    ] {
        for then in [Close, Break] {
            add("chunks", then, &Cut, &format!("{chunked}{body}"));
        }
    }
    for body in ["5;ext=1;\"q\"\r\nhello\r\n0;last\r\n\r\n", "0005\r\nhello\r\n00\r\n\r\n"] {
        add("chunks", Wait, &Whole(200, "hello"), &format!("{chunked}{body}"));
    }
    let trailers = "5\r\nhello\r\n0\r\nContent-Length: 9\r\nProxy-Status: forged\r\n\r\n";
    add("chunks", Wait, &Whole(200, "hello"), &format!("{chunked}{trailers}"));
    for body in [
        "5 ;ext\r\nhello\r\n0\r\n\r\n".to_owned(),
        " 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("5;{}\r\nhello\r\n0\r\n\r\n", many("x", 100_000)),
        format!("5\r\nhello\r\n0\r\n{}\r\n", many("X-Late: 1\r\n", 10_000)),
        format!("5\r\nhello\r\n0\r\nX-Late: {}\r\n\r\n", many("x", 1 << 20)),
        many("1\r\nx\r\n", 50_000) + "0\r\n\r\n",
    ] {
        add("chunks", Close, &WellFormed, &format!("{chunked}{body}"));
    }

    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nFORGED";
    for whole in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        for surplus in ["x", "\r\n", forged, "HTTP/1.1 100 Continue\r\n\r\n"] {
            add("surplus", Wait, &Whole(200, "hello"), &format!("{whole}{surplus}"));
        }
    }
    for status in [204, 304] {
        let bytes = format!("HTTP/1.1 {status} Odd\r\nContent-Length: 5\r\n\r\nhello");
        add("surplus", Wait, &Whole(status, ""), &bytes);
        let bytes = format!("HTTP/1.1 {status} Odd\r\n\r\n{forged}");
        add("surplus", Wait, &Whole(status, ""), &bytes);
    }
    let bytes = format!(
        "HTTP/1.1 204 Odd\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{forged}"
    );
    add("surplus", Wait, &WellFormed, &bytes);

    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\n{{}}");
    add("size", Close, &TOO_LARGE, &head(&format!("X-A: {}\r\n", many("a", 1 << 20))));
    add("size", Close, &TOO_LARGE, &head(&format!("{}: a\r\n", many("a", 1 << 20))));
    add("size", Close, &TOO_LARGE, &head(&many("X-A: a\r\n", 10_000)));
    add("size", Close, &TOO_LARGE, &head(&many("X-A: a\r\n", 101)));
    add("size", Close, &TOO_LARGE, &format!("HTTP/1.1 200 {}", many("O", 1 << 20)));
    add("size", Close, &INVALID, &many("\r\n", 1 << 20));

    add(
        "hop",
        Wait,
        &Whole(200, "{}"),
        &head(
            "Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nConnection: x-other\r\n\
         X-Other: 1\r\nProxy-Status: innopaas-proxy; error=forged\r\nX-Request-Id: forged\r\n\
         X-Request-Id: again\r\nTrailer: X-Late\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n\
         TE: trailers\r\nProxy-Connection: close\r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n",
        ),
    );
    add("hop", Wait, &Whole(200, "{}"), &head("Connection: content-length, set-cookie\r\n"));
    add(
        "hop",
        Wait,
        &WellFormed,
        &format!(
            "HTTP/1.1 200 OK\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "5\r\nhello\r\n0\r\n\r\n"
        ),
    );
    cases
}

/// What came until the end, and whether the end was a reset.
fn exchange(proxy: SocketAddr, request: &str) -> (Vec<u8>, bool) {
    let mut stream = connect(proxy);
    stream.write_all(request.as_bytes()).unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 8192]);
    let reset = loop {
        match stream.read(&mut piece) {
            Ok(0) => break false,
            Ok(bytes) => all.extend_from_slice(&piece[..bytes]),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                break true;
            }
        }
    };
    canary::assert_absent("an answer", &all);
    (all, reset)
}

/// A whole answer to this request; `None` if it is visibly cut.
fn ask(proxy: SocketAddr, method: &str, path: &str, version: &str) -> Option<StrictAnswer> {
    let request = format!(
        "{method} {path} HTTP/{version}\r\nHost: localhost\r\nX-Request-Id: mine\r\n\
         Connection: close\r\n\r\n"
    );
    let (raw, reset) = exchange(proxy, &request);
    let answer = strict_answer(&raw, method == "HEAD")?;
    // Where the end of the connection is the end of the answer, a reset says that it is not.
    let by_end = answer.all("content-length").is_empty()
        && answer.all("transfer-encoding").is_empty()
        && !matches!(answer.status, 204 | 304);
    (!(by_end && reset)).then_some(answer)
}

fn code(answer: &StrictAnswer) -> Option<String> {
    let problem = answer.all("content-type") == ["application/problem+json"];
    problem.then(|| {
        assert_eq!(answer.all("proxy-status").len(), 1);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        body["code"].as_str().unwrap().to_owned()
    })
}

/// What every answer must be, and this one in particular.
fn judge(case: &Case, seen: Option<StrictAnswer>) -> Result<(), String> {
    let shown = format!("{seen:?}");
    if let Some(answer) = &seen {
        assert_eq!(answer.all("x-request-id"), ["mine"], "{shown}");
        for name in ["x-hop", "x-other", "keep-alive", "trailer", "upgrade", "x-late", "te"] {
            assert!(answer.all(name).is_empty(), "{name} in {shown}");
        }
        assert!(!shown.contains("forged") && !shown.contains("FORGED"), "{shown}");
    }
    let code = seen.as_ref().and_then(code);
    let proxy_status = seen.as_ref().map_or(0, |answer| answer.all("proxy-status").len());
    let right = match (&case.wanted, seen) {
        (Problem(wanted), Some(_)) => code.as_deref() == Some(*wanted),
        (Whole(status, body), Some(answer)) => {
            proxy_status == 0 && (answer.status, &answer.body[..]) == (*status, body.as_bytes())
        }
        (Cut, Some(_)) => code.as_deref() == Some("upstream_closed"),
        (Cut, None) | (WellFormed, _) => true,
        (Problem(_) | Whole(..), None) => false,
    };
    if right { Ok(()) } else { Err(shown.chars().take(400).collect()) }
}

/// The last segment of the path that was asked for.
fn asked(request: &str) -> &str {
    request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap()
}

fn own_answer(tls: &mut Tls, id: &str) {
    answer(tls, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len()));
}

#[test]
fn whatever_the_upstream_sends_the_caller_reads_well_formed_http_and_the_next_call_its_own() {
    let all = Arc::new(cases());
    assert!(all.len() >= 60);
    let served = Arc::clone(&all);
    let upstream = RawUpstream::start(move |_, mut tls| {
        while let Some(request) = read_request(&mut tls) {
            let id = asked(&request);
            let Some(case) = id.strip_prefix("case-") else {
                own_answer(&mut tls, id);
                continue;
            };
            let case = &served[case.parse::<usize>().unwrap()];
            let _ = tls.write_all(&case.bytes).and_then(|()| tls.flush());
            match case.then {
                Wait => {}
                Close => return close(tls),
                Break => return,
            }
        }
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let mut wrong = Vec::new();
    for (number, case) in all.iter().enumerate() {
        for version in ["1.1", "1.0"] {
            let seen = ask(proxy.listen, "GET", &format!("/api/case-{number}"), version);
            if let Err(seen) = judge(case, seen) {
                let bytes = String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(120)]);
                wrong.push(format!(
                    "{} {bytes:?} {:?} HTTP/{version}\n  wanted {:?}\n  seen {seen}",
                    case.class, case.then, case.wanted
                ));
            }
            if case.then != Wait {
                // Else the next call could leave just before the end of the connection is heard of.
                eventually("the connection is gone", || {
                    proxy.metric("innopaas_proxy_upstream_connections") == 0
                });
            }
            let next = ask(proxy.listen, "GET", &format!("/api/next-{number}"), version).unwrap();
            let body = String::from_utf8_lossy(&next.body);
            assert_eq!(body, format!("next-{number}"), "after {}", case.class);
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_answer_to_head_with_a_body_keeps_it_from_the_next_call() {
    let upstream = RawUpstream::start(|_, mut tls| {
        while let Some(request) = read_request(&mut tls) {
            if request.starts_with("HEAD") {
                answer(&mut tls, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nFORGED");
            } else {
                own_answer(&mut tls, asked(&request));
            }
        }
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    for version in ["1.1", "1.0"] {
        let head = ask(proxy.listen, "HEAD", "/api/head", version).unwrap();
        assert_eq!(
            (head.status, head.all("content-length"), &head.body[..]),
            (200, vec!["6"], &b""[..])
        );
        assert_eq!(ask(proxy.listen, "GET", "/api/next", version).unwrap().body, b"next");
    }
}

/// Bytes behind an answer that are here when the next call is made are never taken for its answer.
/// (What comes after that call has left cannot be told from an answer to it.)
#[test]
fn a_forged_second_answer_is_never_given_to_another_call() {
    const FORGED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nFORGED";
    let (said, hear) = mpsc::channel();
    let upstream = RawUpstream::start(move |_, mut tls| {
        while let Some(request) = read_request(&mut tls) {
            let id = asked(&request);
            let own = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len());
            match id.split('-').next().unwrap() {
                "record" => answer(&mut tls, &(own + FORGED)),
                "records" => {
                    // Two records, and one system call that writes them.
                    tls.conn.writer().write_all(own.as_bytes()).unwrap();
                    tls.conn.writer().write_all(FORGED.as_bytes()).unwrap();
                    let _ = tls.flush();
                }
                _ => {
                    answer(&mut tls, &own);
                    answer(&mut tls, FORGED);
                    let _ = said.send(());
                }
            }
        }
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let listen = proxy.listen;
    let callers = (0..4).map(|caller| {
        thread::spawn(move || {
            for round in 0..50 {
                for form in ["record", "records"] {
                    let id = format!("{form}-{caller}-{round}");
                    let seen = Call::get(&format!("/api/{id}")).to(listen);
                    assert_eq!((seen.status.as_u16(), seen.text()), (200, id));
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.join().unwrap();
    }
    for round in 0..50 {
        let id = format!("later-{round}");
        assert_eq!(proxy.call(Call::get(&format!("/api/{id}"))).text(), id);
        hear.recv().unwrap();
    }
}

#[test]
fn a_head_that_drips_without_end_has_a_deadline_and_holds_up_nobody_else() {
    for drip in ["a", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let upstream = RawUpstream::start(move |_, mut tls| {
            while let Some(request) = read_request(&mut tls) {
                if asked(&request) != "drip" {
                    own_answer(&mut tls, asked(&request));
                    continue;
                }
                if drip == "a" {
                    answer(&mut tls, "HTTP/1.1 200 ");
                }
                while tls.write_all(drip.as_bytes()).and_then(|()| tls.flush()).is_ok() {
                    thread::park_timeout(Duration::from_millis(5));
                }
                return;
            }
        });
        let proxy =
            Setup::new().set("upstream.deadlines.response_head=300ms").start_before_raw(&upstream);
        let listen = proxy.listen;
        let dripping = thread::spawn(move || Call::get("/api/drip").to(listen));
        while !dripping.is_finished() {
            assert_eq!(proxy.call(Call::get("/api/other")).text(), "other");
        }
        dripping.join().unwrap().assert_problem(504, "response_timeout", "maybe");
    }
}

/// As fast as the upstream can write; the bound is one of bytes.
#[test]
fn provisional_answers_without_end_are_cut_off() {
    let upstream = RawUpstream::start(move |_, mut tls| {
        read_request(&mut tls).unwrap();
        let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(300);
        while tls.write_all(flood.as_bytes()).and_then(|()| tls.flush()).is_ok() {}
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    proxy.call(Call::sms()).assert_problem(502, "response_too_large", "maybe");
    eventually("the connection is gone", || {
        proxy.metric("innopaas_proxy_upstream_connections") == 0
    });
}

#[test]
fn an_answer_before_a_large_request_is_over_is_passed_back_whole_and_ends_the_connection() {
    let upstream = RawUpstream::start(|_, mut tls| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if tls.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            head.push(byte[0]);
        }
        if String::from_utf8_lossy(&head).starts_with("GET") {
            return own_answer(&mut tls, "next");
        }
        answer(
            &mut tls,
            "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nFORGED",
        );
        thread::park_timeout(Duration::from_millis(50));
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let mut stream = connect(proxy.listen);
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n--b\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || while writer.write_all(&[b'x'; 8192]).is_ok() {});
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    writing.join().unwrap();
    let answer = strict_answer(&all, false).unwrap();
    assert_eq!((answer.status, &answer.body[..]), (403, &b"{}"[..]));
    assert_eq!(ask(proxy.listen, "GET", "/api/next", "1.1").unwrap().body, b"next");
}

/// Serves every call with these bytes, in these pieces.
fn serving(pieces: &'static [&'static str]) -> RawUpstream {
    RawUpstream::start(move |_, mut tls| {
        while read_request(&mut tls).is_some() {
            for piece in pieces {
                answer(&mut tls, piece);
            }
        }
    })
}

fn echoes(proxy: &Proxy, place: &str) -> u64 {
    proxy.metric(&format!("innopaas_proxy_credential_echoes_total{{place=\"{place}\"}}"))
}

#[test]
fn a_header_that_repeats_the_pair_is_dropped() {
    let upstream = RawUpstream::start(|_, mut tls| {
        read_request(&mut tls).unwrap();
        let (key, token) = (canary::APP_KEY, canary::TOKEN);
        answer(
            &mut tls,
            &format!(
                "HTTP/1.1 200 {token}\r\nX-Key: {key}\r\nX-Token: a={token};b\r\n{key}: 1\r\n\
                 X-Fine: 1\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        );
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    // The harness searches the answer, the log and the metrics.
    let answer = proxy.call(Call::sms());
    assert_eq!((answer.status.as_u16(), answer.header("x-fine")), (200, Some("1")));
    assert_eq!((answer.header("x-key"), answer.header("x-token")), (None, None));
    assert_eq!((echoes(&proxy, "header"), echoes(&proxy, "body")), (3, 0));
    let warned = proxy.log().iter().filter(|line| line["place"] == "header").count();
    assert_eq!(warned, 1);
}

#[test]
fn a_body_that_repeats_the_pair_is_masked_also_across_chunks_and_records() {
    let (key, token) = (canary::APP_KEY, canary::TOKEN);
    let mut pieces = vec!["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()];
    let body = format!("{{\"a\":\"{token}\",\"b\":\"{key}\",\"c\":\"{}\"}}", &token[..9]);
    pieces.extend(body.chars().map(|c| format!("1\r\n{c}\r\n")));
    pieces.push("0\r\n\r\n".to_owned());
    let pieces: Vec<&'static str> = pieces.into_iter().map(|p| &*p.leak()).collect();
    let upstream = serving(pieces.leak());
    let proxy = Setup::new().set("guard.echo=true").start_before_raw(&upstream);
    let masked = body.replace(token, &"*".repeat(token.len())).replace(key, &"*".repeat(key.len()));
    for round in 1..=2 {
        assert_eq!(proxy.call(Call::sms()).text(), masked);
        assert_eq!(echoes(&proxy, "body"), 2 * round);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_masked_body_keeps_its_declared_length() {
    let token = canary::TOKEN;
    let body = format!("{token} and {}", &token[..20]);
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (first, second) = whole.split_at(whole.len() - 60);
    let pieces = vec![&*first.to_owned().leak(), &*second.to_owned().leak()];
    let upstream = serving(pieces.leak());
    let proxy = Setup::new().set("guard.echo=true").start_before_raw(&upstream);
    for version in ["1.1", "1.0"] {
        let seen = ask(proxy.listen, "GET", "/api/x", version).unwrap();
        assert_eq!(seen.all("content-length"), [body.len().to_string()]);
        let wanted = format!("{} and {}", "*".repeat(token.len()), &token[..20]);
        assert_eq!(String::from_utf8(seen.body).unwrap(), wanted);
    }
}

#[test]
fn with_the_search_on_answers_are_asked_for_uncompressed_and_refused_otherwise() {
    let (said, hear) = mpsc::channel();
    let upstream = RawUpstream::start(move |_, mut tls| {
        while let Some(request) = read_request(&mut tls) {
            let _ = said.send(request);
            answer(
                &mut tls,
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\u{1f}x",
            );
        }
    });
    let proxy = Setup::new().set("guard.echo=true").start_before_raw(&upstream);
    let call = Call::sms().header("accept-encoding", "gzip, br");
    proxy.call(call).assert_problem(502, "response_invalid", "maybe");
    let request = hear.recv().unwrap().to_ascii_lowercase();
    let asked: Vec<_> = request.lines().filter(|l| l.starts_with("accept-encoding")).collect();
    assert_eq!(asked, ["accept-encoding: identity"]);
}

#[test]
fn the_sandbox_s_echo_passes_unchanged_with_the_search_on() {
    let (proxy, sandbox) = Setup::new().set("guard.echo=true").start();
    sandbox.act(innopaas_proxy::sandbox::Act::Echo, None);
    assert_eq!(proxy.call(Call::sms()).json()["path"], SMS);
    assert_eq!(echoes(&proxy, "body"), 0);
}
