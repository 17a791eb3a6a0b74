//! The newest captures of each collection, from which logs go on.

use holdfast_archive::Manifest;
use holdfast_decide::recency::{BaseFacts, BasePoint};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Captures that are kept in mind of each collection: the newest may be deleted or turn out damaged.
const KEPT: usize = 4;

/// Filled from manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// By time of commit, the newest last.
    of: BTreeMap<CollectionName, Vec<Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    committed: Timestamp,
    point: BasePoint,
    settings: Settings,
}

/// What of a collection no log tells: its configuration and its aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Null where it is not known.
    config: Value,
    aliases: BTreeSet<String>,
}

impl Settings {
    /// From the `result` of `GET /collections/{name}`.
    pub fn new<A: ToString>(info: &Value, aliases: impl Iterator<Item = A>) -> Self {
        Self {
            config: info.get("config").cloned().unwrap_or_default(),
            aliases: aliases.map(|alias| alias.to_string()).collect(),
        }
    }
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
            known.retain(|known| known.point.point != manifest.id);
            known.push(Known {
                committed: manifest.committed,
                point: BasePoint {
                    point: manifest.id.clone(),
                    shards,
                },
                settings: Settings::new(&collection.info, collection.aliases.iter()),
            });
            known.sort_by_key(|known| known.committed);
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
        let known = known.filter(|known| there(&known.point.point));
        known.map(|known| known.point.clone()).collect()
    }

    /// The newest of a collection that counts.
    pub(super) fn newest(
        &self,
        collection: &CollectionName,
        counts: impl Fn(&RecoveryPointId) -> bool,
    ) -> Option<(&BasePoint, &Settings)> {
        let mut known = self.of.get(collection)?.iter().rev();
        let newest = known.find(|known| counts(&known.point.point))?;
        Some((&newest.point, &newest.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bases, KEPT, Settings};
    use crate::fixture::manifest;
    use holdfast_archive::WalMark;
    use holdfast_types::TimelineId;
    use serde_json::json;

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
        let (newest, settings) = bases.newest(&docs, |_| true).unwrap();
        assert!(newest.point.as_str().ends_with('6'));
        let info = json!({"config": null, "points_count": 7});
        assert_eq!(*settings, Settings::new(&info, ["live"].iter()));
        assert_ne!(*settings, Settings::new(&info, ["old"].iter()));
        let info = json!({"config": {"params": {}}});
        assert_ne!(*settings, Settings::new(&info, ["live"].iter()));
        let older = bases.newest(&docs, |id| !id.as_str().ends_with('6'));
        assert!(older.unwrap().0.point.as_str().ends_with('5'));
        assert!(bases.newest(&docs, |_| false).is_none());
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
