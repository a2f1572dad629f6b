//! Hands an event over to an application, and brings back its answer.
//!
//! Invariant: an event is given to a second connection only if no byte of it left on the first one.
//! What left is counted below HTTP, not guessed: an application that is asked twice may charge,
//! answer or forget twice.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::body::EventBody;
use crate::config::Server;
use crate::telemetry::code::Sent;

/// How long an unused connection is kept: less than applications keep theirs, so that an event
/// seldom meets one that was just closed.
const UNUSED: Duration = Duration::from_secs(1);
/// Unused connections to one application.
const MOST_UNUSED: usize = 64;
/// The largest answer that is passed on, in bytes; of a larger one the head alone. InnoPaaS looks at
/// the status.
const ANSWER: usize = 64 * 1024;

/// The way to applications.
#[derive(Default)]
pub(super) struct Deliverer {
    pool: Rc<RefCell<Pool>>,
    /// What drives the connections, and closes those that nobody uses.
    tasks: RefCell<JoinSet<()>>,
}

/// Unused connections.
#[derive(Default)]
struct Pool {
    unused: HashMap<Server, Vec<Unused>>,
    /// Whether somebody looks after them.
    is_trimmed: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Undelivered {
    /// Whether a byte of the event may have reached the application.
    pub(super) sent: Sent,
    /// Whether time was up.
    pub(super) late: bool,
    /// In words that hold nothing of the event.
    pub(super) cause: String,
}

struct Unused {
    connection: Connection,
    since: Instant,
}

struct Connection {
    sender: SendRequest<EventBody>,
    /// Bytes that were given to the kernel.
    left: Rc<Cell<u64>>,
}

/// What has left of an event, also for who gives up waiting for it.
#[derive(Default)]
struct Progress(RefCell<Option<(Rc<Cell<u64>>, u64)>>);

impl Progress {
    fn begins_on(&self, connection: &Connection) {
        let left = Rc::clone(&connection.left);
        let before = left.get();
        *self.0.borrow_mut() = Some((left, before));
    }

    fn sent(&self) -> Sent {
        match &*self.0.borrow() {
            Some((left, before)) if left.get() > *before => Sent::Maybe,
            Some(_) | None => Sent::No,
        }
    }
}

impl Deliverer {
    /// Gives an event to an application and waits for its whole answer.
    pub(super) async fn deliver(
        &self,
        server: &Server,
        event: Request<EventBody>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, Undelivered> {
        let progress = Progress::default();
        match timeout_at(deadline, self.exchange(server, event, &progress)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cause)) => Err(Undelivered { sent: progress.sent(), late: false, cause }),
            Err(_) => {
                let cause = "webhook.deadline passed".to_owned();
                Err(Undelivered { sent: progress.sent(), late: true, cause })
            }
        }
    }

    async fn exchange(
        &self,
        server: &Server,
        mut event: Request<EventBody>,
        progress: &Progress,
    ) -> Result<Response<Bytes>, String> {
        loop {
            let (mut connection, is_new) = match self.take(server) {
                Some(connection) => (connection, false),
                None => (self.connect(server).await.map_err(|error| error.to_string())?, true),
            };
            progress.begins_on(&connection);
            match connection.sender.try_send_request(event).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    if head.status.is_informational() {
                        return Err("it switched protocols".to_owned());
                    }
                    let whole = match Limited::new(body, ANSWER).collect().await {
                        Ok(whole) => {
                            self.keep(server, connection);
                            whole.to_bytes()
                        }
                        // It has acted, and InnoPaaS looks at the status.
                        Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
                        Err(_) => return Err("its answer broke off".to_owned()),
                    };
                    return Ok(Response::from_parts(head, whole));
                }
                Err(mut failed) => match failed.take_message() {
                    // It was closed while nobody used it.
                    Some(unsent) if !is_new && progress.sent() == Sent::No => event = unsent,
                    Some(_) | None => return Err(failed.into_error().to_string()),
                },
            }
        }
    }

    /// A connection that was used before, and is open as far as is known.
    fn take(&self, server: &Server) -> Option<Connection> {
        loop {
            let Unused { connection, since } =
                self.pool.borrow_mut().unused.get_mut(server)?.pop()?;
            // One that is not ready still writes an event that was answered before its end, and may
            // wait for its sender for long.
            if since.elapsed() < UNUSED && connection.sender.is_ready() {
                return Some(connection);
            }
        }
    }

    fn keep(&self, server: &Server, connection: Connection) {
        let mut pool = self.pool.borrow_mut();
        if !pool.unused.contains_key(server) {
            pool.unused.insert(server.clone(), Vec::new());
        }
        let Some(unused) = pool.unused.get_mut(server) else { return };
        if unused.len() >= MOST_UNUSED || connection.sender.is_closed() {
            return;
        }
        unused.push(Unused { connection, since: Instant::now() });
        if !std::mem::replace(&mut pool.is_trimmed, true) {
            let pool = Rc::clone(&self.pool);
            self.tasks.borrow_mut().spawn_local(async move {
                loop {
                    sleep(UNUSED).await;
                    if !pool.borrow_mut().trim(Instant::now()) {
                        return;
                    }
                }
            });
        }
    }

    async fn connect(&self, server: &Server) -> io::Result<Connection> {
        let stream = match server {
            Server::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?; // heads and bodies leave when they are written
                Stream::Tcp(stream)
            }
            Server::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        let left = Rc::new(Cell::new(0));
        let counted = Counted { stream, left: Rc::clone(&left) };
        let (sender, connection) =
            http1::handshake(TokioIo::new(counted)).await.map_err(io::Error::other)?;
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {} // those that have ended
        tasks.spawn_local(async move {
            // Whoever waits for the answer hears of it.
            let _ = connection.await;
        });
        Ok(Connection { sender, left })
    }
}

impl Pool {
    /// Closes what was unused for too long; whether anything is left.
    fn trim(&mut self, now: Instant) -> bool {
        self.unused.retain(|_, unused| {
            unused.retain(|unused| now.duration_since(unused.since) < UNUSED);
            !unused.is_empty()
        });
        self.is_trimmed = !self.unused.is_empty();
        self.is_trimmed
    }
}

impl std::fmt::Debug for Deliverer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deliverer").finish_non_exhaustive()
    }
}

/// A socket that counts what leaves.
struct Counted {
    stream: Stream,
    left: Rc<Cell<u64>>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Counted {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.left.set(self.left.get() + *bytes as u64);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // neither of the two holds anything back
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
