//! What is known: captured shards with their place in a log, and archived logs.

use super::choose::ShardLog;
use holdfast_types::{
    CollectionName, IncarnationId, NodeId, RecoveryPointId, ServerVersion, ShardId, TimelineId,
    Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything that a choice may rest upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Recovery points that can be read and stay, newest first.
    pub points: Vec<BasePoint>,
    /// Archived logs, each timeline once.
    pub logs: Vec<ArchivedLog>,
    /// What connected agents said.
    pub standings: Vec<Standing>,
    /// Which collections are there now.
    pub present: Present,
}

/// What is known of collections that are there now, by the agents that send logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Nodes whose agents have told of every log that is there.
    pub nodes: BTreeSet<NodeId>,
    /// Lives of collections that they follow, and where.
    pub lives: BTreeMap<IncarnationId, (CollectionName, NodeId)>,
    /// Timelines that they follow: some have no entry yet, so that the archive does not know them.
    pub timelines: BTreeSet<(TimelineId, ShardId)>,
    /// Collections of which a node's agent and its Qdrant say different things: one follows a log, or lists a shard, and the other does not.
    pub disputed: BTreeSet<(CollectionName, NodeId)>,
    /// Collections that a node lists without having a shard of them, and who has one, in words.
    pub remote: BTreeMap<CollectionName, String>,
    /// Lives that are over, and of which entries may still be on their way.
    pub arriving: BTreeSet<IncarnationId>,
    /// Shards of lives that are over whose log was read to its end.
    pub whole: BTreeSet<(IncarnationId, ShardId)>,
}

impl History {
    /// Versions of the servers that wrote these entries.
    #[must_use]
    pub fn versions(&self, log: &ShardLog) -> BTreeSet<ServerVersion> {
        let named = self.logs.iter().filter(|archived| {
            archived.timeline == log.timeline
                && archived.shard == log.shard
                && Some(archived.incarnation) == log.incarnation
        });
        let parts = named.flat_map(|archived| &archived.parts);
        let used = parts.filter_map(|part| match part {
            PartView::Read(part) => {
                (part.first < log.until && log.from < part.next).then_some(part)
            }
            PartView::Unreadable { .. } => None,
        });
        used.map(|part| part.version.clone()).collect()
    }
}

/// A recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePoint {
    /// Its id.
    pub id: RecoveryPointId,
    /// False for imports and for the safety captures of overwriting restores: they are not meant by "everything".
    pub ordinary: bool,
    /// All shards of each collection.
    pub collections: BTreeMap<CollectionName, Vec<Base>>,
}

/// A captured shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Which shard.
    pub shard: ShardId,
    /// Whose replica.
    pub node: NodeId,
    /// When its server was asked: everything acknowledged before is contained.
    pub captured_at: Timestamp,
    /// No operation from this one on is contained.
    pub next: Option<u64>,
    /// Every operation below this one is contained.
    pub certain: Option<u64>,
    /// The log that goes on from here.
    pub timeline: Option<TimelineId>,
}

/// A timeline, as far as it is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedLog {
    /// Which run of entries.
    pub timeline: TimelineId,
    /// Of which life of the collection.
    pub incarnation: IncarnationId,
    /// Of which shard.
    pub shard: ShardId,
    /// Whose log it is; `None` if no part can be read.
    pub owner: Option<(CollectionName, NodeId)>,
    /// Why it does not go on with an earlier one, for people.
    pub because: Option<String>,
    /// Its parts, by the index of their first entries.
    pub parts: Vec<PartView>,
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartView {
    /// What it holds.
    Read(Arc<LogPart>),
    /// It is there and can't be used.
    Unreadable {
        /// Index of its first entry, by its name.
        first: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl PartView {
    /// Index of its first entry.
    #[must_use]
    pub fn first(&self) -> u64 {
        match self {
            Self::Read(part) => part.first,
            Self::Unreadable { first, .. } => *first,
        }
    }
}

/// A part of a log that was opened and proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Index of its first entry.
    pub first: u64,
    /// Index after its last one.
    pub next: u64,
    /// CRC of the entry before the first; `None` at the beginning of a timeline.
    pub before: Option<u32>,
    /// CRC of the last entry.
    pub end: u32,
    /// Version of the server that wrote it.
    pub version: ServerVersion,
    /// The looks that found its entries, contiguous from `first` to `next`.
    pub looks: Vec<Look>,
}

/// The entries that one look at a log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Index of the first.
    pub first: u64,
    /// Index after the last.
    pub next: u64,
    /// None of them was in the log at this instant.
    pub after: Timestamp,
    /// All of them were by this one.
    pub by: Timestamp,
    /// Bytes of their data.
    pub bytes: u64,
}

/// What a connected agent says of a log: at `at`, it ended before `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which log.
    pub timeline: TimelineId,
    /// Of which shard.
    pub shard: ShardId,
    /// Everything acknowledged before this instant …
    pub at: Timestamp,
    /// … has an index below this one.
    pub next: u64,
}
