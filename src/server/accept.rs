//! Where connections come from: a listener, or a worker that has more than its share.
//!
//! One worker accepts and hands each connection to the least loaded one. Applications keep few
//! connections open, so the kernel's own spreading by hash would leave workers without any.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{io, net};

use socket2::{Domain, Protocol, Type};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::socket::{Entrance, Listener, Parted, Socket};

/// Connections that the kernel completes for us while we are busy.
pub(super) const BACKLOG: i32 = 1024;

/// Binds a listening socket, fit for tokio. Needs no runtime.
///
/// # Errors
/// What the system says: the address is in use, is not ours, or may not be bound.
pub fn bind(address: SocketAddr) -> io::Result<net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // a restart must not wait for old connections to time out
    // Answers are written whole; waiting for more would only delay them. Connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How many connections a worker has open.
#[derive(Debug, Clone, Default)]
struct Load(Arc<AtomicUsize>);

/// Another worker, as the one that accepts sees it.
#[derive(Debug)]
pub struct Peer {
    queue: mpsc::Sender<Handed>,
    load: Load,
    /// Whether somebody waits for a place.
    press: watch::Sender<bool>,
}

/// Where a worker's connections come from.
#[derive(Debug)]
pub struct Intake {
    source: Source,
    /// Our own load.
    load: Load,
    pressed: watch::Receiver<bool>,
}

#[derive(Debug)]
enum Source {
    /// The listener, shared with the peers.
    Listener {
        entrance: Entrance,
        /// One permit a connection, all workers together.
        slots: Arc<Semaphore>,
        peers: Vec<Peer>,
        /// Whether somebody waits for a place, for ourselves.
        press: watch::Sender<bool>,
        /// Who waits for a place.
        at_the_door: Option<Socket>,
    },
    /// The worker that accepts: connections on their way to us.
    Handed(mpsc::Receiver<Handed>),
}

/// A connection on its way from one worker to another.
#[derive(Debug)]
struct Handed {
    socket: Parted,
    slot: OwnedSemaphorePermit,
}

/// A connection and its place among those that may be open.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: Socket,
    pub(super) _place: Place,
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    load: Load,
    _slot: OwnedSemaphorePermit,
}

impl Place {
    fn new(load: &Load, slot: OwnedSemaphorePermit) -> Self {
        load.0.fetch_add(1, Relaxed);
        Self { load: load.clone(), _slot: slot }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.0.fetch_sub(1, Relaxed);
    }
}

impl Intake {
    /// A listener of one worker alone. To be called within its runtime.
    ///
    /// # Errors
    /// If the socket cannot be watched.
    pub fn alone(listener: net::TcpListener, connections: usize) -> io::Result<Self> {
        Self::shared(Listener::Tcp(listener), connections, Vec::new())
    }

    /// A listener whose connections, so many at a time, are shared with these peers. To be called
    /// within the accepting worker's runtime.
    ///
    /// # Errors
    /// If the socket cannot be watched.
    pub fn shared(listener: Listener, connections: usize, peers: Vec<Peer>) -> io::Result<Self> {
        let (entrance, slots) = (listener.open()?, Arc::new(Semaphore::new(connections)));
        let (press, pressed) = watch::channel(false);
        let source = Source::Listener { entrance, slots, peers, press, at_the_door: None };
        Ok(Self { source, load: Load::default(), pressed })
    }

    /// A worker that is handed its connections, and itself as the accepting worker sees it.
    pub fn handed() -> (Self, Peer) {
        /// Connections that may wait for a busy worker; then the accepting one keeps them.
        const QUEUE: usize = 64;
        let (sender, queue) = mpsc::channel(QUEUE);
        let load = Load::default();
        let (press, pressed) = watch::channel(false);
        let peer = Peer { queue: sender, load: load.clone(), press };
        (Self { source: Source::Handed(queue), load, pressed }, peer)
    }

    /// Hears of it when somebody waits for a place.
    pub(super) fn pressed(&self) -> watch::Receiver<bool> {
        self.pressed.clone()
    }

    /// Whether connections come here before they come to other workers.
    pub(super) fn is_first(&self) -> bool {
        matches!(self.source, Source::Listener { .. })
    }

