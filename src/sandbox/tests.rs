//! The sandbox through its own door: TLS on a socket, with its own authority as the only trust.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

const SMS: &str = "/api/sms/v3/msg/send";
const JSON: &str = "application/json;charset=utf-8";

/// A TLS connection that trusts the sandbox's own authority and nothing else.
async fn connect(sandbox: &Sandbox) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(sandbox.address()).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), socket)
        .await
        .unwrap()
}

/// Sends bytes on a connection of their own and reads to its end, however it ends.
async fn exchange(sandbox: &Sandbox, request: &[u8]) -> String {
    let mut stream = connect(sandbox).await;
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let deadline = Duration::from_secs(10);
    let _ = tokio::time::timeout(deadline, stream.read_to_end(&mut answer))
        .await
        .expect("the sandbox closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A call in HTTP/1.1 that meets this act. The act must be one that ends the connection: the
/// caller may not ask for that itself, `Connection` breaks a rule.
async fn call(sandbox: &Sandbox, act: Act, pair: &Pair, target: &str, body: &str) -> String {
    sandbox.act(act, Some(1));
    exchange(sandbox, &request(sandbox, pair, ("POST", target, JSON), body)).await
}

fn request(
    sandbox: &Sandbox,
    pair: &Pair,
    (method, target, content_type): (&str, &str, &str),
    body: &str,
) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost:{}\r\nAppKey: {}\r\nAuthorization: {}\r\n\
         Content-Type: {content_type}\r\nX-Request-Id: r1\r\nContent-Length: {}\r\n\r\n{body}",
        sandbox.address().port(),
        pair.app_key(),
        pair.authorization(),
        body.len(),
    )
    .into_bytes()
}

/// HTTP/1.0 without keep-alive: the answer ends the connection, and no header says so.
fn once(request: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(request).replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
}

/// A call in HTTP/1.0 that meets no act.
async fn plain_call(sandbox: &Sandbox, pair: &Pair, path: &str, body: &str) -> String {
    exchange(sandbox, &once(&request(sandbox, pair, ("POST", path, JSON), body))).await
}

async fn control(sandbox: &Sandbox, method: &str, order: &str, body: &str) -> String {
    let request = format!(
        "{method} /_sandbox/{order} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(sandbox, request.as_bytes()).await
}

fn started() -> Sandbox {
    Sandbox::start(Options::default()).unwrap()
}

#[tokio::test]
async fn the_right_pair_is_accepted_and_another_is_refused() {
    let sandbox = started();
    let right = sandbox.pair();
    let answer = call(&sandbox, Act::CloseAfter, &right, SMS, "{\"mobile\":\"1\"}").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-sandbox: 1\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"0\",\"success\":true"), "{answer}");

    let wrong = Pair::new(right.app_key(), "WRONG");
    let head = ("POST", SMS, JSON);
    let answer = exchange(&sandbox, &once(&request(&sandbox, &wrong, head, "{}"))).await;
    assert!(answer.starts_with("HTTP/1.0 401"), "{answer}");
    assert!(!answer.contains("WRONG"));

    let calls = sandbox.calls();
    assert_eq!((calls.total, calls.accepted, calls.refused), (2, 1, 1));
    assert_eq!(calls.by_path.get(SMS), Some(&2));
    assert_eq!(sandbox.connections(), 2);
    let first = &calls.records[0];
    assert_eq!(first.request_id.as_deref(), Some("r1"));
    assert_eq!((first.body_bytes, first.status), (14, Some(200)));
    assert_eq!(first.header_names[..2], ["host", "appkey"]);
}

