//! Restores against stand-ins of Qdrant and the coordinator.

use super::qdrant::config;
use super::shard;
use super::world::{World, failure_code, restore, world_with_docs};
use holdfast_proto::v1;
use v1::CaptureMethod::Stored;
use v1::command_result::Outcome;

fn done(outcome: Outcome) -> v1::RestoreDone {
    if let Outcome::Restore(done) = outcome {
        return done;
    }
    panic!("no restore: {outcome:?}")
}

fn changes(world: &World) -> Vec<String> {
    std::mem::take(&mut world.qdrant.lock().changes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_collection_comes_back_byte_for_byte() {
    let (world, files) = world_with_docs(9).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.qdrant.lock().collections.clear();
    world.qdrant.lock().aliases.clear();

    world
        .coordinator
        .give("restore", restore(&commit, "docs", false))
        .await;
    let done = done(world.coordinator.result("restore", 0).await);
    assert_eq!(done.points, 77);
    assert_eq!(done.aliases_created, ["current"]);
    assert_eq!(done.indexes_created, ["title"]);
    let restored = world.qdrant.lock().collections["docs"].archive.clone();
    assert_eq!(done.uploaded_bytes, restored.len() as u64);
    assert_eq!(shard::unpack(&restored), files);
    assert_eq!(
        changes(&world),
        [
            "create docs",
            "index docs.title",
            "upload docs",
            "alias current -> docs"
        ]
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_data_is_overwritten_only_when_told_to() {
    let (world, files) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world
        .coordinator
        .give("r1", restore(&commit, "docs", false))
        .await;
    let outcome = world.coordinator.result("r1", 0).await;
    assert_eq!(failure_code(&outcome), "target-exists");
    assert_eq!(changes(&world), [""; 0]);

    // an equal configuration: the data is swapped in place
    let other = shard::archive(&shard::files(1, 99));
    world
        .qdrant
        .lock()
        .collections
        .get_mut("docs")
        .unwrap()
        .archive = other;
    world
        .coordinator
        .give("r2", restore(&commit, "docs", true))
        .await;
    done(world.coordinator.result("r2", 0).await);
    assert_eq!(changes(&world), ["upload docs", "alias current -> docs"]);
    let restored = world.qdrant.lock().collections["docs"].archive.clone();
    assert_eq!(shard::unpack(&restored), files);

    // another configuration: deleted and created; an alias it had is kept
    let extra = ("mine".to_owned(), "docs".to_owned());
    world.qdrant.lock().aliases.extend([extra]);
    world
        .qdrant
        .lock()
        .collections
        .get_mut("docs")
        .unwrap()
        .config = config(8);
    world
        .coordinator
        .give("r3", restore(&commit, "docs", true))
        .await;
    let done = done(world.coordinator.result("r3", 0).await);
    assert_eq!(done.aliases_created, ["current", "mine"]);
    assert_eq!(changes(&world)[..2], ["delete docs", "create docs"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_the_original_aliases_stay_where_they_are() {
    let (world, files) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    let done = done(world.coordinator.result("restore", 0).await);
    assert_eq!(done.aliases_created, [""; 0]);
    assert_eq!(world.qdrant.lock().aliases["current"], "docs");
    let restored = world.qdrant.lock().collections["copy"].archive.clone();
    assert_eq!(shard::unpack(&restored), files);

    world
        .coordinator
        .give("r2", restore(&commit, "current", true))
        .await;
    let outcome = world.coordinator.result("r2", 0).await;
    assert_eq!(failure_code(&outcome), "target-exists", "it is an alias");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_chunk_is_never_uploaded_and_the_collection_is_deleted_again() {
    let (world, _) = world_with_docs(9).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().corrupt_after = Some(5);
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    let outcome = world.coordinator.result("restore", 0).await;
    assert_eq!(failure_code(&outcome), "repository-damaged", "{outcome:?}");
    let names: Vec<String> = world.qdrant.lock().collections.keys().cloned().collect();
    assert_eq!(names, ["docs"]);
    assert!(!changes(&world).contains(&"upload copy".to_owned()));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qdrants_own_words_are_passed_on_when_it_refuses_the_upload() {
    let (world, _) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.qdrant.lock().refuse_uploads = true;
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    let Outcome::Failure(failure) = world.coordinator.result("restore", 0).await else {
        panic!("a failure")
    };
    assert_eq!(failure.code, "qdrant-error");
    assert!(
        failure.message.contains("no space left on device"),
        "{}",
        failure.message
    );
    assert!(!world.qdrant.lock().collections.contains_key("copy"));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_resumes_a_restore() {
    let (world, files) = world_with_docs(9).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().withhold_chunks = true;
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    let created = || {
        world
            .qdrant
            .lock()
            .changes
            .contains(&"index copy.title".to_owned())
    };
    world
        .coordinator
        .until("the collection", |_| created().then_some(()))
        .await;
    agent.kill().await;
    world.coordinator.lock().withhold_chunks = false;
    let agent = world.start();
    done(world.coordinator.result("restore", 0).await);
    let restored = world.qdrant.lock().collections["copy"].archive.clone();
    assert_eq!(shard::unpack(&restored), files);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_nobody_knows_any_more_is_rolled_back() {
    let (world, _) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().withhold_chunks = true;
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    let created = || {
        world
            .qdrant
            .lock()
            .changes
            .contains(&"index copy.title".to_owned())
    };
    world
        .coordinator
        .until("the collection", |_| created().then_some(()))
        .await;
    agent.kill().await;
    world.coordinator.lock().refuse = Some(tonic::Status::not_found("no such command"));
    let agent = world.start();
    let outcome = world.coordinator.result("restore", 0).await;
    assert_eq!(failure_code(&outcome), "job-failed");
    assert!(!world.qdrant.lock().collections.contains_key("copy"));
    agent.stop().await;
}

/// Has the restore `restore` begin, and stay without chunks.
async fn begin_restore(
    world: &World,
    commit: &super::coordinator::Commit,
    target: &str,
    overwrite: bool,
) {
    world.coordinator.lock().withhold_chunks = true;
    world
        .coordinator
        .give("restore", restore(commit, target, overwrite))
        .await;
    let index = format!("index {target}.title");
    world
        .eventually(|| world.qdrant.lock().changes.contains(&index))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_leaves_a_restore_to_the_next_start() {
    let (world, files) = world_with_docs(9).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    begin_restore(&world, &commit, "copy", false).await;
    agent.stop().await;
    assert!(world.qdrant.lock().collections.contains_key("copy"));
    world.coordinator.lock().withhold_chunks = false;
    let agent = world.start();
    done(world.coordinator.result("restore", 0).await);
    let restored = world.qdrant.lock().collections["copy"].archive.clone();
    assert_eq!(shard::unpack(&restored), files);
    assert!(!changes(&world).contains(&"delete copy".to_owned()));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_restore_touches_nothing_that_came_after_it() {
    let (world, _) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world
        .qdrant
        .lock()
        .collections
        .get_mut("docs")
        .unwrap()
        .config = config(8);
    begin_restore(&world, &commit, "docs", true).await;
    agent.kill().await;
    // meanwhile somebody has brought the data back by hand
    world
        .qdrant
        .lock()
        .collections
        .get_mut("docs")
        .unwrap()
        .points = 50;
    changes(&world);
    world.coordinator.lock().refuse = Some(tonic::Status::not_found("no such command"));
    let agent = world.start();
    let outcome = world.coordinator.result("restore", 0).await;
    assert_eq!(failure_code(&outcome), "job-failed");
    assert_eq!(changes(&world), [""; 0]);
    assert_eq!(world.qdrant.lock().collections["docs"].points, 50);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_after_the_last_upload_deletes_nothing() {
    let (world, files) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.qdrant.lock().refuse_counts = true;
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    let Outcome::Failure(failure) = world.coordinator.result("restore", 0).await else {
        panic!("a failure")
    };
    assert!(
        failure.message.contains("is restored and stays"),
        "{}",
        failure.message
    );
    let restored = world.qdrant.lock().collections["copy"].archive.clone();
    assert_eq!(shard::unpack(&restored), files);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_somebody_else_created_meanwhile_stays() {
    let (world, _) = world_with_docs(2).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    begin_restore(&world, &commit, "copy", false).await;
    agent.kill().await;
    let other = super::qdrant::Collection {
        config: config(8),
        ..Default::default()
    };
    world
        .qdrant
        .lock()
        .collections
        .insert("copy".to_owned(), other);
    changes(&world);
    let agent = world.start();
    let outcome = world.coordinator.result("restore", 0).await;
    assert_eq!(failure_code(&outcome), "target-exists");
    assert_eq!(changes(&world), [""; 0]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_an_earlier_life_asked_for_may_come_late() {
    let (world, files) = world_with_docs(9).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    world.qdrant.lock().hold_creations = Some(release.clone());
    world
        .coordinator
        .give("restore", restore(&commit, "copy", false))
        .await;
    world.eventually(|| world.qdrant.lock().held == 1).await;
    agent.kill().await;
    // The next life finds no collection and asks again; only then does the first request take effect.
    let agent = world.start();
    world.eventually(|| world.qdrant.lock().held == 2).await;
    world.qdrant.lock().hold_creations = None;
    release.notify_waiters();
    done(world.coordinator.result("restore", 0).await);
    let restored = world.qdrant.lock().collections["copy"].archive.clone();
    assert_eq!(shard::unpack(&restored), files);
    let creations = changes(&world);
    assert_eq!(creations.iter().filter(|c| *c == "create copy").count(), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_restore_says_what_the_target_holds() {
    let (world, _) = world_with_docs(9).await;
    let agent = world.start();
    let commit = world.capture(Stored).await;
    world.coordinator.lock().withhold_chunks = true;
    for (id, target, overwrite, said) in [
        (
            "over",
            "docs",
            true,
            "shard 0 of docs: either, since its upload was interrupted",
        ),
        (
            "new",
            "copy",
            false,
            "copy did not exist before and is deleted again",
        ),
    ] {
        world
            .coordinator
            .give(id, restore(&commit, target, overwrite))
            .await;
        let uploading = |inner: &super::coordinator::Inner| {
            let mut told = inner.progress.iter().filter(|told| told.command_id == id);
            let stage = |told: &v1::CommandProgress| told.progress.clone().unwrap().stage;
            told.any(|told| stage(told) == "rebuilding and uploading")
                .then_some(())
        };
        world.coordinator.until("the upload", uploading).await;
        world
            .coordinator
            .give(&format!("cancel-{id}"), super::world::cancel(id))
            .await;
        let Outcome::Failure(failure) = world.coordinator.result(id, 0).await else {
            panic!("a failure")
        };
        assert_eq!(failure.code, "cancelled");
        assert!(failure.message.contains(said), "{}", failure.message);
    }
    assert!(!world.qdrant.lock().collections.contains_key("copy"));
    agent.stop().await;
}
