//! What is known of the world when a decision is taken. Unknown is a value of its own here, never
//! a default.

use holdfast_types::{
    AliasName, ByteCount, CollectionName, Epoch, ExtraName, JobId, NodeId, ServerVersion, ShardId,
    Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A report older than this says nothing about the present. Agents report every few seconds.
pub const MAX_REPORT_AGE: Duration = Duration::from_secs(60);

/// All nodes, and what is going on already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The term under which plans are made.
    pub epoch: Epoch,
    /// The job that runs now, if there is one.
    pub running: Option<RunningJob>,
    /// Every node heard of since the coordinator started.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// What the newest recovery points say; empty where it does not matter.
    pub past: Past,
}

/// What recovery points tell of earlier captures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Which node's replica of each shard was captured last: its pin.
    pub pins: BTreeMap<(CollectionName, ShardId), NodeId>,
    /// The peer ids that nodes had.
    pub peers: BTreeMap<NodeId, u64>,
    /// Nodes that an operator has removed: nobody waits for them any more.
    pub removed: BTreeSet<NodeId>,
}

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    /// Its id.
    pub id: JobId,
    /// What it is, in one word: "backup" or "restore".
    pub kind: &'static str,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Whether its agent is connected.
    pub connected: bool,
    /// When its agent last reported.
    pub reported_at: Option<Timestamp>,
    /// How far its clock is from the coordinator's, where that is too far for its times to be believed.
    pub clock_skew: Option<Duration>,
    /// What that report said. Of a disconnected node: the last one that told of a server.
    pub server: ServerView,
    /// The last server that it told of, where `server` is failing.
    pub before: Option<ServerSeen>,
    /// Whether it was asked to look just now and did not answer in time.
    pub late: bool,
    /// How its Qdrant answers the simplest question.
    pub pulse: Pulse,
    /// Whether an operator wants no captures on it, as far as other nodes can do without it.
    pub drained: bool,
    /// How long searches took there just now; `None` if there were none, or nobody asked for it.
    pub searches: Option<Duration>,
}

/// How a Qdrant answers `GET /`; zeros where nobody tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// For how long there has been no answer.
    pub silent: Duration,
    /// How long the last answer took.
    pub answer: Duration,
}

/// A Qdrant server, as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerView {
    /// Nothing was reported yet.
    Unknown,
    /// The agent could not use it.
    Failing {
        /// Failure code, such as "qdrant-unreachable".
        code: String,
        /// The agent's sentence.
        message: String,
    },
    /// It answered.
    Seen(ServerSeen),
}

/// A Qdrant server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSeen {
    /// Its version.
    pub version: ServerVersion,
    /// Its commit, if it tells.
    pub commit: Option<String>,
    /// Its peer id; `None` when cluster mode is off.
    pub peer_id: Option<u64>,
    /// Nodes of its Qdrant cluster, itself included, known to Holdfast or not; 0 when cluster mode is off.
    pub peers: u32,
    /// Their ids and addresses; empty when cluster mode is off or an older agent does not tell.
    pub cluster: BTreeMap<u64, String>,
    /// Collections that can't be captured because of their names, in words.
    pub unusable_collections: Vec<String>,
    /// Aliases that can't be captured because of their names, in words.
    pub unusable_aliases: Vec<String>,
    /// Bytes free on its storage volume, if the agent sees that volume.
    pub storage_free: Option<ByteCount>,
    /// Whether stored snapshots can be read from a shared volume.
    pub snapshots_shared: bool,
    /// Whether its agent replays archived logs.
    pub splices_logs: bool,
    /// Whether its agent carries out parts of restores into clusters.
    pub restores_parts: bool,
    /// Whether its agent sends archived operations to running collections.
    pub replays_logs: bool,
    /// Whether its agent keeps the limits of a capture.
    pub keeps_limits: bool,
    /// Files beside Qdrant's own that its agent is configured to capture; `None` if an older agent does not tell.
    pub extras: Option<Vec<ExtraSeen>>,
    /// Its collections.
    pub collections: BTreeMap<CollectionName, CollectionView>,
}

/// An extra that an agent is configured to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraSeen {
    /// Its name.
    pub name: ExtraName,
    /// Whether it is Qdrant's own configuration.
    pub config: bool,
    /// Whether there must be no recovery point without it.
    pub required: bool,
}

/// One collection on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionView {
    /// Qdrant's word: green, yellow, grey or red; "unknown" while a node that is needed to tell does not answer.
    pub status: String,
    /// Shards of the collection in the whole Qdrant cluster.
    pub shard_count: u32,
    /// Replicas on this node.
    pub shards: BTreeMap<ShardId, ShardView>,
    /// Replicas on other nodes, as this one knows them.
    pub remote: Vec<RemoteView>,
    /// Transfers of shards that are under way.
    pub transfers: Vec<TransferView>,
    /// Aliases that point at it.
    pub aliases: Vec<AliasName>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// Qdrant's name of its state.
    pub state: String,
    /// For how long its optimizers have been at work without a pause, as far as its agent knows.
    pub optimizing: Duration,
    /// Qdrant's approximate number of points.
    pub points_approx: u64,
}

/// A replica on another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteView {
    /// Which shard.
    pub shard: ShardId,
    /// The node that has it.
    pub peer: u64,
    /// Qdrant's name of its state.
    pub state: String,
}

/// A shard on its way between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferView {
    /// Which shard.
    pub shard: ShardId,
    /// Where it comes from.
    pub from: u64,
    /// Where it goes.
    pub to: u64,
}

/// The only state of a replica that is a source of a capture.
pub const ACTIVE: &str = "Active";

impl ShardView {
    /// Whether Qdrant calls it Active. Every other state is no source of a capture.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == ACTIVE
    }
}

impl NodeView {
    /// The server if its agent is connected and told of it lately.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> Option<&ServerSeen> {
        let fresh = self.connected
            && self
                .reported_at
                .is_some_and(|at| now.since(at) <= MAX_REPORT_AGE);
        match &self.server {
            ServerView::Seen(server) if fresh => Some(server),
            ServerView::Seen(_) | ServerView::Failing { .. } | ServerView::Unknown => None,
        }
    }
}
