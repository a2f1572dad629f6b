//! The table of hostile requests: what has two meanings, or means harm, by class.
//!
//! Every case is raw bytes to the real binary, and is judged at the raw bytes that its upstream
//! received, by a reader that shares nothing with the proxy. The chapters of SECURITY.md count
//! these cases; a test holds the page to it.

use std::collections::BTreeMap;

use self::bench::Bench;
use self::case::{Case, Cases, Reply};

mod bench;
mod callers;
mod case;
mod chunks;
mod connections;
mod framing;
mod headers;
mod heads;
mod host;
mod plain;
mod targets;

/// Its name in SECURITY.md, and its cases.
type Class = (&'static str, fn() -> Cases);

const CLASSES: [Class; 8] = [
    ("framing", framing::cases),
    ("chunks", chunks::cases),
    ("heads", heads::cases),
    ("targets", targets::cases),
    ("host", host::cases),
    ("headers", headers::cases),
    ("callers", callers::cases),
    ("connections", connections::cases),
];

/// How many cases each class has.
pub(crate) fn counts() -> BTreeMap<&'static str, usize> {
    CLASSES.into_iter().map(|(class, cases)| (class, cases().0.len())).collect()
}

#[test]
fn a_body_has_one_length_or_is_refused() {
    judge(framing::cases());
}

#[test]
fn chunks_are_well_formed_or_the_request_never_becomes_whole() {
    judge(chunks::cases());
}

#[test]
fn a_head_has_the_form_of_a_request_or_is_refused() {
    judge(heads::cases());
}

#[test]
fn a_target_has_one_spelling_or_is_refused() {
    judge(targets::cases());
}

#[test]
fn a_host_is_ours_or_is_refused() {
    judge(host::cases());
}

#[test]
fn no_header_of_a_caller_replaces_or_removes_one_of_ours() {
    judge(headers::cases());
}

#[test]
fn a_web_page_cannot_call() {
    judge(callers::cases());
}

#[test]
fn requests_on_one_connection_stay_apart() {
    judge(connections::cases());
}

#[test]
fn plain_requests_are_served() {
    let cases = plain::cases();
    assert!(cases.0.len() >= 15);
    judge(cases);
}

#[test]
fn the_security_page_counts_the_cases() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    let page = std::fs::read_to_string(path).unwrap();
    for (class, count) in counts() {
        let row = format!("| {class} | {count} | ");
        assert!(page.lines().any(|line| line.starts_with(&row)), "no row {row:?}");
    }
    assert!(counts().values().sum::<usize>() >= 300);
}

/// Every case on a connection of its own. Those whose bodies break off have an upstream of their
/// own, see [`bench`].
fn judge(Cases(cases): Cases) {
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    let breaks = |case: &Case| case.replies.iter().any(|r| matches!(r, Reply::Broken(..)));
    let (broken, whole): (Vec<_>, Vec<_>) = cases.into_iter().partition(breaks);
    let mut failures = Vec::new();
    for (cases, keep) in [(whole, true), (broken, false)] {
        if cases.is_empty() {
            continue;
        }
        let mut bench = Bench::start(keep);
        for case in &cases {
            if let Err(why) = bench.check(case) {
                failures.push(format!("{}: {why}", case.name));
            }
        }
        if failures.is_empty() {
            failures.extend(bench.finish().err());
        }
    }
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}
