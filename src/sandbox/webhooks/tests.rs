//! Webhooks as their receiver gets them: raw bytes on a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{io, thread};

use super::*;
use crate::sandbox::{Inbound, Options, Sandbox};

/// Nothing here takes this long unless it is broken.
const LONG: Duration = Duration::from_secs(20);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FAILED: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const CLOSE: &str = "";
const SILENCE: &str = "(none)";

/// A receiver that answers by its script.
struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// `answer` says what the request of this number, counted from 0, is answered.
    fn start(answer: fn(usize) -> &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let receiver = Self {
            address,
            requests: Arc::clone(&requests),
            connections: Arc::clone(&connections),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, requests) = (stream.unwrap(), Arc::clone(&requests));
                connections.fetch_add(1, Relaxed);
                thread::spawn(move || serve(&stream, &requests, answer));
            }
        });
        receiver
    }

    fn url(&self) -> String {
        format!("http://{}/innopaas", self.address)
    }

    /// What came, in the order in which it was read.
    fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().unwrap().clone()
    }

    fn texts(&self) -> Vec<String> {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        self.requests().iter().map(text).collect()
    }
}

fn serve(stream: &TcpStream, requests: &Mutex<Vec<Vec<u8>>>, answer: fn(usize) -> &'static str) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        match answer(number) {
            CLOSE => return,
            SILENCE => {
                let _ = reader.read(&mut [0]); // until the peer goes
                return;
            }
            answer => {
                let mut stream = stream;
                stream.write_all(answer.as_bytes()).unwrap();
                if answer.contains("close") {
                    return;
                }
            }
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut length = 0;
    loop {
        let begin = request.len();
        if reader.read_until(b'\n', &mut request).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&request[begin..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            request.extend(body);
            return Some(request);
        }
    }
}

fn started() -> Sandbox {
    Sandbox::start(Options::default()).unwrap()
}

/// Sends, and waits for its end.
fn sent(sandbox: &Sandbox, webhook: Webhook) -> WebhookReport {
    let report = sandbox.send_webhooks(webhook).unwrap().wait(LONG);
    assert_eq!(report.state, WebhookState::Done);
    report
}

fn to(receiver: &Receiver, event: Event) -> Webhook {
    let pair = Some(WebhookPair::new("Shop", "TokEn"));
    let pause = Duration::from_millis(20);
    Webhook { pair, pause, ..Webhook::to(receiver.url(), event) }
}

fn results(event: &SentEvent) -> Vec<TryResult> {
    event.tries.iter().map(|tried| tried.result).collect()
}

#[test]
fn an_event_arrives_with_the_pair_as_raw_headers() {
    let receiver = Receiver::start(|_| OK);
    let report = sent(&started(), to(&receiver, Event::Inbound(Inbound::Text)));
    assert_eq!((report.delivered, report.lost, report.tries), (1, 0, 1));
    let event = &report.events[0];
    assert_eq!((event.id.as_str(), event.outcome), ("event000000000001", EventOutcome::Delivered));
    let request = receiver.texts().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /innopaas HTTP/1.1\r\n"), "{head}");
    for line in [
        "Username: Shop",
        "Authorization: TokEn",
        "Content-Type: application/json;charset=utf-8",
        &format!("Host: {}", receiver.address),
    ] {
        assert_eq!(head.lines().filter(|other| *other == line).count(), 1, "{line}\n{head}");
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["id"], &body["type"]), (&event.id.as_str().into(), &event_type().into()));
}

fn event_type() -> &'static str {
    "whatsapp_mo_message_received"
}

#[test]
fn a_flat_push_can_come_as_a_get() {
    let receiver = Receiver::start(|_| OK);
    let body_check = BodyCheck::new("r&d", "p");
    let webhook = to(&receiver, Event::SmsStatus);
    sent(&started(), Webhook { form: Form::Get, body_check, ..webhook });
    let request = receiver.texts().remove(0);
    let begin = "GET /innopaas?receiver=r%26d&pswd=p&msgid=sandbox000000000001&";
    assert!(request.starts_with(begin), "{request}");
    assert!(!request.to_ascii_lowercase().contains("content-"), "{request}");
}

