//! Lines, and the bytes in them (RFC 9112, sections 2 to 5); what is not HTTP/1 at all.

use super::case::{
    Cases, End, Meant, OWN, Reply, SMUGGLED, field, post, post_json, post_line, request, shown,
};
use crate::support::SMS;

const MALFORMED: (u16, &str) = (400, "request_malformed");
const TOO_LARGE: (u16, &str) = (431, "head_too_large");
const TOO_LONG: (u16, &str) = (414, "target_too_long");
const HEAD_SIZE: usize = 16 * 1024;

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    controls(&mut cases);
    lines(&mut cases);
    names(&mut cases);
    values(&mut cases);
    sizes(&mut cases);
    beginnings(&mut cases);
    versions(&mut cases);
    request_lines(&mut cases);
    methods(&mut cases);
    other_protocols(&mut cases);
    unfinished(&mut cases);
    cases
}

fn controls(cases: &mut Cases) {
    let all = || (0..b' ').chain([0x7f]);
    for byte in all().filter(|byte| *byte != b'\t') {
        let value = [b"a", &[byte][..], b"b"].concat();
        cases.refused(
            format!("a value with {byte:#04x}"),
            post(field("X-A", value), ""),
            MALFORMED,
        );
    }
    for byte in all().chain([b' ']) {
        let name = [b"X", &[byte][..], b"A"].concat();
        cases.refused(format!("a name with {byte:#04x}"), post(field(name, "b"), ""), MALFORMED);
    }
    for byte in all() {
        let line = [b"GET /api/a", &[byte][..], b"b HTTP/1.1"].concat();
        let refusal = if byte == b'\n' { MALFORMED } else { (400, "target_refused") };
        cases.refused(format!("a target with {byte:#04x}"), request(line, OWN, ""), refusal);
    }
    for byte in [b'\0', b'\t', b'\r', b'\n', 0x0b, 0x1f, 0x7f, 0x80, 0xff, b'(', b':', b'"'] {
        let line = [b"PO", &[byte][..], b"ST /api/a HTTP/1.1"].concat();
        cases.refused(format!("a method with {byte:#04x}"), request(line, OWN, ""), MALFORMED);
    }
}

fn lines(cases: &mut Cases) {
    let line = post_line();
    for (name, bytes) in [
        ("only LF", format!("{line}\nHost: localhost\n\n")),
        ("LF behind the request line", format!("{line}\nHost: localhost\r\n\r\n")),
        ("LF behind a header", format!("{line}\r\nHost: localhost\n\r\n")),
        ("LF as the empty line", format!("{line}\r\nHost: localhost\r\n\n")),
        ("CR CR LF behind a header", format!("{line}\r\nHost: localhost\r\r\n\r\n")),
        ("CR CR LF as the empty line", format!("{line}\r\nHost: localhost\r\n\r\r\n")),
        ("CR CR LF behind the request line", format!("{line}\r\r\nHost: localhost\r\n\r\n")),
        ("LF CR behind a header", format!("{line}\r\nHost: localhost\n\r\r\n\r\n")),
        ("a fold with a space", format!("{line}\r\n{OWN}X-A: b\r\n c\r\n\r\n")),
        ("a fold with a tab", format!("{line}\r\n{OWN}X-A: b\r\n\tc\r\n\r\n")),
        ("a fold of nothing", format!("{line}\r\n{OWN}X-A: b\r\n \r\n\r\n")),
        ("a fold as the first header", format!("{line}\r\n X-A: b\r\n{OWN}\r\n")),
        ("a fold in Host", format!("{line}\r\nHost:\r\n localhost\r\n\r\n")),
        ("a fold in AppKey", format!("{line}\r\n{OWN}AppKey:\r\n spoofed\r\n\r\n")),
        ("a fold that names AppKey", format!("{line}\r\n{OWN}X-A: b\r\n AppKey: c\r\n\r\n")),
    ] {
        cases.refused(name, format!("{bytes}{SMUGGLED}"), MALFORMED);
    }
}

fn names(cases: &mut Cases) {
    for delimiter in b"\"(),/;<=>?@[\\]{}" {
        let name = [b"X", &[*delimiter][..], b"A"].concat();
        cases.refused(format!("a name {}", shown(&name)), post(field(name, "b"), ""), MALFORMED);
    }
    for line in [
        &b"no colon"[..],
        b"nocolon",
        b":",
        b": no name",
        b":: b",
        b"Host : localhost",
        b"Host\t: localhost",
        b"X-A :b",
        b"\xc3\xbc: b",
        b"X\xa0A: b",
        b"\xef\xbb\xbfX-A: b",
        b"GET /api/smuggled HTTP/1.1",
    ] {
        cases.refused(
            format!("a line {}", shown(line)),
            post([line, b"\r\n"].concat(), ""),
            MALFORMED,
        );
    }
    for name in ["!#$%&'*+-.^_`|~09", "x", "X"] {
        let bytes = post_json(field(name, "b"));
        cases.passed(format!("a good name {name}"), bytes, Meant::post("{}"));
    }
    let long = "x".repeat(15_000);
    cases.passed("a name of 15000 bytes", post_json(field(&long, "b")), Meant::post("{}"));
    let long = "x".repeat(HEAD_SIZE);
    cases.refused("a name of 16 KiB", post_json(field(&long, "b")), TOO_LARGE);
}

