//! Looks for the pair in what comes back: an answer that repeats it would hand it to the one side
//! that is not to have it.
//!
//! Headers are always searched, bodies if `guard.echo` says so. What is searched for is the pair
//! that this very call was sent with. A header with it is dropped; in a body each occurrence is
//! overwritten with as many `*`, so that lengths stay right. Invariant: of a body no more is held
//! back than what may be the beginning of a secret, which is less than
//! [`MAX_LEN`](crate::secret::MAX_LEN).
//!
//! Other forms of a secret (base64, percent-encoding, a piece of it) are not looked for.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};

use super::peek::Peeked;
use super::refusal::is_encoded;
use crate::config::Guard;
use crate::credentials::Credentials;
use crate::secret::Secret;
use crate::telemetry::access::AccessRecord;
use crate::telemetry::code::EchoPlace;
use crate::telemetry::metrics::WorkerMetrics;
use crate::upstream::{self, Broken, Kind};

/// What the search counts with.
pub(super) type Metrics = Arc<WorkerMetrics>;

/// Takes the pair out of an answer's headers, and, if bodies are searched, out of its body as it
/// passes.
///
/// # Errors
/// [`Kind::ResponseInvalid`], if the body is to be searched and cannot be.
pub(super) fn search(
    mut answer: Response<Peeked>,
    credentials: Arc<Credentials>,
    guard: Guard,
    metrics: &Metrics,
    record: &AccessRecord,
) -> Result<Response<SearchedBody>, upstream::Error> {
    let found = drop_echoes(answer.headers_mut(), &credentials);
    if found > 0 {
        (0..found).for_each(|_| metrics.echoed(EchoPlace::Header));
        warn(&record.request_id, EchoPlace::Header);
    }
    if !guard.echo {
        return Ok(answer.map(|body| SearchedBody { body, search: None }));
    }
    if is_encoded(answer.headers()) && !answer.body().is_end_stream() {
        return Err(upstream::Error {
            kind: Kind::ResponseInvalid,
            sent: record.sent,
            cause: "its body is compressed although guard.echo asked for none of that, so it \
                    cannot be searched"
                .to_owned(),
        });
    }
    let search = Search {
        mask: Mask::new(credentials),
        metrics: Arc::clone(metrics),
        request_id: record.request_id.clone(),
        told: false,
    };
    Ok(answer.map(|body| SearchedBody { body, search: Some(Box::new(search)) }))
}

fn warn(request_id: &HeaderValue, place: EchoPlace) {
    tracing::warn!(
        request_id = request_id.to_str().unwrap_or_default(),
        place = place.as_str(),
        "InnoPaaS's answer repeated a credential, which was taken out"
    );
}

fn secrets(credentials: &Credentials) -> [&Secret; 2] {
    [&credentials.app_key, &credentials.authorization]
}

/// Drops every header that has a secret in its name or one of its values; how many.
fn drop_echoes(headers: &mut HeaderMap, credentials: &Credentials) -> usize {
    let echoes = |name: &HeaderName, value: &HeaderValue| {
        secrets(credentials).iter().any(|secret| {
            secret.find_in(value.as_bytes()).is_some() || secret.is_in_name(name.as_str())
        })
    };
    let mut dropped = 0;
    while let Some(name) = headers.iter().find_map(|(n, v)| echoes(n, v).then(|| n.clone())) {
        headers.remove(name);
        dropped += 1;
    }
    dropped
}

/// The body of InnoPaaS's answer, searched if it is to be.
pub(super) struct SearchedBody {
    body: Peeked,
    /// Boxed, because most bodies have none.
    search: Option<Box<Search>>,
}

struct Search {
    mask: Mask,
    metrics: Metrics,
    request_id: HeaderValue,
    /// One line an answer is enough.
    told: bool,
}

impl SearchedBody {
    pub(super) fn came_early(&self) -> bool {
        self.body.came_early()
    }
}

