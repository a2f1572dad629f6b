//! The grammar of HTTP/1.1 requests, read strictly (RFC 9112), before hyper reads them.
//!
//! hyper forgives what another server on the way might read in another way: line ends without CR,
//! a Content-Length that is told twice or beside a Transfer-Encoding, a fragment in the target.
//! This reader follows along and says no. It never changes a byte, and never says what a request
//! means: that is hyper's part, so a difference between the two can refuse a request and nothing
//! worse.
//!
//! Whatever has a length that is not told beforehand (heads, chunk sizes, trailers) is one element
//! and passes whole or not at all: [`Grammar::pass`] is asked again once more of it has come.

use std::ops::Range;

use super::Limits;
use super::lines::{
    Fault, LINE_END, REQUEST_LINE, begins_no_line, chunk_size, field, line_at, number, request_line,
};

/// Where in a connection the reader is.
#[derive(Debug)]
pub struct Grammar {
    expected: Expected,
    section: Section,
    head: Head,
    head_size: usize,
    header_count: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Head,
    /// This many bytes of a body.
    Body(u64),
    ChunkSize,
    /// This many bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailers,
}

/// How much of the lines that come next was looked at, so that no byte is looked at twice however
/// slowly they come.
#[derive(Debug, Default)]
struct Section {
    /// Where the first line that is not complete begins.
    line: usize,
    /// Up to where there is no end of that line.
    searched: usize,
    /// Lines that are complete.
    lines: usize,
}

/// What is known of the head that comes.
#[derive(Debug, Default)]
struct Head {
    /// Whether an empty line stood before it, as some clients leave behind a body.
    begun: bool,
    http_1_0: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Grammar {
    /// A reader of a new connection.
    pub fn new(limits: &Limits) -> Self {
        Self {
            expected: Expected::Head,
            section: Section::default(),
            head: Head::default(),
            head_size: limits.head_size,
            header_count: limits.header_count,
        }
    }

    /// How many of these bytes may go on. They begin where the last ones that passed ended; those
    /// that did not pass come again, with more behind them.
    ///
    /// # Errors
    /// [`Fault`], and how many bytes before it may go on. Nothing may be asked after that.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, (usize, Fault)> {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            match self.element(rest) {
                Ok(Some(length)) => passed += length,
                Ok(None) => break,
                Err(fault) => return Err((passed, fault)),
            }
        }
        Ok(passed)
    }

    /// Whether the bytes that did not pass belong to a head.
    pub fn expects_head(&self) -> bool {
        self.expected == Expected::Head
    }

    /// The length of what comes next, as far as it is here; `None` if it is not complete.
    fn element(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self.expected {
            Expected::Head => {
                let Some(length) = self.head(bytes)? else { return Ok(None) };
                self.expected = self.head.body();
                self.section = Section::default();
                self.head = Head::default();
                Ok(Some(length))
            }
            Expected::Body(left) => {
                let (length, left) = take(left, bytes);
                self.expected = if left == 0 { Expected::Head } else { Expected::Body(left) };
                Ok(Some(length))
            }
            Expected::ChunkSize => {
                let Some((length, size)) = chunk_size(bytes)? else { return Ok(None) };
                self.expected = if size == 0 { Expected::Trailers } else { Expected::Chunk(size) };
                Ok(Some(length))
            }
            Expected::Chunk(left) => {
                let (length, left) = take(left, bytes);
                self.expected = if left == 0 { Expected::ChunkEnd } else { Expected::Chunk(left) };
                Ok(Some(length))
            }
            Expected::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.expected = Expected::ChunkSize;
                    Ok(Some(2))
                }
                [b'\r'] => Ok(None),
                _ => Err(Fault::Body),
            },
            Expected::Trailers => {
                let Some(length) = self.trailers(bytes)? else { return Ok(None) };
                self.expected = Expected::Head;
                self.section = Section::default();
                Ok(Some(length))
            }
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(range) = self.section.next_line(bytes) {
            let line = line_at(bytes, range).ok_or(Fault::Malformed(LINE_END))?;
            match (self.section.lines, line) {
                (1, []) if !self.head.begun => {
                    self.head.begun = true;
                    self.section.lines = 0;
                }
                (1, line) => self.head.http_1_0 = request_line(line)?,
                (_, []) if self.section.line > self.head_size => return Err(Fault::HeadTooLarge),
                (_, []) => {
                    self.head.check_framing()?;
                    return Ok(Some(self.section.line));
                }
                (lines, _) if lines > self.header_count + 1 => return Err(Fault::HeadTooLarge),
                (_, line) => self.head.field(line)?,
            }
        }
        if self.section.lines == 0
            && bytes.get(self.section.line).copied().is_some_and(begins_no_line)
        {
            return Err(REQUEST_LINE);
        }
        if bytes.len() > self.head_size {
            let in_target = self.section.lines == 0;
            return Err(if in_target { Fault::TargetTooLong } else { Fault::HeadTooLarge });
        }
        Ok(None)
    }

    /// They are thrown away behind us, so they only have to be lines of the right form.
    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(range) = self.section.next_line(bytes) {
            match line_at(bytes, range) {
                Some([]) if self.section.line > self.head_size => return Err(Fault::Body),
                Some([]) => return Ok(Some(self.section.line)),
                Some(line) if self.section.lines <= self.header_count => {
                    field(line).map_err(|_| Fault::Body)?;
                }
                Some(_) | None => return Err(Fault::Body),
            }
        }
        if bytes.len() > self.head_size { Err(Fault::Body) } else { Ok(None) }
    }
}

