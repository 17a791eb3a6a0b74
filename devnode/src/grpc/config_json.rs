//! Collection requests of gRPC in the JSON of the REST interface.
//!
//! Strict mode and the newer memory hints are dropped, since they would have no effect here.
#![expect(
    deprecated,
    reason = "the deprecated fields are what the clients of this server version send"
)]

use crate::NodeError;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::quantization_config::Quantization;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CreateCollection, CreateFieldIndexCollection, Datatype, Distance, FieldType, HnswConfigDiff,
    Modifier, OptimizersConfigDiff, QuantizationConfig, SparseVectorConfig, UpdateCollection,
    VectorParams, VectorsConfig, WalConfigDiff,
};
use serde_json::{Map, Value, json};

/// The body of a create request.
pub(super) fn create(request: CreateCollection) -> Result<Value, NodeError> {
    let metadata: Map<String, Value> = request
        .metadata
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    Ok(json!({
        "vectors": vectors(request.vectors_config)?,
        "sparse_vectors": sparse_vectors(request.sparse_vectors_config)?,
        "shard_number": request.shard_number,
        "sharding_method": request.sharding_method.map(|method| if method == 1 { "custom" } else { "auto" }),
        "replication_factor": request.replication_factor,
        "write_consistency_factor": request.write_consistency_factor,
        "on_disk_payload": request.on_disk_payload,
        "hnsw_config": hnsw(request.hnsw_config.as_ref()),
        "wal_config": wal(request.wal_config.as_ref()),
        "optimizers_config": optimizers(request.optimizers_config.as_ref()),
        "quantization_config": quantization(request.quantization_config)?,
        "metadata": (!metadata.is_empty()).then_some(metadata),
    }))
}

/// The body of an update request; only optimizers, index and metadata can be changed over gRPC.
pub(super) fn update(request: UpdateCollection) -> Value {
    let metadata: Map<String, Value> = request
        .metadata
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    json!({
        "hnsw_config": hnsw(request.hnsw_config.as_ref()),
        "optimizers_config": optimizers(request.optimizers_config.as_ref()),
        "metadata": (!metadata.is_empty()).then_some(metadata),
    })
}

fn vectors(config: Option<VectorsConfig>) -> Result<Value, NodeError> {
    match config.and_then(|config| config.config) {
        None => Ok(Value::Null),
        Some(Config::Params(params)) => vector(params),
        Some(Config::ParamsMap(map)) => {
            let named: Result<Map<_, _>, NodeError> = map
                .map
                .into_iter()
                .map(|(name, params)| Ok((name, vector(params)?)))
                .collect();
            Ok(Value::Object(named?))
        }
    }
}

fn vector(params: VectorParams) -> Result<Value, NodeError> {
    let distance = match Distance::try_from(params.distance) {
        Ok(Distance::Cosine) => "Cosine",
        Ok(Distance::Euclid) => "Euclid",
        Ok(Distance::Dot) => "Dot",
        Ok(Distance::Manhattan) => "Manhattan",
        Ok(Distance::UnknownDistance) | Err(_) => {
            return Err(NodeError::BadInput("unknown distance".into()));
        }
    };
    let mut out = json!({"size": params.size, "distance": distance});
    if let Some(config) = &params.hnsw_config {
        out["hnsw_config"] = hnsw(Some(config));
    }
    if let Some(config) = params.quantization_config {
        out["quantization_config"] = quantization(Some(config))?;
    }
    if let Some(on_disk) = params.on_disk {
        out["on_disk"] = json!(on_disk);
    }
    if let Some(kind) = params.datatype.map(datatype).transpose()?.flatten() {
        out["datatype"] = json!(kind);
    }
    if params.multivector_config.is_some() {
        out["multivector_config"] = json!({"comparator": "max_sim"});
    }
    Ok(out)
}

fn sparse_vectors(config: Option<SparseVectorConfig>) -> Result<Value, NodeError> {
    let Some(config) = config else {
        return Ok(Value::Null);
    };
    let mut named = Map::new();
    for (name, params) in config.map {
        let mut out = json!({});
        if let Some(index) = params.index {
            out["index"] = json!({
                "full_scan_threshold": index.full_scan_threshold,
                "on_disk": index.on_disk,
                "datatype": index.datatype.map(datatype).transpose()?.flatten(),
            });
        }
        if params.modifier == Some(Modifier::Idf as i32) {
            out["modifier"] = json!("idf");
        }
        named.insert(name, out);
    }
    Ok(Value::Object(named))
}

fn datatype(number: i32) -> Result<Option<&'static str>, NodeError> {
    match Datatype::try_from(number) {
        Ok(Datatype::Default) => Ok(None),
        Ok(Datatype::Float32) => Ok(Some("float32")),
        Ok(Datatype::Float16) => Ok(Some("float16")),
        Ok(Datatype::Uint8) => Ok(Some("uint8")),
        Ok(Datatype::Turbo4 | Datatype::Turbo8 | Datatype::Turbo16) | Err(_) => Err(
            NodeError::Unsupported(format!("vector datatype number {number}")),
        ),
    }
}