#[tokio::test]
async fn a_new_token_kills_the_old_one_and_an_expired_one_has_no_heir() {
    let sandbox = started();
    let old = sandbox.pair();
    let answer = control(&sandbox, "POST", "token", "").await;
    let new = sandbox.pair();
    assert!(answer.contains(new.authorization()), "{answer}");
    let answer = control(&sandbox, "POST", "refusal", "{\"refusal\":\"200-code\"}").await;
    assert!(answer.contains("200 OK"), "{answer}");

    let head = ("POST", SMS, JSON);
    let answer = exchange(&sandbox, &once(&request(&sandbox, &old, head, ""))).await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.contains("\"code\":\"101\""), "{answer}");
    let answer = exchange(&sandbox, &once(&request(&sandbox, &new, head, ""))).await;
    assert!(answer.contains("\"code\":\"0\""), "{answer}");
    sandbox.expire_token();
    exchange(&sandbox, &once(&request(&sandbox, &new, head, ""))).await;
    assert_eq!(sandbox.calls().refused, 2);

    let calls = control(&sandbox, "GET", "calls", "").await;
    assert!(calls.contains("\"refused\":2"), "{calls}");
    assert!(!calls.contains(new.authorization()) && !calls.contains(new.app_key()));
    control(&sandbox, "POST", "reset-counts", "").await;
    assert_eq!(sandbox.calls(), Calls::default());
}

#[tokio::test]
async fn a_chosen_pair_replaces_the_first_ones_and_halves_of_two_are_counted_as_mixed() {
    let sandbox = started();
    let (old, new) = (sandbox.pair(), Pair::new("OTHERKEY", "OTHERTOKEN"));
    let order = r#"{"appKey":"OTHERKEY","authorization":"OTHERTOKEN"}"#;
    let answer = control(&sandbox, "POST", "pair", order).await;
    assert!(answer.contains("200 OK") && !answer.contains("OTHER"), "{answer}");
    assert_eq!(sandbox.pair(), new);
    let mixed = Pair::new(new.app_key(), old.authorization());
    let strange = Pair::new(new.app_key(), "NOBODYS");
    for (pair, status) in [(&old, 401), (&new, 200), (&mixed, 401), (&strange, 401)] {
        let answer = plain_call(&sandbox, pair, SMS, "{}").await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
    }
    let calls = sandbox.calls();
    assert_eq!((calls.accepted, calls.refused, calls.mixed), (1, 3, 1));

    for wrong in [r#"{"appKey":"SECRET"}"#, r#"{"appKey":"k","authorization":4711}"#] {
        let answer = control(&sandbox, "POST", "pair", wrong).await;
        assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
        assert!(!answer.contains("SECRET") && !answer.contains("4711"), "{answer}");
    }
    assert_eq!(sandbox.pair(), new);
}

