//! Shard snapshots: stored, streamed, uploaded, recovered.

use crate::server::Server;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

const SNAPSHOTS: &str = "/collections/c/shards/0/snapshots";
const STREAM: &str = "/collections/c/shards/0/snapshot";
const UPLOAD: &str = "priority=snapshot&wait=true";

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// A collection with everything that has to come back.
async fn rich(server: &Server) {
    let body = json!({
        "vectors": {"a": {"size": 4, "distance": "Cosine"}, "b": {"size": 2, "distance": "Dot"}},
        "sparse_vectors": {"s": {}},
    });
    server.put("/collections/c", body).await.result();
    for (field, kind) in [("group", "keyword"), ("number", "integer")] {
        let body = json!({"field_name": field, "field_schema": kind});
        server
            .put("/collections/c/index?wait=true", body)
            .await
            .result();
    }
    let points: Vec<Value> = (0..200u32)
        .map(|id| {
            let numbers = f64::from(id);
            json!({
                "id": id,
                "vector": {
                    "a": [numbers, 1, 2, 3],
                    "b": [numbers, -numbers],
                    "s": {"indices": [id, 1000], "values": [0.5, numbers + 1.0]},
                },
                "payload": {"group": format!("g{}", id % 3), "number": id, "list": [id, "x", null]},
            })
        })
        .collect();
    let body = json!({ "points": points });
    server
        .put("/collections/c/points?wait=true", body)
        .await
        .result();
    let body = json!({"points": [5, 6, 7]});
    server
        .post("/collections/c/points/delete?wait=true", body)
        .await
        .result();
    let body = json!({"payload": {"late": true}, "points": [1, 2, 3]});
    server
        .post("/collections/c/points/payload?wait=true", body)
        .await
        .result();
}

/// Drops the collection and creates it empty, with the same configuration and indexes.
async fn emptied(server: &Server) {
    server.delete("/collections/c").await.result();
    let body = json!({
        "vectors": {"a": {"size": 4, "distance": "Cosine"}, "b": {"size": 2, "distance": "Dot"}},
        "sparse_vectors": {"s": {}},
    });
    server.put("/collections/c", body).await.result();
    for (field, kind) in [("group", "keyword"), ("number", "integer")] {
        let body = json!({"field_name": field, "field_schema": kind});
        server
            .put("/collections/c/index?wait=true", body)
            .await
            .result();
    }
}

/// Searches and schema that must not change.
async fn answers(server: &Server) -> Vec<Value> {
    let mut answers = Vec::new();
    for body in [
        json!({"query": [1, 2, 3, 4], "using": "a", "limit": 20, "params": {"exact": true}}),
        json!({"query": [1, 0], "using": "b", "with_payload": true,
            "filter": {"must": [{"key": "group", "match": {"value": "g1"}}]}}),
        json!({"query": {"indices": [17, 1000], "values": [1.0, 0.001]}, "using": "s"}),
    ] {
        let answer = server.post("/collections/c/points/query", body).await;
        let mut points = answer.result()["points"].clone();
        for point in points.as_array_mut().unwrap() {
            point.as_object_mut().unwrap().remove("version");
        }
        answers.push(points);
    }
    let info = server.get("/collections/c").await.result();
    answers.push(info["payload_schema"].clone());
    answers
}

