//! Sends what was ordered, on the sandbox's own thread.
//!
//! Invariant: of an order there are never more tries at a time, and never more connections, than it
//! may have. A try that fails before a byte of it was written on a kept connection, because that
//! one had ended meanwhile, goes over a new one and is no failure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Pace;
use super::desk::Order;
use super::plan::{Destination, Plan};
use super::report::{EventOutcome, Try, TryResult, WebhookState};

/// Orders that are sent at a time; more of them wait.
pub(super) const AT_ONCE: usize = 8;

/// Sends what is ordered for as long as there is somebody who might order.
pub(in crate::sandbox) async fn follow(mut orders: mpsc::Receiver<Order>) {
    let mut sending = JoinSet::new();
    let mut open = true;
    while open || !sending.is_empty() {
        tokio::select! {
            order = orders.recv(), if open && sending.len() < AT_ONCE => match order {
                Some(order) => {
                    sending.spawn_local(send(order));
                }
                None => open = false,
            },
            // A panic was told by the hook, and the order that it dropped is cut.
            Some(_) = sending.join_next() => {}
        }
    }
}

async fn send(order: Order) {
    let order = Rc::new(order);
    let mut agenda = Agenda::new(order.plan.count, order.plan.pace, Instant::now());
    let mut kept: Vec<Connection> = Vec::new();
    let mut tries: JoinSet<(Due, Ended)> = JoinSet::new();
    loop {
        let has_room = tries.len() < order.plan.connections;
        if has_room && let Some(due) = agenda.take(Instant::now()) {
            let number = order.first.saturating_add(due.index as u64);
            if due.is_first {
                order.progress.begin(number);
            }
            let (order, kept) = (Rc::clone(&order), kept.pop());
            tries.spawn_local(async move { (due, attempt(&order.plan, number, kept).await) });
            continue;
        }
        let next = agenda.next();
        if tries.is_empty() && next.is_none() {
            break;
        }
        tokio::select! {
            Some(ended) = tries.join_next() => {
                // After a panic nobody knows which event it was: the order is cut.
                let Ok((due, Ended { tried, connection })) = ended else { return };
                kept.extend(connection);
                if order.progress.tried(due.index, tried, order.plan.tries) == EventOutcome::Pending {
                    agenda.again(due.index, Instant::now() + order.plan.pause);
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if has_room && next.is_some() => {}
        }
    }
    order.progress.end(WebhookState::Done);
}

/// Which event is tried when.
struct Agenda {
    begin: Instant,
    pace: Pace,
    count: u32,
    /// How many events were taken for their first try.
    begun: u32,
    /// Those that are tried again, soonest first; one place for each event at most.
    again: BinaryHeap<Reverse<(Instant, usize)>>,
}

/// An event whose time has come, by its place in the order.
#[derive(Debug, Clone, Copy)]
struct Due {
    index: usize,
    is_first: bool,
}

impl Agenda {
    fn new(count: u32, pace: Pace, begin: Instant) -> Self {
        Self { begin, pace, count, begun: 0, again: BinaryHeap::new() }
    }

    fn again(&mut self, index: usize, at: Instant) {
        self.again.push(Reverse((at, index)));
    }

    /// When the next try is due, if there is one.
    fn next(&self) -> Option<Instant> {
        let again = self.again.peek().map(|Reverse((at, _))| *at);
        self.next_first().into_iter().chain(again).min()
    }

    /// What is due by now; tries that were put off come before new events.
    fn take(&mut self, now: Instant) -> Option<Due> {
        if let Some(Reverse((at, index))) = self.again.peek().copied()
            && at <= now
        {
            self.again.pop();
            return Some(Due { index, is_first: false });
        }
        let index = usize::try_from(self.begun).ok()?;
        self.next_first().filter(|at| *at <= now)?;
        self.begun += 1;
        Some(Due { index, is_first: true })
    }

    fn next_first(&self) -> Option<Instant> {
        const SECOND: u64 = 1_000_000_000; // in nanoseconds
        let after = match self.pace {
            Pace::Burst => 0,
            // 100,000 events at most: there is room for their nanoseconds.
            Pace::PerSecond(rate) => SECOND * u64::from(self.begun) / u64::from(rate.max(1)),
        };
        (self.begun < self.count).then(|| self.begin + Duration::from_nanos(after))
    }
}

/// A connection with the task that drives it, which ends when this is dropped.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// A try that is over, and its connection if it can be used again.
struct Ended {
    tried: Try,
    connection: Option<Connection>,
}

/// Tries an event once.
async fn attempt(plan: &Plan, number: u64, kept: Option<Connection>) -> Ended {
    let begin = Instant::now();
    let deadline = begin + plan.patience;
    let answer = timeout_at(deadline, exchange(plan, number, kept)).await;
    let took = begin.elapsed();
    let (result, connection) = match answer {
        Ok(Ok((answer, connection))) => {
            let status = answer.status().as_u16();
            (TryResult::Status(status), rest(answer, connection, deadline).await)
        }
        Ok(Err(result)) => (result, None),
        Err(_) => (TryResult::NoAnswer, None),
    };
    Ended { tried: Try { result, took }, connection }
}

/// Sends the event; the head of what is answered, and the connection.
async fn exchange(
    plan: &Plan,
    number: u64,
    kept: Option<Connection>,
) -> Result<(Response<Incoming>, Connection), TryResult> {
    let mut request = plan.request(number).map_err(|_| TryResult::Broken)?;
    if let Some(mut connection) = kept
        && connection.sender.ready().await.is_ok()
    {
        match connection.sender.try_send_request(request).await {
            Ok(answer) => return Ok((answer, connection)),
            // What hyper gives back was not written.
            Err(mut error) => request = error.take_message().ok_or(TryResult::Broken)?,
        }
    }
    let mut connection = Connection::open(&plan.destination).await?;
    match connection.sender.send_request(request).await {
        Ok(answer) => Ok((answer, connection)),
        Err(_) => Err(TryResult::Broken),
    }
}

/// Reads what is left of an answer, so that the connection can be used again.
async fn rest(
    answer: Response<Incoming>,
    connection: Connection,
    deadline: Instant,
) -> Option<Connection> {
    const LARGEST: usize = 64 * 1024; // bytes; nobody reads them
    let body = Limited::new(answer.into_body(), LARGEST).collect();
    timeout_at(deadline, body).await.ok()?.ok()?;
    Some(connection)
}

impl Connection {
    async fn open(destination: &Destination) -> Result<Self, TryResult> {
        let socket = connect(destination).await.ok_or(TryResult::Refused)?;
        match &destination.tls {
            None => Self::over(socket).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await;
                Self::over(stream.map_err(|_| TryResult::Tls)?).await
            }
        }
    }

    async fn over<S>(stream: S) -> Result<Self, TryResult>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .title_case_headers(true) // as near to `UserName` as hyper comes
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| TryResult::Broken)?;
        let mut driver = JoinSet::new();
        driver.spawn_local(async move {
            let _ = connection.await; // who sends is told by hyper
        });
        Ok(Self { sender, _driver: driver })
    }
}

