//! Shard snapshots: making, fetching, deleting, uploading.

use super::{QdrantClient, SnapshotStream};
use crate::{QdrantError, SnapshotDescription};
use bytes::Bytes;
use futures::Stream;
use holdfast_types::{CollectionName, ShardId};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder, header};
use serde_json::{Value, json};

impl QdrantClient {
    /// Has the server store a snapshot of a local shard; returns when it is complete. It stays until deleted.
    /// Names have a resolution of one second: a second snapshot within it overwrites the first.
    pub async fn create_shard_snapshot(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<SnapshotDescription, QdrantError> {
        let shard = shard.to_string();
        let path = [
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshots",
        ];
        let request = self.call(Method::POST, &path).query(&[("wait", true)]);
        self.json(request, self.timeouts.snapshot).await
    }

    /// The stored snapshots of a local shard.
    pub async fn list_shard_snapshots(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<Vec<SnapshotDescription>, QdrantError> {
        let shard = shard.to_string();
        self.get(&[
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshots",
        ])
        .await
    }

    /// Deletes a stored snapshot.
    pub async fn delete_shard_snapshot(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        name: &str,
    ) -> Result<(), QdrantError> {
        let shard = shard.to_string();
        let path = [
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshots",
            name,
        ];
        let request = self.call(Method::DELETE, &path).query(&[("wait", true)]);
        let _: Value = self.json(request, self.timeouts.request).await?;
        Ok(())
    }

    /// Fetches a stored snapshot over HTTP.
    pub async fn download_shard_snapshot(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        name: &str,
    ) -> Result<SnapshotStream, QdrantError> {
        let shard = shard.to_string();
        let path = [
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshots",
            name,
        ];
        self.stream(&path).await
    }

    /// Starts a streamed snapshot of a local shard. The server holds a lock until it is drained.
    pub async fn stream_shard_snapshot(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<SnapshotStream, QdrantError> {
        let shard = shard.to_string();
        let path = [
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshot",
        ];
        self.stream(&path).await
    }

    /// Replaces a shard by an uploaded snapshot, with `priority=snapshot`: what was uploaded wins over other
    /// replicas. `len` is the body's exact length in bytes; without it the body is sent chunked. Returns when the
    /// server has taken the data over; the replica becomes active a moment later (see
    /// [`Self::wait_green`]). A body that ends in an error aborts the upload and leaves the shard as it was.
    pub async fn upload_shard_snapshot<S, E>(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        body: S,
        len: Option<u64>,
    ) -> Result<(), QdrantError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shard = shard.to_string();
        let path = [
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshots",
            "upload",
        ];
        let body = Body::wrap_stream(body);
        let part = match len {
            Some(len) => Part::stream_with_length(body, len),
            None => Part::stream(body),
        };
        let form = Form::new().part("snapshot", part.file_name("shard.snapshot"));
        let request = self
            .call(Method::POST, &path)
            .query(&[("priority", "snapshot"), ("wait", "true")])
            .multipart(form);
        let _: Value = self.json(request, self.timeouts.upload).await?;
        Ok(())
    }

    /// Like [`Self::upload_shard_snapshot`], from a file that already lies in the shard's own snapshots directory (see
    /// [`crate::stored_snapshot_path`]) under `name`: nothing is sent. The file stays where it is.
    pub async fn recover_stored_shard_snapshot(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        name: &str,
    ) -> Result<(), QdrantError> {
        let shard = shard.to_string();
        let path = [
            "collections",
            collection.as_str(),
            "shards",
            &shard,
            "snapshots",
            "recover",
        ];
        let request = self
            .call(Method::PUT, &path)
            .query(&[("wait", true)])
            .json(&json!({"location": name, "priority": "snapshot"}));
        let _: Value = self.json(request, self.timeouts.upload).await?;
        Ok(())
    }

    async fn stream(&self, path: &[&str]) -> Result<SnapshotStream, QdrantError> {
        // Asked for compression, the server would spend its processor on it.
        let request = self
            .call(Method::GET, path)
            .header(header::ACCEPT_ENCODING, "identity");
        self.stream_of(request).await
    }

    /// Sends a request whose answer is a snapshot.
    pub(super) async fn stream_of(
        &self,
        request: RequestBuilder,
    ) -> Result<SnapshotStream, QdrantError> {
        let (context, answer) = self.send(request, self.timeouts.snapshot).await?;
        if let Some(encoding) = answer.headers().get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(QdrantError::NotQdrant {
                url: self.url.to_string(),
                why: format!("{context} came encoded as {encoding:?} although that was refused"),
            });
        }
        Ok(SnapshotStream::new(
            answer,
            context,
            self.timeouts.stream_idle,
        ))
    }
}