impl Search {
    fn tell(&mut self, found: usize) {
        (0..found).for_each(|_| self.metrics.echoed(EchoPlace::Body));
        if found > 0 && !std::mem::replace(&mut self.told, true) {
            warn(&self.request_id, EchoPlace::Body);
        }
    }
}

impl Body for SearchedBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { body, search } = &mut *self;
        let Some(search) = search else {
            return Pin::new(body).poll_frame(cx);
        };
        loop {
            let passed = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                // What is held back of an answer that broke off is of no use to anybody.
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    // Trailers were dropped below.
                    let (passed, found) = search.mask.push(frame.into_data().unwrap_or_default());
                    search.tell(found);
                    if body.is_end_stream() { join(passed, search.mask.end()) } else { passed }
                }
                None => match search.mask.end() {
                    rest if rest.is_empty() => return Poll::Ready(None),
                    rest => rest,
                },
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let held = self.search.as_ref().map_or(0, |search| search.mask.held.len());
        held == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        match (&self.search, hint.exact()) {
            (Some(search), Some(rest)) => {
                SizeHint::with_exact(rest + search.mask.held.len() as u64)
            }
            _ => hint,
        }
    }
}

/// Overwrites secrets in a text that comes in pieces.
struct Mask {
    credentials: Arc<Credentials>,
    /// The end of what came, as it came: it may be the beginning of a secret.
    held: BytesMut,
    /// What of it is to be overwritten already.
    covered: Vec<Range<usize>>,
}

impl Mask {
    fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials, held: BytesMut::new(), covered: Vec::new() }
    }

    /// Takes the next piece; what may pass, and how many secrets were found.
    fn push(&mut self, piece: Bytes) -> (Bytes, usize) {
        let known = self.held.len();
        let mut text = if known == 0 {
            // Without a copy, unless somebody else holds the same bytes.
            BytesMut::from(piece)
        } else {
            self.held.extend_from_slice(&piece);
            self.held.split()
        };
        let credentials = Arc::clone(&self.credentials);
        let mut found = 0;
        for secret in secrets(&credentials) {
            let mut from = 0;
            // Secrets may overlap, each other and themselves: the next may begin one byte on.
            while let Some(at) = text.get(from..).and_then(|rest| secret.find_in(rest)) {
                let hit = from + at..from + at + secret.len();
                from += at + 1;
                found += usize::from(hit.end > known); // else it was found before
                self.covered.push(hit);
            }
        }
        let begun = secrets(&credentials).map(|secret| secret.begun_at_end_of(&text));
        let pass = text.len() - begun.into_iter().max().unwrap_or_default();
        self.held = text.split_off(pass);
        overwrite(&mut text, self.covered.iter().cloned());
        let left = self.covered.drain(..).filter(|hit| hit.end > pass);
        self.covered = left.map(|hit| hit.start.saturating_sub(pass)..hit.end - pass).collect();
        (text.freeze(), found)
    }

    /// Nothing more comes; the rest.
    fn end(&mut self) -> Bytes {
        let mut rest = self.held.split();
        overwrite(&mut rest, self.covered.drain(..));
        rest.freeze()
    }
}

/// What passes of a body that comes in these pieces, and how many secrets were found in it.
#[cfg(fuzzing)] // the rest of the way needs sockets
pub fn mask<'p>(
    credentials: &Arc<Credentials>,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> (Vec<u8>, usize) {
    let mut mask = Mask::new(Arc::clone(credentials));
    let (mut all, mut found) = (Vec::new(), 0);
    for piece in pieces {
        let (passed, more) = mask.push(Bytes::copy_from_slice(piece));
        all.extend_from_slice(&passed);
        found += more;
    }
    all.extend_from_slice(&mask.end());
    (all, found)
}

fn overwrite(text: &mut BytesMut, ranges: impl Iterator<Item = Range<usize>>) {
    let length = text.len();
    for range in ranges {
        if let Some(secret) = text.get_mut(range.start.min(length)..range.end.min(length)) {
            secret.fill(b'*');
        }
    }
}

