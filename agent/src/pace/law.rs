//! By how much a capture slows down for the searches of others: additive increase, multiplicative decrease, as TCP does it
//! (Chiu and Jain, 1989), so that many captures that see the same server share what it can give.
//!
//! | a look says | the rate |
//! |---|---|
//! | searches take longer than they may | half of it, or of what was read since the last look; never below the floor |
//! | they don't, or there have been none for some looks | a step more; free again at the ceiling |
//! | there were none just now | as it is: they may be waiting |
//!
//! A capture is held up no longer than it may be in all. Then it goes on as if nobody had asked.

use std::time::Duration;

/// With less than this a capture would not end. Where its share of the bandwidth is small, half of that is the floor.
pub(super) const FLOOR: u64 = 1 << 20;
/// Added with each look that finds searches quick.
const STEP: u64 = 4 << 20;
/// Where nothing else bounds it, a capture that may read so much may read as much as it can.
const CEILING: u64 = 1 << 30;
/// So many looks in a row without a search mean that nobody searches.
const NOBODY: u32 = 3;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// How long searches took since the last look; `None` if there were none, or nobody tells.
    pub(super) latency: Option<Duration>,
    /// Bytes per second that were read meanwhile.
    pub(super) read: u64,
    /// For how long the capture was held up meanwhile.
    pub(super) held_up: Duration,
}

/// The law, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Law {
    limit: Duration,
    ceiling: u64,
    floor: u64,
    left: Duration,
    rate: Option<u64>,
    silent: u32,
}

impl Law {
    /// Searches may take `limit`; the capture may be held up for `delay` in all, and read `ceiling` bytes per second at most.
    pub(super) fn new(limit: Duration, delay: Duration, ceiling: Option<u64>) -> Self {
        let ceiling = ceiling.unwrap_or(CEILING).clamp(1, CEILING);
        Self {
            limit,
            ceiling,
            floor: floor(ceiling),
            left: delay,
            rate: None,
            silent: 0,
        }
    }

    /// Takes a look in. Yields the bytes per second from now on; `None` if nothing is slowed down.
    pub(super) fn look(&mut self, look: Look) -> Option<u64> {
        self.left = self.left.saturating_sub(look.held_up);
        if self.is_spent() {
            self.rate = None;
            return None;
        }
        match look.latency {
            Some(latency) if latency > self.limit => {
                self.silent = 0;
                let before = self.rate.unwrap_or(look.read).min(self.ceiling);
                self.rate = Some((before / 2).max(self.floor));
            }
            Some(_) => {
                self.silent = 0;
                self.recover();
            }
            None => {
                self.silent = self.silent.saturating_add(1);
                if self.silent >= NOBODY {
                    self.recover();
                }
            }
        }
        self.rate
    }

    fn recover(&mut self) {
        let more = self.rate.map(|rate| rate.saturating_add(STEP));
        self.rate = more.filter(|rate| *rate < self.ceiling);
    }

    /// Whether it was held up for as long as it may be.
    pub(super) fn is_spent(&self) -> bool {
        self.left.is_zero()
    }
}

