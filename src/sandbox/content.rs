//! Reads a call's body: hashes it, and checks that it is what it says.
//!
//! Invariant: never holds more than [`JSON_LARGEST`], however large the body is.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use ring::digest;

use super::check::{Content, Rule};

const JSON_LARGEST: u64 = 1 << 20;
const MULTIPART_LARGEST: u64 = 100 << 20;
/// The first part's headers must end within so many bytes.
const PART_HEAD: usize = 1024;

/// What was read of a body.
pub(super) struct Read {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// Whether it was read to its end: not if it is too large.
    pub(super) whole: bool,
    pub(super) verdict: Result<(), Rule>,
}

/// Reads a body; `None` for `content` means that nobody cares what is in it.
///
/// # Errors
/// If the body breaks off.
pub(super) async fn read(mut body: Incoming, content: Option<Content>) -> hyper::Result<Read> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut bytes: u64 = 0;
    let mut check = Check::of(content);
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue; // trailers
        };
        bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if bytes > check.largest() {
            whole = false;
            break;
        }
        hash.update(&data);
        check.feed(&data);
    }
    Ok(Read {
        bytes,
        sha256: hex(hash.finish().as_ref()),
        whole,
        verdict: if whole { check.finish() } else { Err(Rule::BodySize) },
    })
}

/// SHA-256 of nothing, for a body that was not read.
pub(super) fn sha256_of_nothing() -> String {
    hex(digest::digest(&digest::SHA256, b"").as_ref())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| DIGITS.get(usize::from(digit)))
        .map(|digit| char::from(*digit))
        .collect()
}

enum Check {
    Nothing,
    Json { held: Vec<u8> },
    Multipart(Multipart),
}

impl Check {
    fn of(content: Option<Content>) -> Self {
        match content {
            None => Self::Nothing,
            Some(Content::Json) => Self::Json { held: Vec::new() },
            Some(Content::Multipart { boundary }) => Self::Multipart(Multipart::new(boundary)),
        }
    }

    fn largest(&self) -> u64 {
        match self {
            Self::Json { .. } => JSON_LARGEST,
            Self::Nothing | Self::Multipart(_) => MULTIPART_LARGEST,
        }
    }

    fn feed(&mut self, data: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Json { held } => held.extend_from_slice(data),
            Self::Multipart(multipart) => multipart.feed(data),
        }
    }

    fn finish(self) -> Result<(), Rule> {
        match self {
            Self::Nothing => Ok(()),
            Self::Json { held } if held.is_empty() => Ok(()),
            Self::Json { held } => serde_json::from_slice::<serde::de::IgnoredAny>(&held)
                .map(drop)
                .map_err(|_| Rule::JsonBody),
            Self::Multipart(multipart) => multipart.finish(),
        }
    }
}

/// Looks at both ends of a multipart body (RFC 2046, section 5.1.1) and at nothing between.
struct Multipart {
    boundary: String,
    begin: Vec<u8>,
    end: Vec<u8>,
}

impl Multipart {
    fn new(boundary: String) -> Self {
        Self { boundary, begin: Vec::new(), end: Vec::new() }
    }

    fn feed(&mut self, data: &[u8]) {
        let room = PART_HEAD.saturating_sub(self.begin.len()).min(data.len());
        self.begin.extend(data.iter().take(room));
        // The last bytes, as many as the closing delimiter with its line ends can have.
        let keep = self.boundary.len() + 8;
        self.end.extend(data.iter().skip(data.len().saturating_sub(keep)));
        self.end.drain(..self.end.len().saturating_sub(keep));
    }

    fn finish(self) -> Result<(), Rule> {
        let delimiter = format!("--{}\r\n", self.boundary);
        let closing = format!("\r\n--{}--", self.boundary);
        let begin = String::from_utf8_lossy(&self.begin);
        let first_part = begin
            .strip_prefix(&delimiter)
            .and_then(|rest| rest.split_once("\r\n\r\n"))
            .is_some_and(|(head, _)| head.contains("name=\"file\"") || head.contains("name=file"));
        let end = self.end.strip_suffix(b"\r\n").unwrap_or(&self.end);
        if first_part && end.ends_with(closing.as_bytes()) {
            Ok(())
        } else {
            Err(Rule::MultipartBody)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multipart(body: &str, piece: usize) -> Result<(), Rule> {
        let mut multipart = Multipart::new("b".to_owned());
        for piece in body.as_bytes().chunks(piece) {
            multipart.feed(piece);
        }
        multipart.finish()
    }

    #[test]
    fn a_multipart_body_is_known_by_its_ends_however_it_is_cut() {
        let part = "Content-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\r\n";
        let middle = "x".repeat(3000);
        for piece in [1, 7, 5000] {
            let body = format!("--b\r\n{part}{middle}\r\n--b--\r\n");
            assert_eq!(multipart(&body, piece), Ok(()));
            for broken in [
                format!("--c\r\n{part}{middle}\r\n--b--\r\n"),
                format!("--b\r\n{part}{middle}\r\n--b\r\n"),
                format!("--b\r\n\r\n{middle}\r\n--b--"),
                String::new(),
            ] {
                assert_eq!(multipart(&broken, piece), Err(Rule::MultipartBody));
            }
        }
    }

    #[test]
    fn json_is_checked_unless_there_is_none() {
        let json = |body: &[u8]| {
            let mut check = Check::of(Some(Content::Json));
            check.feed(body);
            check.finish()
        };
        assert_eq!(json(b""), Ok(()));
        assert_eq!(json(b"{\"mobile\":\"1\"}"), Ok(()));
        assert_eq!(json(b"{\"mobile\":"), Err(Rule::JsonBody));
        assert_eq!(json(b"{} {}"), Err(Rule::JsonBody));
    }

    #[test]
    fn the_hash_is_written_in_hex() {
        assert!(sha256_of_nothing().starts_with("e3b0c44298fc1c14"));
    }
}
