//! What is recorded of a collection beside its files, and whether it was quiet meanwhile.

use crate::order::CaptureOrder;
use holdfast_archive::CollectionEntry;
use holdfast_qdrant::{CollectionCluster, QdrantClient, QdrantError};
use holdfast_types::{AliasName, CollectionName, ServerVersion};

/// A collection just before its snapshot.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) server_version: ServerVersion,
    /// Without shards and number of points.
    pub(super) entry: CollectionEntry,
    points: Option<u64>,
}

/// Looks at the collection before a snapshot.
pub(super) async fn before(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
) -> Result<Before, QdrantError> {
    let server = qdrant.root().await?;
    let name = &order.collection;
    let info = qdrant.collection_info(name).await?;
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
