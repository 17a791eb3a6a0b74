//! Partial snapshots of a shard: the manifest, and what differs from one; and by what a server's life is known.

use super::{QdrantClient, SnapshotStream};
use crate::{QdrantError, ShardManifest};
use holdfast_types::{CollectionName, ShardId};
use reqwest::{Method, header};
use serde_json::Value;

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

    /// When the server's process started, in its own words: another answer means another process. `None` if the
    /// server does not say, or not to this API key.
    pub async fn started(&self) -> Result<Option<String>, QdrantError> {
        let request = self.call(Method::GET, &["telemetry"]);
        let request = request.query(&[("details_level", 0)]);
        let telemetry: Value = match self.json(request, self.timeouts.request).await {
            Ok(telemetry) => telemetry,
            Err(QdrantError::Forbidden { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let started = telemetry.pointer("/app/startup");
        Ok(started.and_then(Value::as_str).map(str::to_owned))
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
