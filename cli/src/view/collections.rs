//! Collections of the connected nodes.

use super::some;
use super::text::{grouped, list, millis, table};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::Timestamp;
use serde::Serialize;

/// `collections`.
#[derive(Debug, Serialize)]
pub(crate) struct CollectionsView {
    pub(crate) collections: Vec<CollectionView>,
    /// Nodes whose collections can't be seen now, and why.
    pub(crate) unseen: Vec<String>,
}

/// One collection.
#[derive(Debug, Serialize)]
pub(crate) struct CollectionView {
    pub(crate) collection: String,
    /// Qdrant's word: green, yellow, grey or red.
    pub(crate) status: String,
    pub(crate) shards: u32,
    /// Qdrant's own, approximate number.
    pub(crate) points_approx: u64,
    pub(crate) aliases: Vec<String>,
    pub(crate) nodes: Vec<String>,
    /// The newest recovery point that contains it.
    pub(crate) newest_recovery_point: Option<String>,
    /// Everything that was acknowledged before could be brought back.
    pub(crate) recoverable_until: Option<Timestamp>,
    /// What would be lost if it were lost now, in milliseconds.
    pub(crate) rpo_ms: Option<u64>,
    /// Whether that instant advances by itself: its logs are archived.
    pub(crate) continuous: bool,
}

impl From<&v1::ListCollectionsResponse> for CollectionsView {
    fn from(wire: &v1::ListCollectionsResponse) -> Self {
        let collections = wire.collections.iter().map(CollectionView::from).collect();
        Self {
            collections,
            unseen: wire.unseen.clone(),
        }
    }
}

impl From<&v1::CollectionStatus> for CollectionView {
    fn from(wire: &v1::CollectionStatus) -> Self {
        let until = wire.recoverable_until_us;
        let until = (until != 0).then(|| Timestamp::from_micros(until));
        Self {
            collection: wire.name.clone(),
            status: wire.status.clone(),
            shards: wire.shard_count,
            points_approx: wire.points_approx,
            aliases: wire.aliases.clone(),
            nodes: wire.nodes.clone(),
            newest_recovery_point: some(&wire.newest_recovery_point),
            recoverable_until: until,
            rpo_ms: until.map(|_| wire.rpo_ms),
            continuous: wire.continuous,
        }
    }
}

impl View for CollectionsView {
    const KIND: &'static str = "collections";

    fn text(&self) -> String {
        let unseen = self.unseen.iter().map(|why| format!("Not shown: {why}"));
        let unseen = unseen.collect::<Vec<_>>().join("\n");
        if self.collections.is_empty() {
            return match unseen.as_str() {
                "" => "No collections on the connected nodes.".to_owned(),
                unseen => unseen.to_owned(),
            };
        }
        let row = |c: &CollectionView| {
            vec![
                c.collection.clone(),
                c.status.clone(),
                c.shards.to_string(),
                format!("~{}", grouped(c.points_approx)),
                list(&c.aliases, "-"),
                list(&c.nodes, "-"),
                c.newest_recovery_point
                    .clone()
                    .unwrap_or_else(|| "NONE".to_owned()),
                match (c.rpo_ms, c.continuous) {
                    (Some(rpo), true) => format!("{} ago", millis(rpo)),
                    (Some(rpo), false) => format!("{} ago, growing", millis(rpo)),
                    (None, _) => "NEVER".to_owned(),
                },
            ]
        };
        let mut text = table(
            &[
                "COLLECTION",
                "STATUS",
                "SHARDS",
                "POINTS",
                "ALIASES",
                "NODES",
                "NEWEST RECOVERY POINT",
                "RECOVERABLE TO",
            ],
            self.collections.iter().map(row),
        );
        if !unseen.is_empty() {
            text.push_str(&format!("\n{unseen}"));
        }
        text
    }
}
