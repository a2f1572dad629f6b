//! What follows a refusal of the pair: who is asked, what is sent once more, what moves, and what
//! the operator sees of it. The rotations under load are in `drill.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use innopaas_proxy::sandbox::{Act, Pair, REFUSAL_CODE, Refusal, Sandbox};
use serde_json::Value;

use crate::support::raw_upstream::{answer, read_request};
use crate::support::{Call, Mount, Proxy, RawUpstream, SMS, Setup, canary, eventually, raw};

const WHATSAPP: &str = "/api/whatsapp/v3/msg/submit";
const OTP: &str = "/api/otp/v3/msg/send/verify";

/// A proxy with a standby pair that the sandbox accepts, and the standby's files.
fn with_standby(setup: Setup) -> (Proxy, Sandbox, Mount) {
    let standby = Mount::of(&canary::marked_pair("S"));
    let setting = format!("credentials.standby.directory={}", standby.path().display());
    let (proxy, sandbox) = setup.set(&setting).start();
    sandbox.add_application(canary::marked_pair("S"));
    (proxy, sandbox, standby)
}

fn whatsapp() -> Call {
    Call::post(WHATSAPP, r#"{"wabaId":"1","messageType":"text","recipientNumber":"861"}"#)
}

fn status(proxy: &Proxy, pointer: &str) -> Value {
    proxy.admin("/status").json().pointer(pointer).cloned().unwrap_or_default()
}

fn serving(proxy: &Proxy) -> &'static str {
    // One answer: between two it may change.
    let status = proxy.admin("/status").json();
    let serves = |pair: &str| status[pair]["serving"].clone();
    let (primary, standby) = (serves("credentials"), serves("standby"));
    match (primary.as_bool(), standby.as_bool()) {
        (Some(true), None | Some(false)) => "primary",
        (Some(false), Some(true)) => "standby",
        _ => panic!("{primary} {standby}"),
    }
}

fn repeats(proxy: &Proxy, with: &str) -> u64 {
    proxy.metric(&format!("innopaas_proxy_refusal_repeats_total{{with={with:?}}}"))
}

fn refusals(proxy: &Proxy, pair: &str) -> u64 {
    proxy.metric(&format!("innopaas_proxy_credential_refusals_total{{pair={pair:?}}}"))
}

