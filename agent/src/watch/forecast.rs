//! For how long the room on a volume lasts, from how it has changed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples further back say nothing of what happens now, unless there are no others.
const HORIZON: Duration = Duration::from_secs(3600);
/// Samples are no closer together: so the most that are kept reach back to the horizon.
const STEP: Duration = Duration::from_secs(5);
/// With less than that nothing is foretold.
const LEAST_SPAN: Duration = Duration::from_secs(300);
/// The same in samples.
const LEAST_SAMPLES: usize = 5;
/// Most samples that are kept.
const MOST_SAMPLES: usize = 720;
/// How much of the change a straight line must explain (coefficient of determination): optimizers take room and give it back.
const LEAST_FIT: f64 = 0.5;
/// What lasts longer is no news.
const FAR: Duration = Duration::from_secs(30 * 86_400);

/// How free room has changed, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Room(VecDeque<(Instant, u64)>);

impl Room {
    /// So much was free at this instant, which is no earlier than the ones before.
    pub(super) fn note(&mut self, at: Instant, free: u64) {
        let last = self.0.back().map(|(then, _)| *then);
        if last.is_some_and(|last| at.saturating_duration_since(last) < STEP) {
            return;
        }
        self.0.push_back((at, free));
        let old = |(then, _): &(Instant, u64)| at.saturating_duration_since(*then) > HORIZON;
        while self.0.len() > MOST_SAMPLES
            || (self.0.len() > LEAST_SAMPLES && self.0.front().is_some_and(old))
        {
            self.0.pop_front();
        }
    }

    /// When nothing will be left, counted from the last sample, if it goes on along the straight line of least squares. `None` if it does not
    /// shrink, goes up and down, lasts for more than a month, or is not known well enough.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let ((first, _), (last, left)) = (*self.0.front()?, *self.0.back()?);
        if self.0.len() < LEAST_SAMPLES || last.duration_since(first) < LEAST_SPAN {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a forecast needs no more digits"
        )]
        let points = self
            .0
            .iter()
            .map(|(at, free)| (at.duration_since(first).as_secs_f64(), *free as f64));
        let points: Vec<(f64, f64)> = points.collect();
        let Line { slope, fit } = Line::through(&points)?;
        if slope >= 0.0 || fit < LEAST_FIT {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a forecast needs no more digits"
        )]
        let secs = left as f64 / -slope;
        (secs <= FAR.as_secs_f64()).then(|| Duration::from_secs_f64(secs))
    }
}

/// The straight line of least squares through some points.
struct Line {
    slope: f64,
    /// The share of the variance that it explains, 0 to 1.
    fit: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "at most MOST_SAMPLES")]
        let count = points.len() as f64;
        let (mean_x, mean_y) = points
            .iter()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (mean_x, mean_y) = (mean_x / count, mean_y / count);
        let mut sums = (0.0, 0.0, 0.0);
        for (x, y) in points {
            let (dx, dy) = (x - mean_x, y - mean_y);
            sums = (sums.0 + dx * dx, sums.1 + dx * dy, sums.2 + dy * dy);
        }
        let (xx, xy, yy) = sums;
        // All at one instant, or nothing has changed.
        (xx > 0.0 && yy > 0.0).then(|| Self {
            slope: xy / xx,
            fit: xy * xy / (xx * yy),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Room;
    use std::time::{Duration, Instant};

    const MINUTE: Duration = Duration::from_secs(60);

    /// One sample a minute.
    fn room(free: impl IntoIterator<Item = u64>) -> Option<u64> {
        let start = Instant::now();
        let mut room = Room::default();
        for (minute, free) in (0..).zip(free) {
            room.note(start + MINUTE * minute, free);
        }
        room.lasts().map(|left| left.as_secs().div_ceil(60))
    }

    #[test]
    fn what_shrinks_evenly_ends() {
        assert_eq!(room((0..11).map(|n| 1000 - 10 * n)), Some(90));
        assert_eq!(room((0..11).map(|n| 100 - 10 * n)), Some(0), "full now");
    }

    #[test]
    fn what_does_not_shrink_lasts() {
        assert_eq!(room([1000; 30]), None);
        assert_eq!(room((0..30).map(|n| 1000 + n)), None);
        // An optimizer takes half of it and gives it back, again and again, and a little less each time.
        let saw = (0..60).map(|n| 1_000_000 - n - 500_000 * (n % 2));
        assert_eq!(room(saw), None);
        assert_eq!(room((0..60).map(|n| 100_000_000 - n)), None, "in years");
    }

    #[test]
    fn little_is_no_ground_for_a_forecast() {
        assert_eq!(room((0..5).map(|n| 1000 - 10 * n)), None, "4 minutes");
        assert_eq!(room((0..6).map(|n| 1000 - 10 * n)), Some(95));
        assert_eq!(room([]), None);
    }

    #[test]
    fn looks_that_are_far_apart_are_enough() {
        let start = Instant::now();
        let mut room = Room::default();
        for hour in 0..6 {
            room.note(start + MINUTE * 60 * hour, 1000 - 100 * u64::from(hour));
        }
        assert_eq!(room.0.len(), 5);
        assert_eq!(room.lasts(), Some(MINUTE * 60 * 5));
    }

    #[test]
    fn looks_in_a_row_are_one_sample() {
        let start = Instant::now();
        let mut room = Room::default();
        for second in 0..20 {
            room.note(start + Duration::from_secs(second), 1000 - second);
        }
        assert_eq!(room.0.len(), 4);
    }

    #[test]
    fn an_hour_later_the_past_is_forgotten() {
        let shrank = (0..60).map(|n| 100_000 - 1000 * n);
        let then = std::iter::repeat_n(40_000, 61);
        assert_eq!(room(shrank.chain(then)), None);
    }
}
