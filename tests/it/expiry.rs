//! What is told of a pair without showing it: when its token expires, its fingerprint; and that
//! nothing of it is left once it is replaced.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use innopaas_proxy::sandbox::Pair;
use serde_json::Value;

use crate::support::{Call, Mount, Proxy, Setup, canary, eventually};

const DAY: u64 = 24 * 60 * 60;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn mount(token: &str, expires_at: Option<&str>) -> Mount {
    let mount = Mount::empty();
    let mut files = vec![("app-key", canary::APP_KEY), ("authorization", token)];
    files.extend(expires_at.map(|content| ("expires-at", content)));
    mount.swap_in_files(&files);
    mount
}

fn jwt(expires_in: u64) -> String {
    let payload = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{}}}", now() + expires_in));
    format!("{}.{payload}.{}", URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"), canary::TOKEN)
}

fn expires(proxy: &Proxy) -> Value {
    proxy.admin("/status").json()["credentials"]["expires"].clone()
}

#[test]
fn a_date_beside_the_token_is_told_everywhere_and_keeps_nothing_back() {
    let (proxy, _sandbox) = Setup::new().mount(mount(canary::TOKEN, Some("2020-02-03\n"))).start();
    assert_eq!(proxy.call(Call::sms()).status, 200, "it is a warning and nothing else");
    let told = expires(&proxy);
    assert_eq!(
        (&told["at"], &told["source"]),
        (&"2020-02-03T00:00:00Z".into(), &"expires-at".into())
    );
    assert!(told["seconds_left"].as_i64().unwrap() < 0, "{told}");
    let ready = proxy.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("the token expires at 2020-02-03T00:00:00Z"), "{ready:?}");
    let metrics = proxy.admin("/metrics").text();
    assert!(
        metrics.contains("innopaas_proxy_credential_expiry_seconds{pair=\"primary\"} -"),
        "{metrics}"
    );
    assert_eq!(proxy.output().matches("the token has expired").count(), 1);
}

#[test]
fn a_token_that_expires_soon_is_warned_of_once_and_anew_when_it_is_replaced() {
    let setup = Setup::new().set("credentials.poll=10ms").mount(mount(&jwt(20 * DAY), None));
    let (proxy, _sandbox) = setup.start();
    let told = expires(&proxy);
    let left = told["seconds_left"].as_u64().unwrap();
    assert!(told["source"] == "jwt" && (20 * DAY - 60..=20 * DAY).contains(&left), "{told}");
    let warned = || proxy.output().matches("the token expires soon").count();
    assert_eq!(warned(), 1);
    let replace = |token: &str| {
        proxy.mount.swap_in_files(&[("app-key", canary::APP_KEY), ("authorization", token)]);
    };
    replace(&jwt(10 * DAY));
    eventually("another warning", || warned() == 2);
    replace(&jwt(40 * DAY));
    eventually("the third is in use", || {
        expires(&proxy)["seconds_left"].as_u64().unwrap() > 30 * DAY
    });
    assert_eq!(warned(), 2);
}

#[test]
fn without_a_readable_date_the_expiry_is_unknown_and_the_pair_is_used() {
    for (expires_at, why) in
        [(None, None), (Some("next year"), Some("expires-at: is neither a date"))]
    {
        let (proxy, _sandbox) = Setup::new().mount(mount(canary::TOKEN, expires_at)).start();
        assert_eq!(proxy.call(Call::sms()).status, 200);
        assert_eq!(expires(&proxy), "unknown");
        assert!(!proxy.admin("/metrics").text().contains("credential_expiry_seconds{"));
        let ready = proxy.admin("/readyz");
        assert!(ready.status == 200 && ready.text().contains(why.unwrap_or("")), "{ready:?}");
        assert!(!ready.text().contains("next year"));
    }
}

#[test]
fn one_query_shows_whether_a_fleet_has_converged() {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    let setting = format!("credentials.fingerprint_key_file={}", key.path().display());
    let pods = [0, 1].map(|_| Setup::new().set(&setting).set("credentials.poll=20ms").start());
    let fingerprint =
        |proxy: &Proxy| proxy.admin("/status").json()["credentials"]["fingerprint"].clone();
    let before = fingerprint(&pods[0].0);
    assert_eq!(before, fingerprint(&pods[1].0));
    let metric =
        format!("innopaas_proxy_credential_fingerprint{{pair=\"primary\",fingerprint={before}}}");
    assert_eq!(pods[0].0.metric(&metric), 1);
    pods[0].0.mount.swap_in(&canary::marked_pair(1));
    eventually("they differ", || fingerprint(&pods[0].0) != before);
    pods[1].0.mount.swap_in(&canary::marked_pair(1));
    eventually("they converge", || fingerprint(&pods[0].0) == fingerprint(&pods[1].0));
    assert!(!pods[0].0.admin("/metrics").text().contains(&metric), "the old one is gone");

    let (other, _sandbox) = Proxy::start();
    assert_ne!(fingerprint(&other), before, "without a key it says nothing to others");
}

#[test]
fn a_replaced_pair_that_no_connection_carried_is_gone_from_memory() {
    let old =
        Pair::new("OldKeyThatIsLookedFor", "OLDTOKENTHATISLOOKEDFORINMEMORYAFTERITSREPLACEMENT");
    let setup = Setup::new().set("credentials.poll=20ms").mount(Mount::of(&old));
    let (proxy, _sandbox) = setup.start();
    let Some(found) = in_memory(proxy.pid(), old.authorization()) else { return };
    assert!(found > 0, "it is in use");
    proxy.mount.swap_in(&canary::pair());
    eventually("the new pair is in use", || {
        proxy.metric(r#"innopaas_proxy_credential_generation{pair="primary"}"#) == 2
    });
    for secret in [old.authorization(), old.app_key()] {
        eventually("nothing is left", || in_memory(proxy.pid(), secret) == Some(0));
    }
}

/// How often a text stands in what a process may write to; `None` if only root may look.
fn in_memory(pid: u32, text: &str) -> Option<usize> {
    let memory = match File::open(format!("/proc/{pid}/mem")) {
        Ok(memory) => memory,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("{error}"),
    };
    let mut found = 0;
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let mut words = line.split(' ');
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found += bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
        }
    }
    Some(found)
}
