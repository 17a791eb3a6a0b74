//! What survives a restart and a kill, and the write-ahead log on disk.

use crate::client::point;
use crate::server::Server;
use holdfast_engine::wal_dir;
use serde_json::{Value, json};

pub(crate) async fn a_restart_keeps_everything(server: Server) {
    server.create_c().await;
    server.fill_c(0..100).await;
    let points = server.all_points("c").await;
    let server = server.restart().await;
    assert_eq!(server.all_points("c").await, points);
    server.fill_c(100..110).await;
    let server = server.restart().await;
    assert_eq!(server.count("c", Value::Null).await, 110);
}

pub(crate) async fn a_kill_loses_no_acknowledged_write(server: Server) {
    server.create_c().await;
    let index = json!({"field_name": "group", "field_schema": "keyword"});
    server
        .put("/collections/c/index?wait=true", index)
        .await
        .result();
    server.fill_c(0..50).await;
    let server = server.kill_and_restart().await;
    assert_eq!(server.count("c", Value::Null).await, 50);
    let filter = json!({"must": [{"key": "group", "match": {"value": "g1"}}]});
    server
        .post(
            "/collections/c/points/delete?wait=true",
            json!({"filter": filter}),
        )
        .await
        .result();
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    let body = json!({"points": [{"id": uuid, "vector": [0.25, 0.5, -1, 3], "payload": {"a": [1.5, null]}}]});
    server
        .put("/collections/c/points?wait=true", body)
        .await
        .result();
    let body = json!({"payload": {"x": 1}, "points": [0, uuid]});
    let last = server
        .post("/collections/c/points/payload?wait=true", body)
        .await
        .result();
    let points = server.all_points("c").await;
    let server = server.kill_and_restart().await;
    assert_eq!(server.all_points("c").await, points);
    let filter = json!({"must": [{"key": "group", "match": {"value": "g2"}}]});
    assert_eq!(server.count("c", filter).await, 12);
    let next = json!({"points": [point(500)]});
    let result = server
        .put("/collections/c/points?wait=true", next)
        .await
        .result();
    let last = last["operation_id"].as_u64().unwrap();
    assert_eq!(result["operation_id"], last + 1);
}

pub(crate) async fn the_log_has_the_known_layout(server: Server) {
    server.create_c().await;
    server.fill_c(0..3).await;
    server.fill_c(3..6).await;
    let body = json!({"points": [1]});
    server
        .post("/collections/c/points/delete?wait=true", body)
        .await
        .result();
    let log = server.storage().join("collections/c/0/wal");
    let mut kinds = Vec::new();
    let next = wal_dir::read(&log, 0, |index, data| {
        assert_eq!(index, kinds.len() as u64);
        let entry: ciborium::Value = ciborium::from_reader(data).unwrap();
        let fields = entry.into_map().unwrap();
        let names = fields
            .into_iter()
            .map(|(name, _)| name.into_text().unwrap());
        let operation = names.into_iter().find(|name| name != "clock_tag");
        kinds.push(operation.unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(next, 4);
    // the first one is an upsert of nothing
    let expected = [
        "upsert_points",
        "upsert_points",
        "upsert_points",
        "delete_points",
    ];
    assert_eq!(kinds, expected);
}

/// The base of a stream, with the live log's later entries as its log: the way to a point in time.
pub(crate) async fn a_log_inside_a_snapshot_is_replayed(server: Server) {
    server.create_c().await;
    server.fill_c(0..10).await;
    let base = server.bytes("/collections/c/shards/0/snapshot").await;
    server.fill_c(5..20).await;
    let filter = json!({"must": [{"key": "group", "match": {"value": "g3"}}]});
    let body = json!({"payload": {"late": 1}, "filter": filter});
    server
        .post("/collections/c/points/payload?wait=true", body)
        .await
        .result();
    let body = json!({"points": [2, 17]});
    server
        .post("/collections/c/points/delete?wait=true", body)
        .await
        .result();
    let points = server.all_points("c").await;
    let mut later = Vec::new();
    let log = server.storage().join("collections/c/0/wal");
    // the base holds operations 0 and 1
    wal_dir::read(&log, 2, |_, data| {
        later.push(data.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(later.len(), 3);

    let spliced = spliced(&base, &log_file(&later));
    let other = server.sibling().await;
    other.create_c().await;
    other
        .upload("c", spliced, "priority=snapshot&wait=true")
        .await
        .result();
    assert_eq!(other.all_points("c").await, points);
    let other = other.restart().await;
    assert_eq!(other.all_points("c").await, points);
    let result = other
        .put(
            "/collections/c/points?wait=true",
            json!({"points": [point(900)]}),
        )
        .await
        .result();
    assert_eq!(result["operation_id"], 5);
}

/// The stream up to its log, then this log as `wal/closed-2`, then the rest.
fn spliced(base: &[u8], log: &[u8]) -> Vec<u8> {
    let mut before = base.len();
    let mut tail = Vec::new();
    for entry in tar::Archive::new(base).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let position = usize::try_from(entry.raw_header_position()).unwrap();
        if path.starts_with("wal") {
            before = before.min(position);
        } else if before < base.len() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            tail.push((path, bytes));
        }
    }
    let mut tar = tar::Builder::new(base[..before].to_vec());
    tail.insert(0, ("wal/closed-2".into(), log.to_vec()));
    tail.insert(
        1,
        ("wal/first-index".into(), br#"{"ack_index":2}"#.to_vec()),
    );
    for (path, bytes) in tail {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A closed file of the log with these entries.
fn log_file(entries: &[Vec<u8>]) -> Vec<u8> {
    let seed = 12_345u32;
    let mut file = b"wal\0".to_vec();
    file.extend(seed.to_le_bytes());
    let mut crc = seed;
    for entry in entries {
        let begin = file.len();
        file.extend((entry.len() as u64).to_le_bytes());
        file.extend(entry);
        file.resize(file.len() + (4usize.wrapping_sub(entry.len()) & 7), 0);
        crc = crc32c::crc32c_append(!crc.reverse_bits(), &file[begin..]);
        file.extend(crc.to_le_bytes());
    }
    file.resize(file.len().next_multiple_of(4096) + 4096, 0);
    file
}
