//! A shard whose process ended at a bad moment, simulated by copying its directory while it is open.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and helpers are test code too"
)]

use holdfast_engine::Shard;
use holdfast_engine::model::{
    Distance, EdgeConfig, EdgeVectorParams, PointId, PointInsertOperations, PointOperations,
    Record, ScrollRequest, UpdateOperation, WalOptions,
};
use std::path::Path;

fn config() -> EdgeConfig {
    let vector = EdgeVectorParams::builder(2, Distance::Dot).build();
    let options = WalOptions {
        segment_capacity: 4096,
        ..WalOptions::default()
    };
    EdgeConfig::builder()
        .vector("", vector)
        .wal_options(options)
        .build()
}

fn upsert(ids: std::ops::Range<u64>) -> UpdateOperation {
    let points: Vec<_> = ids
        .map(|id| serde_json::json!({"id": id, "vector": [id, 1], "payload": {"id": id}}))
        .collect();
    let points: PointInsertOperations =
        serde_json::from_value(serde_json::json!({ "points": points })).unwrap();
    UpdateOperation::PointOperation(PointOperations::UpsertPoints(points))
}

fn delete(id: u64) -> UpdateOperation {
    let ids = vec![PointId::NumId(id)];
    UpdateOperation::PointOperation(PointOperations::DeletePoints { ids })
}

fn everything(shard: &Shard) -> Vec<Record> {
    let request = ScrollRequest {
        limit: Some(10_000),
        ..ScrollRequest::default()
    };
    shard.scroll(request).unwrap().0
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn operations_that_were_not_flushed_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    std::fs::create_dir(&live).unwrap();
    let shard = Shard::create(&live, config()).unwrap();
    assert_eq!(shard.apply(upsert(0..100)).unwrap(), 1);
    shard.flush(1).unwrap();
    assert_eq!(shard.apply(upsert(50..150)).unwrap(), 2);
    assert_eq!(shard.apply(delete(7)).unwrap(), 3);
    let expected = everything(&shard);
    assert_eq!(expected.len(), 149);
    copy(&live, &dead);

    let reopened = Shard::open(&dead, Some(config())).unwrap();
    assert_eq!(everything(&reopened), expected);
    assert_eq!(reopened.next_operation(), 4);
    assert_eq!(reopened.apply(delete(8)).unwrap(), 4);
}

#[test]
fn a_replay_that_was_interrupted_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    std::fs::create_dir(&live).unwrap();
    let shard = Shard::create(&live, config()).unwrap();
    shard.apply(upsert(0..10)).unwrap();
    shard.apply(delete(3)).unwrap();
    let expected = everything(&shard);
    copy(&live, &dead);
    // as after the log was set aside and a scratch log begun
    std::fs::rename(dead.join("wal"), dead.join("wal.keep")).unwrap();
    holdfast_engine::wal_dir::write_empty(&dead.join("wal"), 1, 4096).unwrap();

    let reopened = Shard::open(&dead, Some(config())).unwrap();
    assert_eq!(everything(&reopened), expected);
    assert_eq!(reopened.next_operation(), 3);
    assert!(!dead.join("wal.keep").exists());
}

#[test]
fn the_log_is_shortened_behind_a_flush_and_still_opens() {
    let dir = tempfile::tempdir().unwrap();
    let shard = Shard::create(dir.path(), config()).unwrap();
    for round in 0..40 {
        shard.apply(upsert(round * 10..round * 10 + 20)).unwrap();
    }
    let closed = || {
        let entries = std::fs::read_dir(dir.path().join("wal")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("closed-")).count()
    };
    assert!(closed() > 2, "{}", closed());
    shard.flush(2).unwrap();
    assert_eq!(closed(), 2);
    assert_eq!(shard.apply(delete(0)).unwrap(), 41);
    let expected = everything(&shard);
    drop(shard);
    let reopened = Shard::open(dir.path(), None).unwrap();
    assert_eq!(everything(&reopened), expected);
    assert_eq!(reopened.next_operation(), 42);
}

#[test]
fn a_rejected_operation_takes_an_index_and_is_skipped_by_replay() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    std::fs::create_dir(&live).unwrap();
    let shard = Shard::create(&live, config()).unwrap();
    let wrong = serde_json::json!({"points": [{"id": 1, "vector": [1, 2, 3]}]});
    let wrong: PointInsertOperations = serde_json::from_value(wrong).unwrap();
    let wrong = UpdateOperation::PointOperation(PointOperations::UpsertPoints(wrong));
    let error = shard.apply(wrong).unwrap_err();
    assert!(error.is_rejection(), "{error}");
    let index = shard.apply(upsert(0..3)).unwrap();
    assert_eq!(index, 2);
    copy(&live, &dead);
    let reopened = Shard::open(&dead, Some(config())).unwrap();
    assert_eq!(everything(&reopened).len(), 3);
    assert_eq!(reopened.next_operation(), 3);
}

#[test]
fn a_frozen_shard_lists_files_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let shard = Shard::create(dir.path(), config()).unwrap();
    shard.apply(upsert(0..10)).unwrap();
    let frozen = shard.freeze().unwrap();
    assert_eq!(frozen.next_operation(), 2);
    let segments = frozen.segments().unwrap();
    assert_eq!(segments.len(), 1);
    for file in &segments[0].files {
        let path = frozen.dir().join("segments").join(&segments[0].id);
        assert!(path.join(file).is_file(), "{}", file.display());
    }
    let last: Vec<_> = segments[0].files.iter().rev().take(2).collect();
    assert_eq!(last, [Path::new("version.info"), Path::new("segment.json")]);
}
