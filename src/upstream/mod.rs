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
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
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

pub use body::{Broken, RequestBody, ResponseBody};
pub use error::{BodyFault, Error, Kind};
pub use tls::{Roots, TlsError, client_config};

mod body;
mod connect;
mod error;
mod pool;
mod tls;

/// One worker's way to the origin.
pub struct Client {
    connector: Connector,
    host: HeaderValue,
    http: http1::Builder,
    deadlines: config::Deadlines,
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
    /// Bytes that left on it.
    left: Arc<AtomicU64>,
    task: AbortHandle,
}

/// A connection in use, on its way back to the pool it came from.
#[derive(Debug)]
struct Lease {
    connection: Connection,
    client: Weak<Client>,
    transfer: Rc<body::Transfer>,
}

impl Client {
    /// A client for this origin. Must be used inside a `LocalSet`.
    pub fn new(
        config: &config::Upstream,
        tls: Arc<ClientConfig>,
        metrics: Arc<WorkerMetrics>,
    ) -> Rc<Self> {
        let mut http = http1::Builder::new();
        http.max_header_size(config.head_size)
            .max_buf_size(config.head_size.max(64 * 1024))
            .max_headers(config.header_count);
        Rc::new(Self {
            connector: Connector::new(&config.origin, tls, config.deadlines),
            host: config.origin.host_header().clone(),
            http,
            deadlines: config.deadlines,
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

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`Error`], with the phase it happened in and whether a byte of the request may have left.
    pub async fn send(
        self: &Rc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Error> {
        loop {
            let pooled = self.pool.borrow_mut().take();
            let from_pool = pooled.is_some();
            let connection = match pooled {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match self.exchange(connection, request).await {
                Ok(response) => return Ok(response),
                // Closed by the upstream while it was unused: not one byte left.
                Err(Failed::Unsent(returned)) if from_pool => {
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
        let (stream, left) = self.connector.connect().await?;
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
        Ok(Connection { sender, left, task })
    }

    async fn exchange(
        self: &Rc<Self>,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failed> {
        let transfer = request.body().transfer();
        let before = connection.left.load(Relaxed);
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
                let lease = Lease { connection, client: Rc::downgrade(self), transfer };
                let deadline = self.deadlines.body_progress;
                Ok(response.map(|incoming: Incoming| ResponseBody::new(incoming, lease, deadline)))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Failed::Unsent(Box::new(request)),
                None => Failed::Error(explain(&error, &transfer, connection.sent_since(before))),
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

fn explain(
    error: &TrySendError<Request<RequestBody>>,
    transfer: &body::Transfer,
    sent: Sent,
) -> Error {
    let error = error.error();
    let kind = match transfer.fault() {
        Some(fault) => Kind::Body(fault),
        None if error.is_parse_too_large() => Kind::ResponseTooLarge,
        None if error.is_parse() => Kind::ResponseInvalid,
        None => Kind::Closed,
    };
    Error::new(kind, sent, Chain(error))
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

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn sent_since(&self, before: u64) -> Sent {
        if self.left.load(Relaxed) == before { Sent::No } else { Sent::Maybe }
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
