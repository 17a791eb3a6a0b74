//! What is recorded of a collection beside its files, and whether all was well meanwhile.

use super::optimizers::{self, Disturbance, Optimizers, Patience};
use crate::order::CaptureOrder;
use holdfast_archive::CollectionEntry;
use holdfast_qdrant::{
    CollectionCluster, CollectionInfo, CollectionStatus, QdrantClient, QdrantError,
};
use holdfast_types::{AliasName, CollectionName, ServerVersion};

/// What a recovery point says where Qdrant reports a failure and the way needs no trust.
const FAILING: &str = "Qdrant reports a failed operation or optimization: an operation that it has not applied is not in the snapshot";

/// A collection just before its snapshot.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) server_version: ServerVersion,
    /// Without shards and number of points.
    pub(super) entry: CollectionEntry,
    points: Option<u64>,
    pub(super) optimizers: Optimizers,
    /// Qdrant reports a failed operation or optimization.
    pub(super) failing: bool,
}

/// Looks at the collection before a snapshot, as soon as no optimizer works on the shard or patience has ended.
pub(super) async fn before(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
    patience: &Patience,
) -> Result<Before, QdrantError> {
    let server = qdrant.root().await?;
    let name = &order.collection;
    let optimizers = optimizers::wait(qdrant, order, patience).await?;
    let info = qdrant.collection_info(name).await?;
    let (cluster, raw) = qdrant.collection_cluster_raw(name).await?;
    check_active(&cluster, order)?;
    let points = qdrant.count_exact(name).await.ok();
    Ok(Before {
        server_version: server.version,
        failing: is_failing(&info),
        entry: CollectionEntry {
            name: name.clone(),
            info: info.raw,
            aliases: aliases_of(qdrant, name).await?,
            cluster: Some(raw),
            shard_count: cluster.shard_count,
            uuid: qdrant.collection_uuid(name).await.ok().flatten(),
            shard_keys: Vec::new(),
            points: None,
            shards: Vec::new(),
        },
        points,
        optimizers,
    })
}

/// Requires that the shard's replica is still Active, after its snapshot: one that has stopped being so
/// meanwhile may have missed what others acknowledged. Says whether Qdrant reports a failed operation or optimization.
pub(super) async fn after(
    qdrant: &QdrantClient,
    order: &CaptureOrder,
) -> Result<bool, QdrantError> {
    let cluster = qdrant.collection_cluster(&order.collection).await?;
    check_active(&cluster, order)?;
    let info = qdrant.collection_info(&order.collection).await?;
    Ok(is_failing(&info))
}

/// What a recovery point must say of its snapshot.
pub(super) fn notes(disturbance: Option<Disturbance>, failing: bool) -> Vec<String> {
    let notes = disturbance.map(Disturbance::note).into_iter();
    let notes = notes.chain(failing.then_some(FAILING));
    notes.map(str::to_owned).collect()
}

/// A failed operation shows as red, a failed optimization as its error too.
fn is_failing(info: &CollectionInfo) -> bool {
    info.status == CollectionStatus::Red || info.raw["optimizer_status"] != "ok"
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
    /// can tell, and the restored collection must have as many. Beside an optimizer it may have more: what was deleted
    /// since it began. Not being able to count is no failure.
    pub(super) async fn quiet_points(
        &self,
        qdrant: &QdrantClient,
        name: &CollectionName,
        disturbance: Option<Disturbance>,
    ) -> Option<u64> {
        if disturbance.is_some() {
            return None;
        }
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
