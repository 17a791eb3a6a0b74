//! The manifest's JSON, and what is refused.

use super::{Manifest, ManifestError};
use serde_json::{Value, json};

/// As written by version 0.1.0: it must be readable for ever.
const FORMAT_1: &str = r#"{
  "format": 1,
  "id": "20261121t101530z-0a1b2c3d",
  "cluster": "demo",
  "namespace": "demo",
  "begun": "2026-11-21T10:15:30.25Z",
  "committed": "2026-11-21T10:15:33Z",
  "epoch": 4,
  "program": "holdfast-coordinator 0.1.0",
  "note": "before the upgrade",
  "nodes": [
    {"node": "n1", "qdrant_version": "1.18.3", "qdrant_commit": "abc", "peer_id": 18446744073709551615}
  ],
  "collections": [{
    "name": "docs",
    "info": {"status": "green", "config": {"params": {"vectors": {"size": 4, "distance": "Dot"}}}},
    "aliases": ["live"],
    "shard_count": 1,
    "points": 100,
    "shards": [{
      "shard_id": 0,
      "node": "n1",
      "server_version": "1.18.3",
      "method": "stored",
      "captured_at": "2026-11-21T10:15:31Z",
      "next_operation": 23,
      "wal": {"certain": 21, "timeline": "03030303030303030303030303030303"},
      "clocks": {"clocks": []},
      "replica_state": {"peers": {}},
      "recipe": ["0101010101010101010101010101010101010101010101010101010101010101"],
      "recipe_len": 900,
      "recipe_hash": "0202020202020202020202020202020202020202020202020202020202020202",
      "files": 12,
      "logical_bytes": 33554432
    }]
  }],
  "stats": {"logical_bytes": 33554432, "sent_bytes": 100, "stored_bytes": 90, "elapsed_ms": 2750},
  "safety_for": "20261120t101530z-0a1b2c3d"
}"#;

fn with(change: impl FnOnce(&mut Value)) -> Result<Manifest, ManifestError> {
    let mut value: Value = serde_json::from_str(FORMAT_1).unwrap();
    change(&mut value);
    Manifest::from_json(&serde_json::to_vec(&value).unwrap())
}

#[test]
fn format_1_reads_and_round_trips() {
    let manifest = Manifest::from_json(FORMAT_1.as_bytes()).unwrap();
    assert_eq!(manifest.nodes[0].peer_id, u64::MAX);
    assert_eq!(manifest.shards().count(), 1);
    let name = "docs".parse().unwrap();
    let collection = manifest.collection(&name).unwrap();
    assert_eq!(collection.points, Some(100));
    assert_eq!(collection.shards[0].recipe_digest(), Some([2; 32]));
    let json = manifest.to_json().unwrap();
    let written: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(FORMAT_1).unwrap());
    assert_eq!(Manifest::from_json(&json).unwrap(), manifest);
}

#[test]
fn unknown_fields_are_ignored_and_optional_ones_may_lack() {
    let manifest = with(|v| {
        v["later"] = json!({"a": 1});
        let shard = &mut v["collections"][0]["shards"][0];
        for field in ["next_operation", "wal", "clocks", "replica_state"] {
            shard.as_object_mut().unwrap().remove(field);
        }
        for field in ["note", "stats", "safety_for"] {
            v.as_object_mut().unwrap().remove(field);
        }
    })
    .unwrap();
    assert_eq!(manifest.note, "");
    assert_eq!(manifest.shards().next().unwrap().1.next_operation, None);
}

