//! Attempts of one command: waits between them, and an end to patience.
//!
//! Two bounds, each for another trouble. Patience bounds the time without a coordinator that takes the
//! command up; the time in which an attempt works is not part of it, however long that is. The number
//! of attempts bounds a coordinator that takes the command up and breaks it off again and again; it
//! starts anew whenever something has arrived that need not be sent again.

use crate::failure::Failed;
use crate::job::Job;
use crate::link::Link;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use holdfast_service::failure::Code;
use std::time::Duration;
use tokio::time::Instant;

/// A command that breaks this often without getting anywhere has failed.
const MAX_ATTEMPTS: u32 = 30;
/// First wait after a break; doubled each time up to [`BACKOFF_MAX`], with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// The attempts of one command.
#[derive(Debug)]
pub struct Attempts {
    patience: Patience,
    backoff: ExponentialBackoff,
}

impl Attempts {
    /// Patience for `limit` without a connection.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            patience: Patience::new(limit, Instant::now()),
            backoff: builder().build(),
        }
    }

    /// Waits for a connection to the coordinator.
    ///
    /// # Errors
    /// When patience has ended.
    pub async fn link(&mut self, job: &Job) -> Result<Link, Failed> {
        job.meter.stage("waiting for the coordinator");
        let left = self.patience.left(Instant::now());
        job.site.link.get(left).await.ok_or_else(|| {
            Failed::new(
                Code::CoordinatorUnreachable,
                format!(
                    "no connection to the coordinator for {} s: see that it runs and can be reached from this node, then try again",
                    self.patience.limit.as_secs()
                ),
            )
        })
    }

    /// The coordinator has taken the command up: no time counts until the attempt breaks.
    pub fn accepted(&mut self) {
        self.patience.accepted();
    }

    /// Tells how many bytes have arrived to stay, over all attempts. More than before is progress.
    pub fn arrived(&mut self, bytes: u64) {
        if self.patience.arrived(bytes) {
            self.backoff = builder().build();
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The reason of the last break, when patience has ended.
    pub async fn pause(&mut self, broken: Failed) -> Result<(), Failed> {
        if !self.patience.goes_on(Instant::now()) {
            return Err(broken);
        }
        tracing::info!(reason = %broken.message, "interrupted; trying again");
        let pause = self.backoff.next().unwrap_or(BACKOFF_MAX);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The bounds alone, with the time as an argument.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    /// Since when nobody has taken the command up; none while an accepted attempt works.
    alone_since: Option<Instant>,
    attempts_left: u32,
    arrived: u64,
}

impl Patience {
    fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            alone_since: Some(now),
            attempts_left: MAX_ATTEMPTS,
            arrived: 0,
        }
    }

    fn left(&mut self, now: Instant) -> Duration {
        let since = *self.alone_since.get_or_insert(now);
        self.limit
            .saturating_sub(now.saturating_duration_since(since))
    }

    fn accepted(&mut self) {
        self.alone_since = None;
    }

    fn arrived(&mut self, bytes: u64) -> bool {
        let more = bytes > self.arrived;
        if more {
            self.arrived = bytes;
            self.attempts_left = MAX_ATTEMPTS;
        }
        more
    }

    /// Takes a break at `now` into account: whether there is another attempt.
    fn goes_on(&mut self, now: Instant) -> bool {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        let left = self.left(now);
        self.attempts_left > 0 && !left.is_zero()
    }
}

fn builder() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .without_max_times()
}

#[cfg(test)]
mod tests {
    use super::{MAX_ATTEMPTS, Patience};
    use std::time::Duration;
    use tokio::time::Instant;

    const LIMIT: Duration = Duration::from_secs(900);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_time_of_an_accepted_attempt_does_not_count() {
        let start = Instant::now();
        let mut patience = Patience::new(LIMIT, start);
        patience.accepted();
        let broke = start + 2 * LIMIT;
        assert!(patience.goes_on(broke), "it worked until now");
        assert_eq!(patience.left(broke + SECOND), LIMIT - SECOND);
        // attempts that nobody takes up don't lengthen it
        assert!(patience.goes_on(broke + LIMIT / 2));
        assert!(!patience.goes_on(broke + LIMIT));
    }

    #[test]
    fn a_command_that_is_never_taken_up_ends_in_time() {
        let start = Instant::now();
        let mut patience = Patience::new(LIMIT, start);
        assert!(patience.goes_on(start + LIMIT - SECOND));
        assert!(!patience.goes_on(start + LIMIT));
        assert_eq!(patience.left(start + 2 * LIMIT), Duration::ZERO);
    }

    #[test]
    fn breaks_are_counted_until_something_arrives() {
        let now = Instant::now();
        let mut patience = Patience::new(LIMIT, now);
        let breaks = |patience: &mut Patience| {
            (1..)
                .find(|_| {
                    patience.accepted();
                    !patience.goes_on(now)
                })
                .unwrap_or(0)
        };
        assert_eq!(breaks(&mut patience), MAX_ATTEMPTS);
        assert!(patience.arrived(7));
        assert_eq!(breaks(&mut patience), MAX_ATTEMPTS);
        assert!(!patience.arrived(7), "the same bytes are no progress");
    }
}
