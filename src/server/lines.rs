//! What single lines of a request may be: its first, its headers, the sizes of its chunks
//! (RFC 9112). Which of them comes when is `grammar`'s part.

use std::ops::Range;

use http::Uri;

/// Longest target, in bytes: what RFC 9110, section 4.1 asks of everybody, and a little more.
const TARGET: usize = 8 * 1024;
/// Longest method, in bytes: it is logged.
const METHOD: usize = 32;
/// Longest line with the size of a chunk, in bytes, its extensions among them.
const CHUNK_LINE: usize = 256;

/// Why bytes are no request that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A line of the head has not the form that it must have; how.
    Malformed(&'static str),
    /// The target holds what a target cannot hold; what.
    Target(&'static str),
    /// The length of the body is told in no way or in several; how.
    Framing(&'static str),
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The first line of HTTP/2 (RFC 9113, section 3.4).
    Http2,
    /// The target is longer than any server must take.
    TargetTooLong,
    /// The head has more bytes or lines than the limits.
    HeadTooLarge,
    /// The body's chunks or trailers are malformed; the call has begun already.
    Body,
}

pub(super) const LINE_END: &str = "a line ends with LF alone";
pub(super) const REQUEST_LINE: Fault =
    Fault::Malformed("the first line is not a method, a target and a version");

/// TLS and other binary protocols may have no LF for long: their peers would wait for us as long
/// as we for them.
pub(super) fn begins_no_line(byte: u8) -> bool {
    !is(TOKEN, byte) && byte != b'\r'
}

/// The line without its CR; `None` if it has none.
pub(super) fn line_at(bytes: &[u8], range: Range<usize>) -> Option<&[u8]> {
    bytes.get(range)?.strip_suffix(b"\r")
}

/// `POST /path HTTP/1.1` (RFC 9112, section 3). Whether it is HTTP/1.0.
pub(super) fn request_line(line: &[u8]) -> Result<bool, Fault> {
    if line == b"PRI * HTTP/2.0" {
        return Err(Fault::Http2);
    }
    let (method, rest) = before_space(line).ok_or(REQUEST_LINE)?;
    let (target, version) = before_space(rest).ok_or(REQUEST_LINE)?;
    if version.contains(&b' ') || method.is_empty() || !are(TOKEN, method) {
        return Err(REQUEST_LINE);
    }
    if method.len() > METHOD {
        return Err(Fault::Malformed("the method is longer than 32 bytes"));
    }
    check_target(target)?;
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Fault::Version)
        }
        _ => Err(REQUEST_LINE),
    }
}

fn before_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, after) = text.split_at_checked(memchr::memchr(b' ', text)?)?;
    Some((before, after.get(1..)?))
}

fn check_target(target: &[u8]) -> Result<(), Fault> {
    if target.len() > TARGET {
        return Err(Fault::TargetTooLong);
    }
    if target.starts_with(b"/") && are(PATH, target) {
        return Ok(()); // no query, and nothing to ask about
    }
    if target.contains(&b'#') {
        return Err(Fault::Target("it holds a fragment"));
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let query = target.get(path.len()..).unwrap_or_default();
    if !are(PATH, path) || !are(QUERY, query) {
        return Err(Fault::Target("it holds bytes that must be percent-encoded"));
    }
    if target.starts_with(b"/") || Uri::try_from(target).is_ok() {
        Ok(())
    } else {
        Err(Fault::Target("it is neither a path nor a URI"))
    }
}

/// `name: value` (RFC 9112, section 5).
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if let [b' ' | b'\t', ..] = line {
        return Err(Fault::Malformed("a line goes on with the one above it (obs-fold)"));
    }
    let colon = line.iter().position(|byte| !is(TOKEN, *byte)).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(colon).unwrap_or((line, &[]));
    let value = match rest {
        [b':', value @ ..] if !name.is_empty() => value,
        [b' ' | b'\t', ..] => {
            return Err(Fault::Malformed("a space stands between a header's name and its colon"));
        }
        _ => return Err(Fault::Malformed("a header has no name, or one with odd bytes")),
    };
    if has_control(value) {
        return Err(Fault::Malformed("a header's value holds a control character"));
    }
    Ok((name, value.trim_ascii()))
}

