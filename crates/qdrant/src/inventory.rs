//! What one node holds, in one observation.

use crate::{CollectionCluster, CollectionStatus, QdrantClient, QdrantError};
use futures::future::join_all;
use holdfast_types::{AliasName, CollectionName, ServerVersion};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Ids and addresses of these nodes.
    pub cluster: BTreeMap<u64, String>,
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
    /// Its condition; `None` if another node of the cluster is needed to tell, and does not.
    pub status: Option<CollectionStatus>,
    /// The `result` of `GET /collections/{c}`: configuration, payload schema, counts; null with an unknown status.
    pub info: Value,
    /// Aliases that point at it, sorted.
    pub aliases: Vec<AliasName>,
    /// Its shards and replicas, here and on other nodes.
    pub shards: CollectionCluster,
}

/// Collections that are asked about at once.
const AT_ONCE: usize = 8;
/// How long a node of a cluster may take to describe one collection. What is on other nodes it asks them for; of one that
/// hangs it gives up after 9 s, and a list of collections must not take that long for each.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(3);

/// Asks a node for everything it holds. A collection that is dropped meanwhile is left out. What a node of a cluster can't
/// tell without another one, which does not answer, is unknown and hides nothing else.
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
    let several = cluster.peers() > 1;
    let mut answers = Vec::with_capacity(names.len());
    for some in names.chunks(AT_ONCE) {
        let mut asked = Vec::with_capacity(some.len());
        for name in some {
            asked.push(one(client, name, &aliases, several));
        }
        answers.extend(join_all(asked).await);
    }
    let mut collections = Vec::with_capacity(names.len());
    for answer in answers {
        match answer {
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
    let unknown = collections.iter().any(|one| one.status.is_none());
    if unknown || collections.len() < names.len() {
        // In recovery mode no collection is what it seems.
        if let Err(error @ QdrantError::InRecovery) = client.check_supported().await {
            return Err(error);
        }
    }
    Ok(NodeInventory {
        version: server.version,
        commit: server.commit,
        peer_id: cluster.peer_id,
        peers: cluster.peers(),
        cluster: cluster.peer_list(),
        collections,
        unusable_collections,
        unusable_aliases,
    })
}

async fn one(
    client: &QdrantClient,
    name: &CollectionName,
    aliases: &[(AliasName, CollectionName)],
    several: bool,
) -> Result<CollectionInventory, QdrantError> {
    // Answered by the node alone.
    let shards = client.collection_cluster(name).await?;
    let described = client.collection_info(name);
    let described = if several {
        match tokio::time::timeout(DESCRIBED_WITHIN, described).await {
            Ok(Err(error)) if !is_own(&error) => None,
            Ok(answer) => Some(answer?),
            Err(_) => None,
        }
    } else {
        Some(described.await?)
    };
    let mut aliases: Vec<AliasName> = aliases
        .iter()
        .filter(|(_, target)| target == name)
        .map(|(alias, _)| alias.clone())
        .collect();
    aliases.sort();
    Ok(CollectionInventory {
        name: name.clone(),
        status: described.as_ref().map(|info| info.status),
        info: described.map_or(Value::Null, |info| info.raw),
        aliases,
        shards,
    })
}

/// Whether a failure is the node's own, and not that of another one that it asked.
fn is_own(error: &QdrantError) -> bool {
    !matches!(
        error,
        QdrantError::Server { .. } | QdrantError::Timeout { .. } | QdrantError::NotReady { .. }
    )
}
