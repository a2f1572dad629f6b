//! Why a call got no answer, by phase.

use std::fmt;

use crate::telemetry::code::Sent;

/// A call that got no answer.
#[derive(Debug)]
pub struct Error {
    /// What happened.
    pub kind: Kind,
    /// Whether a byte of the request may have left.
    pub sent: Sent,
    /// The cause in the words of the system, TLS or HTTP; no byte of a message is in it.
    pub cause: String,
}

/// What happened. Each is answered, counted or repeated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name could not be looked up.
    ResolveFailed,
    /// The lookup took too long.
    ResolveTimeout,
    /// No address is one that may be connected to.
    AddressRefused,
    /// Every address refused the connection.
    ConnectRefused,
    /// No address could be connected to, for another reason.
    ConnectFailed,
    /// Connecting took too long.
    ConnectTimeout,
    /// The certificate is not acceptable.
    CertificateRefused,
    /// The handshake failed for another reason.
    TlsFailed,
    /// The handshake took too long.
    TlsTimeout,
    /// The connection ended before the answer began.
    Closed,
    /// The upstream stopped taking the request's body.
    UploadStalled,
    /// The answer did not begin in time.
    ResponseTimeout,
    /// The answer is not HTTP/1.1, or has no single meaning.
    ResponseInvalid,
    /// The answer's head has more bytes or lines than the limits.
    ResponseTooLarge,
    /// The caller's own body failed on the way.
    Body(BodyFault),
}

/// What the caller did to its own body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// Sent more than the limit.
    TooLarge,
    /// Stopped sending.
    Stalled,
    /// Closed the connection in the middle, or sent what is not a body.
    Broken,
}

impl Error {
    /// An error before any byte of the request left.
    pub fn unsent(kind: Kind, cause: impl fmt::Display) -> Self {
        Self { kind, sent: Sent::No, cause: cause.to_string() }
    }

    /// An error in the middle of an exchange.
    pub(super) fn new(kind: Kind, sent: Sent, cause: impl fmt::Display) -> Self {
        Self { kind, sent, cause: cause.to_string() }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (sent: {}): {}", self.kind, self.sent, self.cause)
    }
}
