//! What agents see of the storage directories that they watch.

use super::some;
use super::text::{grouped, short_time, table};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// The newest look at one node's storage directory.
#[derive(Debug, Serialize)]
pub(crate) struct StorageView {
    looked: Timestamp,
    look_ms: u64,
    /// Looks since the agent's start; the shards' counts begin there, too.
    looks: u64,
    /// Why changes are found by looks alone; null if the kernel tells what comes and goes.
    polling_because: Option<String>,
    event_overflows: u64,
    total_bytes: u64,
    free_bytes: u64,
    /// Null where the file system makes inodes as it needs them.
    total_inodes: Option<u64>,
    free_inodes: Option<u64>,
    /// When nothing will be left, in seconds; null if nothing is foretold.
    bytes_last_secs: Option<u64>,
    inodes_last_secs: Option<u64>,
    /// Shards of which not every file could be looked at.
    unseen_shards: u64,
    /// The next look follows within so many seconds.
    next_look_secs: u64,
    troubles: Vec<TroubleView>,
    pub(crate) shards: Vec<WatchedShardView>,
}

#[derive(Debug, Serialize)]
struct TroubleView {
    last_seen: Timestamp,
    message: String,
}

/// The files of one shard.
#[derive(Debug, Serialize)]
pub(crate) struct WatchedShardView {
    collection: String,
    shard: u32,
    stored_bytes: u64,
    files: u64,
    segments: u64,
    touched_bytes: u64,
    /// From the look before to the newest, by the second.
    touched_per_sec: u64,
    new_segments: u64,
    gone_segments: u64,
    /// When a change was last found; null if none was.
    changed: Option<Timestamp>,
}

impl From<&v1::StorageWatch> for StorageView {
    fn from(wire: &v1::StorageWatch) -> Self {
        let inodes = |number: u64| (wire.total_inodes != 0).then_some(number);
        let trouble = |wire: &v1::StorageTrouble| TroubleView {
            last_seen: Timestamp::from_micros(wire.at_us),
            message: wire.message.clone(),
        };
        Self {
            looked: Timestamp::from_micros(wire.looked_us),
            look_ms: wire.look_ms,
            looks: wire.looks,
            polling_because: some(&wire.polling_because),
            event_overflows: wire.overflows,
            total_bytes: wire.total_bytes,
            free_bytes: wire.free_bytes,
            total_inodes: inodes(wire.total_inodes),
            free_inodes: inodes(wire.free_inodes),
            bytes_last_secs: wire.bytes_last_secs,
            inodes_last_secs: wire.inodes_last_secs,
            unseen_shards: wire.unseen_shards,
            next_look_secs: wire.next_look_secs,
            troubles: wire.troubles.iter().map(trouble).collect(),
            shards: wire.shards.iter().map(WatchedShardView::from).collect(),
        }
    }
}

impl From<&v1::WatchedShard> for WatchedShardView {
    fn from(wire: &v1::WatchedShard) -> Self {
        Self {
            collection: wire.collection.clone(),
            shard: wire.shard_id,
            stored_bytes: wire.stored_bytes,
            files: wire.files,
            segments: wire.segments,
            touched_bytes: wire.touched_bytes,
            touched_per_sec: wire.touched_per_sec,
            new_segments: wire.new_segments,
            gone_segments: wire.gone_segments,
            changed: (wire.changed_us != 0).then(|| Timestamp::from_micros(wire.changed_us)),
        }
    }
}

/// `nodes --shards`.
#[derive(Debug, Serialize)]
pub(crate) struct ShardsView {
    nodes: Vec<NodeShardsView>,
}

#[derive(Debug, Serialize)]
struct NodeShardsView {
    node: String,
    /// Null if its agent does not see the storage directory, or has not looked yet.
    storage: Option<StorageView>,
}

impl From<&v1::ListNodesResponse> for ShardsView {
    fn from(wire: &v1::ListNodesResponse) -> Self {
        let node = |wire: &v1::NodeStatus| NodeShardsView {
            node: wire.node.clone(),
            storage: wire.storage.as_ref().map(StorageView::from),
        };
        Self {
            nodes: wire.nodes.iter().map(node).collect(),
        }
    }
}

impl NodeShardsView {
    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let shards = self.storage.iter().flat_map(|storage| &storage.shards);
        shards.map(|shard| {
            vec![
                self.node.clone(),
                format!("{}/{}", shard.collection, shard.shard),
                ByteCount(shard.stored_bytes).to_string(),
                grouped(shard.files),
                shard.segments.to_string(),
                shard.gone_segments.to_string(),
                ByteCount(shard.touched_bytes).to_string(),
                format!("{}/s", ByteCount(shard.touched_per_sec)),
                shard.changed.map_or_else(|| "-".to_owned(), short_time),
            ]
        })
    }

    /// What else is to be known of the node.
    fn notes(&self) -> Vec<String> {
        let node = &self.node;
        let Some(storage) = &self.storage else {
            return vec![format!(
                "{node}: its agent does not see Qdrant's storage directory ([qdrant] storage_dir in its configuration), or has not looked yet"
            )];
        };
        let mut notes = vec![format!(
            "{node}: {} looks since the agent's start, the last at {} in {} ms; {} of {} free",
            grouped(storage.looks),
            short_time(storage.looked),
            grouped(storage.look_ms),
            ByteCount(storage.free_bytes),
            ByteCount(storage.total_bytes)
        )];
        if let Some(why) = &storage.polling_because {
            notes.push(format!("{node}: changes are found by looks alone: {why}"));
        }
        if storage.unseen_shards > 0 {
            notes.push(format!(
                "{node}: of {} shards not every file could be looked at: they have too many, or can't be read",
                grouped(storage.unseen_shards)
            ));
        }
        if storage.event_overflows > 0 {
            notes.push(format!(
                "{node}: the kernel lost events {} times; looks followed",
                storage.event_overflows
            ));
        }
        let troubles = storage.troubles.iter();
        notes.extend(troubles.map(|trouble| format!("{node}: {}", trouble.message)));
        notes
    }
}

impl View for ShardsView {
    const KIND: &'static str = "node-shards";

    fn text(&self) -> String {
        if self.nodes.is_empty() {
            return "No agent has reported since the coordinator started.".to_owned();
        }
        let header = [
            "NODE", "SHARD", "ON DISK", "FILES", "SEGMENTS", "REPLACED", "TOUCHED", "NOW",
            "CHANGED",
        ];
        let rows: Vec<_> = self.nodes.iter().flat_map(NodeShardsView::rows).collect();
        let notes = self.nodes.iter().flat_map(NodeShardsView::notes);
        let notes = notes.collect::<Vec<_>>().join("\n");
        if rows.is_empty() {
            return notes;
        }
        format!("{}\n\n{notes}", table(&header, rows))
    }
}
