//! What a command left on Qdrant and who must remove it.

use super::OpenCommand;
use super::phase::{Phase, RestoreProgress, SnapshotRequest};
use crate::order::{CommandId, RestoreOrder, Work};
use holdfast_qdrant::config_differences;
use holdfast_types::{CollectionName, ShardId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Something to be removed from Qdrant, however often that must be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "remove", rename_all = "kebab-case")]
pub enum Cleanup {
    /// A stored snapshot that this agent asked for.
    Snapshot {
        /// Its collection.
        collection: CollectionName,
        /// Its shard.
        shard: ShardId,
        /// Its file name.
        name: String,
    },
    /// A snapshot that Qdrant may still be making for a request whose answer never came: Qdrant
    /// goes on making it when the client has gone.
    StraySnapshot {
        /// Its collection.
        collection: CollectionName,
        /// Its shard.
        shard: ShardId,
        /// The request.
        request: SnapshotRequest,
    },
    /// A collection that this agent created for a restore that failed.
    Collection {
        /// Its name.
        name: CollectionName,
        /// What tells it from another collection of this name.
        #[serde(default)]
        made: Option<Box<MadeCollection>>,
    },
}

/// What is known of a collection that a failed restore created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeCollection {
    /// The command that created it.
    pub command: CommandId,
    /// Its description when it had been created.
    pub description: Value,
    /// Whether it may hold points; if not, one with points is somebody else's.
    pub holds_data: bool,
    /// When the command ended.
    pub since: Timestamp,
}

/// A name says little after a while: somebody may have deleted the leftover and made the collection again.
const COLLECTION_WATCH: Duration = Duration::from_secs(900);

/// How long a stray snapshot is looked for: longer than Qdrant takes to make a large one.
const STRAY_WATCH: Duration = Duration::from_secs(3600);

/// How far Qdrant's clock may be from the agent's when they share a machine, and how long a request may wait.
const STRAY_EARLY: Duration = Duration::from_secs(2);
const STRAY_LATE: Duration = Duration::from_secs(15);

impl Cleanup {
    /// What a command in this phase leaves behind when it ends.
    #[must_use]
    pub fn left_by(open: &OpenCommand, succeeded: bool, now: Timestamp) -> Option<Self> {
        match (&open.work, &open.phase) {
            (Work::Capture(order), Phase::Snapshot(taken)) => Some(Self::Snapshot {
                collection: order.collection.clone(),
                shard: order.shard,
                name: taken.name.clone(),
            }),
            (Work::Capture(order), Phase::AskingSnapshot(request)) => Some(Self::StraySnapshot {
                collection: order.collection.clone(),
                shard: order.shard,
                request: request.clone(),
            }),
            // With every shard uploaded it is what was asked for, whatever failed afterwards.
            (Work::Restore(order) | Work::RestorePart(order), Phase::Restoring(progress))
                if !succeeded && progress.uploaded.len() < order.entry.shards.len() =>
            {
                Self::restored(open, order, progress, now)
            }
            // Between the recovery point and the instant it is neither.
            (Work::Restore(order) | Work::RestorePart(order), Phase::Replaying(replaying))
                if !succeeded =>
            {
                Self::restored(open, order, &replaying.progress, now)
            }
            (Work::Capture(_) | Work::Restore(_) | Work::RestorePart(_) | Work::Extra(_), _) => {
                None
            }
        }
    }

    /// The collection of a restore that failed, if the restore created it.
    fn restored(
        open: &OpenCommand,
        order: &RestoreOrder,
        progress: &RestoreProgress,
        now: Timestamp,
    ) -> Option<Self> {
        Some(Self::Collection {
            name: order.target.clone(),
            made: Some(Box::new(MadeCollection {
                command: open.id.clone(),
                description: progress.created.clone()?,
                holds_data: progress.holds_data,
                since: now,
            })),
        })
    }
}

impl MadeCollection {
    /// Why the collection that is there now may be another than the one that the command created.
    #[must_use]
    pub fn doubt(&self, found: &Value, points: u64, now: Timestamp) -> Option<&'static str> {
        if now.since(self.since) >= COLLECTION_WATCH {
            Some("too much time has passed since the restore failed")
        } else if !same_settings(&self.description, found) {
            Some("its configuration is another than the one that was created")
        } else if points > 0 && !self.holds_data {
            Some("it holds points that the restore is not known to have put there")
        } else {
            None
        }
    }
}

