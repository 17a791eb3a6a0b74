//! Qdrant nodes as their agents see them.

use super::text::{short_time, table};
use super::{FailureLine, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// `nodes`.
#[derive(Debug, Serialize)]
pub(crate) struct NodesView {
    pub(crate) nodes: Vec<NodeView>,
    /// Nodes that are gone for good.
    pub(crate) removed: Vec<RemovedView>,
}

/// An operator's word on a node.
#[derive(Debug, Serialize)]
pub(crate) struct MarkView {
    pub(crate) since: Timestamp,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
}

/// A node that was removed.
#[derive(Debug, Serialize)]
pub(crate) struct RemovedView {
    pub(crate) node: String,
    #[serde(flatten)]
    pub(crate) mark: MarkView,
    /// The node that took its place.
    pub(crate) successor: Option<String>,
}

/// One node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    pub(crate) node: String,
    pub(crate) connected: bool,
    /// Of the last heartbeat; absent if there was none yet.
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) agent_version: Option<String>,
    /// Agent's clock minus coordinator's, in milliseconds.
    pub(crate) clock_offset_ms: i64,
    /// Absent if the agent could not ask its Qdrant; `qdrant_error` then says why.
    pub(crate) qdrant: Option<QdrantView>,
    pub(crate) qdrant_error: Option<FailureLine>,
    /// Set while it is drained.
    pub(crate) drained: Option<MarkView>,
}

/// A node's Qdrant.
#[derive(Debug, Serialize)]
pub(crate) struct QdrantView {
    pub(crate) version: String,
    pub(crate) commit: Option<String>,
    /// Absent when cluster mode is off.
    pub(crate) peer_id: Option<u64>,
    pub(crate) collections: Vec<String>,
    /// Whether the agent can read the snapshots directory: the quick way of capture.
    pub(crate) snapshots_shared: bool,
    /// Absent if the storage directory is not shared with the agent.
    pub(crate) storage_free_bytes: Option<u64>,
}

impl From<&v1::ListNodesResponse> for NodesView {
    fn from(wire: &v1::ListNodesResponse) -> Self {
        Self {
            nodes: wire.nodes.iter().map(NodeView::from).collect(),
            removed: wire.removed.iter().map(RemovedView::from).collect(),
        }
    }
}

impl From<&v1::NodeMark> for MarkView {
    fn from(wire: &v1::NodeMark) -> Self {
        Self {
            since: Timestamp::from_micros(wire.since_us),
            by: wire.by.clone(),
            reason: some(&wire.reason),
        }
    }
}

impl From<&v1::RemovedNode> for RemovedView {
    fn from(wire: &v1::RemovedNode) -> Self {
        Self {
            node: wire.node.clone(),
            mark: MarkView::from(&wire.mark.clone().unwrap_or_default()),
            successor: some(&wire.successor),
        }
    }
}

impl MarkView {
    /// Since when, by whom and why, in words.
    pub(crate) fn words(&self) -> String {
        let why = self.reason.as_ref().map(|reason| format!(": {reason}"));
        format!(
            "{} by {}{}",
            short_time(self.since),
            self.by,
            why.unwrap_or_default()
        )
    }
}

impl RemovedView {
    fn line(&self) -> String {
        let instead = self.successor.as_ref();
        let instead = instead.map(|node| format!("; {node} took its place"));
        format!(
            "{} was removed at {}{}",
            self.node,
            self.mark.words(),
            instead.unwrap_or_default()
        )
    }
}

impl From<&v1::NodeStatus> for NodeView {
    fn from(wire: &v1::NodeStatus) -> Self {
        Self {
            node: wire.node.clone(),
            connected: wire.connected,
            last_seen: (wire.last_seen_us != 0).then(|| Timestamp::from_micros(wire.last_seen_us)),
            agent_version: wire.program.as_ref().map(|p| p.version.clone()),
            clock_offset_ms: wire.clock_offset_ms,
            qdrant: wire.inventory.as_ref().map(QdrantView::from),
            qdrant_error: wire.qdrant_error.as_ref().map(FailureLine::from),
            drained: wire.drained.as_ref().map(MarkView::from),
        }
    }
}

impl From<&v1::Inventory> for QdrantView {
    fn from(wire: &v1::Inventory) -> Self {
        Self {
            version: wire.qdrant_version.clone(),
            commit: some(&wire.qdrant_commit),
            peer_id: (wire.peer_id != 0).then_some(wire.peer_id),
            collections: wire.collections.iter().map(|c| c.name.clone()).collect(),
            snapshots_shared: wire.snapshots_shared,
            storage_free_bytes: (wire.storage_free_bytes != 0).then_some(wire.storage_free_bytes),
        }
    }
}

/// A clock further off than this shows in the table.
const SHOWN_OFFSET_MS: u64 = 5000;

impl NodeView {
    fn row(&self) -> Vec<String> {
        let qdrant = match (&self.qdrant, &self.qdrant_error) {
            (_, Some(error)) => format!("{}: {}", error.code, error.message),
            (Some(qdrant), None) => qdrant.version.clone(),
            (None, None) => "not asked yet".to_owned(),
        };
        let of_qdrant = |show: &dyn Fn(&QdrantView) -> String| {
            self.qdrant.as_ref().map_or_else(String::new, show)
        };
        let mut state = if self.connected {
            "connected".to_owned()
        } else {
            "NOT CONNECTED".to_owned()
        };
        if self.drained.is_some() {
            state.push_str(", drained");
        }
        if self.clock_offset_ms.unsigned_abs() >= SHOWN_OFFSET_MS {
            state.push_str(&format!(", clock {:+} s", self.clock_offset_ms / 1000));
        }
        vec![
            self.node.clone(),
            state,
            self.last_seen
                .map_or_else(|| "never".to_owned(), short_time),
            self.agent_version.clone().unwrap_or_default(),
            qdrant,
            of_qdrant(&|q| q.collections.len().to_string()),
            of_qdrant(&|q| {
                if q.snapshots_shared {
                    "stored"
                } else {
                    "stream"
                }
                .to_owned()
            }),
            of_qdrant(&|q| {
                q.storage_free_bytes
                    .map_or_else(String::new, |n| ByteCount(n).to_string())
            }),
        ]
    }
}

impl View for NodesView {
    const KIND: &'static str = "nodes";

    fn text(&self) -> String {
        let removed: Vec<String> = self.removed.iter().map(RemovedView::line).collect();
        let listed = if self.nodes.is_empty() {
            "No agent has reported since the coordinator started.".to_owned()
        } else {
            self.table()
        };
        let drained = self.nodes.iter().filter_map(|node| {
            let mark = node.drained.as_ref()?;
            Some(format!("{} is drained since {}", node.node, mark.words()))
        });
        let more: Vec<String> = drained.chain(removed).collect();
        if more.is_empty() {
            return listed;
        }
        format!("{listed}\n\n{}", more.join("\n"))
    }
}

impl NodesView {
    fn table(&self) -> String {
        table(
            &[
                "NODE",
                "STATE",
                "LAST SEEN",
                "AGENT",
                "QDRANT",
                "COLLECTIONS",
                "CAPTURE",
                "FREE",
            ],
            self.nodes.iter().map(NodeView::row),
        )
    }
}
