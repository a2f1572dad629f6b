//! A timer that is set for every exchange and hardly ever fires.
//!
//! To set one and to take it back costs more than it should, so it is left to fire when it was last
//! set for, and looks then whether it is still early.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// A timer that can be asked at any time whether another time has come.
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(super) fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now().into())))
    }

    /// Ready once that time has come; whoever asks is woken then, and perhaps before.
    pub(super) fn poll_at(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let time = time.into();
        loop {
            if self.0.deadline() > time {
                self.0.as_mut().reset(time);
            }
            ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= time || tokio::time::Instant::now() >= time {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_at_the_time_that_is_asked_for_and_not_at_an_earlier_one() {
        let (start, mut alarm) = (tokio::time::Instant::now(), Alarm::new());
        for seconds in [9, 30, 10, 11] {
            let due = tokio::time::Instant::now() + Duration::from_secs(seconds);
            poll_fn(|cx| alarm.poll_at(due.into_std(), cx)).await;
            assert_eq!(tokio::time::Instant::now().duration_since(due).as_millis(), 0, "{start:?}");
        }
    }
}
