//! Unused connections of one worker: the last one put back is the first one taken, so that what
//! is not needed grows old and goes.

use std::time::{Duration, Instant};

use super::Connection;

pub(super) struct Pool {
    unused: Vec<Unused>,
    idle: Duration,
    capacity: usize,
}

struct Unused {
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(idle: Duration, capacity: usize) -> Self {
        Self { unused: Vec::new(), idle, capacity }
    }

    /// A connection that is open and at rest. One on which something came unasked is closed: it
    /// would be taken for the answer to the next call.
    pub(super) fn take(&mut self) -> Option<Box<Connection>> {
        /// Since then the runtime has asked the kernel, unless it is very busy.
        const FRESH: Duration = Duration::from_millis(50);
        let now = Instant::now();
        while let Some(Unused { connection, since }) = self.unused.pop() {
            let unused = now.duration_since(since);
            let wire = connection.wire();
            let quiet = if unused < FRESH { wire.is_quiet() } else { wire.is_quiet_by_now() };
            if unused < self.idle && quiet {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection, if there is room and nothing came that nobody asked for; whether it is
    /// the only one.
    pub(super) fn put(&mut self, mut connection: Box<Connection>) -> bool {
        if self.unused.len() < self.capacity && connection.is_at_rest() {
            connection.rest();
            self.unused.push(Unused { connection, since: Instant::now() });
            return self.unused.len() == 1;
        }
        false
    }

    /// Closes what was unused for too long or has ended; whether anything is left.
    pub(super) fn trim(&mut self, now: Instant) -> bool {
        let idle = self.idle;
        self.unused.retain(|Unused { connection, since }| {
            now.duration_since(*since) < idle && connection.wire().is_quiet()
        });
        !self.unused.is_empty()
    }
}