#[test]
fn with_nothing_configured_the_caller_gets_the_refusal_byte_for_byte_and_once() {
    const REFUSAL: &str = "HTTP/1.1 401 Nobody Knows\r\nContent-Type: application/json\r\n\
        WWW-Authenticate: Custom a=\"b\"\r\nContent-Length: 36\r\n\r\n";
    const BODY: &str = "{\"code\" :\"101\",  \"message\":\"\u{9274}\u{6743}\"}";
    assert_eq!(BODY.len(), 36);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let upstream = RawUpstream::start(move |_, mut tls| {
        while read_request(&mut tls).is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
            answer(&mut tls, &format!("{REFUSAL}{BODY}"));
        }
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let request = format!(
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let got = raw(proxy.listen, request.as_bytes());
    assert!(got.starts_with("HTTP/1.1 401 "), "{got}");
    assert!(got.ends_with(&format!("\r\n\r\n{BODY}")), "{got}");
    assert!(got.contains("www-authenticate: Custom a=\"b\"\r\n"), "{got}");
    assert!(!got.contains("proxy-status"), "{got}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let record = proxy.record();
    assert_eq!((&record["refused"], &record["repeated_with"]), (&true.into(), &Value::Null));
    assert_eq!(refusals(&proxy, "primary"), 1);
}

#[test]
fn a_newer_pair_in_the_files_is_used_before_the_poll_finds_it() {
    let (proxy, sandbox) = Setup::new().set("credentials.poll=1h").start();
    let new = canary::marked_pair(1);
    proxy.mount.swap_in(&new);
    assert_eq!(proxy.call(Call::sms()).status, 200, "the old one is good still");
    sandbox.set_pair(new);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let calls = sandbox.calls();
    assert_eq!(
        (calls.accepted, calls.refused, calls.duplicates),
        (2, 1, 1),
        "the body is the same"
    );
    assert_eq!(
        (repeats(&proxy, "newer"), status(&proxy, "/credentials/generation")),
        (1, 2.into())
    );
    eventually("two records", || proxy.records().len() == 2);
    let record = &proxy.records()[1];
    assert_eq!(
        (&record["repeated_with"], &record["generation"], &record["pair"], &record["refused"]),
        (&"newer".into(), &2.into(), &"primary".into(), &true.into())
    );
}

#[test]
fn a_newer_pair_that_is_refused_as_well_ends_it() {
    let (proxy, sandbox) = Setup::new().set("credentials.poll=1h").start();
    sandbox.expire_token();
    proxy.mount.swap_in(&canary::marked_pair("wrong"));
    assert_eq!(proxy.call(Call::sms()).status, 401);
    assert_eq!((sandbox.calls().refused, repeats(&proxy, "newer")), (2, 1));
}

#[test]
fn an_unconfirmed_refusal_sends_its_own_call_over_the_standby_and_no_other() {
    let (proxy, sandbox, _standby) = with_standby(Setup::new());
    sandbox.forbid(WHATSAPP);
    assert_eq!(proxy.call(whatsapp()).status, 401, "the standby may not either");
    sandbox.allow(WHATSAPP);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    eventually("two records", || proxy.records().len() == 2);
    let records = proxy.records();
    assert_eq!((&records[0]["pair"], &records[1]["pair"]), (&"standby".into(), &"primary".into()));
    assert_eq!((repeats(&proxy, "standby"), serving(&proxy)), (1, "primary"));
}

#[test]
fn one_path_that_is_refused_for_ever_moves_nothing_and_opens_no_breaker() {
    let setup = Setup::new().set("refusal.confirm=300ms").set("refusal.breaker.refusals=3");
    let (proxy, sandbox, _standby) = with_standby(setup);
    sandbox.forbid(WHATSAPP);
    let listen = proxy.listen;
    thread::scope(|scope| {
        // Healthy calls without a pause of 300 ms, and many refused ones for several times that.
        let healthy = scope.spawn(move || {
            (0..150).for_each(|_| {
                assert_eq!(Call::sms().to(listen).status, 200);
                thread::park_timeout(Duration::from_millis(10));
            });
        });
        let mut refused = 0;
        while !healthy.is_finished() {
            assert_eq!(proxy.call(whatsapp()).status, 401);
            refused += 1;
        }
        assert!(refused > 20, "{refused}");
    });
    assert_eq!(serving(&proxy), "primary");
    for pair in ["primary", "standby"] {
        let open = format!("innopaas_proxy_credential_breaker_open{{pair={pair:?}}}");
        assert_eq!(proxy.metric(&open), 0, "{pair}");
    }
    let log = proxy.output();
    assert!(!log.contains("calls are sent with the standby pair"), "it moved");
    let by_pair = |pair| proxy.records().iter().filter(|r| r["pair"] == pair).count();
    assert!(by_pair("primary") >= 150, "healthy calls go out with the primary pair");
}

#[test]
fn a_confirmed_refusal_moves_all_calls_to_the_standby_until_a_newer_pair_comes() {
    let setup = Setup::new().set("credentials.poll=20ms");
    let (proxy, sandbox, _standby) = with_standby(setup);
    sandbox.expire_token();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!((serving(&proxy), sandbox.calls().refused), ("primary", 2), "one path alone");
    assert_eq!(proxy.call(whatsapp()).status, 200);
    assert_eq!((serving(&proxy), sandbox.calls().refused), ("standby", 3));
    for _ in 0..5 {
        assert_eq!(proxy.call(Call::sms()).status, 200);
    }
    assert_eq!(sandbox.calls().refused, 3, "the dead pair is left alone");
    let ready = proxy.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("credentials: InnoPaaS refuses it"), "{}", ready.text());
    assert!(ready.text().contains("standby: generation 1 is in use"), "{}", ready.text());
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_serving{pair="standby"}"#), 1);
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_serving{pair="primary"}"#), 0);

    let new = canary::marked_pair(1);
    sandbox.set_pair(new.clone());
    proxy.mount.swap_in(&new);
    eventually("the primary serves again", || {
        proxy.metric(r#"innopaas_proxy_credential_serving{pair="primary"}"#) == 1
    });
    assert_eq!((proxy.call(Call::sms()).status.as_u16(), serving(&proxy)), (200, "primary"));
    assert_eq!(sandbox.calls().refused, 3);
    for words in [
        "InnoPaaS refuses the pair",
        "calls are sent with the standby pair",
        "with the primary pair again",
    ] {
        assert_eq!(proxy.output().matches(words).count(), 1, "{words}");
    }
}

#[test]
fn a_standby_of_the_same_application_is_warned_of() {
    for (app_key, warned) in [(canary::APP_KEY, true), ("another", false)] {
        let standby = Mount::of(&Pair::new(app_key, format!("{}2", canary::TOKEN)));
        let setting = format!("credentials.standby.directory={}", standby.path().display());
        let (proxy, _sandbox) = Setup::new().set(&setting).start();
        eventually("it was looked at", || status(&proxy, "/standby/generation") == 1);
        assert_eq!(proxy.call(Call::sms()).status, 200);
        let told = || proxy.output().contains("so it is no standby");
        if warned {
            eventually("it is told", told);
        }
        assert_eq!(told(), warned);
    }
}

#[test]
fn sighup_tries_the_primary_again_although_its_files_are_the_same() {
    let (proxy, sandbox, _standby) = with_standby(Setup::new());
    let pair = sandbox.pair();
    sandbox.expire_token();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(proxy.call(whatsapp()).status, 200);
    assert_eq!(serving(&proxy), "standby");
    sandbox.set_pair(pair); // it was InnoPaaS's mistake
    proxy.signal("HUP");
    eventually("the primary serves again", || serving(&proxy) == "primary");
    assert_eq!((proxy.call(Call::sms()).status.as_u16(), sandbox.calls().refused), (200, 2));
}

#[test]
fn time_without_a_success_confirms_as_well() {
    let (proxy, sandbox, _standby) = with_standby(Setup::new().set("refusal.confirm=50ms"));
    sandbox.expire_token();
    assert_eq!((proxy.call(Call::sms()).status.as_u16(), serving(&proxy)), (200, "primary"));
    eventually("it is confirmed", || {
        assert_eq!(proxy.call(Call::sms()).status, 200);
        serving(&proxy) == "standby"
    });
}

#[test]
fn when_the_standby_dies_too_its_newer_pair_or_the_primarys_is_used() {
    let (proxy, sandbox, standby) = with_standby(Setup::new().set("credentials.poll=1h"));
    sandbox.expire_token();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(proxy.call(whatsapp()).status, 200);
    assert_eq!(serving(&proxy), "standby");
    // A new token for the second application: in the files, and not yet seen.
    sandbox.kill_applications();
    sandbox.add_application(canary::marked_pair("T"));
    standby.swap_in(&canary::marked_pair("T"));
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!((serving(&proxy), status(&proxy, "/standby/generation")), ("standby", 2.into()));
    // And then one for the first.
    sandbox.kill_applications();
    sandbox.set_pair(canary::marked_pair(2));
    proxy.mount.swap_in(&canary::marked_pair(2));
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!((serving(&proxy), status(&proxy, "/credentials/generation")), ("primary", 2.into()));
}

#[test]
fn another_status_or_code_moves_the_pod_but_is_not_sent_again_without_a_word() {
    for (refusal, setting, wanted) in [
        (Refusal::Forbidden403Json, "refusal.statuses=401,403".to_owned(), 403),
        (Refusal::Ok200Code, format!("refusal.codes={REFUSAL_CODE}"), 200),
    ] {
        for replay in [false, true] {
            let setup = Setup::new().set(&setting).set(&format!("refusal.replay={replay}"));
            let (proxy, sandbox, _standby) = with_standby(setup);
            sandbox.set_refusal(refusal);
            sandbox.expire_token();
            let answers = [proxy.call(Call::sms()), proxy.call(whatsapp())];
            for answer in answers {
                let refused = answer.status == wanted && answer.json()["code"] == REFUSAL_CODE;
                assert_eq!(refused, !replay, "{answer:?}");
                assert_eq!(answer.header("proxy-status"), None);
            }
            assert_eq!((sandbox.calls().refused, serving(&proxy)), (2, "standby"));
            assert_eq!(proxy.call(Call::sms()).json()["code"], "0");
        }
    }
}

#[test]
fn what_is_not_configured_is_no_refusal() {
    for refusal in [Refusal::Forbidden403Json, Refusal::Ok200Code] {
        let (proxy, sandbox, _standby) = with_standby(Setup::new().set("refusal.replay=true"));
        sandbox.set_refusal(refusal);
        sandbox.expire_token();
        for call in [Call::sms(), whatsapp()] {
            assert_eq!(proxy.call(call).json()["code"], REFUSAL_CODE);
        }
        assert_eq!((refusals(&proxy, "primary"), serving(&proxy)), (0, "primary"));
    }
}

#[test]
fn signs_count_on_their_paths_only() {
    let setup = Setup::new()
        .set("refusal.statuses=401,403 /api/sms/**")
        .set("refusal.replay=true")
        .set("refusal.confirm=1h");
    let (proxy, sandbox, _standby) = with_standby(setup);
    sandbox.set_refusal(Refusal::Forbidden403Json);
    sandbox.expire_token();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(proxy.call(whatsapp()).status, 403);
    assert_eq!((repeats(&proxy, "standby"), refusals(&proxy, "primary")), (1, 1));
}

#[test]
fn the_breaker_spares_innopaas_and_closes_at_a_newer_pair() {
    let setup = Setup::new()
        .set("refusal.breaker.refusals=5")
        .set("refusal.breaker.interval=1h")
        .set("credentials.poll=20ms");
    let (proxy, sandbox) = setup.start();
    sandbox.expire_token();
    assert_eq!(proxy.call(Call::sms()).status, 401, "unconfirmed");
    for _ in 0..5 {
        assert_eq!(proxy.call(whatsapp()).status, 401);
    }
    for _ in 0..10 {
        let answer = proxy.call(Call::sms());
        answer.assert_problem(503, "credential_refused", "no");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((3000..=3600).contains(&seconds), "{seconds}");
    }
    assert_eq!(sandbox.calls().refused, 6);
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_breaker_open{pair="primary"}"#), 1);
    assert_eq!(proxy.admin("/readyz").status, 200, "readiness is not taken from the pod");
    sandbox.set_pair(canary::marked_pair(1));
    proxy.mount.swap_in(&canary::marked_pair(1));
    eventually("the breaker closes", || {
        proxy.metric(r#"innopaas_proxy_credential_breaker_open{pair="primary"}"#) == 0
    });
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(sandbox.calls().refused, 6);
}

#[test]
fn the_breaker_lets_one_through_in_each_interval_and_closes_at_a_success() {
    let setup = Setup::new().set("refusal.breaker.refusals=2").set("refusal.breaker.interval=1s");
    let (proxy, sandbox) = setup.start();
    let pair = sandbox.pair();
    sandbox.expire_token();
    proxy.call(Call::sms());
    proxy.call(whatsapp());
    proxy.call(Call::sms());
    let refused = sandbox.calls().refused;
    let answer = proxy.call(Call::sms());
    answer.assert_problem(503, "credential_refused", "no");
    assert_eq!((answer.header("retry-after"), refused), (Some("1"), 3));
    eventually("one is let through", || proxy.call(Call::sms()).status == 401);
    assert_eq!(sandbox.calls().refused, 4);
    proxy.call(Call::sms()).assert_problem(503, "credential_refused", "no");
    sandbox.set_pair(pair);
    eventually("one is let through", || proxy.call(Call::sms()).status == 200);
    for _ in 0..20 {
        assert_eq!(proxy.call(Call::sms()).status, 200);
    }
}

#[test]
fn the_breaker_keeps_no_call_from_a_path_that_was_not_refused_itself() {
    let setup = Setup::new()
        .set("refusal.confirm=10ms")
        .set("refusal.breaker.refusals=3")
        .set("refusal.breaker.interval=1h");
    let (proxy, sandbox) = setup.start();
    sandbox.forbid(WHATSAPP); // and nothing else is called for a while
    eventually("the breaker opens", || proxy.call(whatsapp()).status == 503);
    assert_eq!(proxy.call(Call::sms()).status, 200, "the pair is good");
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_breaker_open{pair="primary"}"#), 0);
    assert_eq!(proxy.call(whatsapp()).status, 401, "InnoPaaS is asked again");
}

#[test]
fn a_standby_that_may_not_do_everything_goes_on_with_what_it_may() {
    for hold in ["refusal.hold=0s", "refusal.hold=300ms"] {
        let setup = Setup::new()
            .set(hold)
            .set("refusal.breaker.refusals=2")
            .set("refusal.breaker.interval=1h");
        let (proxy, sandbox, _standby) = with_standby(setup);
        sandbox.expire_token();
        sandbox.forbid(WHATSAPP);
        sandbox.forbid(OTP);
        for _ in 0..4 {
            assert_eq!(proxy.call(Call::sms()).status, 200, "the standby may send it");
            for call in [whatsapp(), Call::post(OTP, "{}")] {
                assert_eq!(proxy.call(call).status, 401);
            }
        }
        let waited = r#"innopaas_proxy_refusal_repeats_total{with="held"}"#;
        assert_eq!(proxy.metric(waited), 0);
    }
}

#[test]
fn without_a_breaker_every_call_asks() {
    let (proxy, sandbox) = Setup::new().set("refusal.breaker.refusals=0").start();
    sandbox.expire_token();
    for call in [Call::sms(), whatsapp()].iter().cycle().take(60) {
        assert_eq!(proxy.call(call.clone()).status, 401);
    }
    assert_eq!(sandbox.calls().refused, 60);
}

#[test]
fn both_pairs_dead_is_told_and_ends_in_the_breaker() {
    let setup = Setup::new().set("refusal.breaker.refusals=4").set("refusal.breaker.interval=1h");
    let (proxy, sandbox, _standby) = with_standby(setup);
    sandbox.expire_token();
    sandbox.kill_applications();
    eventually("the breaker opens", || {
        proxy.call(whatsapp());
        proxy.call(Call::sms()).status == 503
    });
    let refused = sandbox.calls().refused;
    assert!(refused <= 20, "{refused}");
    for _ in 0..10 {
        proxy.call(Call::sms()).assert_problem(503, "credential_refused", "no");
    }
    assert_eq!(sandbox.calls().refused, refused);
    let ready = proxy.admin("/readyz").text();
    assert!(
        ready.contains("credentials: InnoPaaS refuses")
            && ready.contains("standby: InnoPaaS refuses")
    );
    assert_eq!(serving(&proxy), "primary");
}

#[test]
fn answers_are_looked_into_without_a_change_and_those_that_cannot_be_are_counted() {
    let json = |headers: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\
             \r\n\r\n{body}"
        )
    };
    let large = format!("{{\"code\":\"101\",\"data\":\"{}\"}}", "x".repeat(16 * 1024));
    for (answered, why) in [
        (json("", "{\"code\" : \"0\"}  "), None),
        (json("", "{\"code\":\"101\"}").replace("application/json", "text/html"), Some("type")),
        (json("Content-Encoding: gzip\r\n", "not gzip, not json"), Some("encoded")),
        (json("", &large), Some("too_large")),
        (json("", "{\"code\":\"0\",\"code\":\"101\"}"), Some("no_envelope")),
        (json("", "[\"101\"]"), Some("no_envelope")),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\n{\"cod\r\n8\r\ne\":\"101\"\r\n1\r\n}\r\n0\r\n\r\n"
                .to_owned(),
            None, // read and recognised, but without `replay` it passes
        ),
    ] {
        let wanted = answered.split_once("\r\n\r\n").unwrap().1.to_owned();
        let chunked = answered.contains("chunked");
        let upstream = RawUpstream::start(move |_, mut tls| {
            while let Some(request) = read_request(&mut tls) {
                assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
                answer(&mut tls, &answered);
            }
        });
        let proxy = Setup::new().set("refusal.codes=101").start_before_raw(&upstream);
        let got = proxy.call(Call::sms().header("accept-encoding", "gzip"));
        if chunked {
            assert_eq!((got.text().as_str(), refusals(&proxy, "primary")), ("{\"code\":\"101\"}", 1));
        } else {
            assert_eq!((got.text(), refusals(&proxy, "primary")), (wanted, 0));
        }
        for word in ["type", "encoded", "too_large", "too_late", "no_envelope"] {
            let counted = proxy.metric(&format!("innopaas_proxy_answers_unread_total{{why={word:?}}}"));
            assert_eq!(counted, u64::from(why == Some(word)), "{word}");
        }
    }
}

#[test]
fn an_answer_that_takes_its_time_is_passed_on_unread() {
    let upstream = RawUpstream::start(|_, mut tls| {
        while read_request(&mut tls).is_some() {
            answer(
                &mut tls,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"code\":",
            );
            thread::park_timeout(Duration::from_millis(300));
            answer(&mut tls, "\"101\"}");
        }
    });
    let setup = Setup::new().set("refusal.codes=101").set("refusal.peek_wait=20ms");
    let proxy = setup.start_before_raw(&upstream);
    assert_eq!(proxy.call(Call::sms()).text(), "{\"code\":\"101\"}");
    assert_eq!(proxy.metric(r#"innopaas_proxy_answers_unread_total{why="too_late"}"#), 1);
    assert_eq!(refusals(&proxy, "primary"), 0);
}

#[test]
fn an_answer_that_breaks_off_while_it_is_looked_into_breaks_off_for_the_caller() {
    let upstream = RawUpstream::start(|_, mut tls| {
        read_request(&mut tls);
        answer(
            &mut tls,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"code\":",
        );
    });
    let proxy = Setup::new().set("refusal.codes=101").start_before_raw(&upstream);
    let request =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    let got = raw(proxy.listen, request.as_bytes());
    assert!(got.ends_with("\r\n\r\n{\"code\":") && got.contains("content-length: 100"), "{got}");
    assert_eq!(proxy.record()["outcome"], "cut");
}

#[test]
fn where_no_codes_are_configured_no_answer_waits_and_compression_is_the_callers_matter() {
    let (proxy, sandbox) = Setup::new().set("refusal.codes=101 /api/otp/**").start();
    sandbox.act(Act::Echo, None);
    let asked = |call: Call| {
        let seen = proxy.call(call).json();
        seen["header_names"].as_array().unwrap().iter().any(|name| name == "accept-encoding")
    };
    assert!(!asked(Call::sms()), "the caller did not ask");
    assert!(asked(Call::post(OTP, "{}")));
}

#[test]
fn a_thousand_refused_calls_look_into_the_files_far_less_often() {
    let (proxy, sandbox) = Setup::new().set("refusal.breaker.refusals=0").start();
    sandbox.forbid(SMS);
    let listen = proxy.listen;
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(move || {
                (0..60).for_each(|_| assert_eq!(Call::sms().to(listen).status, 401));
            });
        }
    });
    let looks = proxy.output().matches("looking at the credentials' files").count();
    assert!(looks < 960 / 2, "{looks}");
}
