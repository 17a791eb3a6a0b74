//! Which recovery points a check found damaged.

use holdfast_repository::AffectedPoint;
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Collections of recovery points that can't be restored in full. No collection means all: the manifest itself is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// When that was found.
    pub(crate) at: Timestamp,
    points: BTreeMap<RecoveryPointId, BTreeSet<CollectionName>>,
}

impl Affected {
    pub(super) fn of(points: &[AffectedPoint], at: Timestamp) -> Self {
        let mut affected = Self {
            at,
            ..Self::default()
        };
        // Without damage to a collection, nothing is known against any: what a check found is in its warnings.
        let concerned =
            |point: &&AffectedPoint| point.manifest.is_some() || !point.shards.is_empty();
        for point in points.iter().filter(concerned) {
            let shards = point.shards.iter().filter(|_| point.manifest.is_none());
            let names = shards.map(|shard| shard.collection.clone()).collect();
            affected.add(point.id.clone(), names);
        }
        affected
    }

    pub(crate) fn add(&mut self, point: RecoveryPointId, collections: BTreeSet<CollectionName>) {
        self.points.insert(point, collections);
    }

    /// Whether the collection can't be restored in full from the point.
    #[must_use]
    pub fn concerns(&self, point: &RecoveryPointId, collection: &CollectionName) -> bool {
        let damaged = self.points.get(point);
        damaged.is_some_and(|names| names.is_empty() || names.contains(collection))
    }
}
