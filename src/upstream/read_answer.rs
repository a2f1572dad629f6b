//! Reads a whole answer from bytes that are here already, by the same steps as the exchange does. For
//! tests and fuzz targets alone.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};

use super::answer_body::Piece;
use super::answer_head::{HeadFault, HeadReader};

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the final answer.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// All of it, or what there was.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
    /// Whether the connection could carry another call.
    pub keeps_open: bool,
    /// Bytes that followed.
    pub surplus: usize,
}

/// Reads an answer that comes in these pieces, before the connection ends in good order; `None` if
/// the head is not whole.
///
/// # Errors
/// Why it is refused.
pub fn read_answer<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    to_head: bool,
) -> Result<Option<Answer>, &'static str> {
    const HEAD_SIZE: usize = 8 * 1024;
    const HEADER_COUNT: usize = 32;
    let mut reader = HeadReader::new(HEAD_SIZE, HEADER_COUNT, to_head);
    let (mut bytes, mut head, mut body) = (BytesMut::new(), None, Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        if head.is_none() {
            head = reader.take(&mut bytes).map_err(|fault| match fault {
                HeadFault::TooLarge => "too large",
                HeadFault::Invalid(why) => why,
            })?;
        }
        let Some(head) = &mut head else { continue };
        while let Piece::Data(data) = head.body.next(&mut bytes).map_err(|_| "malformed chunks")? {
            body.extend_from_slice(&data);
        }
    }
    Ok(head.map(|head| Answer {
        status: head.status,
        headers: head.headers,
        body,
        whole: head.body.is_over() || head.body.ends_with_connection(),
        keeps_open: head.keeps_open && head.body.is_over() && bytes.is_empty(),
        surplus: bytes.len(),
    }))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::TokioIo;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What hyper's client makes of the same bytes; `None` if it refuses them, or they break off.
    async fn hypers(bytes: &[u8], to_head: bool) -> Option<(StatusCode, HeaderMap, Vec<u8>)> {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(connection);
        let request = http::Request::builder()
            .method(if to_head { "HEAD" } else { "GET" })
            .header("host", "localhost")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request);
        let written = async {
            // Not before the request, or hyper would take it for something unasked.
            tokio::io::AsyncReadExt::read(&mut far, &mut [0; 1024]).await.unwrap();
            far.write_all(bytes).await.unwrap();
            far.shutdown().await.unwrap();
        };
        let (answer, ()) = tokio::join!(answer, written);
        let (head, body) = answer.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes().to_vec();
        Some((head.status, head.headers, body))
    }

    fn lines() -> impl Strategy<Value = String> {
        let line = select(vec![
            "Content-Length: 5",
            "Content-Length: 0",
            "content-length: 3",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: Chunked",
            "transfer-encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Connection: close",
            "Connection: keep-alive, x-a",
            "X-A: b",
            "X-A:",
            "X-A:  \tb\t ",
            "X-A : b",
            " folded: b",
            "X-\u{e4}: b",
            "X-A: \u{e4}",
            "Set-Cookie: a=b",
            "Trailer: X-T",
        ]);
        vec((line, select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n"])), 0..4)
            .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end]).collect())
    }

    fn answer() -> impl Strategy<Value = Vec<u8>> {
        let status = select(vec![
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 204 No Content",
            "HTTP/1.1 304 Not Modified",
            "HTTP/1.1 401 \u{e4}",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
            "HTTP/1.1 101 Switching",
            "HTTP/2 200 OK",
            "\r\nHTTP/1.1 200 OK",
        ]);
        let body = select(vec![
            "hello",
            "hel",
            "",
            "hello, and more",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-T: c\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\nsurplus",
            "5\nhello\n0\n\n",
            "5\r\nhell\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nx",
            "0\r\nX-T: c",
            "5 \r\nhello\r\n0\r\n\r\n",
        ]);
        (status, lines(), body)
            .prop_map(|(status, lines, body)| format!("{status}\r\n{lines}\r\n{body}").into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_accepted_is_what_hyper_s_client_reads(
            bytes in answer(), to_head in any::<bool>(),
        ) {
            let Ok(Some(ours)) = read_answer([&*bytes], to_head) else { return Ok(()) };
            if !ours.whole {
                return Ok(());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let theirs = runtime.block_on(hypers(&bytes, to_head));
            prop_assert_eq!(theirs, Some((ours.status, ours.headers, ours.body)));
        }

        #[test]
        fn it_does_not_matter_in_what_pieces_an_answer_comes(
            bytes in answer(), to_head in any::<bool>(), size in 1_usize..40,
        ) {
            let pieces = read_answer(bytes.chunks(size), to_head);
            prop_assert_eq!(pieces, read_answer([&*bytes], to_head));
        }
    }

    #[test]
    fn usual_answers_are_read_and_keep_the_connection() {
        let read = |text: &str| read_answer([text.as_bytes()], false).unwrap().unwrap();
        let chunked =
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let known = read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        for answer in [chunked, known] {
            assert_eq!(answer.body, b"abc");
            assert!(answer.whole && answer.keeps_open);
        }
        for text in [
            "HTTP/1.1 200 OK\r\n\r\nabc",
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: X-A, CLOSE\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\r\n",
        ] {
            let answer = read(text);
            assert!(answer.whole && !answer.keeps_open, "{text}");
        }
    }
}
