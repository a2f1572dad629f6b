//! Why a call is not answered by InnoPaaS: the one place where every reason ends, each with its
//! code and with what is known of the bytes that left. `answer` has the words.

use std::time::Duration;

use super::content_type::Refused;
use crate::server::Fault;
use crate::telemetry::code::{Code, Outcome, Sent};
use crate::upstream::{self, BodyFault, Kind};

/// Why a call is not answered by InnoPaaS.
#[derive(Debug)]
pub enum Reject {
    /// What came is no request; why.
    Malformed(&'static str),
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The target is too long.
    TargetTooLong,
    /// The head has too many bytes or lines.
    HeadTooLarge,
    /// The caller shows no token, a wrong one, or several.
    Caller,
    /// CONNECT or TRACE.
    Method,
    /// The target is none that can be passed on; why.
    Target(&'static str),
    /// `Host` is not what RFC 9112 demands; why.
    HostInvalid(&'static str),
    /// The host is not one of ours.
    HostRefused,
    /// A browser sends it; the header that tells so.
    Browser(&'static str),
    /// The policy does not allow it.
    Policy,
    /// The body's length is ambiguous; why.
    Framing(&'static str),
    /// An upgrade that cannot be granted.
    Upgrade,
    /// An expectation that cannot be met.
    Expectation,
    /// The content type is refused.
    ContentType(Refused),
    /// There is no pair to send; why.
    CredentialsMissing(String),
    /// InnoPaaS refused the pair again and again, and is not asked now.
    CredentialRefused {
        /// How often in a row.
        refusals: u32,
        /// How long until the next call is let through.
        wait: Duration,
    },
    /// InnoPaaS gave no answer, or the caller's body failed on its way there.
    Unanswered(upstream::Error),
}

impl From<upstream::Error> for Reject {
    fn from(error: upstream::Error) -> Self {
        Self::Unanswered(error)
    }
}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(why) => Self::Malformed(why),
            Fault::Target(why) => Self::Target(why),
            Fault::Framing(why) => Self::Framing(why),
            Fault::Version => Self::Version,
            Fault::TargetTooLong => Self::TargetTooLong,
            Fault::HeadTooLarge => Self::HeadTooLarge,
            // This one is answered in HTTP/2's words, and only counted here.
            Fault::Http2 => Self::Malformed("it is HTTP/2"),
            Fault::Body => Self::Malformed("its body is malformed"),
        }
    }
}

impl Reject {
    /// The stable word.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::RequestMalformed,
            Self::Version => Code::VersionUnsupported,
            Self::TargetTooLong => Code::TargetTooLong,
            Self::HeadTooLarge => Code::HeadTooLarge,
            Self::Caller => Code::CallerRefused,
            Self::Method => Code::MethodRefused,
            Self::Target(_) => Code::TargetRefused,
            Self::HostInvalid(_) => Code::HostInvalid,
            Self::HostRefused => Code::HostRefused,
            Self::Browser(_) => Code::BrowserRefused,
            Self::Policy => Code::PolicyRefused,
            Self::Framing(_) => Code::FramingAmbiguous,
            Self::Upgrade => Code::UpgradeRefused,
            Self::Expectation => Code::ExpectationRefused,
            Self::ContentType(_) => Code::ContentTypeRefused,
            Self::CredentialsMissing(_) => Code::CredentialsMissing,
            Self::CredentialRefused { .. } => Code::CredentialRefused,
            Self::Unanswered(error) => match error.kind {
                Kind::ResolveFailed => Code::ResolveFailed,
                Kind::ResolveTimeout => Code::ResolveTimeout,
                Kind::AddressRefused => Code::AddressRefused,
                Kind::ConnectRefused => Code::ConnectRefused,
                Kind::ConnectFailed => Code::ConnectFailed,
                Kind::ConnectTimeout => Code::ConnectTimeout,
                Kind::CertificateRefused => Code::CertificateRefused,
                Kind::TlsFailed => Code::TlsFailed,
                Kind::TlsTimeout => Code::TlsTimeout,
                Kind::Closed => Code::UpstreamClosed,
                Kind::UploadStalled => Code::UploadStalled,
                Kind::ResponseTimeout => Code::ResponseTimeout,
                Kind::ResponseInvalid => Code::ResponseInvalid,
                Kind::ResponseTooLarge => Code::ResponseTooLarge,
                Kind::Body(BodyFault::TooLarge) => Code::BodyTooLarge,
                Kind::Body(BodyFault::Stalled) => Code::BodyTimeout,
                Kind::Body(BodyFault::Broken) => Code::BodyBroken,
            },
        }
    }

    /// Whether a byte of the request may have left.
    pub(super) fn sent(&self) -> Sent {
        match self {
            Self::Unanswered(error) => error.sent,
            Self::Malformed(_)
            | Self::Version
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::Caller
            | Self::Method
            | Self::Target(_)
            | Self::HostInvalid(_)
            | Self::HostRefused
            | Self::Browser(_)
            | Self::Policy
            | Self::Framing(_)
            | Self::Upgrade
            | Self::Expectation
            | Self::ContentType(_)
            | Self::CredentialsMissing(_)
            | Self::CredentialRefused { .. } => Sent::No,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let failed = matches!(self, Self::Unanswered(e) if !matches!(e.kind, Kind::Body(_)));
        if failed { Outcome::Failed } else { Outcome::Rejected }
    }

    /// The cause in words for the operator; nothing of a message is in it.
    pub(super) fn cause(&self) -> &str {
        match self {
            Self::Malformed(why)
            | Self::Target(why)
            | Self::HostInvalid(why)
            | Self::Browser(why)
            | Self::Framing(why) => why,
            Self::CredentialsMissing(why) => why,
            Self::Unanswered(error) => &error.cause,
            Self::Version
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::Caller
            | Self::Method
            | Self::HostRefused
            | Self::Policy
            | Self::Upgrade
            | Self::Expectation
            | Self::ContentType(_)
            | Self::CredentialRefused { .. } => "",
        }
    }
}
