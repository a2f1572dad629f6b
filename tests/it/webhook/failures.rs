//! Applications that are down, hang, break off or are slow: what the sender is told, and what it
//! costs others.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::sender::{Line, request};
use super::{Bench, message, right, typed};
use crate::support::application::answer;
use crate::support::{Application, Manner, PATIENCE, eventually};

const POST: &str = "POST /hooks";

fn set_deadline() -> Bench {
    Bench::set(&["webhook.deadline=400ms"])
}

#[test]
fn an_application_that_is_down_is_503_and_nothing_was_sent() {
    let route = format!("webhook.routes=path=/down to=http://{}/in", Application::nowhere());
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("app.sock");
    let on_socket = format!("{route},path=/socket to=unix:{}:/in", socket.display());
    let bench = Bench::set(&[&on_socket]);
    let call = |path: &str| {
        let bytes = request(&format!("POST {path}"), right(), message("e-1").as_bytes());
        bench.line().call(&bytes)
    };
    call("/down").assert_problem(503, "application_unreachable", "no");
    call("/socket").assert_problem(503, "application_unreachable", "no");
    let later = Application::start_on(&socket);
    assert_eq!(call("/socket").status(), 200, "once it is there");
    assert_eq!((bench.events("undelivered"), later.count()), (2, 1));
    let warning = bench.proxy.log().into_iter().find(|line| line["sent"] == "no");
    assert_eq!(warning.unwrap()["code"], "application_unreachable");
    let recent = bench.proxy.admin("/status").json()["recent_errors"].to_string();
    assert!(recent.contains("application_unreachable"), "{recent}");
}

#[test]
fn an_application_whose_name_leads_nowhere_is_503() {
    let bench = Bench::set(&["webhook.routes=path=/hooks to=http://nowhere.invalid/"]);
    bench.post("{}").assert_problem(503, "application_unreachable", "no");
}

#[test]
fn an_application_that_hangs_is_504_when_the_deadline_has_passed_and_is_left_alone_then() {
    let bench = set_deadline();
    bench.application.always(Manner::Hangs);
    let begun = Instant::now();
    bench.post(message("e-1")).assert_problem(504, "application_timeout", "maybe");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < PATIENCE / 2, "{took:?}");
    assert_eq!((bench.events("unknown"), bench.application.count()), (1, 1), "asked once");
    eventually("its connection is closed", || bench.application.open() == 0);
}

#[test]
fn an_application_that_breaks_off_is_504_and_is_not_asked_again() {
    let bench = Bench::start();
    let cut_short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec();
    let cut_in_a_chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".to_vec();
    let cut_in_its_head = b"HTTP/1.1 200 OK\r\nContent-".to_vec();
    let no_answer = b"SSH-2.0-x\r\n\r\n".to_vec();
    let two_lengths =
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec();
    let manners = [
        Manner::Closes,
        Manner::Resets,
        Manner::AnswersAndCloses(cut_short),
        Manner::AnswersAndCloses(cut_in_a_chunk),
        Manner::AnswersAndCloses(cut_in_its_head),
        Manner::AnswersAndCloses(no_answer),
        Manner::AnswersAndCloses(two_lengths),
    ];
    for (index, manner) in manners.into_iter().enumerate() {
        // On a new connection and on one that was kept.
        for kept in [false, true] {
            let bench_line = format!("{manner:?} kept: {kept}");
            if kept {
                assert_eq!(bench.post("{}").status(), 200, "{bench_line}");
            }
            let before = bench.application.count();
            bench.application.once(manner.clone());
            let answer = bench.post(message("e-1"));
            answer.assert_problem(504, "application_closed", "maybe");
            assert_eq!(bench.application.count(), before + 1, "{bench_line}: asked once");
        }
        assert_eq!(bench.events("unknown"), 2 * index as u64 + 2);
    }
}

