//! What an operator wants to know of the pairs, and is told when it changes.

use super::standing::Standing;
use crate::telemetry::code::Pair;
use crate::telemetry::metrics::Metrics;

/// What an operator wants to know of the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Situation {
    on_standby: bool,
    primary: State,
    standby: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    refused: bool,
    breaker_open: bool,
}

impl Situation {
    /// Of pairs that stand like this; of the standby only if it was read.
    pub(super) fn of(primary: &Standing, standby: Option<&Standing>) -> Self {
        let on_standby = primary.is_refused() && standby.is_some_and(|other| !other.is_refused());
        let standby = standby.map(State::of).unwrap_or_default();
        Self { on_standby, primary: State::of(primary), standby }
    }

    /// Which pair new calls are sent with.
    pub(super) fn serving(self) -> Pair {
        if self.on_standby { Pair::Standby } else { Pair::Primary }
    }

    /// Tells in what it is different.
    pub(super) fn tell(self, before: Self, metrics: &Metrics) {
        for (pair, before, now) in [
            (Pair::Primary, before.primary, self.primary),
            (Pair::Standby, before.standby, self.standby),
        ] {
            metrics.credentials(pair).stands(pair == self.serving(), now.breaker_open);
            let pair = pair.as_str();
            match (before.refused, now.refused) {
                (false, true) => tracing::warn!(pair, "InnoPaaS refuses the pair"),
                (true, false) => tracing::info!(pair, "the pair is not refused any more"),
                (false, false) | (true, true) => {}
            }
            if !before.breaker_open && now.breaker_open {
                tracing::error!(
                    pair,
                    "the pair is refused so often that InnoPaaS is spared until it is replaced"
                );
            }
        }
        match (before.on_standby, self.on_standby) {
            (false, true) => tracing::warn!("calls are sent with the standby pair"),
            (true, false) => tracing::info!("calls are sent with the primary pair again"),
            (false, false) | (true, true) => {}
        }
    }
}

impl State {
    fn of(standing: &Standing) -> Self {
        Self { refused: standing.is_refused(), breaker_open: standing.is_breaker_open() }
    }
}
