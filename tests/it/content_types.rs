//! The content type: enforced, replaced, refused; the upload's left alone.

use innopaas_proxy::sandbox::Sandbox;

use crate::support::{Answer, Call, Proxy, SMS, Setup, UPLOAD};

fn post(proxy: &Proxy, path: &str, kind: &str) -> Answer {
    proxy.call(Call::post(path, "{}").header("content-type", kind))
}

#[track_caller]
fn assert_nothing_sent(sandbox: &Sandbox) {
    assert_eq!(sandbox.calls().total, 0);
}

#[test]
fn json_in_any_spelling_becomes_the_one_that_innopaas_wants() {
    let (proxy, sandbox) = Proxy::start();
    for kind in ["application/json", "Application/JSON; Charset=\"UTF-8\"", "text/json", ""] {
        assert_eq!(post(&proxy, SMS, kind).status, 200, "{kind}");
    }
    for seen in sandbox.calls().records {
        assert_eq!(seen.content_type.as_deref(), Some("application/json;charset=utf-8"));
    }
}

#[test]
fn what_clients_send_for_strings_is_refused_with_the_line_to_change() {
    let (proxy, sandbox) = Proxy::start();
    for (kind, line) in [
        ("text/plain;charset=UTF-8", "headers: {\"Content-Type\": \"application/json\"}"),
        ("application/x-www-form-urlencoded", "--json"),
        ("application/xml", "Content-Type: application/json"),
        ("application/json; charset=latin1", "UTF-8"),
        ("json", "Content-Type: application/json"),
        ("multipart/form-data; boundary=x", "Content-Type: application/json"),
    ] {
        let answer = post(&proxy, SMS, kind);
        answer.assert_problem(415, "content_type_refused", "no");
        let remedy = answer.json()["remedy"].as_str().unwrap().to_owned();
        assert!(remedy.contains(line), "{kind}: {remedy}");
    }
    let twice = Call::sms().header("content-type", "application/json");
    let answer = proxy.call(twice.header("content-type", "application/json"));
    answer.assert_problem(415, "content_type_refused", "no");
    assert_nothing_sent(&sandbox);
}

#[test]
fn the_upload_takes_multipart_with_a_boundary_and_nothing_else() {
    let (proxy, sandbox) = Proxy::start();
    for kind in ["application/json", "multipart/form-data", "multipart/mixed; boundary=x", ""] {
        post(&proxy, UPLOAD, kind).assert_problem(415, "content_type_refused", "no");
    }
    assert_nothing_sent(&sandbox);
}

#[test]
fn listed_types_are_replaced() {
    let (proxy, sandbox) = Setup::new().set("policy.content_type.rewrite=text/plain").start();
    assert_eq!(post(&proxy, SMS, "text/plain;charset=UTF-8").status, 200);
    assert_eq!(sandbox.calls().accepted, 1);
    let answer = post(&proxy, SMS, "text/plain;charset=latin1");
    answer.assert_problem(415, "content_type_refused", "no");
}

#[test]
fn upload_paths_are_a_setting() {
    let (proxy, sandbox) = Setup::new().set("policy.upload_paths=/api/mms/*/upload").start();
    let multipart = "multipart/form-data; boundary=x";
    post(&proxy, UPLOAD, multipart).assert_problem(415, "content_type_refused", "no");
    assert_nothing_sent(&sandbox);
    // The sandbox knows no such path, but it was sent there.
    assert_eq!(post(&proxy, "/api/mms/v3/upload", multipart).header("proxy-status"), None);
    assert_eq!(sandbox.calls().total, 1);
}
