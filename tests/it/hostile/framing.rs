//! Where a body ends: told once, in one way, in one spelling (RFC 9112, sections 6.1 to 6.3).

use super::case::{
    Cases, End, Meant, OWN, Reply, SMUGGLED, field, get, post, post_json, post_line, request, shown,
};

const AMBIGUOUS: (u16, &str) = (400, "framing_ambiguous");
const MALFORMED: (u16, &str) = (400, "request_malformed");

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    both(&mut cases);
    several_lengths(&mut cases);
    odd_lengths(&mut cases);
    good_lengths(&mut cases);
    odd_encodings(&mut cases);
    good_encodings(&mut cases);
    disguised(&mut cases);
    short_bodies(&mut cases);
    cases
}

/// As a server that goes by the other one would read it.
fn both(cases: &mut Cases) {
    const CL: &str = "Content-Length: 6\r\n";
    const TE: &str = "Transfer-Encoding: chunked\r\n";
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    for (name, fields) in [
        ("CL, TE", format!("{CL}{TE}")),
        ("TE, CL", format!("{TE}{CL}")),
        ("CL, TE in lower case", format!("{CL}{TE}").to_lowercase()),
        ("TE, CL in upper case", format!("{TE}{CL}").to_uppercase()),
        ("CL, something else, TE", format!("{CL}X-A: b\r\n{TE}")),
        ("TE, something else, CL", format!("{TE}X-A: b\r\n{CL}")),
        ("CL, TE, CL", format!("{CL}{TE}{CL}")),
        ("TE, CL, TE", format!("{TE}{CL}{TE}")),
        ("CL 0, TE", format!("Content-Length: 0\r\n{TE}")),
        ("TE, CL 0", format!("{TE}Content-Length: 0\r\n")),
        ("TE, CL that fits", format!("{TE}Content-Length: 5\r\n")),
        ("CL, TE identity", format!("{CL}Transfer-Encoding: identity\r\n")),
        ("CL, TE that is none", format!("{CL}Transfer-Encoding: xchunked\r\n")),
        ("CL that is none, TE", format!("Content-Length: x\r\n{TE}")),
        ("CL named in Connection, TE", format!("Connection: content-length\r\n{CL}{TE}")),
        ("TE named in Connection, CL", format!("Connection: transfer-encoding\r\n{TE}{CL}")),
    ] {
        cases.refused(name, post(fields, &rest), AMBIGUOUS);
    }
}

fn several_lengths(cases: &mut Cases) {
    let lines = |values: &[&str]| -> Vec<u8> {
        values.iter().flat_map(|value| field("Content-Length", value)).collect()
    };
    for values in [&["2", "2"][..], &["2", "5"], &["5", "2"], &["0", "2"], &["2", "0"], &["2", ""]]
    {
        let rest = format!("{{}}{SMUGGLED}");
        cases.refused(format!("CL lines {values:?}"), post(lines(values), rest), AMBIGUOUS);
    }
    let apart = "Content-Length: 2\r\nX-A: b\r\ncontent-length: 2\r\n";
    cases.refused("two CL lines apart", post(apart, "{}"), AMBIGUOUS);
    let three = post(lines(&["2", "2", "2"]), "{}");
    cases.refused("three CL lines", three, AMBIGUOUS);
    let line = "GET /api/x HTTP/1.1";
    let fields = format!("{OWN}Content-Length: 0\r\nContent-Length: 30\r\n");
    cases.refused("two CL lines on a GET", request(line, fields, SMUGGLED), AMBIGUOUS);
}

