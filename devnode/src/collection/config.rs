//! A collection's configuration: what a client asks for, what is stored in `config.json`, what the engine is told.
//!
//! The stored form is Qdrant's own, so a client reads back the same names. Settings without meaning for one node
//! (replication, consistency, fan-out, strict mode) are kept and shown, and do nothing.

use crate::NodeError;
use crate::collection::vectors::{SparseParams, VectorParams, Vectors};
use holdfast_engine::model::{
    EdgeConfig, EdgeOptimizersConfig, HnswIndexConfig, QuantizationConfig, WalOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// The whole configuration, as `config.json` and `GET /collections/{name}` show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectionConfig {
    /// Vectors and sharding.
    pub params: Params,
    /// Parameters of the vector index for vectors that have none of their own.
    pub hnsw_config: HnswIndexConfig,
    /// When segments are rebuilt; only some fields matter to the engine.
    pub optimizer_config: Map<String, Value>,
    /// Size and retention of the write-ahead log.
    pub wal_config: WalConfig,
    /// Quantization for vectors that have none of their own.
    #[serde(default)]
    pub quantization_config: Option<QuantizationConfig>,
    /// Kept and shown, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<Value>,
    /// The client's own data about the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// The part of the configuration that Qdrant calls `params`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// Dense and multi vectors.
    #[serde(default)]
    pub vectors: Vectors,
    /// Always 1 here.
    #[serde(default = "one")]
    pub shard_number: u32,
    /// Only `auto` is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding_method: Option<String>,
    /// Kept and shown, without effect.
    #[serde(default = "one")]
    pub replication_factor: u32,
    /// Kept and shown, without effect.
    #[serde(default = "one")]
    pub write_consistency_factor: u32,
    /// Kept and shown, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_fan_out_factor: Option<u32>,
    /// Payload is read from disk at every request.
    #[serde(default = "yes")]
    pub on_disk_payload: bool,
    /// Sparse vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseParams>>,
}

/// Size and retention of the write-ahead log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WalConfig {
    /// Size of one file, in MiB.
    pub wal_capacity_mb: usize,
    /// Files created ahead of need.
    pub wal_segments_ahead: usize,
    /// Closed files kept although everything in them is flushed.
    #[serde(default = "one_usize")]
    pub wal_retain_closed: usize,
}

fn one() -> u32 {
    1
}
fn one_usize() -> usize {
    1
}
fn yes() -> bool {
    true
}

const IMMUTABLE_PARAMS: [&str; 4] = [
    "vectors",
    "sparse_vectors",
    "shard_number",
    "sharding_method",
];

impl CollectionConfig {
    /// The configuration for a create request, with Qdrant's defaults filled in.
    ///
    /// # Errors
    /// `BadInput` for values that don't parse, `Unsupported` for more than one shard.
    pub fn from_create(body: &Value) -> Result<Self, NodeError> {
        let field = |name: &str| body.get(name).filter(|value| !value.is_null()).cloned();
        let mut params = json!({});
        for name in [
            "vectors",
            "shard_number",
            "sharding_method",
            "replication_factor",
            "write_consistency_factor",
            "on_disk_payload",
            "sparse_vectors",
        ] {
            if let Some(value) = field(name) {
                params[name] = value;
            }
        }
        let hnsw = parse::<Value>(json!(HnswIndexConfig::default()))?;
        let config = Self {
            params: parse(params)?,
            hnsw_config: parse(overlaid(hnsw, field("hnsw_config")))?,
            optimizer_config: parse(overlaid(optimizer_defaults(), field("optimizers_config")))?,
            wal_config: parse(overlaid(wal_defaults(), field("wal_config")))?,
            quantization_config: field("quantization_config").map(parse).transpose()?,
            strict_mode_config: field("strict_mode_config").or(Some(json!({"enabled": false}))),
            metadata: field("metadata").map(parse).transpose()?,
        };
        config.check()?;
        Ok(config)
    }