#[test]
fn of_an_answer_over_64_kib_the_head_is_passed_on_and_of_one_that_switches_protocols_nothing() {
    let bench = Bench::start();
    let large = answer("202 Accepted", "X-Own: 1\r\n", &vec![b'x'; 64 * 1024 + 1]);
    bench.application.once(Manner::Answers(large));
    let passed = bench.post(message("e-1"));
    assert_eq!((passed.status(), passed.header("x-own")), (202, Some("1")));
    assert_eq!(bench.events("unknown"), 0);
    let switching =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    bench.application.once(Manner::Answers(switching.to_vec()));
    bench.post(message("e-1")).assert_problem(504, "application_closed", "maybe");
    assert_eq!(bench.post(message("e-1")).status(), 200);
}

#[test]
fn a_connection_is_kept_and_one_that_was_closed_between_two_events_costs_none() {
    let bench = Bench::start();
    let mut line = bench.line();
    let event = request(POST, right(), message("e-1").as_bytes());
    for _ in 0..5 {
        assert_eq!(line.call(&event).status(), 200);
    }
    assert!(bench.application.got().iter().all(|got| got.connection == 0), "all on one");
    for said in ["Connection: close\r\n", ""] {
        for _ in 0..20 {
            let before = bench.application.connections();
            bench.application.once(Manner::AnswersAndCloses(answer("200 OK", said, b"")));
            assert_eq!(line.call(&event).status(), 200);
            eventually("it is closed", || bench.application.open() == 0);
            assert_eq!(line.call(&event).status(), 200, "{said:?}");
            assert!(bench.application.connections() > before);
        }
    }
    assert_eq!(bench.delivered("2xx"), 85);
    // Where it was said that it would be closed, nobody has to see it happen.
    let old = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    for _ in 0..100 {
        let closing = answer("200 OK", "Connection: close\r\n", b"");
        bench.application.once(Manner::AnswersAndCloses(closing));
        bench.application.once(Manner::AnswersAndCloses(old.clone()));
        assert_eq!([(); 2].map(|()| line.call(&event).status()), [200, 200]);
    }
}

#[test]
fn an_event_that_meets_a_connection_just_closed_goes_on_by_another_one() {
    let bench = Bench::start();
    let mut line = bench.line();
    let event = request(POST, right(), message("e-1").as_bytes());
    let last = answer("200 OK", "Connection: close\r\n", b"");
    bench.application.always(Manner::AnswersAndCloses(last));
    let mut delivered = 0;
    for round in 0..10 {
        let closing = answer("200 OK", "", b"");
        let pause = Duration::from_millis(100);
        bench.application.once(Manner::AnswersAndClosesAfter(pause, closing));
        assert_eq!(line.call(&event).status(), 200);
        delivered += 1;
        // The end and the event come while the process cannot look, in either order.
        bench.proxy.signal("STOP");
        if round % 2 == 0 {
            line.send(&event);
        }
        eventually("it is closed", || bench.application.open() == 0);
        if round % 2 == 1 {
            line.send(&event);
        }
        bench.proxy.signal("CONT");
        let status = line.answer().status();
        // If the end was seen too late the event has left, and is not sent twice then.
        assert!([200, 504].contains(&status), "{round}: {status}");
        delivered += usize::from(status == 200);
    }
    assert_eq!(bench.application.count(), delivered, "each once");
}