/// `1a;name=value` with its CRLF (RFC 9112, section 7.1): the length of the line, and the size.
pub(super) fn chunk_size(bytes: &[u8]) -> Result<Option<(usize, u64)>, Fault> {
    let looked_at = bytes.get(..CHUNK_LINE).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', looked_at) else {
        return if bytes.len() < CHUNK_LINE { Ok(None) } else { Err(Fault::Body) };
    };
    let line = line_at(bytes, 0..end).ok_or(Fault::Body)?;
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extensions) = line.split_at_checked(digits).unwrap_or((line, &[]));
    let size = number(size, 16).ok_or(Fault::Body)?;
    match extensions {
        [] => Ok(Some((end + 1, size))),
        [b';', rest @ ..] if !has_control(rest) => Ok(Some((end + 1, size))),
        _ => Err(Fault::Body),
    }
}

/// Digits and nothing else, with room to spare in 64 bits.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let longest = if radix == 16 { 15 } else { 18 };
    if !(1..=longest).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        Some(number * u64::from(radix) + u64::from(digit))
    })
}

/// What a byte may be part of, a bit each. A table, because every byte of every head is asked for.
#[expect(clippy::indexing_slicing, reason = "made when this is compiled; it would not compile")]
#[expect(clippy::cast_possible_truncation, reason = "counts to 255")]
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    mark(&mut classes, TOKEN, b"!#$%&'*+-.^_`|~");
    mark(&mut classes, PATH | QUERY, b"-._~!$&'()*+,;=:@%/[]\\");
    mark(&mut classes, QUERY, b"?|{}^");
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        if character.is_ascii_alphanumeric() {
            classes[byte] |= TOKEN | PATH | QUERY;
        }
        byte += 1;
    }
    classes
};

/// RFC 9110, section 5.6.2.
const TOKEN: u8 = 1;
/// RFC 3986, section 3.3, with what an authority may hold. A backslash has no place in a path, but
/// some servers take it for a slash; `proxy` refuses it in words of its own.
const PATH: u8 = 4;
/// RFC 3986, section 3.4, with the brackets and bars that many write there unencoded.
const QUERY: u8 = 8;

#[expect(clippy::indexing_slicing, reason = "256 entries, and a byte for an index")]
const fn mark(classes: &mut [u8; 256], class: u8, bytes: &[u8]) {
    let mut rest = bytes;
    while let [byte, others @ ..] = rest {
        classes[*byte as usize] |= class;
        rest = others;
    }
}

fn is(class: u8, byte: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

/// Whether there is anything but visible characters, spaces and tabs, and bytes beyond ASCII
/// (RFC 9110, section 5.5).
fn has_control(bytes: &[u8]) -> bool {
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    // Eight at a time, because nearly no value has one; the last eight may overlap those before.
    if let Some(last) = bytes.last_chunk() {
        let (eights, _) = bytes.as_chunks();
        if !eights.iter().any(|eight| may_hold_control(*eight)) && !may_hold_control(*last) {
            return false;
        }
    }
    bytes.iter().any(is_control)
}

/// Whether one of these bytes is less than a space, or DEL, by subtracting from all at once. Tabs
/// are accused as well, and so may be what stands beside one that is: look closely at what this is
/// true of.
fn may_hold_control(bytes: [u8; 8]) -> bool {
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    let less_than = |bytes: u64, limit: u8| {
        bytes.wrapping_sub(u64::from_ne_bytes([limit; 8])) & !bytes & HIGHEST != 0
    };
    let bytes = u64::from_ne_bytes(bytes);
    less_than(bytes, b' ') || less_than(bytes ^ u64::from_ne_bytes([0x7f; 8]), 1)
}

fn are(class: u8, bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is(class, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_is_found_wherever_it_stands() {
        for length in 1..40 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut value = vec![b'x'; length];
                    value[at] = byte;
                    let is_control = byte != b'\t' && byte.is_ascii_control();
                    assert_eq!(has_control(&value), is_control, "{byte} at {at} of {length}");
                    value.fill(byte);
                    assert_eq!(has_control(&value), is_control, "{byte} alone");
                }
            }
        }
        assert!(!has_control("\u{80}\u{ff}\t \u{7ff}~~".as_bytes()));
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        for (text, radix, value) in [
            ("0", 10, Some(0)),
            ("007", 10, Some(7)),
            ("999999999999999999", 10, Some(999_999_999_999_999_999)),
            ("1000000000000000000", 10, None),
            ("fFfFfFfFfFfFfFf", 16, Some((1 << 60) - 1)),
            ("1000000000000000", 16, None),
            ("", 10, None),
            ("+1", 10, None),
            ("a", 10, None),
            ("g", 16, None),
        ] {
            assert_eq!(number(text.as_bytes(), radix), value, "{text}");
        }
    }
}
