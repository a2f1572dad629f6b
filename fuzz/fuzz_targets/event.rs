//! The body or the query of a webhook, against `envelope`.
//!
//! Invariant: nothing panics. Where a body is JSON whose names stand there once each, another reader
//! finds the same type, id and check values. Masking keeps every length, overwrites the check values
//! and nothing else: what is masked is JSON as before, and shows none of them.

#![no_main]

use bytes::Bytes;
use innopaas_proxy::webhook::envelope::{Event, Push};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let event = Event::in_body(input);
    if let Some(kind) = event.kind.iter().chain(&event.id).find(|word| !is_word(word)) {
        panic!("cannot stand in a header: {kind:?}");
    }
    let other = serde_json::from_slice::<Value>(input);
    let lower = input.to_ascii_lowercase();
    let doubled =
        |name: &str| lower.windows(name.len()).filter(|w| *w == name.as_bytes()).count() > 1;
    let plain = !input.contains(&b'\\');
    if let Ok(Value::Object(object)) = &other {
        let told = |name: &str| {
            object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let text = |name| told(name).and_then(Value::as_str);
        let is_large = |word: &Option<String>| word.as_ref().is_some_and(|word| word.len() > 19);
        let large = is_large(&event.kind) || is_large(&event.id);
        if event.push.is_none() && plain && !large && !doubled("type") && !doubled("id") {
            let words = |text: Option<&str>| text.filter(|text| is_word(text)).map(str::to_owned);
            assert_eq!(event.kind, words(text("type")).or(number(told("type"))));
            assert_eq!(event.id, words(text("id")).or(number(told("id"))));
        }
        if let Some(push) = &event.push
            && plain
            && !doubled("receiver")
            && !doubled("pswd")
        {
            let shown =
                [text("receiver"), text("pswd")].map(|text| text.unwrap_or_default().as_bytes());
            assert_eq!(push.values(), shown);
        }
    }
    if let Some(push) = &event.push {
        let masked = masks(push, input);
        assert_eq!(other.is_ok(), serde_json::from_slice::<Value>(&masked).is_ok());
        if let Some(again) = Event::in_body(&masked).push {
            assert!(again.values().iter().all(|value| value.iter().all(|byte| *byte == b'*')));
        }
    }
    if let Ok(query) = std::str::from_utf8(input)
        && let Some(push) = &Event::in_query(query).push
    {
        masks(push, input);
    }
});

/// With nothing changed but to `*`.
fn masks(push: &Push, text: &[u8]) -> Bytes {
    let masked = push.mask(Bytes::copy_from_slice(text));
    assert_eq!(masked.len(), text.len());
    assert!(masked.iter().zip(text).all(|(new, old)| new == old || *new == b'*'));
    masked
}

/// Whole numbers; the other reader rounds those of more than 64 bits.
fn number(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_u64).map(|number| number.to_string())
}

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:=+/".contains(&byte))
}
