//! Threads that serve calls: the first accepts, and hands on what the others have less of.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use hyper::service::service_fn;
use rustls::ClientConfig;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

use crate::config::{Config, Limits};
use crate::credentials::{CallerTokens, Keyring};
use crate::lifecycle::{Heart, Phases, Pulse, heart};
use crate::proxy::{Parts, Places, Proxy};
use crate::server::{self, Admission, Drained, Intake, Listener, Peer};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::{Metrics, WorkerMetrics};
use crate::telemetry::recent::RecentErrors;
use crate::upstream::Client;

/// The workers' ends; an error means that the worker's thread died.
pub(super) type Workers = JoinSet<Result<Drained, oneshot::error::RecvError>>;

/// What every worker gets.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) keyring: &'a Arc<Keyring>,
    pub(super) recent: &'a Arc<RecentErrors>,
    pub(super) admission: Admission,
    pub(super) callers: Option<CallerTokens>,
    pub(super) access_log: Option<AccessLog>,
}

/// Starts all of them.
pub(super) fn start(
    shared: &Shared<'_>,
    listener: Listener,
    metrics: &Metrics,
    phases: &Phases,
) -> io::Result<(Workers, Vec<Pulse>)> {
    let (mut workers, mut pulses, mut peers) = (JoinSet::new(), Vec::new(), Vec::new());
    let mut listener = Some(listener);
    let held = shared.config.refusal.hold.map(Places::new);
    // The last one first, so that the accepting worker knows its peers.
    for (index, metrics) in metrics.workers().iter().enumerate().rev() {
        let entrance = if index == 0 {
            Entrance::Listener(listener.take(), std::mem::take(&mut peers))
        } else {
            let (intake, peer) = Intake::handed();
            peers.push(peer);
            Entrance::Handed(intake)
        };
        let (heart, pulse) = heart();
        pulses.push(pulse);
        let (report, ended) = oneshot::channel();
        let worker = Worker {
            config: shared.config.clone(),
            tls: Arc::clone(&shared.tls),
            keyring: Arc::clone(shared.keyring),
            held: held.clone(),
            recent: Arc::clone(shared.recent),
            admission: shared.admission.clone(),
            callers: shared.callers.clone(),
            access_log: shared.access_log.clone(),
            metrics: Arc::clone(metrics),
            heart,
            phases: phases.clone(),
        };
        // Its end is told through `report`, also when it panics: then nobody sends.
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            match worker.run(entrance) {
                Ok(drained) => drop(report.send(drained)),
                Err(error) => tracing::error!(%error, "a worker could not start"),
            }
        })?;
        workers.spawn_local(ended);
    }
    pulses.reverse();
    Ok((workers, pulses))
}

/// Where a worker's connections come from.
enum Entrance {
    Listener(Option<Listener>, Vec<Peer>),
    Handed(Intake),
}

/// One thread that serves calls.
struct Worker {
    config: Config,
    tls: Arc<ClientConfig>,
    keyring: Arc<Keyring>,
    held: Option<Arc<Places>>,
    recent: Arc<RecentErrors>,
    admission: Admission,
    callers: Option<CallerTokens>,
    access_log: Option<AccessLog>,
    metrics: Arc<WorkerMetrics>,
    heart: Heart,
    phases: Phases,
}

impl Worker {
    fn run(self, entrance: Entrance) -> io::Result<Drained> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4) // name lookups
            .build()?;
        let drained = LocalSet::new().block_on(&runtime, async move {
            let intake = entrance.open(self.config.limits.connections)?;
            let client = Client::new(
                &self.config.upstream,
                &self.config.limits,
                self.tls,
                Arc::clone(&self.metrics),
            );
            let proxy = Rc::new(Proxy::new(Parts {
                callers: self.callers,
                keyring: self.keyring,
                client: Rc::clone(&client),
                refusal: self.config.refusal,
                held: self.held,
                policy: self.config.policy,
                limits: self.config.limits,
                guard: self.config.guard,
                forward_request_id: self.config.upstream.forward_request_id,
                metrics: Arc::clone(&self.metrics),
                recent: self.recent,
                access_log: self.access_log,
            }));
            let refusing = Rc::clone(&proxy);
            let refuse = move |fault| refusing.refuse(fault);
            let service = service_fn(move |request| {
                let proxy = Rc::clone(&proxy);
                async move { proxy.handle(request).await }
            });
            let options = server::Options {
                limits: limits_of(&self.config.limits),
                admission: self.admission,
                metrics: Some(self.metrics),
            };
            // As tasks, because what is awaited here is looked at for every call.
            let mut beside = JoinSet::new();
            let heart = self.heart;
            beside.spawn_local(async move { heart.beat().await });
            beside.spawn_local(async move { client.keep_trimmed().await });
            let serving = server::serve(intake, service, refuse, options, self.phases);
            let mut served = JoinSet::new();
            served.spawn_local(serving);
            match served.join_next().await {
                Some(Ok(drained)) => Ok(drained),
                // Nobody aborts it, so it panicked, and so does the worker.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => Err(io::Error::other("nobody served")),
            }
        });
        runtime.shutdown_background();
        drained
    }
}

impl Entrance {
    fn open(self, connections: usize) -> io::Result<Intake> {
        match self {
            Self::Handed(intake) => Ok(intake),
            Self::Listener(None, _) => Err(io::Error::other("the listener is taken")),
            Self::Listener(Some(listener), peers) => Intake::shared(listener, connections, peers),
        }
    }
}

/// What callers may take up, as the server wants to know it.
pub(super) fn limits_of(limits: &Limits) -> server::Limits {
    server::Limits {
        head_size: limits.head_size,
        header_count: limits.header_count,
        head_deadline: limits.head_deadline,
        write_progress: limits.body_progress,
        idle: limits.idle,
    }
}
