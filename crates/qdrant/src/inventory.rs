//! What one node holds, in one observation.

use crate::{CollectionStatus, LocalShard, QdrantClient, QdrantError};
use holdfast_types::{AliasName, CollectionName, ServerVersion};
use serde_json::Value;

/// One node as its server describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInventory {
    /// The server's version.
    pub version: ServerVersion,
    /// The commit it was built from, if it tells.
    pub commit: Option<String>,
    /// The node's id in the cluster; 0 when cluster mode is off.
    pub peer_id: u64,
    /// Nodes of its Qdrant cluster, itself included; 0 when cluster mode is off.
    pub peers: u32,
    /// Its collections, by name.
    pub collections: Vec<CollectionInventory>,
    /// Collections under names that can't be used, in words with the names escaped, sorted: `collection "a\nb"`. They
    /// are in no capture, so that a backup of everything must refuse.
    pub unusable_collections: Vec<String>,
    /// The same of aliases, of which a backup of everything must tell.
    pub unusable_aliases: Vec<String>,
}

/// One collection as a node describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInventory {
    /// Its name.
    pub name: CollectionName,
    /// Its condition.
    pub status: CollectionStatus,
    /// The `result` of `GET /collections/{c}`: configuration, payload schema, counts.
    pub info: Value,
    /// Aliases that point at it, sorted.
    pub aliases: Vec<AliasName>,
    /// Number of shards in the cluster.
    pub shard_count: u32,
    /// Shards with a replica on this node.
    pub local_shards: Vec<LocalShard>,
    /// The `result` of `GET /collections/{c}/cluster`.
    pub cluster: Value,
}

/// Asks a node for everything it holds. A collection that is dropped meanwhile is left out.
pub async fn inventory(client: &QdrantClient) -> Result<NodeInventory, QdrantError> {
    let server = client.root().await?;
    let cluster = client.cluster().await?;
    let aliases = client.alias_names().await?;
    let names = client.collection_names().await?;
    let (mut unusable_collections, mut unusable_aliases) = (names.unusable, aliases.unusable);
    unusable_collections.sort();
    unusable_aliases.sort();
    let (aliases, mut names) = (aliases.usable, names.usable);
    names.sort();
    let mut collections = Vec::with_capacity(names.len());
    for name in names {
        match one(client, &name, &aliases).await {
            Ok(collection) => collections.push(collection),
            Err(QdrantError::NotFound { .. }) => {}
            Err(error @ QdrantError::Server { .. }) => {
                // In recovery mode every collection fails so: say that instead.
                client.check_supported().await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(NodeInventory {
        version: server.version,
        commit: server.commit,
        peer_id: cluster.peer_id,
        peers: cluster.peers(),
        collections,
        unusable_collections,
        unusable_aliases,
    })
}

async fn one(
    client: &QdrantClient,
    name: &CollectionName,
    aliases: &[(AliasName, CollectionName)],
) -> Result<CollectionInventory, QdrantError> {
    let info = client.collection_info(name).await?;
    let (cluster, raw) = client.collection_cluster_raw(name).await?;
    let mut aliases: Vec<AliasName> = aliases
        .iter()
        .filter(|(_, target)| target == name)
        .map(|(alias, _)| alias.clone())
        .collect();
    aliases.sort();
    Ok(CollectionInventory {
        name: name.clone(),
        status: info.status,
        info: info.raw,
        aliases,
        shard_count: cluster.shard_count,
        local_shards: cluster.local_shards,
        cluster: raw,
    })
}
