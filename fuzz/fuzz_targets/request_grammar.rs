//! Any bytes of a connection, against the strict reader that stands before hyper.
//!
//! Input: a byte that says in what pieces they come, and the bytes.
//!
//! Invariants: what passes does not depend on the pieces; a head that passes is one that httparse,
//! and so hyper, takes in whole and to the same byte, with a target, names and values that can be
//! taken over; its length is told at most once; and the next head begins where this body ends.

#![no_main]

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};
use innopaas_proxy::server::{Fault, Grammar, Limits};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    head_size: 2048,
    header_count: 16,
    head_deadline: Duration::ZERO,
    write_progress: Duration::ZERO,
    idle: Duration::ZERO,
};

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = Grammar::new(&LIMITS).pass(bytes);
    let pieces = in_pieces(bytes, usize::from(*piece).max(1));
    match (whole, pieces) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        // A fault is seen no later in pieces; with less of the line there, perhaps as another.
        (Err((one, _)), Err((other, _))) => assert_eq!(one, other),
        (whole, pieces) => panic!("{whole:?}, in pieces {pieces:?}"),
    }
    let (Ok(passed) | Err((passed, _))) = whole;
    let mut rest = &bytes[..passed];
    while let Some(after) = request(rest) {
        rest = after;
    }
});

fn in_pieces(bytes: &[u8], piece: usize) -> Result<usize, (usize, Fault)> {
    let mut grammar = Grammar::new(&LIMITS);
    let (mut passed, mut here) = (0, 0);
    while here < bytes.len() {
        here = (here + piece).min(bytes.len());
        match grammar.pass(&bytes[passed..here]) {
            Ok(fit) => passed += fit,
            Err((fit, fault)) => return Err((passed + fit, fault)),
        }
    }
    Ok(passed)
}

/// Reads one request that has passed with other eyes; what follows it, if its end is known here.
fn request(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.is_empty() {
        return None;
    }
    let mut lines = [httparse::EMPTY_HEADER; 17];
    let mut request = httparse::Request::new(&mut lines);
    let status = request.parse(bytes).expect("httparse takes in what has passed");
    let length = status.is_complete().then(|| status.unwrap()).expect("heads pass whole");
    assert!(length <= LIMITS.head_size);

    Method::from_bytes(request.method.unwrap().as_bytes()).expect("a method");
    Uri::try_from(request.path.unwrap()).expect("a target");
    let values = |wanted: &str| -> Vec<&[u8]> {
        let of = request.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(wanted));
        of.map(|line| line.value).collect()
    };
    for line in request.headers.iter() {
        HeaderName::from_bytes(line.name.as_bytes()).expect("a name");
        HeaderValue::from_bytes(line.value).expect("a value");
        assert!(!line.value.contains(&b'\n') && !line.value.contains(&b'\r'));
    }
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "the length is told twice");
    match (lengths.first(), codings.first()) {
        (_, Some(coding)) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            None // where its body ends is what the pieces agree on
        }
        (Some(told), None) => {
            let told: u64 = std::str::from_utf8(told).unwrap().parse().expect("a number");
            let body = usize::try_from(told).unwrap_or(usize::MAX);
            bytes.get(length.saturating_add(body)..)
        }
        (None, None) => bytes.get(length..),
    }
}
