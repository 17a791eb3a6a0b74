//! Answers in gRPC's messages.
//!
//! Of a collection's configuration, quantization and strict mode are left out.
#![expect(
    deprecated,
    reason = "the deprecated fields are what a server of this version answers"
)]

use crate::NodeError;
use crate::answer::{PointAnswer, VectorAnswer};
use holdfast_engine::model::{OrderValue as EngineOrder, Payload, PointId as EngineId};
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    CollectionConfig, CollectionInfo, CollectionParams, CollectionStatus, DenseVector, Distance,
    HnswConfigDiff, MultiDenseVector, MultiVectorConfig, NamedVectorsOutput, OptimizerStatus,
    OptimizersConfigDiff, OrderValue, PayloadSchemaInfo, PayloadSchemaType, PointId,
    RetrievedPoint, ScoredPoint, SparseVector, SparseVectorConfig, SparseVectorParams, Value,
    VectorOutput, VectorParams, VectorParamsMap, VectorsConfig, VectorsOutput, WalConfigDiff,
    order_value, vector_output,
};
use serde_json::Value as Json;
use std::collections::HashMap;

/// A point without a score.
pub(super) fn retrieved(point: PointAnswer) -> RetrievedPoint {
    RetrievedPoint {
        id: Some(id(&point.id)),
        payload: payload(point.payload),
        vectors: point.vector.map(vectors),
        shard_key: None,
        order_value: point.order_value.as_ref().map(order_value),
    }
}

/// A point with a score.
pub(super) fn scored(point: PointAnswer) -> ScoredPoint {
    ScoredPoint {
        id: Some(id(&point.id)),
        payload: payload(point.payload),
        score: point.score.unwrap_or_default(),
        version: point.version.unwrap_or_default(),
        vectors: point.vector.map(vectors),
        shard_key: None,
        order_value: point.order_value.as_ref().map(order_value),
    }
}

/// A point id.
pub(super) fn id(id: &EngineId) -> PointId {
    let options = match id {
        EngineId::NumId(number) => PointIdOptions::Num(*number),
        EngineId::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
    };
    PointId {
        point_id_options: Some(options),
    }
}

fn payload(payload: Option<Payload>) -> HashMap<String, Value> {
    let fields = payload.into_iter().flat_map(|payload| payload.0);
    fields.map(|(key, value)| (key, value.into())).collect()
}

fn order_value(value: &EngineOrder) -> OrderValue {
    let variant = match value {
        EngineOrder::Int(number) => order_value::Variant::Int(*number),
        EngineOrder::Float(number) => order_value::Variant::Float(*number),
    };
    OrderValue {
        variant: Some(variant),
    }
}

fn vectors(answer: VectorAnswer) -> VectorsOutput {
    let options = match answer {
        VectorAnswer::Named(named) => {
            let named = named.into_iter();
            VectorsOptions::Vectors(NamedVectorsOutput {
                vectors: named
                    .map(|(name, vector_answer)| (name, vector(vector_answer)))
                    .collect(),
            })
        }
        single @ (VectorAnswer::Dense(_) | VectorAnswer::Multi(_) | VectorAnswer::Sparse(_)) => {
            VectorsOptions::Vector(vector(single))
        }
    };
    VectorsOutput {
        vectors_options: Some(options),
    }
}

fn vector(answer: VectorAnswer) -> VectorOutput {
    let vector = match answer {
        VectorAnswer::Dense(data) => Some(vector_output::Vector::Dense(DenseVector { data })),
        VectorAnswer::Multi(rows) => {
            let vectors = rows.into_iter().map(|data| DenseVector { data }).collect();
            Some(vector_output::Vector::MultiDense(MultiDenseVector {
                vectors,
            }))
        }
        VectorAnswer::Sparse(sparse) => Some(vector_output::Vector::Sparse(SparseVector {
            values: sparse.values,
            indices: sparse.indices,
        })),
        // names don't nest
        VectorAnswer::Named(_) => None,
    };
    VectorOutput {
        vector,
        ..VectorOutput::default()
    }
}

/// A collection's state and configuration, from what the REST interface shows.
pub(super) fn collection_info(info: &Json) -> Result<CollectionInfo, NodeError> {
    let config = &info["config"];
    let schema = info["payload_schema"].as_object().into_iter().flatten();
    Ok(CollectionInfo {
        status: CollectionStatus::Green.into(),
        optimizer_status: Some(OptimizerStatus {
            ok: true,
            error: String::new(),
        }),
        segments_count: number(&info["segments_count"]).unwrap_or(0),
        points_count: number(&info["points_count"]),
        indexed_vectors_count: number(&info["indexed_vectors_count"]),
        payload_schema: schema
            .map(|(field, index)| (field.clone(), schema_info(index)))
            .collect(),
        config: Some(CollectionConfig {
            params: Some(params(&config["params"])?),
            hnsw_config: Some(hnsw(&config["hnsw_config"])),
            optimizer_config: Some(optimizers(&config["optimizer_config"])),
            wal_config: Some(wal(&config["wal_config"])),
            ..CollectionConfig::default()
        }),
        ..CollectionInfo::default()
    })
}

