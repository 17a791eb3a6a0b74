//! Tests of the command table.

use super::cleanup::Cleanup;
use super::phase::{Phase, RestoreProgress, SnapshotRequest, TakenSnapshot, TargetMode};
use super::{CommandTable, KEPT_OUTCOMES, MAX_OPEN, Offer};
use crate::failure::Failed;
use crate::order::{CaptureOrder, Command, CommandId, Method, Order, RestoreOrder, Work};
use crate::outcome::{CaptureReport, Outcome};
use holdfast_archive::{CollectionEntry, ShardEntry};
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, ShardId, Timestamp};

fn id(text: &str) -> CommandId {
    text.parse().unwrap()
}

fn capture(name: &str, epoch: u64) -> Command {
    Command {
        id: id(name),
        epoch: Epoch(epoch),
        order: Order::Work(Work::Capture(CaptureOrder {
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
            method: Method::Auto,
            bytes_per_second: None,
            courtesy: None,
        })),
    }
}

fn cancel(name: &str, of: &str) -> Command {
    Command {
        id: id(name),
        epoch: Epoch(1),
        order: Order::Cancel(id(of)),
    }
}

fn captured() -> Outcome {
    Outcome::Captured(CaptureReport {
        logical_bytes: 10,
        sent_bytes: 5,
        elapsed_ms: 3,
        snapshot_ms: 1,
        method: Method::Stored,
        reasons: Vec::new(),
        held_up_ms: 0,
    })
}

fn failed() -> Outcome {
    Outcome::Failed(Failed::new(Code::Cancelled, "stopped"))
}

#[test]
fn the_same_id_runs_once() {
    let mut table = CommandTable::default();
    assert_eq!(table.offer(capture("a", 1)), Offer::Run);
    assert_eq!(table.offer(capture("a", 1)), Offer::Running);
    table.finish(&id("a"), captured(), Timestamp::EPOCH);
    assert_eq!(table.offer(capture("a", 1)), Offer::Ended(captured()));
    assert!(table.open().is_empty());
}

#[test]
fn an_older_epoch_is_refused_for_ever() {
    let mut table = CommandTable::default();
    assert!(table.note_epoch(Epoch(5)));
    assert_eq!(
        table.offer(capture("a", 4)),
        Offer::Stale { newest: Epoch(5) }
    );
    assert_eq!(table.offer(capture("a", 6)), Offer::Run);
    assert_eq!(
        table.offer(capture("b", 5)),
        Offer::Stale { newest: Epoch(6) }
    );
    assert!(!table.note_epoch(Epoch(5)));
    assert_eq!(table.highest_epoch(), Epoch(6));
}

#[test]
fn cancel_names_what_is_open() {
    let mut table = CommandTable::default();
    table.offer(capture("a", 1));
    assert_eq!(table.offer(cancel("x", "a")), Offer::Stop(id("a")));
    table.finish(&id("a"), failed(), Timestamp::EPOCH);
    assert_eq!(
        table.offer(cancel("y", "a")),
        Offer::NotOpen(id("a"), Some(failed()))
    );
    assert_eq!(table.offer(cancel("z", "b")), Offer::NotOpen(id("b"), None));
}

#[test]
fn a_request_without_an_answer_is_left_as_a_stray() {
    let mut table = CommandTable::default();
    table.offer(capture("a", 1));
    let request = SnapshotRequest {
        asked: Timestamp::EPOCH,
        before: vec![],
    };
    table.advance(&id("a"), Phase::AskingSnapshot(request.clone()));
    table.finish(&id("a"), failed(), Timestamp::EPOCH);
    let stray = Cleanup::StraySnapshot {
        collection: "docs".parse().unwrap(),
        shard: ShardId(0),
        request,
    };
    assert_eq!(table.cleanups(), std::slice::from_ref(&stray));
    table.add_cleanup(stray.clone());
    assert_eq!(table.cleanups().len(), 1);
    table.cleaned(&stray);
    assert!(table.cleanups().is_empty());
}

