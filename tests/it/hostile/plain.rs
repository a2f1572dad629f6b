//! Plain requests: a table of refusals proves nothing about a proxy that serves nobody.

use super::case::{Cases, Meant, OWN, field, get, post, post_json, request};
use crate::support::{SMS, UPLOAD};

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    cases.passed("a GET", get("/api/x"), Meant::get("/api/x"));
    cases.passed("a query", get("/api/x?a=1&b=2"), Meant::get("/api/x?a=1&b=2"));
    cases.passed("an SMS", post_json(field("Content-Type", "application/json")), Meant::post("{}"));
    cases.passed("no content type", post_json(""), Meant::post("{}"));
    for method in ["HEAD", "DELETE", "OPTIONS"] {
        let bytes = request(format!("{method} /api/x HTTP/1.1"), OWN, "");
        cases.passed(method, bytes, Meant::new(method, "/api/x", ""));
    }
    for method in ["PUT", "PATCH"] {
        let fields = format!("{OWN}Content-Length: 2\r\n");
        let bytes = request(format!("{method} {SMS} HTTP/1.1"), fields, "{}");
        cases.passed(method, bytes, Meant::new(method, SMS, "{}"));
    }
    let chunked = post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n");
    cases.passed("chunks", chunked, Meant::post("{}"));
    let text = r#"{"mobile":"8613800000000","msg":"你好"}"#;
    let bytes = post(field("Content-Length", text.len().to_string()), text);
    cases.passed("UTF-8", bytes, Meant::post(text));
    let long = "a".repeat(100_000);
    let bytes = post(field("Content-Length", long.len().to_string()), &long);
    cases.passed("a long body", bytes, Meant::post(&long));
    let binary: Vec<u8> = (0..=255).collect();
    let bytes = post("Content-Length: 256\r\n", &binary);
    cases.passed("every byte", bytes, Meant::post(&binary));
    let kind = "multipart/form-data; boundary=x";
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\na\r\n--x--\r\n";
    let fields = format!("{OWN}Content-Type: {kind}\r\nContent-Length: {}\r\n", form.len());
    let bytes = request(format!("POST {UPLOAD} HTTP/1.1"), fields, form);
    let meant = Meant::new("POST", UPLOAD, form).with("content-type", kind);
    cases.passed("an upload", bytes, meant);
    let curl = "User-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json\r\n";
    let meant = Meant::post("{}").with("user-agent", "curl/8.5.0").with("accept", "*/*");
    cases.passed("curl", post_json(curl), meant);
    let java = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n\
                Upgrade: h2c\r\nUser-Agent: Java-http-client/21\r\n";
    cases.passed("Java", post_json(java), Meant::post("{}").without("http2-settings"));
    let node = "accept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n\
                accept-encoding: gzip, deflate\r\n";
    cases.passed("Node", post_json(node), Meant::post("{}").with("accept-language", "*"));
    let old = request(format!("POST {SMS} HTTP/1.0"), "Content-Length: 2\r\n", "{}");
    cases.passed("HTTP/1.0", old, Meant::post("{}"));
    cases
}