fn values(cases: &mut Cases) {
    for (line, value) in [
        ("X-A:", ""),
        ("X-A:   ", ""),
        ("X-A:b", "b"),
        ("X-A: \t b \t ", "b"),
        ("X-A: b\tc", "b\tc"),
        ("X-A: ::b", "::b"),
        ("X-A: \u{fc}\u{4f60}", "\u{fc}\u{4f60}"),
        ("X-A: \"b", "\"b"),
        ("X-A: b\\r\\nAppKey: c", "b\\r\\nAppKey: c"),
        ("X-A: b%0d%0aAppKey: c", "b%0d%0aAppKey: c"),
    ] {
        let bytes = post_json(format!("{line}\r\n"));
        let meant = Meant::post("{}").with("x-a", value);
        cases.passed(format!("a value in {}", shown(line)), bytes, meant);
    }
    let beyond = post_json(b"X-A: \xff\xfe\x80\r\n");
    cases.passed("a value beyond UTF-8", beyond, Meant::post("{}"));
}

fn sizes(cases: &mut Cases) {
    let of_size = |size: usize| {
        let empty = post_json(field("X-A", "")).len() - 2; // without the body
        post_json(field("X-A", "a".repeat(size - empty)))
    };
    for size in [8 * 1024, HEAD_SIZE - 1, HEAD_SIZE] {
        cases.passed(format!("a head of {size} bytes"), of_size(size), Meant::post("{}"));
    }
    for size in [HEAD_SIZE + 1, HEAD_SIZE + 2, 2 * HEAD_SIZE, 100_000, 1_000_000] {
        cases.refused(format!("a head of {size} bytes"), of_size(size), TOO_LARGE);
    }
    let endless = format!("{}\r\n{OWN}X-A: {}", post_line(), "a".repeat(HEAD_SIZE));
    cases.refused("a head without end", endless, TOO_LARGE);
    for count in [98, 99, 100] {
        // `OWN` and the length are three.
        let fields = "A: b\r\n".repeat(count - 3);
        cases.passed(format!("{count} headers"), post_json(fields), Meant::post("{}"));
    }
    for count in [101, 102, 103, 1000] {
        let fields = "A: b\r\n".repeat(count - 3);
        cases.refused(format!("{count} headers"), post_json(fields), TOO_LARGE);
    }
    let target = |length: usize| format!("/api/{}", "a".repeat(length - 5));
    let line = |target: &str| request(format!("GET {target} HTTP/1.1"), OWN, "");
    for length in [8191, 8192] {
        let target = target(length);
        cases.passed(format!("a target of {length} bytes"), line(&target), Meant::get(&target));
    }
    for length in [8193, 10_000, 20_000] {
        cases.refused(format!("a target of {length} bytes"), line(&target(length)), TOO_LONG);
    }
    let query = format!("/api/x?{}", "a".repeat(8192));
    cases.refused("a query of 8 KiB", line(&query), TOO_LONG);
    let absolute = format!("http://localhost/api/{}", "a".repeat(8192));
    cases.refused("a URI of 8 KiB", line(&absolute), TOO_LONG);
}

fn beginnings(cases: &mut Cases) {
    let plain = String::from_utf8(post_json("")).unwrap();
    cases.passed("an empty line before it", format!("\r\n{plain}"), Meant::post("{}"));
    for before in ["\r\n\r\n", "\n", "\r", "\r\r\n", " ", "\t", " \r\n", "\0", "\u{feff}", "\u{b}"]
    {
        cases.refused(format!("{before:?} before it"), format!("{before}{plain}"), MALFORMED);
    }
    cases.refused("two empty lines and nothing else", "\r\n\r\n", MALFORMED);
}

fn versions(cases: &mut Cases) {
    for version in ["HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/9.9"] {
        let bytes = request(format!("POST {SMS} {version}"), OWN, SMUGGLED);
        cases.refused(format!("the version {version}"), bytes, (505, "version_unsupported"));
    }
    for version in [
        "http/1.1",
        "Http/1.1",
        "HTTP/1",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1,1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/a.b",
        "HTTP/-1.1",
        "HTTP/1.1x",
        "HTTPS/1.1",
        "HTTP1.1",
        "HTTP\\1.1",
        "1.1",
        "",
    ] {
        let bytes = request(format!("POST {SMS} {version}"), OWN, SMUGGLED);
        cases.refused(format!("the version {version:?}"), bytes, MALFORMED);
    }
    for bytes in ["GET /api/x\r\n", "GET /\r\n\r\n", "GET /api/x\r\nHost: localhost\r\n\r\n"] {
        cases.refused(format!("HTTP/0.9, {bytes:?}"), bytes, MALFORMED);
    }
    let old = format!("POST {SMS} HTTP/1.0");
    for (name, fields, end) in [
        ("HTTP/1.0", "Host: localhost\r\n", End::Stays),
        ("HTTP/1.0 without Host", "", End::Stays),
        ("HTTP/1.0 that is kept alive", "Connection: keep-alive\r\n", End::LeavesAnswered),
    ] {
        let bytes = request(&old, format!("{fields}Content-Length: 2\r\n"), "{}");
        cases.passed(name, bytes, Meant::post("{}")).end(end);
    }
}

