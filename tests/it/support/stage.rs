//! An application on whose stage events arrive, and that misbehaves when it is told to. What it has
//! read whole is written down, whatever came of it.
//!
//! It listens on an address of loopback that nobody else in these tests uses: while it is down, its
//! port must not be somebody else's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::call::block_on;
use super::eventually;

const ADDRESS: ([u8; 4], u16) = ([127, 83, 0, 1], 0);

/// What events meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// 200.
    Well,
    /// 500: an answer, and not the one that is hoped for.
    Fail,
    /// Nobody listens, and the connections that there were are reset.
    Down,
    /// They are read, and nothing follows until another act is played.
    Hang,
    /// They are read, and their connections reset.
    Reset,
    /// 200, after so long.
    Late(Duration),
    /// 200, and the connection is closed without a word of it before.
    Close,
}

/// An event that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its own id.
    pub(crate) event: String,
    /// The id of the try, which the proxy made.
    pub(crate) request: String,
}

/// A running application. It ends when this is dropped.
pub(crate) struct Stage {
    address: SocketAddr,
    acts: Option<watch::Sender<Act>>,
    diary: Arc<Diary>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Diary {
    seen: Mutex<Vec<Seen>>,
    /// What must not come, in words.
    wrong: Mutex<Vec<String>>,
}

impl Stage {
    pub(crate) fn open() -> Self {
        let listener = std::net::TcpListener::bind(SocketAddr::from(ADDRESS)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (acts, act) = watch::channel(Act::Well);
        let diary = Arc::new(Diary::default());
        let thread = {
            let diary = Arc::clone(&diary);
            std::thread::spawn(move || block_on(perform(listener, address, act, diary)))
        };
        Self { address, acts: Some(acts), diary, thread: Some(thread) }
    }

    /// Where events are to go.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/innopaas", self.address)
    }

    /// From now on; once it is down, if it is to be that.
    pub(crate) fn play(&self, act: Act) {
        self.acts.as_ref().unwrap().send_replace(act);
        if act == Act::Down {
            let is_down = || std::net::TcpStream::connect(self.address).is_err();
            eventually("the application is down", is_down);
        }
    }

    /// How many events were read so far.
    pub(crate) fn audience(&self) -> u64 {
        self.diary.seen.lock().unwrap().len() as u64
    }

    /// The events that were read so far; panics if something came that should not.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        assert_eq!(*self.diary.wrong.lock().unwrap(), Vec::<String>::new());
        self.diary.seen.lock().unwrap().clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.acts = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Ends with whoever chooses the acts.
async fn perform(
    listener: std::net::TcpListener,
    address: SocketAddr,
    mut act: watch::Receiver<Act>,
    diary: Arc<Diary>,
) {
    let mut listener = TcpListener::from_std(listener).unwrap();
    loop {
        // Dropped with the listener, in the middle of whatever they do: that resets them.
        let mut connections = JoinSet::new();
        let down = loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    connections.spawn(serve(stream, act.clone(), Arc::clone(&diary)));
                }
                Some(_) = connections.join_next() => {}
                changed = act.changed() => match changed {
                    Ok(()) if *act.borrow() == Act::Down => break Ok(()),
                    Ok(()) => {}
                    Err(over) => break Err(over),
                },
            }
        };
        drop((listener, connections));
        if down.is_err() || act.wait_for(|act| *act != Act::Down).await.is_err() {
            return;
        }
        listener = TcpListener::bind(address).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, mut act: watch::Receiver<Act>, diary: Arc<Diary>) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const FAILED: &[u8] = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";
    let mut buffer = Vec::new();
    while let Some(event) = read(&mut stream, &mut buffer).await {
        match event {
            Ok(seen) => diary.seen.lock().unwrap().push(seen),
            Err(wrong) => diary.wrong.lock().unwrap().push(wrong),
        }
        let now = *act.borrow_and_update();
        let answer = match now {
            Act::Well | Act::Close => OK,
            Act::Fail => FAILED,
            Act::Reset | Act::Down => return,
            Act::Late(by) => {
                sleep(by).await; // that it is late is what is tried
                OK
            }
            Act::Hang => {
                if act.wait_for(|act| *act != Act::Hang).await.is_err() {
                    return;
                }
                OK
            }
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        if now == Act::Close {
            SockRef::from(&stream).set_linger(None).unwrap();
            return;
        }
    }
}

/// The next event, or what is wrong with it; nothing, if the connection ended before it did.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Result<Seen, String>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(buffer) {
            Err(error) => return Some(Err(error.to_string())),
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(begin)) => {
                let end = begin + header(&head, "content-length").parse::<usize>().unwrap();
                if buffer.len() >= end {
                    let event = judge(&head, &buffer[begin..end]);
                    buffer.drain(..end);
                    return Some(event);
                }
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn judge(head: &httparse::Request<'_, '_>, body: &[u8]) -> Result<Seen, String> {
    let body = serde_json::from_slice::<Value>(body).map_err(|error| error.to_string())?;
    let event = body["id"].as_str().ok_or("an event without an id")?.to_owned();
    let told = header(head, "x-innopaas-event-id");
    let credentials = ["username", "authorization"].map(|name| header(head, name));
    if told != event || credentials != ["", ""] || head.path != Some("/innopaas") {
        return Err(format!("{event}: {told:?}, or credentials, or another path"));
    }
    Ok(Seen { event, request: header(head, "x-request-id") })
}

/// Empty, if there is none.
fn header(head: &httparse::Request<'_, '_>, name: &str) -> String {
    let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.map_or_else(String::new, |header| String::from_utf8_lossy(header.value).into_owned())
}
