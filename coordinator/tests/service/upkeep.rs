//! Upkeep and exports as jobs: what is listed of them, how they end, and that they hold nothing up.

use crate::agent::{Agent, files};
use crate::jobs::Viewer;
use crate::world::{Operator, Running, World};
use holdfast_coordinator::core::Core;
use holdfast_coordinator::job::JobState;
use holdfast_coordinator::{retention, verify};
use holdfast_proto::v1;
use holdfast_proto::v1::restore_client::RestoreClient;
use holdfast_service::clock::SystemClock;
use std::sync::Arc;

/// One recovery point.
struct Scene {
    world: World,
    running: Running,
    core: Arc<Core>,
    operator: Operator,
    viewer: Viewer,
    agent: Agent,
    point: String,
}

async fn scene() -> Scene {
    let world =
        World::with("[retention]\nevery_hours = 0\ngrace_hours = 0\n[verify]\nevery_hours = 0\n");
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    drop(
        core.shutdown
            .clone()
            .spawn(verify::run(core.clone(), core.verify)),
    );
    let mut operator = world.operator(&running).await;
    let viewer = Viewer::new(&world, &running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let job = operator.backup().await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", &noise())])).await;
    let point = job.end().await.0.backup.unwrap().recovery_point;
    Scene {
        world,
        running,
        core,
        operator,
        viewer,
        agent,
        point,
    }
}

/// So much that padding is little beside it.
fn noise() -> Vec<u8> {
    let mut state = 7_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..200_000).map(next).collect()
}

impl Scene {
    async fn export(&mut self) -> v1::OpenExportResponse {
        let request = v1::OpenExportRequest {
            recovery_point: self.point.clone(),
            collection: "docs".into(),
            ..Default::default()
        };
        let opened = self.operator.0.open_export(request).await;
        opened.unwrap().into_inner()
    }

    async fn restore(&self) -> RestoreClient<tonic::transport::Channel> {
        RestoreClient::new(self.world.channel(&self.running, "op").await)
    }

    async fn close(&self, ticket: &str, failure: Option<v1::Failure>) {
        let request = v1::CloseTicketRequest {
            ticket: ticket.into(),
            failure,
        };
        let closed = self.restore().await.close_ticket(request).await;
        closed.unwrap();
    }

