//! What the program may rely on: a [`Config`] that cannot be wrong.
//!
//! `raw` gathers what was written, `validate` judges it, all problems at once. Secrets are never
//! in a configuration, only paths to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use error::{Place, Problem, Problems};
pub use listen::{Listen, ListenAddress, ListenTls, UnixSocket};
pub use path::{PathPattern, Rule};
pub use raw::{Entry, Raw, Written};
pub use refusal::{Breaker, Hold, Refusal, Sign};
pub use value::{Origin, duration};
pub use webhook::{Application, Duplicates, Route, Server, Target, Verify, Webhook};

mod error;
mod judge;
mod listen;
mod locate;
mod path;
mod raw;
mod refusal;
pub mod settings;
mod validate;
mod value;
mod webhook;

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The application's side.
    pub listen: Listen,
    /// InnoPaaS's side.
    pub upstream: Upstream,
    /// Where the pairs of secrets are.
    pub credentials: Credentials,
    /// How a refused pair is recognised, and what is done about it.
    pub refusal: Refusal,
    /// What may pass, and how it must look.
    pub policy: Policy,
    /// What is looked for in answers.
    pub guard: Guard,
    /// Bounds.
    pub limits: Limits,
    /// The receiver of webhooks, if there is one.
    pub webhook: Option<Webhook>,
    /// Health, status and metrics.
    pub admin: Admin,
    /// What happens between SIGTERM and the end.
    pub drain: Drain,
    /// What is written down.
    pub log: Log,
}

/// InnoPaaS's side.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The one place that calls go to.
    pub origin: Origin,
    /// The only authorities to trust; `None` means the platform's.
    pub ca_file: Option<PathBuf>,
    /// Whether `X-Request-Id` goes there as well.
    pub forward_request_id: bool,
    /// Private networks that it may be in.
    pub allow_private: Vec<IpNet>,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
    /// How many unused connections a worker keeps.
    pub pool_max_idle: usize,
}

/// How long each step towards InnoPaaS may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Looking up the name.
    pub resolve: Duration,
    /// Opening the TCP connection, all addresses together.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls_handshake: Duration,
    /// The head of the answer, counted from the last byte of the request.
    pub response_head: Duration,
    /// How long a body may stand still.
    pub body_progress: Duration,
}

/// Where the pair of secrets is.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Holds `app-key` and `authorization`.
    pub directory: PathBuf,
    /// The same for another application of InnoPaaS, if there is one to fall back on.
    pub standby: Option<PathBuf>,
    /// How often they are looked at.
    pub poll: Duration,
    /// Holds the key of fingerprints; `None` means a random one.
    pub fingerprint_key_file: Option<PathBuf>,
}

/// What may pass, and how it must look.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Lower-case host names a caller may use, the upstream's and the listener's among them.
    pub allowed_hosts: Vec<String>,
    /// What happens to a call that the rest of this section does not allow.
    pub mode: Mode,
    /// What may be called.
    pub allow: Vec<Rule>,
    /// Paths that take `multipart/form-data`.
    pub upload_paths: Vec<PathPattern>,
    /// Lower-case media types that are replaced instead of refused.
    pub rewrite: Vec<String>,
    /// Whether the older scheme's headers pass.
    pub keep_signature_headers: bool,
}

/// What happens to a call that the policy does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It passes and is reported.
    Observe,
}

/// What is looked for in answers.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    /// Whether bodies are searched for the pair.
    pub echo: bool,
}

/// Bounds on what applications may take up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads that serve calls.
    pub workers: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Size of a head, in bytes, in either direction.
    pub head_size: usize,
    /// Header lines, in either direction.
    pub header_count: usize,
    /// Largest request body, in bytes.
    pub json_body: u64,
    /// Largest request body on an upload path, in bytes.
    pub upload_body: u64,
    /// How long a head may take from its first byte.
    pub head_deadline: Duration,
    /// How long a body may stand still at the application.
    pub body_progress: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// Health, status and metrics.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    /// Any address of this host.
    pub address: SocketAddr,
    /// Whether the proxy counts as ready without a pair.
    pub ready_without_credentials: bool,
}

/// What happens between SIGTERM and the end.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// New calls are taken for this long.
    pub minimum: Duration,
    /// After this long, calls in flight are cut.
    pub maximum: Duration,
}

/// What is written down.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is worth a line.
    pub level: tracing::Level,
    /// Whether every call leaves a record.
    pub access: bool,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person to read.
    Text,
}

impl Config {
    /// Checks what was gathered.
    ///
    /// # Errors
    /// [`Problems`]: everything that is wrong, in the order of the settings.
    pub fn from_raw(raw: Raw) -> Result<Self, Problems> {
        validate::validate(raw)
    }
}
