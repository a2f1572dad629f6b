//! Health, status and metrics.

use std::io::Read;

use crate::support::call::connect;
use crate::support::{Call, Proxy, eventually, raw};

#[test]
fn the_endpoints_are_read_only_and_others_do_not_exist() {
    let (proxy, _sandbox) = Proxy::start();
    for path in ["/livez", "/readyz", "/startupz", "/status", "/metrics"] {
        let answer = proxy.admin(path);
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-control")),
            (200, Some("no-store"))
        );
        let answer = Call::new("HEAD", path).to(proxy.admin);
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        let answer = Call::post(path, "{}").to(proxy.admin);
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("GET, HEAD")));
    }
    assert_eq!(proxy.admin("/").status, 404);
    assert_eq!(proxy.admin("/livez/x").status, 404);
}

#[test]
fn status_tells_what_a_person_wants_to_know_first() {
    let (proxy, sandbox) = Proxy::start();
    let _ =
        proxy.call(Call::post("/api/sms/v3/msg/send", "{}").header("content-type", "text/plain"));
    let status = proxy.admin("/status").json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["phase"], "serving");
    assert_eq!(status["upstream"], sandbox.origin());
    assert_eq!(status["credentials"]["generation"], 1);
    assert!(status["credentials"]["age_seconds"].is_u64());
    assert_eq!(status["credentials"]["last_reload"]["result"], "loaded");
    assert_eq!(status["recent_errors"][0]["code"], "content_type_refused");
}

#[test]
fn metrics_count_calls_by_what_became_of_them() {
    let (proxy, _sandbox) = Proxy::start();
    for _ in 0..3 {
        assert_eq!(proxy.call(Call::sms()).status, 200);
    }
    assert_eq!(proxy.call(Call::sms().header("content-type", "text/plain")).status, 415);
    for (name, value) in [
        (r#"innopaas_proxy_requests_total{outcome="answered",status_class="2xx"}"#, 3),
        (r#"innopaas_proxy_requests_total{outcome="rejected",status_class=""}"#, 1),
        (r#"innopaas_proxy_errors_total{code="content_type_refused"}"#, 1),
        (r#"innopaas_proxy_request_duration_seconds_count{outcome="answered"}"#, 3),
        (r#"innopaas_proxy_request_duration_seconds_bucket{le="+Inf",outcome="answered"}"#, 3),
        ("innopaas_proxy_requests_in_flight", 0),
        ("innopaas_proxy_upstream_connections_opened_total", 1),
        ("innopaas_proxy_upstream_connections", 1),
    ] {
        assert_eq!(proxy.metric(name), value, "{name}");
    }
    let kind = proxy.admin("/metrics").header("content-type").unwrap().to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

#[test]
fn every_call_leaves_one_record_without_its_query() {
    let (proxy, _sandbox) = Proxy::start();
    let call = Call::post("/api/sms/v3/msg/send?mobile=8613800000000", r#"{"msg":"secret text"}"#);
    assert_eq!(proxy.call(call.header("x-request-id", "one")).status, 200);
    let record = proxy.record();
    let record = record.as_object().unwrap();
    assert_eq!(record["request_id"], "one");
    assert_eq!(record["path"], "/api/sms/v3/msg/send");
    assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"answered".into()));
    assert_eq!(record["generation"], 1);
    let mut fields: Vec<_> = record.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "duration_us",
            "generation",
            "level",
            "message",
            "method",
            "outcome",
            "pair",
            "path",
            "request_id",
            "response_bytes",
            "sent",
            "status",
            "target",
            "timestamp",
        ]
    );
    let output = proxy.output();
    assert!(!output.contains("8613800000000") && !output.contains("secret text"), "{output}");
}

#[test]
fn probes_are_answered_however_many_ask_and_idle() {
    let (proxy, _sandbox) = Proxy::start();
    let idle: Vec<_> = (0..200).map(|_| connect(proxy.admin)).collect();
    let address = proxy.admin;
    let asking: Vec<_> = (0..40)
        .map(|_| std::thread::spawn(move || Call::get("/livez").to(address).status))
        .collect();
    assert!(asking.into_iter().all(|asked| asked.join().unwrap() == 200));
    for mut stream in idle {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "idle ones are closed soon");
    }
}

#[test]
fn what_is_not_http_is_counted() {
    let (proxy, _sandbox) = Proxy::start();
    assert!(raw(proxy.listen, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    eventually("it is counted", || proxy.metric("innopaas_proxy_malformed_requests_total") == 1);
}
