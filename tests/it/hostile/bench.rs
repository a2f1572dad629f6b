//! A proxy before an upstream that keeps every byte it receives, and the judgement of both sides.
//!
//! The upstream answers what the strict reader takes for a whole request, on connections that it
//! keeps: what is left over of one request would be the beginning of the next one. Where bodies
//! break off on their way it closes after every answer instead, so that the end of all connections
//! is the end of all that can still come.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;

use super::case::{Case, End, Meant, Pace, Reply, SPOOFED, post_json};
use crate::support::raw_upstream::{self, Tls};
use crate::support::strict_request::{Progress, StrictRequest, read};
use crate::support::{Proxy, RawUpstream, Setup, canary, eventually};

/// Much longer than any of these takes, and short enough to fail by.
const DEADLINE: Duration = Duration::from_secs(8);

/// Fields that are for one hop only (RFC 9110, section 7.6.1) or answered by the proxy.
const HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "http2-settings",
    "x-request-id",
];

/// Fields that only the proxy writes, and that exist in this spelling or not at all.
const OURS: [&str; 6] =
    ["appkey", "authorization", "host", "content-type", "content-length", "transfer-encoding"];

pub(super) struct Bench {
    proxy: Proxy,
    wire: Arc<Wire>,
    host: String,
    passed: usize,
    broken: usize,
}

/// What the upstream has received.
#[derive(Default)]
struct Wire(Mutex<Received>);

#[derive(Default)]
struct Received {
    lines: Vec<Line>,
    /// Of all connections, in the order in which they became whole.
    requests: Vec<StrictRequest>,
    bytes: usize,
}

/// One connection.
#[derive(Default)]
struct Line {
    /// What is no whole request yet.
    rest: Vec<u8>,
    ended: bool,
    fault: Option<String>,
}

impl Wire {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap()
    }

    fn serve(&self, mut tls: Tls, keep: bool) {
        let line = {
            let mut received = self.received();
            received.lines.push(Line::default());
            received.lines.len() - 1
        };
        let mut piece = [0; 16 * 1024];
        loop {
            let length = match tls.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            let Some(answers) = self.take(line, &piece[..length], keep) else { break };
            raw_upstream::answer(&mut tls, &answers);
            if !keep && !answers.is_empty() {
                raw_upstream::close(tls);
                break;
            }
        }
        self.received().lines[line].ended = true;
    }

    /// The answers to what has become whole; `None` after what is no request.
    fn take(&self, line: usize, bytes: &[u8], keep: bool) -> Option<String> {
        let mut received = self.received();
        let Received { lines, requests, bytes: total } = &mut *received;
        *total += bytes.len();
        let line = &mut lines[line];
        line.rest.extend_from_slice(bytes);
        let mut answers = String::new();
        while !line.rest.is_empty() {
            match read(&line.rest) {
                Ok(Progress::Incomplete) => break,
                Ok(Progress::Whole(request, length)) => {
                    line.rest.drain(..length);
                    answers += &answer_to(&request, keep);
                    requests.push(request);
                }
                Err(why) => {
                    line.fault = Some(why);
                    return None;
                }
            }
        }
        Some(answers)
    }
}

/// Tells the target back, so that answers that change places are found.
fn answer_to(request: &StrictRequest, keep: bool) -> String {
    let connection = if keep { "keep-alive" } else { "close" };
    let body = if request.method == "HEAD" { "" } else { &request.target };
    let length = request.target.len();
    format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n{body}")
}

impl Bench {
    pub(super) fn start(keep: bool) -> Self {
        let wire = Arc::new(Wire::default());
        let upstream = {
            let wire = Arc::clone(&wire);
            RawUpstream::start(move |_, tls| wire.serve(tls, keep))
        };
        let host = upstream.origin().replace("https://", "");
        let proxy = Setup::new().start_before_raw(&upstream);
        Self { proxy, wire, host, passed: 0, broken: 0 }
    }

    /// What is wrong, if something is.
    pub(super) fn check(&mut self, case: &Case) -> Result<(), String> {
        let pieces = |at: usize| vec![&case.bytes[..at], &case.bytes[at..]];
        match case.pace {
            Pace::AtOnce => self.exchange(case, &[&case.bytes], false),
            Pace::ByteByByte => {
                self.exchange(case, &case.bytes.chunks(1).collect::<Vec<_>>(), false)
            }
            Pace::OnceUnderWay(at) => self.exchange(case, &pieces(at), true),
            Pace::EverySplit => (1..case.bytes.len()).try_for_each(|at| {
                self.exchange(case, &pieces(at), false)
                    .map_err(|why| format!("split at {at}: {why}"))
            }),
        }
    }

