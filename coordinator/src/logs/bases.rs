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
    /// `None` where they are not known.
    settings: Option<Settings>,
}

/// What of a collection no log tells: its configuration, its aliases, and the versions of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    config: Value,
    aliases: BTreeSet<String>,
    versions: BTreeSet<String>,
}

impl Settings {
    /// From the `result` of `GET /collections/{name}` and the versions of the servers that hold a part of it; `None` if its configuration is
    /// not known.
    pub fn new<A: ToString, V: ToString>(
        info: &Value,
        aliases: impl Iterator<Item = A>,
        versions: impl Iterator<Item = V>,
    ) -> Option<Self> {
        let config = info.get("config").filter(|config| !config.is_null());
        Some(Self {
            config: config?.clone(),
            aliases: aliases.map(|alias| alias.to_string()).collect(),
            versions: versions.map(|version| version.to_string()).collect(),
        })
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
                    next: shard.next_operation,
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
                settings: Settings::new(
                    &collection.info,
                    collection.aliases.iter(),
                    collection.shards.iter().map(|shard| &shard.server_version),
                ),
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
    ) -> Option<(&BasePoint, Option<&Settings>)> {
        let mut known = self.of.get(collection)?.iter().rev();
        let newest = known.find(|known| counts(&known.point.point))?;
        Some((&newest.point, newest.settings.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bases, KEPT, Settings};
    use crate::fixture::manifest;
    use holdfast_archive::WalMark;
    use holdfast_types::TimelineId;
    use serde_json::{Value, json};

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
        let newest = bases.newest(&docs, |_| true).unwrap().0;
        assert!(newest.point.as_str().ends_with('6'));
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
    #[test]
    fn settings_that_are_not_known_are_none() {
        let docs = "docs".parse().unwrap();
        let of = |config: Value, alias: &str, version: &str| {
            let info = json!({"config": config, "points_count": 7});
            Settings::new(&info, [alias].iter(), [version].iter())
        };
        let mut bases = Bases::default();
        bases.learn(&manifest("20261121t101530z-00000001", 1));
        assert_eq!(bases.newest(&docs, |_| true).unwrap().1, None);
        assert_eq!(of(Value::Null, "live", "1.18.3"), None);

        let mut point = manifest("20261121t101530z-00000002", 2);
        point.collections[0].info = json!({"config": {"params": {}}, "points_count": 9});
        bases.learn(&point);
        let captured = bases.newest(&docs, |_| true).unwrap().1;
        let same = of(json!({"params": {}}), "live", "1.18.3");
        assert_eq!(captured, same.as_ref());
        for other in [
            of(json!({"params": {"shard_number": 2}}), "live", "1.18.3"),
            of(json!({"params": {}}), "old", "1.18.3"),
            of(json!({"params": {}}), "live", "1.19.0"),
        ] {
            assert!(other.is_some() && captured != other.as_ref(), "{other:?}");
        }
    }
}
