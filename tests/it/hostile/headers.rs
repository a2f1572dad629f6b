//! Headers that must not leave, or not win over ours, or not take ours away.

use super::case::{Cases, Meant, OWN, field, get, post, post_json, post_line, request, shown};
use crate::support::{SMS, UPLOAD};

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    credentials(&mut cases);
    ours(&mut cases);
    connection(&mut cases);
    hop_by_hop(&mut cases);
    upgrades(&mut cases);
    expectations(&mut cases);
    request_ids(&mut cases);
    content_types(&mut cases);
    end_to_end(&mut cases);
    cases
}

fn dropped(cases: &mut Cases, fields: impl AsRef<[u8]>) {
    let name = format!("dropped: {}", shown(fields.as_ref()));
    cases.passed(name, post_json(fields), Meant::post("{}"));
}

fn credentials(cases: &mut Cases) {
    for name in [
        "AppKey",
        "appkey",
        "APPKEY",
        "aPPkEY",
        "App-Key",
        "app-key",
        "App_Key",
        "app_key",
        "APP_KEY",
        "A-p-p-K-e-y",
        "a_p-p_k-e_y",
        "_AppKey",
        "AppKey_",
        "-AppKey",
        "AppKey-",
        "--app--key--",
        "Authorization",
        "authorization",
        "AUTHORIZATION",
        "aUTHORIZATION",
        "Authori-zation",
        "authori_zation",
        "_Authorization",
        "Authorization_",
        "Authorization-",
        "Proxy-Authorization",
        "proxy_authorization",
        "ProxyAuthorization",
        "x-appKey",
        "X-App-Key",
        "x_app_key",
        "XAPPKEY",
        "x-nonce",
        "X_Nonce",
        "x-timestamp",
        "X-Time-Stamp",
        "x-signature",
        "X_SIGNATURE",
    ] {
        dropped(cases, field(name, "spoofed"));
    }
    for fields in [
        "AppKey: spoofed\r\nAppKey: spoofed\r\n",
        "AppKey: spoofed\r\nX-A: b\r\napp_key: spoofed\r\n",
        "AppKey: spoofed, spoofed\r\n",
        "AppKey:\r\n",
        "AppKey:\r\nAuthorization:\r\n",
        "AppKey:spoofed\r\n",
        "AppKey: \t spoofed\t\r\n",
        "Authorization: Bearer spoofed\r\n",
        "Authorization: Basic spoofed\r\nAuthorization: spoofed\r\n",
        "Authorization: spoofed\r\nAppKey: spoofed\r\nAuthorization: spoofed\r\n",
        "Authorization: \"spoofed\"\r\n",
        "AppKey: spoofed\u{fc}\r\n",
    ] {
        dropped(cases, fields);
    }
    let many = field("AppKey", "spoofed").repeat(90);
    dropped(cases, many);
}

/// Other names that only the proxy writes.
fn ours(cases: &mut Cases) {
    for name in [
        "Content_Type",
        "ContentType",
        "content-type-",
        "Content_Length",
        "Transfer_Encoding",
        "H_ost",
        "X_Request_Id",
        "XRequestId",
        "Conn-ection",
    ] {
        dropped(cases, field(name, "spoofed"));
    }
}

