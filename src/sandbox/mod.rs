//! A stand-in for InnoPaaS: the same endpoints over real TLS, strict about what it is sent, and
//! able to act out every failure that matters to a proxy.
//!
//! Every call is held to what InnoPaaS documents: exactly one `AppKey`, one bare `Authorization`,
//! one `Host`, the one content type, and nothing that belongs to the connection. Where InnoPaaS
//! leaves its behaviour open, the sandbox can do every variant ([`Refusal`], [`Act`]). It can be
//! directed by its owner or by `/_sandbox/…` on its own port.
//!
//! It sends webhooks as InnoPaaS does, when it is told to and to this machine only ([`Webhook`]).
//!
//! It sends no message, keeps nothing after its end, and is not made to be reached from other
//! machines.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io, thread};

use arc_swap::ArcSwap;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;
use tokio::task::LocalSet;

use crate::lifecycle::{Lifecycle, Phase, Phases};
use crate::server::{self, Abort, Admission, Intake, Limits};

use pair::Mint;
use state::State;
use tls::{Handshakes, Identity};
use webhooks::{Desk, Order};

pub use act::{Act, REFUSAL_CODE, Refusal};
pub use body::media_byte;
pub use calls::{Call, Calls, Outcome};
pub use check::Rule;
pub use events::{Event, EventTime, Inbound, MessageStatus};
pub use pair::Pair;
pub use webhooks::{
    BodyCheck, EventOutcome, Fault, Form, Header, Pace, Sending, SentEvent, Show, Try, TryResult,
    Webhook, WebhookPair, WebhookReport, WebhookState,
};

mod act;
mod answer;
mod applications;
mod body;
mod call;
mod calls;
mod check;
mod content;
mod control;
mod events;
mod pair;
mod routes;
mod state;
mod tls;
mod webhooks;

/// Connections that may be open at once.
const CONNECTIONS: usize = 4096;

/// Generous: the sandbox must not be what ends a test.
const LIMITS: Limits = Limits {
    head_size: 64 * 1024,
    header_count: 256,
    head_deadline: Duration::from_secs(10),
    write_progress: Duration::from_secs(60),
    idle: Duration::from_secs(600),
};

/// How a sandbox starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 for any that is free.
    pub address: SocketAddr,
    /// How it refuses a pair.
    pub refusal: Refusal,
    /// The first application's pair; a random one if `None`.
    pub pair: Option<Pair>,
}

impl Default for Options {
    /// Any free port of 127.0.0.1, 401 with an envelope, a random pair.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            refusal: Refusal::default(),
            pair: None,
        }
    }
}

