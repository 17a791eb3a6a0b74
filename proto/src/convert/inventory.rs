//! A node as its agent sees it.

use super::{ConvertError, parse, parse_all};
use crate::v1;
use holdfast_types::{AliasName, CollectionName, ExtraName, ServerVersion, ShardId};
use std::collections::BTreeMap;
use std::time::Duration;

/// An `Inventory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// The server's version.
    pub version: ServerVersion,
    /// The server's commit, if it tells.
    pub commit: Option<String>,
    /// `None` when cluster mode is off.
    pub peer_id: Option<u64>,
    /// Nodes of its Qdrant cluster, itself included; 0 when cluster mode is off or an older agent does not tell.
    pub peers: u32,
    /// Ids and addresses of these nodes; empty where an older agent does not tell.
    pub cluster: BTreeMap<u64, String>,
    /// Collections that can't be captured because of their names, in words.
    pub unusable_collections: Vec<String>,
    /// Aliases that can't be captured because of their names, in words.
    pub unusable_aliases: Vec<String>,
    /// Its collections, in the agent's order.
    pub collections: Vec<CollectionSeen>,
    /// Bytes free on the storage volume, if the agent sees it.
    pub storage_free_bytes: Option<u64>,
    /// Whether the agent can read the snapshots volume.
    pub snapshots_shared: bool,
    /// Whether the agent replays archived logs.
    pub splices_logs: bool,
    /// Whether the agent carries out parts of restores into clusters.
    pub restores_parts: bool,
    /// Whether the agent sends archived operations to running collections.
    pub replays_logs: bool,
    /// Whether the agent keeps the limits of a capture.
    pub keeps_limits: bool,
    /// What the agent is configured to capture beside Qdrant; `None` if it is older and does not tell.
    pub extras: Option<Vec<ExtraTold>>,
}

/// An `ExtraInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraTold {
    /// Its name.
    pub name: ExtraName,
    /// Whether it is Qdrant's own configuration.
    pub config: bool,
    /// Whether there must be no recovery point without it.
    pub required: bool,
}

/// A `CollectionInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionSeen {
    /// Its name.
    pub name: CollectionName,
    /// Qdrant's word for its state: green, yellow, grey or red.
    pub status: String,
    /// Aliases that point at it.
    pub aliases: Vec<AliasName>,
    /// Number of shards in the whole cluster.
    pub shard_count: u32,
    /// Replicas on this node.
    pub shards: Vec<ShardSeen>,
    /// Replicas on other nodes: shard, peer id, Qdrant's name of the state.
    pub remote: Vec<(ShardId, u64, String)>,
    /// Transfers under way: shard, from peer, to peer.
    pub transfers: Vec<(ShardId, u64, u64)>,
    /// Exact number of points, if counted.
    pub points_exact: Option<u64>,
}

/// A `ShardInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSeen {
    /// Which shard.
    pub id: ShardId,
    /// Qdrant's name of the replica's state.
    pub state: String,
    /// Qdrant's approximate number of points.
    pub points_approx: u64,
    /// For how long its optimizers have been at work.
    pub optimizing: Duration,
}

impl TryFrom<v1::Inventory> for NodeSeen {
    type Error = ConvertError;
    fn try_from(wire: v1::Inventory) -> Result<Self, ConvertError> {
        Ok(Self {
            version: parse("qdrant_version", &wire.qdrant_version)?,
            commit: Some(wire.qdrant_commit).filter(|commit| !commit.is_empty()),
            peer_id: Some(wire.peer_id).filter(|peer| *peer != 0),
            peers: wire.peers,
            cluster: wire
                .cluster_peers
                .into_iter()
                .map(|peer| (peer.peer_id, peer.uri))
                .collect(),
            unusable_collections: wire.unusable_collections,
            unusable_aliases: wire.unusable_aliases,
            collections: wire
                .collections
                .into_iter()
                .map(CollectionSeen::try_from)
                .collect::<Result<_, _>>()?,
            storage_free_bytes: Some(wire.storage_free_bytes).filter(|free| *free != 0),
            snapshots_shared: wire.snapshots_shared,
            splices_logs: wire.splices_logs,
            restores_parts: wire.restores_parts,
            replays_logs: wire.replays_logs,
            keeps_limits: wire.keeps_limits,
            extras: wire
                .captures_extras
                .then(|| extras(&wire.extras))
                .transpose()?,
        })
    }
}

fn extras(wire: &[v1::ExtraInfo]) -> Result<Vec<ExtraTold>, ConvertError> {
    let mut extras: Vec<ExtraTold> = Vec::new();
    for told in wire {
        let extra = ExtraTold {
            name: parse("extras", &told.name)?,
            config: told.config,
            required: told.required,
        };
        if extras.iter().any(|other| other.name == extra.name) {
            return Err(ConvertError::OutOfRange {
                field: "extras",
                rule: "each name once",
            });
        }
        extras.push(extra);
    }
    Ok(extras)
}

impl TryFrom<v1::CollectionInfo> for CollectionSeen {
    type Error = ConvertError;
    fn try_from(wire: v1::CollectionInfo) -> Result<Self, ConvertError> {
        let shards = wire.local_shards.into_iter().map(|shard| ShardSeen {
            id: ShardId(shard.shard_id),
            state: shard.state,
            points_approx: shard.points_approx,
            optimizing: Duration::from_millis(shard.optimizing_ms),
        });
        let remote = wire.remote_shards.into_iter();
        let transfers = wire.transfers.into_iter();
        Ok(Self {
            name: parse("name", &wire.name)?,
            status: wire.status,
            aliases: parse_all("aliases", &wire.aliases)?,
            shard_count: wire.shard_count,
            shards: shards.collect(),
            remote: remote
                .map(|replica| (ShardId(replica.shard_id), replica.peer_id, replica.state))
                .collect(),
            transfers: transfers
                .map(|transfer| (ShardId(transfer.shard_id), transfer.from, transfer.to))
                .collect(),
            points_exact: wire.points_exact,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::NodeSeen;
    use crate::v1;

    #[test]
    fn zero_and_empty_mean_unknown() {
        let wire = v1::Inventory {
            qdrant_version: "1.18.3".into(),
            ..Default::default()
        };
        let seen = NodeSeen::try_from(wire).unwrap();
        assert_eq!(
            (seen.commit, seen.peer_id, seen.storage_free_bytes),
            (None, None, None)
        );
    }

    #[test]
    fn extras_are_told_by_agents_that_know_them() {
        let wire = |captures_extras, names: &[&str]| v1::Inventory {
            qdrant_version: "1.18.3".into(),
            captures_extras,
            extras: names
                .iter()
                .map(|name| v1::ExtraInfo {
                    name: (*name).into(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let count = |wire| NodeSeen::try_from(wire).map(|seen| seen.extras.map(|e| e.len()));
        assert_eq!(count(wire(false, &[])).unwrap(), None);
        assert_eq!(count(wire(true, &[])).unwrap(), Some(0));
        assert_eq!(count(wire(true, &["a", "b"])).unwrap(), Some(2));
        assert!(count(wire(true, &["a", "a"])).is_err());
        assert!(count(wire(true, &["../a"])).is_err());
    }

    #[test]
    fn a_version_is_needed() {
        assert!(NodeSeen::try_from(v1::Inventory::default()).is_err());
    }
}