    /// Applies an update request. Vectors can't be added or removed this way.
    ///
    /// # Errors
    /// `BadInput` for unknown vectors and values that don't parse.
    pub fn update(&mut self, body: &Value) -> Result<(), NodeError> {
        let mut next = self.clone();
        let field = |name: &str| body.get(name).filter(|value| !value.is_null()).cloned();
        let hnsw = overlaid(json!(next.hnsw_config), field("hnsw_config"));
        next.hnsw_config = parse(hnsw)?;
        let optimizer = Value::Object(next.optimizer_config);
        next.optimizer_config = parse(overlaid(optimizer, field("optimizers_config")))?;
        if let Some(Value::Object(mut diff)) = field("params") {
            diff.retain(|name, _| !IMMUTABLE_PARAMS.contains(&name.as_str()));
            next.params = parse(overlaid(json!(next.params), Some(Value::Object(diff))))?;
        }
        if let Some(quantization) = field("quantization_config") {
            let disabled = quantization == json!("Disabled");
            next.quantization_config = if disabled { None } else { parse(quantization)? };
        }
        if let Some(Value::Object(vectors)) = field("vectors") {
            next.params.vectors.update(vectors)?;
        }
        if let Some(strict) = field("strict_mode_config") {
            let current = next.strict_mode_config.take().unwrap_or(json!({}));
            next.strict_mode_config = Some(overlaid(current, Some(strict)));
        }
        if let Some(Value::Object(metadata)) = field("metadata") {
            next.metadata.get_or_insert_default().extend(metadata);
        }
        next.check()?;
        *self = next;
        Ok(())
    }

    fn check(&self) -> Result<(), NodeError> {
        if self.params.shard_number != 1 {
            let shards = self.params.shard_number;
            return Err(NodeError::Unsupported(format!(
                "shard_number {shards}: a collection has exactly one shard here"
            )));
        }
        if let Some(method) = self
            .params
            .sharding_method
            .as_deref()
            .filter(|m| *m != "auto")
        {
            return Err(NodeError::Unsupported(format!(
                "sharding_method {method:?}"
            )));
        }
        for (name, params) in self.params.vectors.iter() {
            params.check(name)?;
        }
        if self.wal_config.wal_capacity_mb == 0 || self.wal_config.wal_retain_closed == 0 {
            return Err(NodeError::BadInput(
                "wal_capacity_mb and wal_retain_closed must be at least 1".into(),
            ));
        }
        Ok(())
    }

    /// Parameters of a dense or multi vector.
    #[must_use]
    pub fn vector(&self, name: &str) -> Option<&VectorParams> {
        self.params.vectors.get(name)
    }

    /// Parameters of a sparse vector.
    #[must_use]
    pub fn sparse_vector(&self, name: &str) -> Option<&SparseParams> {
        self.params.sparse_vectors.as_ref()?.get(name)
    }

    /// What the engine is told.
    ///
    /// # Errors
    /// `BadInput` for per-vector index parameters that don't parse.
    pub fn engine(&self) -> Result<EdgeConfig, NodeError> {
        let vectors = self
            .params
            .vectors
            .iter()
            .map(|(name, params)| Ok((name.to_owned(), params.engine(&self.hnsw_config)?)))
            .collect::<Result<_, NodeError>>()?;
        let sparse = self.params.sparse_vectors.iter().flatten();
        Ok(EdgeConfig {
            on_disk_payload: self.params.on_disk_payload,
            vectors,
            sparse_vectors: sparse
                .map(|(name, params)| (name.clone(), params.engine()))
                .collect(),
            hnsw_config: self.hnsw_config,
            quantization_config: self.quantization_config.clone(),
            optimizers: self.engine_optimizers(),
            wal_options: Some(WalOptions {
                segment_capacity: self.wal_config.wal_capacity_mb << 20,
                segment_queue_len: self.wal_config.wal_segments_ahead,
                retain_closed: NonZeroUsize::new(self.wal_config.wal_retain_closed)
                    .unwrap_or(NonZeroUsize::MIN),
            }),
        })
    }