#[test]
fn a_try_that_fails_is_repeated_as_often_as_documented() {
    assert_eq!((PAUSE, TRIES), (Duration::from_secs(60), 3));
    let receiver = Receiver::start(|number| [FAILED, CLOSE, OK][number]);
    let begin = Instant::now();
    let report = sent(&started(), to(&receiver, Event::SmsStatus));
    assert!(begin.elapsed() >= Duration::from_millis(40), "two pauses");
    assert_eq!((report.delivered, report.lost, report.tries), (1, 0, 3));
    let wanted = [TryResult::Status(500), TryResult::Broken, TryResult::Status(200)];
    assert_eq!(results(&report.events[0]), wanted);
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| *request == requests[0]), "the same, byte by byte");
}

#[test]
fn an_event_whose_every_try_fails_is_lost() {
    let receiver = Receiver::start(|_| SILENCE);
    let patience = Duration::from_millis(30);
    let webhook = Webhook { patience, ..to(&receiver, Event::PhoneQuality) };
    let report = sent(&started(), webhook);
    assert_eq!((report.delivered, report.lost, report.tries), (0, 1, 3));
    assert_eq!(report.events[0].outcome, EventOutcome::Lost);
    assert_eq!(results(&report.events[0]), [TryResult::NoAnswer; 3]);
    assert!(report.events[0].tries.iter().all(|tried| tried.took >= patience));

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}/");
    let webhook = Webhook { url, tries: 2, ..to(&receiver, Event::SmsUplink) };
    let report = sent(&started(), webhook);
    assert_eq!(results(&report.events[0]), [TryResult::Refused; 2]);
}

#[test]
fn statuses_other_than_2xx_are_failures_and_204_is_none() {
    const REDIRECT: &str =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    let receiver = Receiver::start(|number| [REDIRECT, NO_CONTENT][number]);
    let report = sent(&started(), to(&receiver, Event::SmsUplink));
    assert_eq!(results(&report.events[0]), [TryResult::Status(302), TryResult::Status(204)]);
    assert_eq!(receiver.connections.load(Relaxed), 1, "kept after a failure");
}

#[test]
fn a_burst_arrives_over_a_bounded_number_of_kept_connections() {
    let receiver = Receiver::start(|_| OK);
    let sandbox = started();
    let webhook = Webhook { count: 500, connections: 8, ..to(&receiver, Event::SmsStatus) };
    let report = sent(&sandbox, webhook.clone());
    assert_eq!((report.delivered, report.tries), (500, 500));
    assert!((1..=8).contains(&receiver.connections.load(Relaxed)));
    // The next order goes on counting, or begins where it is told to.
    let report = sent(&sandbox, Webhook { count: 1, ..webhook.clone() });
    assert_eq!((report.order, report.events[0].id.as_str()), (2, "sandbox000000000501"));
    let report = sent(&sandbox, Webhook { count: 1, first: Some(500), ..webhook });
    assert_eq!(report.events[0].id, "sandbox000000000500");
    let requests = receiver.requests();
    let distinct: std::collections::HashSet<_> = requests.iter().collect();
    assert_eq!((requests.len(), distinct.len()), (502, 501), "one came twice");
}

#[test]
fn events_at_a_rate_do_not_come_sooner() {
    let receiver = Receiver::start(|_| OK);
    let begin = Instant::now();
    let pace = Pace::PerSecond(50);
    let report = sent(&started(), Webhook { count: 11, pace, ..to(&receiver, Event::SmsStatus) });
    assert_eq!(report.delivered, 11);
    assert!(begin.elapsed() >= Duration::from_millis(200), "ten spaces of 20 ms");
}

#[test]
fn a_kept_connection_that_ended_meanwhile_costs_no_try() {
    // `close` in the body is for the receiver above, not for the sender.
    const AND_THEN_END: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclose";
    let receiver = Receiver::start(|_| AND_THEN_END);
    let pace = Pace::PerSecond(20);
    let report = sent(&started(), Webhook { count: 4, pace, ..to(&receiver, Event::SmsStatus) });
    assert_eq!((report.delivered, report.tries), (4, 4));
    assert_eq!(receiver.connections.load(Relaxed), 4);
}

