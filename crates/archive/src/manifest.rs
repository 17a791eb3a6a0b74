//! A recovery point: everything that is needed to bring collections back, beside the chunks.
//!
//! The JSON form is specified field by field in `docs/format/manifest.md`. Unknown fields are
//! ignored, so that a newer program of the same format may add some. This module does not check
//! that recipes or chunks exist: the repository does before it commits.

use holdfast_types::{
    AliasName, ChunkId, ClusterName, CollectionName, Epoch, ExtraName, Namespace, NodeId,
    RecoveryPointId, ServerVersion, ShardId, Tag, TimelineId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

mod extra;
mod recipes;

pub use extra::{CapturedExtra, ExtraEntry};
pub use recipes::{RecipeOwner, StoredRecipe};

/// The newest manifest format that this program reads.
pub const MANIFEST_FORMAT: u32 = 2;
/// The format of a point without extras: programs that don't know extras read it.
pub const PLAIN_FORMAT: u32 = 1;
/// The format of a point with captured extras. A program that does not know them would sweep their chunks, so it must not
/// be able to read the point: then it collects no garbage at all.
pub const EXTRAS_FORMAT: u32 = 2;

/// One committed recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`PLAIN_FORMAT`] or [`EXTRAS_FORMAT`]; see [`Manifest::format_of`].
    pub format: u32,
    /// Identity; also the name of the object that holds this manifest.
    pub id: RecoveryPointId,
    /// The deployment that was captured.
    pub cluster: ClusterName,
    /// The boundary of deduplication in which the chunks' ids were computed.
    pub namespace: Namespace,
    /// When the capture began.
    pub begun: Timestamp,
    /// When the manifest was written.
    pub committed: Timestamp,
    /// Epoch of the coordinator that committed.
    pub epoch: Epoch,
    /// Program and version that wrote it, such as `holdfast-coordinator 0.1.0`.
    pub program: String,
    /// What the operator wrote about it; may be empty.
    #[serde(default)]
    pub note: String,
    /// Words that retention rules may name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// The nodes that were captured from, or of whose extras it tells.
    pub nodes: Vec<NodeEntry>,
    /// All nodes of the Qdrant cluster, by id, when the manifest was written; empty without cluster mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerEntry>,
    /// The collections it contains, by name.
    pub collections: Vec<CollectionEntry>,
    /// What it cost.
    #[serde(default)]
    pub stats: PointStats,
    /// Set on a safety capture: the recovery point whose restore it preceded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_for: Option<RecoveryPointId>,
    /// What came or went while the capture ran and is therefore not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// Something that would have been captured, had it been there all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The collection.
    pub collection: CollectionName,
    /// Its shard; absent means the whole collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<ShardId>,
    /// What happened, in words.
    pub why: String,
}

/// A node that was captured from, or of whose extras the point tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The agent's name for it.
    pub node: NodeId,
    /// Version of its Qdrant.
    pub qdrant_version: ServerVersion,
    /// Commit of its Qdrant, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdrant_commit: Option<String>,
    /// Its id within the Qdrant cluster; 0 where cluster mode is off.
    #[serde(default)]
    pub peer_id: u64,
    /// The files beside Qdrant's own that its agent is configured to capture, each name once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extras: Vec<ExtraEntry>,
    /// Why it is not known which extras it has, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extras_unknown: Option<String>,
}

/// A captured collection: what its shards' snapshots omit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionEntry {
    /// Its name.
    pub name: CollectionName,
    /// `result` of `GET /collections/{name}`: configuration, payload schema, status.
    pub info: Value,
    /// Aliases that pointed at it.
    #[serde(default)]
    pub aliases: Vec<AliasName>,
    /// `result` of `GET /collections/{name}/cluster`, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Value>,
    /// Number of shards it has; all of them are in `shards`.
    pub shard_count: u32,
    /// Its identity in Qdrant, where that is told: one that is made anew under the same name has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// With custom sharding: its shard keys, by the first of their shards, and the shards of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shard_keys: Vec<ShardKeyEntry>,
    /// Exact number of points, only where no write can have come between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<u64>,
    /// Its shards, by id.
    pub shards: Vec<ShardEntry>,
}

/// A captured shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// Its number within the collection.
    pub shard_id: ShardId,
    /// The node whose replica was captured.
    pub node: NodeId,
    /// Version of that node's Qdrant at the capture.
    pub server_version: ServerVersion,
    /// How it was captured: `stored`, `stream`, `direct`, `partial` or `imported`.
    pub method: String,
    /// Why quicker ways were not taken, or why Qdrant sent everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// When Qdrant was asked for the snapshot: everything acknowledged before is contained.
    pub captured_at: Timestamp,
    /// The operation number that comes next, N of the archive's `wal/closed-N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_operation: Option<u64>,
    /// What the shard's log said when the snapshot was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalMark>,
    /// Content of `newest_clocks.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Value>,
    /// Content of `replica_state.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_state: Option<Value>,
    /// All its replicas as the captured node knew them at the capture; empty without cluster mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaEntry>,
    /// The chunks that make up the encoded [`crate::ShardRecipe`], in order.
    pub recipe: Vec<ChunkId>,
    /// Length of the encoded recipe in bytes.
    pub recipe_len: u64,
    /// BLAKE3 of the encoded recipe, 64 hexadecimal digits.
    pub recipe_hash: String,
    /// Number of files.
    pub files: u32,
    /// Sum of the files' logical sizes in bytes.
    pub logical_bytes: u64,
}

/// A shard key of a collection with custom sharding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardKeyEntry {
    /// The key: a text or a number.
    pub key: Value,
    /// Its shards, ascending.
    pub shards: Vec<ShardId>,
}

