//! A call that is sent once more after a refusal: that its body is the same, when it is not sent
//! again, and what is said when the second time ends without an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::support::call::{connect, read_to_end};
use crate::support::raw_upstream::{Tls, answer, close};
use crate::support::strict_request::{self, Progress, StrictRequest};
use crate::support::{
    Answer, Call, Mount, Proxy, RawUpstream, SMS, Setup, canary, eventually, raw,
};

const REFUSAL: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\
    Content-Length: 14\r\n\r\n{\"code\":\"101\"}";
const SUCCESS: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 12\r\n\r\n{\"code\":\"0\"}";

/// The requests that came whole, in their order.
type Requests = Arc<Mutex<Vec<StrictRequest>>>;

/// An upstream that refuses what comes with the primary pair, and gives the rest to `then`.
fn refusing(then: impl Fn(&mut Tls) + Send + Sync + 'static) -> (RawUpstream, Requests) {
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let upstream = RawUpstream::start(move |_, mut tls| {
        while let Some(request) = read_strictly(&mut tls) {
            let refused = is_primary(&request);
            seen.lock().unwrap().push(request);
            if refused { answer(&mut tls, REFUSAL) } else { then(&mut tls) }
        }
    });
    (upstream, requests)
}

fn read_strictly(tls: &mut Tls) -> Option<StrictRequest> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match strict_request::read(&bytes).unwrap() {
            Progress::Whole(request, length) => {
                assert_eq!(length, bytes.len(), "more than one request");
                return Some(request);
            }
            Progress::Incomplete => match tls.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(length) => bytes.extend_from_slice(&piece[..length]),
            },
        }
    }
}

fn is_primary(request: &StrictRequest) -> bool {
    match request.values("appkey")[..] {
        [key] => key == canary::APP_KEY.as_bytes(),
        _ => panic!("{request:?}"),
    }
}

/// With a standby, to which nothing moves: one path alone, and no time passes.
fn with_standby(upstream: &RawUpstream, settings: &[&str]) -> (Proxy, Mount) {
    let standby = Mount::of(&canary::marked_pair("S"));
    let setup = Setup::new()
        .set(&format!("credentials.standby.directory={}", standby.path().display()))
        .set("refusal.confirm=1h");
    let setup = settings.iter().fold(setup, |setup, setting| setup.set(setting));
    (setup.start_before_raw(upstream), standby)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"0123456789abcdefghijklmnopqrstuvwxyz"[at % 36]).collect()
}

fn head(framing: &str) -> String {
    format!("POST {SMS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}\r\n\r\n")
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [head(&format!("Content-Length: {}", body.len())).as_bytes(), body].concat()
}