pub(crate) async fn a_stored_snapshot_is_listed_downloaded_and_deleted(server: Server) {
    server.create_c().await;
    server.fill_c(0..10).await;
    assert_eq!(server.get(SNAPSHOTS).await.result(), json!([]));
    let made = server.post(SNAPSHOTS, Value::Null).await.result();
    let name = made["name"].as_str().unwrap().to_owned();
    assert!(
        name.starts_with("c-shard-0-") && name.ends_with(".snapshot"),
        "{name}"
    );
    assert_eq!(server.get(SNAPSHOTS).await.result(), json!([made]));

    let path = server.snapshots().join("c/shards/0").join(&name);
    let stored = std::fs::read(&path).unwrap();
    assert_eq!(stored.len() as u64, made["size"]);
    assert_eq!(sha256(&stored), made["checksum"]);
    let beside = path.with_file_name(format!("{name}.checksum"));
    assert_eq!(std::fs::read_to_string(&beside).unwrap(), made["checksum"]);
    let url = format!("{SNAPSHOTS}/{name}");
    assert!(server.bytes(&url).await == stored);

    assert_eq!(server.delete(&url).await.result(), true);
    assert!(!path.exists() && !beside.exists());
    assert_eq!(server.get(SNAPSHOTS).await.result(), json!([]));
    server.delete(&url).await.error(404);
    assert_eq!(server.get(&url).await.status.as_u16(), 404);
    let no_shard = "/collections/c/shards/7/snapshots";
    assert_eq!(
        server.post(no_shard, Value::Null).await.status.as_u16(),
        404
    );
    let no_collection = "/collections/no/shards/0/snapshots";
    server.post(no_collection, Value::Null).await.error(404);
}

async fn stored(server: &Server) -> Vec<u8> {
    let made = server.post(SNAPSHOTS, Value::Null).await.result();
    let name = made["name"].as_str().unwrap();
    server.bytes(&format!("{SNAPSHOTS}/{name}")).await
}

pub(crate) async fn a_stored_snapshot_brings_everything_back(server: Server) {
    rich(&server).await;
    let (points, expected) = (server.all_points("c").await, answers(&server).await);
    let archive = stored(&server).await;
    emptied(&server).await;
    assert_eq!(server.count("c", Value::Null).await, 0);
    let query = format!("{UPLOAD}&checksum={}", sha256(&archive));
    let answer = server.upload("c", archive, &query).await;
    assert_eq!(answer.result(), Value::Null);
    came_back(server, points, expected).await;
}

pub(crate) async fn a_stream_brings_everything_back(server: Server) {
    rich(&server).await;
    let (points, expected) = (server.all_points("c").await, answers(&server).await);
    let archive = server.bytes(STREAM).await;
    assert!(archive.ends_with(&[0; 1024]));
    emptied(&server).await;
    server.upload("c", archive, UPLOAD).await.result();
    came_back(server, points, expected).await;
}

/// Equal now, writable, and still equal after a restart.
async fn came_back(server: Server, points: Vec<Value>, expected: Vec<Value>) {
    assert_eq!(server.all_points("c").await, points);
    assert_eq!(answers(&server).await, expected);
    let info = server.get("/collections/c").await.result();
    assert_eq!(info["status"], "green");
    let server = server.restart().await;
    assert_eq!(server.all_points("c").await, points);
    let body = json!({"points": [0]});
    server
        .post("/collections/c/points/delete?wait=true", body)
        .await
        .result();
    let server = server.kill_and_restart().await;
    assert_eq!(server.all_points("c").await, points[1..]);
}

/// Files by path, as they will lie in the shard's directory.
fn files_of(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() && !entry.header().entry_type().is_gnu_sparse() {
            continue;
        }
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if let Some(segment) = path.strip_suffix(".tar") {
            for (inner, bytes) in files_of(&bytes) {
                let inner = inner.strip_prefix("snapshot/").unwrap();
                files.insert(format!("{segment}/{inner}"), bytes);
            }
        } else {
            files.insert(path, bytes);
        }
    }
    files
}

/// Only the whole archive ends with two blocks of zeros; those of the segments end with their last entry, and a reader
/// must tell by that entry that nothing is missing.
fn check_ends(archive: &[u8]) {
    assert!(archive.ends_with(&[0; 1024]));
    let mut segments = 0;
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry
            .path()
            .unwrap()
            .extension()
            .is_some_and(|kind| kind == "tar")
        {
            let mut inner = Vec::new();
            entry.read_to_end(&mut inner).unwrap();
            assert!(
                !inner.ends_with(&[0; 1024]),
                "a segment's archive has a trailer"
            );
            segments += 1;
        }
    }
    assert!(segments > 0);
}

