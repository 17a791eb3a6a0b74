//! What a node says of itself alone, without asking others: its process, its collections, its shards.

use super::QdrantClient;
use crate::QdrantError;
use holdfast_types::{CollectionName, ShardId};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// Names the collections and their configuration.
const COLLECTIONS: u32 = 2;
/// Names the local shards too.
const SHARDS: u32 = 3;

impl QdrantClient {
    /// When the server's process started, in its own words: another answer means another process. `None` if the
    /// server does not say, or not to this API key.
    pub async fn started(&self) -> Result<Option<String>, QdrantError> {
        let telemetry = self.telemetry(0).await?;
        let started = telemetry.as_ref().and_then(|t| t.pointer("/app/startup"));
        Ok(started.and_then(Value::as_str).map(str::to_owned))
    }

    /// The identity of a collection: one that is made anew under the same name has another. `None` if the server does not say.
    pub async fn collection_uuid(
        &self,
        name: &CollectionName,
    ) -> Result<Option<String>, QdrantError> {
        let telemetry = self.telemetry(COLLECTIONS).await?;
        let mut collections = listed(telemetry.as_ref()).filter(|one| one["id"] == name.as_str());
        let uuid = collections
            .next()
            .and_then(|one| one.pointer("/config/uuid"));
        Ok(uuid.and_then(Value::as_str).map(str::to_owned))
    }

    /// The local shards whose optimizers are at work, or which are being snapshotted: those that Qdrant calls yellow.
    pub async fn yellow_shards(&self) -> Result<BTreeSet<(String, ShardId)>, QdrantError> {
        let telemetry = self.telemetry(SHARDS).await?;
        let mut yellow = BTreeSet::new();
        for collection in listed(telemetry.as_ref()) {
            let Some(name) = collection["id"].as_str() else {
                continue;
            };
            let shards = collection["shards"].as_array().into_iter().flatten();
            let shards = shards.filter(|shard| shard["local"]["status"] == "yellow");
            let ids = shards.filter_map(|shard| u32::try_from(shard["id"].as_u64()?).ok());
            yellow.extend(ids.map(|id| (name.to_owned(), ShardId(id))));
        }
        Ok(yellow)
    }

    /// `None` if this API key may not ask.
    pub(super) async fn telemetry(&self, details: u32) -> Result<Option<Value>, QdrantError> {
        let request = self.call(Method::GET, &["telemetry"]);
        let request = request.query(&[("details_level", details)]);
        match self.json(request, self.timeouts.request).await {
            Ok(telemetry) => Ok(Some(telemetry)),
            Err(QdrantError::Forbidden { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn listed(telemetry: Option<&Value>) -> impl Iterator<Item = &Value> {
    let collections = telemetry.and_then(|t| t.pointer("/collections/collections"));
    collections.and_then(Value::as_array).into_iter().flatten()
}
