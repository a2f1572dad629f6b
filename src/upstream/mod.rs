//! Sends requests to one origin and brings back the heads of its answers.
//!
//! Invariants: the origin is fixed when the [`Client`] is made; a request is sent again only if
//! not one byte of it left; nothing is shared between workers. What a request says is none of
//! this module's business.

use std::cell::RefCell;
use std::fmt;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep_until;

use crate::config;
use crate::telemetry::code::Sent;
use crate::telemetry::metrics::WorkerMetrics;
use connect::Connector;
use pool::Pool;
use transfer::Transfer;
use wire::Wire;

pub use body::{Broken, ResponseBody};
pub use error::{BodyFault, Error, Kind};
pub use request_body::{RequestBody, Spare, Unkept};
pub use tls::{Roots, TlsError, client_config};

mod address;
mod body;
mod connect;
mod error;
mod pool;
mod request_body;
mod tls;
mod transfer;
mod wire;

/// One worker's way to the origin.
pub struct Client {
    connector: Connector,
    host: HeaderValue,
    http: http1::Builder,
    deadlines: config::Deadlines,
    /// Bytes that may come before the head of an answer is complete.
    before_head: u64,
    pool: RefCell<Pool>,
    pooled: Notify,
    /// Drives the connections. Ends them when the client is dropped.
    tasks: RefCell<JoinSet<()>>,
    metrics: Arc<WorkerMetrics>,
}

/// An open connection. Closed when dropped.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    wire: Rc<Wire>,
    task: AbortHandle,
}

/// A connection in use, on its way back to the pool it came from.
#[derive(Debug)]
struct Lease {
    connection: Connection,
    client: Weak<Client>,
    transfer: Rc<Transfer>,
}

impl Client {
    /// A client for this origin. Must be used inside a `LocalSet`.
    pub fn new(
        config: &config::Upstream,
        limits: &config::Limits,
        tls: Arc<ClientConfig>,
        metrics: Arc<WorkerMetrics>,
    ) -> Rc<Self> {
        /// For provisional answers, and what is read ahead of the body. In bytes.
        const BESIDE_THE_HEAD: u64 = 512 * 1024;
        let mut http = http1::Builder::new();
        http.max_header_size(limits.head_size)
            .max_buf_size(limits.head_size.max(64 * 1024))
            .max_headers(limits.header_count);
        Rc::new(Self {
            connector: Connector::new(config, tls),
            host: config.origin.host_header().clone(),
            http,
            deadlines: config.deadlines,
            before_head: BESIDE_THE_HEAD + 2 * limits.head_size as u64,
            pool: RefCell::new(Pool::new(config.pool_idle, config.pool_max_idle)),
            pooled: Notify::new(),
            tasks: RefCell::new(JoinSet::new()),
            metrics,
        })
    }