    /// An ordinary call is still served, and all that the upstream ever received is whole.
    pub(super) fn finish(mut self) -> Result<(), String> {
        let mut last = super::case::Cases::default();
        last.passed("an ordinary call afterwards", post_json(""), Meant::post("{}"));
        self.check(&last.0[0])?;
        let Self { proxy, wire, passed, broken, .. } = self;
        drop(proxy);
        eventually("every connection ends", || wire.received().lines.iter().all(|line| line.ended));
        let received = wire.received();
        let cut = received.lines.iter().filter(|line| !line.rest.is_empty()).count();
        if received.requests.len() != passed || cut > broken {
            let requests = &received.requests;
            return Err(format!("{} requests and {cut} broken ones: {requests:?}", requests.len()));
        }
        Ok(())
    }

    fn exchange(&mut self, case: &Case, pieces: &[&[u8]], wait: bool) -> Result<(), String> {
        let (bytes, requests) = {
            let received = self.wire.received();
            (received.bytes, received.requests.len())
        };
        let mut caller = Caller::connect(self.proxy.listen);
        for (number, piece) in pieces.iter().enumerate() {
            if wait && number > 0 {
                eventually("the upstream has a part", || self.wire.received().bytes > bytes);
            }
            caller.write(piece);
        }
        let awaited = match case.end {
            End::Stays => None,
            End::Goes => Some(0),
            End::LeavesAnswered => Some(case.replies.len()),
            End::LeavesAfter(count) => Some(count),
        };
        if let Some(awaited) = awaited {
            while replies(&caller.read, &case.replies)?.0 < awaited && caller.read_more()? {}
            caller.leave();
        }
        while caller.read_more()? {}
        if let Some(form) = canary::find(&caller.read) {
            return Err(format!("the answer holds a credential, {form}"));
        }
        let (answered, rest) = replies(&caller.read, &case.replies)?;
        if answered < case.replies.len() || !rest.is_empty() {
            return Err(format!("{answered} replies, then {:?}", String::from_utf8_lossy(rest)));
        }
        self.judge_wire(case, bytes, requests)
    }

    fn judge_wire(&mut self, case: &Case, bytes: usize, requests: usize) -> Result<(), String> {
        let meant: Vec<_> = case.replies.iter().filter_map(Reply::meant).collect();
        let broken = case.replies.iter().any(|reply| matches!(reply, Reply::Broken(..)));
        if broken {
            self.broken += 1;
            eventually("what broke off has ended", || {
                self.wire.received().lines.iter().all(|line| line.ended)
            });
        }
        self.passed += meant.len();
        let received = self.wire.received();
        if let Some(fault) = received.lines.iter().find_map(|line| line.fault.as_ref()) {
            return Err(format!("the upstream received what is no request: {fault}"));
        }
        if meant.is_empty() && !broken && received.bytes != bytes {
            return Err(format!("the upstream received {} bytes", received.bytes - bytes));
        }
        if !broken && received.lines.iter().any(|line| !line.ended && !line.rest.is_empty()) {
            return Err("something is left over behind a request".to_owned());
        }
        let found = &received.requests[requests..];
        if found.len() != meant.len() {
            return Err(format!("the upstream received {} requests: {found:?}", found.len()));
        }
        found.iter().zip(meant).try_for_each(|(found, meant)| {
            judge_request(found, meant, &self.host).map_err(|why| format!("{why}: {found:?}"))
        })
    }
}

impl Reply {
    fn meant(&self) -> Option<&Meant> {
        match self {
            Self::Passed(meant) => Some(meant),
            Self::Refused(..) | Self::Broken(..) | Self::GoAway => None,
        }
    }
}

/// What holds for every request that leaves, and for this one.
fn judge_request(found: &StrictRequest, meant: &Meant, host: &str) -> Result<(), String> {
    if (&found.method, &found.target) != (&meant.method, &meant.target) {
        return Err(format!("not {} {}", meant.method, meant.target));
    }
    if found.body != meant.body {
        return Err(format!("not the body {:?}", meant.body.escape_ascii().to_string()));
    }
    for (name, value) in
        [("appkey", canary::APP_KEY), ("authorization", canary::TOKEN), ("host", host)]
    {
        if found.values(name) != [value.as_bytes()] {
            return Err(format!("{name} is not ours, once"));
        }
    }
    for (name, value) in &meant.fields {
        if found.values(name) != [value.as_bytes()] {
            return Err(format!("{name} is not {value:?}, once"));
        }
    }
    for (name, value) in &found.fields {
        let lower = name.to_ascii_lowercase();
        let folded = fold(&lower);
        if HOP.iter().any(|hop| fold(hop) == folded) || meant.absent.contains(&lower.as_str()) {
            return Err(format!("{name} passed"));
        }
        if OURS.iter().any(|ours| fold(ours) == folded && *ours != lower) {
            return Err(format!("{name} passed, which some take for one of ours"));
        }
        if OURS.contains(&lower.as_str()) && found.values(name).len() > 1 {
            return Err(format!("{name} passed twice"));
        }
        if String::from_utf8_lossy(value).contains(SPOOFED) {
            return Err(format!("{name} passed with the caller's value"));
        }
    }
    Ok(())
}

