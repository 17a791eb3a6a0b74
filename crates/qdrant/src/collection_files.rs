//! The files of a collection beside its shards, as a collection snapshot and a data directory hold them.
//!
//! They are made from what `GET /collections/{c}` and `GET /collections/{c}/cluster` told at the capture, since shard
//! snapshots omit them. Settings pass through as they are: the server's file has the form of its own answer.

use crate::mapping::{MappingError, payload_indexes};
use serde_json::{Map, Value, json};

/// Version of the collection's storage. Every supported server (1.18 and 1.19) writes this one and reads it.
const COLLECTION_VERSION: &str = "0.4.2";

/// One of the collection's own files: its name and content.
pub type CollectionFile = (&'static str, Vec<u8>);

/// `version.info`, `config.json`, `shard_key_mapping.json` and `payload_index.json`, in the order of a snapshot.
///
/// # Errors
/// A description that lacks its configuration, or a payload index without type.
pub fn collection_files(
    info: &Value,
    cluster: Option<&Value>,
) -> Result<Vec<CollectionFile>, MappingError> {
    let config = info.get("config").filter(|config| config.is_object());
    let mut config = config.cloned().ok_or(MappingError("config"))?;
    if config.get("params").is_none() {
        return Err(MappingError("config.params"));
    }
    // Identifies the collection, not its content: a copy has none, as one of an older server.
    config["uuid"] = Value::Null;
    let schema: Map<String, Value> = payload_indexes(info)?
        .into_iter()
        .map(|index| (index.field, index.schema))
        .collect();
    Ok(vec![
        ("version.info", COLLECTION_VERSION.as_bytes().to_vec()),
        ("config.json", config.to_string().into_bytes()),
        (
            "shard_key_mapping.json",
            shard_key_mapping(cluster).to_string().into_bytes(),
        ),
        (
            "payload_index.json",
            json!({"schema": schema}).to_string().into_bytes(),
        ),
    ])
}

/// Whether a collection has keys of custom sharding, by `GET /collections/{c}/cluster`.
#[must_use]
pub fn has_shard_keys(cluster: Option<&Value>) -> bool {
    shard_key_mapping(cluster) != Value::Array(Vec::new())
}

/// Which shards belong to which key of custom sharding; empty without such keys.
fn shard_key_mapping(cluster: Option<&Value>) -> Value {
    let mut pairs: Vec<(Value, Vec<u64>)> = Vec::new();
    for list in ["local_shards", "remote_shards"] {
        let shards = cluster.and_then(|c| c.get(list)).and_then(Value::as_array);
        for shard in shards.into_iter().flatten() {
            let key = shard.get("shard_key").filter(|key| !key.is_null());
            let id = shard.get("shard_id").and_then(Value::as_u64);
            let (Some(key), Some(id)) = (key, id) else {
                continue;
            };
            match pairs.iter_mut().find(|(known, _)| known == key) {
                Some((_, ids)) if ids.contains(&id) => {}
                Some((_, ids)) => ids.push(id),
                None => pairs.push((key.clone(), vec![id])),
            }
        }
    }
    for (_, ids) in &mut pairs {
        ids.sort_unstable();
    }
    pairs.sort_by(|a, b| a.1.cmp(&b.1));
    pairs
        .into_iter()
        .map(|(key, ids)| json!({"key": key, "shard_ids": ids}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::collection_files;
    use serde_json::{Value, json};

    fn file(info: &Value, cluster: Option<&Value>, name: &str) -> Value {
        let files = collection_files(info, cluster).unwrap();
        let (_, content) = files.into_iter().find(|(n, _)| *n == name).unwrap();
        serde_json::from_slice(&content).unwrap()
    }

    #[test]
    fn settings_pass_through_and_indexes_keep_their_parameters() {
        let info = json!({
            "status": "green",
            "config": {"params": {"vectors": {"size": 4}}, "future": {"x": null}},
            "payload_schema": {
                "city": {"data_type": "keyword", "points": 3},
                "text": {"data_type": "text", "params": {"type": "text", "tokenizer": "word"}, "points": 0},
            },
        });
        assert_eq!(
            file(&info, None, "config.json"),
            json!({"params": {"vectors": {"size": 4}}, "future": {"x": null}, "uuid": null})
        );
        assert_eq!(
            file(&info, None, "payload_index.json"),
            json!({"schema": {"city": "keyword", "text": {"type": "text", "tokenizer": "word"}}})
        );
        assert_eq!(file(&info, None, "shard_key_mapping.json"), json!([]));
        assert!(collection_files(&json!({"config": {}}), None).is_err());
    }

    #[test]
    fn shards_stand_by_their_keys_each_once() {
        let info = json!({"config": {"params": {}}});
        let cluster = json!({
            "local_shards": [{"shard_id": 2, "shard_key": "b"}, {"shard_id": 1, "shard_key": 7}],
            "remote_shards": [{"shard_id": 2, "shard_key": "b"}, {"shard_id": 0, "shard_key": 7}],
        });
        assert_eq!(
            file(&info, Some(&cluster), "shard_key_mapping.json"),
            json!([{"key": 7, "shard_ids": [0, 1]}, {"key": "b", "shard_ids": [2]}])
        );
    }
}
