//! The end: told to by a signal, first with the door open, then with it shut.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::worker::Workers;
use super::{Ended, died};
use crate::config::Config;
use crate::lifecycle::{Lifecycle, Phase};
use crate::server::Drained;
use crate::telemetry::metrics::Metrics;

/// Waits for the workers to finish what they have in flight, and cuts what they cannot finish.
pub(super) async fn drain(
    life: &Lifecycle,
    config: &Config,
    metrics: &Metrics,
    signals: &mut Signals,
    workers: &mut Workers,
) -> Ended {
    /// For workers to notice that they must stop at once.
    const ABORT: Duration = Duration::from_secs(1);
    let (minimum, maximum) = (config.drain.minimum, config.drain.maximum);
    tracing::info!(?minimum, ?maximum, "draining");
    life.advance(Phase::Draining);
    let finished = async {
        sleep(minimum).await;
        life.advance(Phase::Closing);
        join_all(workers).await
    };
    let finished = tokio::select! {
        finished = timeout(maximum, finished) => finished.ok(),
        () = signals.next() => None,
    };
    let finished = if finished.is_some() {
        finished
    } else {
        metrics.cutting();
        life.advance(Phase::Aborting);
        timeout(ABORT, join_all(workers)).await.ok()
    };
    match finished {
        Some(Some(Drained { cut: 0 })) => {
            tracing::info!("drained");
            Ended::Drained
        }
        Some(Some(Drained { cut })) => {
            tracing::warn!(cut, "calls were cut at the end of the drain");
            Ended::Cut(cut)
        }
        Some(None) => died("a worker"),
        None => {
            tracing::error!("a worker hangs; what it had in flight is cut");
            Ended::Cut(1)
        }
    }
}

/// What became of all workers; `None` if one died.
async fn join_all(workers: &mut Workers) -> Option<Drained> {
    let mut sum = Some(Drained::default());
    while let Some(ended) = workers.join_next().await {
        sum = match (sum, ended) {
            (Some(sum), Ok(Ok(drained))) => Some(Drained { cut: sum.cut + drained.cut }),
            (_, _) => None,
        };
    }
    sum
}

/// SIGTERM and SIGINT, which mean the same.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
