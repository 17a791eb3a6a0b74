//! The newest captures of each collection, from which logs go on.

use holdfast_archive::Manifest;
use holdfast_decide::recency::{BaseFacts, BasePoint};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use std::collections::BTreeMap;

/// Captures that are kept in mind of each collection: the newest may be deleted or turn out damaged.
const KEPT: usize = 4;

/// Filled from manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// By time of commit, the newest last.
    of: BTreeMap<CollectionName, Vec<(Timestamp, BasePoint)>>,
}

impl Bases {
    /// Takes note of a recovery point.
    pub fn learn(&mut self, manifest: &Manifest) {
        for collection in &manifest.collections {
            let shards: Vec<BaseFacts> = collection
                .shards
                .iter()
                .map(|shard| BaseFacts {
                    shard: shard.shard_id,
                    captured_at: shard.captured_at,
                    mark: shard
                        .wal
                        .and_then(|mark| Some((mark.timeline?, mark.certain))),
                })
                .collect();
            let imported = collection.shards.iter().any(|s| s.method == "imported");
            // A part of a collection brings nothing back, and what was imported was captured elsewhere.
            if imported || shards.len() != collection.shard_count as usize {
                continue;
            }
            let known = self.of.entry(collection.name.clone()).or_default();
            known.retain(|(_, point)| point.point != manifest.id);
            let point = BasePoint {
                point: manifest.id.clone(),
                shards,
            };
            known.push((manifest.committed, point));
            known.sort_by_key(|(committed, _)| *committed);
            let surplus = known.len().saturating_sub(KEPT);
            known.drain(..surplus);
        }
    }

    /// Those of a collection that are still there.
    pub(super) fn of(
        &self,
        collection: &CollectionName,
        there: impl Fn(&RecoveryPointId) -> bool,
    ) -> Vec<BasePoint> {
        let known = self.of.get(collection).into_iter().flatten();
        let known = known.filter(|(_, point)| there(&point.point));
        known.map(|(_, point)| point.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bases, KEPT};
    use crate::fixture::manifest;
    use holdfast_archive::WalMark;
    use holdfast_types::TimelineId;

    #[test]
    fn the_newest_are_kept_in_mind() {
        let mut bases = Bases::default();
        for n in (1..=6).rev() {
            let mut point = manifest(&format!("20261121t101530z-0000000{n}"), n);
            point.collections[0].shards[0].wal = Some(WalMark {
                certain: 7,
                timeline: Some(TimelineId::from_bytes([1; 16])),
            });
            bases.learn(&point);
            bases.learn(&point);
        }
        let docs = "docs".parse().unwrap();
        let all = bases.of(&docs, |_| true);
        assert_eq!(all.len(), KEPT);
        assert!(all.last().unwrap().point.as_str().ends_with('6'));
        assert_eq!(
            all[0].shards[0].mark,
            Some((TimelineId::from_bytes([1; 16]), 7))
        );
        assert_eq!(bases.of(&docs, |id| id.as_str().ends_with('5')).len(), 1);
        assert!(bases.of(&"other".parse().unwrap(), |_| true).is_empty());
        let mut imported = manifest("20261121t101530z-00000009", 9);
        imported.collections[0].shards[0].method = "imported".into();
        bases.learn(&imported);
        let mut half = manifest("20261121t101530z-00000008", 8);
        half.collections[0].shard_count = 2;
        bases.learn(&half);
        assert_eq!(bases.of(&docs, |_| true), all);
    }
}