#[test]
fn newer_formats_are_named_before_anything_else_is_read() {
    let error = Manifest::from_json(br#"{"format":3,"everything":"new"}"#).unwrap_err();
    assert!(matches!(error, ManifestError::NewerFormat(3)));
}

#[test]
fn contradictions_are_refused() {
    let shard = |v: &Value| v["collections"][0]["shards"][0].clone();
    let changes: [fn(&mut Value); 9] = [
        |v| v["collections"][0]["shards"][0]["wal"]["certain"] = json!(24),
        |v| v["format"] = json!(0),
        |v| v["collections"][0]["shard_count"] = json!(2),
        |v| v["collections"][0]["shards"][0]["node"] = json!("n2"),
        |v| v["collections"][0]["shards"][0]["recipe"] = json!([]),
        |v| v["collections"][0]["shards"][0]["recipe_len"] = json!(0),
        |v| v["collections"][0]["shards"][0]["recipe_hash"] = json!("ab"),
        |v| v["nodes"] = json!([]),
        |v| {
            let twice = v["collections"][0].clone();
            v["collections"] = json!([twice, twice]);
        },
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let result = with(change);
        assert!(
            matches!(result, Err(ManifestError::Inconsistent(_))),
            "change {i}: {result:?}"
        );
    }
    let twice = with(|v| {
        let one = shard(v);
        v["collections"][0]["shards"] = json!([one, one]);
        v["collections"][0]["shard_count"] = json!(2);
    });
    assert!(matches!(twice, Err(ManifestError::Inconsistent(_))));
    assert!(matches!(
        with(|v| v["cluster"] = json!("Not A Name")),
        Err(ManifestError::Syntax(_))
    ));
}

fn with_extras(change: impl FnOnce(&mut Value)) -> Result<Manifest, ManifestError> {
    with(|v| {
        v["format"] = json!(2);
        v["nodes"][0]["extras"] = json!([
            {"name": "redis", "captured": {
                "captured_at": "2026-11-21T10:15:31Z",
                "recipe": ["0404040404040404040404040404040404040404040404040404040404040404"],
                "recipe_len": 90,
                "recipe_hash": "0505050505050505050505050505050505050505050505050505050505050505",
                "files": 1,
                "bytes": 7
            }},
            {"name": "qdrant", "config": true, "missing": "no such file"}
        ]);
        change(v);
    })
}

#[test]
fn every_recipe_is_named_shards_first() {
    let manifest = with_extras(|_| {}).unwrap();
    let named: Vec<_> = manifest
        .recipes()
        .map(|(owner, recipe)| (owner.to_string(), recipe.len, recipe.digest()))
        .collect();
    assert_eq!(
        named,
        [
            ("shard 0 of docs".to_owned(), 900, Some([2; 32])),
            ("extra redis of node n1".to_owned(), 90, Some([5; 32])),
        ]
    );
    assert_eq!(
        Manifest::from_json(&manifest.to_json().unwrap()).unwrap(),
        manifest
    );
}

/// A program of before extras refuses format 2, and collects no garbage where a point can't be read.
#[test]
fn a_point_with_extras_is_never_of_the_first_format() {
    let refused = with_extras(|v| v["format"] = json!(1)).unwrap_err();
    assert!(refused.to_string().contains("it has extras"), "{refused}");
    // Nothing that is only told keeps an older program out.
    let told = with_extras(|v| {
        v["format"] = json!(1);
        v["nodes"][0]["extras"].as_array_mut().unwrap().remove(0);
    });
    let told = told.unwrap();
    assert_eq!(Manifest::format_of(&told.nodes), 1);
    let manifest = with_extras(|_| {}).unwrap();
    assert_eq!(Manifest::format_of(&manifest.nodes), 2);
    let plain = manifest.without_extras();
    assert_eq!((plain.format, plain.recipes().count()), (1, 1));
    assert!(plain.to_json().is_ok());
}

#[test]
fn an_extra_is_captured_or_missing_and_has_one_name() {
    let changes: [fn(&mut Value); 5] = [
        |v| v["nodes"][0]["extras"][0]["missing"] = json!("and yet there"),
        |v| {
            drop(
                v["nodes"][0]["extras"][1]
                    .as_object_mut()
                    .unwrap()
                    .remove("missing"),
            )
        },
        |v| v["nodes"][0]["extras"][1]["name"] = json!("redis"),
        |v| v["nodes"][0]["extras"][0]["captured"]["recipe"] = json!([]),
        |v| v["nodes"][0]["extras"][0]["captured"]["recipe_hash"] = json!("05"),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let result = with_extras(change);
        let refused = matches!(result, Err(ManifestError::Inconsistent(_)));
        assert!(refused, "change {i}: {result:?}");
    }
}