#[tokio::test]
async fn further_applications_are_accepted_until_they_are_killed() {
    let sandbox = started();
    let second = sandbox.new_application();
    let third = Pair::new("THIRDKEY", "THIRDTOKEN");
    let order = r#"{"appKey":"THIRDKEY","authorization":"THIRDTOKEN"}"#;
    control(&sandbox, "POST", "application", order).await;
    sandbox.expire_token();
    sandbox.set_pair(Pair::new("FIRSTKEY", "FIRSTTOKEN"));
    let first = sandbox.pair();
    for pair in [&first, &second, &third] {
        let answer = plain_call(&sandbox, pair, SMS, "").await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }
    control(&sandbox, "POST", "kill-applications", "").await;
    for (pair, status) in [(&first, 200), (&second, 401), (&third, 401)] {
        let answer = plain_call(&sandbox, pair, SMS, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn a_forbidden_path_is_refused_whatever_the_pair_until_it_is_allowed_again() {
    let sandbox = started();
    let pair = sandbox.pair();
    let others = "/api/whatsapp/v3/msg/submit";
    let order = format!("{{\"path\":\"{SMS}\"}}");
    control(&sandbox, "POST", "forbid", &order).await;
    sandbox.set_refusal(Refusal::Forbidden403Json);
    for (path, status) in [(SMS, 403), (others, 200)] {
        let answer = plain_call(&sandbox, &pair, path, "{}").await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
    }
    control(&sandbox, "POST", "allow", &order).await;
    let answer = plain_call(&sandbox, &pair, SMS, "{}").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let calls = sandbox.calls();
    assert_eq!((calls.accepted, calls.refused, calls.mixed), (2, 1, 0));
}

#[tokio::test]
async fn a_body_that_is_accepted_twice_on_a_path_is_a_duplicate() {
    let sandbox = started();
    let pair = sandbox.pair();
    let wrong = Pair::new(pair.app_key(), "WRONG");
    let others = "/api/whatsapp/v3/msg/submit";
    for (pair, path, body, duplicates) in [
        (&wrong, SMS, "{}", 0), // was refused, so that it may come again
        (&pair, SMS, "{}", 0),
        (&pair, others, "{}", 0),
        (&pair, SMS, "{ }", 0),
        (&pair, SMS, "{}", 1),
        (&pair, SMS, "", 1),
        (&pair, SMS, "", 1), // nothing tells it from another
    ] {
        plain_call(&sandbox, pair, path, body).await;
        assert_eq!(sandbox.calls().duplicates, duplicates, "{path} {body}");
    }
    sandbox.reset_counts();
    plain_call(&sandbox, &pair, SMS, "{}").await;
    assert_eq!(sandbox.calls().duplicates, 0);
}

#[tokio::test]
async fn a_broken_rule_is_answered_by_its_name() {
    let sandbox = started();
    let pair = sandbox.pair();
    for (head, body, status, rule) in [
        (("POST", SMS, "text/plain"), "", "400", Rule::ContentTypeExact),
        (("POST", SMS, JSON), "{", "400", Rule::JsonBody),
        (("POST", "/nowhere", JSON), "", "404", Rule::Path),
        (("GET", SMS, JSON), "", "405", Rule::Method),
    ] {
        let answer = exchange(&sandbox, &once(&request(&sandbox, &pair, head, body))).await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
        assert!(answer.contains(rule.as_str()), "{answer}");
        let last = sandbox.calls().records.pop().unwrap();
        assert_eq!(last.outcome, Outcome::Malformed { rule });
    }
    assert_eq!(sandbox.calls().malformed, 4);
}

#[tokio::test]
async fn uploads_and_media_go_through_whole() {
    let sandbox = started();
    let pair = sandbox.pair();
    let upload = "/api/whatsapp/v3/uploadFile";
    let file = "x".repeat(3 << 20);
    let body =
        format!("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{file}\r\n--b--\r\n");
    let head = ("POST", upload, "multipart/form-data; boundary=b");
    let answer = exchange(&sandbox, &once(&request(&sandbox, &pair, head, &body))).await;
    assert!(answer.contains("\"handle\""), "{answer}");
    let last = sandbox.calls().records.pop().unwrap();
    assert_eq!(last.body_bytes, body.len() as u64);

    let head = ("GET", "/api/whatsapp/v3/media/1?bytes=100", JSON);
    let answer = exchange(&sandbox, &once(&request(&sandbox, &pair, head, ""))).await;
    assert!(answer.contains("content-length: 100\r\n"), "{answer}");
}

#[tokio::test]
async fn every_act_is_played() {
    let sandbox = started();
    let pair = sandbox.pair();
    let play = async |act| call(&sandbox, act, &pair, SMS, "{}").await;

    assert_eq!(play(Act::Reset).await, "");
    let answer = play(Act::CutBody).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 76"), "{head}");
    assert_eq!(body.len(), 38);
    let answer = play(Act::EarlyAnswer).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let head = ("POST", SMS, JSON);
    let plain = once(&request(&sandbox, &pair, head, "{}"));
    for (act, wanted) in [
        (r#"{"status-429":{"retry_after":7}}"#, "retry-after: 7"),
        (r#"{"code":{"code":"114"}}"#, "\"code\":\"114\""),
        (r#"{"slow-head":{"ms":1}}"#, "\"success\":true"),
        (r#"{"slow-body":{"ms":1}}"#, "\"success\":true"),
        (r#""redirect""#, "location: https://elsewhere.invalid"),
        (r#""hop-headers""#, "proxy-status: upstream-claims"),
        (r#""echo""#, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        (r#""normal""#, "\"success\":true"),
    ] {
        let order = format!("{{\"act\":{act},\"times\":1}}");
        let answer = control(&sandbox, "POST", "act", &order).await;
        assert!(answer.contains("200 OK"), "{answer}");
        let answer = exchange(&sandbox, &plain).await;
        assert!(answer.contains(wanted), "{act}: {answer}");
        assert!(!answer.contains(pair.authorization()));
        let answer = exchange(&sandbox, &plain).await;
        assert!(answer.contains("\"success\":true"), "once is once: {answer}");
    }
    assert_eq!(sandbox.calls().total, sandbox.calls().accepted);
}

#[tokio::test]
async fn an_early_answer_is_found_by_a_client_that_still_writes() {
    let sandbox = started();
    sandbox.act(Act::EarlyAnswer, None);
    let body = "x".repeat(2 << 20);
    let request = request(&sandbox, &sandbox.pair(), ("POST", SMS, JSON), &body);
    let answer = exchange(&sandbox, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(sandbox.calls().records[0].body_bytes, 0);
}

#[tokio::test]
async fn a_call_whose_body_breaks_off_is_counted_as_cut() {
    let sandbox = started();
    let mut request = request(&sandbox, &sandbox.pair(), ("POST", SMS, JSON), "{\"a\":1}");
    request.truncate(request.len() - 3);
    let mut stream = connect(&sandbox).await;
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await; // its end, after the call's
    let calls = sandbox.calls();
    assert_eq!((calls.total, calls.cut), (1, 1));
    assert_eq!(calls.records[0].outcome, Outcome::Cut);
}

#[tokio::test]
async fn webhooks_are_ordered_and_reported_on_its_own_port() {
    let (sandbox, receiver) = (started(), started());
    let order = serde_json::json!({
        "url": format!("{}/_sandbox/reset-counts", receiver.origin()), // answered 200
        "ca_pem": receiver.ca_pem(),
        "event": "whatsapp_message_status_updated:read",
        "user_name": "shop",
        "authorization": "SECRETTOKEN",
        "count": 100,
    });
    let answer = control(&sandbox, "POST", "webhook", &order.to_string()).await;
    assert!(answer.contains("200 OK") && answer.ends_with("{\"order\":1}"), "{answer}");
    let mut reports = String::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !reports.contains("\"state\":\"done\"") {
        assert!(std::time::Instant::now() < deadline, "{reports}");
        reports = control(&sandbox, "GET", "webhooks", "").await;
    }
    assert!(reports.contains("\"delivered\":100,\"lost\":0,\"tries\":100"), "{reports}");
    assert!(
        reports.contains("\"id\":\"event000000000100\",\"outcome\":\"delivered\""),
        "{reports}"
    );
    assert_eq!(reports.matches("\"id\"").count(), 64, "the last ones");
    assert!(reports.contains("\"result\":{\"status\":200}"), "{reports}");
    assert!(!reports.contains("SECRETTOKEN"));

    for (order, words) in [
        (r#"{"url":"http://example.com/","event":"sms_status"}"#, "this machine only"),
        (
            r#"{"url":"http://[::1]/","event":"sms_status","authorization":"SECRETTOKEN"}"#,
            "together",
        ),
        (r#""SECRETTOKEN""#, "no object"),
    ] {
        let answer = control(&sandbox, "POST", "webhook", order).await;
        assert!(answer.starts_with("HTTP/1.0 400") && answer.contains(words), "{answer}");
        assert!(!answer.contains("SECRETTOKEN"), "{answer}");
    }
}

#[test]
fn a_sandbox_starts_outside_a_runtime() {
    assert!(started().origin().starts_with("https://localhost:"));
}

#[tokio::test]
async fn an_address_in_use_is_an_error_to_whoever_starts() {
    let sandbox = started();
    let address = sandbox.address();
    let second = Sandbox::start(Options { address, ..Options::default() });
    let kind = second.err().map(|error| error.kind());
    assert_eq!(kind, Some(io::ErrorKind::AddrInUse));
}

#[tokio::test]
async fn a_dropped_sandbox_lets_go_of_its_port_at_once() {
    let sandbox = started();
    let address = sandbox.address();
    let idle = TcpStream::connect(address).await.unwrap();
    drop(sandbox);
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}
