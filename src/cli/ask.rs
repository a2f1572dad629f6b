//! One exchange with a proxy that runs on this machine, as an application or a probe has it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than this is not read of an answer: the status is what decides.
const ENOUGH: usize = 64 * 1024;

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
            let mut body = response.into_body();
            let mut words = Vec::new();
            while let Some(frame) = body.frame().await
                && words.len() < ENOUGH
            {
                words.extend_from_slice(frame?.data_ref().map_or(&[], |data| &data[..]));
            }
            words.truncate(ENOUGH);
            Ok((status, printable(&words)))
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