fn params(params: &Json) -> Result<CollectionParams, NodeError> {
    let small = |name: &str| number(&params[name]).and_then(|number| u32::try_from(number).ok());
    let sparse = params["sparse_vectors"].as_object().map(|named| {
        let named = named.iter().map(|(name, sparse)| {
            let modifier = (sparse["modifier"] == "idf").then_some(1);
            let params = SparseVectorParams {
                modifier,
                ..SparseVectorParams::default()
            };
            (name.clone(), params)
        });
        SparseVectorConfig {
            map: named.collect(),
        }
    });
    Ok(CollectionParams {
        shard_number: small("shard_number").unwrap_or(1),
        on_disk_payload: params["on_disk_payload"].as_bool().unwrap_or(true),
        vectors_config: Some(VectorsConfig {
            config: Some(vectors_config(&params["vectors"])?),
        }),
        replication_factor: small("replication_factor"),
        write_consistency_factor: small("write_consistency_factor"),
        sparse_vectors_config: sparse,
        ..CollectionParams::default()
    })
}

fn vectors_config(vectors: &Json) -> Result<Config, NodeError> {
    if vectors.get("size").is_some_and(Json::is_number) {
        return Ok(Config::Params(vector_params(vectors)?));
    }
    let named = vectors.as_object().into_iter().flatten();
    let map: Result<_, NodeError> = named
        .map(|(name, params)| Ok((name.clone(), vector_params(params)?)))
        .collect();
    Ok(Config::ParamsMap(VectorParamsMap { map: map? }))
}

fn vector_params(params: &Json) -> Result<VectorParams, NodeError> {
    let name = params["distance"].as_str().unwrap_or_default();
    let distance = Distance::from_str_name(name)
        .ok_or_else(|| NodeError::Service(format!("stored distance {name:?}")))?;
    let multi = params.get("multivector_config");
    Ok(VectorParams {
        size: number(&params["size"]).unwrap_or(0),
        distance: distance.into(),
        on_disk: params["on_disk"].as_bool(),
        multivector_config: multi.map(|_| MultiVectorConfig { comparator: 0 }),
        ..VectorParams::default()
    })
}

fn schema_info(index: &Json) -> PayloadSchemaInfo {
    let data_type = match index["data_type"].as_str() {
        Some("keyword") => PayloadSchemaType::Keyword,
        Some("integer") => PayloadSchemaType::Integer,
        Some("float") => PayloadSchemaType::Float,
        Some("geo") => PayloadSchemaType::Geo,
        Some("text") => PayloadSchemaType::Text,
        Some("bool") => PayloadSchemaType::Bool,
        Some("datetime") => PayloadSchemaType::Datetime,
        Some("uuid") => PayloadSchemaType::Uuid,
        Some(_) | None => PayloadSchemaType::UnknownType,
    };
    PayloadSchemaInfo {
        data_type: data_type.into(),
        params: None,
        points: number(&index["points"]),
    }
}

fn hnsw(config: &Json) -> HnswConfigDiff {
    HnswConfigDiff {
        m: number(&config["m"]),
        ef_construct: number(&config["ef_construct"]),
        full_scan_threshold: number(&config["full_scan_threshold"]),
        max_indexing_threads: number(&config["max_indexing_threads"]),
        on_disk: config["on_disk"].as_bool(),
        payload_m: number(&config["payload_m"]),
        ..HnswConfigDiff::default()
    }
}

fn optimizers(config: &Json) -> OptimizersConfigDiff {
    OptimizersConfigDiff {
        deleted_threshold: config["deleted_threshold"].as_f64(),
        vacuum_min_vector_number: number(&config["vacuum_min_vector_number"]),
        default_segment_number: number(&config["default_segment_number"]),
        max_segment_size: number(&config["max_segment_size"]),
        memmap_threshold: number(&config["memmap_threshold"]),
        indexing_threshold: number(&config["indexing_threshold"]),
        flush_interval_sec: number(&config["flush_interval_sec"]),
        ..OptimizersConfigDiff::default()
    }
}

fn wal(config: &Json) -> WalConfigDiff {
    WalConfigDiff {
        wal_capacity_mb: number(&config["wal_capacity_mb"]),
        wal_segments_ahead: number(&config["wal_segments_ahead"]),
        wal_retain_closed: number(&config["wal_retain_closed"]),
    }
}

fn number(value: &Json) -> Option<u64> {
    value.as_u64()
}
