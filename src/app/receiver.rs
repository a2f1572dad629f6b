//! The receiver of webhooks: a listener and a thread of its own, so that what comes from outside the
//! pod takes nothing from the calls of the application in it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use hyper::service::service_fn;
use tokio::runtime::Builder;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

use super::StartError;
use super::worker::{Workers, limits_of};
use crate::config::{Config, ListenAddress, Verify, Webhook};
use crate::credentials::{Callers, Console, ConsoleLooks, ConsoleReports};
use crate::lifecycle::{Heart, Phases, Pulse, heart};
use crate::server::{self, Admission, Drained, Intake};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::WebhookMetrics;
use crate::telemetry::recent::RecentErrors;
use crate::webhook::{Receiver, Verifier};

/// A receiver whose listener is bound, and who serves nobody yet.
#[derive(Debug)]
pub(super) struct Bound {
    listener: TcpListener,
    config: Webhook,
    /// What events are verified by; `None` if everybody is let in.
    console: Option<Console>,
    /// The TLS that InnoPaaS is met with, if it is.
    tls: Callers,
}

/// What a receiver is given by the process around it.
pub(super) struct Around {
    pub(super) metrics: Arc<WebhookMetrics>,
    pub(super) recent: Arc<RecentErrors>,
    pub(super) log: Option<AccessLog>,
    pub(super) phases: Phases,
}

/// A receiver that serves; and what is left to do for it on the main thread.
pub(super) struct Running {
    /// Follows the files for TLS.
    pub(super) tls: Callers,
    /// Follows the files that events are verified by, for as long as it is there.
    pub(super) looks: Option<ConsoleLooks>,
    /// Tells whether its thread answers.
    pub(super) pulse: Pulse,
}

impl Bound {
    /// Takes what can fail at start, if there is to be a receiver.
    pub(super) fn bind(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(webhook) = config.webhook.clone() else { return Ok(None) };
        let poll = config.credentials.poll;
        let console = match &webhook.verify {
            Verify::Pairs { applications, body_check } => {
                Some(Console::load(applications, *body_check, poll)?)
            }
            Verify::Everybody => None,
        };
        let tls = Callers::of_tls(webhook.tls.as_ref(), poll)?;
        let address = webhook.address;
        let listener = server::bind(address)
            .map_err(|e| StartError::Bind("webhook.listen", ListenAddress::Tcp(address), e))?;
        Ok(Some(Self { listener, config: webhook, console, tls }))
    }

    /// Where it will be reached.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How its files fare, now and from then on; `None` if everybody is let in.
    pub(super) fn reports(&self) -> Option<ConsoleReports> {
        self.console.as_ref().map(Console::reports)
    }

    /// Serves on a thread of its own, which ends as workers do.
    pub(super) fn start(
        self,
        config: &Config,
        around: Around,
        workers: &mut Workers,
    ) -> io::Result<Running> {
        let Self { listener, config: webhook, console, tls } = self;
        let Around { metrics, recent, log, phases } = around;
        let verifier = if let Some(console) = &console {
            Verifier::Pairs(console.pairs())
        } else {
            metrics.opened();
            tracing::warn!(
                "webhook.verify is none: whoever reaches the receiver can make up events"
            );
            Verifier::Open
        };
        let looks = console.map(|console| console.follow(Arc::clone(&metrics))).transpose()?;
        let options = server::Options {
            limits: limits_of(&config.limits),
            admission: tls.tls().map_or(Admission::Anyone, Admission::Tls),
            metrics: None,
        };
        let (report, ended) = oneshot::channel();
        let (heart, pulse) = heart();
        let serve = move || {
            let connections = webhook.connections;
            let receiver = move || Receiver::new(webhook, verifier, metrics, recent, log);
            match serve(listener, connections, receiver, options, (phases, heart)) {
                Ok(drained) => drop(report.send(drained)),
                Err(error) => tracing::error!(%error, "the receiver of webhooks could not start"),
            }
        };
        thread::Builder::new().name("webhook".to_owned()).spawn(serve)?;
        workers.spawn_local(ended);
        Ok(Running { tls, looks, pulse })
    }
}

/// Has the files read at once on SIGHUP; ends never.
pub(super) async fn follow(looks: Option<ConsoleLooks>, mut hangup: Signal) {
    loop {
        let _ = hangup.recv().await;
        if let Some(looks) = &looks {
            looks.tell();
        }
    }
}

fn serve(
    listener: TcpListener,
    connections: usize,
    receiver: impl FnOnce() -> Receiver,
    options: server::Options,
    (phases, heart): (Phases, Heart),
) -> io::Result<Drained> {
    /// For looking up the names of applications.
    const LOOKUPS: usize = 2;
    let runtime =
        Builder::new_current_thread().enable_all().max_blocking_threads(LOOKUPS).build()?;
    let drained = LocalSet::new().block_on(&runtime, async {
        let intake = Intake::alone(listener, connections)?;
        let receiver = Rc::new(receiver());
        let refusing = Rc::clone(&receiver);
        let service = service_fn(move |request| {
            let receiver = Rc::clone(&receiver);
            async move { receiver.handle(request).await }
        });
        let refuse = move |fault| refusing.refuse(fault);
        let mut beside = JoinSet::new();
        beside.spawn_local(async move { heart.beat().await });
        Ok(server::serve(intake, service, refuse, options, phases).await)
    });
    runtime.shutdown_background();
    drained
}
