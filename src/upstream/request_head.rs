//! The head of a request as it leaves: bytes, each line written once.
//!
//! Invariant: a line cannot hold another one. Methods, targets, names and values come as types that
//! hold no line end. How long the body is, whoever writes the body adds.

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use http::header::HeaderValue;
use http::uri::PathAndQuery;

/// Lines of a head, in the order in which they were added. Cannot be printed: a pair may be in it.
#[derive(Clone)]
pub struct Fields(BytesMut);

/// The head of a request, but for its framing. Cannot be printed: a pair is in it.
pub struct RequestHead {
    lines: Fields,
    /// Whether the answer has no body, whatever it says (RFC 9110, section 9.3.2).
    is_head: bool,
    /// Whether the length is told also when there is no body (RFC 9110, section 8.6).
    tells_no_body: bool,
}

impl Fields {
    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// Adds a line. The name is one of a header: a token.
    pub fn add(&mut self, name: &str, value: &HeaderValue) {
        self.line(name.as_bytes(), value.as_bytes());
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        self.0.reserve(name.len() + value.len() + 4);
        self.0.put_slice(name);
        self.0.put_slice(b": ");
        self.0.put_slice(value);
        self.0.put_slice(b"\r\n");
    }

    /// How many bytes they are.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl RequestHead {
    /// The first line, with room for so many bytes behind it.
    pub fn new(method: &Method, target: &PathAndQuery, room: usize) -> Self {
        const VERSION: &str = " HTTP/1.1\r\n";
        let (method_name, target) = (method.as_str(), target.as_str());
        let line = method_name.len() + 1 + target.len() + VERSION.len();
        let mut lines = Fields::with_capacity(line + room);
        for part in [method_name, " ", target, VERSION] {
            lines.0.put_slice(part.as_bytes());
        }
        Self {
            lines,
            is_head: *method == Method::HEAD,
            tells_no_body: matches!(*method, Method::POST | Method::PUT | Method::PATCH),
        }
    }

    /// Adds a line. The name is one of a header: a token.
    pub fn add(&mut self, name: &str, value: &HeaderValue) {
        self.lines.add(name, value);
    }

    /// Adds all of these lines.
    pub fn extend(&mut self, fields: &Fields) {
        self.lines.0.extend_from_slice(&fields.0);
    }

    /// Bytes that the framing adds at most.
    pub const FRAMING: usize = "Content-Length: 18446744073709551615\r\n\r\n".len();

    /// All of it, with the framing of a body of this length, or of one that comes in chunks.
    pub(super) fn framed(mut self, length: Option<u64>) -> Bytes {
        match length {
            Some(0) if !self.tells_no_body => {}
            Some(length) => {
                self.lines.line(b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
            }
            None => self.lines.line(b"Transfer-Encoding", b"chunked"),
        }
        self.lines.0.extend_from_slice(b"\r\n");
        self.lines.0.freeze()
    }

    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }
}

#[cfg(any(test, fuzzing))]
impl RequestHead {
    /// What would be sent before a body of this length. For tests alone: elsewhere, whoever reads
    /// it could print it.
    pub fn bytes(self, length: Option<u64>) -> Bytes {
        self.framed(length)
    }
}
