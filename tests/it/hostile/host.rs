//! Whom a caller believes to talk to: one `Host`, and one of ours (RFC 9112, section 3.2). A web
//! page that points its own name at loopback is found by it.

use super::case::{Cases, Meant, SMUGGLED, field, request, shown};

const INVALID: (u16, &str) = (400, "host_invalid");
const FOREIGN: (u16, &str) = (421, "host_refused");

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    count(&mut cases);
    ours(&mut cases);
    foreign(&mut cases);
    malformed(&mut cases);
    absolute(&mut cases);
    old(&mut cases);
    disguised(&mut cases);
    cases
}

fn with(line: &str, hosts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut fields: Vec<u8> = hosts.iter().flat_map(|host| field("Host", host)).collect();
    fields.extend(b"Connection: close\r\n");
    request(line, fields, SMUGGLED)
}

const LINE: &str = "GET /api/x HTTP/1.1";

fn meant() -> Meant {
    Meant::get("/api/x")
}

fn count(cases: &mut Cases) {
    cases.refused("none", with(LINE, &[] as &[&str]), INVALID);
    for hosts in [
        &["localhost", "localhost"][..],
        &["localhost", "LOCALHOST"],
        &["localhost", "localhost:80"],
        &["localhost", "127.0.0.1"],
        &["localhost", "evil.example"],
        &["evil.example", "localhost"],
        &["localhost", ""],
        &["", "localhost"],
        &["localhost", "localhost", "localhost"],
    ] {
        cases.refused(format!("the lines {hosts:?}"), with(LINE, hosts), INVALID);
    }
    let apart = request(
        LINE,
        "Host: localhost\r\nX-A: b\r\nConnection: close\r\nhOST: evil.example\r\n",
        "",
    );
    cases.refused("two lines apart, in another case", apart, INVALID);
}

fn ours(cases: &mut Cases) {
    for host in [
        "localhost",
        "LocalHost",
        "localhost:1",
        "localhost:65535",
        "localhost:",
        "127.0.0.1",
        "127.0.0.1:7253",
        "[::1]",
        "[::1]:80",
        "\tlocalhost\t",
        "  localhost:80  ",
    ] {
        cases.passed(shown(host), with(LINE, &[host]), meant());
    }
}

fn foreign(cases: &mut Cases) {
    for host in [
        "",
        "evil.example",
        "evil.example:7253",
        "localhost.",
        "localhost..",
        ".localhost",
        "localhost.evil.example",
        "evil.localhost",
        "localhost:80:80",
        "localhost, evil.example",
        "evil.example, localhost",
        "localhost,localhost",
        "localhost evil.example",
        "localhost\tevil.example",
        "localhost/",
        "localhost/api",
        "localhost?x",
        "localhost#x",
        "localhost\\",
        "evil.example#localhost",
        "evil.example\\localhost",
        "user@localhost",
        "localhost@evil.example",
        "\"localhost\"",
        "%6cocalhost",
        "localhost%00",
        "localhost%20",
        "xn--lcalhost-n4a",
        "127.0.0.2",
        "127.1",
        "127.0.0.1.",
        "0127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "0",
        "::1",
        "[::1",
        "::1]",
        "[::]",
        "[::2]",
        "[::1]x",
        "[[::1]]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::1%25lo]",
        "[localhost]",
        "169.254.169.254",
        "*",
    ] {
        cases.refused(format!("foreign {}", shown(host)), with(LINE, &[host]), FOREIGN);
    }
}

fn malformed(cases: &mut Cases) {
    for host in [
        &b"localhost:x"[..],
        b"localhost:-1",
        b"localhost:+80",
        b"localhost: 80",
        b"localhost:80x",
        b"localhost:80/api",
        b"localhost:0x50",
        b"http://localhost",
        b"user:password@localhost",
        b"localhost:80, evil.example:80x",
        b"l\xc3\xb6calhost",
        b"localhost\xff",
        b"loc\xe2\x80\x8balhost",
    ] {
        cases.refused(format!("malformed {}", shown(host)), with(LINE, &[host]), INVALID);
    }
}

/// The absolute form beats `Host` (RFC 9112, section 3.2.2).
fn absolute(cases: &mut Cases) {
    let (own, evil) =
        ("GET http://localhost/api/x HTTP/1.1", "GET http://evil.example/api/x HTTP/1.1");
    cases.passed("an absolute form and a foreign Host", with(own, &["evil.example"]), meant());
    cases.passed("an absolute form and our own Host", with(own, &["localhost"]), meant());
    cases.refused("a foreign absolute form", with(evil, &["localhost"]), FOREIGN);
    cases.refused("a foreign absolute form, foreign Host", with(evil, &["evil.example"]), FOREIGN);
    let twice = with(own, &["localhost", "localhost"]);
    cases.refused("an absolute form and two Hosts", twice, INVALID);
    cases.refused("an absolute form and no Host", with(own, &[] as &[&str]), INVALID);
}

fn old(cases: &mut Cases) {
    let line = "GET /api/x HTTP/1.0";
    cases.passed("HTTP/1.0, none", with(line, &[] as &[&str]), meant());
    cases.passed("HTTP/1.0, ours", with(line, &["localhost"]), meant());
    cases.refused("HTTP/1.0, foreign", with(line, &["evil.example"]), FOREIGN);
    cases.refused("HTTP/1.0, two", with(line, &["localhost", "localhost"]), INVALID);
}

/// What other servers go by goes on, unless it folds to `Host`; `Host` itself is always written.
fn disguised(cases: &mut Cases) {
    let fields = "Host: localhost\r\nConnection: close\r\n";
    for name in ["H-ost", "_Host", "host_", "H_O_S_T"] {
        let bytes = request(LINE, format!("{fields}{name}: spoofed\r\n"), "");
        cases.passed(format!("{name} beside it"), bytes, meant());
    }
    for name in ["x-forwarded-host", "x-host", "x-original-host"] {
        let bytes = request(LINE, format!("{fields}{name}: evil.example\r\n"), "");
        cases.passed(format!("{name} beside it"), bytes, meant().with(name, "evil.example"));
    }
    let bytes = request(LINE, "Host: localhost\r\nConnection: close, host\r\n", "");
    cases.passed("named in Connection", bytes, meant());
    let alone = request(LINE, "X-Forwarded-Host: localhost\r\nConnection: close\r\n", "");
    cases.refused("only a forwarded one", alone, INVALID);
}
