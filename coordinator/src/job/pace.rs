//! How fast something goes on, of what is told of it: bytes done, every now and then.

use holdfast_types::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// What is further back does not count.
const WINDOW: Duration = Duration::from_secs(30);
/// Two reports this close are one.
const STEP: Duration = Duration::from_millis(500);

/// Bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// The last reports. At most one each [`STEP`] of a [`WINDOW`] and two more.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    told: VecDeque<(Timestamp, u64)>,
}

impl Pace {
    /// So many bytes are done. Fewer than before mean that it began again.
    pub fn tell(&mut self, at: Timestamp, done: u64) {
        if self.told.back().is_some_and(|(_, before)| done < *before) {
            self.told.clear();
        }
        let previous = self
            .told
            .len()
            .checked_sub(2)
            .and_then(|i| self.told.get(i));
        if previous.is_some_and(|(before, _)| at.since(*before) < STEP) {
            self.told.pop_back();
        }
        self.told.push_back((at, done));
        // The one before the window is kept: the window begins between it and the next.
        while self
            .told
            .get(1)
            .is_some_and(|(next, _)| at.since(*next) >= WINDOW)
        {
            self.told.pop_front();
        }
    }

    /// How fast it goes on; `None` while that can't be said.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> Option<Rate> {
        let (first, last) = (self.told.front()?, self.told.back()?);
        // Silence counts, as soon as it is longer than the usual distance of two reports.
        let silence = now.since(last.0);
        let until = if silence > 4 * STEP { now } else { last.0 };
        let micros = until.since(first.0).as_micros();
        if last.0.since(first.0) < STEP || micros == 0 {
            return None;
        }
        let bytes = u128::from(last.1 - first.1) * 1_000_000 / micros;
        Some(Rate(u64::try_from(bytes).unwrap_or(u64::MAX)))
    }
}

impl Rate {
    /// How long so many bytes take; `None` if nothing goes on.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Option<Duration> {
        let millis = (u128::from(bytes) * 1000).checked_div(u128::from(self.0))?;
        Some(Duration::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }

    /// So many bytes in this time.
    #[must_use]
    pub fn over(bytes: u64, millis: u64) -> Option<Self> {
        let rate = (u128::from(bytes) * 1000).checked_div(u128::from(millis))?;
        Some(Self(u64::try_from(rate).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, Rate};
    use holdfast_types::Timestamp;
    use std::time::Duration;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    fn pace(told: &[(i64, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (millis, done) in told {
            pace.tell(at(*millis), *done);
        }
        pace
    }

    #[test]
    fn a_rate_needs_time_and_forgets_the_distant_past() {
        assert_eq!(pace(&[]).rate(at(0)), None);
        assert_eq!(pace(&[(0, 5)]).rate(at(9000)), None);
        assert_eq!(pace(&[(0, 5), (100, 50)]).rate(at(100)), None);
        assert_eq!(pace(&[(0, 0), (1000, 500)]).rate(at(1000)), Some(Rate(500)));
        // An hour at nothing, then ten seconds at 100 a second.
        let mut told = vec![(0, 0), (3_600_000, 0)];
        told.extend((1..=400).map(|s| (3_600_000 + s * 100, u64::try_from(s).unwrap() * 10)));
        let rate = pace(&told).rate(at(3_640_000)).unwrap();
        assert!((95..=105).contains(&rate.0), "{rate:?}");
    }

    #[test]
    fn what_begins_again_has_the_rate_of_its_second_attempt() {
        let pace = pace(&[(0, 0), (1000, 1_000_000), (2000, 0), (3000, 10)]);
        assert_eq!(pace.rate(at(3000)), Some(Rate(10)));
    }

    #[test]
    fn silence_slows_down() {
        let pace = pace(&[(0, 0), (1000, 1000)]);
        assert_eq!(pace.rate(at(2000)), Some(Rate(1000)));
        assert_eq!(pace.rate(at(10_000)), Some(Rate(100)));
    }

    #[test]
    fn many_reports_take_little_memory() {
        let told: Vec<(i64, u64)> = (0..100_000).map(|i| (i, 1)).collect();
        assert!(pace(&told).told.len() <= 63, "{}", pace(&told).told.len());
    }

    #[test]
    fn times_and_rates() {
        assert_eq!(Rate(100).time_for(250), Some(Duration::from_millis(2500)));
        assert_eq!(Rate(0).time_for(1), None);
        assert_eq!(Rate::over(10, 0), None);
        assert_eq!(Rate::over(10, 2000), Some(Rate(5)));
    }
}
