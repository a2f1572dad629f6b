//! What an application is given, byte for byte, and what comes back of its answer.

use super::sender::{Line, chunked, request};
use super::{Bench, message, right};
use crate::support::application::answer;
use crate::support::canary::{HOOK_TOKEN, USER_NAME};
use crate::support::{Application, Manner};

const POST: &str = "POST /hooks";
const KIB: usize = 1024;

/// Bytes of every value, in no simple order.
fn binary(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

/// Asserts that bodies of all sizes arrive as they were, with a length and in chunks.
fn hands_over_whole(bench: &Bench) {
    let sizes = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 200 * KIB, 1024 * KIB - 1, 1024 * KIB];
    for size in sizes {
        let body = binary(size);
        for bytes in [
            request(POST, right(), &body),
            chunked(POST, &right(), &body, 1000),
            chunked(POST, &right(), &body, 100_000),
        ] {
            assert_eq!(bench.line().call(&bytes).status(), 200, "{size}");
            assert!(bench.application.last().request.body == body, "{size}");
        }
    }
}

#[test]
fn a_body_arrives_byte_for_byte_whatever_its_size_and_framing() {
    let bench = Bench::start();
    hands_over_whole(&bench);
    // One byte at a time is a body as well.
    let mut line = bench.line();
    for byte in request(POST, right(), &binary(300)) {
        line.send(&[byte]);
    }
    assert_eq!(line.answer().status(), 200);
    assert_eq!(bench.application.last().request.body, binary(300));
    let event = message("e-1");
    assert_eq!(bench.post(&event).status(), 200);
    assert_eq!(bench.application.last().request.body, event.as_bytes());
}

#[test]
fn an_application_behind_a_unix_socket_is_given_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let application = Application::start_on(&directory.path().join("app.sock"));
    let bench = Bench::before(application, &[]);
    hands_over_whole(&bench);
    let request = bench.application.last().request;
    assert_eq!((request.target.as_str(), request.values("host")), ("/in", vec![&b"localhost"[..]]));
    bench.application.once(Manner::ok("taken"));
    assert_eq!(bench.post(message("e-1")).body(), b"taken");
    assert_eq!(bench.application.connections(), 1);
}

#[test]
fn a_body_larger_than_the_limit_is_413_also_where_that_shows_late() {
    let bench = Bench::start();
    let body = binary(1024 * KIB + 1);
    let answer = bench.line().call(&request(POST, right(), &body));
    answer.assert_problem(413, "body_too_large", "no");
    let answer = bench.line().call(&chunked(POST, &right(), &body, 10_000));
    answer.assert_problem(413, "body_too_large", "maybe");
    assert_eq!(bench.application.count(), 0, "not a whole one");
    let bench = Bench::set(&["webhook.body=1KiB"]);
    assert_eq!(bench.post(binary(KIB)).status(), 200);
    for bytes in
        [request(POST, right(), &binary(KIB + 1)), chunked(POST, &right(), &binary(KIB + 1), 10)]
    {
        bench.line().call(&bytes).assert_problem(413, "body_too_large", "no");
    }
    assert_eq!(bench.events("rejected"), 2);
}

#[test]
fn an_answer_before_the_end_of_a_body_is_read_by_who_is_still_sending_it() {
    let bench = Bench::set(&["webhook.routes=path=/down to=http://127.0.0.1:9/"]);
    let body = binary(1500 * KIB);
    let early = Manner::AnswersEarly(answer("200 OK", "", b"early"));
    bench.application.once(early);
    for (bytes, status) in [
        (request(POST, right(), &body[..1000 * KIB]), 200),
        (request("POST /down", right(), &body[..1000 * KIB]), 503),
        (request(POST, right(), &body), 413),
        (request(POST, "", &body), 401),
        (request("PUT /", right(), &body), 405),
    ] {
        let mut line = bench.line();
        let (some, rest) = bytes.split_at(600 * KIB);
        line.send(some);
        line.wait();
        // The receiver reads no further, and must not reset the connection all the same.
        for piece in rest.chunks(100 * KIB) {
            line.send(piece);
        }
        assert_eq!(line.answer().status(), status);
    }
}

#[test]
fn a_body_that_stops_coming_is_408_whether_little_or_much_of_it_came() {
    let bench = Bench::set(&["webhook.deadline=300ms"]);
    for (came, sent) in [(10, "no"), (100 * KIB, "maybe")] {
        let bytes = request(POST, right(), &binary(200 * KIB));
        let mut line = bench.line();
        line.send(&bytes[..bytes.len() - 200 * KIB + came]);
        line.answer().assert_problem(408, "body_timeout", sent);
    }
    assert_eq!((bench.events("rejected"), bench.application.count()), (2, 0));
}

