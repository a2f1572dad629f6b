//! A secret: bytes that can be sent, compared and counted, and never printed.
//!
//! Invariant: [`Secret::expose`] is the only way to the bytes. There is no `Display`, no
//! `Serialize`, no `PartialEq`; `Debug` tells the length and nothing else. This module does no
//! input or output; `credentials` reads the files.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;
use ring::hmac;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The longest secret that is accepted, in bytes: InnoPaaS's samples are 17 and 56 bytes long, a
/// JWT may need a few kB.
pub const MAX_LEN: usize = 4096;

/// The shortest secret that is searched for, in bytes: a shorter one would be found by chance in
/// texts that have nothing to do with it.
const SEARCHED_FROM: usize = 8;

/// One secret that is sure to be a valid header value (RFC 9110, section 5.5).
///
/// Its bytes are overwritten in memory when the last clone is dropped; the copies that buffers of
/// connections hold are not.
#[derive(Clone)]
pub struct Secret(HeaderValue);

/// A key that lives as long as the process, and that nobody else knows.
pub struct DigestKey(hmac::Key);

/// What a secret can be recognised by, and nothing else be learnt from. Two of them are compared in
/// the same time, whatever they were made of.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

/// Why bytes cannot be a secret. Says where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing is there, or nothing but one line end.
    Empty,
    /// Longer than [`MAX_LEN`].
    TooLong,
    /// The byte at this position, counted from 0, cannot stand in a credential: a control
    /// character, a space, or anything outside ASCII.
    Byte {
        /// Position of the byte, counted from 0.
        position: usize,
    },
    /// Begins and ends with a quote: pasted from a JSON or YAML text.
    Quoted,
    /// Begins with an authentication scheme (`Bearer`, `Basic`); InnoPaaS wants the bare token.
    Scheme,
}

impl Secret {
    /// Takes the content of a file: one trailing line end is not part of the secret.
    ///
    /// # Errors
    /// [`Malformed`], if the bytes could not be sent as they are, or carry one of the two usual
    /// pasting mistakes.
    pub fn from_file_content(content: &[u8]) -> Result<Self, Malformed> {
        let bytes = without_line_end(content);
        if has_scheme(bytes) {
            return Err(Malformed::Scheme);
        }
        match bytes.iter().position(|byte| !byte.is_ascii_graphic()) {
            Some(position) if bytes.len() <= MAX_LEN => Err(Malformed::Byte { position }),
            Some(_) | None => Self::new(bytes),
        }
    }

    /// The same for what somebody else shows to us in a header, as a person made it up: it may hold
    /// spaces, and begin with `Bearer` or `Basic`.
    ///
    /// # Errors
    /// [`Malformed`], but for [`Malformed::Scheme`].
    pub fn from_file_of_header(content: &[u8]) -> Result<Self, Malformed> {
        let bytes = without_line_end(content);
        // Spaces around a value are not part of it (RFC 9110, section 5.5), so it could not be shown.
        let inside = bytes.trim_ascii();
        let is_wrong = |byte: &u8| !byte.is_ascii_graphic() && *byte != b' ';
        let around = if bytes.trim_ascii_start().len() < bytes.len() { 0 } else { inside.len() };
        match bytes.iter().position(is_wrong) {
            Some(position) if bytes.len() <= MAX_LEN => Err(Malformed::Byte { position }),
            None if inside.len() < bytes.len() && bytes.len() <= MAX_LEN => {
                Err(Malformed::Byte { position: around })
            }
            Some(_) | None => Self::new(bytes),
        }
    }

    fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Err(Malformed::Empty);
        }
        if bytes.len() > MAX_LEN {
            return Err(Malformed::TooLong);
        }
        if is_quoted(bytes) {
            return Err(Malformed::Quoted);
        }
        // The value does not copy them, and its clones share them.
        let bytes = Bytes::from_owner(Zeroizing::new(bytes.to_vec()));
        let mut value =
            HeaderValue::from_maybe_shared(bytes).map_err(|_| Malformed::Byte { position: 0 })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The secret itself. Grep for this word to see every place that touches one.
    pub fn expose(&self) -> &HeaderValue {
        &self.0
    }

    /// Whether both are the same, in a time that depends on their lengths only.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// Whether it is the beginning of the other one, and not all of it.
    pub fn is_cut_from(&self, whole: &Self) -> bool {
        let beginning = whole.0.as_bytes().get(..self.len());
        self.len() < whole.len() && beginning.is_some_and(|b| self.0.as_bytes().ct_eq(b).into())
    }

    /// Where this text first has the secret. Secrets of less than 8 bytes are not searched for:
    /// they would be found by chance.
    pub fn find_in(&self, text: &[u8]) -> Option<usize> {
        /// Below this many places a search is not worth preparing.
        const FEW: usize = 64;
        let secret = self.searched()?;
        let last = text.len().checked_sub(secret.len())?; // most texts are too short
        if last >= FEW {
            return memmem::find(text, secret);
        }
        let mut begun = memchr::memchr_iter(*secret.first()?, text.get(..=last)?);
        begun.find(|at| text.get(*at..).is_some_and(|text| text.starts_with(secret)))
    }

    /// Whether this name has the secret in any case: names lose theirs on the way.
    pub fn is_in_name(&self, name: &str) -> bool {
        self.searched().is_some_and(|secret| {
            name.len() >= secret.len()
                && name
                    .as_bytes()
                    .windows(secret.len())
                    .any(|part| part.eq_ignore_ascii_case(secret))
        })
    }

    /// How many bytes at this text's end may be the beginning of the secret; never all of it.
    pub fn begun_at_end_of(&self, text: &[u8]) -> usize {
        let Some(secret) = self.searched() else { return 0 };
        let begins = |&length: &usize| secret.get(..length).is_some_and(|b| text.ends_with(b));
        (1..secret.len()).rev().find(begins).unwrap_or_default()
    }

    /// Its keyed hash.
    pub fn digest(&self, key: &DigestKey) -> Digest {
        key.digest(self.0.as_bytes())
    }

    /// Mixes it, with its length, into a keyed hash.
    pub fn mix_into(&self, context: &mut hmac::Context) {
        context.update(&(self.len() as u64).to_be_bytes());
        context.update(self.0.as_bytes());
    }

    fn searched(&self) -> Option<&[u8]> {
        Some(self.0.as_bytes()).filter(|secret| secret.len() >= SEARCHED_FROM)
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "an empty secret cannot be made")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl DigestKey {
    /// Of these bytes, which should be random.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Of these bytes. The time that it takes depends on how many they are.
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        let tag = hmac::sign(&self.0, bytes);
        Digest(tag.as_ref().try_into().unwrap_or_default()) // SHA-256 has 32 bytes
    }
}

impl Digest {
    /// Whether both were made of the same bytes.
    pub fn same_as(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {MAX_LEN} bytes"),
            Self::Byte { position } => write!(
                f,
                "the byte at position {position} (counted from 0) is a space, a control character \
                 or not ASCII, and cannot be sent"
            ),
            Self::Quoted => f.write_str("it is wrapped in quotes; write the bare value"),
            Self::Scheme => f.write_str(
                "it begins with an authentication scheme such as `Bearer`; InnoPaaS wants the \
                 bare token",
            ),
        }
    }
}

fn without_line_end(content: &[u8]) -> &[u8] {
    let bytes = content.strip_suffix(b"\r\n").or_else(|| content.strip_suffix(b"\n"));
    bytes.unwrap_or(content)
}