fn floor(ceiling: u64) -> u64 {
    FLOOR.min(ceiling / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::{CEILING, FLOOR, Law, Look, NOBODY, STEP, floor};
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    const MIB: u64 = 1 << 20;
    const LIMIT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(3600);

    fn look(latency: Option<u64>, read: u64) -> Look {
        Look {
            latency: latency.map(Duration::from_millis),
            read,
            held_up: Duration::ZERO,
        }
    }

    #[test]
    fn halves_step_by_step_and_recovers() {
        let mut law = Law::new(LIMIT, LONG, None);
        assert_eq!(
            law.look(look(Some(50), 100 * MIB)),
            None,
            "the limit is allowed"
        );
        assert_eq!(law.look(look(Some(51), 100 * MIB)), Some(50 * MIB));
        assert_eq!(law.look(look(Some(900), 3)), Some(25 * MIB));
        assert_eq!(
            law.look(look(None, 3)),
            Some(25 * MIB),
            "they may be waiting"
        );
        assert_eq!(law.look(look(Some(20), 3)), Some(25 * MIB + STEP));
        for _ in 1..NOBODY {
            assert_eq!(law.look(look(None, 3)), Some(25 * MIB + STEP));
        }
        assert_eq!(
            law.look(look(None, 3)),
            Some(25 * MIB + 2 * STEP),
            "nobody searches"
        );
    }

    #[test]
    fn a_small_share_is_a_small_floor() {
        let mut law = Law::new(LIMIT, LONG, Some(FLOOR / 4));
        assert_eq!(law.look(look(Some(99), FLOOR)), Some(FLOOR / 8));
        assert_eq!(law.look(look(Some(99), FLOOR)), Some(FLOOR / 8));
        assert_eq!(law.look(look(Some(1), FLOOR)), None);
    }

    #[test]
    fn held_up_for_long_enough_it_goes_on() {
        let mut law = Law::new(LIMIT, Duration::from_secs(3), None);
        let slow = |held_up: u64| Look {
            held_up: Duration::from_secs(held_up),
            ..look(Some(99), 8 * MIB)
        };
        assert_eq!(law.look(slow(0)), Some(4 * MIB));
        assert_eq!(law.look(slow(2)), Some(2 * MIB));
        assert_eq!(law.look(slow(1)), None);
        assert!(law.is_spent());
        assert_eq!(law.look(slow(0)), None, "whatever searches take");
    }

    fn looks() -> impl Strategy<Value = Vec<Look>> {
        let one = (prop::option::of(0..200_u64), any::<u64>());
        prop::collection::vec(one.prop_map(|(latency, read)| look(latency, read)), 0..200)
    }

    proptest! {
        #[test]
        fn always_between_floor_and_ceiling(
            looks in looks(),
            ceiling in prop::option::of(any::<u64>()),
        ) {
            let mut law = Law::new(LIMIT, LONG, ceiling);
            let ceiling = ceiling.unwrap_or(CEILING).clamp(1, CEILING);
            let mut before: Option<u64> = None;
            for look in looks {
                let rate = law.look(look);
                if let Some(rate) = rate {
                    prop_assert!(rate >= floor(ceiling) && rate <= ceiling);
                }
                match look.latency {
                    Some(latency) if latency > LIMIT => {
                        prop_assert!(rate.is_some(), "slow searches always slow it down");
                        let most = before.map_or(ceiling, |before| before / 2);
                        prop_assert!(rate <= Some(most.max(floor(ceiling))));
                    }
                    Some(_) | None => {
                        // Never slower than before; `None` is as fast as it goes.
                        let speed = |rate: Option<u64>| rate.unwrap_or(u64::MAX);
                        prop_assert!(speed(rate) >= speed(before));
                    }
                }
                before = rate;
            }
            // Calm for long enough, it is free again.
            let calm = look(Some(0), 0);
            let steps = ceiling / STEP + 2;
            let last = (0..steps).map(|_| law.look(calm)).last();
            prop_assert_eq!(last, Some(None));
        }

        /// A server whose searches suffer from each byte that is read, held up second by second: the capture ends, and is
        /// not held up for longer than it may be.
        #[test]
        fn a_capture_ends_within_its_delay(
            size in 1..2_000_u64,
            speed in 1..500_u64,
            suffers in 0..1_000_u64,
            delay in 1..200_u64,
        ) {
            let mut law = Law::new(LIMIT, Duration::from_secs(delay), None);
            let (mut left, mut seconds, mut held) = (size * MIB, 0, Duration::ZERO);
            let mut rate = None;
            while left > 0 {
                let full = speed * MIB;
                let read = rate.unwrap_or(full).min(full);
                let held_up = Duration::from_nanos((full - read) * 1000 / full * 1_000_000);
                held += held_up;
                left = left.saturating_sub(read);
                seconds += 1;
                let latency = suffers * read / full;
                rate = law.look(Look { latency: Some(Duration::from_millis(latency)), read, held_up });
            }
            prop_assert!(held <= Duration::from_secs(delay + 1), "{held:?}");
            prop_assert!(seconds <= size / speed + delay + 3, "{seconds}");
        }
    }
}
