//! What recovery points say of earlier captures: from which replica each shard was captured. There is no other record of it, so
//! that it is right after any restart, and after the catalogue was rebuilt.

use crate::catalog::PointSummary;
use crate::core::Core;
use crate::fault::chain;
use holdfast_decide::Past;
use holdfast_types::{CollectionName, RecoveryPointId};
use std::collections::{BTreeMap, BTreeSet};

/// Most manifests that are read for one plan. Points of single collections may lie between those of everything; what none of
/// them tells of is chosen anew, which costs space and nothing else.
const MOST: usize = 16;

/// What the newest recovery point of each collection says, with those in a node's place that took it since.
pub(crate) async fn past(core: &Core) -> Past {
    let mut past = recorded(core).await;
    past.removed = core.members.removed();
    for pin in past.pins.values_mut() {
        *pin = core.members.successor(pin);
    }
    past
}

/// What the newest recovery point of each collection says. One that can't be read is passed over.
pub(crate) async fn recorded(core: &Core) -> Past {
    let points = match core.catalog.points().await {
        Ok(points) => points,
        Err(error) => {
            tracing::warn!(reason = chain(&error), "pins can't be looked up");
            return Past::default();
        }
    };
    let mut past = Past::default();
    for (point, collections) in newest(&points) {
        let manifest = match core.repository.read_point(&point).await {
            Ok(manifest) => manifest,
            Err(error) => {
                tracing::warn!(%point, reason = chain(&error), "pins can't be read from a recovery point");
                continue;
            }
        };
        for (collection, shard) in manifest.shards() {
            if collections.contains(&collection.name) {
                let place = (collection.name.clone(), shard.shard_id);
                past.pins.insert(place, shard.node.clone());
            }
        }
        for node in manifest.nodes.iter().filter(|node| node.peer_id != 0) {
            past.peers.entry(node.node.clone()).or_insert(node.peer_id);
        }
    }
    past
}

/// The points that are the newest of some collection, newest first, with these collections.
fn newest(points: &[PointSummary]) -> Vec<(RecoveryPointId, BTreeSet<CollectionName>)> {
    let mut seen = BTreeSet::new();
    let mut found: BTreeMap<usize, BTreeSet<CollectionName>> = BTreeMap::new();
    for (index, point) in points.iter().enumerate() {
        if point.imported.is_some() {
            continue;
        }
        for name in &point.collections {
            if seen.insert(name) {
                found.entry(index).or_default().insert(name.clone());
            }
        }
    }
    let found = found.into_iter().take(MOST);
    found
        .map(|(index, names)| (points[index].id.clone(), names))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::newest;
    use crate::catalog::PointSummary;
    use crate::fixture::{NOW, manifest};

    #[test]
    fn each_collection_is_looked_up_in_its_newest_point() {
        let point = |n: u32, collections: &[&str]| PointSummary {
            collections: collections
                .iter()
                .map(|name| name.parse().unwrap())
                .collect(),
            ..PointSummary::of(&manifest(&format!("20261121t101530z-0000000{n}"), 1))
        };
        let imported = PointSummary {
            imported: Some(NOW),
            ..point(4, &["docs"])
        };
        let points = [
            imported,
            point(3, &["docs"]),
            point(2, &["books", "docs"]),
            point(1, &["books", "docs", "old"]),
        ];
        let found: Vec<String> = newest(&points)
            .into_iter()
            .map(|(id, names)| format!("{id} {names:?}"))
            .collect();
        assert_eq!(
            found,
            [
                "20261121t101530z-00000003 {\"docs\"}",
                "20261121t101530z-00000002 {\"books\"}",
                "20261121t101530z-00000001 {\"old\"}",
            ]
        );
    }
}
