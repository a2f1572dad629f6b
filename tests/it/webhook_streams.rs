//! Webhooks under a stream of them: the pair is changed while they come, and the application fails
//! in every way that applications do. Who sends them is the sandbox, with its own counts.
//!
//! What became of each try is told three times: by the status that the sandbox saw, by the proxy's
//! metrics and records, and by what the application read. The three must agree to the number.
//!
//! How long it goes on comes from the environment: ten minutes of it are
//! `STREAM_SECONDS=600 cargo test --locked --release --test it webhook_streams:: -- --nocapture
//! --test-threads=1`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use innopaas_proxy::sandbox::{
    Event, EventOutcome, MessageStatus, Pace, Pair, Sandbox, Sending, SentEvent, TryResult,
    Webhook, WebhookPair, WebhookState,
};

use crate::support::stage::{Act, Seen, Stage};
use crate::support::{LOADED, Mount, PATIENCE, Proxy, Setup, canary, eventually};

const ROTATIONS: usize = 5;
/// Events, from one step to the next.
const BETWEEN: u64 = 150;
/// Tries that meet a fault of the application, or find it well after one.
const HIT: u64 = 40;
/// How long an application has that is to be late.
const DEADLINE: Duration = Duration::from_millis(300);
/// The sandbox's minute between two tries, shortened.
const PAUSE: Duration = Duration::from_secs(1);

const EVENT: Event = Event::MessageStatus(MessageStatus::Delivered);

#[test]
fn a_pair_is_changed_under_a_stream_and_nothing_is_lost_or_let_in() {
    let _loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
    let hall = Hall::open(PATIENCE);
    let right = Webhook { connections: 64, pair: Some(shown(&pair(0))), ..hall.webhook() };
    let mut right = Stream::start(&hall.sandbox, Webhook { pace: Pace::Burst, ..right });
    let strangers = Webhook { connections: 8, ..hall.webhook() };
    let mut wrong = Vec::from([Stream::start(
        &hall.sandbox,
        Webhook { pair: Some(shown(&pair(999))), ..strangers.clone() },
    )]);
    let mut reloads = 1; // of `current`, at start
    for number in 1..=ROTATIONS {
        let (old, new) = (pair(number - 1), pair(number));
        // As the operator does it, who waits for the proxy between two steps or does not.
        hall.previous.swap_in_files(&files(&old));
        if number % 2 == 0 {
            hall.sees_reloads(reloads + 1);
        }
        hall.current.swap_in_files(&files(&new));
        reloads += 2;
        hall.sees_reloads(reloads);
        hall.goes_on();
        right.shows(&new);
        hall.goes_on();
        // The old pair counts still, the one before it no more, and no halves of two pairs do.
        let halves = Pair::new(new.app_key(), old.authorization());
        let older = number.checked_sub(2).map(pair);
        for stranger in older.into_iter().chain([halves]) {
            let webhook = Webhook { pair: Some(shown(&stranger)), ..strangers.clone() };
            wrong.push(Stream::once(&hall.sandbox, webhook));
        }
        right.settles();
    }
    // Nobody shows the one before the last any more.
    hall.previous.swap_in_files::<&str>(&[]);
    hall.sees_reloads(reloads + 1);
    let removed = Webhook { pair: Some(shown(&pair(ROTATIONS - 1))), ..strangers };
    wrong.push(Stream::once(&hall.sandbox, removed));
    hall.goes_on();

    let right = Tally::of(right.stop());
    let wrong = Tally::of(wrong.into_iter().flat_map(Stream::stop).collect());
    println!("stream: {ROTATIONS} rotations: right {:?}, wrong {:?}", right.tries, wrong.tries);
    assert_eq!(right.tries, BTreeMap::from([("200".to_owned(), right.events())]));
    assert_eq!(wrong.tries, BTreeMap::from([("401".to_owned(), wrong.events())]));
    assert_eq!(hall.outcomes("delivered"), right.events());
    assert_eq!(hall.outcomes("refused"), wrong.events());
    let seen: Vec<_> = hall.stage.seen().into_iter().map(|Seen { event, .. }| event).collect();
    assert_eq!(seen.len() as u64, right.events(), "each once");
    let seen: BTreeSet<_> = seen.into_iter().collect();
    assert_eq!(seen, right.sent.into_iter().map(|event| event.id).collect());
}

