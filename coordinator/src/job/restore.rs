//! What is recorded of a restore.

use super::BackupWork;
use holdfast_decide::RestorePlan;
use holdfast_types::{CopyName, NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A restore and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreWork {
    /// What is done.
    pub plan: RestorePlan,
    /// The node that receives it.
    pub node: NodeId,
    /// Which copy it is read from; absent means the repository itself.
    #[serde(default)]
    pub from_copy: Option<CopyName>,
    /// Captures what is replaced, before anything else.
    pub safety: Option<BackupWork>,
    /// Number of steps whose command was given, the finished ones included.
    #[serde(default)]
    pub begun: usize,
    /// Whether the coordinator has restarted since the job began: then the safety capture may be older
    /// than what a step would replace now.
    #[serde(default)]
    pub resumed: bool,
    /// Finished steps, in the plan's order.
    pub done: Vec<RestoredStep>,
    /// How far the step is that is under way, in a cluster of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<ClusterParts>,
}

/// How far the restore of one collection into a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterParts {
    /// Which step of the plan.
    pub step: usize,
    /// Set once the collection is created.
    pub prepared: Option<Prepared>,
    /// Uploads that were ordered.
    pub uploads: BTreeMap<ShardId, ShardUpload>,
}

/// A collection that was created for a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Its identity in Qdrant; empty if that is not told.
    pub uuid: String,
    /// Payload indexes that were created.
    pub indexes: Vec<String>,
}

/// The upload of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardUpload {
    /// By which node's agent.
    pub node: NodeId,
    /// How often it was ordered: part of the command's name.
    pub tries: u32,
    /// Whether the last order failed.
    pub failed: bool,
    /// Whether Qdrant has it.
    pub done: bool,
    /// Bytes uploaded.
    pub bytes: u64,
    /// Entries of logs that were handed to Qdrant.
    pub replayed: u64,
}

impl ClusterParts {
    /// Nothing of that step has been done.
    #[must_use]
    pub fn new(step: usize) -> Self {
        Self {
            step,
            prepared: None,
            uploads: BTreeMap::new(),
        }
    }
}

/// A restored collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredStep {
    /// Exact number of points afterwards.
    pub points: u64,
    /// Bytes uploaded to Qdrant.
    pub uploaded_bytes: u64,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
    /// Aliases that were created.
    pub aliases: Vec<String>,
    /// Payload indexes that were created.
    pub indexes: Vec<String>,
    /// Entries of logs that were handed to Qdrant.
    #[serde(default)]
    pub replayed: u64,
    /// The uploads of its shards, in a cluster of several nodes.
    #[serde(default)]
    pub uploads: BTreeMap<ShardId, ShardUpload>,
}
