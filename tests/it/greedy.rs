//! Callers that take up places: idle ones, half heads, half handshakes, answers left unread.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::support::call::{Connection, block_on, connect, read_to_end};
use crate::support::{Call, LOADED, Proxy, SMS, Setup, eventually};

/// Within this an ordinary caller is served, whatever others do: with all the time that a busy
/// machine may take.
const SERVED: Duration = Duration::from_secs(1);

#[test]
fn a_thousand_idle_connections_and_a_flood_of_half_heads_keep_nobody_out() {
    let _alone = LOADED.write().unwrap_or_else(PoisonError::into_inner);
    let (proxy, sandbox) = Proxy::start();
    proxy.call(Call::sms());
    let idle = open(proxy.listen, 1000, b"");
    let before = proxy.status_kb("VmRSS:");
    // More than there are places, and more behind them: the kernel's queue fills as well.
    let half = format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nX-Half: ");
    let flood = open(proxy.listen, 4000, half.as_bytes());
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(proxy.call(Call::sms()).status, 200);
        assert!(begun.elapsed() < SERVED, "{:?}", begun.elapsed());
        assert_eq!(proxy.admin("/livez").status, 200);
    }
    let room = r#"innopaas_proxy_connections_refused_total{reason="room"}"#;
    assert!(proxy.metric(room) > 2000, "{}", proxy.metric(room));
    assert!(proxy.metric("innopaas_proxy_downstream_connections") <= 2048);
    let grown = proxy.status_kb("VmRSS:").saturating_sub(before);
    assert!(grown < 64 * 1024, "grew by {grown} kB");
    assert_eq!(sandbox.calls().total, 21);
    drop((idle, flood));
}

#[test]
fn who_waits_for_an_answer_keeps_the_place() {
    let (proxy, sandbox) = Setup::new().set("limits.connections=4").start();
    sandbox.act(innopaas_proxy::sandbox::Act::SlowHead { ms: 1500 }, None);
    let request = format!(
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    let waiting = open(proxy.listen, 3, request.as_bytes());
    eventually("all are in flight", || proxy.metric("innopaas_proxy_requests_in_flight") == 3);
    let _flood = open(proxy.listen, 100, b"POST ");
    for stream in waiting {
        assert!(read_to_end(stream).starts_with("HTTP/1.1 200 OK"));
    }
}

#[test]
fn the_last_of_several_workers_makes_room_as_well() {
    let (proxy, _sandbox) = Setup::new()
        .set("limits.connections=8")
        .set("limits.workers=3")
        .set("limits.head_deadline=1h") // so that only those who make room make it
        .start();
    let _flood = open(proxy.listen, 20, b"POST ");
    for _ in 0..10 {
        assert_eq!(proxy.call(Call::sms()).status, 200);
    }
}

#[test]
fn a_pool_as_large_as_the_limit_loses_nothing_while_nobody_waits() {
    let (proxy, sandbox) = Setup::new().set("limits.connections=8").start();
    block_on(async {
        let mut pool = Vec::new();
        for _ in 0..8 {
            pool.push(Connection::open(proxy.listen).await);
        }
        for _ in 0..20 {
            for connection in &mut pool {
                assert_eq!(connection.call(Call::sms()).await.status, 200);
            }
        }
    });
    assert_eq!(sandbox.calls().accepted, 160);
}

#[test]
fn who_has_been_refused_keeps_nobody_out_while_taking_leave() {
    let (proxy, _sandbox) = Setup::new().set("limits.connections=4").start();
    let _refused = open(proxy.listen, 100, b"BAD\n");
    for _ in 0..3 {
        assert_eq!(proxy.call(Call::sms()).status, 200);
    }
}

#[test]
fn a_byte_now_and_then_is_no_progress() {
    let (proxy, _sandbox) = Setup::new().set("limits.body_progress=300ms").start();
    let mut stream = connect(proxy.listen);
    let head =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while writer.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let answer = read_to_end(stream); // ends, because the proxy does
    assert!(answer.contains("body_timeout"), "{answer}");
    dripping.join().unwrap();
}

#[test]
fn a_flood_of_the_admin_endpoints_does_not_fail_a_probe() {
    let (proxy, _sandbox) = Proxy::start();
    let _flood = open(proxy.admin, 400, b"GET /livez HTTP/1.1\r\nHost: ");
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(proxy.admin("/livez").status, 200);
        assert!(begun.elapsed() < SERVED, "{:?}", begun.elapsed());
    }
}

#[test]
fn half_a_head_glued_to_a_call_has_the_deadline_of_any_head() {
    let (proxy, sandbox) = Setup::new().set("limits.head_deadline=100ms").start();
    let mut stream = connect(proxy.listen);
    let glued =
        format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}POST /");
    stream.write_all(glued.as_bytes()).unwrap();
    let answer = read_to_end(stream); // ends, because the proxy closes
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(sandbox.calls().total, 1);
}

fn open(address: SocketAddr, number: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let connection = |_| {
        let mut stream = connect(address);
        let _ = stream.write_all(bytes); // it may have been sent away already
        stream
    };
    (0..number).map(connection).collect()
}
