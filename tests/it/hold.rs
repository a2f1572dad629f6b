//! Calls that wait for a newer pair: every bound is hit, and what is held is given back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use innopaas_proxy::sandbox::Sandbox;

use crate::support::call::{connect, read_to_end};
use crate::support::raw_upstream::answer;
use crate::support::{Answer, Call, Mount, Proxy, RawUpstream, SMS, Setup, canary, eventually};

/// A proxy whose pair is dead, and that holds calls.
fn holding(settings: &[&str]) -> (Proxy, Sandbox) {
    // One path alone, and no time passes: no refusal is confirmed, and no breaker opens.
    let setup = Setup::new().set("credentials.poll=20ms").set("refusal.confirm=1h");
    let (proxy, sandbox) = settings.iter().fold(setup, |s, setting| s.set(setting)).start();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    sandbox.set_pair(canary::marked_pair(1));
    sandbox.reset_counts();
    (proxy, sandbox)
}

/// Makes a call on a thread of its own.
fn in_background(proxy: &Proxy, call: Call) -> thread::JoinHandle<Answer> {
    let listen = proxy.listen;
    thread::spawn(move || call.to(listen))
}

/// Writes a call and does not wait for its answer.
fn write_call(proxy: &Proxy, body: &str) -> TcpStream {
    let mut stream = connect(proxy.listen);
    let length = body.len();
    write!(
        stream,
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

fn held(proxy: &Proxy) -> u64 {
    proxy.metric("innopaas_proxy_calls_held")
}

fn ended(proxy: &Proxy, how: &str) -> u64 {
    proxy.metric(&format!("innopaas_proxy_holds_total{{result={how:?}}}"))
}

fn bring_the_pair(proxy: &Proxy) {
    proxy.mount.swap_in(&canary::marked_pair(1));
}

fn assert_refused(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.header("proxy-status")), (401, None), "{answer:?}");
    assert_eq!(answer.json()["code"], "101");
}

#[test]
fn a_held_call_is_sent_once_the_new_pair_is_there() {
    let (proxy, sandbox) = holding(&["refusal.hold=20s"]);
    let calls: Vec<_> = (0..5).map(|_| in_background(&proxy, Call::sms())).collect();
    eventually("they are held", || held(&proxy) == 5);
    assert_eq!(sandbox.calls().accepted, 0);
    bring_the_pair(&proxy);
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
    let counted = sandbox.calls();
    assert_eq!((counted.accepted, counted.refused), (5, 5));
    assert_eq!((held(&proxy), ended(&proxy, "released")), (0, 5));
    eventually("their records", || {
        proxy.records().iter().filter(|record| record["repeated_with"] == "held").count() == 5
    });
}

#[test]
fn time_is_a_bound_and_the_refusal_is_what_innopaas_said() {
    let (proxy, sandbox) = holding(&["refusal.hold=300ms"]);
    let answer = proxy.call(Call::sms());
    assert_refused(&answer);
    eventually("both records", || proxy.records().len() == 2);
    let record = proxy.records().pop().unwrap();
    assert_eq!((sandbox.calls().total, ended(&proxy, "expired"), held(&proxy)), (1, 1, 0));
    assert!(record["duration_us"].as_u64().unwrap() >= 300_000, "{record}");
}

#[test]
fn the_number_of_held_calls_is_a_bound() {
    let (proxy, sandbox) = holding(&["refusal.hold=20s", "refusal.held_calls=3"]);
    let calls: Vec<_> = (0..3).map(|_| in_background(&proxy, Call::sms())).collect();
    eventually("they are held", || held(&proxy) == 3);
    for _ in 0..4 {
        assert_refused(&proxy.call(Call::sms()));
    }
    assert_eq!((held(&proxy), ended(&proxy, "no_place"), sandbox.calls().refused), (3, 4, 7));
    bring_the_pair(&proxy);
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
}

