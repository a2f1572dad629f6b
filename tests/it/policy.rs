//! What may be called, and what is only observed.

use std::sync::mpsc;

use crate::support::raw_upstream::{answer, read_request};
use crate::support::{Call, RawUpstream, SMS, Setup, eventually};

#[test]
fn what_the_list_does_not_name_is_refused_and_nothing_is_sent() {
    let list = "policy.allow=POST /api/sms/**,GET /api/whatsapp/*/media/*";
    let (proxy, sandbox) = Setup::new().set(list).start();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(proxy.call(Call::get("/api/whatsapp/v3/media/1?bytes=5")).status, 200);
    for call in [
        Call::get("/api/sms/v3/msg/send"),
        Call::post("/api/otp/v3/msg/send/verify", "{}"),
        Call::get("/api/whatsapp/v3/media"),
        Call::get("/api/whatsapp/v3/media/1/2"),
        Call::post("/api/sms", "{}"),
        Call::post("/", "{}"),
    ] {
        proxy.call(call).assert_problem(403, "policy_refused", "no");
    }
    assert_eq!(sandbox.calls().total, 2);
}

#[test]
fn an_observing_policy_lets_pass_and_tells_what_it_would_have_refused() {
    let (sent, received) = mpsc::channel();
    let upstream = RawUpstream::start(move |_, mut tls| {
        while let Some(request) = read_request(&mut tls) {
            sent.send(request).unwrap();
            answer(&mut tls, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let proxy = Setup::new()
        .set("policy.mode=observe")
        .set("policy.allow=POST /api/otp/**")
        .start_before_raw(&upstream);
    let call = |path| Call::post(path, "{}").header("content-type", "text/plain");
    assert_eq!(proxy.call(call(SMS)).status, 200);
    let record = proxy.record();
    assert_eq!(record["would_refuse"], "policy_refused");
    assert!(record["code"].is_null());
    assert_eq!(proxy.call(call("/api/otp/v3")).status, 200);
    for request in received.iter().take(2) {
        // Refused it would be, not changed: what is observed is what InnoPaaS would have got.
        assert!(request.contains("\r\nContent-Type: text/plain\r\n"), "{request}");
    }
    let counted =
        |code| proxy.metric(&format!("innopaas_proxy_observed_refusals_total{{code=\"{code}\"}}"));
    eventually("both are counted", || counted("content_type_refused") == 1);
    assert_eq!(counted("policy_refused"), 1);
}

#[test]
fn an_observing_policy_relaxes_nothing_else() {
    let (proxy, sandbox) = Setup::new().set("policy.mode=observe").start();
    let refused = |call: Call, status, code| {
        proxy.call(call).assert_problem(status, code, "no");
    };
    refused(Call::get("/api/../x"), 400, "target_refused");
    refused(Call::get("/api/%2e%2e/x"), 400, "target_refused");
    refused(Call::sms().header("origin", "https://evil.example"), 403, "browser_refused");
    refused(Call::sms().header("host", "evil.example"), 421, "host_refused");
    refused(Call::new("TRACE", "/api/x"), 405, "method_refused");
    refused(Call::sms().header("expect", "200-ok"), 417, "expectation_refused");
    assert_eq!(sandbox.calls().total, 0);
}
