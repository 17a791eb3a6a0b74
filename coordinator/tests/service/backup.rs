//! Backups from order to listing.

use crate::agent::{Agent, files};
use crate::world::World;
use holdfast_proto::v1;
use holdfast_proto::v1::command_result::Outcome;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_listed_and_the_next_one_sends_only_what_is_new() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;

    let first = operator.backup().await;
    let command = agent.command().await;
    assert_eq!(command.epoch, agent.epoch);
    let content = files(&[("a", &[1; 70_000]), ("b", b"small")]);
    assert_eq!(agent.capture(&command, &content).await, 2);
    let (ended, notes) = first.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let summary = ended.backup.unwrap();
    assert_eq!(summary.logical_bytes, 70_005);
    assert_eq!(summary.points, Some(3));
    assert!(summary.sent_bytes > 0 && summary.stored_bytes > 0);
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("captured docs/0 on n1"))
    );

    let second = operator.backup().await;
    let command = agent.command().await;
    let content = files(&[("a", &[1; 70_000]), ("b", b"other")]);
    assert_eq!(agent.capture(&command, &content).await, 1);
    let (ended, _) = second.end().await;
    let newest = ended.backup.unwrap();
    assert!(newest.sent_bytes < 100, "{newest:?}");
    assert_eq!(
        operator.points().await,
        [
            newest.recovery_point.clone(),
            summary.recovery_point.clone()
        ]
    );

    let shown = v1::ShowBackupRequest {
        recovery_point: summary.recovery_point,
        from_copy: String::new(),
    };
    let shown = operator.0.show_backup(shown).await.unwrap().into_inner();
    let manifest: serde_json::Value = serde_json::from_str(&shown.manifest_json).unwrap();
    assert_eq!(manifest["note"], "a note");
    assert_eq!(manifest["collections"][0]["shards"][0]["next_operation"], 7);
    let status = operator.status().await;
    assert_eq!(status.newest_recovery_point, newest.recovery_point);
    assert_eq!(status.recovery_points, 2);
    assert_eq!(status.warnings, [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_capture_fails_the_job_and_leaves_nothing_listed() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["books", "docs"]).await;
    operator.sees("n1", &["books", "docs"]).await;

    let job = operator.backup().await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"x")])).await;
    let command = agent.command().await;
    let failure = v1::Failure {
        code: "snapshot-truncated".into(),
        message: "the stream ended early".into(),
        retryable: true,
    };
    agent.answer(&command, Outcome::Failure(failure)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Failed);
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "snapshot-truncated");
    assert_eq!(
        failure.message,
        "capture of docs/0 on n1: the stream ended early"
    );
    assert!(failure.retryable);
    assert!(operator.points().await.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_can_be_cancelled_and_only_one_runs() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;

    let mut job = operator.backup().await;
    let id = job.id().await;
    let capture = agent.command().await;
    let request = v1::CreateBackupRequest {
        method: v1::CaptureMethod::Auto.into(),
        ..Default::default()
    };
    let refused = operator.0.create_backup(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted);
    assert!(refused.message().contains(&id), "{refused}");

    let cancel = |job_id: &str| v1::CancelJobRequest {
        job_id: job_id.into(),
    };
    let done = operator.0.cancel_job(cancel(&id)).await.unwrap();
    assert!(done.into_inner().cancelled);
    let order = agent.command().await;
    assert!(
        matches!(&order.command, Some(v1::command::Command::Cancel(c)) if c.command_id == capture.command_id)
    );
    agent
        .answer(&order, Outcome::Cancelled(v1::Cancelled {}))
        .await;
    let failure = v1::Failure {
        code: "cancelled".into(),
        message: "stopped".into(),
        retryable: false,
    };
    agent.answer(&capture, Outcome::Failure(failure)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Cancelled);
    let again = operator.0.cancel_job(cancel(&id)).await.unwrap();
    assert!(!again.into_inner().cancelled);
    assert!(operator.0.cancel_job(cancel("backup-x")).await.is_err());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stays_away_fails_the_job() {
    let world = World::with("[limits]\nagent_grace_secs = 0\n");
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let job = operator.backup().await;
    let _capture = agent.command().await;
    drop(agent);
    let (ended, _) = job.end().await;
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "node-not-found");
    assert!(failure.message.contains("has been away"), "{failure:?}");
    running.stop().await;
}