#[test]
fn whatever_an_application_does_each_try_of_an_event_ends_in_one_way_that_all_agree_on() {
    let _loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
    let hall = Hall::open(DEADLINE);
    let stream = Stream::start(
        &hall.sandbox,
        Webhook { tries: 3, pause: PAUSE, connections: 30, ..hall.webhook() },
    );
    hall.goes_on();
    let (begin, resident) = (Instant::now(), hall.proxy.status_kb("VmRSS:"));
    let mut rounds = 0;
    while rounds == 0 || begin.elapsed() < seconds() {
        let late = Act::Late(DEADLINE + DEADLINE / 2);
        for act in [Act::Down, Act::Hang, Act::Reset, late, Act::Close, Act::Fail] {
            hall.suffers(act);
            stream.settles();
        }
        rounds += 1;
    }
    let tally = Tally::of(stream.stop());
    let figures = format!(
        "stream: {rounds} rounds of faults, {:.0} s: {} events, {} lost after three tries, \
         tries {:?}, seen {}; resident {resident} kB, then {} kB",
        begin.elapsed().as_secs_f64(),
        tally.events(),
        tally.lost(),
        tally.tries,
        hall.stage.audience(),
        hall.proxy.status_kb("VmRSS:"),
    );
    println!("{figures}");
    hall.agrees_with(&tally, &figures);
}

#[test]
fn what_an_application_missed_comes_again_by_the_senders_own_retry() {
    const EVENTS: u32 = 60;
    let hall = Hall::open(PATIENCE);
    hall.stage.play(Act::Down);
    let pause = Duration::from_secs(2); // the application is there again long before that
    let sending = hall
        .sandbox
        .send_webhooks(Webhook { count: EVENTS, tries: 3, pause, ..hall.webhook() })
        .unwrap();
    eventually("all were tried", || hall.outcomes("undelivered") == u64::from(EVENTS));
    assert_eq!(hall.stage.audience(), 0);
    hall.stage.play(Act::Well);
    let tally = Tally::of(vec![sending]);
    hall.agrees_with(&tally, "");
    assert_eq!(tally.lost(), 0);
    let tried = [TryResult::Status(503), TryResult::Status(200)];
    for event in &tally.sent {
        let results: Vec<_> = event.tries.iter().map(|tried| tried.result).collect();
        assert_eq!(results, tried, "{event}");
    }
}

fn seconds() -> Duration {
    let seconds = std::env::var("STREAM_SECONDS").map(|text| text.parse().expect("a number"));
    Duration::from_secs(seconds.unwrap_or(0))
}

/// No pair is the beginning of another one.
fn pair(number: usize) -> Pair {
    canary::marked_pair(format!("{number:03}"))
}

