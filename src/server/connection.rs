//! One connection, from its first byte to its last.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;

use super::accept::Accepted;
use super::farewell::{Farewell, answer_to};
use super::inlet::Inlet;
use super::lines::Fault;
use super::stream::secure;
use super::watch::{InFlight, Notice, Watch};
use super::watched::Watched;
use super::{Limits, Options};
use crate::lifecycle::Phase;
use crate::telemetry::metrics::{Refused, WorkerMetrics};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// No call was in flight any more, or its peer was the one to go.
    Complete,
    /// In the middle of a call, by us.
    Cut,
}

/// A service's wish to cut the connection with a reset, instead of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Abort;

impl Error for Abort {}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service cut the connection")
    }
}

/// Stands among an answer's extensions if the request's body was left unread: the peer must be
/// able to read the answer although it is still writing, and a closed socket would reset it.
#[derive(Debug, Clone, Copy)]
pub struct Linger;

/// Serves one connection to its end.
pub(super) async fn drive<S, B>(
    accepted: Accepted,
    watch: Rc<Watch>,
    (service, refuse): (Rc<S>, Rc<dyn Fn(Fault) -> Bytes>),
    options: Rc<Options>,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Abort> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Accepted { stream, _place } = accepted;
    let _open = options.metrics.as_ref().map(WorkerMetrics::downstream_connection);
    let secured = tokio::select! {
        secured = secure(stream, &options) => secured,
        () = watch.asked_to_leave() => {
            options.refused(Refused::Room);
            None
        }
    };
    let Some(stream) = secured else {
        return End::Complete;
    };
    watch.secured();
    let io = Watched { stream, watch: Rc::clone(&watch), inlet: Inlet::new(&options.limits) };
    let notes = Rc::new(Notes::default());
    let service = {
        let (watch, notes) = (Rc::clone(&watch), Rc::clone(&notes));
        service_fn(move |request: Request<Incoming>| {
            let in_flight = watch.call_started();
            notes.http_1_0.set(request.version() == Version::HTTP_10);
            let answer = service.call(request);
            let notes = Rc::clone(&notes);
            async move {
                let mut answer = answer.await?;
                notes.unread_body.set(answer.extensions().get::<Linger>().is_some());
                if notes.draining.get() {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Abort>(answer.map(|body| Tracked { body, _in_flight: in_flight }))
            }
        })
    };
    let (mut io, mut service) = (TokioIo::new(io), service);
    let (ran, is_owed, io) = loop {
        let mut http = builder(&options.limits).serve_connection(io, service);
        let ran = poll_fn(|cx| poll_run(Pin::new(&mut http), &watch, &notes, cx)).await;
        let is_owed = watch.answer_is_owed();
        let parts = http.into_parts();
        (io, service) = (parts.io, parts.service);
        // It has taken in whole requests and nothing else, so nothing is left in it.
        if !matches!(ran, Ran::Tired) || !parts.read_buf.is_empty() {
            break (ran, is_owed, io);
        }
        // Without hyper's buffers; between two requests it knows nothing that we do not.
        drop(parts.read_buf);
        let ended = poll_fn(|cx| poll_rest(io.inner(), &watch, &notes, cx)).await;
        if let Some(ran) = ended {
            break (ran, is_owed, io);
        }
    };
    let Watched { stream, inlet, .. } = io.into_inner();
    if is_owed && matches!(ran, Ran::Aborted) {
        return End::Cut;
    }
    let farewell = match inlet.refused() {
        Some(fault) if matches!(ran, Ran::Done) => Farewell::Answer(answer_to(fault, &*refuse)),
        Some(_) | None => ran.farewell(&notes, &options),
    };
    farewell.bid(stream, &watch).await;
    End::Complete
}

/// What is known of a connection beside what its peer does.
#[derive(Debug, Default)]
struct Notes {
    /// The process is about to end: every answer says that it is the connection's last.
    draining: Cell<bool>,
    /// The last answer left the request's body unread.
    unread_body: Cell<bool>,
    /// The last request was HTTP/1.0, whose answers may end with the connection.
    http_1_0: Cell<bool>,
}

impl Notes {
    /// Whether an orderly end would look like the end of a whole answer.
    fn ends_with_reset(&self, error: &hyper::Error) -> bool {
        error.source().is_some_and(<dyn Error>::is::<Abort>)
            || (error.is_user() && self.http_1_0.get())
    }
}

/// How hyper's part ended.
enum Ran {
    Done,
    Failed(hyper::Error),
    Overdue(&'static str),
    MadeRoom,
    Aborted,
    /// Unused for a while.
    Tired,
}

impl Ran {
    /// What is left to say.
    fn farewell(self, notes: &Notes, options: &Options) -> Farewell {
        match self {
            Self::Done if notes.unread_body.get() => Farewell::Linger,
            Self::Failed(error) if error.is_parse() => {
                // Stricter than we are; it has answered by itself: 400, 414 or 431, bare.
                tracing::debug!(%error, "hyper refused what had passed");
                Farewell::Linger
            }
            Self::Failed(error) if notes.ends_with_reset(&error) => Farewell::Reset,
            Self::Overdue(reason) => {
                tracing::debug!(reason, "closed a connection");
                Farewell::Silent
            }
            Self::MadeRoom => {
                options.refused(Refused::Room);
                Farewell::Silent
            }
            Self::Done | Self::Failed(_) | Self::Aborted | Self::Tired => Farewell::Silent,
        }
    }
}

fn poll_run<S, B>(
    mut http: Pin<&mut http1::Connection<TokioIo<Watched>, S>>,
    watch: &Watch,
    notes: &Notes,
    cx: &mut Context<'_>,
) -> Poll<Ran>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Abort>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        if let Poll::Ready(ended) = http.as_mut().poll(cx) {
            return Poll::Ready(ended.map_or_else(Ran::Failed, |()| Ran::Done));
        }
        match ready!(watch.poll_notice(cx)) {
            Notice::Phase(Phase::Draining) => notes.draining.set(true),
            Notice::Phase(Phase::Closing) => {
                notes.draining.set(true);
                // A call in flight is finished all the same.
                http.as_mut().graceful_shutdown();
            }
            Notice::Phase(Phase::Aborting) => return Poll::Ready(Ran::Aborted),
            Notice::Leave | Notice::Rest if watch.answer_is_owed() => {}
            Notice::Leave => return Poll::Ready(Ran::MadeRoom),
            Notice::Overdue(reason) => return Poll::Ready(Ran::Overdue(reason)),
            Notice::Rest if watch.is_between_requests() => return Poll::Ready(Ran::Tired),
            Notice::Phase(Phase::Starting | Phase::Serving) | Notice::Rest => {}
        }
    }
}