async fn connect(destination: &Destination) -> Option<TcpStream> {
    for address in &destination.addresses {
        if let Ok(socket) = TcpStream::connect(address).await {
            let _ = socket.set_nodelay(true); // slower without, and right
            return Some(socket);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken, by its place and whether for the first time.
    fn take(agenda: &mut Agenda, now: Instant) -> Option<(usize, bool)> {
        agenda.take(now).map(|due| (due.index, due.is_first))
    }

    #[test]
    fn a_burst_is_due_at_once_and_a_rate_is_evenly_spaced() {
        let begin = Instant::now();
        let mut burst = Agenda::new(3, Pace::Burst, begin);
        for index in 0..3 {
            assert_eq!(take(&mut burst, begin), Some((index, true)));
        }
        assert_eq!((take(&mut burst, begin), burst.next()), (None, None));

        let mut rate = Agenda::new(3, Pace::PerSecond(4), begin);
        for index in 0..3 {
            let at = begin + Duration::from_millis(250) * u32::try_from(index).unwrap();
            assert_eq!(rate.next(), Some(at));
            assert_eq!(take(&mut rate, at), Some((index, true)));
            assert_eq!(take(&mut rate, at), None);
        }
        assert_eq!(rate.next(), None);
    }

    #[test]
    fn what_was_put_off_comes_when_it_is_due_and_before_new_events() {
        let begin = Instant::now();
        let later = begin + Duration::from_secs(1);
        let mut agenda = Agenda::new(2, Pace::PerSecond(1), begin);
        assert_eq!(take(&mut agenda, begin), Some((0, true)));
        agenda.again(0, begin + Duration::from_millis(500));
        assert_eq!(agenda.next(), Some(begin + Duration::from_millis(500)));
        assert_eq!(take(&mut agenda, begin), None);
        assert_eq!(take(&mut agenda, later), Some((0, false)));
        assert_eq!(take(&mut agenda, later), Some((1, true)));
        assert_eq!(take(&mut agenda, later), None);
    }
}