    /// The next connection; `None` if none will come any more.
    pub(super) async fn next(&mut self) -> Option<Accepted> {
        let Self { source, load, .. } = self;
        match source {
            Source::Handed(queue) => loop {
                let handed = queue.recv().await?;
                if let Some(accepted) = handed.arrive(load) {
                    return Some(accepted);
                }
            },
            Source::Listener { entrance, slots, peers, press, at_the_door } => loop {
                if at_the_door.is_none() {
                    *at_the_door = Some(accept(entrance).await);
                }
                // Whoever stands at the door is the proof that room is wanted; behind them the
                // kernel's queue holds the callers back.
                let slot = if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
                    slot
                } else {
                    tell(press, peers, true);
                    Arc::clone(slots).acquire_owned().await.ok()?
                };
                tell(press, peers, false);
                let Some(stream) = at_the_door.take() else { continue };
                let Some(peer) = less_loaded(peers, load) else {
                    return Some(Accepted { stream, _place: Place::new(load, slot) });
                };
                if let Some(accepted) = hand_over(peer, stream, slot, load) {
                    return Some(accepted);
                }
            },
        }
    }

    /// Closes the entrance; who stands in it already still comes in.
    pub(super) async fn close(self) -> Vec<Accepted> {
        let Self { source, load, .. } = self;
        let mut last = Vec::new();
        match source {
            Source::Handed(mut queue) => {
                queue.close();
                while let Some(handed) = queue.recv().await {
                    last.extend(handed.arrive(&load));
                }
            }
            // Past tokio's own idea of readiness: the kernel is asked until it has nobody left.
            Source::Listener { entrance, slots, at_the_door, .. } => {
                if let (Some(stream), Ok(slot)) =
                    (at_the_door, Arc::clone(&slots).try_acquire_owned())
                {
                    last.push(Accepted { stream, _place: Place::new(&load, slot) });
                }
                let Ok(listener) = entrance.part() else { return last };
                while let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                    match listener.accept_now() {
                        Ok(socket) => last.extend(Handed { socket, slot }.arrive(&load)),
                        Err(error) if is_about_the_peer(&error) => {}
                        Err(_) => break,
                    }
                }
            }
        }
        last
    }
}

impl Handed {
    fn arrive(self, load: &Load) -> Option<Accepted> {
        // A socket that cannot be registered is one that is broken already.
        let stream = self.socket.join().ok()?;
        Some(Accepted { stream, _place: Place::new(load, self.slot) })
    }
}

/// Whether room is wanted, to all workers.
fn tell(press: &watch::Sender<bool>, peers: &[Peer], wanted: bool) {
    let set = |pressed: &mut bool| std::mem::replace(pressed, wanted) != wanted;
    for press in peers.iter().map(|peer| &peer.press).chain([press]) {
        press.send_if_modified(set);
    }
}

/// Accepts one connection. Errors of the peer are passed over; when the process has run out of
/// descriptors it pauses, because trying at once would only burn the processor.
async fn accept(entrance: &Entrance) -> Socket {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match entrance.accept().await {
            Ok(socket) => return socket,
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for the moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn less_loaded<'p>(peers: &'p [Peer], own: &Load) -> Option<&'p Peer> {
    let own = own.0.load(Relaxed);
    peers
        .iter()
        .map(|peer| (peer.load.0.load(Relaxed) + waiting_for(peer), peer))
        .filter(|(load, _)| *load < own)
        .min_by_key(|(load, _)| *load)
        .map(|(_, peer)| peer)
}

fn waiting_for(peer: &Peer) -> usize {
    peer.queue.max_capacity() - peer.queue.capacity()
}

/// Hands a connection to a peer, or gives it back if the peer cannot take it.
fn hand_over(
    peer: &Peer,
    stream: Socket,
    slot: OwnedSemaphorePermit,
    own: &Load,
) -> Option<Accepted> {
    let socket = stream.part().ok()?;
    match peer.queue.try_send(Handed { socket, slot }) {
        Ok(()) => None,
        Err(
            mpsc::error::TrySendError::Full(handed) | mpsc::error::TrySendError::Closed(handed),
        ) => handed.arrive(own),
    }
}