fn odd_lengths(cases: &mut Cases) {
    for value in [
        &b"2, 2"[..],
        b"2,2",
        b"2, 5",
        b"2,",
        b",2",
        b"+2",
        b"-2",
        b"-0",
        b"0x2",
        b"2 2",
        b"2\t2",
        b"2;",
        b"2x",
        b"x",
        b"",
        b" ",
        b"2.0",
        b"2e0",
        b"1_0",
        b"\"2\"",
        b"'2'",
        b"0b10",
        b"NaN",
        b"\xd9\xa2", // two, in Arabic
        b"\xc2\xb2", // two, in superscript
        b"2\xa0",
        b"\xa02",
        b"9223372036854775808",
        b"18446744073709551615",
        b"18446744073709551618", // 2 in 64 bits
        b"0000000000000000002",
        b"4294967298000000000002",
    ] {
        let bytes = post(field("Content-Length", value), format!("{{}}{SMUGGLED}"));
        cases.refused(format!("CL of {}", shown(value)), bytes, AMBIGUOUS);
    }
    let hundred = post(field("Content-Length", "2".repeat(100)), "{}");
    cases.refused("CL of a hundred digits", hundred, AMBIGUOUS);
    for value in [&b"2\x0b"[..], b"\x0c2", b"2\0", b"\x7f2"] {
        let bytes = post(field("Content-Length", value), "{}");
        cases.refused(format!("CL of {}", shown(value)), bytes, MALFORMED);
    }
    for value in ["1048577", "4294967298", "999999999999999999"] {
        let bytes = post(field("Content-Length", value), "{}");
        let case = cases.refused(format!("CL of {value}"), bytes, (413, "body_too_large"));
        case.end(End::LeavesAnswered);
    }
}

fn good_lengths(cases: &mut Cases) {
    for line in [
        "Content-Length: 002",
        "Content-Length: 000000000000000002",
        "Content-Length:2",
        "Content-Length:\t2\t",
        "Content-Length:   2   ",
        "CONTENT-LENGTH: 2",
        "content-length: 2",
    ] {
        let bytes = post(format!("{line}\r\n"), format!("{{}}{SMUGGLED}"));
        let meant = Meant::post("{}").with("content-length", "2");
        cases.passed(shown(line), bytes, meant);
    }
    cases.passed(
        "no length, no body",
        post("", SMUGGLED),
        Meant::post("").with("content-length", "0"),
    );
    let line = "GET /api/x HTTP/1.1";
    let bytes = request(line, format!("{OWN}Content-Length: 2\r\n"), "{}");
    cases.passed("a GET with a body", bytes, Meant::new("GET", "/api/x", "{}"));
    let old = post_line().replace("1.1", "1.0");
    let bytes = request(old, "Content-Length: 2\r\n", format!("{{}}{SMUGGLED}"));
    cases.passed("HTTP/1.0 with CL", bytes, Meant::post("{}"));
}

fn odd_encodings(cases: &mut Cases) {
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    for value in [
        &b",chunked"[..],
        b"chunked,",
        b"chunked, chunked",
        b"chunked,chunked",
        b"xchunked",
        b"chunkedx",
        b"chunke",
        b"chun ked",
        b"chunked chunked",
        b"gzip, chunked",
        b"chunked, gzip",
        b"gzip",
        b"deflate",
        b"identity",
        b"identity, chunked",
        b"chunked, identity",
        b"chunked;q=1",
        b"chunked;",
        b"\"chunked\"",
        b"'chunked'",
        b"[chunked]",
        b"trailers",
        b"0",
        b"",
        b" ",
        b"\xa0chunked",
        b"chunked\xff",
        b"\xef\xbb\xbfchunked",
        b"chun\xe2\x84\xaaed", // a Kelvin sign, whose lower case is k
    ] {
        let bytes = post(field("Transfer-Encoding", value), &rest);
        cases.refused(format!("TE of {}", shown(value)), bytes, AMBIGUOUS);
    }
    for value in [&b"\x0bchunked"[..], b"chunked\x0c", b"chunked\0", b"chunked\x08", b"chunked\r"] {
        let bytes = post(field("Transfer-Encoding", value), &rest);
        cases.refused(format!("TE of {}", shown(value)), bytes, MALFORMED);
    }
    for values in [
        ["chunked", "chunked"],
        ["chunked", "identity"],
        ["identity", "chunked"],
        ["chunked", "gzip"],
        ["gzip", "chunked"],
        ["chunked", ""],
        ["", "chunked"],
    ] {
        let fields = values.map(|value| field("Transfer-Encoding", value)).concat();
        cases.refused(format!("TE lines {values:?}"), post(fields, &rest), AMBIGUOUS);
    }
    let old = post_line().replace("1.1", "1.0");
    for (name, fields) in [
        ("TE in HTTP/1.0", ""),
        ("TE in HTTP/1.0 that is kept alive", "Connection: keep-alive\r\n"),
    ] {
        let fields = format!("Host: localhost\r\nTransfer-Encoding: chunked\r\n{fields}");
        cases.refused(name, request(&old, fields, &rest), AMBIGUOUS);
    }
}