/// What `Connection` names is dropped; ours is added after that (RFC 9110, section 7.6.1).
fn connection(cases: &mut Cases) {
    let meant = || Meant::post("{}").with("content-type", "application/json;charset=utf-8");
    for lines in [
        "Connection: close, AppKey\r\n",
        "Connection: AppKey, close\r\n",
        "Connection: close,appkey,authorization\r\n",
        "Connection: CLOSE, APPKEY, AUTHORIZATION\r\n",
        "Connection:\tclose\t,\tappkey\t\r\n",
        "Connection: close, , ,,appkey,\r\n",
        "Connection: close\r\nConnection: appkey\r\nConnection: authorization\r\n",
        "Connection: appkey\r\nConnection: close\r\n",
        "Connection: close, app_key, app-key\r\n",
        "Connection: close, host, content-type, content-length\r\n",
        "Connection: close, appkey, authorization, host, content-type, content-length, \
         transfer-encoding\r\n",
        "Connection: close, connection\r\n",
        "Connection: close, \"appkey\"\r\n",
        "Connection: close, appkey, appkey, appkey\r\n",
        "Connection: close, x-request-id, date, te, upgrade\r\n",
        "connection: close, AppKey\r\nAppKey: spoofed\r\n",
        "Connection: close, X-Hop\r\nX-Hop: spoofed\r\n",
        "X-Hop: spoofed\r\nConnection: x-hop\r\nConnection: close\r\n",
        "X-Hop: spoofed\r\nX-Hop: spoofed\r\nConnection: close, X-HOP\r\n",
        "Connection: close, keep-alive\r\nKeep-Alive: timeout=5\r\n",
        "X-Hop: spoofed\r\nConnection: \u{e9}, x-hop\r\nConnection: close\r\n",
    ] {
        let fields = format!("Host: localhost\r\nContent-Length: 2\r\n{lines}");
        let bytes = request(post_line(), fields, "{}");
        cases.passed(shown(lines), bytes, meant());
    }
    let fields = "Host: localhost\r\nConnection: close, transfer-encoding, content-length\r\n\
                  Transfer-Encoding: chunked\r\n";
    let bytes = request(post_line(), fields, "2\r\n{}\r\n0\r\n\r\n");
    let chunked = meant().with("transfer-encoding", "chunked");
    cases.passed("Connection names the framing of a chunked body", bytes, chunked);
}

fn hop_by_hop(cases: &mut Cases) {
    for line in [
        "Keep-Alive: timeout=5, max=1000",
        "Keep_Alive: spoofed",
        "Proxy-Connection: keep-alive",
        "Proxy-Connection: close, appkey",
        "Proxy-Authenticate: Basic",
        "TE: trailers",
        "TE: gzip, trailers;q=0.5",
        "Trailer: AppKey",
        "Trailer: Content-Length, Authorization",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ] {
        dropped(cases, format!("{line}\r\n"));
    }
}

fn upgrades(cases: &mut Cases) {
    for lines in [
        "Upgrade: h2c\r\n",
        "Upgrade: H2C\r\n",
        "Upgrade: h2c\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    ] {
        dropped(cases, lines);
    }
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
        "Upgrade: h2c, websocket\r\n",
        "Upgrade: websocket, h2c\r\n",
        "Upgrade: h2c\r\nUpgrade: websocket\r\n",
        "Upgrade: h2\r\n",
        "Upgrade: TLS/1.0\r\n",
        "Upgrade: HTTP/2.0\r\n",
        "Upgrade:\r\n",
        "Upgrade: \"h2c\"\r\n",
        "Upgrade: h2c\u{fc}\r\n",
    ] {
        cases.refused(shown(lines), post_json(lines), (400, "upgrade_refused"));
    }
}

fn expectations(cases: &mut Cases) {
    for lines in [
        "Expect: 100-continue\r\n",
        "Expect: 100-Continue\r\n",
        "EXPECT: 100-CONTINUE\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        dropped(cases, lines);
    }
    for lines in [
        "Expect: 200-ok\r\n",
        "Expect:\r\n",
        "Expect: 100-continue, 200-ok\r\n",
        "Expect: 100-continue;a=b\r\n",
        "Expect: 100\r\n",
        "Expect: \"100-continue\"\r\n",
        "Expect: 100-continue\r\nExpect: 200-ok\r\n",
        "Expect: y 100-continue\r\n",
    ] {
        cases.refused(shown(lines), post_json(lines), (417, "expectation_refused"));
    }
}