    /// The job, once it has ended.
    async fn ended(&mut self, job: &str) -> v1::JobDetail {
        loop {
            let shown = self.viewer.show(job).await;
            if shown.job.as_ref().unwrap().state() != v1::JobState::Running {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Kinds of all jobs that are recorded, newest first.
    async fn kinds(&self) -> Vec<&'static str> {
        let jobs = self.core.book.list().await;
        jobs.iter().map(|job| job.kind()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_as_its_program_says() {
    let mut scene = scene().await;
    let whole = scene.export().await;
    let shown = scene.viewer.show(&whole.job_id).await;
    let summary = shown.job.unwrap();
    assert_eq!(
        (&*summary.kind, summary.state()),
        ("export", v1::JobState::Running)
    );
    assert_eq!(
        (&*summary.asked_by, &summary.recovery_point),
        ("operator op", &scene.point)
    );
    assert_eq!(shown.upkeep.unwrap().collection, "docs");
    // It holds nothing up.
    let job = scene.operator.backup().await;
    let command = scene.agent.command().await;
    scene
        .agent
        .capture(&command, &files(&[("a", b"more")]))
        .await;
    assert_eq!(job.end().await.0.state(), v1::JobState::Succeeded);

    scene.close(&whole.ticket, None).await;
    let done = scene.ended(&whole.job_id).await.job.unwrap();
    assert_eq!(
        (done.state(), &*done.result),
        (v1::JobState::Succeeded, "sent 0 B")
    );

    let broken = scene.export().await;
    let failure = v1::Failure {
        code: "disk-full".into(),
        message: "no space left".into(),
        retryable: false,
    };
    scene.close(&broken.ticket, Some(failure.clone())).await;
    let failed = scene.ended(&broken.job_id).await.job.unwrap();
    assert_eq!(
        (failed.state(), failed.failure),
        (v1::JobState::Failed, Some(failure))
    );
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_export_opens_nothing_any_more() {
    let mut scene = scene().await;
    let opened = scene.export().await;
    let recipe = || v1::FetchRecipeRequest {
        command_id: opened.command_id.clone(),
        epoch: opened.epoch,
        shard_id: 0,
    };
    let mut restore = scene.restore().await;
    restore.fetch_recipe(recipe()).await.unwrap();
    let request = v1::CancelJobRequest {
        job_id: "export".into(),
    };
    let cancelled = scene
        .operator
        .0
        .cancel_job(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(cancelled.job_id, opened.job_id);
    assert!(cancelled.cancelled);
    let ended = scene.ended(&opened.job_id).await.job.unwrap();
    assert_eq!(ended.state(), v1::JobState::Cancelled);
    assert_eq!(ended.failure.unwrap().code, "cancelled");
    restore.fetch_recipe(recipe()).await.unwrap_err();
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_that_ran_is_interrupted_by_a_restart_and_a_backup_goes_on() {
    let mut scene = scene().await;
    let opened = scene.export().await;
    let mut job = scene.operator.backup().await;
    let backup = job.id().await;
    let _command = scene.agent.command().await;
    let Scene {
        world,
        running,
        core,
        agent,
        ..
    } = scene;
    drop((core, agent));
    running.stop().await;
    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    let export = viewer.show(&opened.job_id).await.job.unwrap();
    assert_eq!(export.state(), v1::JobState::Interrupted);
    assert_eq!(export.failure.unwrap().code, "job-failed");
    let (ended, _) = viewer.watch(&opened.job_id).await.end().await;
    assert_eq!(ended.state(), v1::JobState::Interrupted);
    assert_eq!(ended.upkeep.unwrap().collection, "docs");
    let backup = viewer.show(&backup).await.job.unwrap();
    assert_eq!(backup.state(), v1::JobState::Running);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_of_its_own_accord_is_listed_only_if_it_did_something() {
    let mut scene = scene().await;
    retention::prune(&scene.core, None).await.unwrap();
    assert_eq!(scene.kinds().await, ["backup"]);
    retention::prune(&scene.core, Some("op")).await.unwrap();
    assert_eq!(scene.kinds().await, ["prune", "backup"]);
    let asked = scene.core.book.list().await.remove(0);
    assert_eq!(
        (asked.state, &*asked.asked_by),
        (JobState::Succeeded, "operator op")
    );
    assert_eq!(asked.upkeep().unwrap().found, ["there was nothing to do"]);

    let request = v1::DeleteBackupRequest {
        recovery_point: scene.point.clone(),
        reason: "test".into(),
        despite_floor: true,
        dry_run: false,
    };
    let channel = scene.world.channel(&scene.running, "op").await;
    let mut operator = v1::retention_client::RetentionClient::new(channel);
    operator.delete_backup(request).await.unwrap();
    retention::prune(&scene.core, None).await.unwrap();
    let by_itself = scene.core.book.list().await.remove(0);
    assert_eq!(
        (by_itself.kind(), &*by_itself.asked_by),
        ("prune", "schedule")
    );
    let found = &by_itself.upkeep().unwrap().found;
    assert_eq!(found[0], "recovery points deleted: 1");
    let shown = scene.viewer.show(by_itself.id.as_str()).await;
    let last = shown.log.last().unwrap();
    assert_eq!((&*last.text, last.warning), ("succeeded", false));
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_asked_for_waits_for_a_backup_and_ends() {
    let mut scene = scene().await;
    let mut backup = scene.operator.backup().await;
    let id = backup.id().await;
    let command = scene.agent.command().await;
    let check = scene.viewer.verify(100).await;
    let refused = scene.viewer.try_verify(0).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");
    scene
        .agent
        .capture(&command, &files(&[("a", b"more")]))
        .await;
    assert_eq!(backup.end().await.0.state(), v1::JobState::Succeeded);
    let (ended, notes) = check.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let summary = ended.upkeep.unwrap();
    assert_eq!(Some(summary.parts_done), summary.parts_total);
    assert!(
        summary.found[0].ends_with("packs read, everything"),
        "{summary:?}"
    );
    assert_eq!(notes[0], "verify begins, asked for by operator op");
    assert!(notes.contains(&format!("gives way to {id}")), "{notes:?}");
    let refused = scene.viewer.try_verify(101).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    scene.running.stop().await;
}
