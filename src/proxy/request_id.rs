//! The id that ties a call's answer, log lines and errors together.

use std::cell::Cell;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};

/// Taken from the caller if it is well-formed, made otherwise, always returned.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that differ between processes and workers by a random half, and within one by a
/// counter.
#[derive(Debug)]
pub(super) struct RequestIds {
    random: u64,
    counter: Cell<u64>,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let mut random = [0; 8];
        // Without randomness ids would repeat between processes, which is a pity and no more.
        let _ = SystemRandom::new().fill(&mut random);
        Self { random: u64::from_ne_bytes(random), counter: Cell::new(0) }
    }

    pub(super) fn take_or_make(&self, headers: &HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None) if is_well_formed(id.as_bytes()) => id.clone(),
            _ => self.make(),
        }
    }

    pub(super) fn make(&self) -> HeaderValue {
        let count = self.counter.get();
        self.counter.set(count.wrapping_add(1));
        let mut id = BytesMut::with_capacity(33);
        id.extend_from_slice(&hexadecimal(self.random));
        id.extend_from_slice(b"-");
        let count = hexadecimal(count);
        let zeros = count.iter().take_while(|digit| **digit == b'0').count().min(15);
        id.extend_from_slice(count.get(zeros..).unwrap_or_default());
        HeaderValue::from_maybe_shared(id.freeze()).unwrap_or(HeaderValue::from_static("unknown"))
    }
}

/// All 16 digits. By hand, because one is made for every call, and formatting takes ten times as long.
fn hexadecimal(number: u64) -> [u8; 16] {
    let mut rest = number;
    [0; 16].map(|_: u8| {
        rest = rest.rotate_left(4);
        let digit = rest.to_le_bytes().first().map_or(0, |byte| byte & 15);
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    })
}

fn is_well_formed(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_the_standard_library_writes_numbers() {
        for number in [0, 1, 0xf, 0x10, 0x0123_4567_89ab_cdef, u64::MAX] {
            let ids = RequestIds { random: number, counter: Cell::new(number) };
            assert_eq!(ids.make(), format!("{number:016x}-{number:x}"));
        }
    }

    #[test]
    fn a_well_formed_id_is_taken_and_any_other_replaced() {
        let ids = RequestIds::new();
        let given = |id: &str| HeaderMap::from_iter([(X_REQUEST_ID, id.parse().unwrap())]);
        assert_eq!(ids.take_or_make(&given("a.B_c-1")), "a.B_c-1");
        let made = ids.take_or_make(&HeaderMap::new());
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            let id = ids.take_or_make(&given(bad));
            assert!(is_well_formed(id.as_bytes()) && id != made && id != *bad);
        }
    }
}