fn fold(name: &str) -> String {
    name.replace(['-', '_'], "")
}

struct Caller {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// The proxy may have closed already, which is what some cases are about.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn leave(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether more can come.
    fn read_more(&mut self) -> Result<bool, String> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(format!("{error} after {:?}", String::from_utf8_lossy(&self.read))),
        }
    }
}

/// How many replies are here and as they should be, and what follows them.
fn replies<'b>(bytes: &'b [u8], due: &[Reply]) -> Result<(usize, &'b [u8]), String> {
    let mut rest = bytes;
    for (number, reply) in due.iter().enumerate() {
        let Some(length) = reply.read(rest)? else { return Ok((number, rest)) };
        rest = &rest[length..];
    }
    Ok((due.len(), rest))
}

impl Reply {
    /// Its length, if it is whole.
    fn read(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let (status, code, sent) = match self {
            Self::GoAway => return go_away(bytes),
            Self::Passed(meant) => return passed(bytes, meant),
            Self::Refused(status, code) => (*status, *code, &["no"][..]),
            Self::Broken(status, code) => (*status, *code, &["no", "maybe"][..]),
        };
        let Some((answer, length)) = Answer::read(bytes, false)? else { return Ok(None) };
        let whole = || format!("{:?}", String::from_utf8_lossy(&bytes[..length]));
        let problem: Value = serde_json::from_slice(&answer.body).map_err(|_| whole())?;
        let word = |name: &str| problem[name].as_str().unwrap_or_default();
        let proxy_status = match status {
            403 => "innopaas-proxy; error=http_request_denied",
            _ => "innopaas-proxy; error=http_request_error",
        };
        let well_formed = answer.field("content-type") == Some("application/problem+json")
            && answer.field("cache-control") == Some("no-store")
            && answer.field("proxy-status") == Some(proxy_status)
            && answer.field("x-request-id") == Some(word("request_id"))
            && problem["status"] == answer.status
            && ["title", "detail", "remedy"].iter().all(|name| !word(name).is_empty())
            && !answer.fields.iter().any(|(name, _)| name.starts_with("access-control-"));
        let due = (answer.status, word("code")) == (status, code) && sent.contains(&word("sent"));
        if due && well_formed { Ok(Some(length)) } else { Err(whole()) }
    }
}

fn passed(bytes: &[u8], meant: &Meant) -> Result<Option<usize>, String> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let interim = if bytes.starts_with(CONTINUE) { CONTINUE.len() } else { 0 };
    let head = meant.method == "HEAD";
    let Some((answer, length)) = Answer::read(&bytes[interim..], head)? else { return Ok(None) };
    let body = if head { "" } else { &meant.target };
    if answer.status == 200 && answer.body == body.as_bytes() {
        Ok(Some(interim + length))
    } else {
        Err(format!("not the upstream's answer: {:?}", String::from_utf8_lossy(bytes)))
    }
}

/// Empty SETTINGS, and GOAWAY with `HTTP_1_1_REQUIRED` (RFC 9113, sections 6.5 and 6.8).
fn go_away(bytes: &[u8]) -> Result<Option<usize>, String> {
    match bytes {
        [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, length, 7, frame @ ..] => {
            let Some(payload) = frame.get(5..5 + usize::from(*length)) else { return Ok(None) };
            match payload.get(4..8) {
                Some([0, 0, 0, 13]) => Ok(Some(18 + payload.len())),
                code => Err(format!("GOAWAY with the code {code:?}")),
            }
        }
        _ if bytes.len() < 13 => Ok(None),
        _ => Err(format!("no GOAWAY: {:?}", String::from_utf8_lossy(bytes))),
    }
}

/// An answer, read strictly.
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8], to_head: bool) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
        let wrong = || format!("no answer: {:?}", String::from_utf8_lossy(bytes));
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(status).ok_or_else(wrong)?;
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(": ")?;
                let plain = !name.contains(' ') && !line.contains(char::is_control);
                plain.then(|| (name.to_ascii_lowercase(), value.to_owned()))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(wrong)?;
        let mut answer = Self { status, fields, body: Vec::new() };
        if answer.field("transfer-encoding").is_some() {
            return Err(wrong());
        }
        let told: usize =
            answer.field("content-length").and_then(|l| l.parse().ok()).ok_or_else(wrong)?;
        let length = if to_head { 0 } else { told };
        let Some(body) = bytes[end + 4..].get(..length) else { return Ok(None) };
        answer.body = body.to_vec();
        Ok(Some((answer, end + 4 + length)))
    }

    /// The field's value, if it is there once.
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        values.next().filter(|_| values.next().is_none()).map(|(_, value)| value.as_str())
    }
}

/// `HTTP/1.1 200 OK`, or in HTTP/1.0.
fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.").filter(|rest| rest.starts_with(['0', '1']))?;
    rest.get(1..)?.strip_prefix(' ')?.get(..3)?.parse().ok()
}