fn files(pair: &Pair) -> [(&'static str, &str); 2] {
    [("user-name", pair.app_key()), ("authorization", pair.authorization())]
}

fn shown(pair: &Pair) -> WebhookPair {
    WebhookPair::new(pair.app_key(), pair.authorization())
}

/// Everything from the sender to the application.
struct Hall {
    stage: Stage,
    sandbox: Arc<Sandbox>,
    proxy: Proxy,
    address: SocketAddr,
    current: Mount,
    previous: Mount,
}

impl Hall {
    /// The application has so long for an event.
    fn open(deadline: Duration) -> Self {
        let stage = Stage::open();
        let (current, previous) = (Mount::empty(), Mount::empty());
        current.swap_in_files(&files(&pair(0)));
        let (from, before) = (current.path().display(), previous.path().display());
        let (proxy, sandbox) = Setup::new()
            .set("webhook.listen=127.0.0.1:0")
            .set(&format!("webhook.credentials=app=shop current={from} previous={before}"))
            .set(&format!("webhook.default={}", stage.url()))
            .set(&format!("webhook.deadline={}ms", deadline.as_millis()))
            .set("credentials.poll=20ms")
            .set("log.level=info") // thousands of events
            .start();
        let serving = proxy.log().into_iter().find(|line| line["message"] == "serving").unwrap();
        let address = serving["webhook"].as_str().unwrap().parse().unwrap();
        Self { stage, sandbox: Arc::new(sandbox), proxy, address, current, previous }
    }

    /// Events at a pace, each tried once; who sends has the more patience.
    fn webhook(&self) -> Webhook {
        let url = format!("http://{}/", self.address);
        Webhook {
            pair: Some(shown(&pair(0))),
            count: 100,
            pace: Pace::PerSecond(300),
            tries: 1,
            patience: 2 * PATIENCE,
            ..Webhook::to(url, EVENT)
        }
    }

    /// The application fails in this way, and is well again after some have met that.
    fn suffers(&self, act: Act) {
        let met = || match act {
            Act::Down => self.outcomes("undelivered"),
            Act::Hang | Act::Reset | Act::Late(_) => self.outcomes("unknown"),
            Act::Well | Act::Fail | Act::Close => self.stage.audience(),
        };
        let enough = met() + HIT;
        self.stage.play(act);
        eventually(&format!("events meet {act:?}"), || met() >= enough);
        let enough = self.outcomes("delivered") + HIT;
        self.stage.play(Act::Well);
        eventually("events arrive again", || self.outcomes("delivered") >= enough);
    }

    /// So many more events arrive.
    fn goes_on(&self) {
        let enough = self.outcomes("delivered") + BETWEEN;
        eventually("more events arrive", || self.outcomes("delivered") >= enough);
    }

    fn sees_reloads(&self, number: u64) {
        let loaded = r#"innopaas_proxy_webhook_reloads_total{result="loaded"}"#;
        eventually("the files are read", || self.proxy.metric(loaded) >= number);
    }

    /// Webhooks that ended so, whatever the application's status was.
    fn outcomes(&self, outcome: &str) -> u64 {
        let text = self.proxy.admin("/metrics").text();
        let label = format!("outcome=\"{outcome}\"");
        let counts = text
            .lines()
            .filter(|line| line.starts_with("innopaas_proxy_webhook_events_total{"))
            .filter(|line| line.contains(&label))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        counts.sum()
    }

    /// Whether all agree on what became of each try, event by event.
    fn agrees_with(&self, tally: &Tally, figures: &str) {
        let by_status = |statuses: &[u16]| -> u64 {
            let of = |status: &u16| tally.tries.get(&status.to_string());
            statuses.iter().filter_map(of).sum()
        };
        let told = [by_status(&[200, 500]), by_status(&[503]), by_status(&[504])];
        let counted = ["delivered", "undelivered", "unknown"].map(|name| self.outcomes(name));
        assert_eq!(told, counted, "{figures}");
        assert_eq!(told.iter().sum::<u64>(), tally.tries.values().sum::<u64>(), "{figures}");
        for other in ["refused", "unroutable", "rejected", "duplicate", "sender_gone"] {
            assert_eq!(self.outcomes(other), 0, "{other}: {figures}");
        }
        assert_eq!(self.proxy.metric("innopaas_proxy_webhooks_in_flight"), 0);

        let records = self.records(told.iter().sum());
        let seen = self.stage.seen();
        let tries: BTreeSet<_> = seen.iter().map(|seen| &seen.request).collect();
        assert_eq!(tries.len(), seen.len(), "no try comes twice: {figures}");
        for Seen { request, event } in &seen {
            let outcome = records.get(request).map(String::as_str);
            assert!(matches!(outcome, Some("delivered" | "unknown")), "{event}: {outcome:?}");
        }
        for (request, outcome) in &records {
            assert!(outcome != "delivered" || tries.contains(request), "{request} never came");
        }
        let mut by_event: HashMap<&str, usize> = HashMap::new();
        for Seen { event, .. } in &seen {
            *by_event.entry(event).or_default() += 1;
        }
        for event in &tally.sent {
            let count = |statuses: &[u16]| {
                let is = |result| matches!(result, TryResult::Status(s) if statuses.contains(&s));
                event.tries.iter().filter(|tried| is(tried.result)).count()
            };
            let seen = by_event.remove(event.id.as_str()).unwrap_or_default();
            assert!((count(&[200, 500])..=count(&[200, 500, 504])).contains(&seen), "{event}");
            assert!(event.outcome != EventOutcome::Lost || event.tries.len() == 3, "{event}");
        }
        assert_eq!(by_event, HashMap::new(), "nobody sent these");
    }

    /// What became of each try, by its id, once all are written.
    fn records(&self, number: u64) -> HashMap<String, String> {
        let word = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap().to_owned();
        let mut records = HashMap::new();
        eventually("all records", || {
            let log = self.proxy.log();
            let events = log.iter().filter(|line| line["target"] == "webhook");
            let events = events.filter(|line| line["message"] == "event");
            records =
                events.map(|line| (word(line, "request_id"), word(line, "outcome"))).collect();
            records.len() as u64 == number
        });
        records
    }
}

/// Orders of the same kind, one as soon as the events of the one before were all tried once.
struct Stream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// What the console holds, and what was sent; a change is between two orders.
    inner: Mutex<(Webhook, Vec<Sending>)>,
}