/// They tie the caller's side together, and do not leave.
fn request_ids(cases: &mut Cases) {
    for lines in [
        "X-Request-Id: good-1\r\n",
        "x-request-id: spoofed\r\n",
        "X-Request-Id:\r\n",
        "X-Request-Id: a b\r\n",
        "X-Request-Id: \"},{\"sent\":\"maybe\r\n",
        "X-Request-Id: a\r\nX-Request-Id: b\r\n",
        "X-Request-Id: \u{fc}\r\n",
    ] {
        dropped(cases, lines);
    }
    dropped(cases, field("X-Request-Id", "a".repeat(129)));
    // It comes back in a refusal: as data, in a head and in JSON.
    for id in ["\"},{\"code\":\"x", "a b", "<script>", "\u{fc}", "a\\"] {
        let fields = format!("{OWN}X-Request-Id: {id}\r\n");
        let bytes = request("GET /x HTTP/1.1", fields, "");
        cases.refused(format!("a refusal to {}", shown(id)), bytes, (403, "policy_refused"));
    }
}

fn content_types(cases: &mut Cases) {
    let json = || Meant::post("{}").with("content-type", "application/json;charset=utf-8");
    for value in [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
        "text/json",
        "",
    ] {
        let bytes = post_json(field("Content-Type", value));
        cases.passed(format!("the type {value:?}"), bytes, json());
    }
    for value in [
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json, text/plain",
        "text/plain, application/json",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset",
        "application/json; a=\"",
        "application/jsonx",
        "application/xml",
        "json",
        "/",
        "*/*",
        "\u{fc}/json",
    ] {
        let bytes = post_json(field("Content-Type", value));
        cases.refused(format!("the type {value:?}"), bytes, (415, "content_type_refused"));
    }
    let twice = "Content-Type: application/json\r\nContent-Type: application/json\r\n";
    cases.refused("two types", post_json(twice), (415, "content_type_refused"));
    let upload = |fields: &str| {
        let fields = format!("{OWN}Content-Length: 2\r\n{fields}");
        request(format!("POST {UPLOAD} HTTP/1.1"), fields, "{}")
    };
    let multipart = "multipart/form-data; boundary=\"a;b\"";
    let meant = Meant::new("POST", UPLOAD, "{}").with("content-type", multipart);
    cases.passed("an upload", upload(&format!("Content-Type: {multipart}\r\n")), meant);
    for fields in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: multipart/form-data\r\n",
        "Content-Type: multipart/form-data; boundary=\r\n",
        "Content-Type: multipart/form-data; boundary=a\r\nContent-Type: application/json\r\n",
    ] {
        let name = format!("an upload with {}", shown(fields));
        cases.refused(name, upload(fields), (415, "content_type_refused"));
    }
}

/// What concerns the two ends passes as it is.
fn end_to_end(cases: &mut Cases) {
    for (name, value) in [
        ("forwarded", "for=192.0.2.1;host=evil.example"),
        ("x-forwarded-for", "192.0.2.1"),
        ("via", "1.1 somebody"),
        ("cookie", "a=b"),
        ("user-agent", "test/1"),
        ("accept-encoding", "gzip"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"a\""),
        ("referer", "http://evil.example/"),
        ("x-http-method-override", "DELETE"),
        ("appkeys", "a"),
        ("x-authorization-x", "a"),
        ("content-encoding", "identity"),
    ] {
        let bytes = post_json(field(name, value));
        cases.passed(format!("{name} passes"), bytes, Meant::post("{}").with(name, value));
    }
    let bytes = post("Content-Length: 2\r\nSec-Fetch-Mode: cors\r\n", "{}");
    cases.passed("what Node's fetch sends", bytes, Meant::post("{}"));
    let bare = get("/api/x?1");
    cases.passed("no header but the host", bare, Meant::get("/api/x?1"));
    let old = format!("POST {SMS} HTTP/1.0");
    let bytes =
        request(old, "Content-Length: 2\r\nConnection: appkey\r\nAppKey: spoofed\r\n", "{}");
    cases.passed("HTTP/1.0 that names AppKey", bytes, Meant::post("{}"));
}
