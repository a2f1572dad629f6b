//! What may be called, and what is only observed.

use crate::support::{Call, Setup, eventually};

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
    let (proxy, sandbox) =
        Setup::new().set("policy.mode=observe").set("policy.allow=POST /api/otp/**").start();
    sandbox.act(innopaas_proxy::sandbox::Act::Echo, None);
    let call = || Call::sms().header("content-type", "text/plain");
    assert_eq!(proxy.call(call()).status, 200);
    let record = proxy.record();
    assert_eq!((&record["would_refuse"], &record["code"]), (&"policy_refused".into(), &().into()));
    let listed = Call::post("/api/otp/v3", "{}").header("content-type", "text/plain");
    assert_eq!(proxy.call(listed).status, 200);
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
