//! A token bucket that can go into debt: who takes more than there is waits until it is earned.
//!
//! Kept as one instant instead of a level (the "generic cell rate algorithm" of ITU-T I.371): the time
//! at which everything taken so far will have been earned. The clock is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// Most that can be saved up: one second's worth.
const SAVED: Duration = Duration::from_secs(1);

/// Tokens earned at a steady rate.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// When everything taken so far will have been earned, were nothing saved.
    earned_at: Instant,
}

impl Bucket {
    /// A full one. `per_second` is at least 1.
    pub(super) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            earned_at: now,
        }
    }

    /// Takes `amount`; yields when the taker may go on.
    pub(super) fn take(&mut self, amount: u64, now: Instant) -> Instant {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let base = self.earned_at.max(now);
        self.earned_at = base.checked_add(cost).unwrap_or(base);
        self.earned_at.checked_sub(SAVED).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_second_is_saved_and_more_is_waited_for() {
        let now = Instant::now();
        let at = |tenths: u64| now + Duration::from_millis(tenths * 100);
        let mut bucket = Bucket::new(10, now);
        assert_eq!(bucket.take(10, now), now);
        assert_eq!(bucket.take(1, now), at(1));
        assert_eq!(bucket.take(20, now), at(21));
        assert_eq!(bucket.take(0, at(21)), at(21));
        assert_eq!(bucket.take(10, at(31)), at(31), "saved up again");
        assert_eq!(bucket.take(5, at(1000)), at(1000));
        assert_eq!(bucket.take(6, at(1000)), at(1001), "only a second's worth");
    }

    #[test]
    fn no_amount_overflows() {
        let now = Instant::now();
        let mut bucket = Bucket::new(0, now);
        for _ in 0..3 {
            assert!(bucket.take(u64::MAX, now) >= now);
        }
    }
}