#[test]
fn every_wrong_way_is_really_on_the_wire() {
    let receiver = Receiver::start(|_| OK);
    let sandbox = started();
    for show in Show::WRONG {
        sent(&sandbox, Webhook { show, ..to(&receiver, Event::PhoneQuality) });
    }
    let requests = receiver.requests();
    for (show, request) in Show::WRONG.into_iter().zip(&requests) {
        let values = |name: &[u8]| -> Vec<&[u8]> {
            let lines = request.split(|byte| *byte == b'\n');
            let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_suffix(b"\r"));
            values.map(<[u8]>::trim_ascii).collect()
        };
        let (user_names, authorizations) = (values(b"Username:"), values(b"Authorization:"));
        let right: (&[&[u8]], &[&[u8]]) = (&[b"Shop"], &[b"TokEn"]);
        let (user_name, authorization): (&[&[u8]], &[&[u8]]) = match show {
            Show::Right => right,
            Show::NoUserName => (&[], right.1),
            Show::NoAuthorization => (right.0, &[]),
            Show::Neither => (&[], &[]),
            Show::Swapped => (right.1, right.0),
            Show::Wrong(Header::UserName, fault) => (
                match fault {
                    Fault::OtherValue => &[b"Shox"],
                    Fault::Prefix => &[b"Sho"],
                    Fault::Suffix => &[b"Shopx"],
                    Fault::OtherCase => &[b"sHOP"],
                    Fault::Doubled => &[b"Shop", b"Shop"],
                    Fault::DoubledOther => &[b"Shop", b"Shox"],
                    Fault::Empty => &[b""],
                    Fault::NonAscii => &[b"Sho\xE9"],
                },
                right.1,
            ),
            Show::Wrong(Header::Authorization, fault) => (
                right.0,
                match fault {
                    Fault::OtherValue => &[b"TokEx"],
                    Fault::Prefix => &[b"TokE"],
                    Fault::Suffix => &[b"TokEnx"],
                    Fault::OtherCase => &[b"tOKeN"],
                    Fault::Doubled => &[b"TokEn", b"TokEn"],
                    Fault::DoubledOther => &[b"TokEn", b"TokEx"],
                    Fault::Empty => &[b""],
                    Fault::NonAscii => &[b"TokE\xE9"],
                },
            ),
        };
        assert_eq!((&user_names[..], &authorizations[..]), (user_name, authorization), "{show}");
    }
    assert_eq!(requests.len(), 20);
}

#[test]
fn https_trusts_the_authority_that_it_is_told_and_no_other() {
    let (sandbox, receiver) = (started(), started());
    // Answered 200 by every sandbox.
    let url = format!("{}/_sandbox/expire", receiver.origin());
    let ca_pem = Some(receiver.ca_pem().to_owned());
    let webhook = Webhook { ca_pem, count: 20, ..Webhook::to(url, Event::PhoneQuality) };
    assert_eq!(sent(&sandbox, webhook.clone()).delivered, 20);
    let ca_pem = Some(sandbox.ca_pem().to_owned());
    let report = sent(&sandbox, Webhook { ca_pem, count: 1, tries: 1, ..webhook });
    assert_eq!(results(&report.events[0]), [TryResult::Tls]);
}

#[test]
fn news_come_as_events_end_and_an_order_that_is_cut_says_so() {
    let receiver = Receiver::start(|number| if number == 0 { OK } else { SILENCE });
    let sandbox = started();
    let webhook = Webhook { count: 2, patience: LONG, ..to(&receiver, Event::SmsUplink) };
    let mut sending = sandbox.send_webhooks(webhook).unwrap();
    let news = sending.news(LONG);
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].outcome, EventOutcome::Delivered);
    assert_eq!(sending.news(Duration::ZERO), []);
    assert_eq!(sending.wait(Duration::ZERO).state, WebhookState::Running);
    drop(sandbox);
    assert_eq!(sending.wait(LONG).state, WebhookState::Cut);
    assert!(sending.is_over() && sending.news(LONG).is_empty());
}

#[tokio::test]
async fn an_order_can_be_awaited() {
    let receiver = Receiver::start(|_| OK);
    let sandbox = started();
    let sending = sandbox.send_webhooks(to(&receiver, Event::SmsUplink)).unwrap();
    assert_eq!(sending.finished(LONG).await.delivered, 1);
}

#[test]
fn more_orders_than_can_wait_are_refused() {
    let receiver = Receiver::start(|_| SILENCE);
    let sandbox = started();
    let webhook = Webhook { patience: LONG, ..to(&receiver, Event::SmsUplink) };
    let refused = (0..100).find_map(|_| sandbox.send_webhooks(webhook.clone()).err());
    assert_eq!(refused.unwrap().kind(), io::ErrorKind::ResourceBusy);
    let elsewhere = Webhook::to("http://example.com/", Event::SmsUplink);
    let refused = sandbox.send_webhooks(elsewhere).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}
