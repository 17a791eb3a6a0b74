//! How long a restore will take: by the last one of the same kind, else by a rate that any disk of these days keeps.

use crate::job::{JobRecord, JobState, Work};
use holdfast_decide::RestorePlan;
use std::time::Duration;

/// Bytes per second that one node takes in, where nothing has been measured yet.
const CAUTIOUS: u64 = 40 << 20;
/// Restores of less say more about waiting than about a rate.
const LEAST_MEASURED: u64 = 16 << 20;

/// A time, and whether it comes from an earlier restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Without the safety capture.
    pub time: Duration,
    /// By an earlier restore, and not by a cautious rate.
    pub measured: bool,
}

/// The time of `plan`, by these jobs (newest first).
#[must_use]
pub fn estimate(plan: &RestorePlan, jobs: &[JobRecord]) -> Estimate {
    let bytes = plan.logical_bytes();
    let earlier = jobs.iter().find_map(|job| rate(job, plan.in_cluster));
    if let Some((moved, took)) = earlier {
        let millis = u128::from(bytes) * took.as_millis() / u128::from(moved.max(1));
        return Estimate {
            time: Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)),
            measured: true,
        };
    }
    // What the busiest node takes in: uploads, and copies of what other nodes upload.
    let busiest = plan.receivers.iter().map(|receiver| receiver.needed).max();
    let busiest = busiest.unwrap_or(bytes);
    Estimate {
        time: Duration::from_millis(busiest.saturating_mul(1000) / CAUTIOUS),
        measured: false,
    }
}

/// Bytes that a finished restore of this kind has brought back, and the time it took.
fn rate(job: &JobRecord, in_cluster: bool) -> Option<(u64, Duration)> {
    let Work::Restore(work) = &job.work else {
        return None;
    };
    if job.state != JobState::Succeeded || work.plan.in_cluster != in_cluster {
        return None;
    }
    // As plans count: with the holes of files, which are not uploaded.
    let bytes = work.plan.logical_bytes();
    let millis = work.done.iter().map(|done| done.elapsed_ms).sum();
    (bytes >= LEAST_MEASURED).then_some((bytes, Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::{Estimate, estimate};
    use crate::job::{JobRecord, JobState, RestoreWork, RestoredStep, Work};
    use holdfast_decide::{Receiver, RestorePlan, RestoreStep};
    use holdfast_types::{Epoch, Timestamp};
    use std::time::Duration;

    fn plan(in_cluster: bool) -> RestorePlan {
        let step = RestoreStep {
            source: "docs".parse().unwrap(),
            target: "docs".parse().unwrap(),
            replaces: false,
            shards: 1,
            logical_bytes: 400 << 20,
            shard_sizes: std::collections::BTreeMap::new(),
            replicas: None,
            replication_factor: None,
            kept_aliases: vec![],
            aliases: vec![],
            indexes: vec![],
            points: None,
            recovery_order: None,
        };
        let receiver = |node: &str| Receiver {
            node: node.parse().unwrap(),
            version: "1.18.3".parse().unwrap(),
            needed: 200 << 20,
            free: None,
        };
        RestorePlan {
            epoch: Epoch(1),
            point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
            node: None,
            in_cluster,
            receivers: vec![receiver("n1"), receiver("n2")],
            with_aliases: false,
            steps: vec![step],
            order_from: None,
            safety: None,
            instant: None,
            blockers: vec![],
            warnings: vec![],
        }
    }

    #[test]
    fn an_earlier_restore_of_the_kind_tells_the_rate() {
        let cautious = Estimate {
            time: Duration::from_secs(5),
            measured: false,
        };
        assert_eq!(estimate(&plan(true), &[]), cautious);
        let done = |in_cluster: bool, mib: u64| {
            let mut plan = plan(in_cluster);
            plan.steps[0].logical_bytes = mib << 20;
            let work = RestoreWork {
                plan,
                node: "n1".parse().unwrap(),
                from_copy: None,
                safety: None,
                begun: 1,
                resumed: false,
                parts: None,
                done: vec![RestoredStep {
                    points: 1,
                    uploaded_bytes: 1,
                    elapsed_ms: 2000,
                    aliases: vec![],
                    indexes: vec![],
                    replayed: 0,
                    uploads: [].into(),
                }],
            };
            let work = Work::Restore(Box::new(work));
            let mut job =
                JobRecord::begun("r".parse().unwrap(), Timestamp::EPOCH, String::new(), work);
            job.state = JobState::Succeeded;
            job
        };
        // Another kind, and too little to say anything.
        let jobs = [done(false, 100), done(true, 1)];
        assert_eq!(estimate(&plan(true), &jobs), cautious);
        let jobs = [done(false, 400), done(true, 100), done(true, 200)];
        let measured = Estimate {
            time: Duration::from_secs(8),
            measured: true,
        };
        assert_eq!(estimate(&plan(true), &jobs), measured);
    }
}
