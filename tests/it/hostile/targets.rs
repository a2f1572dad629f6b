//! What is asked for: a path with one spelling, on the list, of this proxy (RFC 9112, section 3.2).

use super::case::{Cases, Meant, OWN, get, request, shown};

const REFUSED: (u16, &str) = (400, "target_refused");
const FOREIGN: (u16, &str) = (421, "host_refused");
const FORBIDDEN: (u16, &str) = (403, "policy_refused");

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    absolute(&mut cases);
    elsewhere(&mut cases);
    dot_segments(&mut cases);
    encodings(&mut cases);
    odd_bytes(&mut cases);
    tunnels(&mut cases);
    off_the_list(&mut cases);
    good(&mut cases);
    cases
}

fn refused(cases: &mut Cases, target: impl AsRef<[u8]>, refusal: (u16, &'static str)) {
    cases.refused(shown(&target), get(target), refusal);
}

fn absolute(cases: &mut Cases) {
    for (target, reduced) in [
        ("http://localhost/api/x", "/api/x"),
        ("http://localhost:1/api/x?y=1", "/api/x?y=1"),
        ("HTTP://LOCALHOST/api/x", "/api/x"),
        ("https://127.0.0.1/api/x", "/api/x"),
        ("http://[::1]:80/api/x", "/api/x"),
    ] {
        cases.passed(target, get(target), Meant::get(reduced));
    }
    for target in [
        "http://evil.example/api/x",
        "https://evil.example/api/x",
        "http://evil.example:443/api/x",
        "http://localhost.evil.example/api/x",
        "http://evil.example%23localhost/api/x",
        "http://localhost@evil.example/api/x",
        "http://evil.example@localhost/api/x",
        "http://api.innopaas.com.evil.example/api/x",
        "http://localhost./api/x",
        "http://127.0.0.2/api/x",
        "http://169.254.169.254/api/x",
        "http://[::2]/api/x",
    ] {
        let either = target.contains('%');
        refused(cases, target, if either { REFUSED } else { FOREIGN });
    }
    for target in ["http://user:password@localhost/api/x", "http://localhost:x/api/x"] {
        refused(cases, target, (400, "host_invalid"));
    }
    for target in [
        "http:///api/x",
        "http://",
        "http:/api/x",
        "http:api/x",
        "http:",
        "://localhost/api/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ftp://localhost/api/x",
        "ws://localhost/api/x",
        "gopher://localhost/api/x",
        "http://local host/api/x",
        "http://localhost/api/../x",
        "http://localhost/api//x",
        "http://localhost//evil.example/api",
        "http://localhost\\api/x",
        "http:\\\\localhost/api/x",
        "http://localhost/api/x#y",
        "http://[::1/api/x",
    ] {
        if target.contains(' ') {
            refused(cases, target, (400, "request_malformed"));
        } else {
            refused(cases, target, REFUSED);
        }
    }
    for target in ["http://localhost", "http://localhost/", "http://localhost?api/x"] {
        refused(cases, target, FORBIDDEN);
    }
}

/// What would lead elsewhere, were it glued to an origin.
fn elsewhere(cases: &mut Cases) {
    for target in [
        "//evil.example/api/x",
        "///evil.example/api/x",
        "/\\evil.example/api/x",
        "\\\\evil.example\\api",
        "@evil.example/api/x",
        ".evil.example/api/x",
        ":80/api/x",
        ":80@evil.example/api/x",
        "evil.example",
        "evil.example:443",
        "localhost:80",
        "api/x",
        "?x",
        "*",
        "*/api/x",
        "/api//x",
        "/api/x//",
    ] {
        refused(cases, target, REFUSED);
    }
}

fn dot_segments(cases: &mut Cases) {
    for target in [
        "/..",
        "/.",
        "/../api/x",
        "/api/..",
        "/api/.",
        "/api/./x",
        "/api/../x",
        "/api/../../x",
        "/api/x/..?y",
        "/api/%2e%2e/x",
        "/api/%2E%2E/x",
        "/api/.%2e/x",
        "/api/%2e./x",
        "/api/%2e/x",
        "/api/..%2fx",
        "/api/..%5cx",
        "/api/..\\x",
        "/api\\..\\x",
        "/api/..;/x",
        "/api/..;a=b/x",
        "/api/%2e%2e%2fx",
        "/api/%252e%252e/x",
        "/api/%25%32%65/x",
        "/api/%%32%65/x",
        "/api/%u002e%u002e/x",
        "/api/%c0%ae%c0%ae/x",
        "/api/..%00/x",
        "/api/..%0d/x",
    ] {
        refused(cases, target, REFUSED);
    }
}

fn encodings(cases: &mut Cases) {
    for encoded in [
        "%2f",
        "%2F",
        "%5c",
        "%5C",
        "%25",
        "%3b",
        "%3B",
        "%00",
        "%09",
        "%0a",
        "%0d",
        "%1f",
        "%7f",
        "%0d%0aHost:%20evil",
        "%41",
        "%61",
        "%30",
        "%2d",
        "%5f",
        "%7e",
        "%2e",
        "%ff",
        "%fe",
        "%c3",
        "%c0%af",
        "%e0%80%af",
        "%ed%a0%80",
        "%f8%88%80%80%80",
        "%f4%90%80%80",
        "%",
        "%2",
        "%zz",
        "%2g",
        "%+2",
        "%%",
        "%u0041",
    ] {
        refused(cases, format!("/api/x{encoded}"), REFUSED);
    }
    for query in ["%", "%2", "%zz", "a=%u0041"] {
        refused(cases, format!("/api/x?{query}"), REFUSED);
    }
}

fn odd_bytes(cases: &mut Cases) {
    for target in [
        &b"/api;a=b/x"[..],
        b"/api/x;jsessionid=1",
        b"/api/x#y",
        b"/api/x?y#z",
        b"/api/x#",
        b"/api/\xc3\xbc",
        b"/api/\xc0\xaf",
        b"/api/\xff",
        b"/api/x?\xc3\xbc",
        b"/api/x?\xff",
        b"/api/\xe2\x80\xa5/x", // a two dot leader
        b"/api/\xef\xbc\x8fx",  // a fullwidth slash
        b"/api/\"x\"",
        b"/api/<x>",
        b"/api/`x`",
        b"/api/{x}",
        b"/api/x|y",
        b"/api/x^y",
        b"/api/[x]",
        b"/api/x?\"y\"",
        b"/api/x?<y>",
        b"/api/x?`y`",
    ] {
        refused(cases, target, REFUSED);
    }
}

fn tunnels(cases: &mut Cases) {
    for line in [
        "CONNECT api.innopaas.com:443 HTTP/1.1",
        "CONNECT localhost:443 HTTP/1.1",
        "CONNECT evil.example:443 HTTP/1.1",
        "CONNECT /api/x HTTP/1.1",
        "CONNECT http://localhost/api/x HTTP/1.1",
        "CONNECT api.innopaas.com:443 HTTP/1.0",
        "TRACE /api/x HTTP/1.1",
        "TRACE http://localhost/api/x HTTP/1.1",
        "TRACE * HTTP/1.1",
        "connect /api/x HTTP/1.1",
        "Trace /api/x HTTP/1.1",
    ] {
        cases.refused(line, request(line, OWN, ""), (405, "method_refused"));
    }
    let fields = format!("{OWN}Max-Forwards: 0\r\n");
    let bytes = request("TRACE /api/x HTTP/1.1", fields, "");
    cases.refused("TRACE for this hop", bytes, (405, "method_refused"));
    let line = "OPTIONS * HTTP/1.1";
    cases.refused(line, request(line, OWN, ""), REFUSED);
}

fn off_the_list(cases: &mut Cases) {
    for target in [
        "/",
        "/api",
        "/api?x=/api/x",
        "/apix",
        "/API/x",
        "/Api/x",
        "/x/api/x",
        "/admin",
        "/status",
        "/metrics",
        "/.env",
        "/?/api/x",
        "/%20api/x",
        "/api%20/x",
        "/api*/x",
        "/*",
    ] {
        refused(cases, target, FORBIDDEN);
    }
}

/// What looks odd and has one meaning all the same goes as it came.
fn good(cases: &mut Cases) {
    for target in [
        "/api/x",
        "/api/x/",
        "/api/...",
        "/api/.x",
        "/api/x..",
        "/api/a-b._~!$&'()*+,=:@",
        "/api/@evil.example",
        "/api/http:",
        "/api/%E4%BD%A0%20x",
        "/api/%e4%bd%a0",
        "/api/x?",
        "/api/x??",
        "/api/x?a=../..//;\\&c[]=1",
        "/api/x?a=%2e%2F%00%0d%0a",
        "/api/x?u=http://evil.example/",
        "/api/x?a=b|c{d}^e",
    ] {
        cases.passed(target, get(target), Meant::get(target));
    }
}
