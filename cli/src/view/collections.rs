//! Collections of the connected nodes.

use super::some;
use super::text::{grouped, list, table};
use crate::output::View;
use holdfast_proto::v1;
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
        Self {
            collection: wire.name.clone(),
            status: wire.status.clone(),
            shards: wire.shard_count,
            points_approx: wire.points_approx,
            aliases: wire.aliases.clone(),
            nodes: wire.nodes.clone(),
            newest_recovery_point: some(&wire.newest_recovery_point),
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
            ],
            self.collections.iter().map(row),
        );
        if !unseen.is_empty() {
            text.push_str(&format!("\n{unseen}"));
        }
        text
    }
}
