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
    /// For workers to notice that they must stop at once; longer than a connection may linger.
    const ABORT: Duration = Duration::from_secs(3);
    let (minimum, maximum) = (config.drain.minimum, config.drain.maximum);
    tracing::info!(?minimum, ?maximum, "draining");
    life.advance(Phase::Draining);
    let mut sum = Sum::default();
    let finished = async {
        sleep(minimum).await;
        life.advance(Phase::Closing);
        sum.add_all(workers).await;
    };
    let finished = tokio::select! {
        finished = timeout(maximum, finished) => finished.is_ok(),
        () = signals.next() => {
            tracing::warn!("told again to end; what is in flight is cut");
            false
        }
    };
    if !finished {
        metrics.cutting();
        life.advance(Phase::Aborting);
        if timeout(ABORT, sum.add_all(workers)).await.is_err() {
            tracing::error!("a worker hangs; what it had in flight is cut");
            sum.cut += 1;
        }
    }
    match sum {
        Sum { died: true, .. } => died("a worker"),
        Sum { cut: 0, .. } => {
            tracing::info!("drained");
            Ended::Drained
        }
        Sum { cut, .. } => {
            tracing::warn!(cut, "calls were cut at the end of the drain");
            Ended::Cut(cut)
        }
    }
}

/// What became of the workers that have ended.
#[derive(Debug, Default)]
struct Sum {
    cut: usize,
    died: bool,
}

impl Sum {
    async fn add_all(&mut self, workers: &mut Workers) {
        while let Some(ended) = workers.join_next().await {
            match ended {
                Ok(Ok(Drained { cut })) => self.cut += cut,
                Ok(Err(_)) | Err(_) => self.died = true,
            }
        }
    }
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
