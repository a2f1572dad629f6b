//! From start to end: ready when it can serve, and an end that loses nothing it need not lose.

use std::io::Write;
use std::net::TcpStream;

use innopaas_proxy::sandbox::{Act, Sandbox};

use crate::support::call::{Connection, block_on, connect, read_to_end};
use crate::support::{Call, Proxy, SMS, Setup, eventually};

/// A call that is in flight until the sandbox answers, after this many milliseconds.
fn call_in_flight(proxy: &Proxy, sandbox: &Sandbox, ms: u64) -> TcpStream {
    sandbox.act(Act::SlowHead { ms }, Some(1));
    let before = sandbox.calls().total;
    let mut stream = connect(proxy.listen);
    let request =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).unwrap();
    eventually("the call is in flight", || sandbox.calls().total > before);
    stream
}

#[test]
fn sigterm_turns_readiness_off_and_new_calls_are_still_served() {
    let (mut proxy, sandbox) = Setup::new().set("drain.minimum=1500ms").start();
    assert_eq!(proxy.admin("/readyz").status, 200);
    proxy.signal("TERM");
    eventually("not ready", || proxy.admin("/readyz").status == 503);
    assert_eq!(proxy.admin("/livez").status, 200);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(proxy.wait(), 0, "{}", proxy.output());
    assert_eq!(sandbox.calls().accepted, 1);
}

#[test]
fn what_is_in_flight_is_finished_and_unused_connections_are_closed() {
    let (mut proxy, sandbox) = Proxy::start();
    block_on(async {
        let mut unused = Connection::open(proxy.listen).await;
        assert_eq!(unused.call(Call::sms()).await.status, 200);
        let stream = call_in_flight(&proxy, &sandbox, 600);
        proxy.signal("TERM");
        let text = read_to_end(stream);
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with('}'), "{text}");
        assert!(unused.try_call(Call::sms()).await.is_err());
    });
    assert_eq!(proxy.wait(), 0, "{}", proxy.output());
    assert_eq!(sandbox.calls().total, 2);
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_the_exit_code_says_so() {
    let (mut proxy, sandbox) = Setup::new().set("drain.maximum=300ms").start();
    let stream = call_in_flight(&proxy, &sandbox, 60_000);
    assert_eq!(proxy.stop(), 3, "{}", proxy.output());
    assert_eq!(read_to_end(stream), "");
    let cut = proxy.log().into_iter().find(|line| line["cut"] == 1);
    assert!(cut.is_some(), "{}", proxy.output());
    assert_eq!(proxy.record()["outcome"], "cut");
}

#[test]
fn a_second_sigterm_cuts_at_once() {
    let (mut proxy, sandbox) = Proxy::start();
    let stream = call_in_flight(&proxy, &sandbox, 60_000);
    proxy.signal("TERM");
    eventually("draining", || proxy.log().iter().any(|line| line["message"] == "draining"));
    assert_eq!(proxy.stop(), 3, "{}", proxy.output());
    assert_eq!(read_to_end(stream), "");
}

#[test]
fn a_second_sigterm_with_nothing_in_flight_cuts_nothing() {
    let (mut proxy, _sandbox) = Setup::new().set("drain.minimum=20s").start();
    proxy.signal("INT");
    eventually("draining", || proxy.log().iter().any(|line| line["message"] == "draining"));
    assert_eq!(proxy.stop(), 0, "{}", proxy.output());
}

#[test]
fn several_workers_drain_together() {
    let (mut proxy, sandbox) = Setup::new().set("limits.workers=2").start();
    let streams = [call_in_flight(&proxy, &sandbox, 500), call_in_flight(&proxy, &sandbox, 500)];
    proxy.signal("TERM");
    for stream in streams {
        assert!(read_to_end(stream).starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(proxy.wait(), 0, "{}", proxy.output());
}

#[test]
fn while_draining_every_answer_says_that_it_is_the_last_on_its_connection() {
    let (mut proxy, _sandbox) = Setup::new().set("drain.minimum=1500ms").start();
    block_on(async {
        let mut kept = Connection::open(proxy.listen).await;
        assert_eq!(kept.call(Call::sms()).await.header("connection"), None);
        proxy.signal("TERM");
        eventually("draining", || proxy.log().iter().any(|line| line["message"] == "draining"));
        let mut last = kept.try_call(Call::sms()).await.unwrap();
        while last.header("connection").is_none() {
            last = kept.call(Call::sms()).await; // its connection has not heard of it yet
        }
        assert_eq!((last.status.as_u16(), last.header("connection")), (200, Some("close")));
    });
    assert_eq!(proxy.wait(), 0, "{}", proxy.output());
}

#[test]
fn who_has_connected_when_the_door_closes_is_still_served() {
    const CALLERS: usize = 200;
    let (mut proxy, sandbox) = Setup::new().set("limits.workers=2").start();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    // All of them, and the signal, come while the process cannot look.
    proxy.signal("STOP");
    let request =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let mut stream = connect(proxy.listen);
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    proxy.signal("TERM");
    proxy.signal("CONT");
    let served = callers.into_iter().map(read_to_end);
    assert_eq!(served.filter(|text| text.starts_with("HTTP/1.1 200 OK")).count(), CALLERS);
    assert_eq!(proxy.wait(), 0, "{}", proxy.output());
    assert_eq!(sandbox.calls().accepted, CALLERS as u64 + 1);
}

#[test]
fn an_answer_that_its_caller_has_not_read_is_cut_and_not_called_complete() {
    let (mut proxy, _sandbox) = Setup::new().set("drain.maximum=500ms").start();
    let mut stream = connect(proxy.listen);
    write!(
        stream,
        "GET /api/whatsapp/v3/media/1?bytes=100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    eventually("the answer is on its way", || {
        proxy.metric("innopaas_proxy_upstream_connections") == 1
    });
    assert_eq!(proxy.stop(), 3, "{}", proxy.output());
    assert!(read_to_end(stream).len() < 100_000_000);
}