fn good_encodings(cases: &mut Cases) {
    for line in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked\t",
        "Transfer-Encoding:   chunked   ",
        "TRANSFER-ENCODING: chunked",
    ] {
        let bytes = post(format!("{line}\r\n"), format!("2\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}"));
        let meant = Meant::post("{}").with("transfer-encoding", "chunked");
        cases.passed(shown(line), bytes, meant);
    }
    let fields = format!("{OWN}Transfer-Encoding: chunked\r\n");
    let bytes = request("GET /api/x HTTP/1.1", fields, "2\r\n{}\r\n0\r\n\r\n");
    cases.passed("a chunked GET", bytes, Meant::new("GET", "/api/x", "{}"));
}

/// What another server might take for a length, and what hides one.
fn disguised(cases: &mut Cases) {
    for line in [
        "Transfer_Encoding: chunked",
        "TransferEncoding: chunked",
        "Transfer-Encoding_: chunked",
        "Content_Length: 99",
        "ContentLength: 0",
        "content_length: 0",
    ] {
        let bytes = post_json(format!("{line}\r\n"));
        cases.passed(format!("{line} beside CL"), bytes, Meant::post("{}"));
    }
    for line in ["Transfer_Encoding: chunked", "Content_Length: 12"] {
        let fields = format!("Host: localhost\r\n{line}\r\n");
        let bytes = request(post_line(), fields, "2\r\n{}\r\n0\r\n\r\n");
        let replies = [Reply::Passed(Meant::post("")), Reply::Refused(MALFORMED.0, MALFORMED.1)];
        cases.add(format!("{line} frames nothing"), bytes, replies);
    }
    // The line above the fold is judged first, and is empty.
    for lines in ["Transfer-Encoding:\r\n chunked\r\n", "Content-Length:\r\n\t2\r\n"] {
        cases.refused(shown(lines), post(lines, format!("0\r\n\r\n{SMUGGLED}")), AMBIGUOUS);
    }
    for lines in [
        &b"Content-Length : 2\r\n"[..],
        b"Content-Length\t: 2\r\n",
        b"Content Length: 2\r\n",
        b"Content-Length\0: 2\r\n",
        b"Content-Length\xff: 2\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding\t: chunked\r\n",
        b"Transfer Encoding: chunked\r\n",
        b"\0Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding\x0b: chunked\r\n",
        b"Transfer-Encoding\xff: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n , identity\r\n",
        b"Content-Length: 2\r\n 0\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"X-A: b\rTransfer-Encoding: chunked\r\n",
        b"X-A: b\nTransfer-Encoding: chunked\r\n",
        b"X-A: b\r\rTransfer-Encoding: chunked\r\n",
        b"X-A: b\n\rTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\nchunked\r\n",
        b"Transfer-Encoding: chunked\n",
        b"Content-Length: 2\n",
        b"X-A: b\x85Transfer-Encoding: chunked\x00\r\n",
    ] {
        cases.refused(shown(lines), post(lines, format!("0\r\n\r\n{SMUGGLED}")), MALFORMED);
    }
}

/// A body that ends before its length does: it was waited for, so nothing was sent.
fn short_bodies(cases: &mut Cases) {
    for (name, length, body) in
        [("no body", 2, ""), ("half a body", 4, "{}"), ("all but one byte", 3, "{}")]
    {
        let bytes = post(format!("Content-Length: {length}\r\n"), body);
        cases.refused(name, bytes, (400, "body_broken")).end(End::Goes);
    }
    let mut bytes = post("Content-Length: 20000\r\n", "");
    let head = bytes.len();
    bytes.extend([b'a'; 10_000]);
    let case = cases.add("half of a long body", bytes, [Reply::Broken(400, "body_broken")]);
    case.pace(super::case::Pace::OnceUnderWay(head + 5_000)).end(End::Goes);
    cases.passed("a GET without a body", get("/api/x"), Meant::get("/api/x"));
}
