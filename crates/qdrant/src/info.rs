//! Typed views of what the server answers. Fields that no caller needs are left in the JSON.

use holdfast_types::{ServerVersion, ShardId};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// `GET /`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server's version.
    pub version: ServerVersion,
    /// The commit it was built from, if it tells.
    pub commit: Option<String>,
}

/// A collection's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectionStatus {
    /// Ready, nothing to do.
    Green,
    /// Ready, optimizations are running.
    Yellow,
    /// Ready, optimizations wait for the next update.
    Grey,
    /// Something failed.
    Red,
}

impl fmt::Display for CollectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Grey => "grey",
            Self::Red => "red",
        })
    }
}

/// `GET /collections/{c}`.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Condition of the collection.
    pub status: CollectionStatus,
    /// Whether the optimizer reports an error, and which.
    pub optimizer_error: Option<String>,
    /// Number of shards; with custom sharding, per shard key.
    pub shard_number: u32,
    /// Approximate number of points.
    pub points_approx: u64,
    /// The whole `result`, as it came.
    pub raw: Value,
}

#[derive(Deserialize)]
struct CollectionInfoWire {
    status: CollectionStatus,
    #[serde(default)]
    optimizer_status: Value,
    #[serde(default)]
    points_count: Option<u64>,
    config: ConfigWire,
}

#[derive(Deserialize)]
struct ConfigWire {
    params: ParamsWire,
}

#[derive(Deserialize)]
struct ParamsWire {
    #[serde(default = "one")]
    shard_number: u32,
}

fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for CollectionInfo {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(d)?;
        let wire = CollectionInfoWire::deserialize(&raw).map_err(serde::de::Error::custom)?;
        Ok(Self {
            status: wire.status,
            optimizer_error: wire
                .optimizer_status
                .get("error")
                .map(|e| e.as_str().map_or_else(|| e.to_string(), str::to_owned)),
            shard_number: wire.config.params.shard_number,
            points_approx: wire.points_count.unwrap_or(0),
            raw,
        })
    }
}

/// `GET /collections/{c}/cluster`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CollectionCluster {
    /// This node.
    pub peer_id: u64,
    /// Number of shards of the collection; one that has lost every replica is in neither list.
    pub shard_count: u32,
    /// Shards with a replica on this node.
    #[serde(default)]
    pub local_shards: Vec<LocalShard>,
    /// Replicas on other nodes.
    #[serde(default)]
    pub remote_shards: Vec<RemoteShard>,
    /// Transfers under way.
    #[serde(default)]
    pub shard_transfers: Vec<ShardTransfer>,
}

/// A shard on its way from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ShardTransfer {
    /// The shard.
    pub shard_id: ShardId,
    /// The node it comes from.
    pub from: u64,
    /// The node it goes to.
    pub to: u64,
}

/// A replica on the node that was asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LocalShard {
    /// The shard.
    pub shard_id: ShardId,
    /// Its key, with custom sharding: a text or a number.
    #[serde(default)]
    pub shard_key: Option<Value>,
    /// Approximate number of points.
    #[serde(default)]
    pub points_count: u64,
    /// Qdrant's name of the replica's state, such as `Active`.
    pub state: String,
}

/// A replica on another node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RemoteShard {
    /// The shard.
    pub shard_id: ShardId,
    /// Its key, with custom sharding.
    #[serde(default)]
    pub shard_key: Option<Value>,
    /// The node that holds it.
    pub peer_id: u64,
    /// Qdrant's name of the replica's state.
    pub state: String,
}

/// `GET /cluster`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterState {
    /// This node; 0 when cluster mode is off.
    pub peer_id: u64,
    /// Whether cluster mode is on.
    pub enabled: bool,
    /// The whole `result`, as it came.
    pub raw: Value,
}

impl ClusterState {
    /// Nodes of the cluster, this one included; 0 when cluster mode is off.
    #[must_use]
    pub fn peers(&self) -> u32 {
        let listed = self.raw.get("peers").and_then(Value::as_object);
        let listed = listed.map_or(0, |peers| u32::try_from(peers.len()).unwrap_or(u32::MAX));
        if self.enabled { listed.max(1) } else { 0 }
    }

    /// Their ids and addresses; empty when cluster mode is off.
    #[must_use]
    pub fn peer_list(&self) -> BTreeMap<u64, String> {
        let listed = self.raw.get("peers").and_then(Value::as_object);
        let listed = listed.into_iter().flatten();
        listed
            .filter_map(|(id, peer)| {
                let uri = peer.get("uri").and_then(Value::as_str).unwrap_or_default();
                Some((id.parse().ok()?, uri.to_owned()))
            })
            .collect()
    }
}

/// A stored snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SnapshotDescription {
    /// File name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file, 64 hexadecimal digits.
    #[serde(default)]
    pub checksum: Option<String>,
    /// When it was made, as the server says (UTC without a zone).
    #[serde(default)]
    pub creation_time: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{CollectionInfo, CollectionStatus};
    use serde_json::json;

    #[test]
    fn collection_info_keeps_the_whole_answer() {
        let answer = json!({
            "status": "yellow", "optimizer_status": {"error": "disk full"}, "points_count": 7,
            "config": {"params": {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}}, "payload_schema": {},
        });
        let info: CollectionInfo = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(info.status, CollectionStatus::Yellow);
        assert_eq!(info.optimizer_error.as_deref(), Some("disk full"));
        assert_eq!((info.shard_number, info.points_approx), (2, 7));
        assert_eq!(info.raw, answer);
        assert!(serde_json::from_value::<CollectionInfo>(json!({"status": "ok"})).is_err());
    }
}
