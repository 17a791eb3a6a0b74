//! Restores from plan to proof.

use crate::agent::{Agent, Files, files};
use crate::world::{Operator, Running, World};
use holdfast_proto::v1;
use holdfast_proto::v1::command_result::Outcome;

struct Scene {
    world: World,
    running: Running,
    operator: Operator,
    agent: Agent,
    content: Files,
    point: String,
}

/// A node with one backup of `docs`.
async fn scene() -> Scene {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let job = operator.backup().await;
    let content = files(&[("a", &[1; 70_000]), ("b", b"small")]);
    let command = agent.command().await;
    agent.capture(&command, &content).await;
    let (ended, _) = job.end().await;
    let point = ended.backup.unwrap().recovery_point;
    Scene {
        world,
        running,
        operator,
        agent,
        content,
        point,
    }
}

fn order(point: &str, overwrite: bool) -> v1::RestoreRequest {
    v1::RestoreRequest {
        recovery_point: point.into(),
        overwrite,
        ..Default::default()
    }
}

fn done(points: u64) -> Outcome {
    Outcome::Restore(v1::RestoreDone {
        points,
        uploaded_bytes: 5,
        aliases_created: vec!["docs-live".into()],
        ..Default::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_collection_comes_back_byte_for_byte() {
    let mut scene = scene().await;
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let job = scene.operator.restore(order(&scene.point, false)).await;
    let command = scene.agent.command().await;
    let Some(v1::command::Command::RestoreCollection(task)) = &command.command else {
        panic!("no restore: {command:?}");
    };
    assert_eq!(
        (task.target_collection.as_str(), task.overwrite),
        ("docs", false)
    );
    assert!(task.with_aliases);
    assert_eq!(scene.agent.fetch(&command).await.unwrap(), scene.content);
    scene.agent.answer(&command, done(3)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let restored = &ended.restore.unwrap().collections[0];
    assert_eq!((restored.points, restored.points_expected), (3, Some(3)));
    // The command is over: it allows nothing any more.
    let refused = scene.agent.fetch(&command).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_refused_and_with_permission_captured_first() {
    let mut scene = scene().await;
    let plan = scene
        .operator
        .0
        .plan_restore(order(&scene.point, false))
        .await;
    let plan = plan.unwrap().into_inner();
    assert_eq!(plan.blockers[0].code, "target-exists");
    let refused = scene
        .operator
        .0
        .run_restore(order(&scene.point, false))
        .await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::AlreadyExists);

    let job = scene.operator.restore(order(&scene.point, true)).await;
    let capture = scene.agent.command().await;
    assert!(matches!(
        capture.command,
        Some(v1::command::Command::CaptureShard(_))
    ));
    let newer = files(&[("a", b"newer")]);
    scene.agent.capture(&capture, &newer).await;
    let command = scene.agent.command().await;
    assert!(
        matches!(&command.command, Some(v1::command::Command::RestoreCollection(t)) if t.overwrite)
    );
    scene.agent.answer(&command, done(3)).await;
    let (ended, _) = job.end().await;
    let safety = ended.restore.unwrap().safety_recovery_point;
    assert_eq!(scene.operator.points().await, [safety, scene.point]);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_points_is_no_success() {
    let mut scene = scene().await;
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let job = scene.operator.restore(order(&scene.point, false)).await;
    let command = scene.agent.command().await;
    scene.agent.answer(&command, done(2)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Failed);
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "proof-failed");
    assert!(
        failure.message.contains("to go on: holdfast restore run"),
        "{failure:?}"
    );
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reads_only_what_it_was_told_to_restore() {
    let mut scene = scene().await;
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let other = Agent::join(&scene.world, &scene.running, "n2").await;
    let request = v1::RestoreRequest {
        node: "n1".into(),
        ..order(&scene.point, false)
    };
    let _job = scene.operator.restore(request).await;
    let command = scene.agent.command().await;
    let refused = other.fetch(&command).await.unwrap_err();
    assert!(!refused.message().is_empty());
    assert!(matches!(
        refused.code(),
        tonic::Code::NotFound | tonic::Code::Unavailable
    ));
    // A chunk that the repository has and the collection has not: the recipe's own.
    let shown = v1::ShowBackupRequest {
        recovery_point: scene.point.clone(),
        from_copy: String::new(),
    };
    let shown = scene.operator.0.show_backup(shown).await.unwrap();
    let manifest: serde_json::Value =
        serde_json::from_str(&shown.into_inner().manifest_json).unwrap();
    let id = manifest["collections"][0]["shards"][0]["recipe"][0].as_str();
    let id: holdfast_types::ChunkId = id.unwrap().parse().unwrap();
    let stranger = v1::FetchChunksRequest {
        command_id: command.command_id.clone(),
        chunk_ids: id.as_bytes().to_vec().into(),
    };
    let mut client = scene.agent.restores();
    let chunks = client.fetch_chunks(tokio_stream::iter([stranger]));
    let refused = chunks
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    // Nor does a restore allow to deliver.
    let refused = scene.agent.open(&command.command_id).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_after_a_restart() {
    let mut scene = scene().await;
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let _job = scene.operator.restore(order(&scene.point, false)).await;
    let before = scene.agent.command().await;
    scene.running.stop().await;

    let running = scene.world.start().await;
    let mut agent = Agent::join(&scene.world, &running, "n1").await;
    let command = agent.command().await;
    assert_eq!(command.command_id, before.command_id);
    assert!(command.epoch > before.epoch);
    assert_eq!(agent.fetch(&command).await.unwrap(), scene.content);
    agent.answer(&command, done(3)).await;
    let mut operator = scene.world.operator(&running).await;
    assert_eq!(operator.settled().await.state(), v1::JobState::Succeeded);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_points_and_collections_are_named() {
    let mut scene = scene().await;
    let unknown = order("20000101t000000z-00000000", false);
    let plan = scene.operator.0.plan_restore(unknown.clone()).await;
    assert_eq!(
        plan.unwrap().into_inner().blockers[0].code,
        "point-not-found"
    );
    let refused = scene.operator.0.run_restore(unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    let mut request = order(&scene.point, false);
    request.collections = vec![v1::CollectionMapping {
        source: "nope".into(),
        target: String::new(),
    }];
    let plan = scene.operator.0.plan_restore(request).await.unwrap();
    let blocker = &plan.into_inner().blockers[0];
    assert_eq!(blocker.code, "collection-not-found");
    assert!(blocker.message.ends_with("it holds: docs"), "{blocker:?}");
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_touched_if_the_source_is_not_whole() {
    let mut scene = scene().await;
    let packs = scene.world.dir.path().join("repo/packs");
    std::fs::remove_dir_all(packs).unwrap();
    let plan = scene.operator.0.plan_restore(order(&scene.point, true));
    let blockers = plan.await.unwrap().into_inner().blockers;
    assert_eq!(blockers[0].code, "repository-damaged", "{blockers:?}");
    assert!(blockers[0].message.contains("docs"), "{blockers:?}");
    let job = scene.operator.restore(order(&scene.point, true)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Failed);
    assert_eq!(ended.failure.unwrap().code, "repository-damaged");
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacing_step_is_not_begun_on_an_old_safety_capture() {
    let mut scene = scene().await;
    let _job = scene.operator.restore(order(&scene.point, true)).await;
    let _capture = scene.agent.command().await;
    scene.running.stop().await;

    let running = scene.world.start().await;
    let mut operator = scene.world.operator(&running).await;
    let job = operator.settled().await;
    assert_eq!(job.state(), v1::JobState::Failed, "{job:?}");
    let message = job.failure.unwrap().message;
    assert!(message.contains("nothing was restored"), "{message}");
    assert!(message.contains("--overwrite"), "{message}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_coordinator_restores_nothing() {
    let mut scene = scene().await;
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let claim = format!("repo/epochs/{:020}", scene.agent.epoch + 1);
    std::fs::write(scene.world.dir.path().join(claim), "{}").unwrap();
    let refused = scene.operator.0.run_restore(order(&scene.point, false));
    let refused = refused.await.unwrap_err();
    assert!(
        refused.message().contains("has taken over") || refused.message().contains("epoch"),
        "{refused}"
    );
    scene.running.stop().await;
}

/// Flips a bit of the chunk that stands first in the pack: which one that is, the pack's random salt decides.
fn flip_first_chunk(scene: &Scene) {
    let packs = scene.world.dir.path().join("repo/packs");
    for folder in std::fs::read_dir(packs).unwrap() {
        for pack in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = pack.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            // The header has 56 bytes.
            bytes[60] ^= 1;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_up_for_a_point_with_a_flipped_bit() {
    // Often it hits the recipe, which every plan reads; the content must be hit at least once.
    for _ in 0..20 {
        let mut scene = scene().await;
        flip_first_chunk(&scene);
        let job = scene.operator.restore(order(&scene.point, true)).await;
        let (ended, _) = job.end().await;
        assert_eq!(ended.state(), v1::JobState::Failed);
        let failure = ended.failure.unwrap();
        assert_eq!(failure.code, "repository-damaged", "{failure:?}");
        let shard = "collection docs, shard 0: ";
        assert!(failure.message.contains(shard), "{failure:?}");
        // Not even the safety capture was asked for.
        scene.running.stop().await;
        assert!(scene.agent.next().await.is_err());
        if failure
            .message
            .contains("1 chunks are missing or unreadable")
        {
            return;
        }
    }
    panic!("twenty times the recipe stood first");
}