/// Whether two descriptions have the same configuration, payload indexes aside.
#[must_use]
pub fn same_settings(a: &Value, b: &Value) -> bool {
    config_differences(a, b)
        .iter()
        .all(|path| path.starts_with("payload_schema"))
}

impl SnapshotRequest {
    /// Whether `name` is the snapshot this request made: not there before, and named after the
    /// second in which Qdrant got the request (`…-2026-11-21-10-15-30.snapshot`). Both must hold,
    /// because the user may make snapshots too, and those are never touched.
    #[must_use]
    pub fn made(&self, name: &str) -> bool {
        if self.before.iter().any(|before| before == name) {
            return false;
        }
        named_second(name).is_some_and(|second| {
            let earliest = self.asked.as_micros() - micros(STRAY_EARLY);
            let latest = self.asked.as_micros() + micros(STRAY_LATE);
            (earliest..=latest).contains(&second.as_micros())
        })
    }

    /// Whether it can still come, so that it must be looked for again.
    #[must_use]
    pub fn is_pending(&self, now: Timestamp) -> bool {
        now.since(self.asked) < STRAY_WATCH
    }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// The UTC second at the end of a snapshot's name.
fn named_second(name: &str) -> Option<Timestamp> {
    let stem = name.strip_suffix(".snapshot")?;
    let text = stem.get(stem.len().checked_sub(19)?..)?;
    let time = jiff::civil::DateTime::strptime("%Y-%m-%d-%H-%M-%S", text).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::{MadeCollection, SnapshotRequest};
    use holdfast_types::Timestamp;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_collection_that_may_be_anothers_is_doubted() {
        let described = |size: u32, index: &str| json!({"config": {"params": {"vectors": {"size": size}}}, "payload_schema": {index: {"data_type": "keyword"}}});
        let made = |holds_data| MadeCollection {
            command: "a".parse().unwrap(),
            description: described(4, "a"),
            holds_data,
            since: Timestamp::EPOCH,
        };
        let at = |secs| Timestamp::EPOCH.after(Duration::from_secs(secs));
        for (holds_data, size, points, secs, ours) in [
            (false, 4, 0, 60, true),
            (true, 4, 7, 60, true),
            (false, 4, 7, 60, false),
            (true, 8, 7, 60, false),
            (true, 4, 7, 3600, false),
            (false, 4, 0, 3600, false),
        ] {
            let doubt = made(holds_data).doubt(&described(size, "b"), points, at(secs));
            assert_eq!(doubt.is_none(), ours, "{size} {points} {secs}: {doubt:?}");
        }
    }

    fn request() -> SnapshotRequest {
        SnapshotRequest {
            asked: "2026-11-21T10:15:30.9Z".parse().unwrap(),
            before: vec!["docs-shard-0-2026-11-21-10-15-31.snapshot".into()],
        }
    }

    #[test]
    fn recognises_its_own_snapshot_by_the_second_in_its_name() {
        assert!(request().made("docs-shard-0-2026-11-21-10-15-30.snapshot"));
        assert!(request().made("docs-shard-0-2026-11-21-10-15-33.snapshot"));
    }

    #[test]
    fn leaves_the_snapshots_of_others() {
        for other in [
            "docs-shard-0-2026-11-21-10-15-31.snapshot",
            "docs-shard-0-2026-11-21-10-15-20.snapshot",
            "docs-shard-0-2026-11-21-10-16-30.snapshot",
            "docs-shard-0-2026-11-21-10-15-30.snapshot.checksum",
            "mine.snapshot",
            "ä.snapshot",
        ] {
            assert!(!request().made(other), "{other}");
        }
    }

    #[test]
    fn stops_looking_after_a_while() {
        let asked = request().asked;
        assert!(request().is_pending(asked.after(Duration::from_secs(60))));
        assert!(!request().is_pending(asked.after(Duration::from_secs(7200))));
        assert!(request().is_pending(Timestamp::EPOCH));
    }
}
