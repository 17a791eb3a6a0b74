//! From a captured collection description to the requests that make such a collection again.
//!
//! The description is the `result` of `GET /collections/{c}`. Settings pass through as they are, so that those of
//! newer servers survive; only names that differ between answer and request are translated.

use serde_json::{Map, Value, json};

/// A captured description that lacks what is needed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the captured collection description has no {0}")]
pub struct MappingError(pub(crate) &'static str);

/// A payload index to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadIndex {
    /// The payload field.
    pub field: String,
    /// Its schema as `PUT /collections/{c}/index` takes it: a type name, or an object with parameters.
    pub schema: Value,
}

/// Captured under `config.params`, created under the same name at the top.
const PARAMS: [&str; 7] = [
    "vectors",
    "sparse_vectors",
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
];
/// Captured under `config`, and the name in the create request.
const CONFIG: [(&str, &str); 6] = [
    ("hnsw_config", "hnsw_config"),
    ("optimizer_config", "optimizers_config"),
    ("wal_config", "wal_config"),
    ("quantization_config", "quantization_config"),
    ("strict_mode_config", "strict_mode_config"),
    ("metadata", "metadata"),
];
/// Settings of `config.params` that can only be changed after creation.
const LATER: [&str; 2] = ["read_fan_out_factor", "read_fan_out_delay_ms"];

/// The body of `PUT /collections/{c}` for a captured description.
///
/// A setting captured as null is left out: the server then takes its own default, as the captured one did.
pub fn create_request(info: &Value) -> Result<Value, MappingError> {
    let config = info.get("config").ok_or(MappingError("config"))?;
    let params = config.get("params").ok_or(MappingError("config.params"))?;
    if params.get("vectors").is_none() && params.get("sparse_vectors").is_none() {
        return Err(MappingError("config.params.vectors"));
    }
    let mut request = Map::new();
    for name in PARAMS {
        put(&mut request, name, params.get(name));
    }
    for (captured, name) in CONFIG {
        put(&mut request, name, config.get(captured));
    }
    Ok(Value::Object(request))
}

/// The body of `PATCH /collections/{c}` for settings that creation does not take; `None` if there are none.
#[must_use]
pub fn fan_out_update(info: &Value) -> Option<Value> {
    let params = info.get("config")?.get("params")?;
    let mut update = Map::new();
    for name in LATER {
        put(&mut update, name, params.get(name));
    }
    (!update.is_empty()).then(|| json!({ "params": update }))
}

/// The payload indexes of a captured description, sorted by field.
pub fn payload_indexes(info: &Value) -> Result<Vec<PayloadIndex>, MappingError> {
    let Some(schema) = info.get("payload_schema").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let mut indexes = schema
        .iter()
        .map(|(field, index)| {
            let schema = match index.get("params") {
                Some(params) if !params.is_null() => params.clone(),
                _ => index
                    .get("data_type")
                    .cloned()
                    .ok_or(MappingError("payload_schema data_type"))?,
            };
            Ok(PayloadIndex {
                field: field.clone(),
                schema,
            })
        })
        .collect::<Result<Vec<_>, MappingError>>()?;
    indexes.sort_by(|a, b| a.field.cmp(&b.field));
    Ok(indexes)
}

/// The settings and payload indexes in which two descriptions differ, as dotted paths, such as `config.params.vectors.size`.
/// Counts and conditions, which differ between any two moments, are not compared.
#[must_use]
pub fn config_differences(captured: &Value, found: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    let part = |v: &Value, name: &str| v.get(name).cloned().unwrap_or_default();
    differences(
        "config",
        &part(captured, "config"),
        &part(found, "config"),
        &mut paths,
    );
    let schema = |v: &Value| {
        payload_indexes(v)
            .unwrap_or_default()
            .into_iter()
            .map(|i| (i.field, i.schema))
            .collect::<Map<_, _>>()
    };
    differences(
        "payload_schema",
        &Value::Object(schema(captured)),
        &Value::Object(schema(found)),
        &mut paths,
    );
    paths
}

fn differences(path: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let only_b = b.keys().filter(|k| !a.contains_key(*k));
        for key in a.keys().chain(only_b) {
            let side = |m: &Map<String, Value>| m.get(key).cloned().unwrap_or_default();
            differences(&format!("{path}.{key}"), &side(a), &side(b), out);
        }
    } else if a != b {
        out.push(path.to_owned());
    }
}

fn put(request: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    if let Some(value) = value.filter(|v| !v.is_null()) {
        request.insert(name.to_owned(), without_nulls(value));
    }
}

/// Drops null members of objects, however deep; nulls in arrays stay.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), without_nulls(v)))
            .collect(),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => other.clone(),
    }
}

#[cfg(test)]
mod tests;
