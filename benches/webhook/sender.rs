//! Who sends events: blocking sockets, a thread a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Events for one receiver, and the status that each is to be answered with.
pub(crate) struct Sender {
    address: SocketAddr,
    event: Vec<u8>,
    status: u16,
}

/// How long each event took, sorted.
pub(crate) struct Latencies(Vec<Duration>);

/// For all connections of a paced load to be open.
const PREPARATION: Duration = Duration::from_millis(200);
/// How long an answer may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A status as the guide has it.
const BODY: &str = r#"{"id":"event000000000001","type":"whatsapp_message_status_updated","eventTime":"2026-01-01T00:00:01.000Z","body":{"id":"10000000000000000001","accountName":"sandbox","wabaId":"100000000000001","wamid":"wamid.HBgNODYxMzgwMDAwMDAwMBUCABEYEjAwMDAwMDAwMDAwMDAwMDAwMQA=","status":"delivered","sendPhone":"8613800000000","uid":"order-1","conversation":{"id":"c0000000000000001","type":"utility"}}}"#;

impl Sender {
    /// Shows this pair to a receiver.
    pub(crate) fn of(address: SocketAddr, pair: [&str; 2], status: u16) -> Self {
        let [user_name, authorization] = pair;
        let event = format!(
            "POST /hooks HTTP/1.1\r\nHost: {address}\r\nUserName: {user_name}\r\n\
             Authorization: {authorization}\r\nContent-Type: application/json;charset=utf-8\r\n\
             User-Agent: benchmark/1.0\r\nAccept: */*\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Self { address, event: event.into_bytes(), status }
    }

    /// So many events a second, evenly spread, whatever the answers take: one that has to wait for
    /// the one before it is late, and its latency counts from when it should have begun.
    pub(crate) fn paced(&self, rate: u32, connections: u32, duration: Duration) -> Latencies {
        let (gap, start) = (Duration::from_secs(1) / rate, Instant::now() + PREPARATION);
        self.on(connections, |sender, number| {
            let mut socket = sender.connect();
            let mut latencies = Vec::new();
            let mut due = start + gap * number;
            while due < start + duration {
                let now = Instant::now();
                let began = if now < due {
                    thread::sleep(due - now);
                    Instant::now()
                } else {
                    due
                };
                sender.send(&mut socket);
                latencies.push(began.elapsed());
                due += gap * connections;
            }
            latencies
        })
    }

    /// Each connection sends its next event when the one before was answered.
    pub(crate) fn saturated(&self, connections: u32, duration: Duration) -> Latencies {
        let end = Instant::now() + duration;
        self.on(connections, |sender, _| {
            let mut socket = sender.connect();
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                sender.send(&mut socket);
                latencies.push(began.elapsed());
            }
            latencies
        })
    }

    /// So many, one after the other on one connection.
    pub(crate) fn in_turn(&self, events: u32) {
        let mut socket = self.connect();
        (0..events).for_each(|_| self.send(&mut socket));
    }

    fn on(
        &self,
        connections: u32,
        run: impl Fn(&Self, u32) -> Vec<Duration> + Send + Sync,
    ) -> Latencies {
        let mut latencies = thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> =
                (0..connections).map(|number| scope.spawn(move || run(self, number))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        latencies.sort_unstable();
        Latencies(latencies)
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn send(&self, socket: &mut TcpStream) {
        socket.write_all(&self.event).unwrap();
        let mut buffer = [0; 4096];
        let mut filled = 0;
        loop {
            let read = socket.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "the connection ended");
            filled += read;
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut answer = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(head) = answer.parse(&buffer[..filled]).unwrap() else {
                continue;
            };
            let length = answer
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |header| std::str::from_utf8(header.value).unwrap().parse().unwrap());
            if filled == head + length {
                assert_eq!(
                    answer.code,
                    Some(self.status),
                    "{:?}",
                    String::from_utf8_lossy(&buffer)
                );
                return;
            }
        }
    }
}

impl Latencies {
    pub(crate) fn events(&self) -> u64 {
        self.0.len() as u64
    }

    /// What so many of a thousand events did not exceed, in microseconds.
    pub(crate) fn permille(&self, permille: usize) -> f64 {
        let index = (self.0.len() * permille / 1000).min(self.0.len() - 1);
        self.0[index].as_secs_f64() * 1e6
    }
}