fn join(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, false) => second,
        (false, false) => {
            let mut both = BytesMut::with_capacity(first.len() + second.len());
            both.extend_from_slice(&first);
            both.extend_from_slice(&second);
            both.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::code::Pair;

    fn credentials(app_key: &str, authorization: &str) -> Arc<Credentials> {
        let secret = |text: &str| Secret::from_file_content(text.as_bytes()).unwrap();
        let (app_key, authorization) = (secret(app_key), secret(authorization));
        Arc::new(Credentials { app_key, authorization, generation: 1, pair: Pair::Primary })
    }

    fn mask(credentials: &Arc<Credentials>, pieces: &[&[u8]]) -> (String, usize) {
        let mut mask = Mask::new(Arc::clone(credentials));
        let (mut all, mut found) = (Vec::new(), 0);
        for piece in pieces {
            let (passed, more) = mask.push(Bytes::copy_from_slice(piece));
            let longest = secrets(credentials).iter().map(|secret| secret.len()).max().unwrap();
            assert!(mask.held.len() < longest, "more is held back than a beginning");
            all.extend(passed);
            found += more;
        }
        all.extend(mask.end());
        (String::from_utf8(all).unwrap(), found)
    }

    /// Every way to cut a body with three echoes into three pieces, and into single bytes.
    #[test]
    fn three_echoes_are_masked_wherever_the_body_is_cut() {
        for (app_key, token, body, masked, count) in [
            (
                "KEYKEY42",
                "tokentoken123",
                "{\"a\":\"KEYKEY42\",\"b\":\"tokentoken123\",\"tokentoken12\":\"KEYKEKEYKEY42\"} tokentoke",
                "{\"a\":\"********\",\"b\":\"*************\",\"tokentoken12\":\"KEYKE********\"} tokentoke",
                3,
            ),
            // Overlapping themselves: at 1, 5 and 9.
            ("abcdabcd", "unused-unused", "xabcdabcdabcdabcdabc", "x****************abc", 3),
            // One inside of the other, and one that begins within the other's end.
            ("innerkey", "--innerkey--inne", "--innerkey--innerkey", "********************", 3),
            ("aaaaaaaa", "unused-unused", "baaaaaaaaaa b", "b********** b", 3),
        ] {
            let (pair, body) = (credentials(app_key, token), body.as_bytes());
            let wanted = (masked.to_owned(), count);
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let pieces = [&body[..first], &body[first..second], &body[second..]];
                    assert_eq!(mask(&pair, &pieces), wanted, "cut at {first} and {second}");
                }
            }
            let single: Vec<&[u8]> = body.chunks(1).collect();
            assert_eq!(mask(&pair, &single), wanted);
        }
    }

    #[test]
    fn what_is_no_echo_passes_at_once_and_unchanged() {
        let pair = credentials("KEYKEY42", "tokentoken123");
        let mut mask = Mask::new(pair);
        let piece = Bytes::from_static(b"nothing of the kind");
        assert_eq!(mask.push(piece.clone()), (piece, 0));
        assert!(mask.held.is_empty());
    }

    #[test]
    fn a_header_with_a_secret_in_its_name_or_value_is_dropped_with_all_its_values() {
        let pair = credentials("KEYKEY42", "tokentoken123");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-fine", "KEYKEY4"),
            ("x-echo", "before KEYKEY42 after"),
            ("x-twice", "harmless"),
            ("x-twice", "tokentoken123"),
            ("x-keykey42-name", "1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(drop_echoes(&mut headers, &pair), 3);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-fine"]);
    }

    #[test]
    fn secrets_that_would_match_by_chance_are_not_searched_for() {
        assert_eq!(mask(&credentials("abcdefg", "1234567"), &[b"abcdefg1234567"]).1, 0);
    }
}
