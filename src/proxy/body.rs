//! Bodies between the two sides: how the caller's is taken, how the answer's is passed on.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::echo::SearchedBody;
use crate::telemetry::access::AccessRecord;
use crate::telemetry::code::Outcome;
use crate::upstream::{self, BodyFault, Broken, Kind, RequestBody};

/// A declared body up to this size is waited for: it then leaves with the head in one TLS record,
/// and a caller that breaks off in the middle has sent nothing. In bytes.
const WAITED_FOR: u64 = 16 * 1024;

/// Takes a caller's body: a small one whole and within `progress`, any other as it comes.
pub(super) async fn take(
    incoming: Incoming,
    limit: u64,
    progress: Duration,
) -> Result<RequestBody, upstream::Error> {
    let failed = |fault| upstream::Error::unsent(Kind::Body(fault), "");
    match incoming.size_hint().exact() {
        Some(length) if length > limit => Err(failed(BodyFault::TooLarge)),
        Some(length) if length <= WAITED_FOR => {
            let mut whole = pin!(whole(incoming));
            // Usually it is here already, and no timer is needed.
            let at_once = poll_fn(|cx| Poll::Ready(whole.as_mut().poll(cx))).await;
            let came = match at_once {
                Poll::Ready(came) => came,
                Poll::Pending => {
                    timeout(progress, whole).await.map_err(|_| failed(BodyFault::Stalled))?
                }
            };
            came.map(RequestBody::Whole).map_err(|_| failed(BodyFault::Broken))
        }
        Some(_) | None => Ok(RequestBody::stream(incoming, limit, progress)),
    }
}

async fn whole(mut incoming: Incoming) -> Result<Bytes, hyper::Error> {
    let first = match incoming.frame().await {
        Some(frame) => frame?.into_data().unwrap_or_default(),
        None => return Ok(Bytes::new()),
    };
    if incoming.is_end_stream() {
        return Ok(first); // nothing has to be put together
    }
    let rest = incoming.collect().await?.to_bytes();
    Ok([first, rest].concat().into())
}

/// The body of an answer to the caller; holds the call's record until it is over.
pub struct AnswerBody {
    content: AnswerContent,
    record: Box<AccessRecord>,
}

enum AnswerContent {
    /// InnoPaaS's, byte for byte but for what the guard masks.
    Passed(SearchedBody),
    /// Our own problem.
    Own(Full<Bytes>),
}

impl AnswerBody {
    pub(super) fn passed(body: SearchedBody, mut record: Box<AccessRecord>) -> Self {
        if body.is_end_stream() {
            record.outcome = Outcome::Answered;
        }
        Self { content: AnswerContent::Passed(body), record }
    }

    pub(super) fn own(body: Bytes, record: Box<AccessRecord>) -> Self {
        Self { content: AnswerContent::Own(Full::new(body)), record }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { content, record } = &mut *self;
        let polled = match content {
            AnswerContent::Own(body) => {
                return Pin::new(body).poll_frame(cx).map_err(|never| match never {});
            }
            AnswerContent::Passed(body) => Pin::new(body).poll_frame(cx),
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => record.outcome = Outcome::Answered,
            Poll::Ready(Some(Err(error))) => {
                record.outcome = Outcome::Cut;
                tracing::warn!(
                    request_id = record.request_id.to_str().unwrap_or_default(),
                    %error,
                    "InnoPaaS's answer broke off"
                );
            }
            Poll::Ready(Some(Ok(frame))) => {
                record.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if content.is_end_stream() {
                    record.outcome = Outcome::Answered;
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            AnswerContent::Passed(body) => body.size_hint(),
            AnswerContent::Own(body) => body.size_hint(),
        }
    }
}

impl AnswerContent {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passed(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }
}
