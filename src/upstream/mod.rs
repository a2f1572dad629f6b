//! Sends requests to one origin and brings back the heads of its answers.
//!
//! Invariants: the origin is fixed when the [`Client`] is made; a request is sent again only if
//! not one byte of it left; nothing is shared between workers. What a request says is none of
//! this module's business.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Response};
use rustls::ClientConfig;
use tokio::sync::Notify;

use crate::config;
use crate::telemetry::code::Sent;
use crate::telemetry::metrics::WorkerMetrics;
use answer_head::{AnswerHead, HeadReader};
use connect::Connector;
use connection::Connection;
use exchange::{Exchange, Failed};
use outgoing::Outgoing;
use pool::Pool;

pub use body::{Broken, ResponseBody};
pub use error::{BodyFault, Error, Kind};
#[cfg(any(test, fuzzing))]
pub use read_answer::{Answer, read_answer};
pub use request_body::{RequestBody, Spare, Unkept};
pub use request_head::{Fields, RequestHead};
pub use tls::{Roots, TlsError, client_config};

mod address;
mod alarm;
mod answer_body;
mod answer_head;
mod body;
mod connect;
mod connection;
mod error;
mod exchange;
mod outgoing;
mod pool;
#[cfg(any(test, fuzzing))]
mod read_answer;
mod request_body;
mod request_head;
mod tls;
mod transfer;
mod wire;

/// One worker's way to the origin.
pub struct Client {
    connector: Connector,
    host: HeaderValue,
    deadlines: config::Deadlines,
    head_size: usize,
    header_count: usize,
    pool: RefCell<Pool>,
    pooled: Notify,
    metrics: Arc<WorkerMetrics>,
}

impl Client {
    /// A client for this origin.
    pub fn new(
        config: &config::Upstream,
        limits: &config::Limits,
        tls: Arc<ClientConfig>,
        metrics: Arc<WorkerMetrics>,
    ) -> Rc<Self> {
        Rc::new(Self {
            connector: Connector::new(config, tls),
            host: config.origin.host_header().clone(),
            deadlines: config.deadlines,
            head_size: limits.head_size,
            header_count: limits.header_count,
            pool: RefCell::new(Pool::new(config.pool_idle, config.pool_max_idle)),
            pooled: Notify::new(),
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
        head: RequestHead,
        body: RequestBody,
        sent: &mut Sent,
    ) -> Result<Response<ResponseBody>, Error> {
        let to_head = head.is_head();
        let mut request = Outgoing::new(head, body);
        loop {
            let pooled = self.pool.borrow_mut().take();
            let from_pool = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => Box::pin(self.connect()).await?, // rare, and large
            };
            *sent = Sent::Maybe;
            let reader = HeadReader::new(self.head_size, self.header_count, to_head);
            let exchange = Exchange::new(&mut connection, &mut request, reader, &self.deadlines);
            match exchange.run().await {
                Ok((head, written)) => {
                    let rest = (!written).then(|| Box::new(request));
                    return Ok(self.answer(head, connection, rest));
                }
                // Closed by the upstream while it was unused: not one byte left.
                Err(Failed::Unsent) if from_pool => {
                    *sent = Sent::No;
                    self.metrics.repeated();
                    tracing::debug!("a kept connection had closed; the request goes to another");
                    request.begin();
                }
                Err(Failed::Unsent) => {
                    return Err(Error::unsent(Kind::Closed, "closed right after the handshake"));
                }
                Err(Failed::Error(error)) => return Err(error),
            }
        }
    }

    fn answer(
        self: &Rc<Self>,
        head: AnswerHead,
        connection: Box<Connection>,
        rest: Option<Box<Outgoing>>,
    ) -> Response<ResponseBody> {
        let AnswerHead { status, headers, body, keeps_open } = head;
        let deadline = self.deadlines.body_progress;
        let body = ResponseBody::new(body, connection, rest, keeps_open, (self, deadline));
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        answer
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

    async fn connect(&self) -> Result<Box<Connection>, Error> {
        let stream = self.connector.connect().await?;
        Ok(Connection::new(stream, self.metrics.upstream_connection()))
    }

    /// Takes a connection back.
    fn keep(&self, connection: Box<Connection>) {
        if self.pool.borrow_mut().put(connection) {
            self.pooled.notify_one();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