impl Section {
    /// Where the next complete line is, without its LF.
    fn next_line(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        let rest = bytes.get(self.searched..)?;
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.searched = bytes.len();
            return None;
        };
        let line = self.line..self.searched + end;
        self.line = line.end + 1;
        self.searched = self.line;
        self.lines += 1;
        Some(line)
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10).ok_or(Fault::Framing("Content-Length is no number"))?;
            if self.length.replace(length).is_some() {
                return Err(Fault::Framing("there are several Content-Length lines"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                let why = "Transfer-Encoding is something else than `chunked`";
                return Err(Fault::Framing(why));
            }
            if std::mem::replace(&mut self.chunked, true) {
                return Err(Fault::Framing("there are several Transfer-Encoding lines"));
            }
        }
        Ok(())
    }

    /// RFC 9112, sections 6.1 and 6.3: what is allowed there for old times' sake is what request
    /// smuggling lives on.
    fn check_framing(&self) -> Result<(), Fault> {
        if self.chunked && self.length.is_some() {
            return Err(Fault::Framing("there are both Transfer-Encoding and Content-Length"));
        }
        if self.chunked && self.http_1_0 {
            return Err(Fault::Framing("HTTP/1.0 has no Transfer-Encoding"));
        }
        Ok(())
    }

    fn body(&self) -> Expected {
        match (self.chunked, self.length) {
            (true, _) => Expected::ChunkSize,
            (false, None | Some(0)) => Expected::Head,
            (false, Some(length)) => Expected::Body(length),
        }
    }
}

