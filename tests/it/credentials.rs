//! The pair: found when it comes, followed when it changes, kept when its replacement is bad.

use std::fs;

use innopaas_proxy::sandbox::Pair;

use crate::support::{Call, Mount, Proxy, Setup, canary, eventually};

fn generation(proxy: &Proxy) -> u64 {
    proxy.admin("/status").json()["credentials"]["generation"].as_u64().unwrap()
}

#[test]
fn without_a_pair_calls_are_refused_until_it_comes_and_then_served() {
    let (proxy, sandbox) = Setup::new().mount(Mount::empty()).start();
    let answer = proxy.call(Call::sms());
    answer.assert_problem(503, "credentials_missing", "no");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("app-key"), "{answer:?}");
    assert_eq!(
        (proxy.admin("/readyz").status, proxy.admin("/startupz").status.as_u16()),
        (http::StatusCode::SERVICE_UNAVAILABLE, 200)
    );
    proxy.mount.swap_in(&canary::pair());
    eventually("it heals by itself", || proxy.call(Call::sms()).status == 200);
    assert_eq!(proxy.admin("/readyz").status, 200);
    assert_eq!(sandbox.calls().refused, 0);
}

#[test]
fn readiness_without_a_pair_is_a_setting() {
    let setup = Setup::new().mount(Mount::empty());
    let (proxy, _sandbox) = setup.set("admin.ready_without_credentials=true").start();
    let ready = proxy.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("none was loaded"), "{ready:?}");
}

#[test]
fn a_swapped_pair_is_in_use_at_the_next_poll() {
    let (proxy, sandbox) = Proxy::start();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let pair = sandbox.new_token();
    proxy.mount.swap_in(&pair);
    eventually("the new pair is in use", || generation(&proxy) == 2);
    sandbox.reset_counts();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(sandbox.calls().refused, 0);
    assert_eq!(
        proxy.metric(r#"innopaas_proxy_credential_reloads_total{pair="primary",result="loaded"}"#),
        2
    );
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_generation{pair="primary"}"#), 2);
}

#[test]
fn sighup_looks_at_once() {
    let (proxy, sandbox) = Setup::new().set("credentials.poll=1h").start();
    proxy.mount.swap_in(&sandbox.new_token());
    proxy.signal("HUP");
    eventually("the new pair is in use", || generation(&proxy) == 2);
    assert_eq!(proxy.call(Call::sms()).status, 200);
}

#[test]
fn a_plain_directory_is_followed_once_it_stands_still() {
    let mount = Mount::empty();
    let write = |directory: &std::path::Path, pair: &Pair| {
        fs::write(directory.join("app-key"), pair.app_key()).unwrap();
        fs::write(directory.join("authorization"), pair.authorization()).unwrap();
    };
    write(mount.path(), &canary::pair());
    let (proxy, sandbox) = Setup::new().mount(mount).set("credentials.poll=50ms").start();
    eventually("the pair is in use", || generation(&proxy) == 1);
    let pair = sandbox.new_token();
    write(proxy.mount.path(), &pair);
    eventually("the new pair is in use", || generation(&proxy) == 2);
    assert_eq!(proxy.call(Call::sms()).status, 200);
}
