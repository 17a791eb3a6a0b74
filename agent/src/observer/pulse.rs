//! Whether the local Qdrant answers at all: its simplest question, asked again and again beside everything else.
//!
//! Looks and captures wait for locks within Qdrant, and for other nodes of its cluster: that they take long says nothing.
//! `GET /` needs neither.

use holdfast_proto::v1;
use holdfast_qdrant::QdrantClient;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(3);
/// A question that is not answered within this is given up, and asked again.
const WITHIN: Duration = Duration::from_secs(5);

/// How Qdrant answers.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// When the question was asked that was answered last; at first, when this began.
    answered: Instant,
    took: Duration,
    /// Whether the newest question was answered.
    alive: bool,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            answered: Instant::now(),
            took: Duration::ZERO,
            alive: true,
        }))
    }

    /// Asks until `stop` is cancelled.
    pub(super) async fn beat(&self, qdrant: &QdrantClient, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let asked = Instant::now();
            let answer = tokio::select! {
                answer = tokio::time::timeout(WITHIN, qdrant.root_apart()) => answer,
                () = stop.cancelled() => return,
            };
            match answer {
                Ok(Ok(_)) => self.note(asked, Some(asked.elapsed())),
                Ok(Err(_)) | Err(_) => self.note(asked, None),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn note(&self, asked: Instant, took: Option<Duration>) {
        let mut state = self.lock();
        state.alive = took.is_some();
        if let Some(took) = took {
            *state = State {
                answered: asked,
                took,
                alive: true,
            };
        }
    }

    /// Puts it into a heartbeat.
    pub(super) fn tell(&self, beat: &mut v1::Heartbeat) {
        (beat.qdrant_silent_ms, beat.qdrant_answer_ms) = self.figures(Instant::now());
    }

    /// Milliseconds of silence, and those that the last answer took.
    fn figures(&self, now: Instant) -> (u64, u64) {
        let state = *self.lock();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let silent = millis(now.saturating_duration_since(state.answered)).max(1);
        (if state.alive { 0 } else { silent }, millis(state.took))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Pulse;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn silence_counts_from_the_last_answer() {
        let pulse = Pulse::new();
        let start = Instant::now();
        assert_eq!(pulse.figures(start), (0, 0));
        pulse.note(start, Some(Duration::from_millis(7)));
        let later = start + Duration::from_secs(20);
        assert_eq!(pulse.figures(later), (0, 7), "nobody has asked since");
        pulse.note(later, None);
        assert_eq!(pulse.figures(later), (20_000, 7));
        pulse.note(later, Some(Duration::from_millis(3)));
        assert_eq!(pulse.figures(later), (0, 3));
    }
}