/// How many of these bytes belong to what is left, and what is left then.
fn take(left: u64, bytes: &[u8]) -> (usize, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (length, left - length as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grammar() -> Grammar {
        Grammar::new(&Limits {
            head_size: 1024,
            header_count: 8,
            head_deadline: Duration::ZERO,
            write_progress: Duration::ZERO,
            idle: Duration::ZERO,
        })
    }

    /// Reads as if the bytes came in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Result<usize, (usize, Fault)> {
        let (mut grammar, mut passed, mut here) = (grammar(), 0, 0);
        while here < bytes.len() {
            here = (here + piece).min(bytes.len());
            passed +=
                grammar.pass(&bytes[passed..here]).map_err(|(fit, fault)| (passed + fit, fault))?;
        }
        Ok(passed)
    }

    /// What is said of the bytes, in whatever pieces they come.
    fn judge(bytes: &[u8]) -> Result<usize, Fault> {
        let judged = read(bytes, bytes.len());
        for piece in 1..bytes.len().min(64) {
            let pieces = read(bytes, piece);
            let same = match (judged, pieces) {
                (Ok(one), Ok(other)) => one == other,
                (Err((_, one)), Err((_, other))) => one == other,
                _ => false,
            };
            assert!(same, "{judged:?} {pieces:?} in pieces of {piece}");
        }
        judged.map_err(|(_, fault)| fault)
    }

    fn head(lines: &str) -> Result<usize, Fault> {
        judge(format!("POST /api/x HTTP/1.1\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn requests_pass_whole_and_one_after_the_other() {
        let requests =
            b"\r\nPOST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /?a[]=b|c HTTP/1.0\r\n\r\n\
            PUT http://localhost/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nX: \xff\t \r\n\r\n\
            3;x=\"y\"\r\nabc\r\n0\r\nTrailer: x\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n";
        assert_eq!(judge(requests), Ok(requests.len()));
        let unfinished = b"GET / HTTP/1.1\r\n\r\nGET / HTT";
        assert_eq!(judge(unfinished), Ok(18));
    }

    #[test]
    fn what_is_before_a_fault_still_passes() {
        let glued = b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\nX: 1\r\n\r\n";
        let fault = Fault::Malformed(LINE_END);
        assert_eq!(grammar().pass(glued), Err((18, fault)));
    }

    #[test]
    fn lengths_that_are_told_twice_or_oddly_are_refused() {
        for lines in [
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: \r\n",
            "Content-Length: 9999999999999999999\r\n",
            "Content-Length: 2\r\ntransfer-encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: ,chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert!(matches!(head(lines), Err(Fault::Framing(_))), "{lines}");
        }
        let old = judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(matches!(old, Err(Fault::Framing(_))));
    }

    #[test]
    fn lines_of_another_form_are_refused() {
        for lines in [
            "X : 1\r\n",
            "X: 1\r\n 2\r\n",
            ": 1\r\n",
            "X\r\n",
            "X: \0\r\n",
            "X: 1\n",
            "X: 1\r2\r\n",
        ] {
            assert!(matches!(head(lines), Err(Fault::Malformed(_))), "{lines:?}");
        }
        for (line, fault) in [
            ("GET /", None),
            ("GET  / HTTP/1.1", None),
            ("G@T / HTTP/1.1", None),
            (" GET / HTTP/1.1", None),
            ("GET / HTTP/1.1 ", None),
            ("GET / HTTP/2.0", Some(Fault::Version)),
            ("PRI * HTTP/2.0", Some(Fault::Http2)),
            ("GET /#x HTTP/1.1", Some(Fault::Target("it holds a fragment"))),
        ] {
            let refused = judge(format!("{line}\r\n\r\n").as_bytes()).unwrap_err();
            let same = fault.map_or(matches!(refused, Fault::Malformed(_)), |f| f == refused);
            assert!(same, "{line} {refused:?}");
        }
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_lines() {
        assert_eq!(head(&"X: 1\r\n".repeat(8)), Ok(72));
        assert_eq!(head(&"X: 1\r\n".repeat(9)), Err(Fault::HeadTooLarge));
        assert_eq!(head(&format!("X: {}\r\n", "x".repeat(1024))), Err(Fault::HeadTooLarge));
        let endless = format!("GET /{}", "x".repeat(1024));
        assert_eq!(judge(endless.as_bytes()), Err(Fault::TargetTooLong));
    }

    #[test]
    fn malformed_chunks_and_trailers_are_refused() {
        for body in [
            "2 \r\nab\r\n",
            "-2\r\n",
            "\r\n",
            "0x2\r\n",
            "2\nab\r\n",
            "2\r\nabc\r\n",
            "2\r\nab\n",
            "1000000000000000\r\n",
            "2;\0\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX: 1\n\r\n",
        ] {
            let request = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(judge(request.as_bytes()), Err(Fault::Body), "{body:?}");
        }
        let long_extension = format!("2;{}", "x".repeat(256));
        let long_trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(1024));
        for body in [long_extension, long_trailer] {
            let request = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(judge(request.as_bytes()), Err(Fault::Body));
        }
    }
}
