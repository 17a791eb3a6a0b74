//! Collections: what there is, creating, deleting, indexes, aliases.

use super::QdrantClient;
use super::listed::{Listed, shown};
use crate::{
    CollectionCluster, CollectionInfo, CollectionStatus, PayloadIndex, QdrantError, create_request,
    fan_out_update,
};
use holdfast_types::{AliasName, CollectionName};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Seconds that the server may take to spread a change over its cluster.
const SPREAD_SECONDS: u32 = 50;
/// Between two looks at a collection that is not ready yet.
const POLL: Duration = Duration::from_millis(100);

impl QdrantClient {
    /// Every collection on the node whose name is valid. [`Self::collection_names`] tells of the others.
    pub async fn collections(&self) -> Result<Vec<CollectionName>, QdrantError> {
        Ok(self.collection_names().await?.usable)
    }

    /// Every collection on the node, and those that have a name which must not be used: it breaks Qdrant's
    /// present rule, so an older version made it, or it has control characters.
    pub async fn collection_names(&self) -> Result<Listed<CollectionName>, QdrantError> {
        #[derive(Deserialize)]
        struct Collections {
            collections: Vec<Collection>,
        }
        #[derive(Deserialize)]
        struct Collection {
            name: String,
        }
        let found: Collections = self.get(&["collections"]).await?;
        let mut listed = Listed::default();
        for Collection { name } in found.collections {
            match name.parse() {
                Ok(name) => listed.usable.push(name),
                Err(_) => listed.unusable.push(format!("collection {}", shown(&name))),
            }
        }
        Ok(listed)
    }

    /// The whole description of a collection, as it came.
    pub async fn collection(&self, name: &CollectionName) -> Result<Value, QdrantError> {
        self.get(&["collections", name.as_str()]).await
    }

    /// The description of a collection, typed.
    pub async fn collection_info(
        &self,
        name: &CollectionName,
    ) -> Result<CollectionInfo, QdrantError> {
        self.get(&["collections", name.as_str()]).await
    }

    /// A collection's shards and replicas.
    pub async fn collection_cluster(
        &self,
        name: &CollectionName,
    ) -> Result<CollectionCluster, QdrantError> {
        Ok(self.collection_cluster_raw(name).await?.0)
    }

    /// A collection's shards and replicas, typed and as they came.
    pub async fn collection_cluster_raw(
        &self,
        name: &CollectionName,
    ) -> Result<(CollectionCluster, Value), QdrantError> {
        let raw: Value = self.get(&["collections", name.as_str(), "cluster"]).await?;
        let typed = CollectionCluster::deserialize(&raw).map_err(|e| QdrantError::NotQdrant {
            url: self.url.to_string(),
            why: format!("its description of the shards of {name} can't be read: {e}"),
        })?;
        Ok((typed, raw))
    }

    /// Whether a collection, not an alias, of this name exists.
    pub async fn exists(&self, name: &CollectionName) -> Result<bool, QdrantError> {
        // `GET /collections/{c}/exists` is true for aliases too.
        Ok(self.collections().await?.contains(name))
    }

