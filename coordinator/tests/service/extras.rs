//! Extras in recovery points: ordered before the captures, kept with them, read back by their own grant.

use crate::agent::{Agent, Files, files};
use crate::world::{Operator, Running, World};
use holdfast_archive::Manifest;
use holdfast_proto::v1;
use holdfast_proto::v1::command::Command;
use holdfast_proto::v1::command_result::Outcome;

fn dump() -> Files {
    files(&[("files/var/dump", &[7; 50_000]), ("listing.json", b"{}")])
}

fn name(command: &v1::Command) -> String {
    match command.command.as_ref().unwrap() {
        Command::CaptureExtra(extra) => format!("extra {}", extra.name),
        Command::CaptureShard(shard) => format!("shard of {}", shard.collection),
        Command::Cancel(cancel) => format!("cancel {}", cancel.command_id),
        other @ (Command::RestoreCollection(_) | Command::RestorePart(_)) => panic!("{other:?}"),
    }
}

fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failure(v1::Failure {
        code: code.into(),
        message: message.into(),
        retryable: false,
    })
}

async fn site(extras: &[&str]) -> (World, Running, Operator, Agent) {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let agent = Agent::join(&world, &running, "n1").await;
    agent.report_extras(extras).await;
    operator.sees("n1", &["docs"]).await;
    (world, running, operator, agent)
}

async fn manifest(operator: &mut Operator, id: &str) -> Manifest {
    let request = v1::ShowBackupRequest {
        recovery_point: id.into(),
        ..Default::default()
    };
    let shown = operator.0.show_backup(request).await.unwrap().into_inner();
    Manifest::from_json(shown.manifest_json.as_bytes()).unwrap()
}