#[test]
fn a_sender_that_stops_behind_an_early_answer_holds_up_no_other_event() {
    let bench = Bench::set(&["webhook.deadline=10s"]);
    bench.application.once(Manner::AnswersEarly(answer("413 Content Too Large", "", b"")));
    let bytes = request(POST, right(), &vec![b'x'; 300 * 1024]);
    let mut stuck = bench.line();
    stuck.send(&bytes[..200 * 1024]);
    assert_eq!(stuck.answer().status(), 413);
    let begun = Instant::now();
    assert_eq!(bench.post(message("e-1")).status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn one_slow_application_does_not_hold_up_another() {
    let slow = Application::start();
    slow.always(Manner::Hangs);
    let route = format!("webhook.routes=type=slow to={}", slow.at("/"));
    let bench = Bench::set(&[&route, "webhook.deadline=20s"]);
    let waiting: Vec<_> = (0..50)
        .map(|number| {
            let mut line = bench.line();
            line.send(&request(POST, right(), typed("slow", &format!("e-{number}")).as_bytes()));
            line
        })
        .collect();
    slow.wait_for(50);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(bench.post(message("e-1")).status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(bench.proxy.metric("innopaas_proxy_webhooks_in_flight"), 50);
    waiting.into_iter().for_each(Line::leave);
    eventually("nobody waits for them", || slow.open() == 0);
    assert_eq!(bench.events("sender_gone"), 50);
    // They were on their way, which is what their records say.
    eventually("all are recorded", || {
        let gone =
            |record: &&Value| record["outcome"] == "sender_gone" && record["sent"] == "maybe";
        bench.records().iter().filter(gone).count() == 50
    });
}

#[test]
fn a_burst_of_slow_events_is_bounded_by_the_connections_and_later_ones_are_served() {
    const BURST: usize = 200;
    let bench = Bench::set(&["webhook.connections=16", "webhook.deadline=20s"]);
    let slowly = Manner::AnswersAfter(Duration::from_millis(50), answer("200 OK", "", b""));
    bench.application.always(slowly);
    let fields = format!("{}Connection: close\r\n", right());
    let bytes = request(POST, fields, message("e-1").as_bytes());
    let mut burst: Vec<_> = (0..BURST)
        .map(|_| {
            let mut line = bench.line();
            line.send(&bytes);
            line
        })
        .collect();
    let most = &mut 0;
    eventually("they are all here", || {
        *most = bench.application.open().max(*most);
        bench.application.count() == BURST
    });
    assert!(*most <= 16, "{most} at a time");
    assert!(burst.iter_mut().all(|line| line.answer().status() == 200));
    assert_eq!(bench.post(message("e-2")).status(), 200);
    assert_eq!(bench.delivered("2xx"), BURST as u64 + 1);
}

#[test]
fn who_takes_up_connections_without_an_event_makes_room_for_one() {
    let bench = Bench::set(&["webhook.connections=8", "limits.head_deadline=1h"]);
    let _flood: Vec<_> = (0..100)
        .map(|number| {
            let mut line = bench.line();
            let _ =
                line.try_send(if number % 2 == 0 { b"POST /hooks HTTP/1.1\r\nUser" } else { b"" });
            line
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(bench.post(message("e-1")).status(), 200);
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let bench = Bench::start();
    bench.application.always(Manner::ok("fresh"));
    let [one, stale] = [b"one".as_slice(), b"stale"].map(|body| answer("200 OK", "", body));
    for more in [&stale[..], b"HTTP/1.1 200 OK\r\nContent-Le", b"\r\n", b"x"] {
        bench.application.once(Manner::Answers([&one, more].concat()));
        assert_eq!(bench.post(message("e-1")).body(), b"one");
        for _ in 0..3 {
            assert_eq!(bench.post(message("e-2")).body(), b"fresh");
        }
    }
}

#[test]
fn an_answer_whose_length_says_more_than_its_body_comes_back_in_one_piece() {
    let bench = Bench::start();
    let chunked = "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (said, status, body) in [
        (format!("HTTP/1.1 200 OK\r\n{chunked}"), 200, &b"abc"[..]),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_owned(), 304, b""),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n".to_owned(), 204, b""),
        ("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n".to_owned(), 205, b""),
    ] {
        bench.application.once(Manner::AnswersAndCloses(said.clone().into_bytes()));
        let mut line = bench.line();
        let event = request(POST, right(), message("e-1").as_bytes());
        line.send(&event);
        let head = line.interim();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{said}: {head}");
        if !body.is_empty() {
            assert!(head.to_ascii_lowercase().contains("content-length: 3\r\n"), "{head}");
        }
        // Nothing is left over that the next answer would begin with.
        line.skip(body);
        eventually("it is closed", || bench.application.open() == 0);
        assert_eq!(line.call(&event).status(), 200, "{said}");
    }
}
