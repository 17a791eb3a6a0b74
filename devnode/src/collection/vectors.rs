//! Parameters of a collection's vectors, in Qdrant's JSON, and their translation for the engine.

use crate::NodeError;
use crate::collection::config::{overlaid, parse};
use holdfast_engine::model::{
    DEFAULT_VECTOR_NAME, Distance, EdgeSparseVectorParams, EdgeVectorParams, HnswIndexConfig,
    Modifier, MultiVectorConfig, QuantizationConfig, VectorStorageDatatype,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The dense and multi vectors of a collection: one without a name, or any number with names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vectors {
    /// One vector, whose name is the empty string.
    Single(VectorParams),
    /// Vectors by name.
    Named(BTreeMap<String, VectorParams>),
}

/// Parameters of one dense or multi vector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VectorParams {
    /// Dimension.
    pub size: usize,
    /// Metric.
    pub distance: Distance,
    /// Index parameters that differ from the collection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<Map<String, Value>>,
    /// Quantization in place of the collection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<QuantizationConfig>,
    /// Keep vectors on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Type of a vector's elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<VectorStorageDatatype>,
    /// Present if a point has several of this vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivector_config: Option<MultiVectorConfig>,
}

/// Parameters of one sparse vector.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SparseParams {
    /// Index parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<SparseIndex>,
    /// Change of the values at query time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Modifier>,
}

/// Index parameters of a sparse vector.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SparseIndex {
    /// Below this size a full scan is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<usize>,
    /// Keep the index on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Type of the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<VectorStorageDatatype>,
}

impl Default for Vectors {
    fn default() -> Self {
        Self::Named(BTreeMap::new())
    }
}

impl Vectors {
    /// Names and parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &VectorParams)> {
        let (single, named) = match self {
            Self::Single(params) => (Some((DEFAULT_VECTOR_NAME, params)), None),
            Self::Named(named) => (None, Some(named)),
        };
        let named = named.into_iter().flatten();
        single
            .into_iter()
            .chain(named.map(|(name, params)| (name.as_str(), params)))
    }

    /// Parameters of one vector.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&VectorParams> {
        match self {
            Self::Single(params) => (name == DEFAULT_VECTOR_NAME).then_some(params),
            Self::Named(named) => named.get(name),
        }
    }

    /// Applies the `vectors` part of an update request: parameters by name, the empty name for the single vector.
    pub(super) fn update(&mut self, changes: Map<String, Value>) -> Result<(), NodeError> {
        for (name, change) in changes {
            let params = match self {
                Self::Single(params) => (name == DEFAULT_VECTOR_NAME).then_some(params),
                Self::Named(named) => named.get_mut(&name),
            };
            params
                .ok_or_else(|| unknown_vector(&name))?
                .update(change)?;
        }
        Ok(())
    }
}

impl VectorParams {
    pub(super) fn check(&self, name: &str) -> Result<(), NodeError> {
        if self.size == 0 || self.size > 65_536 {
            return Err(NodeError::BadInput(format!(
                "vectors.{name}.size: value {} invalid, must be from 1 to 65536",
                self.size
            )));
        }
        Ok(())
    }

    fn update(&mut self, change: Value) -> Result<(), NodeError> {
        let allowed = ["hnsw_config", "quantization_config", "on_disk"];
        let Value::Object(mut change) = change else {
            return Err(NodeError::Format("vectors: expected objects".into()));
        };
        change.retain(|field, _| allowed.contains(&field.as_str()));
        if change.get("quantization_config") == Some(&json!("Disabled")) {
            change.remove("quantization_config");
            self.quantization_config = None;
        }
        *self = parse(overlaid(json!(self), Some(Value::Object(change))))?;
        Ok(())
    }

    pub(super) fn engine(&self, global: &HnswIndexConfig) -> Result<EdgeVectorParams, NodeError> {
        let own = self.hnsw_config.clone().map(Value::Object);
        let hnsw_config = match own {
            Some(own) => Some(parse(overlaid(json!(global), Some(own)))?),
            None => None,
        };
        Ok(EdgeVectorParams {
            size: self.size,
            distance: self.distance,
            on_disk: self.on_disk,
            multivector_config: self.multivector_config,
            datatype: self.datatype,
            quantization_config: self.quantization_config.clone(),
            hnsw_config,
        })
    }
}

impl SparseParams {
    pub(super) fn engine(&self) -> EdgeSparseVectorParams {
        let index = self.index.clone().unwrap_or_default();
        EdgeSparseVectorParams {
            full_scan_threshold: index.full_scan_threshold,
            on_disk: index.on_disk,
            modifier: self.modifier,
            datatype: index.datatype,
        }
    }
}

/// The refusal of a vector name that the collection doesn't have.
#[must_use]
pub fn unknown_vector(name: &str) -> NodeError {
    NodeError::BadInput(format!("Not existing vector name error: {name}"))
}
