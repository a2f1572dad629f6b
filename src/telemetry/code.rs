//! The stable words for what became of a call. Dashboards, alerts and applications rely on them.

use std::fmt;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it stands in logs, metrics and error bodies.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Whether a byte of the request may have left for InnoPaaS.
    Sent {
        /// No byte left: the call can be made again without a second message.
        No "no",
        /// Some bytes left: whether InnoPaaS acted on them is not known.
        Maybe "maybe",
    }
}

words! {
    /// What became of a call.
    Outcome {
        /// InnoPaaS's own answer went back, whatever it says.
        Answered "answered",
        /// The request was at fault, or there was no pair to send it with.
        Rejected "rejected",
        /// InnoPaaS gave no answer.
        Failed "failed",
        /// The caller went away before it had its answer.
        ClientGone "client_gone",
        /// An answer had begun and broke off, or the call was cut by a defect or the end of the drain.
        Cut "cut",
    }
}

words! {
    /// What became of a webhook.
    EventOutcome {
        /// The application answered, whatever it says, and its answer went back.
        Delivered "delivered",
        /// No byte of it reached the application.
        Undelivered "undelivered",
        /// It left for the application, and whether that acted on it is not known.
        Unknown "unknown",
        /// It could not be verified.
        Refused "refused",
        /// No route fits it, and there is no default.
        Unroutable "unroutable",
        /// Its method or its body is at fault.
        Rejected "rejected",
        /// The application had acknowledged it before.
        Duplicate "duplicate",
        /// Its sender went away before it had an answer, or the end of the drain cut it.
        SenderGone "sender_gone",
    }
}

words! {
    /// Why a webhook could not be verified.
    Unverified {
        /// It shows neither header.
        Missing "missing",
        /// It shows a header more than once.
        Several "several",
        /// `UserName` is that of a pair, `Authorization` is not.
        Authorization "authorization",
        /// `Authorization` is that of a pair, `UserName` is not.
        UserName "user_name",
        /// Neither is that of a pair.
        Unknown "unknown",
        /// The headers are right, and `receiver` or `pswd` in the body is not.
        Body "body",
    }
}

words! {
    /// Where an answer repeated a credential.
    EchoPlace {
        /// In the name or a value of a header, which was dropped.
        Header "header",
        /// In the body, where it was masked.
        Body "body",
    }
}

words! {
    /// Which of the two pairs.
    Pair {
        /// The pair of `credentials.directory`.
        Primary "primary",
        /// The pair of another InnoPaaS application, of `credentials.standby.directory`.
        Standby "standby",
    }
}

words! {
    /// With what a refused call was sent once more.
    Repeat {
        /// With a newer pair, that was in the files already.
        Newer "newer",
        /// With the standby pair.
        Standby "standby",
        /// With a newer pair, for which it waited.
        Held "held",
    }
}

words! {
    /// How a call's wait for a newer pair ended.
    Held {
        /// The pair came.
        Released "released",
        /// It did not come in time.
        Expired "expired",
        /// There was no wait: as many calls waited as may.
        NoPlace "no_place",
        /// There was no wait: the waiting calls kept as many bytes as they may.
        NoRoom "no_room",
        /// The caller went away, or the drain ended.
        Gone "gone",
    }
}

words! {
    /// Why an answer could not be looked into for a code.
    Unread {
        /// It is not JSON by its own word.
        Type "type",
        /// It is compressed.
        Encoded "encoded",
        /// It is larger than 16 KiB.
        TooLarge "too_large",
        /// It did not come whole within `refusal.peek_wait`.
        TooLate "too_late",
        /// It broke off, or is no envelope.
        NoEnvelope "no_envelope",
    }
}

words! {
    /// Why the proxy answered itself.
    Code {
        /// What came has not the form of a request.
        RequestMalformed "request_malformed",
        /// Neither HTTP/1.0 nor HTTP/1.1.
        VersionUnsupported "version_unsupported",
        /// The target is longer than 8 KiB.
        TargetTooLong "target_too_long",
        /// The head has more bytes or lines than the limits.
        HeadTooLarge "head_too_large",
        /// The caller did not show a token that it must show.
        CallerRefused "caller_refused",
        /// The method is CONNECT or TRACE.
        MethodRefused "method_refused",
        /// The target is no path in normal form, nor an absolute form of one.
        TargetRefused "target_refused",
        /// `Host` is missing, doubled or malformed.
        HostInvalid "host_invalid",
        /// `Host` or the absolute target names somebody else.
        HostRefused "host_refused",
        /// A browser sends it.
        BrowserRefused "browser_refused",
        /// `policy.allow` does not list the method and the path.
        PolicyRefused "policy_refused",
        /// The body's length is not told in one unambiguous way.
        FramingAmbiguous "framing_ambiguous",
        /// `Upgrade` to anything but h2c.
        UpgradeRefused "upgrade_refused",
        /// `Expect` with anything but `100-continue`.
        ExpectationRefused "expectation_refused",
        /// The content type is not the one that this path takes.
        ContentTypeRefused "content_type_refused",
        /// The body is larger than the limit.
        BodyTooLarge "body_too_large",
        /// The caller stopped sending its body.
        BodyTimeout "body_timeout",
        /// The caller's body broke off or was malformed.
        BodyBroken "body_broken",
        /// No pair of credentials was loaded yet.
        CredentialsMissing "credentials_missing",
        /// InnoPaaS refused the pair again and again, and is not asked for now.
        CredentialRefused "credential_refused",
        /// The upstream's name could not be looked up.
        ResolveFailed "resolve_failed",
        /// Looking up the upstream's name took too long.
        ResolveTimeout "resolve_timeout",
        /// The upstream's name leads to addresses that must not be connected to.
        AddressRefused "address_refused",
        /// The upstream refused the TCP connection.
        ConnectRefused "connect_refused",
        /// The TCP connection could not be opened for another reason.
        ConnectFailed "connect_failed",
        /// Opening the TCP connection took too long.
        ConnectTimeout "connect_timeout",
        /// The upstream's certificate is not acceptable.
        CertificateRefused "certificate_refused",
        /// The TLS handshake failed for another reason.
        TlsFailed "tls_failed",
        /// The TLS handshake took too long.
        TlsTimeout "tls_timeout",
        /// The upstream closed the connection before it answered.
        UpstreamClosed "upstream_closed",
        /// The upstream stopped taking the request's body.
        UploadStalled "upload_stalled",
        /// The upstream's answer did not begin in time.
        ResponseTimeout "response_timeout",
        /// The upstream's answer is not valid HTTP/1.1, or has two meanings.
        ResponseInvalid "response_invalid",
        /// The head of the upstream's answer has more bytes or lines than the limits.
        ResponseTooLarge "response_too_large",
        /// A webhook could not be verified.
        EventRefused "event_refused",
        /// No route fits a webhook, and there is no default.
        EventUnroutable "event_unroutable",
        /// No byte of a webhook reached the application.
        ApplicationUnreachable "application_unreachable",
        /// A webhook left for the application, which did not answer in time.
        ApplicationTimeout "application_timeout",
        /// A webhook left for the application, which broke the connection off.
        ApplicationClosed "application_closed",
    }
}
