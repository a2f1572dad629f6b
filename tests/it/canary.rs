//! The search for leaked credentials finds them. That nothing leaks is asserted at the end of
//! every process and on every answer of all the other tests, at trace level.

use std::process::Command;

use innopaas_proxy::cli::hide_panic_messages;

use crate::support::canary::{TOKEN, assert_absent, find, forms, hex, pair};
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

#[test]
fn the_message_of_a_panic_is_withheld_and_its_place_is_told() {
    let panicked = |hidden: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "canary::panics_over_a_token", "--ignored", "--nocapture"])
            .env("HIDDEN", hidden)
            .output()
            .unwrap();
        assert!(!output.status.success());
        [output.stdout, output.stderr].concat()
    };
    assert_eq!(find(&panicked("no")), Some("raw"), "the control: it would be there");
    let output = panicked("yes");
    assert_absent("the message of a panic", &output);
    assert!(String::from_utf8_lossy(&output).contains("panicked at tests/it/canary.rs"));
}

#[test]
#[ignore = "panics; for the test above, in a process of its own"]
fn panics_over_a_token() {
    if std::env::var_os("HIDDEN").is_some_and(|hidden| hidden == "yes") {
        hide_panic_messages();
    }
    panic!("could not make sense of {TOKEN}");
}

#[test]
fn the_sandbox_does_not_print_its_pair() {
    assert_absent("a pair's Debug", format!("{:?}", pair()).as_bytes());
}