    fn engine_optimizers(&self) -> EdgeOptimizersConfig {
        let number = |name: &str| {
            let value = self.optimizer_config.get(name)?.as_u64()?;
            usize::try_from(value).ok()
        };
        EdgeOptimizersConfig {
            deleted_threshold: self
                .optimizer_config
                .get("deleted_threshold")
                .and_then(Value::as_f64),
            vacuum_min_vector_number: number("vacuum_min_vector_number"),
            default_segment_number: number("default_segment_number"),
            max_segment_size: number("max_segment_size"),
            indexing_threshold: number("indexing_threshold"),
            prevent_unoptimized: None,
        }
    }
}

fn optimizer_defaults() -> Value {
    json!({
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "max_segment_size": null,
        "memmap_threshold": null,
        "indexing_threshold": 10000,
        "flush_interval_sec": 5,
        "max_optimization_threads": null,
    })
}

fn wal_defaults() -> Value {
    json!({"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1})
}

/// `base` with the non-null fields of `diff` put over it.
pub(super) fn overlaid(mut base: Value, diff: Option<Value>) -> Value {
    if let (Value::Object(base), Some(Value::Object(diff))) = (&mut base, diff) {
        base.extend(diff.into_iter().filter(|(_, value)| !value.is_null()));
    }
    base
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, NodeError> {
    serde_json::from_value(value).map_err(|error| NodeError::Format(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_real_server() {
        let body = json!({"vectors": {"size": 4, "distance": "Dot"}});
        let config = CollectionConfig::from_create(&body).unwrap();
        let shown = serde_json::to_value(&config).unwrap();
        let expected = json!({
            "params": {
                "vectors": {"size": 4, "distance": "Dot"},
                "shard_number": 1,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": true
            },
            "hnsw_config": {
                "m": 16, "ef_construct": 100, "full_scan_threshold": 10000,
                "max_indexing_threads": 0, "on_disk": false
            },
            "optimizer_config": optimizer_defaults(),
            "wal_config": wal_defaults(),
            "quantization_config": null,
            "strict_mode_config": {"enabled": false}
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_config_shown_can_be_created_again() {
        let body = json!({
            "vectors": {"a": {"size": 4, "distance": "Cosine", "hnsw_config": {"m": 8}},
                        "b": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
            "sparse_vectors": {"s": {"modifier": "idf"}},
            "metadata": {"model": "x"},
        });
        let first = serde_json::to_value(CollectionConfig::from_create(&body).unwrap()).unwrap();
        let mut again = first["params"].clone();
        again["hnsw_config"] = first["hnsw_config"].clone();
        again["optimizers_config"] = first["optimizer_config"].clone();
        again["wal_config"] = first["wal_config"].clone();
        again["metadata"] = first["metadata"].clone();
        let second = serde_json::to_value(CollectionConfig::from_create(&again).unwrap()).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn more_than_one_shard_is_refused() {
        let body = json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2});
        let error = CollectionConfig::from_create(&body).unwrap_err();
        assert!(matches!(error, NodeError::Unsupported(_)), "{error}");
    }

    #[test]
    fn an_update_changes_only_what_it_names() {
        let body = json!({"vectors": {"size": 4, "distance": "Dot"}});
        let mut config = CollectionConfig::from_create(&body).unwrap();
        let update = json!({
            "optimizers_config": {"indexing_threshold": 5},
            "params": {"shard_number": 7, "replication_factor": 2},
            "vectors": {"": {"on_disk": true}},
        });
        config.update(&update).unwrap();
        let shown = serde_json::to_value(&config).unwrap();
        assert_eq!(shown["optimizer_config"]["indexing_threshold"], 5);
        assert_eq!(shown["optimizer_config"]["deleted_threshold"], 0.2);
        assert_eq!(shown["params"]["shard_number"], 1);
        assert_eq!(shown["params"]["replication_factor"], 2);
        assert_eq!(shown["params"]["vectors"]["on_disk"], true);
        let unknown = json!({"vectors": {"nope": {"on_disk": true}}});
        assert!(config.update(&unknown).is_err());
    }
}
