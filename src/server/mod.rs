//! Serves HTTP/1.1 on a bound listener until it is told to stop.
//!
//! Knows nothing of what is served: the proxy, the admin endpoints and the sandbox all run on it.
//! Every wait on a peer has a deadline here, except those between the end of a request's head and
//! the end of its answer, which belong to the service.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use rustls::ServerConfig;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use crate::lifecycle::{Phase, Phases};
use crate::telemetry::metrics::{Refused, WorkerMetrics};

use accept::Accepted;
use crowd::Crowd;
use watch::Watch;

pub use accept::{Intake, Peer, bind};
pub use connection::{Abort, Linger};
pub use farewell::bare_refusal;
pub use grammar::Grammar;
pub use lines::Fault;
pub use socket::Listener;
pub use socket_file::{SocketFile, bind_unix};

mod accept;
mod connection;
mod crowd;
mod farewell;
mod grammar;
mod inlet;
mod lines;
mod socket;
mod socket_file;
mod stream;
mod watch;
mod watched;

/// How connections are treated.
#[derive(Clone)]
pub struct Options {
    /// Bounds on what a peer may take up.
    pub limits: Limits,
    /// Whose connections are served.
    pub admission: Admission,
    /// Where open connections are counted, if they are.
    pub metrics: Option<Arc<WorkerMetrics>>,
}

/// Whose connections are served.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Whoever reaches the listener.
    Anyone,
    /// Processes of these users, on a Unix socket.
    Users(Vec<u32>),
    /// Whoever completes a TLS handshake under the configuration that is current when it begins.
    Tls(Arc<ArcSwap<ServerConfig>>),
}

impl Options {
    /// A connection ends without a call.
    fn refused(&self, why: Refused) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_refused(why);
        }
    }
}

/// Bounds on what a peer may take up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of a request's head, in bytes.
    pub head_size: usize,
    /// Header lines in a request.
    pub header_count: usize,
    /// How long a TLS handshake, and then the head of a request from its first byte, may take.
    pub head_deadline: Duration,
    /// How long the peer may leave an answer unread.
    pub write_progress: Duration,
    /// How long a connection may be unused.
    pub idle: Duration,
}

/// What was left when a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections that were cut in the middle of a call.
    pub cut: usize,
}

/// Serves until `phases` reaches [`Phase::Closing`], then finishes what is in flight; what is
/// still open at [`Phase::Aborting`] is cut. `refuse` makes the answer to what is no request, head
/// and body; the connection ends with it. Must run inside a `LocalSet`.
pub async fn serve<S, B>(
    mut intake: Intake,
    service: S,
    refuse: impl Fn(Fault) -> Bytes + 'static,
    options: Options,
    mut phases: Phases,
) -> Drained
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Abort> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// For a request that is on its way when the door closes.
    const GRACE: Duration = Duration::from_millis(100);
    let service = Rc::new(service);
    let refuse: Rc<dyn Fn(Fault) -> Bytes> = Rc::new(refuse);
    let options = Rc::new(options);
    let mut connections = JoinSet::new();
    let mut drained = Drained::default();
    let mut crowd = Crowd::new(options.limits, intake.pressed(), intake.is_first());
    let spawn = |connections: &mut JoinSet<_>, crowd: &mut Crowd, accepted: Accepted| {
        let handshake = matches!(options.admission, Admission::Tls(_));
        let watch = Watch::new(handshake);
        crowd.join(&watch);
        let handlers = (Rc::clone(&service), Rc::clone(&refuse));
        connections.spawn_local(connection::drive(accepted, watch, handlers, Rc::clone(&options)));
    };
    let mut wanted = Phase::Draining;
    loop {
        tokio::select! {
            biased;
            () = phases.reached(wanted) => match wanted {
                Phase::Draining => {
                    crowd.reached(Phase::Draining);
                    wanted = Phase::Closing;
                }
                Phase::Starting | Phase::Serving | Phase::Closing | Phase::Aborting => break,
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                drained.note(ended); // even here: a connection may hear of the end before we do
                crowd.left();
            }
            duty = crowd.duty() => crowd.perform(duty),
            accepted = intake.next() => match accepted {
                Some(accepted) => spawn(&mut connections, &mut crowd, accepted),
                None => phases.reached(Phase::Closing).await,
            },
        }
    }
    for accepted in intake.close().await {
        spawn(&mut connections, &mut crowd, accepted);
    }
    let mut grace = std::pin::pin!(sleep(GRACE));
    let mut reached = Phase::Draining;
    while !connections.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => drained.note(ended),
            () = phases.reached(Phase::Aborting), if reached < Phase::Aborting => {
                reached = Phase::Aborting;
                crowd.reached(reached);
            }
            () = &mut grace, if reached < Phase::Closing => {
                reached = Phase::Closing;
                crowd.reached(reached);
            }
            duty = crowd.duty() => crowd.perform(duty),
        }
    }
    drained
}

impl Drained {
    fn note(&mut self, ended: Result<connection::End, JoinError>) {
        match ended {
            Ok(connection::End::Complete) => {}
            Ok(connection::End::Cut) => self.cut += 1,
            // The hook has said where. It costs one connection, and is none of the drain's.
            Err(error) => tracing::error!(panicked = error.is_panic(), "a connection's task died"),
        }
    }
}
