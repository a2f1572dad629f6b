//! Unused connections of one worker: the last one put back is the first one taken, so that what
//! is not needed grows old and goes.

use std::time::{Duration, Instant};

use super::Connection;

#[derive(Debug)]
pub(super) struct Pool {
    unused: Vec<Unused>,
    idle: Duration,
    capacity: usize,
}

#[derive(Debug)]
struct Unused {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(idle: Duration, capacity: usize) -> Self {
        Self { unused: Vec::new(), idle, capacity }
    }

    /// A connection that is open and at rest. One on which something came unasked is closed: it
    /// would be taken for the answer to the next call.
    pub(super) fn take(&mut self) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let index = self.unused.iter().rposition(|unused| {
                now.duration_since(unused.since) < self.idle && unused.connection.is_ready()
            })?;
            let connection = self.unused.remove(index).connection;
            if !connection.has_surplus() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection, if there is room; whether it did.
    pub(super) fn put(&mut self, connection: Connection) -> bool {
        self.unused.retain(|unused| !unused.connection.is_closed());
        if connection.is_closed() || self.unused.len() >= self.capacity {
            return false;
        }
        self.unused.push(Unused { connection, since: Instant::now() });
        true
    }

    /// Closes what was unused for too long; whether anything is left.
    pub(super) fn trim(&mut self, now: Instant) -> bool {
        let idle = self.idle;
        self.unused.retain(|unused| {
            now.duration_since(unused.since) < idle && !unused.connection.is_closed()
        });
        !self.unused.is_empty()
    }
}