    /// The exact number of points.
    pub async fn count_exact(&self, name: &CollectionName) -> Result<u64, QdrantError> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let request = self
            .call(
                Method::POST,
                &["collections", name.as_str(), "points", "count"],
            )
            .json(&json!({"exact": true}));
        let count: Count = self.json(request, self.timeouts.request).await?;
        Ok(count.count)
    }

    /// Creates an empty collection like the captured one. Payload indexes, shard keys and aliases come after.
    pub async fn create_collection_from(
        &self,
        captured: &Value,
        target: &CollectionName,
    ) -> Result<(), QdrantError> {
        self.create_collection(captured, target).await?;
        self.set_fan_out_from(captured, target).await
    }

    /// The first half of [`Self::create_collection_from`]: one request, so that success means that this caller, and
    /// nobody else, has created the collection.
    pub async fn create_collection(
        &self,
        captured: &Value,
        target: &CollectionName,
    ) -> Result<(), QdrantError> {
        let request = self
            .call(Method::PUT, &["collections", target.as_str()])
            .query(&[("timeout", SPREAD_SECONDS)])
            .json(&create_request(captured)?);
        let _: bool = self.json(request, self.timeouts.request).await?;
        Ok(())
    }

    /// The second half of [`Self::create_collection_from`]: settings that creation does not take. May be repeated.
    pub async fn set_fan_out_from(
        &self,
        captured: &Value,
        target: &CollectionName,
    ) -> Result<(), QdrantError> {
        if let Some(update) = fan_out_update(captured) {
            let request = self
                .call(Method::PATCH, &["collections", target.as_str()])
                .query(&[("timeout", SPREAD_SECONDS)])
                .json(&update);
            let _: bool = self.json(request, self.timeouts.request).await?;
        }
        Ok(())
    }

    /// Creates a payload index and waits until it is applied.
    pub async fn create_payload_index(
        &self,
        name: &CollectionName,
        index: &PayloadIndex,
    ) -> Result<(), QdrantError> {
        let request = self
            .call(Method::PUT, &["collections", name.as_str(), "index"])
            .query(&[("wait", true)])
            .json(&json!({"field_name": index.field, "field_schema": index.schema}));
        let _: Value = self.json(request, self.timeouts.request).await?;
        Ok(())
    }

    /// Creates a shard key of a collection with custom sharding. Keys must be created in the order of
    /// their captured shard numbers, or points end up under other keys. `shards` is the number of the key's shards.
    pub async fn create_shard_key(
        &self,
        name: &CollectionName,
        key: &Value,
        shards: u32,
    ) -> Result<(), QdrantError> {
        let request = self
            .call(Method::PUT, &["collections", name.as_str(), "shards"])
            .query(&[("timeout", SPREAD_SECONDS)])
            .json(&json!({"shard_key": key, "shards_number": shards}));
        let _: bool = self.json(request, self.timeouts.request).await?;
        Ok(())
    }

    /// Deletes a shard key with its shards and all their points.
    pub async fn delete_shard_key(
        &self,
        name: &CollectionName,
        key: &Value,
    ) -> Result<(), QdrantError> {
        let path = ["collections", name.as_str(), "shards", "delete"];
        let request = self
            .call(Method::POST, &path)
            .query(&[("timeout", SPREAD_SECONDS)])
            .json(&json!({"shard_key": key}));
        let _: bool = self.json(request, self.timeouts.request).await?;
        Ok(())
    }

    /// Deletes a collection with all its data and aliases. False if there was none.
    pub async fn delete_collection(&self, name: &CollectionName) -> Result<bool, QdrantError> {
        let request = self
            .call(Method::DELETE, &["collections", name.as_str()])
            .query(&[("timeout", SPREAD_SECONDS)]);
        self.json(request, self.timeouts.request).await
    }

    /// Points the aliases at the collection, in one step for all. An alias that exists is moved.
    pub async fn set_aliases(
        &self,
        name: &CollectionName,
        aliases: &[AliasName],
    ) -> Result<(), QdrantError> {
        if aliases.is_empty() {
            return Ok(());
        }
        let actions: Vec<Value> = aliases
            .iter()
            .map(|alias| json!({"create_alias": {"collection_name": name, "alias_name": alias}}))
            .collect();
        let request = self
            .call(Method::POST, &["collections", "aliases"])
            .query(&[("timeout", SPREAD_SECONDS)])
            .json(&json!({"actions": actions}));
        let _: bool = self.json(request, self.timeouts.request).await?;
        Ok(())
    }

    /// Waits until the collection is settled: green, or grey (its optimizers wait for the next update), every
    /// local replica Active and no transfer under way. Red is an error at once.
    pub async fn wait_green(
        &self,
        name: &CollectionName,
        limit: Duration,
    ) -> Result<CollectionStatus, QdrantError> {
        self.wait(name, limit, false).await
    }

    /// Like [`Self::wait_green`], but yellow will do: the data is whole and served while the optimizers work, which may
    /// take hours.
    pub async fn wait_loaded(
        &self,
        name: &CollectionName,
        limit: Duration,
    ) -> Result<CollectionStatus, QdrantError> {
        self.wait(name, limit, true).await
    }

    async fn wait(
        &self,
        name: &CollectionName,
        limit: Duration,
        yellow_will_do: bool,
    ) -> Result<CollectionStatus, QdrantError> {
        let started = Instant::now();
        loop {
            let info = self.collection_info(name).await?;
            let shards = self.collection_cluster(name).await?;
            let active = shards.local_shards.iter().all(|s| s.state == "Active");
            let settled = active && shards.shard_transfers.is_empty();
            match info.status {
                CollectionStatus::Green | CollectionStatus::Grey if settled => {
                    return Ok(info.status);
                }
                CollectionStatus::Yellow if settled && yellow_will_do => return Ok(info.status),
                CollectionStatus::Red => {
                    let why = info.optimizer_error.unwrap_or_default();
                    return Err(QdrantError::Server {
                        context: format!("loading {name}"),
                        status: 200,
                        message: format!("the collection is red: {why}"),
                    });
                }
                CollectionStatus::Green | CollectionStatus::Grey | CollectionStatus::Yellow => {}
            }
            if started.elapsed() >= limit {
                return Err(QdrantError::NotReady {
                    context: format!("the use of {name}"),
                    message: format!(
                        "after {} s the collection is {} and {}",
                        limit.as_secs(),
                        info.status,
                        if active {
                            "its replicas are active"
                        } else {
                            "a replica is not active"
                        }
                    ),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