fn hnsw(diff: Option<&HnswConfigDiff>) -> Value {
    let Some(diff) = diff else {
        return Value::Null;
    };
    compact(json!({
        "m": diff.m,
        "ef_construct": diff.ef_construct,
        "full_scan_threshold": diff.full_scan_threshold,
        "max_indexing_threads": diff.max_indexing_threads,
        "on_disk": diff.on_disk,
        "payload_m": diff.payload_m,
    }))
}

fn wal(diff: Option<&WalConfigDiff>) -> Value {
    diff.map_or(Value::Null, |diff| {
        compact(json!({
            "wal_capacity_mb": diff.wal_capacity_mb,
            "wal_segments_ahead": diff.wal_segments_ahead,
            "wal_retain_closed": diff.wal_retain_closed,
        }))
    })
}

fn optimizers(diff: Option<&OptimizersConfigDiff>) -> Value {
    diff.map_or(Value::Null, |diff| {
        compact(json!({
            "deleted_threshold": diff.deleted_threshold,
            "vacuum_min_vector_number": diff.vacuum_min_vector_number,
            "default_segment_number": diff.default_segment_number,
            "max_segment_size": diff.max_segment_size,
            "memmap_threshold": diff.memmap_threshold,
            "indexing_threshold": diff.indexing_threshold,
            "flush_interval_sec": diff.flush_interval_sec,
        }))
    })
}

fn quantization(config: Option<QuantizationConfig>) -> Result<Value, NodeError> {
    match config.and_then(|config| config.quantization) {
        None => Ok(Value::Null),
        Some(Quantization::Scalar(scalar)) => Ok(json!({"scalar": compact(json!({
            "type": "int8", "quantile": scalar.quantile, "always_ram": scalar.always_ram,
        }))})),
        Some(Quantization::Product(product)) => {
            let ratios = ["x4", "x8", "x16", "x32", "x64"];
            let ratio = usize::try_from(product.compression)
                .ok()
                .and_then(|index| ratios.get(index));
            Ok(json!({"product": compact(json!({
                "compression": ratio, "always_ram": product.always_ram,
            }))}))
        }
        Some(Quantization::Binary(binary)) => {
            Ok(json!({"binary": compact(json!({"always_ram": binary.always_ram}))}))
        }
        Some(Quantization::Turboquant(_)) => Err(NodeError::Unsupported("turboquant".into())),
    }
}

/// The body of an index request. Of an index's parameters only some are carried over.
pub(super) fn index(request: &CreateFieldIndexCollection) -> Result<Value, NodeError> {
    let params = request
        .field_index_params
        .as_ref()
        .and_then(|params| params.index_params.as_ref());
    let schema = match params {
        Some(params) => index_params(params),
        None => json!(field_type(request.field_type)?),
    };
    Ok(json!({"field_name": request.field_name, "field_schema": schema}))
}

fn index_params(params: &IndexParams) -> Value {
    compact(match params {
        IndexParams::KeywordIndexParams(keyword) => json!({
            "type": "keyword", "is_tenant": keyword.is_tenant, "on_disk": keyword.on_disk,
        }),
        IndexParams::IntegerIndexParams(integer) => json!({
            "type": "integer", "lookup": integer.lookup, "range": integer.range,
            "is_principal": integer.is_principal, "on_disk": integer.on_disk,
        }),
        IndexParams::FloatIndexParams(float) => json!({
            "type": "float", "is_principal": float.is_principal, "on_disk": float.on_disk,
        }),
        IndexParams::GeoIndexParams(geo) => json!({"type": "geo", "on_disk": geo.on_disk}),
        IndexParams::TextIndexParams(text) => {
            let tokenizers = ["prefix", "prefix", "whitespace", "word", "multilingual"];
            let tokenizer = usize::try_from(text.tokenizer)
                .ok()
                .and_then(|index| tokenizers.get(index));
            json!({
                "type": "text", "tokenizer": tokenizer, "lowercase": text.lowercase,
                "min_token_len": text.min_token_len, "max_token_len": text.max_token_len,
                "on_disk": text.on_disk, "phrase_matching": text.phrase_matching,
            })
        }
        IndexParams::BoolIndexParams(flag) => json!({"type": "bool", "on_disk": flag.on_disk}),
        IndexParams::DatetimeIndexParams(time) => json!({
            "type": "datetime", "is_principal": time.is_principal, "on_disk": time.on_disk,
        }),
        IndexParams::UuidIndexParams(uuid) => json!({
            "type": "uuid", "is_tenant": uuid.is_tenant, "on_disk": uuid.on_disk,
        }),
    })
}

fn field_type(number: Option<i32>) -> Result<&'static str, NodeError> {
    match number.map(FieldType::try_from) {
        Some(Ok(FieldType::Keyword)) => Ok("keyword"),
        Some(Ok(FieldType::Integer)) => Ok("integer"),
        Some(Ok(FieldType::Float)) => Ok("float"),
        Some(Ok(FieldType::Geo)) => Ok("geo"),
        Some(Ok(FieldType::Text)) => Ok("text"),
        Some(Ok(FieldType::Bool)) => Ok("bool"),
        Some(Ok(FieldType::Datetime)) => Ok("datetime"),
        Some(Ok(FieldType::Uuid)) => Ok("uuid"),
        Some(Err(_)) | None => Err(NodeError::BadInput(
            "field_type is missing or unknown".into(),
        )),
    }
}

/// Leaves out what is null, so that a setting not given isn't stored as one.
fn compact(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}
