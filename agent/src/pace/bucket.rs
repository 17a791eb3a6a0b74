//! A token bucket whose rate may change: who takes more than was earned waits until it is.
//!
//! Kept as one instant, that at which everything taken will have been earned, as in ITU-T I.371's "generic cell rate
//! algorithm". Hardly anything is saved up: what a bound is for is the database beside it, not the average of a minute.

use std::time::Duration;
use tokio::time::Instant;

/// Most that can be saved up or owed: timers are not finer than a few milliseconds.
pub(super) const SLACK: Duration = Duration::from_millis(20);

/// Bytes earned at a rate.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes per second, at least 1; `None` for no bound.
    rate: Option<u64>,
    earned_at: Instant,
}

impl Bucket {
    /// An empty one.
    pub(super) fn new(rate: Option<u64>, now: Instant) -> Self {
        Self {
            rate: rate.map(|rate| rate.max(1)),
            earned_at: now,
        }
    }

    /// Takes `bytes`; yields for how long the taker has to wait.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let saved = now.checked_sub(SLACK).unwrap_or(now);
        let base = self.earned_at.max(saved);
        self.earned_at = base.checked_add(cost(bytes, rate)).unwrap_or(base);
        let owed = self.earned_at.saturating_duration_since(now);
        if owed > SLACK { owed } else { Duration::ZERO }
    }

    /// Another rate from now on. What is owed stays owed, at that rate.
    pub(super) fn set_rate(&mut self, rate: Option<u64>, now: Instant) {
        let rate = rate.map(|rate| rate.max(1));
        let owed = self.earned_at.saturating_duration_since(now);
        self.earned_at = match (self.rate, rate) {
            (Some(before), Some(rate)) => {
                let bytes = owed.as_nanos().saturating_mul(u128::from(before)) / 1_000_000_000;
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                now.checked_add(cost(bytes, rate)).unwrap_or(now)
            }
            (None, _) | (_, None) => now,
        };
        self.rate = rate;
    }
}

/// How long it takes to earn so many bytes.
pub(super) fn cost(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Bucket, SLACK, cost};
    use proptest::prelude::{any, prop, prop_assert, proptest};
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn what_is_taken_is_waited_for() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Some(1000), now);
        assert_eq!(bucket.take(20, now), Duration::ZERO, "a little may be owed");
        assert_eq!(bucket.take(980, now), Duration::from_secs(1));
        assert_eq!(bucket.take(500, now), Duration::from_millis(1500));
        let later = now + Duration::from_secs(60);
        let rested = bucket.take(1000, later);
        assert_eq!(rested, Duration::from_secs(1) - SLACK, "rest earns nothing");
        let mut free = Bucket::new(None, now);
        assert_eq!(free.take(u64::MAX, now), Duration::ZERO);
    }

    #[test]
    fn debts_follow_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Some(1000), now);
        bucket.take(1000, now);
        bucket.set_rate(Some(500), now);
        assert_eq!(bucket.take(0, now), Duration::from_secs(2));
        bucket.set_rate(None, now);
        bucket.set_rate(Some(1), now);
        assert_eq!(bucket.take(0, now), Duration::ZERO, "forgiven");
        bucket.set_rate(Some(0), now);
        bucket.take(u64::MAX, now);
        bucket.set_rate(Some(u64::MAX), now);
    }

    proptest! {
        /// Who waits as told never has more than was earned, but for the slack, whatever pieces and pauses.
        #[test]
        fn nobody_gets_more_than_was_earned(
            rate in 1_u64..1 << 40,
            taken in prop::collection::vec((0_u64..1 << 24, 0_u64..200), 1..60),
            idle in any::<bool>(),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(Some(rate), start);
            let (mut now, mut sum) = (start, 0_u64);
            for (bytes, pause) in taken {
                sum += bytes;
                now += bucket.take(bytes, now);
                let earned = now - start + 2 * SLACK;
                prop_assert!(cost(sum, rate) <= earned, "{sum} bytes in {earned:?}");
                if idle {
                    now += Duration::from_millis(pause);
                }
            }
        }
    }
}
