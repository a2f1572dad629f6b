//! Cuts an answer's body out of the bytes of a connection, by the framing that its head told.
//!
//! Trailers are dropped: one could repeat a header that was dropped or replaced. What follows the
//! body is left where it is; it is for whoever holds the connection to make something of it.

use bytes::{Buf, Bytes, BytesMut};

/// Reads one body.
#[derive(Debug)]
pub(super) struct Decoder {
    expected: Expected,
    /// Bytes that all trailers together may have.
    trailers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// This many bytes.
    Bytes(u64),
    ChunkSize,
    /// This many bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Whatever comes until the connection ends.
    UntilEnd,
    Nothing,
}

/// What is next in a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some of it.
    Data(Bytes),
    /// Nothing before more has come.
    More,
    /// It is over.
    End,
}

/// Its chunks are malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Longest line with the size of a chunk, in bytes, its extensions among them.
const CHUNK_LINE: usize = 1024;

impl Decoder {
    pub(super) fn none() -> Self {
        Self::new(Expected::Nothing)
    }

    pub(super) fn of_length(length: u64) -> Self {
        Self::new(if length == 0 { Expected::Nothing } else { Expected::Bytes(length) })
    }

    /// In chunks, with trailers of so many bytes at most.
    pub(super) fn chunked(trailers: usize) -> Self {
        Self { expected: Expected::ChunkSize, trailers }
    }

    pub(super) fn until_end() -> Self {
        Self::new(Expected::UntilEnd)
    }

    fn new(expected: Expected) -> Self {
        Self { expected, trailers: 0 }
    }

    /// Whether nothing but the end of the connection ends it.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.expected == Expected::UntilEnd
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// How many bytes are still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.expected {
            Expected::Bytes(left) => Some(left),
            Expected::Nothing => Some(0),
            Expected::ChunkSize
            | Expected::Chunk(_)
            | Expected::ChunkEnd
            | Expected::Trailers
            | Expected::UntilEnd => None,
        }
    }

    /// Takes what is next from the front of these bytes.
    ///
    /// # Errors
    /// If it cannot be told what is next. Nothing may be asked after that.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            if self.is_over() {
                return Ok(Piece::End);
            }
            if bytes.is_empty() {
                return Ok(Piece::More);
            }
            let taken = match self.expected {
                Expected::Nothing => return Ok(Piece::End),
                Expected::UntilEnd => return Ok(Piece::Data(cut(bytes, u64::MAX).0)),
                Expected::Bytes(left) => {
                    let (data, left) = cut(bytes, left);
                    let over = left == 0;
                    self.expected = if over { Expected::Nothing } else { Expected::Bytes(left) };
                    return Ok(Piece::Data(data));
                }
                Expected::Chunk(left) => {
                    let (data, left) = cut(bytes, left);
                    let over = left == 0;
                    self.expected = if over { Expected::ChunkEnd } else { Expected::Chunk(left) };
                    return Ok(Piece::Data(data));
                }
                Expected::ChunkSize => self.chunk_size(bytes)?,
                Expected::ChunkEnd => match &**bytes {
                    [b'\r', b'\n', ..] => {
                        self.expected = Expected::ChunkSize;
                        Some(2)
                    }
                    [b'\r'] => None,
                    _ => return Err(Malformed),
                },
                Expected::Trailers => self.trailer(bytes)?,
            };
            let Some(taken) = taken else { return Ok(Piece::More) };
            bytes.advance(taken);
        }
    }

    /// `1a;name=value` (RFC 9112, section 7.1).
    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some((line, length)) = line(bytes, CHUNK_LINE)? else { return Ok(None) };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at_checked(digits).ok_or(Malformed)?;
        let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        match extensions {
            [] => {}
            [b';', rest @ ..] if rest.iter().all(is_text) => {}
            _ => return Err(Malformed),
        }
        // Room to spare in 64 bits.
        if !(1..=15).contains(&size.len()) {
            return Err(Malformed);
        }
        let size = std::str::from_utf8(size).map_err(|_| Malformed)?;
        let size = u64::from_str_radix(size, 16).map_err(|_| Malformed)?;
        self.expected = if size == 0 { Expected::Trailers } else { Expected::Chunk(size) };
        Ok(Some(length))
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some((line, length)) = line(bytes, self.trailers)? else { return Ok(None) };
        self.trailers = self.trailers.checked_sub(length).ok_or(Malformed)?;
        let name = line.iter().take_while(|byte| is_token(**byte)).count();
        match (line, line.get(name..)) {
            ([], _) => self.expected = Expected::Nothing,
            (_, Some([b':', value @ ..]))
                if name > 0 && !value.iter().any(|b| b.is_ascii_control() && *b != b'\t') => {}
            _ => return Err(Malformed),
        }
        Ok(Some(length))
    }
}

/// The first line, without its end, and its length with it.
fn line(bytes: &[u8], longest: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let looked_at = bytes.get(..longest).unwrap_or(bytes);
    match memchr::memchr(b'\n', looked_at) {
        Some(end) => {
            let line = looked_at.get(..end).and_then(|line| line.strip_suffix(b"\r"));
            Ok(Some((line.ok_or(Malformed)?, end + 1)))
        }
        None if bytes.len() >= longest => Err(Malformed),
        None => Ok(None),
    }
}

/// At most so many bytes from the front, and how many of those are still to come. Few are copied, so
/// that the buffer can be used again.
fn cut(bytes: &mut BytesMut, most: u64) -> (Bytes, u64) {
    const FEW: usize = 4 * 1024;
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    let data = if length > FEW {
        bytes.split_to(length).freeze()
    } else {
        let few = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
        bytes.advance(length);
        few
    };
    (data, most - length as u64)
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