/// A running sandbox. It ends when this is dropped, at once: calls in flight are cut.
pub struct Sandbox {
    address: SocketAddr,
    ca_pem: String,
    handshakes: Handshakes,
    state: Arc<State>,
    life: Lifecycle,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Binds, makes a certificate authority, and serves on a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be bound, or the system gives no random bytes or no thread.
    pub fn start(options: Options) -> io::Result<Self> {
        let Options { address, refusal, pair } = options;
        let identity = Identity::generate()?;
        let (desk, orders) = Desk::new();
        let state = Arc::new(State::new(Mint::new()?, pair, refusal, desk));
        let admission = Admission::Tls(Arc::new(ArcSwap::new(identity.config)));
        let options = server::Options { limits: LIMITS, admission, metrics: None };
        let (life, phases) = Lifecycle::starting();
        let (report, started) = mpsc::sync_channel(1);
        let thread = {
            let state = Arc::clone(&state);
            let serve = move || match listen(address) {
                Ok((runtime, intake, address)) => {
                    let _ = report.send(Ok(address)); // who started it waits for this
                    let port = address.port();
                    run(&runtime, intake, options, Shared { state, port, orders }, phases);
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                }
            };
            thread::Builder::new().name("sandbox".to_owned()).spawn(serve)?
        };
        let address =
            started.recv().map_err(|_| io::Error::other("the sandbox's thread died"))??;
        Ok(Self {
            address,
            ca_pem: identity.ca_pem,
            handshakes: identity.handshakes,
            state,
            life,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client is configured with: `https://localhost:PORT`.
    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The certificate authority that a client must trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The first application's pair now; it is valid unless it was expired.
    pub fn pair(&self) -> Pair {
        self.state.pair()
    }

    /// Makes a new token and answers the new pair; the old one is dead at once. The AppKey stays.
    pub fn new_token(&self) -> Pair {
        self.state.new_token()
    }

    /// Ends the token's life without a new one.
    pub fn expire_token(&self) {
        self.state.expire_token();
    }

    /// Makes this the first application's pair; the one before is dead at once.
    ///
    /// Other than with [`Self::new_token`], the AppKey can be another as well.
    pub fn set_pair(&self, pair: Pair) {
        self.state.set_pair(pair);
    }

    /// Makes a further application and answers its pair, which is valid beside the first one's.
    ///
    /// New tokens and [`Self::expire_token`] concern the first application only. There is room for
    /// 64 further ones; one more, and the oldest of them is dead.
    pub fn new_application(&self) -> Pair {
        self.state.new_application()
    }

    /// Like [`Self::new_application`], with a pair of the caller's choice.
    pub fn add_application(&self, pair: Pair) {
        self.state.add_application(pair);
    }

    /// Ends the life of all pairs but the first application's.
    pub fn kill_applications(&self) {
        self.state.kill_applications();
    }

    /// Refuses every call to exactly this path from now on, whatever pair it shows, as an
    /// application's missing right does. There is room for 64 paths; one more, and the oldest is
    /// allowed again.
    pub fn forbid(&self, path: impl Into<String>) {
        self.state.forbid(path.into());
    }

    /// Takes [`Self::forbid`] back.
    pub fn allow(&self, path: &str) {
        self.state.allow(path);
    }

    /// Has the next `times` calls meet this act; with `None`, all until the next change.
    ///
    /// Only calls whose head is in order and whose pair is valid meet an act or use one up.
    pub fn act(&self, act: Act, times: Option<u32>) {
        self.state.set_act(act, times);
    }

    /// Refuses in this way from now on.
    pub fn set_refusal(&self, refusal: Refusal) {
        self.state.set_refusal(refusal);
    }

    /// The counts and the last calls.
    pub fn calls(&self) -> Calls {
        self.state.calls()
    }

    /// Begins to send webhooks; what becomes of them is told by what is answered.
    ///
    /// Eight orders are sent at a time, and eight more wait.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] with the reason if it cannot be sent, as to another
    /// machine; [`io::ErrorKind::ResourceBusy`] if too many orders wait.
    pub fn send_webhooks(&self, webhook: Webhook) -> io::Result<Sending> {
        self.state.send_webhooks(webhook)
    }

    /// Begins to count anew.
    pub fn reset_counts(&self) {
        self.state.reset_counts();
    }

    /// How many TLS handshakes were begun, resumed ones and failed ones too.
    pub fn connections(&self) -> u64 {
        self.handshakes.count()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.life.advance(Phase::Closing);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was told by the hook already
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("address", &self.address).finish_non_exhaustive()
    }
}

/// To be called on the sandbox's own thread: the caller of [`Sandbox::start`] may be inside a
/// runtime, where another must not be dropped if something fails.
fn listen(address: SocketAddr) -> io::Result<(Runtime, Intake, SocketAddr)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (intake, address) = {
        let _inside = runtime.enter();
        let listener = server::bind(address)?;
        let address = listener.local_addr()?;
        (Intake::alone(listener, CONNECTIONS)?, address)
    };
    Ok((runtime, intake, address))
}

/// What the sandbox's thread is given to serve with.
struct Shared {
    state: Arc<State>,
    port: u16,
    orders: Receiver<Order>,
}

fn run(
    runtime: &Runtime,
    intake: Intake,
    options: server::Options,
    Shared { state, port, orders }: Shared,
    mut phases: Phases,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            if request.uri().path().starts_with(control::PREFIX) {
                Ok::<_, Abort>(control::answer(request, &state).await)
            } else {
                call::answer(request, &state, port).await
            }
        }
    });
    LocalSet::new().block_on(runtime, async {
        let closing = phases.clone();
        tokio::select! {
            biased;
            // Nothing is drained: dropping the server drops its connections, and webhooks are cut.
            () = phases.reached(Phase::Closing) => {}
            _ = async {
                tokio::join!(
                    server::serve(intake, service, server::bare_refusal, options, closing),
                    webhooks::follow(orders),
                )
            } => {}
        }
    });
}

#[cfg(test)]
mod tests;