#[test]
fn a_snapshot_is_accounted_for_from_its_making_to_its_deletion() {
    let mut table = CommandTable::default();
    table.offer(capture("a", 1));
    let docs = "docs".parse().unwrap();
    let named = |table: &CommandTable| {
        let known = |name| {
            let (owned, named) = (
                table.owns_snapshot(&docs, ShardId(0), name),
                table.names_snapshot(&docs, ShardId(0), name),
            );
            (owned, named)
        };
        assert_eq!(known("other.snapshot"), (false, false));
        known("a.snapshot")
    };
    assert_eq!(named(&table), (false, false));
    table.advance(&id("a"), Phase::Snapshot(Box::new(taken("a.snapshot"))));
    assert_eq!(named(&table), (true, true));
    table.finish(&id("a"), captured(), Timestamp::EPOCH);
    assert_eq!(named(&table), (false, true));
    let cleanup = table.cleanups()[0].clone();
    table.cleaned(&cleanup);
    assert_eq!(named(&table), (false, false));
}

fn taken(name: &str) -> TakenSnapshot {
    TakenSnapshot {
        name: name.to_owned(),
        size: 1,
        checksum: None,
        captured: Timestamp::EPOCH,
        snapshot_ms: 1,
        notes: Vec::new(),
        server_version: "1.18.3".parse().unwrap(),
        collection: CollectionEntry {
            name: "docs".parse().unwrap(),
            info: serde_json::Value::Null,
            aliases: vec![],
            cluster: None,
            shard_count: 1,
            uuid: None,
            shard_keys: Vec::new(),
            points: None,
            shards: vec![],
        },
    }
}

#[test]
fn both_queues_are_bounded() {
    let mut table = CommandTable::default();
    for i in 0..MAX_OPEN {
        assert_eq!(table.offer(capture(&format!("c{i}"), 1)), Offer::Run);
    }
    assert_eq!(table.offer(capture("more", 1)), Offer::TooMany);
    for i in 0..MAX_OPEN {
        table.finish(&id(&format!("c{i}")), captured(), Timestamp::EPOCH);
    }
    assert_eq!(table.done().count(), KEPT_OUTCOMES);
    assert_eq!(table.offer(capture("c0", 1)), Offer::Run);
}

fn restore_of(name: &str) -> Command {
    let entry = taken("x").collection;
    Command {
        id: id(name),
        epoch: Epoch(1),
        order: Order::Work(Work::Restore(Box::new(RestoreOrder {
            recovery_point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
            target: "docs".parse().unwrap(),
            overwrite: true,
            with_aliases: true,
            logs: vec![],
            requests: vec![],
            part: None,
            entry: CollectionEntry {
                shards: vec![shard_entry()],
                ..entry
            },
        }))),
    }
}

fn shard_entry() -> ShardEntry {
    ShardEntry {
        shard_id: ShardId(0),
        node: "n1".parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        method: "stored".into(),
        reasons: Vec::new(),
        captured_at: Timestamp::EPOCH,
        next_operation: None,
        wal: None,
        clocks: None,
        replica_state: None,
        replicas: Vec::new(),
        recipe: vec![],
        recipe_len: 1,
        recipe_hash: "ab".repeat(32),
        files: 1,
        logical_bytes: 1,
    }
}

#[test]
fn only_a_collection_that_was_created_and_is_not_whole_is_to_be_removed() {
    for (created, uploaded, left) in [
        (false, vec![], 0),
        (true, vec![], 1),
        (true, vec![ShardId(0)], 0),
    ] {
        let mut table = CommandTable::default();
        table.offer(restore_of("a"));
        let progress = RestoreProgress {
            target: TargetMode::Create,
            kept_aliases: vec![],
            replaced: None,
            created: created.then_some(serde_json::Value::Null),
            holds_data: true,
            uploaded,
            replayed: None,
        };
        table.advance(&id("a"), Phase::Restoring(progress.clone()));
        table.finish(&id("a"), failed(), Timestamp::EPOCH);
        assert_eq!(table.cleanups().len(), left, "{progress:?}");

        // the next restore of that name takes it over
        table.offer(restore_of("b"));
        assert_eq!(table.cleanups().len(), left);
        table.advance(&id("b"), Phase::Restoring(progress));
        assert!(table.cleanups().is_empty());
    }
}

#[test]
fn a_cleanup_of_an_earlier_release_can_be_read() {
    let old = r#"{"remove":"collection","name":"docs"}"#;
    let cleanup: Cleanup = serde_json::from_str(old).unwrap();
    assert!(matches!(cleanup, Cleanup::Collection { made: None, .. }));
}
