//! Points as a client sees them, made from the engine's records; both interfaces render these.

use holdfast_engine::model::{
    OrderValue, Payload, PointId, Record, ScoredPoint, SparseVector, VectorInternal,
    VectorStructInternal,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A point in an answer; what was not asked for is absent.
#[derive(Clone, Debug, Serialize)]
pub struct PointAnswer {
    /// The point's id.
    pub id: PointId,
    /// Operation that last changed it, in scored answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Score, in scored answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// Payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// Vector or vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorAnswer>,
    /// The value it was ordered by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_value: Option<OrderValue>,
}

/// A vector in an answer, in the shape of the REST interface.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum VectorAnswer {
    /// One dense vector.
    Dense(Vec<f32>),
    /// Several dense vectors of equal length.
    Multi(Vec<Vec<f32>>),
    /// A sparse vector.
    Sparse(SparseVector),
    /// Vectors by name.
    Named(BTreeMap<String, VectorAnswer>),
}

impl From<Record> for PointAnswer {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            version: None,
            score: None,
            payload: record.payload,
            vector: record.vector.map(VectorAnswer::from),
            order_value: record.order_value,
        }
    }
}

impl From<ScoredPoint> for PointAnswer {
    fn from(point: ScoredPoint) -> Self {
        Self {
            id: point.id,
            version: Some(point.version),
            score: Some(point.score),
            payload: point.payload,
            vector: point.vector.map(VectorAnswer::from),
            order_value: point.order_value,
        }
    }
}

impl From<VectorStructInternal> for VectorAnswer {
    fn from(vectors: VectorStructInternal) -> Self {
        match vectors {
            VectorStructInternal::Single(dense) => Self::Dense(dense),
            VectorStructInternal::MultiDense(multi) => {
                Self::from(VectorInternal::MultiDense(multi))
            }
            VectorStructInternal::Named(named) => Self::Named(
                named
                    .into_iter()
                    .map(|(name, vector)| (name, Self::from(vector)))
                    .collect(),
            ),
        }
    }
}

impl From<VectorInternal> for VectorAnswer {
    fn from(vector: VectorInternal) -> Self {
        match vector {
            VectorInternal::Dense(dense) => Self::Dense(dense),
            VectorInternal::Sparse(sparse) => Self::Sparse(sparse),
            VectorInternal::MultiDense(multi) => Self::Multi(
                multi
                    .flattened_vectors
                    .chunks(multi.dim.max(1))
                    .map(<[f32]>::to_vec)
                    .collect(),
            ),
        }
    }
}
