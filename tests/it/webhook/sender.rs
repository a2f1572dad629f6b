//! A sender of webhooks that writes bytes as it pleases, in clear or over TLS, and reads answers to
//! the letter.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::support::call::connect;
use crate::support::canary;
use crate::support::strict_answer::{StrictAnswer, strict_answer};

/// A sender's side of a connection.
pub(super) struct Line {
    stream: Stream,
    /// What came and was not asked for yet.
    rest: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What the receiver said.
#[derive(Debug)]
pub(super) struct Answer(StrictAnswer);

/// The bytes of a request: its method and target, more lines of its head, its body.
pub(super) fn request(line: &str, fields: impl AsRef<[u8]>, body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let head = format!("{line} HTTP/1.1\r\nHost: hooks.example\r\n");
    [head.as_bytes(), fields.as_ref(), length.as_bytes(), body].concat()
}

/// The same in chunks of this size.
pub(super) fn chunked(line: &str, fields: &str, body: &[u8], size: usize) -> Vec<u8> {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: hooks.example\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()));
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

impl Line {
    pub(super) fn open(address: SocketAddr) -> Self {
        let stream = connect(address);
        stream.set_nodelay(true).unwrap();
        Self { stream: Stream::Plain(stream), rest: Vec::new() }
    }

    pub(super) fn open_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("hooks.example").unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let stream = StreamOwned::new(connection, connect(address));
        Self { stream: Stream::Tls(Box::new(stream)), rest: Vec::new() }
    }

    /// Sends a request and waits for its answer.
    #[track_caller]
    pub(super) fn call(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.answer()
    }

    #[track_caller]
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Fails if the receiver has closed.
    pub(super) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Waits for more to come.
    pub(super) fn wait(&mut self) {
        assert!(self.read());
    }

    /// The next answer.
    #[track_caller]
    pub(super) fn answer(&mut self) -> Answer {
        let head = self.head();
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            Some(line.strip_prefix("content-length:")?.trim().parse::<usize>().unwrap())
        });
        let length = head.len() + length.unwrap_or_default();
        while self.rest.len() < length {
            assert!(self.read(), "cut short: {:?}", String::from_utf8_lossy(&self.rest));
        }
        let raw: Vec<_> = self.rest.drain(..length).collect();
        canary::assert_absent("an answer to a webhook", &raw);
        Answer(strict_answer(&raw, false).unwrap())
    }

    /// These bytes are next.
    #[track_caller]
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        while self.rest.len() < bytes.len() {
            assert!(self.read());
        }
        assert_eq!(self.rest.drain(..bytes.len()).as_slice(), bytes);
    }

    /// The next answer, which is none yet (RFC 9110, section 15.2).
    #[track_caller]
    pub(super) fn interim(&mut self) -> String {
        let head = self.head();
        self.rest.drain(..head.len());
        head
    }

    /// All that comes until the receiver closes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        while self.read() {}
        std::mem::take(&mut self.rest)
    }

    /// Nothing more will be sent, and nothing be read.
    pub(super) fn leave(self) {
        let (Stream::Plain(stream), _) = (self.stream, self.rest) else { return };
        let _ = stream.shutdown(Shutdown::Both);
    }

    #[track_caller]
    fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.rest[..end + 4].to_vec()).unwrap();
            }
            assert!(self.read(), "no answer but {:?}", String::from_utf8_lossy(&self.rest));
        }
    }

    /// More of what comes; whether there was more.
    fn read(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        loop {
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut piece),
                Stream::Tls(stream) => stream.read(&mut piece),
            };
            match read {
                Ok(length) => {
                    self.rest.extend_from_slice(&piece[..length]);
                    return length > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// All values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.all(name)
    }

    #[track_caller]
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} came {} times", values.len());
        values.first().copied()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// All of it, but for the ids.
    pub(super) fn without_ids(&self) -> (u16, Vec<(String, String)>, Value) {
        let mut headers = self.0.headers.clone();
        // An id may be longer than another.
        headers.retain(|(name, _)| !["x-request-id", "content-length"].contains(&name.as_str()));
        let mut body = self.json();
        body["request_id"] = Value::Null;
        (self.status(), headers, body)
    }

    /// Asserts that this is a problem: its status, code, and whether the event was sent.
    #[track_caller]
    pub(super) fn assert_problem(&self, status: u16, code: &str, sent: &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((self.status(), problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["sent"], sent, "{problem}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert!(self.header("proxy-status").unwrap().starts_with("innopaas-proxy; error="));
        for words in ["type", "title", "detail", "remedy"] {
            assert!(problem[words].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
}