/// A backup with the extra `redis` and the collection `docs`.
async fn captured(operator: &mut Operator, agent: &mut Agent) -> v1::BackupSummary {
    let job = operator.backup().await;
    let command = agent.command().await;
    assert_eq!(name(&command), "extra redis");
    agent.capture_extra(&command, &dump()).await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"shard")])).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    ended.backup.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extra_is_captured_first_and_told_of() {
    let (_world, running, mut operator, mut agent) = site(&["redis"]).await;
    let plan = operator.0.plan_backup(v1::CreateBackupRequest {
        method: v1::CaptureMethod::Auto.into(),
        ..Default::default()
    });
    let plan = plan.await.unwrap().into_inner();
    assert_eq!(
        (plan.extras.len(), plan.extras[0].name.as_str()),
        (1, "redis")
    );
    let summary = captured(&mut operator, &mut agent).await;
    assert_eq!(summary.logical_bytes, 50_005);
    let told = v1::ExtraSummary {
        node: "n1".into(),
        name: "redis".into(),
        missing: String::new(),
    };
    assert_eq!(summary.extras, [told]);
    let manifest = manifest(&mut operator, &summary.recovery_point).await;
    assert_eq!((manifest.format, manifest.recipes().count()), (2, 2));
    let extra = manifest.nodes[0].extras[0].captured.as_ref().unwrap();
    // Counted here, whatever the agent says.
    assert_eq!((extra.files, extra.bytes), (1, 50_000));
    assert_eq!(extra.warnings, ["a socket was left out"]);
    let plan = operator.0.plan_restore(v1::RestoreRequest {
        recovery_point: summary.recovery_point,
        overwrite: true,
        ..Default::default()
    });
    let plan = plan.await.unwrap().into_inner();
    let told = plan.warnings.iter().any(|w| w.contains("(redis of n1)"));
    assert!(told, "{:?}", plan.warnings);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_required_one_there_is_no_point() {
    let (_world, running, mut operator, mut agent) = site(&["redis!"]).await;
    let job = operator.backup().await;
    let command = agent.command().await;
    agent
        .answer(&command, failed("extra-failed", "no room"))
        .await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Failed);
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "extra-failed");
    assert_eq!(
        failure.message,
        "required extra redis of node n1, without which there is no recovery point: no room"
    );
    assert!(operator.points().await.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_any_other_the_point_says_why_it_lacks_it() {
    let (_world, running, mut operator, mut agent) = site(&["qdrant", "redis"]).await;
    let job = operator.backup().await;
    let command = agent.command().await;
    assert_eq!(name(&command), "extra qdrant");
    agent
        .answer(&command, failed("extra-failed", "no such file"))
        .await;
    let command = agent.command().await;
    // Committed, and the answer never came: what is committed is captured.
    let delivered = agent.deliver_extra(&command, &dump()).await;
    agent.commit(delivered).await.unwrap();
    agent
        .answer(&command, failed("interrupted", "stopped"))
        .await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"shard")])).await;
    let (ended, notes) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let warned = "the recovery point will lack extra qdrant of node n1: no such file";
    assert!(notes.iter().any(|note| note == warned), "{notes:?}");
    let summary = ended.backup.unwrap();
    let told: Vec<_> = summary
        .extras
        .iter()
        .map(|e| (e.name.as_str(), e.missing.as_str()))
        .collect();
    assert_eq!(told, [("qdrant", "no such file"), ("redis", "")]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_is_not_asked_and_the_point_says_so() {
    let (_world, running, mut operator, mut agent) = site(&[]).await;
    agent.report(&["docs"]).await;
    let job = operator.backup().await;
    let command = agent.command().await;
    assert_eq!(name(&command), "shard of docs");
    agent.capture(&command, &files(&[("a", b"shard")])).await;
    let (ended, _) = job.end().await;
    let id = ended.backup.unwrap().recovery_point;
    let manifest = manifest(&mut operator, &id).await;
    assert_eq!(manifest.format, 1);
    let why = manifest.nodes[0].extras_unknown.as_deref().unwrap();
    assert!(why.contains("older than this coordinator"), "{why}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_extra_is_refused_at_the_commit() {
    let (_world, running, mut operator, mut agent) = site(&["redis"]).await;
    let job = operator.backup().await;
    let command = agent.command().await;
    let odd = agent
        .deliver_extra(&command, &files(&[("etc/passwd", b"x")]))
        .await;
    let refused = agent.commit(odd).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    let mut garbled = agent.deliver_extra(&command, &dump()).await;
    garbled.header.extra_json = "{".into();
    let refused = agent.commit(garbled).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    agent
        .answer(&command, failed("extra-failed", "refused"))
        .await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"shard")])).await;
    assert_eq!(job.end().await.0.state(), v1::JobState::Succeeded);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_a_restart_with_what_is_committed() {
    let (world, running, mut operator, mut agent) = site(&["redis"]).await;
    let mut job = operator.backup().await;
    let id = job.id().await;
    let extra = agent.command().await;
    agent.capture_extra(&extra, &dump()).await;
    let capture = agent.command().await;
    drop((job, agent, operator));
    running.stop().await;
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report_extras(&["redis"]).await;
    let again = agent.command().await;
    assert_eq!(
        again.command_id, capture.command_id,
        "the extra is not asked for again"
    );
    agent.capture(&again, &files(&[("a", b"shard")])).await;
    let ended = operator.settled().await;
    assert_eq!(
        (ended.job_id, ended.state),
        (id, v1::JobState::Succeeded.into())
    );
    let manifest = manifest(&mut operator, &ended.recovery_point).await;
    assert_eq!(manifest.recipes().count(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_collected_meanwhile_is_captured_again() {
    let (world, running, mut operator, mut agent) = site(&["redis"]).await;
    let job = operator.backup().await;
    let extra = agent.command().await;
    agent.capture_extra(&extra, &dump()).await;
    let capture = agent.command().await;
    drop((job, agent, operator));
    running.stop().await;
    world.collect_garbage(2).await;
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report_extras(&["redis"]).await;
    let again = agent.command().await;
    assert_eq!(again.command_id, capture.command_id);
    agent.capture(&again, &files(&[("a", b"shard")])).await;
    let anew = agent.command().await;
    assert_eq!(name(&anew), "extra redis");
    assert_ne!(
        anew.command_id, extra.command_id,
        "its agent has done the former"
    );
    agent.capture_extra(&anew, &dump()).await;
    let ended = operator.settled().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_an_extra_to_its_holder_alone() {
    let (world, running, mut operator, mut agent) = site(&["redis"]).await;
    let summary = captured(&mut operator, &mut agent).await;
    let request = |name: &str| v1::OpenExportRequest {
        recovery_point: summary.recovery_point.clone(),
        extra_node: "n1".into(),
        extra_name: name.into(),
        ..Default::default()
    };
    let refused = operator.0.open_export(request("other")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused}");
    let opened = operator.0.open_export(request("redis")).await;
    let opened = opened.unwrap().into_inner();
    assert_eq!(opened.job_id, "", "it makes no job");
    let read = v1::Command {
        command_id: opened.command_id.clone(),
        ..Default::default()
    };
    // Another identity gets nothing, whatever number it knows.
    assert!(agent.fetch(&read).await.is_err());
    agent.channel = world.channel(&running, "op").await;
    assert_eq!(agent.fetch(&read).await.unwrap(), dump());
    running.stop().await;
}
