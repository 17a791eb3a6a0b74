//! What a snapshot turned out to hold.

use crate::ShardManifest;
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything known of a captured shard beside its files' bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardContents {
    /// Number of files given to the sink.
    pub files: u64,
    /// Sum of their sizes in bytes.
    pub logical_bytes: u64,
    /// The segments, by id.
    pub segments: Vec<SegmentContents>,
    /// Number that the server would have given to the next operation: the `n` of `wal/closed-{n}`.
    /// `None` if the snapshot carries a log with entries.
    pub next_operation: Option<u64>,
    /// `newest_clocks.json`: the highest clock tick seen of each peer. Absent where nothing was ever replicated.
    pub clocks: Option<Value>,
    /// `oldest_clocks.json`.
    pub oldest_clocks: Option<Value>,
    /// `replica_state.json`: which peers hold the shard, in which states.
    pub replica_state: Value,
    /// `shard_config.json`.
    pub shard_config: Value,
    /// `segment.json` of every segment: its configuration decides what may be written to it.
    pub states: BTreeMap<String, Value>,
}

/// One segment of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentContents {
    /// The segment's id, a UUID.
    pub id: String,
    /// Number of its files.
    pub files: u64,
    /// Sum of their sizes in bytes.
    pub logical_bytes: u64,
    /// Version of the segment's storage format, from `version.info`. It is not the server's version.
    pub storage_version: String,
}

/// What a partial snapshot turned out to hold, and what the server left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialShard {
    /// What was in it; counts and sizes are of that alone.
    pub contents: ShardContents,
    /// All files of the shard's segments at the instant of the snapshot.
    pub manifest: ShardManifest,
    /// Files that the manifest lists and the snapshot does not have: segment id, path below it. Sorted.
    pub omitted: Vec<(String, String)>,
}
