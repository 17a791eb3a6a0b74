//! How far a copy is behind: a pure function.

use crate::catalog::PointSummary;
use holdfast_types::{RecoveryPointId, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a copy lacks of what it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Recovery points.
    pub points: u64,
    /// Bytes that they added to the repository: about what has to be copied.
    pub bytes: u64,
    /// The age of the oldest of them, since its commit.
    pub age: Duration,
}

/// The lag at `now` of a copy that holds `there` of `wanted`.
pub(super) fn lag<'a>(
    wanted: impl Iterator<Item = &'a PointSummary>,
    there: &BTreeSet<RecoveryPointId>,
    now: Timestamp,
) -> Lag {
    let mut lag = Lag::default();
    for point in wanted.filter(|point| !there.contains(&point.id)) {
        lag.points += 1;
        lag.bytes = lag.bytes.saturating_add(point.stats.stored_bytes);
        lag.age = lag.age.max(now.since(point.committed));
    }
    lag
}

#[cfg(test)]
mod tests {
    use super::{Lag, lag};
    use crate::catalog::PointSummary;
    use crate::fixture::manifest;
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn it_is_what_is_missing_and_the_age_of_the_oldest_of_it() {
        let points: Vec<_> = [(1, 10), (2, 20), (3, 30)]
            .map(|(n, seconds)| {
                let id = format!("20261121t101530z-0000000{n}");
                let mut point = PointSummary::of(&manifest(&id, 0));
                point.committed = Timestamp::EPOCH.after(Duration::from_secs(seconds));
                point.stats.stored_bytes = 100;
                point
            })
            .into();
        let now = Timestamp::EPOCH.after(Duration::from_secs(50));
        let there = [points[0].id.clone()].into();
        let want = Lag {
            points: 2,
            bytes: 200,
            age: Duration::from_secs(30),
        };
        assert_eq!(lag(points.iter(), &there, now), want);
        let all = points.iter().map(|point| point.id.clone()).collect();
        assert_eq!(lag(points.iter(), &all, now), Lag::default());
    }
}
