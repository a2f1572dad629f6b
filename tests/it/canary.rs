//! The search for leaked credentials finds them. That nothing leaks is asserted at the end of
//! every process and on every answer of all the other tests, at trace level.

use crate::support::canary::{TOKEN, assert_absent, find, forms, hex};
use crate::support::{Call, Proxy, eventually};

#[test]
fn a_planted_leak_in_any_form_is_found() {
    for (form, text) in forms(TOKEN) {
        let line = format!("2026-01-01 INFO value=\"{text}\" and more");
        assert_eq!(find(line.as_bytes()), Some(form));
    }
    assert_eq!(find(b"nothing to see"), None);
}

#[test]
fn a_leak_planted_in_the_log_of_a_real_process_is_found() {
    let (mut proxy, _sandbox) = Proxy::start();
    proxy.expect_leak();
    assert_absent("the log so far", proxy.output().as_bytes());
    // A path is on the list of what may be logged; this caller puts a secret there.
    let _ = proxy.call(Call::get(&format!("/api/{}", hex(TOKEN.as_bytes(), ""))));
    eventually("the log has it", || find(proxy.output().as_bytes()) == Some("in hex"));
}
