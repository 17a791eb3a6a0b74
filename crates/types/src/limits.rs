//! How much a backup may take from the database.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Bounds on a backup; the default has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureLimits {
    /// Nodes that are captured at once; on each it is one shard at a time. `None` for all.
    pub max_nodes: Option<NonZeroU32>,
    /// Bytes per second of all nodes together, in MiB: what agents read, and what they send. `None` for no bound.
    pub max_mib_per_sec: Option<NonZeroU32>,
    /// Searches of others that take longer than this at a node hold the run up. `None` to not look.
    pub max_query_latency: Option<Duration>,
    /// But no longer than this in all; then it goes on all the same.
    pub max_delay: Duration,
}

/// Most nodes that can be meant.
const MOST_NODES: u32 = 10_000;
/// 1 TiB per second.
const MOST_MIB_PER_SEC: u32 = 1 << 20;
/// Latencies that can be measured and are worth a thought.
const LATENCIES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);
/// A run that is held up for longer than a day is no run.
const DELAYS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

impl Default for CaptureLimits {
    fn default() -> Self {
        Self {
            max_nodes: None,
            max_mib_per_sec: None,
            max_query_latency: None,
            max_delay: Duration::from_mins(30),
        }
    }
}

impl CaptureLimits {
    /// What can't be meant, in words.
    #[must_use]
    pub fn out_of_range(&self) -> Option<&'static str> {
        if self.max_nodes.is_some_and(|nodes| nodes.get() > MOST_NODES) {
            Some("max_nodes may be 10000 at most")
        } else if self
            .max_mib_per_sec
            .is_some_and(|rate| rate.get() > MOST_MIB_PER_SEC)
        {
            Some("max_mib_per_sec may be 1048576 at most")
        } else if self
            .max_query_latency
            .is_some_and(|latency| !LATENCIES.contains(&latency))
        {
            Some("max_query_latency must be from 1ms to 10m")
        } else if !DELAYS.contains(&self.max_delay) {
            Some("max_delay must be from 1s to 24h")
        } else {
            None
        }
    }

    /// Whether there is one that agents have to keep.
    #[must_use]
    pub fn need_agents(&self) -> bool {
        self.max_mib_per_sec.is_some() || self.max_query_latency.is_some()
    }

    /// Bytes per second of all nodes together.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<u64> {
        let rate = self.max_mib_per_sec;
        rate.map(|rate| u64::from(rate.get()) << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::CaptureLimits;
    use std::num::NonZeroU32;
    use std::time::Duration;

    #[test]
    fn ranges_are_named() {
        let limits = |change: fn(&mut CaptureLimits)| {
            let mut limits = CaptureLimits::default();
            change(&mut limits);
            limits.out_of_range()
        };
        assert_eq!(limits(|_| ()), None);
        for (change, says) in [
            (
                (|l| l.max_nodes = NonZeroU32::new(10_001)) as fn(&mut CaptureLimits),
                "max_nodes",
            ),
            (
                |l| l.max_mib_per_sec = NonZeroU32::new((1 << 20) + 1),
                "max_mib_per_sec",
            ),
            (
                |l| l.max_query_latency = Some(Duration::from_micros(999)),
                "max_query_latency",
            ),
            (
                |l| l.max_query_latency = Some(Duration::from_secs(601)),
                "max_query_latency",
            ),
            (|l| l.max_delay = Duration::ZERO, "max_delay"),
            (|l| l.max_delay = Duration::from_hours(25), "max_delay"),
        ] {
            assert!(limits(change).is_some_and(|rule| rule.starts_with(says)));
        }
    }

    #[test]
    fn a_mib_is_a_mib() {
        let limits = CaptureLimits {
            max_mib_per_sec: NonZeroU32::new(1 << 20),
            ..CaptureLimits::default()
        };
        assert_eq!(limits.bytes_per_second(), Some(1 << 40));
    }
}