#[test]
fn the_bytes_of_held_calls_are_a_bound() {
    let (proxy, _sandbox) = holding(&["refusal.hold=20s", "refusal.held_bytes=30KiB"]);
    let large = || Call::post(SMS, format!(r#"{{"mobile":"1","msg":"{}"}}"#, "x".repeat(12_000)));
    let calls: Vec<_> = (0..2).map(|_| in_background(&proxy, large())).collect();
    eventually("they are held", || held(&proxy) == 2);
    assert_refused(&proxy.call(large()));
    let small = in_background(&proxy, Call::sms());
    eventually("a small one finds room", || held(&proxy) == 3);
    assert_eq!(ended(&proxy, "no_room"), 1);
    bring_the_pair(&proxy);
    for call in calls.into_iter().chain([small]) {
        assert_eq!(call.join().unwrap().status, 200);
    }
}

#[test]
fn a_held_call_ends_with_its_callers_connection() {
    let (proxy, sandbox) = holding(&["refusal.hold=20s"]);
    let streams: Vec<_> = (0..4).map(|_| write_call(&proxy, "{}")).collect();
    let stays = in_background(&proxy, Call::sms());
    eventually("they are held", || held(&proxy) == 5);
    drop(streams);
    eventually("their places are free", || held(&proxy) == 1);
    assert_eq!(ended(&proxy, "gone"), 4);
    bring_the_pair(&proxy);
    assert_eq!(stays.join().unwrap().status, 200);
    assert_eq!(sandbox.calls().accepted, 1, "nobody waits for the others");
    eventually("records of those that left", || {
        let gone = |record: &&serde_json::Value| {
            record["outcome"] == "client_gone" && record["sent"] == "maybe"
        };
        proxy.records().iter().filter(gone).count() == 4
    });
}

#[test]
fn a_drain_waits_for_held_calls() {
    let (mut proxy, _sandbox) = holding(&["refusal.hold=20s"]);
    let call = in_background(&proxy, Call::sms());
    eventually("it is held", || held(&proxy) == 1);
    proxy.signal("TERM");
    eventually("it drains", || proxy.admin("/readyz").status == 503);
    assert_eq!(held(&proxy), 1);
    bring_the_pair(&proxy);
    assert_eq!(call.join().unwrap().status, 200);
    assert_eq!(proxy.wait(), 0);
}

#[test]
fn the_end_of_a_drain_cuts_held_calls_and_says_so() {
    let (mut proxy, sandbox) = holding(&["refusal.hold=20s", "drain.maximum=300ms"]);
    let stream = write_call(&proxy, "{}");
    eventually("it is held", || held(&proxy) == 1);
    assert_eq!(proxy.stop(), 3);
    assert_eq!(read_to_end(stream), "");
    assert_eq!(sandbox.calls().accepted, 0);
    assert_eq!(proxy.records().pop().unwrap()["outcome"], "cut");
}

#[test]
fn a_streamed_body_is_held_and_sent_again_whole() {
    let (proxy, sandbox) = holding(&["refusal.hold=20s"]);
    let body = format!(r#"{{"mobile":"1","msg":"{}"}}"#, "x".repeat(40_000));
    let call = in_background(&proxy, Call::post(SMS, body));
    eventually("it is held", || held(&proxy) == 1);
    bring_the_pair(&proxy);
    assert_eq!(call.join().unwrap().status, 200);
    let records = sandbox.calls().records;
    let [refused, accepted] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(refused.body_sha256, accepted.body_sha256);
    assert_eq!(accepted.body_bytes, 40_023);
}

#[test]
fn while_the_breaker_is_open_calls_wait_unsent() {
    let (proxy, sandbox) = holding(&[
        "refusal.hold=20s",
        "refusal.confirm=10ms",
        "refusal.breaker.refusals=2",
        "refusal.breaker.interval=1h",
    ]);
    let mut calls = Vec::new();
    eventually("a call is held that was not sent", || {
        calls.push(in_background(&proxy, Call::sms()));
        eventually("it is held", || held(&proxy) == calls.len() as u64);
        sandbox.calls().total < calls.len() as u64
    });
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_breaker_open{pair="primary"}"#), 1);
    let refused = sandbox.calls().refused;
    calls.extend((0..10).map(|_| in_background(&proxy, Call::sms())));
    eventually("they are held", || held(&proxy) == calls.len() as u64);
    assert_eq!(sandbox.calls().total, refused, "InnoPaaS is not asked");
    bring_the_pair(&proxy);
    let all = calls.len() as u64;
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
    let counted = sandbox.calls();
    assert_eq!((counted.accepted, counted.refused), (all, refused));
}

#[test]
fn calls_that_waited_unsent_in_vain_were_not_sent() {
    let (proxy, sandbox) = holding(&[
        "refusal.hold=300ms",
        "refusal.confirm=10ms",
        "refusal.breaker.refusals=1",
        "refusal.breaker.interval=1h",
    ]);
    assert_refused(&proxy.call(Call::sms()));
    assert_refused(&proxy.call(Call::sms()));
    let total = sandbox.calls().total;
    proxy.call(Call::sms()).assert_problem(503, "credential_refused", "no");
    assert_eq!((sandbox.calls().total, ended(&proxy, "expired")), (total, 3));
}

#[test]
fn sighup_lets_go_what_waits_unsent() {
    let (proxy, sandbox) = holding(&[
        "refusal.hold=20s",
        "refusal.held_calls=1",
        "refusal.confirm=10ms",
        "refusal.breaker.refusals=1",
        "refusal.breaker.interval=1h",
    ]);
    let first = write_call(&proxy, "{}");
    eventually("it is held", || held(&proxy) == 1);
    eventually("the breaker opens", || proxy.call(Call::sms()).status == 503);
    drop(first);
    eventually("there is a place", || held(&proxy) == 0);
    let unsent = in_background(&proxy, Call::sms());
    eventually("it is held", || held(&proxy) == 1);
    sandbox.set_pair(canary::pair()); // it was InnoPaaS's mistake
    proxy.signal("HUP");
    assert_eq!(unsent.join().unwrap().status, 200);
    assert_eq!((ended(&proxy, "released"), ended(&proxy, "expired")), (1, 0));
}

#[test]
fn a_call_waits_rather_than_being_sent_over_a_dead_standby() {
    let standby = Mount::of(&canary::marked_pair("dead"));
    let standby = format!("credentials.standby.directory={}", standby.path().display());
    let (proxy, sandbox) = holding(&["refusal.hold=20s", "refusal.confirm=10ms", &standby]);
    let mut calls = Vec::new();
    eventually("the standby is known to be dead", || {
        calls.push(in_background(&proxy, Call::sms()));
        eventually("it is answered or held", || {
            calls.retain(|call| !call.is_finished());
            held(&proxy) == calls.len() as u64
        });
        !calls.is_empty()
    });
    let refused = sandbox.calls().refused;
    calls.extend((0..5).map(|_| in_background(&proxy, Call::sms())));
    eventually("they are held", || held(&proxy) == 6);
    assert_eq!(sandbox.calls().refused, refused + 5, "by the primary alone");
    bring_the_pair(&proxy);
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
}

#[test]
fn a_standby_that_comes_lets_go_what_waits() {
    let standby = Mount::empty();
    let setting = format!("credentials.standby.directory={}", standby.path().display());
    let (proxy, sandbox) = holding(&["refusal.hold=20s", &setting]);
    sandbox.add_application(canary::marked_pair("S"));
    let call = in_background(&proxy, Call::sms());
    eventually("it is held", || held(&proxy) == 1);
    standby.swap_in(&canary::marked_pair("S"));
    assert_eq!(call.join().unwrap().status, 200);
    assert_eq!(ended(&proxy, "released"), 1);
}

/// An upstream that refuses every call of the first pair as soon as its head is here.
fn refusing_early() -> RawUpstream {
    RawUpstream::start(|_, mut tls| {
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            tls.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap();
        if head.contains(&format!("Authorization: {}\r\n", canary::TOKEN)) {
            const REFUSAL: &str = "{\"code\":\"101\"}";
            answer(&mut tls, &format!("HTTP/1.1 401 No\r\nContent-Length: 14\r\n\r\n{REFUSAL}"));
            let _ = tls.read_to_end(&mut Vec::new());
            return;
        }
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            tls.read_exact(&mut byte).unwrap();
            body.push(byte[0]);
        }
        let letters = String::from_utf8(body).unwrap().matches('x').count();
        let letters = letters.to_string();
        answer(
            &mut tls,
            &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{letters}", letters.len()),
        );
    })
}

/// A call whose body is not over yet, held.
fn hold_unfinished(proxy: &Proxy) -> TcpStream {
    let mut stream = connect(proxy.listen);
    write!(
        stream,
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nxxxxx\r\n"
    )
    .unwrap();
    eventually("it is held", || held(proxy) == 1);
    stream
}

fn chunk(length: usize) -> String {
    format!("{length:x}\r\n{}\r\n", "x".repeat(length))
}

#[test]
fn an_unfinished_body_is_taken_in_while_its_call_waits() {
    let upstream = refusing_early();
    let setup = Setup::new().set("refusal.hold=20s").set("credentials.poll=20ms");
    let proxy = setup.start_before_raw(&upstream);

    drop(hold_unfinished(&proxy));
    eventually("its caller's going ends the wait", || ended(&proxy, "gone") == 1);
    assert_eq!(held(&proxy), 0);

    let mut stream = hold_unfinished(&proxy);
    // More than the proxy keeps: it cannot be sent again, so it need not wait.
    for _ in 0..8 {
        stream.write_all(chunk(16_000).as_bytes()).unwrap();
    }
    let got = read_to_end(stream);
    assert!(got.starts_with("HTTP/1.1 401 ") && got.ends_with("{\"code\":\"101\"}"), "{got}");
    assert_eq!((held(&proxy), ended(&proxy, "no_room")), (0, 1));

    let mut stream = hold_unfinished(&proxy);
    stream.write_all(chunk(30_000).as_bytes()).unwrap();
    bring_the_pair(&proxy);
    eventually("it is sent again", || ended(&proxy, "released") == 1);
    stream.write_all(chunk(50_000).as_bytes()).unwrap();
    stream.write_all(b"0\r\n\r\n").unwrap();
    let got = read_to_end(stream);
    assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("\r\n\r\n80005"), "{got}");
}

#[test]
fn memory_stays_flat_while_calls_are_held_and_let_go() {
    const ROUNDS: usize = 24;
    const CALLS: usize = 100;
    let (proxy, sandbox) = holding(&["refusal.hold=20s", "refusal.held_bytes=64MiB"]);
    let body = format!(r#"{{"mobile":"1","msg":"{}"}}"#, "x".repeat(60_000));
    let mut sizes = Vec::new();
    for round in 0..ROUNDS {
        let streams: Vec<_> = (0..CALLS).map(|_| write_call(&proxy, &body)).collect();
        eventually("they are held", || held(&proxy) == CALLS as u64);
        if round % 2 == 0 {
            drop(streams);
        } else {
            // A pair that the sandbox takes, and then one that it takes no more.
            let (good, next) = (canary::marked_pair(round), canary::marked_pair(round + ROUNDS));
            sandbox.set_pair(good.clone());
            proxy.mount.swap_in(&good);
            for mut stream in streams {
                let mut status = [0; 12];
                stream.read_exact(&mut status).unwrap();
                assert_eq!(&status, b"HTTP/1.1 200");
            }
            sandbox.set_pair(next);
        }
        eventually("all are let go", || held(&proxy) == 0);
        sizes.push(proxy.status_kb("VmRSS:"));
    }
    // One round's bodies are 6 MB: if they were kept, the last rounds would show 100 MB more.
    let (early, late) = (sizes[ROUNDS / 3], sizes[ROUNDS - 1]);
    assert!(late < early + 16 * 1024, "{sizes:?}");
}

#[test]
fn without_a_word_nothing_is_held() {
    let setup = Setup::new().mount(Mount::of(&canary::marked_pair("dead")));
    let (proxy, _sandbox) = setup.start();
    assert_refused(&proxy.call(Call::sms()));
    for how in ["released", "expired", "no_place", "no_room", "gone"] {
        assert_eq!(ended(&proxy, how), 0);
    }
}