fn has_scheme(bytes: &[u8]) -> bool {
    [b"bearer ".as_slice(), b"basic ".as_slice()]
        .iter()
        .any(|scheme| bytes.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

fn is_quoted(bytes: &[u8]) -> bool {
    matches!(bytes, [b'"', .., b'"'] | [b'\'', .., b'\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn malformed(content: &[u8]) -> Malformed {
        Secret::from_file_content(content).unwrap_err()
    }

    #[test]
    fn one_trailing_line_end_is_not_part_of_a_secret() {
        for content in [b"token".as_slice(), b"token\n", b"token\r\n"] {
            assert_eq!(Secret::from_file_content(content).unwrap().expose(), "token");
        }
        assert_eq!(malformed(b"token\n\n"), Malformed::Byte { position: 5 });
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_position() {
        assert_eq!(malformed(b""), Malformed::Empty);
        assert_eq!(malformed(b"\n"), Malformed::Empty);
        assert_eq!(malformed(b"to\0ken"), Malformed::Byte { position: 2 });
        assert_eq!(malformed(b" token"), Malformed::Byte { position: 0 });
        assert_eq!(malformed("tokén".as_bytes()), Malformed::Byte { position: 3 });
        assert_eq!(malformed(&[b'a'; MAX_LEN + 1]), Malformed::TooLong);
    }

    #[test]
    fn what_others_show_may_hold_spaces_and_a_scheme_but_nothing_that_no_header_has() {
        let of_header = Secret::from_file_of_header;
        for value in ["Bearer abc", "Basic dXNlcjpwYXNz", "an old friend", "x"] {
            assert_eq!(of_header(format!("{value}\n").as_bytes()).unwrap().expose(), value);
        }
        for (content, why) in [
            ("", Malformed::Empty),
            ("\n", Malformed::Empty),
            (" x", Malformed::Byte { position: 0 }),
            ("x y ", Malformed::Byte { position: 3 }),
            ("x\ty", Malformed::Byte { position: 1 }),
            ("x\0", Malformed::Byte { position: 1 }),
            ("x\n\n", Malformed::Byte { position: 1 }),
            ("é", Malformed::Byte { position: 0 }),
            ("\"x\"", Malformed::Quoted),
        ] {
            assert_eq!(of_header(content.as_bytes()).unwrap_err(), why, "{content:?}");
        }
        assert_eq!(of_header(&[b' '; MAX_LEN + 1]).unwrap_err(), Malformed::TooLong);
    }

    #[test]
    fn usual_pasting_mistakes_are_named() {
        assert_eq!(malformed(b"Bearer abc"), Malformed::Scheme);
        assert_eq!(malformed(b"bAsIc abc\n"), Malformed::Scheme);
        assert_eq!(malformed(b"\"abc\""), Malformed::Quoted);
    }

    #[test]
    fn its_memory_is_overwritten_with_the_last_clone_and_not_before() {
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let text: Vec<u8> = (0..64).map(|n| b'!' + n).collect();
        let secret = Secret::from_file_content(&text).unwrap();
        let address = secret.expose().as_bytes().as_ptr() as usize;
        let clone = secret.clone();
        drop(secret);
        assert_eq!(left_of(&text, &memory, address), 8, "a clone is in use");
        drop(clone);
        // In whatever way the memory was used since: nothing of it is where it was.
        assert_eq!(left_of(&text, &memory, address), 0);

        // What is not overwritten is found, unless the memory is in use again: so not at once only.
        let found = (0..100).any(|_| {
            let plain = std::hint::black_box(text.clone()); // or nobody would ever write it
            let address = plain.as_ptr() as usize;
            drop(plain);
            left_of(&text, &memory, address) > 0
        });
        assert!(found, "this would not notice a secret that is left");
    }

    /// How many of a text's eight parts are where they were. Allocators write into what they get
    /// back, but not everywhere.
    fn left_of(text: &[u8], memory: &std::fs::File, address: usize) -> usize {
        use std::os::unix::fs::FileExt;
        let mut found = [0; 64];
        // Freed memory may have gone back to the system altogether.
        if memory.read_exact_at(&mut found, address as u64).is_err() {
            return 0;
        }
        found.chunks(8).zip(text.chunks(8)).filter(|(found, part)| found == part).count()
    }

    #[test]
    fn debug_tells_the_length_alone() {
        let secret = Secret::from_file_content(b"hunter2hunter2").unwrap();
        assert_eq!(format!("{secret:?} {:?}", secret.expose()), "Secret(14 bytes) Sensitive");
    }

    #[test]
    fn a_secret_that_was_cut_off_is_known_by_the_whole_one() {
        let secret = |text: &str| Secret::from_file_content(text.as_bytes()).unwrap();
        assert!(secret("abc").is_cut_from(&secret("abcdef")));
        for other in ["abcdef", "abd", "bcdef", "abcdefg"] {
            assert!(!secret(other).is_cut_from(&secret("abcdef")));
        }
    }

    #[test]
    fn comparing_finds_a_difference_anywhere() {
        let secret = |text: &str| Secret::from_file_content(text.as_bytes()).unwrap();
        assert!(secret("abcdef").same_as(&secret("abcdef")));
        for other in ["bbcdef", "abcdeg", "abcde", "abcdefg"] {
            assert!(!secret("abcdef").same_as(&secret(other)));
        }
    }
}