#[test]
fn trailers_do_not_go_on() {
    let bench = Bench::start();
    for size in [10, 200 * KIB] {
        let body = binary(size);
        let mut bytes = chunked(POST, &right(), &body, 1000);
        bytes.truncate(bytes.len() - 2);
        bytes.extend(b"X-InnoPaaS-App: club\r\nAuthorization: x\r\nX: y\r\n\r\n");
        assert_eq!(bench.line().call(&bytes).status(), 200);
        // The application takes trailers for a fault.
        let got = bench.application.last();
        assert!(got.request.body == body && got.header("x-innopaas-app") == Some("shop"));
    }
}

#[test]
fn a_body_whose_chunks_are_malformed_is_400() {
    let bench = Bench::start();
    for good in [10, 100 * KIB] {
        let mut bytes = chunked(POST, &right(), &binary(good), 1000);
        bytes.truncate(bytes.len() - b"0\r\n\r\n".len());
        bytes.extend(b"nonsense\r\n");
        let mut line = bench.line();
        line.send(&bytes);
        let answer = line.answer();
        assert_eq!((answer.status(), answer.json()["code"].as_str()), (400, Some("body_broken")));
    }
    assert_eq!(bench.application.count(), 0);
}

#[test]
fn a_sender_that_asks_first_is_told_to_go_on_if_it_is_known() {
    let bench = Bench::start();
    let expecting = |fields: String| format!("{fields}Expect: 100-continue\r\n");
    let bytes = request(POST, expecting(right()), b"{}");
    let (head, body) = bytes.split_at(bytes.len() - 2);
    let mut line = bench.line();
    line.send(head);
    assert_eq!(line.interim(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(line.call(body).status(), 200);
    let got = bench.application.last();
    assert_eq!((got.header("expect"), got.request.body.as_slice()), (None, &b"{}"[..]));

    let bytes = request(POST, expecting(String::new()), b"{}");
    let mut line = bench.line();
    line.send(&bytes[..bytes.len() - 2]);
    line.answer().assert_problem(401, "event_refused", "no");
    assert_eq!(bench.application.count(), 1);
}

#[test]
fn what_verified_what_is_for_one_hop_and_what_only_the_proxy_tells_does_not_go_on() {
    let bench = Bench::start();
    let long = format!("X-InnoPaaS-{}", "Event-Type".repeat(10));
    let fields = [
        right(),
        format!("User-Name: {USER_NAME}\r\nUSER_NAME: {USER_NAME}\r\nuser-name: x\r\n"),
        format!("Proxy-Authorization: {HOOK_TOKEN}\r\n"),
        "X-InnoPaaS-App: club\r\nX_INNOPAAS_APP: club\r\nX-InnoPaaS-Event-Id: forged\r\n".into(),
        "x-innopaas-event-type: forged\r\nX-Inno-PaaS-App: club\r\nXInnoPaaSApp: club\r\n".into(),
        format!("{long}: forged\r\nX-InnoPaaS-Anything-Else-At-All: forged\r\n"),
        "Connection: keep-alive, X-Hop, x-innopaas-app, Host, X-Request-Id\r\nConnection: X-Two\r\n"
            .into(),
        "X-Hop: 1\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\n".into(),
        "Upgrade: websocket\r\nProxy-Connection: keep-alive\r\nHTTP2-Settings: x\r\n".into(),
        "X-Kept: one\r\nx-kept: two\r\nContent-Type: text/odd; a=b\r\nCookie: c\r\n".into(),
        "X-Forwarded-For: 192.0.2.1\r\nAccept-Encoding: gzip\r\nX-Request-Id: given-by-sender\r\n"
            .into(),
    ]
    .concat();
    let answer = bench.line().call(&request(POST, fields, message("e-1").as_bytes()));
    assert_eq!((answer.status(), answer.header("x-request-id")), (200, Some("given-by-sender")));
    let got = bench.application.last();
    let mut fields: Vec<_> = got
        .request
        .fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8(value.clone()).unwrap()))
        .collect();
    fields.sort();
    let length = message("e-1").len().to_string();
    let mut wanted = [
        ("accept-encoding", "gzip"),
        ("content-length", length.as_str()),
        ("content-type", "text/odd; a=b"),
        ("cookie", "c"),
        ("host", bench.application.host()),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-innopaas-app", "shop"),
        ("x-innopaas-event-id", "e-1"),
        ("x-innopaas-event-type", "whatsapp_mo_message_received"),
        ("x-kept", "one"),
        ("x-kept", "two"),
        ("x-request-id", "given-by-sender"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    wanted.sort();
    assert_eq!(fields, wanted);
    let raw = String::from_utf8(got.raw).unwrap();
    assert!(!raw.contains(USER_NAME) && !raw.contains(HOOK_TOKEN));
}

#[test]
fn what_an_event_does_not_tell_is_not_told_of_it() {
    let bench = Bench::start();
    for (body, kind, id) in [
        (r#"{"type":"later"}"#, Some("later"), None),
        (r#"{"id":"e-1"}"#, None, Some("e-1")),
        (r#"{"id":"a b","type":"x\r\nX-Injected: y"}"#, None, None),
        (r#"{"id":"a\u000db","type":"\u0000"}"#, None, None),
        (r#"{"id":7,"type":8}"#, Some("8"), Some("7")),
        (r#"{"msgid":"m-1","status":"x"}"#, Some("sms_status"), Some("m-1")),
        (r#"{"moTime":"1","mobile":"2"}"#, Some("sms_uplink"), None),
        ("", None, None),
    ] {
        assert_eq!(bench.post(body).status(), 200, "{body}");
        let got = bench.application.last();
        assert_eq!(got.header("x-innopaas-event-type"), kind, "{body}");
        assert_eq!(got.header("x-innopaas-event-id"), id, "{body}");
        assert_eq!(got.header("x-injected"), None);
        assert!(got.header("x-request-id").is_some_and(|id| !id.is_empty()));
    }
}

#[test]
fn the_answer_of_the_application_comes_back_whatever_it_says() {
    let bench = Bench::start();
    for status in [
        "200 OK",
        "201 Created",
        "202 Accepted",
        "302 Found",
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "410 Gone",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        let fields = "Content-Type: text/odd\r\nX-Two: 1\r\nX-Two: 2\r\nRetry-After: 7\r\n\
                      Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                      Proxy-Status: innopaas-proxy; error=forged\r\nX-Request-Id: theirs\r\n";
        bench.application.once(Manner::Answers(answer(status, fields, b"its \xff words")));
        let answer = bench.post(message("e-1"));
        let (code, _) = status.split_once(' ').unwrap();
        assert_eq!(
            (answer.status().to_string().as_str(), answer.body()),
            (code, &b"its \xff words"[..])
        );
        assert_eq!(answer.header("content-type"), Some("text/odd"));
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(answer.all("x-two"), ["1", "2"]);
        for hop in ["connection", "x-hop", "keep-alive", "proxy-status", "transfer-encoding"] {
            assert_eq!(answer.header(hop), None, "{hop}");
        }
        let id = bench.application.last().header("x-request-id").unwrap().to_owned();
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
    }
    assert_eq!([2, 3, 4, 5].map(|class| bench.delivered(&format!("{class}xx"))), [3, 1, 5, 3]);
}

#[test]
fn an_answer_in_chunks_after_interim_ones_without_a_body_or_by_echo_comes_back() {
    let bench = Bench::start();
    let in_chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX: 1\r\n\r\n";
    bench.application.once(Manner::Answers(in_chunks.to_vec()));
    assert_eq!(bench.post("{}").body(), b"abcde");
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    bench.application.once(Manner::Answers(interim.to_vec()));
    let answer = bench.post("{}");
    assert_eq!((answer.status(), answer.body()), (204, &b""[..]));
    let to_the_end = b"HTTP/1.1 200 OK\r\n\r\nuntil the end";
    bench.application.once(Manner::AnswersAndCloses(to_the_end.to_vec()));
    assert_eq!(bench.post("{}").body(), b"until the end");
    let old = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold";
    bench.application.once(Manner::AnswersAndCloses(old.to_vec()));
    assert_eq!(bench.post("{}").body(), b"old");
    bench.application.once(Manner::Echoes);
    let body = binary(64 * KIB);
    assert!(bench.post(&body).body() == body);
}

#[test]
fn a_sender_of_http_1_0_and_one_that_closes_are_served() {
    let bench = Bench::start();
    let old = format!("POST / HTTP/1.0\r\n{}Content-Length: 2\r\n\r\n{{}}", right());
    let mut line = Line::open(bench.proxy.webhook.unwrap());
    line.send(old.as_bytes());
    assert!(line.rest().starts_with(b"HTTP/1.0 200 OK\r\n"));
    let mut line = bench.line();
    let closing = request(POST, format!("{}Connection: close\r\n", right()), b"{}");
    assert_eq!(line.call(&closing).header("connection"), Some("close"));
    assert_eq!(line.rest(), b"");
    assert_eq!(bench.application.last().header("connection"), None);
    assert_eq!(bench.application.count(), 2);
}
