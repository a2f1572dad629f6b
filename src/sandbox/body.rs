//! An answer's body: bytes in memory or the media pattern, at once or paced, whole or cut.
//!
//! Invariant: a download of any size takes no memory of its own; its pieces are windows on one
//! table. What the answer's head says about the body is `answer`'s to write.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// After how many bytes the media pattern begins again: a prime, so that no power of two hides a
/// block that is lost or doubled.
const PERIOD: usize = 251;
const PIECE: usize = 64 * 1024; // bytes, for large bodies

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    (0..=u8::MAX).filter(|b| usize::from(*b) < PERIOD).cycle().take(PIECE + PERIOD).collect()
});

/// The byte at this position of every media download.
pub fn media_byte(position: u64) -> u8 {
    u8::try_from(position % PERIOD as u64).unwrap_or_default()
}

/// An answer's body.
pub(super) struct Body {
    source: Source,
    left: u64,
    piece: usize,
    /// Between two pieces.
    pause: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether the connection ends instead of the body.
    cut: bool,
}

enum Source {
    Held(Bytes),
    Pattern { phase: usize },
}

impl Body {
    pub(super) fn held(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(bytes.len() as u64, Source::Held(bytes))
    }

    /// The first so many bytes of the media pattern.
    pub(super) fn media(bytes: u64) -> Self {
        Self::new(bytes, Source::Pattern { phase: 0 })
    }

    fn new(left: u64, source: Source) -> Self {
        Self { source, left, piece: PIECE, pause: None, waiting: None, cut: false }
    }

    pub(super) fn len(&self) -> u64 {
        self.left
    }

    /// In four pieces, or more if it is large, with a pause before each but the first.
    pub(super) fn slow(mut self, pause: Duration) -> Self {
        let quarter = usize::try_from(self.left.div_ceil(4)).unwrap_or(PIECE);
        self.piece = quarter.clamp(1, PIECE);
        self.pause = Some(pause);
        self
    }

    /// The first half only. The answer must declare the length before.
    pub(super) fn cut(mut self) -> Self {
        self.left /= 2;
        self.cut = true;
        self
    }

    fn next_piece(&mut self) -> Bytes {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.piece);
        self.left -= length as u64;
        match &mut self.source {
            Source::Held(bytes) => bytes.split_to(length),
            Source::Pattern { phase } => {
                let start = *phase;
                *phase = (start + length) % PERIOD;
                PATTERN.slice(start..start + length)
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        /// Until what was sent before a cut has left hyper's buffer.
        const BEFORE_CUT: Duration = Duration::from_millis(20);
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        if self.left == 0 {
            return Poll::Ready(self.cut.then(|| Err(io::Error::other("cut on purpose"))));
        }
        let piece = self.next_piece();
        let pause = if self.left == 0 { self.cut.then_some(BEFORE_CUT) } else { self.pause };
        self.waiting = pause.map(|pause| Box::pin(sleep(pause)));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        if self.cut {
            SizeHint::default() // hyper must go by the declared length
        } else {
            SizeHint::with_exact(self.left)
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn media_is_the_pattern_across_all_pieces() {
        let bytes = Body::media(200_000).collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 200_000);
        assert!((0..).zip(&bytes).all(|(at, byte)| media_byte(at) == *byte));
    }

    #[tokio::test]
    async fn a_cut_body_fails_after_its_first_half() {
        let mut body = Body::held("12345678").cut();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "1234");
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_slow_body_comes_in_pieces() {
        let mut body = Body::held("12345678").slow(Duration::from_millis(1));
        let mut pieces = 0;
        while let Some(frame) = body.frame().await {
            assert!(frame.is_ok());
            pieces += 1;
        }
        assert_eq!(pieces, 4);
    }
}
