//! Many callers at once, each on a kept connection, who call without a pause until they are told to
//! stop. No two calls have the same body, so that the sandbox can tell a message that came twice.
//!
//! They make a call once, whatever comes of it: what an application's client would repeat is
//! counted as failed here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::call::{Connection, block_on};
use super::{Answer, Call, SMS, eventually};

const WHATSAPP: &str = "/api/whatsapp/v3/msg/submit";
const SHOWN: usize = 3; // bad answers, enough for a message

/// Callers at work. They stop when this is dropped, after the calls in flight.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Tally>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    begun: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    /// Calls that ended on each connection.
    by_connection: Vec<AtomicU64>,
}

/// What came of the calls.
#[derive(Default)]
pub(crate) struct Tally {
    /// Answered 200, with an envelope that says success.
    pub(crate) succeeded: u64,
    /// Everything else.
    pub(crate) failed: u64,
    /// Some of those that failed, in words.
    pub(crate) bad: Vec<String>,
    latencies: Vec<Duration>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, connections: usize) -> Self {
        let by_connection = (0..connections).map(|_| AtomicU64::default()).collect();
        let shared = Arc::new(Shared { by_connection, ..Shared::default() });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || block_on(call_all(address, shared)))
        };
        Self { shared, thread: Some(thread) }
    }

    /// How many calls are over, well or not.
    pub(crate) fn ended(&self) -> u64 {
        self.shared.ended.load(Relaxed)
    }

    /// Waits until every call that is in flight now is over, and another one on its connection.
    pub(crate) fn settle(&self) {
        let now: Vec<_> = self.shared.by_connection.iter().map(|e| e.load(Relaxed)).collect();
        eventually("every connection's next call ends", || {
            let ended = self.shared.by_connection.iter().map(|ended| ended.load(Relaxed));
            ended.zip(&now).all(|(ended, before)| ended >= before + 2)
        });
    }

    pub(crate) fn failed(&self) -> u64 {
        self.shared.failed.load(Relaxed)
    }

    /// Lets the calls in flight come to their end, and makes no more.
    pub(crate) fn stop(mut self) -> Tally {
        self.shared.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().expect("the callers")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn call_all(address: SocketAddr, shared: Arc<Shared>) -> Tally {
    let mut callers = JoinSet::new();
    for number in 0..shared.by_connection.len() {
        callers.spawn(call_on(address, number, Arc::clone(&shared)));
    }
    let mut sum = Tally::default();
    while let Some(tally) = callers.join_next().await {
        sum.add(tally.expect("a caller"));
    }
    sum
}

async fn call_on(address: SocketAddr, number: usize, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address).await;
    while !shared.stop.load(Relaxed) {
        let call = numbered(shared.begun.fetch_add(1, Relaxed));
        let begin = Instant::now();
        let result = connection.try_call(call).await;
        tally.latencies.push(begin.elapsed());
        let broken = result.is_err();
        match judge(result) {
            Ok(()) => tally.succeeded += 1,
            Err(words) => {
                tally.failed += 1;
                shared.failed.fetch_add(1, Relaxed);
                if tally.bad.len() < SHOWN {
                    tally.bad.push(words);
                }
            }
        }
        shared.ended.fetch_add(1, Relaxed);
        shared.by_connection[number].fetch_add(1, Relaxed);
        if broken && !shared.stop.load(Relaxed) {
            connection = Connection::open(address).await;
        }
    }
    tally
}

fn numbered(number: u64) -> Call {
    if number.is_multiple_of(2) {
        let body = format!(r#"{{"mobile":"8613800000000","msg":"4711","uid":"{number}"}}"#);
        return Call::post(SMS, body);
    }
    let body = format!(
        r#"{{"wabaId":"1","messageType":"text","recipientNumber":"8613800000000","uid":"{number}","text":{{"body":"4711"}}}}"#
    );
    Call::post(WHATSAPP, body)
}

/// What is wrong with an answer, in words.
fn judge(result: hyper::Result<Answer>) -> Result<(), String> {
    let answer = result.map_err(|error| format!("no answer: {error:?}"))?;
    let envelope = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    if answer.status == 200 && envelope["code"] == "0" && envelope["success"] == true {
        return Ok(());
    }
    Err(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

impl Tally {
    pub(crate) fn calls(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// What so many of a thousand calls did not exceed.
    pub(crate) fn latency(&self, per_mille: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_mille).div_ceil(1000);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        let room = SHOWN - self.bad.len();
        self.bad.extend(other.bad.into_iter().take(room));
        self.latencies.extend(other.latencies);
    }
}
