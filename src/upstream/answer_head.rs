//! The head of an answer, read strictly (RFC 9112): one meaning, or an error.
//!
//! httparse reads the lines. Here it is decided, once, how long the body is and whether the
//! connection can carry another call. What has two meanings is refused instead of settled: a
//! length that is told twice or beside a coding, a coding other than `chunked`, line ends without
//! CR, empty lines before the head, another protocol. Provisional answers (RFC 9110, section 15.2)
//! are passed over, and bounded. No byte is looked at twice however slowly they come, but for the
//! last time, when the head is whole.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::answer_body::Decoder;

/// Reads one answer's head from the bytes of a connection.
#[derive(Debug)]
pub(super) struct HeadReader {
    /// Bytes that one head may have.
    head_size: usize,
    header_count: usize,
    /// Whether the request was HEAD.
    to_head: bool,
    /// Bytes of provisional answers that may still come.
    provisional: usize,
    /// Up to where there is no end of the head.
    searched: usize,
}

/// What was read.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Reads the body.
    pub(super) body: Decoder,
    /// Whether the connection can carry another call once the body is over.
    pub(super) keeps_open: bool,
}

/// Why bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// More bytes or lines than are allowed, provisional answers among them.
    TooLarge,
    /// It is not HTTP/1.1, or has two meanings; how.
    Invalid(&'static str),
}

/// Provisional answers may have so many bytes together, beside the head itself.
const PROVISIONAL: usize = 512 * 1024;

const BEGINNING: &[u8] = b"HTTP/1.";

impl HeadReader {
    pub(super) fn new(head_size: usize, header_count: usize, to_head: bool) -> Self {
        Self { head_size, header_count, to_head, provisional: PROVISIONAL, searched: 0 }
    }

    /// Takes the head of the final answer from the front of these bytes; `None` if more of it must
    /// come first.
    ///
    /// # Errors
    /// [`HeadFault`]. Nothing may be asked after that.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> Result<Option<AnswerHead>, HeadFault> {
        loop {
            let Some(end) = self.end_of_head(bytes)? else { return Ok(None) };
            let head = self.read(bytes.get(..end).unwrap_or_default())?;
            bytes.advance(end);
            self.searched = 0;
            if let Some(head) = head {
                return Ok(Some(head));
            }
            self.provisional = self.provisional.checked_sub(end).ok_or(HeadFault::TooLarge)?;
        }
    }

    /// Where the head ends, behind its empty line.
    fn end_of_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadFault> {
        let beginning = bytes.get(..BEGINNING.len()).unwrap_or(bytes);
        if !BEGINNING.starts_with(beginning) {
            return Err(HeadFault::Invalid("it does not begin with HTTP/1."));
        }
        while let Some(rest) = bytes.get(self.searched..) {
            let Some(found) = memchr::memchr(b'\n', rest) else { break };
            let end = self.searched + found;
            let line = bytes.get(..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(HeadFault::Invalid("a line ends with LF alone"));
            };
            self.searched = end + 1;
            if end >= self.head_size {
                return Err(HeadFault::TooLarge);
            }
            if line.ends_with(b"\n") {
                return Ok(Some(end + 1));
            }
        }
        self.searched = bytes.len();
        if bytes.len() > self.head_size { Err(HeadFault::TooLarge) } else { Ok(None) }
    }

    /// `None` if the answer is a provisional one.
    fn read(&self, head: &[u8]) -> Result<Option<AnswerHead>, HeadFault> {
        /// More than the limit is by default.
        const ON_THE_STACK: usize = 100;
        if self.header_count <= ON_THE_STACK {
            let mut lines = [const { MaybeUninit::uninit() }; ON_THE_STACK];
            self.read_into(head, lines.get_mut(..self.header_count).unwrap_or_default())
        } else {
            self.read_into(head, &mut vec![MaybeUninit::uninit(); self.header_count])
        }
    }

    fn read_into<'h>(
        &self,
        head: &'h [u8],
        lines: &mut [MaybeUninit<httparse::Header<'h>>],
    ) -> Result<Option<AnswerHead>, HeadFault> {
        let mut answer = httparse::Response::new(&mut []);
        let read = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut answer,
            head,
            lines,
        );
        match read {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(HeadFault::Invalid("its head ends where it should not")),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
            Err(error) => return Err(HeadFault::Invalid(in_words(error))),
        }
        let status = answer.code.unwrap_or_default();
        match status {
            100 | 102..200 => return Ok(None),
            200..600 => {}
            _ => return Err(HeadFault::Invalid("its status is none that an answer ends with")),
        }
        let status = StatusCode::from_u16(status).map_err(|_| NOT_A_HEAD)?;
        let version = if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let headers = headers(head, answer.headers)?;
        let body = self.framing(status, version, &headers)?;
        let keeps_open = version == Version::HTTP_11 && !body.ends_with_connection() && {
            let mut options = headers.get_all(header::CONNECTION).iter();
            !options.any(|value| {
                let mut options = value.as_bytes().split(|byte| *byte == b',');
                options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
            })
        };
        Ok(Some(AnswerHead { status, headers, body, keeps_open }))
    }

    /// RFC 9112, section 6.3, without what is allowed there for old times' sake.
    fn framing(
        &self,
        status: StatusCode,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Decoder, HeadFault> {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = match (codings.next(), codings.next()) {
            (None, _) => false,
            (Some(_), _) if version == Version::HTTP_10 => {
                return Err(HeadFault::Invalid("HTTP/1.0 has no Transfer-Encoding"));
            }
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
            (Some(_), _) => {
                let why = "its Transfer-Encoding is something else than `chunked`";
                return Err(HeadFault::Invalid(why));
            }
        };
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        let length = match (lengths.next(), lengths.next()) {
            (None, _) => None,
            (Some(length), None) => Some(number(length).ok_or(NOT_ONE_NUMBER)?),
            (Some(_), Some(_)) => return Err(NOT_ONE_NUMBER),
        };
        if self.to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Decoder::none());
        }
        match (chunked, length) {
            (true, Some(_)) => {
                Err(HeadFault::Invalid("it has both Transfer-Encoding and Content-Length"))
            }
            (true, None) => Ok(Decoder::chunked(self.head_size)),
            (false, Some(length)) => Ok(Decoder::of_length(length)),
            (false, None) => Ok(Decoder::until_end()),
        }
    }
}

const NOT_A_HEAD: HeadFault = HeadFault::Invalid("it is no head of an answer");
const NOT_ONE_NUMBER: HeadFault = HeadFault::Invalid("its Content-Length is not one number");

/// Digits and nothing else, within 64 bits.
fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The values share one copy of the head.
fn headers(head: &[u8], lines: &[httparse::Header<'_>]) -> Result<HeaderMap, HeadFault> {
    let shared = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(lines.len() + 2);
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| NOT_A_HEAD)?;
        let value = shared.slice(place(head, line.value));
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| NOT_A_HEAD)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Where a part lies in the whole that it was cut from.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr()).min(whole.len());
    start..(start + part.len()).min(whole.len())
}

fn in_words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header has no name, or one with odd bytes",
        httparse::Error::HeaderValue => "a header's value holds a control character",
        httparse::Error::NewLine => "a line does not end as it should",
        httparse::Error::Status | httparse::Error::Version => {
            "its first line is not a version, a status and a reason"
        }
        httparse::Error::Token | httparse::Error::TooManyHeaders => "it holds odd bytes",
    }
}
