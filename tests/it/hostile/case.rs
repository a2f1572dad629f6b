//! What a case is: bytes of a caller, how they come, and what must come of them.
//!
//! A request that must pass is told by what the upstream is to find; all else that holds for every
//! request is judged in `bench`, and need not be said again.

use crate::support::SMS;

/// A word that no head upstream may hold: it stands in values that must not pass.
pub(super) const SPOOFED: &str = "spoofed";

/// What an attacker wants to be taken for a request of its own.
pub(super) const SMUGGLED: &str = "GET /api/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The host of this proxy, and no further request.
pub(super) const OWN: &str = "Host: localhost\r\nConnection: close\r\n";

pub(super) struct Case {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) pace: Pace,
    pub(super) end: End,
    /// In their order; none means that the connection ends without a word.
    pub(super) replies: Vec<Reply>,
}

/// How the bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    AtOnce,
    /// In two writes, split at every place, on a connection each.
    EverySplit,
    ByteByByte,
    /// This many, and the others once the upstream has a part of the request.
    OnceUnderWay(usize),
}

/// What the caller does when it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It waits for the proxy to close.
    Stays,
    /// It closes its side at once.
    Goes,
    /// It closes its side when the replies that are due are here.
    LeavesAnswered,
    /// It closes its side after so many of them.
    LeavesAfter(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The upstream's own, to this.
    Passed(Meant),
    /// A problem of ours with this status and code; nothing of the request was sent.
    Refused(u16, &'static str),
    /// The same, and the upstream may have a part of the request, but never the whole.
    Broken(u16, &'static str),
    /// HTTP/2's own words.
    GoAway,
}

/// What the upstream is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meant {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
    /// Fields that must be there, each once.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Fields that must not be there.
    pub(super) absent: Vec<&'static str>,
}

impl Meant {
    pub(super) fn new(method: &str, target: &str, body: impl AsRef<[u8]>) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        let body = body.as_ref().to_vec();
        Self { method, target, body, fields: Vec::new(), absent: Vec::new() }
    }

    /// An SMS with this body.
    pub(super) fn post(body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", SMS, body)
    }

    pub(super) fn get(target: &str) -> Self {
        Self::new("GET", target, "")
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(super) fn without(mut self, name: &'static str) -> Self {
        self.absent.push(name);
        self
    }
}

/// The cases of a class.
#[derive(Default)]
pub(super) struct Cases(pub(super) Vec<Case>);

impl Cases {
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        replies: impl Into<Vec<Reply>>,
    ) -> &mut Case {
        let (name, bytes, replies) = (name.into(), bytes.into(), replies.into());
        self.0.push(Case { name, bytes, pace: Pace::AtOnce, end: End::Stays, replies });
        self.0.last_mut().unwrap()
    }

    pub(super) fn refused(
        &mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        (status, code): (u16, &'static str),
    ) -> &mut Case {
        self.add(name, bytes, [Reply::Refused(status, code)])
    }

    pub(super) fn passed(
        &mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        meant: Meant,
    ) -> &mut Case {
        self.add(name, bytes, [Reply::Passed(meant)])
    }
}

impl Case {
    pub(super) fn pace(&mut self, pace: Pace) -> &mut Self {
        self.pace = pace;
        self
    }

    pub(super) fn end(&mut self, end: End) -> &mut Self {
        self.end = end;
        self
    }
}

/// A head with these lines, each with its CRLF, and what follows it.
pub(super) fn request(
    line: impl AsRef<[u8]>,
    fields: impl AsRef<[u8]>,
    rest: impl AsRef<[u8]>,
) -> Vec<u8> {
    [line.as_ref(), b"\r\n", fields.as_ref(), b"\r\n", rest.as_ref()].concat()
}

/// An SMS with these lines besides the host.
pub(super) fn post(fields: impl AsRef<[u8]>, rest: impl AsRef<[u8]>) -> Vec<u8> {
    request(post_line(), [OWN.as_bytes(), fields.as_ref()].concat(), rest)
}

/// The same with a JSON body whose length is told.
pub(super) fn post_json(fields: impl AsRef<[u8]>) -> Vec<u8> {
    post([b"Content-Length: 2\r\n", fields.as_ref()].concat(), "{}")
}

pub(super) fn get(target: impl AsRef<[u8]>) -> Vec<u8> {
    let line = [b"GET ", target.as_ref(), b" HTTP/1.1"].concat();
    request(line, OWN, "")
}

pub(super) fn post_line() -> String {
    format!("POST {SMS} HTTP/1.1")
}

/// `name: value` with its CRLF.
pub(super) fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [name.as_ref(), b": ", value.as_ref(), b"\r\n"].concat()
}

/// Bytes as a name for a case.
pub(super) fn shown(bytes: impl AsRef<[u8]>) -> String {
    let text = bytes.as_ref().escape_ascii().to_string();
    if text.len() > 60 { format!("{}… ({} bytes)", &text[..50], text.len()) } else { text }
}
