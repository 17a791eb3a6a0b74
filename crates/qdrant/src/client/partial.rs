//! Partial snapshots of a shard: the manifest, and what differs from one.

use super::{QdrantClient, SnapshotStream};
use crate::{QdrantError, ShardManifest};
use holdfast_types::{CollectionName, ShardId};
use reqwest::{Method, header};

impl QdrantClient {
    /// The files of a local shard's segments as they are now; only a snapshot says what they were at one instant.
    pub async fn partial_manifest(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<ShardManifest, QdrantError> {
        let shard = shard.to_string();
        let path = partial_path(collection, &shard, "manifest");
        self.get(&path).await
    }

    /// Starts a streamed snapshot without the files that `known` claims in their present or a later version. `None`
    /// if the server says that `known` is exactly what it has (status 304). The server holds a lock until the stream is drained.
    pub async fn create_partial_snapshot(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        known: &ShardManifest,
    ) -> Result<Option<SnapshotStream>, QdrantError> {
        let shard = shard.to_string();
        let path = partial_path(collection, &shard, "create");
        let request = self
            .call(Method::POST, &path)
            .header(header::ACCEPT_ENCODING, "identity")
            .json(known);
        match self.stream_of(request).await {
            Ok(stream) => Ok(Some(stream)),
            Err(QdrantError::Server { status: 304, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn partial_path<'a>(collection: &'a CollectionName, shard: &'a str, what: &'a str) -> [&'a str; 7] {
    let name = collection.as_str();
    [
        "collections",
        name,
        "shards",
        shard,
        "snapshot",
        "partial",
        what,
    ]
}
