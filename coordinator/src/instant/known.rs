//! What was read of archived parts and of recovery points, remembered: both never change once written.

use holdfast_archive::{CollectionEntry, Manifest, WalFrame, WalObject};
use holdfast_decide::instant::{Base, BasePoint, LogPart, Look};
use holdfast_repository::{WalPart, WalSeries};
use holdfast_types::{CollectionName, NodeId, RecoveryPointId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Looks that are remembered, of all logs: some 40 bytes each.
const MAX_LOOKS: usize = 2_000_000;

/// The memory.
#[derive(Debug, Default)]
pub struct Known {
    parts: Mutex<Parts>,
    points: Mutex<HashMap<RecoveryPointId, Arc<BasePoint>>>,
}

#[derive(Debug, Default)]
struct Parts {
    read: HashMap<(WalSeries, WalPart), KnownPart>,
    looks: usize,
}

/// A part of a log, without its data.
#[derive(Clone, Debug)]
pub struct KnownPart {
    /// Whose log it is.
    pub owner: (CollectionName, NodeId),
    /// Why the timeline began; in its first part.
    pub because: Option<String>,
    /// What it holds.
    pub part: Arc<LogPart>,
}

impl Known {
    /// A part, if it was read before.
    #[must_use]
    pub fn part(&self, series: &WalSeries, part: WalPart) -> Option<KnownPart> {
        let key = (series.clone(), part);
        self.parts().read.get(&key).cloned()
    }

    /// Remembers a part. When there are too many, all are forgotten, and read again when they are needed.
    pub fn remember(&self, series: &WalSeries, name: WalPart, part: &KnownPart) {
        let mut parts = self.parts();
        let added = part.part.looks.len() + 1;
        if parts.looks + added > MAX_LOOKS {
            *parts = Parts::default();
        }
        let key = (series.clone(), name);
        if parts.read.insert(key, part.clone()).is_none() {
            parts.looks += added;
        }
    }

    /// Forgets all parts: one was found damaged or gone since it was read.
    pub fn forget_parts(&self) {
        *self.parts() = Parts::default();
    }

    /// A recovery point, if it was read before.
    #[must_use]
    pub fn point(&self, id: &RecoveryPointId) -> Option<Arc<BasePoint>> {
        self.points().get(id).cloned()
    }

    /// Remembers a recovery point.
    pub fn remember_point(&self, point: &Arc<BasePoint>) {
        let mut points = self.points();
        points.insert(point.id.clone(), Arc::clone(point));
    }

    /// Forgets recovery points that are not there any more.
    pub fn keep_points(&self, there: impl Fn(&RecoveryPointId) -> bool) {
        self.points().retain(|id, _| there(id));
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn points(&self) -> MutexGuard<'_, HashMap<RecoveryPointId, Arc<BasePoint>>> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&WalObject> for KnownPart {
    fn from(object: &WalObject) -> Self {
        let (origin, run) = (object.origin(), object.run());
        let mut first = run.first;
        let looks = object.looks().iter().map(|look| {
            let begun = first;
            first += look.frames.len() as u64;
            let bytes = |frame: &WalFrame| frame.data.len() as u64;
            Look {
                first: begun,
                next: first,
                after: look.after,
                by: look.by,
                bytes: look.frames.iter().map(bytes).sum(),
            }
        });
        let part = LogPart {
            first: run.first,
            next: run.next,
            before: run.before,
            end: run.end,
            version: origin.server_version.clone(),
            looks: looks.collect(),
        };
        Self {
            owner: (origin.collection.clone(), origin.node.clone()),
            because: origin.because.clone(),
            part: Arc::new(part),
        }
    }
}

/// What a manifest says of its shards' logs.
#[must_use]
pub fn base_point(manifest: &Manifest, ordinary: bool) -> BasePoint {
    let bases = |entry: &CollectionEntry| -> Vec<Base> {
        let shards = entry.shards.iter();
        let base = shards.map(|shard| Base {
            shard: shard.shard_id,
            node: shard.node.clone(),
            captured_at: shard.captured_at,
            next: shard.next_operation,
            certain: shard.wal.map(|mark| mark.certain),
            timeline: shard.wal.and_then(|mark| mark.timeline),
        });
        base.collect()
    };
    let collections = manifest.collections.iter();
    let collections: BTreeMap<_, _> = collections
        .map(|entry| (entry.name.clone(), bases(entry)))
        .collect();
    BasePoint {
        id: manifest.id.clone(),
        ordinary,
        collections,
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, KnownPart, MAX_LOOKS, base_point};
    use crate::fixture::manifest;
    use holdfast_archive::WalMark;
    use holdfast_decide::instant::{LogPart, Look};
    use holdfast_repository::{WalPart, WalSeries};
    use holdfast_types::{IncarnationId, ShardId, TimelineId, Timestamp};
    use std::sync::Arc;

    fn part(first: u64, looks: usize) -> KnownPart {
        let look = Look {
            first,
            next: first + 1,
            after: Timestamp::EPOCH,
            by: Timestamp::EPOCH,
            bytes: 1,
        };
        let part = LogPart {
            first,
            next: first + 1,
            before: None,
            end: 0,
            version: "1.18.3".parse().unwrap(),
            looks: vec![look; looks],
        };
        KnownPart {
            owner: ("docs".parse().unwrap(), "n1".parse().unwrap()),
            because: None,
            part: Arc::new(part),
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let known = Known::default();
        let series = WalSeries {
            namespace: "demo".parse().unwrap(),
            incarnation: IncarnationId::from_bytes([1; 16]),
            shard: ShardId(0),
            timeline: TimelineId::from_bytes([2; 16]),
        };
        known.remember(&series, WalPart::appended(0), &part(0, 3));
        known.remember(&series, WalPart::appended(0), &part(0, 3));
        assert!(known.part(&series, WalPart::appended(0)).is_some());
        known.remember(&series, WalPart::appended(1), &part(1, MAX_LOOKS - 4));
        assert!(
            known.part(&series, WalPart::appended(0)).is_none(),
            "forgotten"
        );
        assert!(known.part(&series, WalPart::appended(1)).is_some());
    }

    #[test]
    fn a_manifest_says_where_each_shard_stands() {
        let mut manifest = manifest("20261121t101530z-00000001", 1);
        let timeline = TimelineId::from_bytes([2; 16]);
        let shard = &mut manifest.collections[0].shards[0];
        (shard.next_operation, shard.wal) = (
            Some(9),
            Some(WalMark {
                certain: 7,
                timeline: Some(timeline),
            }),
        );
        let point = base_point(&manifest, true);
        let base = &point.collections.values().next().unwrap()[0];
        assert_eq!(
            (base.certain, base.next, base.timeline),
            (Some(7), Some(9), Some(timeline))
        );
    }
}