pub(crate) async fn both_layouts_hold_the_same_files(server: Server) {
    rich(&server).await;
    let archive = stored(&server).await;
    check_ends(&archive);
    let nested = files_of(&archive);
    let stream = server.bytes(STREAM).await;
    let mut last = String::new();
    for entry in tar::Archive::new(&stream[..]).entries().unwrap() {
        last = entry.unwrap().path().unwrap().to_str().unwrap().to_owned();
    }
    assert_eq!(last, "shard_config.json");
    let flat = files_of(&stream);
    let paths = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&nested), paths(&flat));
    for (path, bytes) in &nested {
        // a log file has a random seed
        assert!(path.starts_with("wal/") || flat[path] == *bytes, "{path}");
    }
    let logs: Vec<_> = flat
        .keys()
        .filter(|path| path.starts_with("wal/"))
        .collect();
    // the next operation gets the index that the log's only, empty file is named after
    let next = logs[0].strip_prefix("wal/closed-").unwrap().to_owned();
    assert_eq!(logs.len(), 1);
    let path = "/collections/c/points/delete?wait=true";
    let result = server.post(path, json!({"points": [9]})).await.result();
    assert_eq!(result["operation_id"].to_string(), next);
    let state: Value = serde_json::from_slice(&flat["replica_state.json"]).unwrap();
    assert_eq!(state["is_local"], true);
    for file in ["segment.json", "version.info"] {
        assert!(
            flat.keys()
                .any(|path| path.ends_with(&format!("/files/{file}")))
        );
    }
}

pub(crate) async fn a_bad_upload_changes_nothing(server: Server) {
    server.create_c().await;
    server.fill_c(0..10).await;
    let points = server.all_points("c").await;
    let good = server.bytes(STREAM).await;
    let half = good[..good.len() / 2 / 512 * 512 + 100].to_vec();
    for (what, archive, query) in [
        ("garbage", b"not a tar".repeat(1000), UPLOAD.to_owned()),
        ("truncated", half, UPLOAD.to_owned()),
        (
            "wrong checksum",
            good,
            format!("{UPLOAD}&checksum={}", "0".repeat(64)),
        ),
    ] {
        let answer = server.upload("c", archive, &query).await;
        assert!(!answer.status.is_success(), "{what}: {}", answer.body);
        assert_eq!(server.all_points("c").await, points, "{what}");
    }
    let server = server.restart().await;
    assert_eq!(server.all_points("c").await, points);
}

pub(crate) async fn recovery_by_name_and_url(server: Server) {
    server.create_c().await;
    server.fill_c(0..10).await;
    let points = server.all_points("c").await;
    let made = server.post(SNAPSHOTS, Value::Null).await.result();
    let name = made["name"].as_str().unwrap();
    server.fill_c(10..20).await;
    let path = format!("{SNAPSHOTS}/recover?wait=true");
    let by_name = json!({"location": name, "priority": "snapshot", "checksum": made["checksum"]});
    assert_eq!(server.put(&path, by_name).await.result(), true);
    assert_eq!(server.all_points("c").await, points);

    let other = server.sibling().await;
    other.create_c().await;
    let url = format!("{}{SNAPSHOTS}/{name}", server.url);
    let by_url = json!({"location": url, "priority": "snapshot"});
    assert_eq!(other.put(&path, by_url).await.result(), true);
    assert_eq!(other.all_points("c").await, points);

    let file = server.snapshots().join("c/shards/0").join(name);
    assert!(Path::new(&file).exists());
    let by_file = json!({"location": format!("file://{}", file.display())});
    let text = server.put(&path, by_file).await.error(400);
    assert!(text.contains("not supported"), "{text}");
}
