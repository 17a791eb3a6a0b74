//! For how long the optimizers of local shards have been at work.
//!
//! Qdrant tells of a local shard alone whether it is yellow; a collection's status is that of all its shards on all nodes. The
//! time is counted from look to look, and begins anew with the agent.

use holdfast_proto::v1;
use holdfast_qdrant::QdrantClient;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// Since when each shard has been yellow.
#[derive(Debug, Default)]
pub(super) struct Optimizing(HashMap<(String, u32), Instant>);

impl Optimizing {
    /// Asks which shards are yellow, where a collection is, and puts the times into the inventory. Where that can't be
    /// learnt nothing is said.
    pub(super) async fn look(&mut self, qdrant: &QdrantClient, inventory: &mut v1::Inventory) {
        let yellow = |one: &v1::CollectionInfo| one.status == "yellow";
        let shards = if inventory.collections.iter().any(yellow) {
            qdrant.yellow_shards().await.unwrap_or_default()
        } else {
            BTreeSet::new()
        };
        let shards = shards.into_iter().map(|(name, shard)| (name, shard.0));
        self.note(&shards.collect(), Instant::now());
        for collection in &mut inventory.collections {
            for shard in &mut collection.local_shards {
                let place = (collection.name.clone(), shard.shard_id);
                let since = self.0.get(&place);
                let time = since.map_or(Duration::ZERO, Instant::elapsed);
                shard.optimizing_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            }
        }
    }

    fn note(&mut self, yellow: &BTreeSet<(String, u32)>, now: Instant) {
        self.0.retain(|place, _| yellow.contains(place));
        for place in yellow {
            self.0.entry(place.clone()).or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Optimizing;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_pause_ends_the_count() {
        let (a, b) = (("docs".to_owned(), 0), ("docs".to_owned(), 1));
        let start = Instant::now();
        let mut optimizing = Optimizing::default();
        optimizing.note(&[a.clone(), b.clone()].into(), start);
        let later = start + Duration::from_secs(5);
        optimizing.note(&[a.clone()].into(), later);
        optimizing.note(&[a.clone(), b.clone()].into(), later);
        assert_eq!((optimizing.0[&a], optimizing.0[&b]), (start, later));
    }
}
