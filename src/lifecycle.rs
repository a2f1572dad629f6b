//! The phases of a process, told to everyone who must change its behaviour with them.
//!
//! Phases only move forward, and only `app` moves them.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Listeners are not bound yet.
    Starting,
    /// Calls are taken.
    Serving,
    /// SIGTERM came: not ready any more, calls are still taken.
    Draining,
    /// No new connections; calls in flight are finished.
    Closing,
    /// What is still open is cut.
    Aborting,
}

impl Phase {
    /// As it stands in status and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Aborting => "aborting",
        }
    }
}

/// Moves the phase forward.
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<Phase>);

/// Sees the phase.
#[derive(Debug, Clone)]
pub struct Phases(watch::Receiver<Phase>);

impl Lifecycle {
    /// A life that begins.
    pub fn starting() -> (Self, Phases) {
        let (sender, receiver) = watch::channel(Phase::Starting);
        (Self(sender), Phases(receiver))
    }

    /// Goes on to a later phase; an earlier one is passed over.
    pub fn advance(&self, next: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = next > *phase;
            *phase = next.max(*phase);
            forward
        });
    }
}

impl Phases {
    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until this phase or a later one is reached. If nobody is left to move it, the end
    /// is reached as well.
    pub async fn reached(&mut self, wanted: Phase) {
        let _ = self.0.wait_for(|phase| *phase >= wanted).await;
    }
}

/// Asks a worker whether it is alive.
#[derive(Debug, Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// A worker's side of a [`Pulse`].
#[derive(Debug)]
pub struct Heart(mpsc::Receiver<oneshot::Sender<()>>);

/// A worker's heart, and how it is felt from outside.
pub fn heart() -> (Heart, Pulse) {
    /// Questions that may wait for an answer; whoever asks more waits to ask.
    const WAITING: usize = 16;
    let (sender, receiver) = mpsc::channel(WAITING);
    (Heart(receiver), Pulse(sender))
}

impl Heart {
    /// Answers for as long as the worker's runtime turns; ends when nobody is left to ask.
    pub async fn beat(mut self) {
        while let Some(reply) = self.0.recv().await {
            let _ = reply.send(());
        }
    }
}

impl Pulse {
    /// Whether the worker answers within a second.
    pub async fn is_felt(&self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(1);
        let (reply, answer) = oneshot::channel();
        let asked = async { self.0.send(reply).await.is_ok() && answer.await.is_ok() };
        timeout(PATIENCE, asked).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_move_forward() {
        let (life, phases) = Lifecycle::starting();
        life.advance(Phase::Closing);
        life.advance(Phase::Serving);
        assert_eq!(phases.now(), Phase::Closing);
    }
}
