//! Callers that are web pages: a browser on the same machine reaches the proxy as well as the
//! application does, and marks what a page makes it send. Nothing here may be answered in a way
//! that lets a page read it; `bench` looks for CORS headers in every refusal.

use super::case::{Cases, Meant, OWN, field, get, post_json, request, shown};
use crate::support::SMS;

const BROWSER: (u16, &str) = (403, "browser_refused");

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    marks(&mut cases);
    preflights(&mut cases);
    pages(&mut cases);
    no_browsers(&mut cases);
    cases
}

fn marks(cases: &mut Cases) {
    for line in [
        "Origin: null",
        "Origin: https://evil.example",
        "Origin: http://localhost",
        "Origin: http://localhost:7253",
        "Origin: http://127.0.0.1:7253",
        "Origin: file://",
        "Origin: chrome-extension://abc",
        "Origin:",
        "ORIGIN: null",
        "origin: \u{fc}",
        "Origin: a\r\nOrigin: b",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site:",
        "SEC-FETCH-SITE: none",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Dest: document",
        "Sec-Fetch-Dest: image",
        "Sec-Fetch-Dest:",
        "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site",
        "Connection: origin\r\nOrigin: null",
        "Connection: sec-fetch-site\r\nSec-Fetch-Site: none",
    ] {
        cases.refused(shown(line), post_json(format!("{line}\r\n")), BROWSER);
    }
    let old = request(format!("POST {SMS} HTTP/1.0"), "Origin: null\r\n", "");
    cases.refused("Origin in HTTP/1.0", old, BROWSER);
}

fn preflights(cases: &mut Cases) {
    for (name, fields) in [
        ("POST", "Access-Control-Request-Method: POST\r\n"),
        (
            "our headers",
            "Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: appkey, authorization, content-type\r\n",
        ),
        (
            "a private network",
            "Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Private-Network: true\r\n",
        ),
    ] {
        let fields = format!("{OWN}Origin: https://evil.example\r\n{fields}");
        let bytes = request(format!("OPTIONS {SMS} HTTP/1.1"), fields, "");
        cases.refused(format!("a preflight for {name}"), bytes, BROWSER);
    }
}

/// What a page can make a browser send without asking first.
fn pages(cases: &mut Cases) {
    let page = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
    for (name, fields) in [
        ("a form", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"),
        ("a beacon", "Sec-Fetch-Mode: no-cors\r\nContent-Type: text/plain;charset=UTF-8\r\n"),
        ("a form with plain text", "Content-Type: text/plain\r\n"),
        ("a form with its own type", "Content-Type: application/x-www-form-urlencoded\r\n"),
        ("a form with a file", "Content-Type: multipart/form-data; boundary=x\r\n"),
        ("a fetch", "Sec-Fetch-Mode: cors\r\nContent-Type: application/json\r\n"),
        ("a fetch with credentials", "Cookie: a=b\r\nAuthorization: spoofed\r\n"),
        ("a WebSocket", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
    ] {
        let bytes = post_json(format!("{page}{fields}"));
        cases.refused(format!("{name} from a page"), bytes, BROWSER);
    }
    let image = format!("{OWN}Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\n");
    cases.refused("an image", request("GET /api/x HTTP/1.1", image, ""), BROWSER);
    let rebound = "Host: evil.example:7253\r\nConnection: close\r\nOrigin: http://evil.example\r\n";
    let bytes = request(format!("POST {SMS} HTTP/1.1"), rebound, "");
    cases.refused("a page that points its name here", bytes, (421, "host_refused"));
    // Older browsers mark no request to what they take for their own origin.
    let unmarked = "Host: evil.example:7253\r\nConnection: close\r\n";
    let bytes = request("GET /api/x HTTP/1.1", unmarked, "");
    cases.refused("the same, unmarked", bytes, (421, "host_refused"));
    for kind in ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded"] {
        let bytes = post_json(field("Content-Type", kind));
        let name = format!("an unmarked form with {kind}");
        cases.refused(name, bytes, (415, "content_type_refused"));
    }
}

fn no_browsers(cases: &mut Cases) {
    for (name, value) in [
        ("sec-fetch-mode", "cors"),
        ("referer", "https://evil.example/"),
        ("x-origin", "null"),
        ("access-control-request-method", "POST"),
    ] {
        let bytes = post_json(field(name, value));
        let meant = Meant::post("{}").with(name, value);
        cases.passed(format!("{name} alone is no browser's mark"), bytes, meant);
    }
    let bytes = request(format!("OPTIONS {SMS} HTTP/1.1"), OWN, "");
    cases.passed("OPTIONS without Origin", bytes, Meant::new("OPTIONS", SMS, ""));
    cases.passed("a call without a mark", get("/api/x"), Meant::get("/api/x"));
}
