//! Where a collection's shards and replicas were, out of what Qdrant said at each shard's capture.

use holdfast_archive::{ReplicaEntry, ShardKeyEntry};
use holdfast_types::ShardId;
use serde::Deserialize;
use serde_json::Value;

/// `GET /collections/{c}/cluster`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Placement {
    peer_id: u64,
    #[serde(default)]
    local_shards: Vec<Replica>,
    #[serde(default)]
    remote_shards: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    shard_id: ShardId,
    #[serde(default)]
    shard_key: Option<Value>,
    #[serde(default)]
    peer_id: Option<u64>,
    state: String,
}

/// All replicas of a shard, by peer; nothing where Qdrant did not say, or is no cluster.
pub(super) fn replicas(cluster: Option<&Value>, shard: ShardId) -> Vec<ReplicaEntry> {
    let Some(placement) = read(cluster).filter(|placement| placement.peer_id != 0) else {
        return Vec::new();
    };
    let own = placement.peer_id;
    let local = placement.local_shards.into_iter();
    let local = local.map(|replica| (own, replica));
    let remote = placement.remote_shards.into_iter();
    let remote = remote.filter_map(|replica| Some((replica.peer_id?, replica)));
    let mut found: Vec<ReplicaEntry> = local
        .chain(remote)
        .filter(|(_, replica)| replica.shard_id == shard)
        .map(|(peer_id, replica)| ReplicaEntry {
            peer_id,
            state: replica.state,
        })
        .collect();
    found.sort_by_key(|replica| replica.peer_id);
    found
}

/// The shard keys, by the first of their shards: in this order they have to be created again.
pub(super) fn shard_keys(cluster: Option<&Value>) -> Vec<ShardKeyEntry> {
    let placement = read(cluster);
    let replicas = placement.into_iter().flat_map(|placement| {
        let remote = placement.remote_shards.into_iter();
        placement.local_shards.into_iter().chain(remote)
    });
    let mut keys: Vec<ShardKeyEntry> = Vec::new();
    for replica in replicas {
        let Some(key) = replica.shard_key.filter(|key| !key.is_null()) else {
            continue;
        };
        match keys.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.shards.push(replica.shard_id),
            None => keys.push(ShardKeyEntry {
                key,
                shards: vec![replica.shard_id],
            }),
        }
    }
    for entry in &mut keys {
        entry.shards.sort_unstable();
        entry.shards.dedup();
    }
    keys.sort_by_key(|entry| entry.shards.first().copied());
    keys
}

fn read(cluster: Option<&Value>) -> Option<Placement> {
    cluster.and_then(|cluster| Placement::deserialize(cluster).ok())
}

#[cfg(test)]
mod tests {
    use super::{replicas, shard_keys};
    use holdfast_types::ShardId;
    use serde_json::json;

    #[test]
    fn replicas_and_keys_are_gathered_from_both_lists() {
        let cluster = json!({"peer_id": 9, "shard_count": 4,
        "local_shards": [{"shard_id": 2, "shard_key": "a", "state": "Active"}, {"shard_id": 4, "shard_key": 7, "state": "Active"}],
        "remote_shards": [
            {"shard_id": 2, "shard_key": "a", "peer_id": 3, "state": "Dead"},
            {"shard_id": 1, "shard_key": "a", "peer_id": 3, "state": "Active"},
            {"shard_id": 3, "shard_key": 7, "peer_id": 3, "state": "Active"},
        ]});
        let found = replicas(Some(&cluster), ShardId(2));
        let found: Vec<(u64, &str)> = found.iter().map(|r| (r.peer_id, &*r.state)).collect();
        assert_eq!(found, [(3, "Dead"), (9, "Active")]);
        let keys = serde_json::to_value(shard_keys(Some(&cluster))).unwrap();
        let expected = json!([{"key": "a", "shards": [1, 2]}, {"key": 7, "shards": [3, 4]}]);
        assert_eq!(keys, expected);
        assert!(shard_keys(None).is_empty() && replicas(None, ShardId(0)).is_empty());
    }

    #[test]
    fn a_node_of_its_own_has_no_replicas() {
        let cluster = json!({"peer_id": 0, "shard_count": 1, "local_shards": [{"shard_id": 0, "state": "Active"}]});
        assert!(replicas(Some(&cluster), ShardId(0)).is_empty());
    }
}
