//! One connection, from its first byte to its last.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::accept::Accepted;
use super::inlet::Inlet;
use super::lines::Fault;
use super::stream::secure;
use super::watch::{InFlight, Watch, Watched};
use super::{Limits, Options};
use crate::lifecycle::{Phase, Phases};
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
    phases: Phases,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Abort> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Accepted { stream, place: _place } = accepted;
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
    stream.set_nodelay();
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
    let mut http = builder(&options.limits).serve_connection(TokioIo::new(io), service);
    let ran = run(Pin::new(&mut http), &watch, &notes, &options.limits, phases).await;
    match ran {
        Ran::Done => {
            let io = http.into_parts().io.into_inner();
            match io.inlet.refused() {
                Some(Fault::Http2) => say_and_end(io, h2_goaway()).await,
                Some(fault) => say_and_end(io, refuse(fault)).await,
                None if notes.unread_body.get() => linger(io).await,
                None => {}
            }
        }
        Ran::Failed(error) => {
            let io = http.into_parts().io.into_inner();
            if error.is_parse() {
                // Stricter than we are; it has answered by itself: 400, 414 or 431, bare.
                tracing::debug!(%error, "hyper refused what had passed");
                linger(io).await;
            } else if notes.ends_with_reset(&error) {
                io.stream.reset_on_close();
            }
        }
        Ran::Overdue(reason) => tracing::debug!(reason, "closed a connection"),
        Ran::MadeRoom => options.refused(Refused::Room),
        Ran::Aborted if watch.answer_is_owed() => return End::Cut,
        Ran::Aborted => {}
    }
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
}

async fn run<S, B>(
    mut http: Pin<&mut http1::Connection<TokioIo<Watched>, S>>,
    watch: &Watch,
    notes: &Notes,
    limits: &Limits,
    mut phases: Phases,
) -> Ran
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Abort>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// For a request that is on its way when the door closes.
    const GRACE: Duration = Duration::from_millis(100);
    let mut wanted = Phase::Draining;
    let mut look = std::pin::pin!(sleep(Watch::period(limits)));
    let mut grace = std::pin::pin!(sleep(GRACE));
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut http => return match ended {
                Ok(()) => Ran::Done,
                Err(error) => Ran::Failed(error),
            },
            () = phases.reached(wanted) => match wanted {
                Phase::Starting | Phase::Serving | Phase::Draining => {
                    notes.draining.set(true);
                    wanted = Phase::Closing;
                }
                Phase::Closing => {
                    grace.as_mut().reset(tokio::time::Instant::now() + GRACE);
                    wanted = Phase::Aborting;
                }
                Phase::Aborting => return Ran::Aborted,
            },
            // A call in flight is finished all the same.
            () = &mut grace, if wanted == Phase::Aborting && !closing => {
                http.as_mut().graceful_shutdown();
                closing = true;
            }
            () = watch.asked_to_leave() => {
                if !watch.answer_is_owed() {
                    return Ran::MadeRoom;
                }
            }
            () = &mut look => match watch.judge(Instant::now(), limits) {
                Ok(again) => look.as_mut().reset(again.into()),
                Err(reason) => return Ran::Overdue(reason),
            },
        }
    }
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

/// Reads on for a moment and throws away, so that the peer finds the answer before the reset.
async fn linger(io: Watched) {
    const AT_MOST: Duration = Duration::from_secs(1);
    const BYTES: u64 = 4 * 1024 * 1024;
    let mut stream = io.stream; // whatever it is that comes, nobody judges it any more
    let reading = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(BYTES), &mut tokio::io::sink()).await
    };
    let _ = timeout(AT_MOST, reading).await;
}

/// Answers in hyper's place.
async fn say_and_end(mut io: Watched, answer: Bytes) {
    if let Ok(Ok(())) = timeout(Duration::from_secs(1), io.write_all(&answer)).await {
        linger(io).await;
    }
}

/// What a service says that has no words of its own.
pub fn bare_refusal(fault: Fault) -> Bytes {
    let status = match fault {
        Fault::Version => "505 HTTP Version Not Supported",
        Fault::TargetTooLong => "414 URI Too Long",
        Fault::HeadTooLarge => "431 Request Header Fields Too Large",
        Fault::Malformed(_) | Fault::Target(_) | Fault::Framing(_) | Fault::Http2 | Fault::Body => {
            "400 Bad Request"
        }
    };
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into()
}

/// Tells a client that began with HTTP/2's preface to use HTTP/1.1, in its own words: empty
/// SETTINGS, then GOAWAY with `HTTP_1_1_REQUIRED` (RFC 9113, sections 3.4, 6.8 and 7).
fn h2_goaway() -> Bytes {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HTTP_1_1_REQUIRED: u8 = 0xd;
    const WORDS: &[u8] = b"innopaas-proxy speaks HTTP/1.1";
    let length = u8::try_from(8 + WORDS.len()).unwrap_or(8);
    let goaway = [0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HTTP_1_1_REQUIRED];
    [SETTINGS, &goaway, WORDS].concat().into()
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
