//! One exchange with a proxy that runs on this machine, as an application or a probe has it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than this no answer is read: neither a probe's nor the sandbox's is near it.
const ENOUGH: usize = 16 * 1024;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends the request over a connection of its own, and answers what came within `patience`.
pub(super) async fn ask(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<(StatusCode, String), Failure> {
    request.headers_mut().insert(header::HOST, HeaderValue::try_from(address.to_string())?);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let exchange = async {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ENOUGH).collect().await?.to_bytes();
            Ok((status, printable(&body)))
        };
        tokio::join!(answer, connection).0
    };
    timeout(patience, exchange).await.map_err(|_| format!("no answer within {patience:?}"))?
}

/// Text for a terminal: whoever holds the port decides what comes, and must not decide what it does there.
fn printable(body: &[u8]) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(body).chars().map(shown).collect()
}
