//! What an open command has done to the outside, written before it is done.

use holdfast_archive::CollectionEntry;
use holdfast_types::{AliasName, ServerVersion, ShardId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The journalled state of an open command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing outside the agent has changed.
    Accepted,
    /// Capture: Qdrant is being asked for a stored snapshot, whose name is not known yet.
    AskingSnapshot(SnapshotRequest),
    /// Capture: a stored snapshot exists on Qdrant's disk.
    Snapshot(Box<TakenSnapshot>),
    /// Restore: the target collection is being written.
    Restoring(RestoreProgress),
    /// Extra: its hook has been begun, so that the one afterwards must run, whatever happens.
    Hooked,
    /// Restore: operations of archived logs are being sent to it. How far they are is known to Qdrant alone, and sending one again may
    /// have another effect: whoever resumes begins with the captured shards again. A phase of its own, so that an older release, put back
    /// in place of this one, can't take the collection for a restored one.
    Replaying(Box<Replaying>),
}

/// What was known when the first operation was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaying {
    /// How the collection came about.
    pub progress: RestoreProgress,
    /// Its identity, if Qdrant tells.
    pub uuid: Option<String>,
}

/// A request for a snapshot that may or may not have had its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// When it was about to be sent.
    pub asked: Timestamp,
    /// Names of the shard's snapshots before it.
    pub before: Vec<String>,
}

/// A stored snapshot and what was observed around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakenSnapshot {
    /// File name on Qdrant's disk.
    pub name: String,
    /// Size in bytes as Qdrant said.
    pub size: u64,
    /// SHA-256 of the file as Qdrant said, 64 hexadecimal digits.
    pub checksum: Option<String>,
    /// When the request was sent: the snapshot holds everything acknowledged before.
    pub captured: Timestamp,
    /// Time Qdrant took, in milliseconds.
    pub snapshot_ms: u64,
    /// Version of the server that made it.
    pub server_version: ServerVersion,
    /// What the recovery point must say of it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The collection as it was, without shards; `points` only if the count stayed equal.
    pub collection: CollectionEntry,
}

/// How far a restore is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreProgress {
    /// How the target is brought about.
    pub target: TargetMode,
    /// Aliases that the target had before, to be pointed at it again.
    pub kept_aliases: Vec<AliasName>,
    /// The collection that [`TargetMode::Recreate`] replaces, as it was described before.
    #[serde(default)]
    pub replaced: Option<Value>,
    /// The collection that this command created, as it was described then; absent as long as Qdrant has
    /// not confirmed that it was this command who created it.
    #[serde(default)]
    pub created: Option<Value>,
    /// An upload has begun, so that points in the collection may be this command's.
    #[serde(default)]
    pub holds_data: bool,
    /// Shards whose upload Qdrant has accepted.
    pub uploaded: Vec<ShardId>,
    /// What was sent to it afterwards; absent as long as that is not done, or if nothing was to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
}

/// Operations that were sent to a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// How many.
    pub entries: u64,
    /// What people should know of them.
    pub notes: Vec<String>,
}

/// How the target collection is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetMode {
    /// It did not exist: created by this command, deleted again if the command fails.
    Create,
    /// It existed with another configuration: deleted and created anew.
    Recreate,
    /// It exists with the same configuration: each shard's data is swapped by Qdrant.
    Replace,
}
