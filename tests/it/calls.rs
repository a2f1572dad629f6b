//! What leaves: one right set of headers, whatever the caller sent.

use innopaas_proxy::sandbox::{Act, Call as Seen, Outcome, Sandbox};
use ring::digest::{SHA256, digest};

use crate::support::call::{Connection, block_on};
use crate::support::canary::hex;
use crate::support::{Call, Proxy, SMS, Setup, UPLOAD, eventually, raw};

/// The one call that the sandbox saw, which was in order: it checks for exactly one `AppKey`, one
/// `Authorization`, the `Host`, the content type and nothing of the hop.
#[track_caller]
fn only_call(sandbox: &Sandbox) -> Seen {
    let calls = sandbox.calls();
    assert_eq!((calls.total, calls.accepted), (1, 1), "{calls:?}");
    calls.records[0].clone()
}

#[test]
fn a_call_without_credentials_arrives_with_exactly_one_pair() {
    let (proxy, sandbox) = Proxy::start();
    let answer = proxy.call(Call::sms());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["code"], "0");
    let seen = only_call(&sandbox);
    assert_eq!(seen.content_type.as_deref(), Some("application/json;charset=utf-8"));
    assert_eq!((seen.content_length, seen.chunked), (Some(46), false));
    assert_eq!(seen.request_id, None);
}

#[test]
fn stale_credentials_in_every_spelling_are_replaced() {
    let (proxy, sandbox) = Proxy::start();
    let mut call = Call::sms();
    for name in [
        "authorization",
        "AUTHORIZATION",
        "appkey",
        "APPKEY",
        "App-Key",
        "app_key",
        "x-appKey",
        "x-nonce",
        "x-timestamp",
        "x-signature",
        "proxy-authorization",
        "authorization",
    ] {
        call = call.header(name, "Bearer stale");
    }
    let answer = proxy.call(call);
    assert_eq!(answer.status, 200, "{answer:?}");
    let names = only_call(&sandbox).header_names;
    let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
    assert_eq!((count("appkey"), count("authorization"), count("host")), (1, 1, 1), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("app-key") || name.starts_with("x-")));
}

#[test]
fn a_header_named_in_connection_cannot_remove_our_credentials() {
    let (proxy, sandbox) = Proxy::start();
    let call = Call::sms()
        .header("connection", "close, AppKey, Authorization, Content-Type, Host, X-Mine")
        .header("x-mine", "1");
    assert_eq!(proxy.call(call).status, 200);
    assert!(!only_call(&sandbox).header_names.contains(&"x-mine".to_owned()));
}

#[test]
fn an_upload_passes_byte_for_byte() {
    let (proxy, sandbox) = Proxy::start();
    let body = "--b:x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\
                Content-Type: application/pdf\r\n\r\n%PDF-1.4 \0\r\n--b:x--\r\n";
    let kind = "Multipart/Form-Data; boundary=\"b:x\"";
    let answer = proxy.call(Call::post(UPLOAD, body).header("content-type", kind));
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = only_call(&sandbox);
    assert_eq!(seen.content_type.as_deref(), Some(kind));
    assert_eq!(seen.body_sha256, hex(digest(&SHA256, body.as_bytes()).as_ref(), ""));
}

#[test]
fn a_body_in_chunks_arrives_whole_and_in_chunks_and_its_trailers_do_not() {
    let (proxy, sandbox) = Proxy::start();
    let request = format!(
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
         Trailer: AppKey\r\nConnection: close\r\n\r\n\
         5\r\n{{\"a\":\r\n2\r\n1}}\r\n0\r\nAppKey: mine\r\nAuthorization: mine\r\n\r\n"
    );
    assert!(raw(proxy.listen, request.as_bytes()).starts_with("HTTP/1.1 200 OK"));
    let seen = only_call(&sandbox);
    assert!(seen.chunked && seen.body_bytes == 7, "{seen:?}");
    assert!(!seen.header_names.contains(&"trailer".to_owned()));
}

#[test]
fn every_request_carries_the_content_type_one_without_a_body_too() {
    let (proxy, sandbox) = Proxy::start();
    let answer = proxy.call(Call::get("/api/whatsapp/v3/media/7?bytes=3000"));
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 3000));
    let seen = only_call(&sandbox);
    assert_eq!(seen.content_type.as_deref(), Some("application/json;charset=utf-8"));
    assert_eq!((seen.content_length, seen.query_present), (None, true));
    let _ = proxy.call(Call::new("POST", SMS));
    assert_eq!(sandbox.calls().records[1].content_length, Some(0));
}

#[test]
fn the_query_and_the_path_leave_as_they_came() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::Echo, None);
    let target = "/api/x/%20=1/a+b?q=%2e%2F;&&=é".replace('é', "%C3%A9");
    let echo = proxy.call(Call::post(&target, "{}")).json();
    assert_eq!(
        format!("{}?{}", echo["path"].as_str().unwrap(), echo["query"].as_str().unwrap()),
        target
    );
}