impl Stream {
    fn start(sandbox: &Arc<Sandbox>, webhook: Webhook) -> Self {
        let inner = Mutex::new((webhook, Vec::new()));
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), inner });
        let (sandbox, sending) = (Arc::clone(sandbox), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            while !sending.stop.load(Relaxed) {
                sending.order(&sandbox);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// One order alone.
    fn once(sandbox: &Sandbox, webhook: Webhook) -> Self {
        let inner = Mutex::new((webhook, Vec::new()));
        let shared = Arc::new(Shared { stop: AtomicBool::new(true), inner });
        shared.order(sandbox);
        Self { shared, thread: None }
    }

    /// The console is changed.
    fn shows(&mut self, pair: &Pair) {
        self.shared.inner.lock().unwrap().0.pair = Some(shown(pair));
    }

    /// All events that were ordered until now are over.
    fn settles(&self) {
        let ordered = self.shared.inner.lock().unwrap().1.len();
        eventually("what was ordered is over", || {
            self.shared.inner.lock().unwrap().1[..ordered].iter().all(Sending::is_over)
        });
    }

    /// Orders no more; what was ordered.
    fn stop(mut self) -> Vec<Sending> {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("who orders");
        }
        std::mem::take(&mut self.shared.inner.lock().unwrap().1)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn order(&self, sandbox: &Sandbox) {
        let (count, taken) = {
            let (webhook, sent) = &*self.inner.lock().unwrap();
            (webhook.count as usize, sent.len())
        };
        eventually("an order is taken", || {
            let (webhook, sent) = &mut *self.inner.lock().unwrap();
            match sandbox.send_webhooks(webhook.clone()) {
                Ok(sending) => sent.push(sending),
                // Others are long in coming to their ends.
                Err(error) => assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}"),
            }
            sent.len() > taken
        });
        eventually("all events are begun", || {
            let sent = &self.inner.lock().unwrap().1;
            sent.last().is_none_or(|last| last.report().events.len() == count)
        });
    }
}

/// What became of all events.
struct Tally {
    sent: Vec<SentEvent>,
    /// How often each thing became of a try.
    tries: BTreeMap<String, u64>,
}

impl Tally {
    fn of(sendings: Vec<Sending>) -> Self {
        let mut sent = Vec::new();
        for sending in sendings {
            let report = sending.wait(2 * PATIENCE);
            assert_eq!(report.state, WebhookState::Done);
            sent.extend(report.events);
        }
        let mut tries = BTreeMap::new();
        for tried in sent.iter().flat_map(|event: &SentEvent| &event.tries) {
            *tries.entry(tried.result.to_string()).or_default() += 1;
        }
        Self { sent, tries }
    }

    fn events(&self) -> u64 {
        self.sent.len() as u64
    }

    fn lost(&self) -> usize {
        self.sent.iter().filter(|event| event.outcome == EventOutcome::Lost).count()
    }
}
