//! Where connections come from: a listener, or a worker that has more than its share.
//!
//! One worker accepts and hands each connection to the least loaded one. Applications keep few
//! connections open, so the kernel's own spreading by hash would leave workers without any.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{io, net};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Connections that the kernel completes for us while we are busy.
const BACKLOG: i32 = 1024;

/// Binds a listening socket, fit for tokio. Needs no runtime.
///
/// # Errors
/// What the system says: the address is in use, is not ours, or may not be bound.
pub fn bind(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // a restart must not wait for old connections to time out
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How many connections a worker has open.
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<AtomicUsize>);

/// Another worker, as the one that accepts sees it.
#[derive(Debug)]
pub struct Peer {
    queue: mpsc::Sender<Handed>,
    load: Load,
}

/// Where connections come from.
#[derive(Debug)]
pub enum Intake {
    /// From the listener, shared with the peers.
    Listener {
        /// Bound and listening.
        listener: TcpListener,
        /// One permit a connection, all workers together.
        slots: Arc<Semaphore>,
        /// Our own load.
        load: Load,
        /// The other workers.
        peers: Vec<Peer>,
    },
    /// From the worker that accepts.
    Handed {
        /// Connections on their way to us.
        queue: mpsc::Receiver<Handed>,
        /// Our own load.
        load: Load,
    },
}

/// A connection on its way from one worker to another.
#[derive(Debug)]
pub struct Handed {
    stream: net::TcpStream,
    slot: OwnedSemaphorePermit,
}

/// A connection and its place among those that may be open.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) place: Place,
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    load: Load,
    slot: OwnedSemaphorePermit,
}

impl Accepted {
    /// The places of all connections, taken and free.
    pub(super) fn places(&self) -> &Arc<Semaphore> {
        self.place.slot.semaphore()
    }
}

impl Place {
    fn new(load: &Load, slot: OwnedSemaphorePermit) -> Self {
        load.0.fetch_add(1, Relaxed);
        Self { load: load.clone(), slot }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.0.fetch_sub(1, Relaxed);
    }
}

impl Intake {
    /// A listener of one worker alone.
    ///
    /// # Errors
    /// If the socket cannot be watched.
    pub fn alone(listener: net::TcpListener, connections: usize) -> io::Result<Self> {
        Ok(Self::Listener {
            listener: TcpListener::from_std(listener)?,
            slots: Arc::new(Semaphore::new(connections)),
            load: Load::default(),
            peers: Vec::new(),
        })
    }

    /// A worker that is handed its connections, and itself as the accepting worker sees it.
    pub fn handed() -> (Self, Peer) {
        /// Connections that may wait for a busy worker; then the accepting one keeps them.
        const QUEUE: usize = 64;
        let (sender, queue) = mpsc::channel(QUEUE);
        let load = Load::default();
        (Self::Handed { queue, load: load.clone() }, Peer { queue: sender, load })
    }

    /// The next connection; `None` if none will come any more.
    pub(super) async fn next(&mut self) -> Option<Accepted> {
        match self {
            Self::Handed { queue, load } => loop {
                let handed = queue.recv().await?;
                if let Some(accepted) = handed.arrive(load) {
                    return Some(accepted);
                }
            },
            Self::Listener { listener, slots, load, peers } => loop {
                // Without a free place the kernel's queue holds the callers back.
                let slot = Arc::clone(slots).acquire_owned().await.ok()?;
                let stream = accept(listener).await;
                let Some(peer) = less_loaded(peers, load) else {
                    return Some(Accepted { stream, place: Place::new(load, slot) });
                };
                if let Some(accepted) = hand_over(peer, stream, slot, load) {
                    return Some(accepted);
                }
            },
        }
    }

    /// Closes the entrance; who stands in it already still comes in.
    pub(super) async fn close(self) -> Vec<Accepted> {
        let mut last = Vec::new();
        match self {
            Self::Handed { mut queue, load } => {
                queue.close();
                while let Some(handed) = queue.recv().await {
                    last.extend(handed.arrive(&load));
                }
            }
            // Past tokio's own idea of readiness: the kernel is asked until it has nobody left.
            Self::Listener { listener, slots, load, .. } => {
                let Ok(listener) = listener.into_std() else { return last };
                while let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            if stream.set_nonblocking(true).is_ok() {
                                last.extend(Handed { stream, slot }.arrive(&load));
                            }
                        }
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
        let stream = TcpStream::from_std(self.stream).ok()?;
        Some(Accepted { stream, place: Place::new(load, self.slot) })
    }
}

/// Accepts one connection. Errors of the peer are passed over; when the process has run out of
/// descriptors it pauses, because trying at once would only burn the processor.
async fn accept(listener: &TcpListener) -> TcpStream {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
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
    stream: TcpStream,
    slot: OwnedSemaphorePermit,
    own: &Load,
) -> Option<Accepted> {
    let stream = stream.into_std().ok()?;
    match peer.queue.try_send(Handed { stream, slot }) {
        Ok(()) => None,
        Err(
            mpsc::error::TrySendError::Full(handed) | mpsc::error::TrySendError::Closed(handed),
        ) => handed.arrive(own),
    }
}
