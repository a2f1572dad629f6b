//! Strangers who send a great deal.

use std::sync::PoisonError;
use std::thread;

use super::sender::{Line, request};
use super::{Bench, message, right, shown};
use crate::support::LOADED;
use crate::support::canary::USER_NAME;

#[test]
fn five_thousand_refusals_fill_neither_log_nor_memory_and_keep_no_event_out() {
    const CONNECTIONS: usize = 50;
    const EACH: usize = 100;
    let _loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::set(&["log.level=info"]);
    // So that what is made once is there.
    let refused = request("POST /hooks", shown(USER_NAME, "wrong"), message("e-1").as_bytes());
    let event = request("POST /hooks", right(), message("e-1").as_bytes());
    for _ in 0..20 {
        assert_eq!(bench.line().call(&refused).status(), 401);
        assert_eq!(bench.line().call(&event).status(), 200);
    }
    let (lines, before) = (bench.proxy.output().lines().count(), bench.proxy.status_kb("VmRSS:"));
    let events = bench.records().len();
    let address = bench.proxy.webhook.unwrap();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut line = Line::open(address);
                for _ in 0..EACH {
                    assert_eq!(line.call(&refused).status(), 401);
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(Line::open(address).call(&event).status(), 200);
        }
    });
    let grown = bench.proxy.status_kb("VmRSS:").saturating_sub(before);
    assert!(grown < 8 * 1024, "grew by {grown} kB");
    assert_eq!(bench.refused("authorization"), 20 + (CONNECTIONS * EACH) as u64);
    assert_eq!((bench.application.count(), bench.delivered("2xx")), (70, 70));
    crate::support::eventually("every event is recorded", || bench.records().len() == 70);
    let written = bench.proxy.output().lines().count() - lines - (70 - events);
    assert!(written <= 5, "{written} lines for strangers");
}

#[test]
fn what_is_no_request_leaves_no_lines() {
    let bench = Bench::set(&["log.level=info"]);
    let lines = bench.proxy.output().lines().count();
    for _ in 0..200 {
        bench.line().call(b"POST /hooks HTTP/1.1\r\nUserName : x\r\n\r\n");
    }
    assert_eq!(bench.proxy.metric("innopaas_proxy_webhook_malformed_requests_total"), 200);
    assert_eq!(bench.proxy.output().lines().count(), lines, "{}", bench.proxy.output());
}