/// A replica of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaEntry {
    /// The peer that has it.
    pub peer_id: u64,
    /// Qdrant's name of its state.
    pub state: String,
}

/// A node of the Qdrant cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEntry {
    /// Its id.
    pub peer_id: u64,
    /// Its address among the peers.
    pub uri: String,
    /// Its agent's name for it; absent if it has none that has connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Version of its Qdrant, where its agent has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdrant_version: Option<ServerVersion>,
}

/// Where in its write-ahead log a captured shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalMark {
    /// Every operation below this index is contained. Operations from here on to `next_operation` may be.
    pub certain: u64,
    /// The archived run of entries that goes on from here; absent where the log is not archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineId>,
}

/// What a recovery point cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointStats {
    /// Logical bytes of all captured files.
    pub logical_bytes: u64,
    /// Bytes that agents sent, encoded.
    pub sent_bytes: u64,
    /// Bytes that were added to the repository.
    pub stored_bytes: u64,
    /// From begin to commit, in milliseconds.
    pub elapsed_ms: u64,
}

/// Why bytes are not a usable manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON of a manifest.
    #[error("manifest is not valid")]
    Syntax(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error("manifest format {0} is newer than this program knows ({MANIFEST_FORMAT})")]
    NewerFormat(u32),
    /// The fields contradict each other.
    #[error("manifest is inconsistent: {0}")]
    Inconsistent(String),
}

impl Manifest {
    /// The JSON form.
    ///
    /// # Errors
    /// [`ManifestError::Inconsistent`] for what [`from_json`](Self::from_json) would refuse.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        serde_json::to_vec(self).map_err(ManifestError::Syntax)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// Anything but a consistent manifest of a known format.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        if format > MANIFEST_FORMAT {
            return Err(ManifestError::NewerFormat(format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The format in which a point with these nodes is written: the oldest that tells everything that must not be ignored.
    #[must_use]
    pub fn format_of(nodes: &[NodeEntry]) -> u32 {
        let mut extras = nodes.iter().flat_map(|node| &node.extras);
        if extras.any(|extra| extra.captured.is_some()) {
            EXTRAS_FORMAT
        } else {
            PLAIN_FORMAT
        }
    }

    /// The same point with nothing said of extras, for readers that have no business with them and may be older.
    #[must_use]
    pub fn without_extras(mut self) -> Self {
        for node in &mut self.nodes {
            node.extras.clear();
            node.extras_unknown = None;
        }
        self.format = self.format.min(PLAIN_FORMAT);
        self
    }

    /// The captured collection of this name.
    #[must_use]
    pub fn collection(&self, name: &CollectionName) -> Option<&CollectionEntry> {
        self.collections.iter().find(|entry| entry.name == *name)
    }

    /// The extra of this name of this node.
    #[must_use]
    pub fn extra(&self, node: &NodeId, name: &ExtraName) -> Option<&ExtraEntry> {
        let mut nodes = self.nodes.iter();
        let node = nodes.find(|entry| entry.node == *node)?;
        node.extras.iter().find(|extra| extra.name == *name)
    }

    /// Every captured shard with its collection.
    pub fn shards(&self) -> impl Iterator<Item = (&CollectionEntry, &ShardEntry)> {
        self.collections.iter().flat_map(|collection| {
            collection
                .shards
                .iter()
                .map(move |shard| (collection, shard))
        })
    }

    fn check(&self) -> Result<(), ManifestError> {
        let bad = |text: String| Err(ManifestError::Inconsistent(text));
        if self.format == 0 || self.format > MANIFEST_FORMAT {
            return bad(format!("format {}", self.format));
        }
        let nodes: HashSet<_> = self.nodes.iter().map(|entry| &entry.node).collect();
        if nodes.len() != self.nodes.len() {
            return bad("a node is listed twice".to_owned());
        }
        for node in &self.nodes {
            extra::check(node).or_else(bad)?;
        }
        if self.format < Self::format_of(&self.nodes) {
            return bad(format!("it has extras, but format {}", self.format));
        }
        let mut names = HashSet::new();
        for collection in &self.collections {
            let name = &collection.name;
            if !names.insert(name) {
                return bad(format!("collection {name} is listed twice"));
            }
            let ids: HashSet<_> = collection.shards.iter().map(|s| s.shard_id).collect();
            if ids.len() != collection.shards.len() {
                return bad(format!("collection {name} lists a shard twice"));
            }
            if collection.shards.len() != collection.shard_count as usize {
                return bad(format!(
                    "collection {name} has {} shards but lists {}",
                    collection.shard_count,
                    collection.shards.len()
                ));
            }
            for shard in &collection.shards {
                shard.check().or_else(|why| {
                    bad(format!(
                        "shard {} of collection {name}: {why}",
                        shard.shard_id
                    ))
                })?;
                if !nodes.contains(&shard.node) {
                    return bad(format!(
                        "shard {} of collection {name} names the unlisted node {}",
                        shard.shard_id, shard.node
                    ));
                }
            }
        }
        Ok(())
    }
}

impl ShardEntry {
    /// Where its recipe stands.
    #[must_use]
    pub fn stored_recipe(&self) -> StoredRecipe<'_> {
        StoredRecipe::new(&self.recipe, self.recipe_len, &self.recipe_hash)
    }

    /// The recipe's hash as bytes; `None` if the text is not one.
    #[must_use]
    pub fn recipe_digest(&self) -> Option<[u8; 32]> {
        self.stored_recipe().digest()
    }

    fn check(&self) -> Result<(), &'static str> {
        let (mark, next) = (self.wal, self.next_operation);
        if mark.is_some_and(|mark| next.is_some_and(|next| mark.certain > next)) {
            return Err("it contains operations beyond its last one");
        }
        self.stored_recipe().check()
    }
}

#[cfg(test)]
mod tests;
