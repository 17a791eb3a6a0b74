//! Captures against stand-ins of Qdrant and the coordinator.

use super::coordinator::chunks_of;
use super::shard;
use super::world::{cancel, capture, failure_code, world_with_docs};
use holdfast_proto::v1;
use std::sync::Arc;
use tokio::sync::Notify;
use v1::CaptureMethod::{Auto, Stored, Stream};
use v1::command_result::Outcome;

/// What was flushed before Qdrant was asked is contained, and the manifest says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_says_which_operations_it_certainly_contains() {
    let (mut world, _files) = world_with_docs(9).await;
    let storage = world.config.state_dir.with_file_name("storage");
    let log = storage.join("collections/docs/0/wal");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("first-index"), r#"{"ack_index":3}"#).unwrap();
    world.config.qdrant.storage_dir = Some(storage);
    let agent = world.start();
    let taken = world.capture(Stored).await;
    let mark = taken.shard.wal.unwrap();
    assert_eq!((mark.certain, mark.timeline), (3, None));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_yield_the_same_recipe_and_leave_nothing_behind() {
    let (world, files) = world_with_docs(9).await;
    let agent = world.start();
    let stored = world.capture(Auto).await;
    assert_eq!(stored.shard.method, "stored");
    assert_eq!(stored.shard.next_operation, Some(5));
    assert_eq!(stored.shard.wal, None, "no storage directory is known");
    assert_eq!(stored.collection.points, Some(77));
    assert_eq!(stored.collection.aliases.len(), 1);
    let size: usize = files.values().map(Vec::len).sum();
    assert_eq!(stored.shard.logical_bytes, size as u64);
    let sent = world.coordinator.lock().puts;
    assert_eq!(sent, chunks_of(&stored.recipe).len() as u64);

    world
        .coordinator
        .give("again", capture("docs", Stream))
        .await;
    let Outcome::Capture(done) = world.coordinator.result("again", 0).await else {
        panic!("a capture")
    };
    assert_eq!(done.method(), Stream);
    assert_eq!(done.sent_bytes, 0, "everything is stored already");
    let streamed = world.coordinator.lock().commits["again"].clone();
    assert_eq!(streamed.recipe, stored.recipe);
    assert_eq!(world.coordinator.lock().puts, sent);
    world.until_clean().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_resends_nothing_and_asks_for_no_second_snapshot() {
    let (world, _) = world_with_docs(24).await;
    world.coordinator.lock().break_after = Some(6);
    let agent = world.start();
    let commit = world.capture(Stored).await;
    let chunks = chunks_of(&commit.recipe).len() as u64;
    let puts = world.coordinator.lock().puts;
    assert_eq!(puts, chunks, "no chunk was sent twice");
    assert_eq!(world.qdrant.lock().snapshots_made, 1);
    world.until_clean().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_break_after_more_work_than_patience_is_no_end() {
    let (mut world, _) = world_with_docs(24).await;
    world.config.limits.retry_for = std::time::Duration::from_millis(1);
    world.coordinator.lock().break_after = Some(6);
    let agent = world.start();
    world.capture(Stored).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_goes_on_with_the_same_snapshot() {
    let (world, _) = world_with_docs(24).await;
    world.coordinator.lock().withhold_acks = true;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    let arrived = |inner: &super::coordinator::Inner| (inner.puts > 2).then_some(());
    world.coordinator.until("some chunks", arrived).await;
    agent.kill().await;
    assert_eq!(world.qdrant.snapshot_files().len(), 1);

    world.coordinator.lock().withhold_acks = false;
    let agent = world.start();
    let outcome = world.coordinator.result("capture", 0).await;
    assert!(matches!(outcome, Outcome::Capture(_)), "{outcome:?}");
    let hello = world.coordinator.lock().hellos[1].clone();
    assert_eq!(hello.open_commands, ["capture"]);
    assert_eq!(world.qdrant.lock().snapshots_made, 1);
    let commit = world.coordinator.lock().commits["capture"].clone();
    assert_eq!(
        world.coordinator.lock().puts,
        chunks_of(&commit.recipe).len() as u64,
        "no chunk was sent twice"
    );
    world.until_clean().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_request_was_cut_short_is_found_and_deleted() {
    let (world, _) = world_with_docs(1).await;
    let release = Arc::new(Notify::new());
    world.qdrant.lock().hold_snapshots = Some(Arc::clone(&release));
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    world.eventually(|| world.qdrant.lock().held == 1).await;
    agent.kill().await;
    // Qdrant finishes it although nobody waits; the user makes one of his own
    release.notify_one();
    world
        .eventually(|| world.qdrant.snapshot_files().len() == 1)
        .await;
    let stray = world.qdrant.snapshot_files().remove(0);
    let mine = world.config.qdrant.snapshots_dir.as_ref().unwrap();
    let mine = mine.join("docs/shards/0/docs-shard-0-2020-01-01-00-00-00.snapshot");
    std::fs::write(&mine, "mine").unwrap();
    world.qdrant.lock().hold_snapshots = None;
    // names are of one second: a new one must not overwrite the stray
    let second_later = || !stray.contains(&jiff::Timestamp::now().strftime("%M-%S").to_string());
    world.eventually(second_later).await;

    let agent = world.start();
    let outcome = world.coordinator.result("capture", 0).await;
    assert!(matches!(outcome, Outcome::Capture(_)), "{outcome:?}");
    assert_eq!(world.qdrant.lock().snapshots_made, 2);
    let left = || world.qdrant.snapshot_files();
    world.eventually(|| left().len() == 1).await;
    assert!(mine.exists(), "{:?}", left());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_knows_any_more_is_cleaned_up_after() {
    let (world, _) = world_with_docs(24).await;
    world.coordinator.lock().withhold_acks = true;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    let arrived = |inner: &super::coordinator::Inner| (inner.puts > 2).then_some(());
    world.coordinator.until("some chunks", arrived).await;
    agent.kill().await;

    world.coordinator.lock().refuse = Some(tonic::Status::not_found("no such command"));
    let agent = world.start();
    let outcome = world.coordinator.result("capture", 0).await;
    assert_eq!(failure_code(&outcome), "job-failed");
    world.until_clean().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_stops_a_capture_and_deletes_its_snapshot() {
    let (world, _) = world_with_docs(24).await;
    world.coordinator.lock().withhold_acks = true;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    let arrived = |inner: &super::coordinator::Inner| (inner.puts > 2).then_some(());
    world.coordinator.until("some chunks", arrived).await;
    // one that waits behind it is stopped too
    world
        .coordinator
        .give("waiting", capture("docs", Stored))
        .await;
    world.coordinator.give("x1", cancel("waiting")).await;
    world.coordinator.give("x2", cancel("capture")).await;
    assert_eq!(
        world.coordinator.result("x2", 0).await,
        Outcome::Cancelled(v1::Cancelled {})
    );
    for id in ["capture", "waiting"] {
        assert_eq!(
            failure_code(&world.coordinator.result(id, 0).await),
            "cancelled"
        );
    }
    world.until_clean().await;
    assert_eq!(world.qdrant.lock().snapshots_made, 1);
    agent.stop().await;
}

/// Fills the disk of the agent's journal until the link is removed.
fn fill_disk(world: &super::world::World) -> std::path::PathBuf {
    let new = world.config.state_dir.join("journal.new");
    std::os::unix::fs::symlink("/dev/full", &new).unwrap();
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_can_t_be_journalled_is_answered_and_the_session_stays() {
    let (world, _) = world_with_docs(1).await;
    let agent = world.start();
    // Sent after the epoch, which must be durable before anything else.
    let beat = |inner: &super::coordinator::Inner| (!inner.heartbeats.is_empty()).then_some(());
    world.coordinator.until("a session", beat).await;
    let full = fill_disk(&world);
    world.coordinator.give("x", capture("docs", Stored)).await;
    let outcome = world.coordinator.result("x", 0).await;
    assert_eq!(failure_code(&outcome), "disk-full");
    std::fs::remove_file(full).unwrap();
    world.capture(Stored).await;
    assert_eq!(world.coordinator.lock().hellos.len(), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_can_t_be_written_shows_as_the_stage() {
    let (world, _) = world_with_docs(24).await;
    world.coordinator.lock().withhold_acks = true;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    let arrived = |inner: &super::coordinator::Inner| (inner.puts > 2).then_some(());
    world.coordinator.until("some chunks", arrived).await;
    let full = fill_disk(&world);
    world.coordinator.give("x", cancel("capture")).await;
    let told = |inner: &super::coordinator::Inner| {
        let mut stages = inner
            .progress
            .iter()
            .filter_map(|told| told.progress.as_ref());
        stages
            .any(|told| told.stage.contains("disk is full"))
            .then_some(())
    };
    world.coordinator.until("the reason", told).await;
    std::fs::remove_file(full).unwrap();
    let outcome = world.coordinator.result("capture", 0).await;
    assert_eq!(failure_code(&outcome), "cancelled");
    world.until_clean().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_leaves_nothing_half_done() {
    let (world, _) = world_with_docs(24).await;
    world.coordinator.lock().withhold_acks = true;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    let arrived = |inner: &super::coordinator::Inner| (inner.puts > 2).then_some(());
    world.coordinator.until("some chunks", arrived).await;
    agent.stop().await;
    assert!(world.qdrant.snapshot_files().is_empty());
    let outcome = world.coordinator.result("capture", 0).await;
    assert_eq!(failure_code(&outcome), "interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_idempotent_and_stale_epochs_are_refused() {
    let (world, _) = world_with_docs(1).await;
    let agent = world.start();
    world.capture(Stored).await;
    let first = world.coordinator.result("capture", 0).await;
    world
        .coordinator
        .give("capture", capture("docs", Stored))
        .await;
    assert_eq!(world.coordinator.result("capture", 1).await, first);
    assert_eq!(world.qdrant.lock().snapshots_made, 1);

    world
        .coordinator
        .give_as("old", 2, capture("docs", Stored))
        .await;
    let outcome = world.coordinator.result("old", 0).await;
    assert_eq!(failure_code(&outcome), "stale-epoch");

    // what ended is reported again over a new session, and the epoch is remembered for ever
    agent.kill().await;
    let agent = world.start();
    assert_eq!(world.coordinator.result("capture", 2).await, first);
    world
        .coordinator
        .give_as("old2", 2, capture("docs", Stored))
        .await;
    let outcome = world.coordinator.result("old2", 0).await;
    assert_eq!(failure_code(&outcome), "stale-epoch");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_off_is_no_capture() {
    let (world, files) = world_with_docs(3).await;
    let whole = shard::archive(&files).len();
    let agent = world.start();
    for (id, cut) in [("a", whole / 2), ("b", whole - 1024)] {
        world.qdrant.lock().cut_streams = Some(cut);
        world.coordinator.give(id, capture("docs", Stream)).await;
        let outcome = world.coordinator.result(id, 0).await;
        assert_eq!(failure_code(&outcome), "snapshot-truncated", "{outcome:?}");
    }
    assert!(world.coordinator.lock().commits.is_empty());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_is_named() {
    let (mut world, _) = world_with_docs(64).await;
    world.config.spool_limit = holdfast_types::ByteCount::mib(16);
    world.coordinator.lock().withhold_acks = true;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("docs", Stream))
        .await;
    let outcome = world.coordinator.result("capture", 0).await;
    assert_eq!(failure_code(&outcome), "spool-full");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_collection_is_named_and_heartbeats_tell_what_there_is() {
    let (world, _) = world_with_docs(1).await;
    let agent = world.start();
    world
        .coordinator
        .give("capture", capture("missing", Auto))
        .await;
    let outcome = world.coordinator.result("capture", 0).await;
    assert_eq!(failure_code(&outcome), "collection-not-found");
    let inventory = world
        .coordinator
        .until("an inventory", |inner| {
            inner
                .heartbeats
                .iter()
                .find_map(|beat| beat.inventory.clone())
        })
        .await;
    assert!(inventory.snapshots_shared);
    assert_eq!(inventory.qdrant_version, "1.18.3");
    assert_eq!(inventory.collections[0].name, "docs");
    assert_eq!(inventory.collections[0].aliases, ["current"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_active_replica_is_captured() {
    let (world, _) = world_with_docs(1).await;
    let agent = world.start();
    for (id, method) in [("a", Stored), ("b", Stream)] {
        world.qdrant.lock().replica_state = Some("Partial".to_owned());
        world.coordinator.give(id, capture("docs", method)).await;
        let outcome = world.coordinator.result(id, 0).await;
        assert_eq!(failure_code(&outcome), "qdrant-not-ready");
    }
    assert_eq!(world.qdrant.lock().snapshots_made, 0);
    // it falls behind while the snapshot is made
    world.qdrant.lock().replica_state = None;
    let release = Arc::new(Notify::new());
    world.qdrant.lock().hold_snapshots = Some(Arc::clone(&release));
    world.coordinator.give("c", capture("docs", Stored)).await;
    world.eventually(|| world.qdrant.lock().held == 1).await;
    world.qdrant.lock().replica_state = Some("Dead".to_owned());
    world.qdrant.lock().keep_snapshots = true;
    release.notify_one();
    let outcome = world.coordinator.result("c", 0).await;
    assert_eq!(failure_code(&outcome), "qdrant-not-ready");
    assert!(world.coordinator.lock().commits.is_empty());
    // A kill between any two steps must not lead to its use: at none did it count as taken.
    let before = world.config.state_dir.join("journal.previous.json");
    let before = std::fs::read_to_string(before).unwrap();
    assert!(before.contains(r#""at": "accepted""#), "{before}");
    world.qdrant.lock().keep_snapshots = false;
    // leftovers are tried again after the next command
    world.coordinator.give("d", capture("missing", Auto)).await;
    world.until_clean().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_count_the_number_of_points_is_unknown() {
    let (world, _) = world_with_docs(1).await;
    world.qdrant.lock().refuse_counts = true;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    assert_eq!(commit.collection.points, None);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_may_have_been_made_is_looked_for() {
    let (world, _) = world_with_docs(1).await;
    let agent = world.start();
    for (id, status, code) in [
        ("a", 202, "qdrant-not-ready"),
        ("b", 500, "qdrant-error"),
        ("c", 503, "qdrant-not-ready"),
    ] {
        world.qdrant.lock().snapshot_status = Some(status);
        world.coordinator.give(id, capture("docs", Stored)).await;
        let outcome = world.coordinator.result(id, 0).await;
        assert_eq!(failure_code(&outcome), code);
        world.until_clean().await;
    }
    assert_eq!(world.qdrant.lock().snapshots_made, 3);
    agent.stop().await;
}
