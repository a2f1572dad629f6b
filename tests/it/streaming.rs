//! Large bodies pass through without being held.

use std::io::{Read, Write};

use innopaas_proxy::sandbox::media_byte;

use crate::support::call::connect;
use crate::support::{Call, Proxy, UPLOAD, eventually};

const SIZE: usize = 100_000_000;
/// Resident growth that is allowed, in kB.
const ALLOWED: u64 = 20_000;

#[test]
fn a_hundred_megabytes_up_are_not_held() {
    let (proxy, sandbox) = Proxy::start();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let before = proxy.status_kb("VmRSS:");
    let open = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\r\n";
    let end = "\r\n--b--\r\n";
    let mut stream = connect(proxy.listen);
    write!(
        stream,
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n{open}",
        SIZE + open.len() + end.len()
    )
    .unwrap();
    let piece = vec![b'x'; 100_000];
    for _ in 0..SIZE / piece.len() {
        stream.write_all(&piece).unwrap();
    }
    stream.write_all(end.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let grown = proxy.status_kb("VmHWM:") - before;
    assert!(grown < ALLOWED, "grew by {grown} kB");
    assert_eq!(
        usize::try_from(sandbox.calls().records[1].body_bytes),
        Ok(SIZE + open.len() + end.len())
    );
}

#[test]
fn a_hundred_megabytes_down_are_not_held_even_if_the_caller_is_slow_to_read() {
    let (proxy, _sandbox) = Proxy::start();
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let before = proxy.status_kb("VmRSS:");
    let mut stream = connect(proxy.listen);
    write!(
        stream,
        "GET /api/whatsapp/v3/media/1?bytes={SIZE} HTTP/1.1\r\nHost: localhost\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    // Until the answer has filled every buffer on the way, nobody reads.
    eventually("it is on its way", || proxy.metric("innopaas_proxy_upstream_connections") == 1);
    let (mut last, mut still) = (0, 0);
    eventually("the buffers are full", || {
        let now = proxy.status_kb("VmRSS:");
        still = if std::mem::replace(&mut last, now) == now { still + 1 } else { 0 };
        still > 50
    });
    let mut all = Vec::with_capacity(SIZE + 1024);
    stream.read_to_end(&mut all).unwrap();
    let head = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = &all[head..];
    assert_eq!(body.len(), SIZE);
    assert!(body.iter().zip(0..).all(|(&byte, position)| byte == media_byte(position)));
    let grown = proxy.status_kb("VmHWM:") - before;
    assert!(grown < ALLOWED, "grew by {grown} kB");
}