#[test]
fn javas_h2c_offer_is_declined_in_silence() {
    let (proxy, sandbox) = Proxy::start();
    let call = Call::sms()
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA");
    assert_eq!(proxy.call(call).status, 200);
    only_call(&sandbox);
}

#[test]
fn an_absolute_form_that_names_us_is_reduced() {
    let (proxy, sandbox) = Proxy::start();
    let request = format!(
        "POST http://localhost:7253{SMS} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\n{{}}"
    );
    assert!(raw(proxy.listen, request.as_bytes()).starts_with("HTTP/1.1 200 OK"));
    assert_eq!(only_call(&sandbox).path, SMS);
}

#[test]
fn an_http_1_0_caller_is_served() {
    let (proxy, sandbox) = Proxy::start();
    let request = format!("POST {SMS} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}");
    let answer = raw(proxy.listen, request.as_bytes());
    assert!(answer.contains(" 200 OK") && answer.ends_with('}'), "{answer}");
    only_call(&sandbox);
}

#[test]
fn the_request_id_goes_upstream_only_if_that_is_set() {
    let (proxy, sandbox) = Setup::new().set("upstream.forward_request_id=true").start();
    let answer = proxy.call(Call::sms().header("x-request-id", "order-4711"));
    assert_eq!(answer.header("x-request-id"), Some("order-4711"));
    assert_eq!(only_call(&sandbox).request_id.as_deref(), Some("order-4711"));
}

#[test]
fn the_older_schemes_headers_pass_if_that_is_set() {
    let (proxy, sandbox) = Setup::new().set("policy.keep_signature_headers=true").start();
    sandbox.act(Act::Echo, None);
    let answer = proxy.call(Call::sms().header("x-nonce", "1"));
    // The sandbox takes them for a mistake, which shows that they arrived.
    assert_eq!(answer.status, 400, "{answer:?}");
    let Outcome::Malformed { rule } = sandbox.calls().records[0].outcome else { panic!() };
    assert_eq!(rule.as_str(), "older-scheme");
}

#[test]
fn a_thousand_calls_over_64_connections_are_a_thousand_calls() {
    const CALLS: usize = 1_000;
    const CONNECTIONS: usize = 64;
    let (proxy, sandbox) = Proxy::start();
    let answered = block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS {
            let share = CALLS / CONNECTIONS + usize::from(number < CALLS % CONNECTIONS);
            let address = proxy.listen;
            callers.spawn(async move {
                let mut connection = Connection::open(address).await;
                let mut answered = 0;
                for _ in 0..share {
                    answered += usize::from(connection.call(Call::sms()).await.status == 200);
                }
                answered
            });
        }
        callers.join_all().await.into_iter().sum::<usize>()
    });
    let calls = sandbox.calls();
    assert_eq!((answered, calls.total, calls.accepted), (CALLS, CALLS as u64, CALLS as u64));
    assert!(sandbox.connections() <= CONNECTIONS as u64, "{} connections", sandbox.connections());
    let warnings =
        proxy.log().into_iter().filter(|l| l["level"] == "WARN" || l["level"] == "ERROR");
    assert_eq!(warnings.collect::<Vec<_>>(), Vec::<serde_json::Value>::new());
    assert_eq!(
        proxy.metric(r#"innopaas_proxy_requests_total{outcome="answered",status_class="2xx"}"#),
        1000
    );
}

#[test]
fn several_workers_share_the_connections() {
    let (proxy, sandbox) = Setup::new().set("limits.workers=3").start();
    block_on(async {
        let mut connections = Vec::new();
        for _ in 0..6 {
            connections.push(Connection::open(proxy.listen).await);
        }
        for connection in &mut connections {
            assert_eq!(connection.call(Call::sms()).await.status, 200);
        }
    });
    assert_eq!(sandbox.calls().accepted, 6);
    // Each worker has a pool of its own, so three workers at work are three connections.
    assert_eq!(sandbox.connections(), 3);
    assert_eq!(proxy.admin("/livez").status, 200);
}

#[test]
fn connections_that_were_unused_for_a_while_give_back_memory_and_carry_the_next_call() {
    const CONNECTIONS: usize = 400;
    let (proxy, _sandbox) = Proxy::start();
    block_on(async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Connection::open(proxy.listen).await;
            assert_eq!(connection.call(Call::sms()).await.status, 200);
            connections.push(connection);
        }
        let used = proxy.status_kb("VmRSS:");
        let given_back = |each: u64| {
            used.saturating_sub(proxy.status_kb("VmRSS:")) > CONNECTIONS as u64 * each / 1024
        };
        // hyper keeps two buffers of 8 KiB for each.
        eventually("their buffers are gone", || given_back(8 * 1024));
        for connection in &mut connections {
            assert_eq!(connection.call(Call::sms()).await.status, 200);
        }
    });
}