    /// What stands in `Host` (RFC 9110, section 7.2).
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Sends a request and waits for the head of its answer. `sent` says at any time whether a
    /// byte of it may have left, also to whoever drops the future.
    ///
    /// # Errors
    /// [`Error`], with the phase it happened in and whether a byte of the request may have left.
    pub async fn send(
        self: &Rc<Self>,
        mut request: Request<RequestBody>,
        sent: &mut Sent,
    ) -> Result<Response<ResponseBody>, Error> {
        loop {
            let pooled = self.pool.borrow_mut().take();
            let from_pool = pooled.is_some();
            let connection = match pooled {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            *sent = Sent::Maybe;
            match self.exchange(connection, request).await {
                Ok(response) => return Ok(response),
                // Closed by the upstream while it was unused: not one byte left.
                Err(Failed::Unsent(returned)) if from_pool => {
                    *sent = Sent::No;
                    self.metrics.repeated();
                    tracing::debug!("a kept connection had closed; the request goes to another");
                    request = *returned;
                }
                Err(Failed::Unsent(_)) => {
                    return Err(Error::unsent(Kind::Closed, "closed right after the handshake"));
                }
                Err(Failed::Error(error)) => return Err(error),
            }
        }
    }

    /// Closes connections that were unused for too long; ends never. Sleeps while there are none.
    pub async fn keep_trimmed(&self) {
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            self.pooled.notified().await;
            while self.pool.borrow_mut().trim(Instant::now()) {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let (stream, wire) = self.connector.connect().await?;
        let (sender, connection) = self
            .http
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::unsent(Kind::ConnectFailed, error))?;
        let open = self.metrics.upstream_connection();
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {} // the ended ones make room
        let task = tasks.spawn_local(async move {
            let _open = open;
            // Whoever waits for the answer learns of the error; an unused connection may end.
            let _ = connection.await;
        });
        Ok(Connection { sender, wire, task })
    }

    async fn exchange(
        self: &Rc<Self>,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failed> {
        let transfer = request.body().transfer();
        let before = connection.wire.left();
        connection.wire.head_is_due(self.before_head);
        transfer.started();
        let mut answer = pin!(connection.sender.try_send_request(request));
        let mut timer = pin!(sleep_until(transfer.look_at(&self.deadlines).into()));
        let result = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = &mut timer => {
                    let (due, kind) = transfer.due(&self.deadlines);
                    if due <= Instant::now() {
                        let sent = connection.sent_since(before);
                        return Err(Failed::Error(Error::new(kind, sent, "a deadline passed")));
                    }
                    timer.as_mut().reset(transfer.look_at(&self.deadlines).into());
                }
            }
        };
        match result {
            Ok(response) => {
                connection.wire.head_is_here();
                if let Err(why) = judge(&response) {
                    let sent = connection.sent_since(before);
                    return Err(Failed::Error(Error::new(Kind::ResponseInvalid, sent, why)));
                }
                let lease = Lease { connection, client: Rc::downgrade(self), transfer };
                let deadline = self.deadlines.body_progress;
                Ok(response.map(|incoming: Incoming| ResponseBody::new(incoming, lease, deadline)))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Failed::Unsent(Box::new(request)),
                None => Failed::Error(explain(&error, &transfer, &connection, before)),
            }),
        }
    }
}

/// How an exchange failed.
enum Failed {
    /// Before the request was looked at; here it is again.
    Unsent(Box<Request<RequestBody>>),
    Error(Error),
}

/// Whether an answer has one meaning; hyper's client lets these through. Nobody asked for another
/// protocol; a length that is told in two ways would be cut or padded on its way to the caller.
fn judge<B>(answer: &Response<B>) -> Result<(), &'static str> {
    if !(200..600).contains(&answer.status().as_u16()) {
        return Err("its status is none that an answer ends with");
    }
    let mut codings = answer.headers().get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        (Some(_), _) => return Err("its Transfer-Encoding is something else than `chunked`"),
    };
    let mut lengths = answer.headers().get_all(header::CONTENT_LENGTH).iter();
    match (chunked, lengths.next(), lengths.next()) {
        (_, None, _) => Ok(()),
        (false, Some(length), None) if length.as_bytes().iter().all(u8::is_ascii_digit) => Ok(()),
        (false, _, _) => Err("its Content-Length is not one number"),
        (true, _, _) => Err("it has both Transfer-Encoding and Content-Length"),
    }
}

fn explain(
    error: &TrySendError<Request<RequestBody>>,
    transfer: &Transfer,
    connection: &Connection,
    before: u64,
) -> Error {
    let error = error.error();
    let kind = match transfer.fault() {
        Some(fault) => Kind::Body(fault),
        None if error.is_parse_too_large() || connection.wire.is_flooded() => {
            Kind::ResponseTooLarge
        }
        None if error.is_parse() => Kind::ResponseInvalid,
        None => Kind::Closed,
    };
    Error::new(kind, connection.sent_since(before), Chain(error))
}

/// An error with its causes.
struct Chain<'e>(&'e dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(source) => write!(f, ": {}", Chain(source)),
            None => Ok(()),
        }
    }
}

impl Connection {
    fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether something came that no call asked for, or the end.
    fn has_surplus(&self) -> bool {
        !self.wire.is_quiet()
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn sent_since(&self, before: u64) -> Sent {
        if self.wire.left() == before { Sent::No } else { Sent::Maybe }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lease {
    /// The answer is over. A request that is not over yet makes the connection useless.
    fn give_back(self) {
        if let Some(client) = self.client.upgrade()
            && self.transfer.is_done()
            && client.pool.borrow_mut().put(self.connection)
        {
            client.pooled.notify_one();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
