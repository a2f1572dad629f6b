//! The last thing that a peer hears, once hyper is done with its connection.
//!
//! Nobody owes it a place for that: it is asked to leave before all others.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::lines::Fault;
use super::stream::Stream;
use super::watch::Watch;

/// How long a peer is given to take an answer, and then to stop sending.
const AT_MOST: Duration = Duration::from_secs(1);

/// How a connection ends.
pub(super) enum Farewell {
    /// With nothing.
    Silent,
    /// The peer is still sending: reads on for a moment and throws away, so that it finds the
    /// answer before the reset.
    Linger,
    /// With an answer in hyper's place.
    Answer(Bytes),
    /// With a reset, which nobody takes for an orderly end.
    Reset,
}

impl Farewell {
    pub(super) async fn bid(self, mut stream: Stream, watch: &Rc<Watch>) {
        watch.parts();
        let parting = async {
            match self {
                Self::Silent => {}
                Self::Linger => linger(stream).await,
                Self::Answer(answer) => {
                    if let Ok(Ok(())) = timeout(AT_MOST, stream.write_all(&answer)).await {
                        linger(stream).await;
                    }
                }
                Self::Reset => stream.reset_on_close(),
            }
        };
        tokio::select! {
            () = parting => {}
            () = watch.asked_to_leave() => {}
        }
    }
}

async fn linger(mut stream: Stream) {
    const BYTES: u64 = 4 * 1024 * 1024;
    let reading = async {
        stream.shutdown().await?;
        copy(&mut stream.take(BYTES), &mut sink()).await
    };
    let _ = timeout(AT_MOST, reading).await;
}

/// The answer to what is no request. A client of HTTP/2 is told in its own words, and counted by
/// the service as any other.
pub(super) fn answer_to(fault: Fault, refuse: &dyn Fn(Fault) -> Bytes) -> Bytes {
    let answer = refuse(fault);
    if fault == Fault::Http2 { h2_goaway() } else { answer }
}

/// What a service says that has no words of its own.
pub fn bare_refusal(fault: Fault) -> Bytes {
    let status = match fault {
        Fault::Version => "505 HTTP Version Not Supported",
        Fault::TargetTooLong => "414 URI Too Long",
        Fault::HeadTooLarge => "431 Request Header Fields Too Large",
        Fault::Malformed(_) | Fault::Target(_) | Fault::Framing(_) | Fault::Http2 | Fault::Body => {
            "400 Bad Request"
        }
    };
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into()
}

/// Tells a client that began with HTTP/2's preface to use HTTP/1.1, in its own words: empty
/// SETTINGS, then GOAWAY with `HTTP_1_1_REQUIRED` (RFC 9113, sections 3.4, 6.8 and 7).
fn h2_goaway() -> Bytes {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HTTP_1_1_REQUIRED: u8 = 0xd;
    const WORDS: &[u8] = b"innopaas-proxy speaks HTTP/1.1";
    let length = u8::try_from(8 + WORDS.len()).unwrap_or(8);
    let goaway = [0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HTTP_1_1_REQUIRED];
    [SETTINGS, &goaway, WORDS].concat().into()
}
