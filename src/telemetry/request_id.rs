//! The id that ties a call's answer, log lines and errors together.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};

/// Taken from the caller if it is well-formed, made otherwise, always returned.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that differ between processes and workers by a random half, and within one by a
/// counter.
#[derive(Debug)]
pub struct RequestIds {
    /// The random half, written out, and what stands between the two.
    prefix: [u8; 17],
    counter: Cell<u64>,
    /// Room for the next ones: one allocation serves many.
    room: RefCell<BytesMut>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestIds {
    /// With a random half of its own.
    pub fn new() -> Self {
        let mut random = [0; 8];
        // Without randomness ids would repeat between processes, which is a pity and no more.
        let _ = SystemRandom::new().fill(&mut random);
        Self::beginning(u64::from_ne_bytes(random), 0)
    }

    fn beginning(random: u64, counter: u64) -> Self {
        let mut digits = hexadecimal(random).into_iter();
        let prefix = [0; 17].map(|_: u8| digits.next().unwrap_or(b'-'));
        Self { prefix, counter: Cell::new(counter), room: RefCell::default() }
    }

    /// The caller's, if it is well-formed, else a new one.
    pub fn take_or_make(&self, headers: &HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None) if is_well_formed(id.as_bytes()) => id.clone(),
            _ => self.make(),
        }
    }

    /// A new one.
    pub fn make(&self) -> HeaderValue {
        /// How many share an allocation, which the longest-lived of them keeps.
        const TOGETHER: usize = 32;
        const LONGEST: usize = 17 + 16;
        let count = self.counter.get();
        self.counter.set(count.wrapping_add(1));
        let zeros = usize::try_from(count.leading_zeros() / 4).unwrap_or_default().min(15);
        let count = hexadecimal(count);
        let mut room = self.room.borrow_mut();
        if room.capacity() < LONGEST {
            *room = BytesMut::with_capacity(TOGETHER * LONGEST);
        }
        room.extend_from_slice(&self.prefix);
        room.extend_from_slice(count.get(zeros..).unwrap_or_default());
        let id = room.split().freeze();
        HeaderValue::from_maybe_shared(id).unwrap_or(HeaderValue::from_static("unknown"))
    }
}

/// All 16 digits. By hand, because one is made for every call, and formatting takes ten times as long.
fn hexadecimal(number: u64) -> [u8; 16] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut rest = number;
    [0; 16].map(|_: u8| {
        rest = rest.rotate_left(4);
        let digit = usize::try_from(rest & 15).unwrap_or_default();
        DIGITS.get(digit).copied().unwrap_or_default()
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
            let ids = RequestIds::beginning(number, number);
            assert_eq!(ids.make(), format!("{number:016x}-{number:x}"));
            let next = number.wrapping_add(1);
            for _ in 0..100 {
                ids.make();
            }
            assert_eq!(ids.make(), format!("{number:016x}-{:x}", next.wrapping_add(100)));
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
