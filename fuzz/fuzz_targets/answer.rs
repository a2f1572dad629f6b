//! Any bytes as InnoPaaS's answer: its head, the length of its body, the chunks.
//!
//! Invariants: it does not matter in what pieces they come; a body is as long as the only length
//! that was told; what could be read in two ways is refused; and what is accepted is what httparse
//! reads as well, with every header once.

#![no_main]

use innopaas_proxy::upstream::{Answer, read_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&seed, bytes)) = bytes.split_first() else { return };
    let to_head = seed & 1 == 1;
    let whole = read_answer([bytes], to_head);
    let size = usize::from(seed >> 1) % 61 + 1;
    assert_eq!(read_answer(bytes.chunks(size), to_head), whole, "in pieces of {size}");
    if let Ok(Some(answer)) = whole {
        check(&answer, bytes, to_head);
    }
});

fn check(answer: &Answer, bytes: &[u8], to_head: bool) {
    let status = answer.status.as_u16();
    assert!((200..600).contains(&status));
    let all = |name: &str| answer.headers.get_all(name).iter().collect::<Vec<_>>();
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let bodiless = to_head || status == 204 || status == 304;
    assert!(lengths.len() < 2 && codings.len() < 2);
    if bodiless {
        assert!(answer.body.is_empty() && answer.whole);
    } else {
        assert!(lengths.is_empty() || codings.is_empty(), "two lengths");
        if let Some(length) = lengths.first() {
            let length: u64 = length.to_str().expect("digits").parse().expect("a number");
            assert_eq!(answer.whole, answer.body.len() as u64 == length);
            assert!(answer.body.len() as u64 <= length);
        }
        let until_end = lengths.is_empty() && codings.is_empty();
        assert!(!until_end || !answer.keeps_open, "nobody could tell where the next one begins");
    }
    assert!(!answer.keeps_open || (answer.whole && answer.surplus == 0));
    for (name, value) in &answer.headers {
        assert!(!name.as_str().is_empty());
        assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
    }
    let closes = all("connection").iter().any(|value| {
        String::from_utf8_lossy(value.as_bytes())
            .to_lowercase()
            .split(',')
            .any(|o| o.trim() == "close")
    });
    assert!(!closes || !answer.keeps_open);
    // Every line that ends, ends with CR and LF, up to the end of the head.
    let end = memchr::memmem::rfind(bytes, b"\r\n\r\n").expect("a head ends");
    let first = bytes.split(|byte| *byte == b'\n').next().expect("a line");
    assert!(end > 0 && first.ends_with(b"\r"));
}
