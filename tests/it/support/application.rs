//! An application that webhooks are handed over to: it keeps every byte that it gets, and behaves as
//! it is told. What comes is read to the letter; what is no request is a fault, which [`Application`]
//! panics over at its end.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::eventually;
use super::strict_request::{Progress, StrictRequest, read};

pub(crate) struct Application {
    /// As a setting names it, without a path.
    origin: String,
    shared: Arc<Shared>,
}

/// How a request is treated.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// These bytes, once it is whole.
    Answers(Vec<u8>),
    /// The same, after a while.
    AnswersAfter(Duration, Vec<u8>),
    /// The same, and the end of the connection.
    AnswersAndCloses(Vec<u8>),
    /// The same, and the end of the connection after a while.
    AnswersAndClosesAfter(Duration, Vec<u8>),
    /// These bytes once its head is there.
    AnswersEarly(Vec<u8>),
    /// Its body as the answer's.
    Echoes,
    /// Nothing, until the other side gives up.
    Hangs,
    /// Nothing but the end of the connection.
    Closes,
    /// Nothing but a reset.
    Resets,
}

/// A request that came whole.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) request: StrictRequest,
    /// All its bytes.
    pub(crate) raw: Vec<u8>,
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
}

#[derive(Default)]
struct Shared {
    got: Mutex<Vec<Got>>,
    /// For the next requests; then the usual.
    next: Mutex<VecDeque<Manner>>,
    usual: Mutex<Option<Manner>>,
    faults: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
}

impl Application {
    /// On a port of its own; answers 200 with nothing until it is told something else.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::<Shared>::default();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                serve(Stream::Tcp(stream), &accepting);
            }
        });
        Self { origin, shared }
    }

    /// On a Unix socket.
    pub(crate) fn start_on(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::<Shared>::default();
        let origin = format!("unix:{}:", path.display());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(Stream::Unix(stream.unwrap()), &accepting);
            }
        });
        Self { origin, shared }
    }

    /// An address where nobody listens.
    pub(crate) fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// An address of it, as a setting names it.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// What stands in `Host` for it.
    pub(crate) fn host(&self) -> &str {
        self.origin.strip_prefix("http://").unwrap_or("localhost")
    }

    /// It behaves so from now on.
    pub(crate) fn always(&self, manner: Manner) {
        *self.shared.usual.lock().unwrap() = Some(manner);
    }

    /// It behaves so once, after what it was told before.
    pub(crate) fn once(&self, manner: Manner) {
        self.shared.next.lock().unwrap().push_back(manner);
    }

    /// All that came whole.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// The last that came whole.
    #[track_caller]
    pub(crate) fn last(&self) -> Got {
        self.got().pop().expect("a request")
    }

    /// How many came whole.
    pub(crate) fn count(&self) -> usize {
        self.shared.got.lock().unwrap().len()
    }

    /// Waits until so many came whole.
    pub(crate) fn wait_for(&self, count: usize) {
        eventually(&format!("{count} requests"), || self.count() >= count);
    }

    /// Connections that there ever were.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Connections that there are.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let faults = self.shared.faults.lock().unwrap();
        if !thread::panicking() {
            assert!(faults.is_empty(), "what came is no request: {faults:?}");
        }
    }
}

impl Manner {
    /// 200, and this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::Answers(answer("200 OK", "", body.as_bytes()))
    }

    /// This status, and nothing.
    pub(crate) fn status(status: &str) -> Self {
        Self::Answers(answer(status, "", b""))
    }
}

impl Got {
    /// The only value of a header; `None` if it has none.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.request.values(name);
        assert!(values.len() <= 1, "{name} came {} times", values.len());
        values.first().map(|value| std::str::from_utf8(value).unwrap())
    }
}

/// An answer's bytes.
pub(crate) fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(piece),
            Self::Unix(stream) => stream.read(piece),
        }
    }

    /// The other side may have given up already, which is what some tests are about.
    fn write(&mut self, bytes: &[u8]) {
        let _ = match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        };
    }

    /// Ends its side, and waits for the other one to see it and end its own.
    fn finish(mut self) {
        let _ = match &self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        while self.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {}
    }

    fn reset(self) {
        if let Self::Tcp(stream) = &self {
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Serves a connection on a thread of its own.
fn serve(stream: Stream, shared: &Arc<Shared>) {
    let number = shared.connections.fetch_add(1, SeqCst);
    shared.open.fetch_add(1, SeqCst);
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        converse(stream, number, &shared);
        shared.open.fetch_sub(1, SeqCst);
    });
}

fn converse(mut stream: Stream, connection: usize, shared: &Shared) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    let mut manner = None;
    loop {
        match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
        let manner_now = manner.get_or_insert_with(|| shared.manner());
        if let Manner::AnswersEarly(early) = manner_now
            && bytes.windows(4).any(|window| window == b"\r\n\r\n")
        {
            stream.write(&std::mem::take(early));
        }
        let (request, length) = match read(&bytes) {
            Ok(Progress::Incomplete) => continue,
            Ok(Progress::Whole(request, length)) => (request, length),
            Err(why) => return shared.faults.lock().unwrap().push(why),
        };
        let raw: Vec<_> = bytes.drain(..length).collect();
        let body = request.body.clone();
        shared.got.lock().unwrap().push(Got { request, raw, connection });
        match manner.take().unwrap() {
            Manner::Answers(answer) => stream.write(&answer),
            Manner::AnswersAfter(pause, answer) => {
                thread::sleep(pause); // which is what it is told to do
                stream.write(&answer);
            }
            Manner::AnswersAndCloses(answer) => {
                stream.write(&answer);
                return stream.finish();
            }
            Manner::AnswersAndClosesAfter(pause, answer) => {
                stream.write(&answer);
                return thread::sleep(pause);
            }
            Manner::Echoes => stream.write(&answer("200 OK", "", &body)),
            Manner::AnswersEarly(_) | Manner::Hangs => {}
            Manner::Closes => return,
            Manner::Resets => return stream.reset(),
        }
    }
}

impl Shared {
    fn manner(&self) -> Manner {
        let next = self.next.lock().unwrap().pop_front();
        let usual = || self.usual.lock().unwrap().clone();
        next.or_else(usual).unwrap_or_else(|| Manner::status("200 OK"))
    }
}