fn request_lines(cases: &mut Cases) {
    for line in [
        "POST  /api/x HTTP/1.1",
        "POST /api/x  HTTP/1.1",
        "POST /api/x HTTP/1.1 ",
        "POST /api/x HTTP/1.1\t",
        "POST\t/api/x HTTP/1.1",
        "POST\u{b}/api/x\u{b}HTTP/1.1",
        "POST /api/x y HTTP/1.1",
        "POST /api/x HTTP/1.1 HTTP/1.1",
        "POST /api/xHTTP/1.1",
        "POST/api/x HTTP/1.1",
        "/api/x HTTP/1.1",
        " /api/x HTTP/1.1",
        "POST HTTP/1.1",
        "POST",
        "nonsense",
        "HTTP/1.1 200 OK",
        "PRI * HTTP/2.0 ",
    ] {
        cases.refused(format!("the line {line:?}"), request(line, OWN, ""), MALFORMED);
    }
    let line = request("POST /api/x\tHTTP/1.1 HTTP/1.1", OWN, "");
    cases.refused("a version in the target", line, (400, "target_refused"));
    let empty = request("POST  HTTP/1.1", OWN, "");
    cases.refused("an empty target", empty, (400, "target_refused"));
}

/// Names of methods are case-sensitive, and any token is one (RFC 9110, section 9.1).
fn methods(cases: &mut Cases) {
    let long = "X".repeat(32);
    for method in ["post", "get", "Post", "BREW", "M-SEARCH", "PROPFIND", "PRI", "A!#$'~", &long] {
        let fields = format!("{OWN}Content-Length: 2\r\n");
        let bytes = request(format!("{method} {SMS} HTTP/1.1"), fields, "{}");
        cases.passed(format!("the method {}", shown(method)), bytes, Meant::new(method, SMS, "{}"));
    }
    let longer = request(format!("{long}X {SMS} HTTP/1.1"), OWN, "");
    cases.refused("a method of 33 bytes", longer, MALFORMED);
}

fn other_protocols(cases: &mut Cases) {
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa";
    for (name, bytes) in [
        ("TLS", &hello[..]),
        ("TLS with a line end in it", &[&hello[..], b"\r\n\r\n"].concat()),
        ("SOCKS 4", b"\x04\x01\0\x50\x7f\0\0\x01\0"),
        ("SOCKS 5", b"\x05\x01\0"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("SMTP", b"EHLO localhost\r\nMAIL FROM:<a@localhost>\r\n"),
        ("Redis", b"*1\r\n$4\r\nINFO\r\n"),
        ("memcached", b"stats\r\n"),
        ("PROXY", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /api/x HTTP/1.1\r\n\r\n"),
        ("PROXY 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"),
        ("FastCGI", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0"),
        ("HTTP/2 frames", b"\0\0\0\x04\0\0\0\0\0"),
        ("zeros", &[0; 64]),
        ("ones", &[0xff; 64]),
    ] {
        cases.refused(name, bytes, MALFORMED);
    }
    for seed in 1..=5_u64 {
        cases.refused(format!("random bytes, {seed}"), noise(seed), MALFORMED);
    }
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    cases.add("HTTP/2", preface, [Reply::GoAway]);
    cases.add("the first line of HTTP/2", &preface[..16], [Reply::GoAway]);
    let bytes = request("PRI * HTTP/1.1", OWN, "");
    cases.refused("HTTP/2's first line as HTTP/1.1", bytes, (400, "target_refused"));
}

/// The same bytes in every run (xorshift), the first of them of no method.
fn noise(mut seed: u64) -> Vec<u8> {
    let next = move |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..64).flat_map(next).collect();
    bytes[0] |= 0x80;
    bytes
}

/// Nothing was asked, so nothing is answered.
fn unfinished(cases: &mut Cases) {
    let plain = String::from_utf8(post_json("")).unwrap();
    let head = plain.len() - 2;
    for (name, bytes) in [
        ("nothing", ""),
        ("a CR", "\r"),
        ("an empty line", "\r\n"),
        ("half a method", "PO"),
        ("half a request line", "POST /api/x"),
        ("a request line without its LF", "POST /api/x HTTP/1.1\r"),
        ("a request line", "POST /api/x HTTP/1.1\r\n"),
        ("half a header", "POST /api/x HTTP/1.1\r\nHost: loc"),
        ("a head without its empty line", &plain[..head - 2]),
        ("a head without its last LF", &plain[..head - 1]),
        ("a head with only CRs", "POST /api/x HTTP/1.1\rHost: localhost\r\r"),
    ] {
        cases.add(format!("{name}, then the end"), bytes, []).end(End::Goes);
    }
}
