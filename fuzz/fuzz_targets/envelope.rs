//! The body of an answer that is looked into for a code, against `read_code`.
//!
//! Invariant: nothing panics; where a code is read, the body is one JSON object, and another reader
//! of JSON finds the same code in it: a call is sent once more on the strength of this. Where none
//! is read although there is exactly one text as `code`, the body is no JSON object.

#![no_main]

use innopaas_proxy::proxy::read_code;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let read = read_code(body);
    let other = serde_json::from_slice::<Value>(body);
    match (&read, &other) {
        (Some(code), Ok(Value::Object(envelope))) => match (code, envelope.get("code")) {
            (None, None | Some(Value::Null)) => {}
            (Some(code), Some(Value::String(other))) => assert_eq!(code, other),
            (Some(code), Some(Value::Number(other))) => assert_eq!(*code, other.to_string()),
            (code, other) => panic!("{code:?} and {other:?}"),
        },
        // What is skipped is not looked at as closely: a number may be larger than any can be.
        (Some(_), Err(error)) => assert!(error.is_syntax() && body.trim_ascii()[0] == b'{'),
        (Some(_), Ok(_)) => panic!("it is no object"),
        // Two codes are none; `Value` takes the last.
        (None, Ok(Value::Object(envelope))) => {
            let twice = |body: &[u8]| body.windows(4).filter(|w| *w == b"code").count() != 1;
            let plain = matches!(envelope.get("code"), Some(Value::String(_)));
            assert!(!plain || twice(body) || body.contains(&b'\\'));
        }
        (None, _) => {}
    }
});
