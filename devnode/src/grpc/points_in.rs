//! Requests of the gRPC service for points, in the types of the layers below.
//!
//! Points go without a way through JSON: their vectors are most of the bytes.

use super::{filter_json, query_json};
use crate::NodeError;
use crate::collection::Upsert;
use crate::request::update::parse;
use holdfast_engine::model::{
    Filter as EngineFilter, Payload, PointId as EngineId, PointInsertOperations,
    PointStructPersisted, PointVectorsPersisted, SparseVector as EngineSparse, UpdateMode,
    VectorPersisted, VectorStructPersisted,
};
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{
    PointId, PointStruct, PointVectors, ScrollPoints, SetPayloadPoints, UpsertPoints, Vector,
    Vectors, vector,
};
use serde_json::{Value, json};

/// The body of a payload request.
pub(super) fn set_payload_body(request: SetPayloadPoints) -> Result<Value, NodeError> {
    let mut body = filter_json::selector(request.points_selector)?;
    let fields = request.payload.into_iter();
    let payload: serde_json::Map<_, _> = fields.map(|(key, value)| (key, value.into())).collect();
    body["payload"] = json!(Payload(payload));
    body["key"] = json!(request.key);
    Ok(body)
}

/// The body of a scroll.
pub(super) fn scroll_body(request: ScrollPoints) -> Result<Value, NodeError> {
    Ok(json!({
        "offset": request.offset.map(filter_json::id).transpose()?,
        "limit": request.limit,
        "filter": filter_json::optional_filter(request.filter)?,
        "with_payload": filter_json::with_payload(request.with_payload),
        "with_vector": filter_json::with_vectors(request.with_vectors),
        "order_by": request.order_by.map(query_json::order_by).transpose()?,
    }))
}

/// The collection to write to, and what.
pub(super) fn upsert_of(request: UpsertPoints) -> Result<(String, Upsert), NodeError> {
    let points: Result<Vec<_>, _> = request.points.into_iter().map(point).collect();
    let update_filter = match request.update_filter {
        None => None,
        Some(filter) => Some(parse::<EngineFilter>(filter_json::filter(filter)?)?),
    };
    let mode = match request.update_mode.unwrap_or_default() {
        1 => UpdateMode::InsertOnly,
        2 => UpdateMode::UpdateOnly,
        _ => UpdateMode::Upsert,
    };
    let upsert = Upsert {
        points: PointInsertOperations::PointsList(points?),
        update_filter,
        mode,
    };
    Ok((request.collection_name, upsert))
}

/// A point to write.
pub(super) fn point(point: PointStruct) -> Result<PointStructPersisted, NodeError> {
    let fields = point.payload.into_iter();
    let payload: serde_json::Map<_, _> = fields.map(|(key, value)| (key, value.into())).collect();
    Ok(PointStructPersisted {
        id: id(point.id)?,
        vector: vectors(point.vectors)?,
        payload: Some(Payload(payload)),
    })
}

/// Vectors to replace.
pub(super) fn point_vectors(point: PointVectors) -> Result<PointVectorsPersisted, NodeError> {
    Ok(PointVectorsPersisted {
        id: id(point.id)?,
        vector: vectors(point.vectors)?,
    })
}

/// A point id.
pub(super) fn id(id: Option<PointId>) -> Result<EngineId, NodeError> {
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Num(number)) => Ok(EngineId::NumId(number)),
        Some(PointIdOptions::Uuid(text)) => text
            .parse()
            .map_err(|()| NodeError::BadInput(format!("Unable to parse UUID: {text}"))),
        None => Err(NodeError::BadInput("Empty ID is not allowed".into())),
    }
}

fn vectors(vectors: Option<Vectors>) -> Result<VectorStructPersisted, NodeError> {
    match vectors.and_then(|vectors| vectors.vectors_options) {
        None => Err(NodeError::BadInput("Expected some vectors".into())),
        Some(VectorsOptions::Vectors(named)) => {
            let named = named.vectors.into_iter();
            let named: Result<_, NodeError> = named
                .map(|(name, vector)| Ok((name, single(vector)?)))
                .collect();
            Ok(VectorStructPersisted::Named(named?))
        }
        Some(VectorsOptions::Vector(vector)) => Ok(match single(vector)? {
            VectorPersisted::Dense(dense) => VectorStructPersisted::Single(dense),
            VectorPersisted::MultiDense(rows) => VectorStructPersisted::MultiDense(rows),
            VectorPersisted::Sparse(_) => {
                let text = "Sparse vector must be named";
                return Err(NodeError::BadInput(text.into()));
            }
        }),
    }
}

#[expect(
    deprecated,
    reason = "clients before 1.16 send the deprecated fields, and the real server takes them"
)]
fn single(vector: Vector) -> Result<VectorPersisted, NodeError> {
    match vector.vector {
        Some(vector::Vector::Dense(dense)) => Ok(VectorPersisted::Dense(dense.data)),
        Some(vector::Vector::Sparse(sparse)) => Ok(VectorPersisted::Sparse(EngineSparse {
            indices: sparse.indices,
            values: sparse.values,
        })),
        Some(vector::Vector::MultiDense(multi)) => {
            let rows = multi.vectors.into_iter().map(|row| row.data).collect();
            Ok(VectorPersisted::MultiDense(rows))
        }
        Some(
            vector::Vector::Document(_) | vector::Vector::Image(_) | vector::Vector::Object(_),
        ) => Err(NodeError::Unsupported("inference".into())),
        None => {
            if let Some(indices) = vector.indices {
                return Ok(VectorPersisted::Sparse(EngineSparse {
                    indices: indices.data,
                    values: vector.data,
                }));
            }
            let rows = vector.vectors_count.unwrap_or(1) as usize;
            if rows <= 1 {
                return Ok(VectorPersisted::Dense(vector.data));
            }
            let width = vector.data.len().div_ceil(rows).max(1);
            let rows = vector.data.chunks(width).map(<[f32]>::to_vec).collect();
            Ok(VectorPersisted::MultiDense(rows))
        }
    }
}