/// Waits for the peer to want something; or how the connection ends, if it does before that.
fn poll_rest(
    io: &Watched,
    watch: &Watch,
    notes: &Notes,
    cx: &mut Context<'_>,
) -> Poll<Option<Ran>> {
    watch.rests(true);
    let ended = loop {
        if io.stream.poll_read_ready(cx).is_ready() {
            break None;
        }
        match ready!(watch.poll_notice(cx)) {
            Notice::Phase(Phase::Starting | Phase::Serving) | Notice::Rest => {}
            Notice::Phase(Phase::Draining) => notes.draining.set(true),
            Notice::Phase(Phase::Closing) => break Some(Ran::Done),
            Notice::Phase(Phase::Aborting) => break Some(Ran::Aborted),
            Notice::Leave => break Some(Ran::MadeRoom),
            Notice::Overdue(reason) => break Some(Ran::Overdue(reason)),
        }
    };
    watch.rests(false);
    Poll::Ready(ended)
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None) // hyper's would also close connections that are merely unused
        // `grammar` has counted already, and answers better.
        .max_headers(limits.header_count + 1)
        .max_header_size(limits.head_size + 1)
        .max_buf_size(limits.head_size.max(64 * 1024))
        .auto_date_header(false); // `Date` is the upstream's to give
    builder
}

/// A body that keeps its call in flight until it is over.
struct Tracked<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
