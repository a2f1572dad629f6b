//! Reads one HTTP/1.1 answer from raw bytes, to the letter of RFC 9112: what a caller with the
//! strictest parser would see. Panics at anything malformed; what is merely cut short, it says.

use std::ops::ControlFlow;

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StrictAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl StrictAnswer {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// All that came until the connection ended, as one answer; `None` if it is visibly cut short.
pub(crate) fn strict_answer(raw: &[u8], to_head: bool) -> Option<StrictAnswer> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&raw[..end]).expect("a head of ASCII");
    let mut rest = &raw[end + 4..];
    let mut lines = head.split("\r\n");
    let status = status(lines.next().unwrap());
    let headers: Vec<_> = lines.map(header).collect();
    let answer = StrictAnswer { status, headers, body: Vec::new() };

    let (lengths, codings) = (answer.all("content-length"), answer.all("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two lengths: {head}");
    let length = lengths.first().map(|length| {
        assert!(!length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()), "{head}");
        length.parse::<usize>().unwrap()
    });
    assert!(codings.is_empty() || codings == ["chunked"], "{head}");
    let body = if to_head || matches!(status, 204 | 304) {
        Vec::new()
    } else if let Some(length) = length {
        let body = rest.get(..length)?.to_vec();
        rest = &rest[length..];
        body
    } else if codings.is_empty() {
        // Only the connection's end says where it ends: whether that was orderly is the caller's
        // to see.
        std::mem::take(&mut rest).to_vec()
    } else {
        chunks(&mut rest)?
    };
    assert!(rest.is_empty(), "after the end: {:?}", String::from_utf8_lossy(rest));
    Some(StrictAnswer { body, ..answer })
}

fn status(line: &str) -> u16 {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let (code, reason) = rest.and_then(|rest| rest.split_once(' ')).expect(line);
    assert!(code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()), "{line:?}");
    assert!(reason.bytes().all(is_text), "{line:?}");
    code.parse().unwrap()
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect(line);
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    assert!(!name.is_empty() && name.bytes().all(token), "{line:?}");
    assert!(value.bytes().all(is_text), "{line:?}");
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
}

/// No CR, LF, NUL or other control character.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

fn chunks(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match chunk(rest)? {
            ControlFlow::Continue(data) => body.extend_from_slice(data),
            ControlFlow::Break(()) => return Some(body),
        }
    }
}

/// Without extensions and trailers, which this proxy never writes.
fn chunk<'r>(rest: &mut &'r [u8]) -> Option<ControlFlow<(), &'r [u8]>> {
    let end = rest.windows(2).position(|window| window == b"\r\n")?;
    let digits = std::str::from_utf8(&rest[..end]).unwrap();
    assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{digits:?}");
    let size = usize::from_str_radix(digits, 16).unwrap();
    let data = rest.get(end + 2..end + 2 + size)?;
    let after = rest.get(end + 2 + size..end + 4 + size)?;
    assert_eq!(after, b"\r\n");
    *rest = &rest[end + 4 + size..];
    Some(if size == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(data) })
}
