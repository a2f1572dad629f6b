//! Several requests on one connection, and one in several pieces: where one ends and the next
//! begins does not depend on how the bytes come, nor on what was answered to the one before.

use super::case::{
    Case, Cases, End, Meant, Pace, Reply, SMUGGLED, post, post_json, post_line, request, shown,
};
use crate::support::SMS;

const MALFORMED: Reply = Reply::Refused(400, "request_malformed");

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    pipelined(&mut cases);
    behind_a_valid_one(&mut cases);
    behind_a_refusal(&mut cases);
    behind_the_end(&mut cases);
    unfinished(&mut cases);
    in_pieces(&mut cases);
    cases
}

/// A GET that leaves the connection open.
fn get(number: u8) -> String {
    format!("GET /api/x?{number} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn got(number: u8) -> Reply {
    Reply::Passed(Meant::get(&format!("/api/x?{number}")))
}

fn open_post(fields: &str, rest: &str) -> String {
    format!("{}\r\nHost: localhost\r\n{fields}\r\n{rest}", post_line())
}

fn posted(body: &str) -> Reply {
    Reply::Passed(Meant::post(body))
}

fn add(
    cases: &mut Cases,
    name: impl Into<String>,
    requests: &[&str],
    replies: impl Into<Vec<Reply>>,
) {
    cases.add(name, requests.concat(), replies).end(End::LeavesAnswered);
}

fn pipelined(cases: &mut Cases) {
    let json = open_post("Content-Length: 2\r\n", "{}");
    let chunked = open_post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n");
    let trailers =
        open_post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\nAppKey: spoofed\r\n\r\n");
    let (one, two, three) = (get(1), get(2), get(3));
    add(cases, "two", &[&one, &two], [got(1), got(2)]);
    add(cases, "three", &[&one, &two, &three], [got(1), got(2), got(3)]);
    let many: String = (0..20).map(get).collect();
    add(cases, "twenty", &[&many], (0..20).map(got).collect::<Vec<_>>());
    add(cases, "a body and a GET", &[&json, &one], [posted("{}"), got(1)]);
    add(cases, "a GET and a body", &[&one, &json], [got(1), posted("{}")]);
    add(cases, "chunks and a GET", &[&chunked, &one], [posted("{}"), got(1)]);
    add(cases, "trailers and a GET", &[&trailers, &one], [posted("{}"), got(1)]);
    add(cases, "chunks and chunks", &[&chunked, &chunked], [posted("{}"), posted("{}")]);
    add(cases, "an empty line between", &[&one, "\r\n", &two], [got(1), got(2)]);
    add(cases, "an empty line behind a body", &[&json, "\r\n", &one], [posted("{}"), got(1)]);
    let body = SMUGGLED;
    let fields = format!("Content-Length: {}\r\n", body.len());
    let wrapped = open_post(&fields, body);
    add(cases, "a body that looks like a request", &[&wrapped, &one], [posted(body), got(1)]);
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let wrapped = open_post("Transfer-Encoding: chunked\r\n", &chunks);
    add(cases, "a chunk that looks like a request", &[&wrapped, &one], [posted(body), got(1)]);
    let last = open_post("Content-Length: 7\r\n", "0\r\n\r\nGE");
    add(
        cases,
        "a body that looks like a last chunk",
        &[&last, &one],
        [posted("0\r\n\r\nGE"), got(1)],
    );
}

/// The first is answered as if it were alone.
fn behind_a_valid_one(cases: &mut Cases) {
    let (one, json) = (get(1), open_post("Content-Length: 2\r\n", "{}"));
    for (name, bytes) in [
        ("no request", "nonsense\r\n\r\n".to_owned()),
        ("two empty lines", "\r\n\r\n".to_owned()),
        ("LF alone", get(2).replace("\r\n", "\n")),
        ("a NUL", format!("\0{}", get(2))),
        ("a space before a colon", get(2).replace("Host:", "Host :")),
        ("a fold", get(2).replace("localhost", "\r\n localhost")),
        ("TLS", "\u{16}\u{3}\u{1}\r\n".to_owned()),
    ] {
        add(cases, format!("a GET, then {name}"), &[&one, &bytes], [got(1), MALFORMED]);
        let replies = [posted("{}"), MALFORMED];
        add(cases, format!("a body, then {name}"), &[&json, &bytes], replies);
    }
    for (name, bytes, status, code) in [
        (
            "CL and TE",
            open_post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
            "framing_ambiguous",
        ),
        (
            "two lengths",
            open_post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
            400,
            "framing_ambiguous",
        ),
        ("HTTP/2.0", get(2).replace("1.1", "2.0"), 505, "version_unsupported"),
        ("a fragment", get(2).replace("?2", "#2"), 400, "target_refused"),
        ("a long head", get(2).replace("Host", &"x".repeat(20_000)), 431, "head_too_large"),
        ("CONNECT", get(2).replace("GET /api/x?2", "CONNECT localhost:1"), 405, "method_refused"),
        (
            "two hosts",
            get(2).replace("\r\n\r\n", "\r\nHost: localhost\r\n\r\n"),
            400,
            "host_invalid",
        ),
        ("a foreign host", get(2).replace("localhost", "evil.example"), 421, "host_refused"),
    ] {
        let replies = [got(1), Reply::Refused(status, code)];
        add(cases, format!("a GET, then {name}"), &[&one, &bytes], replies);
    }
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    add(cases, "a GET, then HTTP/2", &[&one, preface], [got(1), Reply::GoAway]);
    // One byte more than the length tells belongs to what comes next.
    let surplus = format!("{json}x\r\n\r\n");
    add(cases, "a body that is too long", &[&surplus], [posted("{}"), MALFORMED]);
    let surplus = format!("{json}\n{}", get(1));
    add(cases, "LF behind a body", &[&surplus], [posted("{}"), MALFORMED]);
}

/// What is malformed is the last that is read; what is only refused is stepped over, body and all.
fn behind_a_refusal(cases: &mut Cases) {
    let one = get(1);
    for (name, bytes, status, code) in [
        ("no request", "nonsense\r\n\r\n".to_owned(), 400, "request_malformed"),
        ("LF alone", get(2).replace("\r\n", "\n"), 400, "request_malformed"),
        (
            "CL and TE",
            open_post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
            "framing_ambiguous",
        ),
        ("TE identity", open_post("Transfer-Encoding: identity\r\n", ""), 400, "framing_ambiguous"),
        ("HTTP/2.0", get(2).replace("1.1", "2.0"), 505, "version_unsupported"),
        ("TRACE", get(2).replace("GET", "TRACE"), 405, "method_refused"),
        ("CONNECT", get(2).replace("GET /api/x?2", "CONNECT localhost:1"), 405, "method_refused"),
        ("no host", get(2).replace("Host", "X-Host"), 400, "host_invalid"),
    ] {
        let replies = [Reply::Refused(status, code)];
        add(cases, format!("{name}, then a GET"), &[&bytes, &one], replies);
    }
    let forbidden = get(2).replace("/api", "");
    let refused = Reply::Refused(403, "policy_refused");
    add(
        cases,
        "a refusal between",
        &[&one, &forbidden, &get(3)],
        [got(1), refused.clone(), got(3)],
    );
    for (name, fields, body) in [
        ("a refused body", format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED.to_owned()),
        (
            "a refused chunk",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
        ),
    ] {
        let bytes = open_post(&fields, &body).replace(SMS, "/x");
        cases
            .refused(format!("{name} that looks like a request"), bytes, (403, "policy_refused"))
            .end(End::LeavesAnswered);
    }
    let long = format!("{}{SMUGGLED}", "a".repeat(200_000));
    let fields = format!("Content-Length: {}\r\n", long.len());
    let bytes = open_post(&fields, &long).replace(SMS, "/x");
    cases.refused("a long refused body", bytes, (403, "policy_refused")).end(End::LeavesAnswered);
    let large = format!("Content-Length: {}\r\n", 2 * 1024 * 1024);
    let bytes = open_post(&large, SMUGGLED);
    cases.refused("a body over the limit", bytes, (413, "body_too_large")).end(End::LeavesAnswered);
}

/// Nothing is read behind what said that it is the last.
fn behind_the_end(cases: &mut Cases) {
    let valid = post_json("");
    for rest in [SMUGGLED, "nonsense\r\n\r\n", "\r\n\r\n\r\n", "x", "0\r\n\r\n"] {
        let bytes = [&valid, rest.as_bytes()].concat();
        cases.passed(format!("close, then {}", shown(rest)), bytes, Meant::post("{}"));
    }
    let both = "Host: localhost\r\nConnection: keep-alive, close\r\nContent-Length: 2\r\n";
    let bytes = request(post_line(), both, format!("{{}}{SMUGGLED}"));
    cases.passed("keep-alive and close", bytes, Meant::post("{}"));
    let old = request(
        format!("POST {SMS} HTTP/1.0"),
        "Host: localhost\r\nContent-Length: 2\r\n",
        format!("{{}}{SMUGGLED}"),
    );
    cases.passed("HTTP/1.0, then another", old, Meant::post("{}"));
}

fn unfinished(cases: &mut Cases) {
    let one = get(1);
    for rest in
        ["G", "GET /api/smuggled HTTP/1.1", "GET /api/smuggled HTTP/1.1\r\nHost: localhost\r\n"]
    {
        add(cases, format!("a GET, then {}", shown(rest)), &[&one, rest], [got(1)]);
    }
    let half = open_post("Content-Length: 10\r\n", "{");
    let case = cases.add(
        "a GET, then half a body",
        format!("{one}{half}"),
        [got(1), Reply::Refused(400, "body_broken")],
    );
    // The proxy waits for the rest; the caller goes when it has its first answer.
    case.end(End::LeavesAfter(1));
}

/// Every one of them has the same meaning in whatever pieces it comes.
fn in_pieces(cases: &mut Cases) {
    let every = |case: &mut Case| {
        case.pace(Pace::EverySplit);
    };
    let json = post("Content-Length: 2\r\nConnection: appkey\r\nAppKey: spoofed\r\n", "{}");
    let chunks = "2;a=b\r\n{}\r\na\r\n0123456789\r\n0\r\nAppKey: spoofed\r\n\r\n";
    let chunked = post("Transfer-Encoding: chunked\r\n", chunks);
    let content = "{}0123456789";
    every(cases.passed("a body, split everywhere", json.clone(), Meant::post("{}")));
    every(cases.passed("chunks, split everywhere", chunked.clone(), Meant::post(content)));
    let ambiguous = post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "");
    every(cases.refused("CL and TE, split everywhere", ambiguous, (400, "framing_ambiguous")));
    let bare = request(post_line(), "Host: localhost\r\nX-A: b\nX-B: c\r\n", "");
    every(cases.refused("LF alone, split everywhere", bare, (400, "request_malformed")));
    let two = format!("{}{}", open_post("Content-Length: 2\r\n", "{}"), get(1));
    let case = cases.add("two, split everywhere", two, [posted("{}"), got(1)]);
    every(case.end(End::LeavesAnswered));
    for (name, bytes, body) in [("a body", json, "{}"), ("chunks", chunked, content)] {
        let case = cases.passed(format!("{name}, byte by byte"), bytes, Meant::post(body));
        case.pace(Pace::ByteByByte);
    }
}
