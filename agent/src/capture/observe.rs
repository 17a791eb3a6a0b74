//! What is recorded of a collection beside its files, and whether it was quiet meanwhile.

use crate::order::CaptureOrder;
use holdfast_archive::CollectionEntry;
use holdfast_qdrant::{CollectionCluster, QdrantClient, QdrantError};
use holdfast_types::{AliasName, CollectionName, ServerVersion};
use std::time::Duration;
use tokio::time::Instant;

/// How long a capture waits for running optimizers (status yellow; grey is work that waits). Qdrant (1.18.3, measured, by every way of capture) leaves deletions
/// that were acknowledged while an optimizer runs out of a snapshot that is made before it has ended.
const QUIET_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Recorded where waiting was in vain.
pub(super) const DISTURBED: &str =
    "an optimizer was at work when Qdrant made the snapshot: points deleted meanwhile may be in it";

/// A collection just before its snapshot.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) server_version: ServerVersion,
    /// Without shards and number of points.
    pub(super) entry: CollectionEntry,
    points: Option<u64>,
    /// An optimizer may have been at work.
    pub(super) disturbed: bool,
}

/// Looks at the collection before a snapshot.
pub(super) async fn before(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
) -> Result<Before, QdrantError> {
    let server = qdrant.root().await?;
    let name = &order.collection;
    let mut info = qdrant.collection_info(name).await?;
    let waited = Instant::now();
    while info.raw["status"] == "yellow" && waited.elapsed() < QUIET_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
        info = qdrant.collection_info(name).await?;
    }
    let disturbed = info.raw["status"] == "yellow";
    let (cluster, raw) = qdrant.collection_cluster_raw(name).await?;
    check_active(&cluster, order)?;
    let points = qdrant.count_exact(name).await.ok();
    Ok(Before {
        server_version: server.version,
        entry: CollectionEntry {
            name: name.clone(),
            info: info.raw,
            aliases: aliases_of(qdrant, name).await?,
            cluster: Some(raw),
            shard_count: cluster.shard_count,
            points: None,
            shards: Vec::new(),
        },
        points,
        disturbed,
    })
}

/// Requires that the shard's replica is still Active, after its snapshot. One that has stopped being so
/// meanwhile may have missed what others acknowledged.
pub(super) async fn active(qdrant: &QdrantClient, order: &CaptureOrder) -> Result<(), QdrantError> {
    let cluster = qdrant.collection_cluster(&order.collection).await?;
    check_active(&cluster, order)
}

fn check_active(cluster: &CollectionCluster, order: &CaptureOrder) -> Result<(), QdrantError> {
    let shards = &cluster.local_shards;
    let replica = shards.iter().find(|shard| shard.shard_id == order.shard);
    let state = replica.map_or("missing on this node", |replica| replica.state.as_str());
    if state == "Active" {
        return Ok(());
    }
    Err(QdrantError::NotReady {
        context: format!("a capture of shard {} of {}", order.shard, order.collection),
        message: format!("its replica is {state}, not Active"),
    })
}

impl Before {
    /// The number of points, if it is the same after the snapshot: then nobody wrote, as far as counts
    /// can tell, and the restored collection must have as many. Not being able to count is no failure.
    pub(super) async fn quiet_points(
        &self,
        qdrant: &QdrantClient,
        name: &CollectionName,
    ) -> Option<u64> {
        let after = qdrant.count_exact(name).await.ok()?;
        (Some(after) == self.points).then_some(after)
    }
}

async fn aliases_of(
    qdrant: &QdrantClient,
    name: &CollectionName,
) -> Result<Vec<AliasName>, QdrantError> {
    let mut aliases: Vec<AliasName> = qdrant
        .aliases()
        .await?
        .into_iter()
        .filter(|(_, collection)| collection == name)
        .map(|(alias, _)| alias)
        .collect();
    aliases.sort();
    Ok(aliases)
}
