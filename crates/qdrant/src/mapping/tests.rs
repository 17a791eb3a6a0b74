use super::{config_differences, create_request, fan_out_update, payload_indexes};
use serde_json::{Value, json};

/// As 1.18.3 answers, with every setting that a user may have made.
fn captured() -> Value {
    json!({
        "status": "green", "optimizer_status": "ok", "points_count": 2000, "segments_count": 2,
        "config": {
            "params": {
                "vectors": {"a": {"size": 8, "distance": "Cosine", "on_disk": true, "hnsw_config": {"m": 8, "ef_construct": null},
                    "multivector_config": {"comparator": "max_sim"}, "quantization_config": null}},
                "shard_number": 2, "sharding_method": "custom", "replication_factor": 2, "write_consistency_factor": 1,
                "read_fan_out_factor": 3, "on_disk_payload": true, "sparse_vectors": {"text": {"modifier": "idf"}, "plain": {}},
            },
            "hnsw_config": {"m": 16, "on_disk": false},
            "optimizer_config": {"deleted_threshold": 0.2, "max_segment_size": null, "indexing_threshold": 0},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
            "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
            "strict_mode_config": {"enabled": true, "max_query_limit": 10},
            "metadata": {"owner": "search", "nothing": [null, 1]},
        },
        "payload_schema": {
            "t": {"data_type": "text", "params": {"type": "text", "tokenizer": "word"}, "points": 9},
            "city": {"data_type": "keyword", "points": 2000},
            "n": {"data_type": "integer", "params": null, "points": 0},
        },
    })
}

#[test]
fn every_setting_reaches_the_create_request() {
    assert_eq!(
        create_request(&captured()).unwrap(),
        json!({
            "vectors": {"a": {"size": 8, "distance": "Cosine", "on_disk": true, "hnsw_config": {"m": 8},
                "multivector_config": {"comparator": "max_sim"}}},
            "sparse_vectors": {"text": {"modifier": "idf"}, "plain": {}},
            "shard_number": 2, "sharding_method": "custom", "replication_factor": 2, "write_consistency_factor": 1,
            "on_disk_payload": true,
            "hnsw_config": {"m": 16, "on_disk": false},
            "optimizers_config": {"deleted_threshold": 0.2, "indexing_threshold": 0},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
            "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
            "strict_mode_config": {"enabled": true, "max_query_limit": 10},
            "metadata": {"owner": "search", "nothing": [null, 1]},
        })
    );
    assert_eq!(
        fan_out_update(&captured()),
        Some(json!({"params": {"read_fan_out_factor": 3}}))
    );
}

#[test]
fn indexes_have_their_parameters_or_their_type() {
    let found: Vec<(String, Value)> = payload_indexes(&captured())
        .unwrap()
        .into_iter()
        .map(|i| (i.field, i.schema))
        .collect();
    assert_eq!(
        found,
        [
            ("city".to_owned(), json!("keyword")),
            ("n".to_owned(), json!("integer")),
            ("t".to_owned(), json!({"type": "text", "tokenizer": "word"})),
        ]
    );
    assert_eq!(payload_indexes(&json!({})), Ok(Vec::new()));
    assert!(payload_indexes(&json!({"payload_schema": {"a": {}}})).is_err());
}

#[test]
fn a_description_without_the_essentials_is_refused() {
    for bad in [
        json!(null),
        json!({"config": {}}),
        json!({"config": {"params": {}}}),
    ] {
        let error = create_request(&bad).unwrap_err().to_string();
        assert!(
            error.starts_with("the captured collection description has no config"),
            "{error}"
        );
    }
    assert_eq!(fan_out_update(&json!({"config": {"params": {}}})), None);
}

#[test]
fn differences_are_named() {
    let (a, mut b) = (captured(), captured());
    b["points_count"] = json!(1);
    b["payload_schema"]["city"]["points"] = json!(1);
    assert_eq!(config_differences(&a, &b), Vec::<String>::new());
    b["config"]["hnsw_config"]["m"] = json!(17);
    b["config"]["strict_mode_config"] = json!(null);
    b["payload_schema"]["new"] = json!({"data_type": "bool"});
    assert_eq!(
        config_differences(&a, &b),
        [
            "config.hnsw_config.m",
            "config.strict_mode_config",
            "payload_schema.new"
        ]
    );
}