/// In chunks of an odd size.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut request = head("Transfer-Encoding: chunked").into_bytes();
    for chunk in body.chunks(7001) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend_from_slice(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

fn drain(requests: &Requests) -> Vec<StrictRequest> {
    std::mem::take(&mut *requests.lock().unwrap())
}

#[track_caller]
fn assert_repeated_whole(requests: &[StrictRequest], body: &[u8]) {
    let [first, second] = requests else { panic!("{} requests", requests.len()) };
    assert!(is_primary(first) && !is_primary(second));
    assert_eq!(second.values("appkey"), [format!("{}S", canary::APP_KEY).as_bytes()]);
    assert_eq!(second.values("authorization"), [format!("{}S", canary::TOKEN).as_bytes()]);
    assert!(first.body == body && second.body == body, "the body is the same");
    let same = |request: &StrictRequest| (request.method.clone(), request.target.clone());
    assert_eq!(same(first), same(second));
}

#[test]
fn a_body_of_up_to_the_buffer_is_sent_again_whole_and_a_larger_one_is_not() {
    let (upstream, requests) = refusing(|tls| answer(tls, SUCCESS));
    let (proxy, _standby) = with_standby(&upstream, &[]);
    for length in [0, 1, 16 * 1024, 16 * 1024 + 1, 40_000, 65_535, 65_536, 65_537, 100_000] {
        let body = bytes(length);
        for (framing, request) in [("length", with_length(&body)), ("chunked", chunked(&body))] {
            let got = raw(proxy.listen, &request);
            let requests = drain(&requests);
            if length <= 65_536 {
                assert!(got.starts_with("HTTP/1.1 200 "), "{length} {framing}: {got}");
                assert_repeated_whole(&requests, &body);
            } else {
                assert!(got.starts_with("HTTP/1.1 401 "), "{length} {framing}: {got}");
                assert!(got.ends_with("\r\n\r\n{\"code\":\"101\"}"), "{got}");
                assert_eq!(requests.len(), 1);
            }
        }
    }
    assert_eq!(proxy.metric(r#"innopaas_proxy_refusal_repeats_total{with="standby"}"#), 14);
}

#[test]
fn the_buffer_is_a_setting() {
    let (upstream, requests) = refusing(|tls| answer(tls, SUCCESS));
    for (buffer, length, repeated) in [("0B", 0, true), ("0B", 1, false), ("1KiB", 1024, true)] {
        let (proxy, _standby) = with_standby(&upstream, &[&format!("refusal.buffer={buffer}")]);
        let status = proxy.call(Call::post(SMS, bytes(length))).status;
        assert_eq!((status == 200, drain(&requests).len() == 2), (repeated, repeated), "{buffer}");
    }
}

#[test]
fn an_empty_body_in_chunks_is_sent_again_with_a_length() {
    let (upstream, requests) = refusing(|tls| answer(tls, SUCCESS));
    let (proxy, _standby) = with_standby(&upstream, &[]);
    assert!(raw(proxy.listen, &chunked(b"")).starts_with("HTTP/1.1 200 "));
    let requests = drain(&requests);
    assert_repeated_whole(&requests, b"");
    assert_eq!(requests[1].values("content-length"), [b"0"]);
    assert!(requests[1].values("transfer-encoding").is_empty());
}

/// Refuses as soon as a head with the primary pair is here, whatever of the body is.
fn refusing_early() -> (RawUpstream, Requests) {
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let upstream = RawUpstream::start(move |number, mut tls| {
        if number > 0 {
            if let Some(request) = read_strictly(&mut tls) {
                seen.lock().unwrap().push(request);
                answer(&mut tls, SUCCESS);
            }
            return;
        }
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            tls.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        answer(&mut tls, REFUSAL);
        let _ = tls.read_to_end(&mut Vec::new());
    });
    (upstream, requests)
}

/// Writes the beginning of an upload, and returns once the proxy sends it again.
fn begin_upload(proxy: &Proxy, upstream: &RawUpstream, beginning: &[u8]) -> TcpStream {
    let mut stream = connect(proxy.listen);
    stream.write_all(beginning).unwrap();
    eventually("it is sent again", || upstream.connections() == 2);
    stream
}

#[test]
fn an_upload_that_is_refused_early_is_sent_again_from_its_beginning() {
    for request in [with_length(&bytes(300_000)), chunked(&bytes(300_000))] {
        let (upstream, requests) = refusing_early();
        let (proxy, _standby) = with_standby(&upstream, &[]);
        let (beginning, rest) = request.split_at(20_000);
        let mut stream = begin_upload(&proxy, &upstream, beginning);
        stream.write_all(rest).unwrap();
        let got = read_to_end(stream);
        assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
        let requests = drain(&requests);
        assert!(requests[0].body == bytes(300_000) && !is_primary(&requests[0]));
    }
}

#[test]
fn a_body_that_breaks_off_while_it_is_sent_again_is_no_whole_call() {
    let (upstream, requests) = refusing_early();
    let (proxy, _standby) = with_standby(&upstream, &[]);
    let request = with_length(&bytes(300_000));
    let stream = begin_upload(&proxy, &upstream, &request[..20_000]);
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    let record = proxy.record();
    assert_eq!((&record["sent"], &record["repeated_with"]), (&"maybe".into(), &"standby".into()));
    assert!(drain(&requests).is_empty());
}

#[test]
fn a_second_time_without_an_answer_may_have_sent_it_whatever_is_known_of_that_time() {
    type Fate = fn(&mut Tls);
    let fates: [(&str, u16, &str, Fate); 5] = [
        ("it closes before an answer", 502, "upstream_closed", |_| {}),
        ("it closes in the head", 502, "upstream_closed", |tls| answer(tls, "HTTP/1.1 200 O")),
        ("it is silent", 504, "response_timeout", |tls| drop(tls.read(&mut [0]))),
        ("it talks nonsense", 502, "response_invalid", |tls| answer(tls, "SSH-2.0-x\r\n\r\n")),
        ("it switches protocols", 502, "response_invalid", |tls| {
            answer(tls, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
        }),
    ];
    for (what, status, code, fate) in fates {
        let upstream = RawUpstream::start(move |_, mut tls| {
            match read_strictly(&mut tls) {
                None => return,
                Some(request) if is_primary(&request) => answer(&mut tls, REFUSAL),
                Some(_) => fate(&mut tls),
            }
            close(tls);
        });
        let (proxy, _standby) =
            with_standby(&upstream, &["upstream.deadlines.response_head=300ms"]);
        let answer = proxy.call(Call::sms());
        answer.assert_problem(status, code, "maybe");
        assert_eq!(upstream.connections(), 2, "{what}");
        assert_told(&proxy, &answer);
    }
}

#[test]
fn also_where_nothing_of_the_second_time_left() {
    let upstream = RawUpstream::start(move |number, mut tls| match number {
        0 => {
            read_strictly(&mut tls).unwrap();
            answer(&mut tls, REFUSAL);
        }
        _ => drop(tls), // before the handshake
    });
    let (proxy, _standby) = with_standby(&upstream, &[]);
    let answer = proxy.call(Call::sms());
    answer.assert_problem(502, "tls_failed", "maybe");
    assert_told(&proxy, &answer);
}

fn assert_told(proxy: &Proxy, answer: &Answer) {
    assert!(answer.json()["remedy"].as_str().unwrap().contains("look there before"), "{answer:?}");
    let record = proxy.record();
    assert_eq!(
        (&record["sent"], &record["refused"], &record["repeated_with"]),
        (&"maybe".into(), &Value::Bool(true), &"standby".into())
    );
}

#[test]
fn an_upstream_that_closes_after_a_refusal_without_a_word_costs_no_call() {
    const EMPTY: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    const CODE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
        Content-Length: 14\r\n\r\n{\"code\":\"101\"}";
    // The last one is read to its end before it is known for a refusal.
    for (refusal, settings) in
        [(REFUSAL, &[][..]), (EMPTY, &[]), (CODE, &["refusal.codes=101", "refusal.replay=true"])]
    {
        let upstream = RawUpstream::start(move |_, mut tls| {
            while let Some(request) = read_strictly(&mut tls) {
                if is_primary(&request) {
                    answer(&mut tls, refusal);
                    // Long enough for the proxy to have begun with the next one, if it were to.
                    thread::sleep(Duration::from_millis(20));
                    return;
                }
                answer(&mut tls, SUCCESS);
            }
        });
        let (proxy, _standby) = with_standby(&upstream, settings);
        for _ in 0..20 {
            let status = proxy.call(Call::sms()).json()["code"].clone();
            assert_eq!(status, "0", "after {refusal}");
        }
    }
}

#[test]
fn all_callers_calls_are_sent_again() {
    let (upstream, requests) = refusing(|tls| answer(tls, SUCCESS));
    let (proxy, _standby) = with_standby(&upstream, &[]);
    let old = format!("POST {SMS} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}");
    let got = raw(proxy.listen, old.as_bytes());
    assert!(got.contains(" 200 ") && got.ends_with(r#"{"code":"0"}"#), "{got}");
    assert_repeated_whole(&drain(&requests), b"{}");

    assert_eq!(proxy.call(Call::get("/api/sms/v3/msg/send?page=1")).status, 200);
    assert_repeated_whole(&drain(&requests), b"");

    let mut stream = connect(proxy.listen);
    stream.write_all(head("Expect: 100-continue\r\nContent-Length: 40000").as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&bytes(40_000)).unwrap();
    let got = read_to_end(stream);
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
    assert_repeated_whole(&drain(&requests), &bytes(40_000));
}

#[test]
fn head_is_sent_again() {
    let (upstream, requests) = refusing(|tls| answer(tls, "HTTP/1.1 204 Nothing\r\n\r\n"));
    let (proxy, _standby) = with_standby(&upstream, &[]);
    let got = proxy.call(Call::new("HEAD", SMS));
    // The refusal of a HEAD had a body here, which ends the connection and nothing else.
    assert_eq!(got.status, StatusCode::NO_CONTENT);
    assert_repeated_whole(&drain(&requests), b"");
}
