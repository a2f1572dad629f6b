//! A caller: what an application's HTTP client does, and what one does that means harm.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::{PATIENCE, canary};

/// A call to be made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let method = method.parse().unwrap();
        Self { method, target: target.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// JSON, without a word on its type.
    pub(crate) fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new("POST", target) }
    }

    /// The SMS that all the tests send.
    pub(crate) fn sms() -> Self {
        Self::post(super::SMS, r#"{"mobile":"8613800000000","msg":"你好 4711"}"#)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the call on a connection of its own.
    pub(crate) fn to(self, address: SocketAddr) -> Answer {
        block_on(async {
            let mut connection = Connection::open(address).await;
            connection.call(self).await
        })
    }

    fn request(self, address: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", address.to_string());
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body)).unwrap()
    }
}

/// A kept-alive connection.
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Self { address, sender, driver }
    }

    pub(crate) async fn call(&mut self, call: Call) -> Answer {
        self.try_call(call).await.unwrap()
    }

    /// Fails if the connection ends before the answer does.
    pub(crate) async fn try_call(&mut self, call: Call) -> hyper::Result<Answer> {
        assert!(!self.driver.is_empty());
        let request = call.request(self.address);
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer { status: head.status, headers: head.headers, body })
        };
        let answer = timeout(PATIENCE, exchange).await.expect("an answer in time")?;
        canary::assert_absent("an answer", &answer.body);
        canary::assert_absent("an answer's head", format!("{:?}", answer.headers).as_bytes());
        Ok(answer)
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that this is a problem of the proxy's: its status, code, and whether it was sent.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str, sent: &str) {
        let problem = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!((self.status.as_u16(), problem["code"].as_str()), (status, Some(code)));
        assert_eq!(problem["sent"], sent, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(self.header("proxy-status").unwrap().starts_with("innopaas-proxy; error="));
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        for words in ["type", "title", "detail", "remedy"] {
            assert!(problem[words].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
}

/// Writes bytes as they are and returns everything that comes back until the other side closes.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    read_to_end(stream)
}

/// A connection for a caller that writes as it pleases.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the other side closes, or resets.
pub(crate) fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => answer.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    canary::assert_absent("a raw answer", &answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Runs a caller's side.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(Duration::ZERO);
    result
}
