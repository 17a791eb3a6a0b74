//! One job in full, its log across restarts, and following it.

use crate::agent::{Agent, files, hello};
use crate::cluster::{Cluster, failure};
use crate::world::{Job, Running, World};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::jobs_client::JobsClient;
use tonic::Code;
use tonic::transport::Channel;

pub(crate) struct Viewer(JobsClient<Channel>);

impl Viewer {
    pub(crate) async fn new(world: &World, running: &Running) -> Self {
        Self(JobsClient::new(world.channel(running, "op").await))
    }

    pub(crate) async fn show(&mut self, job_id: &str) -> v1::JobDetail {
        let request = v1::ShowJobRequest {
            job_id: job_id.into(),
        };
        self.0.show_job(request).await.unwrap().into_inner()
    }

    pub(crate) async fn watch(&mut self, job_id: &str) -> Job {
        let request = v1::WatchJobRequest {
            job_id: job_id.into(),
        };
        Job::of(self.0.watch_job(request).await.unwrap().into_inner())
    }

    pub(crate) async fn try_verify(&mut self, percent: u32) -> Result<Job, tonic::Status> {
        let request = v1::VerifyRepositoryRequest { percent };
        let answer = self.0.verify_repository(request).await?;
        Ok(Job::of(answer.into_inner()))
    }

    pub(crate) async fn verify(&mut self, percent: u32) -> Job {
        self.try_verify(percent).await.unwrap()
    }
}

pub(crate) fn steps(detail: &v1::JobDetail) -> Vec<String> {
    let step = |step: &v1::JobStep| {
        let (action, state) = (step.action().as_str_name(), step.state().as_str_name());
        let shard = step.shard_id.map_or("all".into(), |id| id.to_string());
        format!(
            "{} {} {}/{shard} {}",
            &action["STEP_ACTION_".len()..],
            step.node,
            step.collection,
            &state["STEP_STATE_".len()..]
        )
    };
    detail.steps.iter().map(step).collect()
}

/// The log without its times, which only must not go back.
fn log(detail: &v1::JobDetail) -> Vec<String> {
    let times: Vec<i64> = detail.log.iter().map(|line| line.at_us).collect();
    assert!(times.is_sorted(), "{times:?}");
    let line = |line: &v1::JobLogLine| {
        let mark = if line.warning { "! " } else { "" };
        format!("{mark}{}", line.text)
    };
    detail.log.iter().map(line).collect()
}

async fn progressed(agent: &Agent, command: &v1::Command, done: u64, total: u64) {
    let progress = v1::Progress {
        stage: "reading".into(),
        bytes_done: done,
        bytes_total: total,
        bytes_sent: done / 2,
        slowed: String::new(),
    };
    let progress = v1::CommandProgress {
        command_id: command.command_id.clone(),
        progress: Some(progress),
    };
    agent.say(Message::Progress(progress)).await;
}

/// A backup with one of its two captures done, and the other under way.
struct HalfWay {
    id: String,
    agent: Agent,
    docs: v1::Command,
    shown: v1::JobDetail,
}

async fn half_way(world: &World, running: &Running, viewer: &mut Viewer) -> HalfWay {
    let mut operator = world.operator(running).await;
    let mut agent = Agent::join(world, running, "n1").await;
    agent.report(&["books", "docs"]).await;
    operator.sees("n1", &["books", "docs"]).await;
    let mut job = operator.backup().await;
    let id = job.id().await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"books")])).await;
    let docs = agent.command().await;
    progressed(&agent, &docs, 400, 1000).await;
    let shown = loop {
        let shown = viewer.show(&id).await;
        if shown.steps[1].bytes_done > 0 {
            break shown;
        }
        tokio::task::yield_now().await;
    };
    HalfWay {
        id,
        agent,
        docs,
        shown,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_shown_while_it_runs() {
    let world = World::new();
    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    let HalfWay { id, agent, .. } = half_way(&world, &running, &mut viewer).await;
    let shown = viewer.show(&id).await;
    assert_eq!(
        steps(&shown),
        ["CAPTURE n1 books/0 DONE", "CAPTURE n1 docs/0 RUNNING"]
    );
    let figures = &shown.steps[1];
    assert_eq!(figures.bytes_total, Some(1000));
    assert_eq!((figures.bytes_done, figures.bytes_sent), (400, 200));
    assert_eq!(figures.stage, "reading");
    let totals = shown.totals.unwrap();
    assert_eq!((totals.bytes_done, totals.bytes_total), (405, Some(1005)));
    let summary = shown.job.clone().unwrap();
    assert_eq!(
        (&*summary.kind, summary.state()),
        ("backup", v1::JobState::Running)
    );
    assert_eq!(summary.asked_by, "operator op");
    assert_eq!(shown.note, "a note");
    let told = log(&shown);
    assert_eq!(told[0], "backup begins, asked for by operator op");
    assert_eq!(told[1], "capture of books/0 on n1 begins");
    assert!(told[2].starts_with("captured books/0 on n1"), "{told:?}");
    assert_eq!(told[3..], ["capture of docs/0 on n1 begins"]);
    drop(agent);
    loop {
        let shown = viewer.show(&id).await;
        if steps(&shown)[1] == "CAPTURE n1 docs/0 WAITING" {
            break;
        }
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_outlives_restarts() {
    let world = World::new();
    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    let before = half_way(&world, &running, &mut viewer).await;
    let (id, told) = (before.id, log(&before.shown));
    running.stop().await;
    drop(before.agent);

    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    let shown = viewer.show(&id).await;
    assert_eq!(steps(&shown)[0], "CAPTURE n1 books/0 DONE");
    let between = [
        "the coordinator stops; the job goes on when it is back",
        "! goes on after a restart of the coordinator",
    ];
    let known = [&told[..], &between.map(str::to_owned)].concat();
    assert_eq!(log(&shown)[..6], known);
    let watched = viewer.watch(&id).await;
    let channel = world.channel(&running, "n1").await;
    let hello = v1::Hello {
        open_commands: vec![before.docs.command_id],
        ..hello("n1")
    };
    let mut agent = Agent::with(channel, hello).await.unwrap();
    let again = agent.command().await;
    agent.capture(&again, &files(&[("a", b"docs")])).await;
    let (ended, notes) = watched.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    // Also what happened before the restart.
    assert_eq!(notes[..4], told);
    let shown = viewer.show(&id).await;
    assert_eq!(
        steps(&shown),
        ["CAPTURE n1 books/0 DONE", "CAPTURE n1 docs/0 DONE"]
    );
    assert_eq!(shown.totals.unwrap().bytes_done, 9);
    assert_eq!(shown.log_dropped, 0);
    let all = log(&shown);
    assert_eq!(all.last().unwrap(), "succeeded");
    running.stop().await;

    // Nothing of an ended job is in memory now.
    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    assert_eq!(log(&viewer.show(&id).await), all);
    let (again, notes) = viewer.watch(&id).await.end().await;
    assert_eq!(again, ended);
    assert_eq!(notes.len(), all.len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_and_who_cancelled_are_in_the_log() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut viewer = Viewer::new(&world, &running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let mut job = operator.backup().await;
    let id = job.id().await;
    let command = agent.command().await;
    let failure = v1::Failure {
        code: "disk-full".into(),
        message: "no space left".into(),
        retryable: false,
    };
    agent.answer(&command, Outcome::Failure(failure)).await;
    let (ended, _) = job.end().await;
    let shown = viewer.show(&id).await;
    assert_eq!(steps(&shown), ["CAPTURE n1 docs/0 FAILED"]);
    let why = "capture of docs/0 on n1: no space left";
    assert_eq!(shown.steps[0].failures[0].why, why);
    assert_eq!(shown.job.unwrap().failure, ended.failure);
    let last = format!("! failed: disk-full: {why}");
    assert_eq!(log(&viewer.show(&id).await).last(), Some(&last));
    assert_eq!(viewer.watch(&id).await.end().await.0, ended);

    let mut job = operator.backup().await;
    let id = job.id().await;
    let command = agent.command().await;
    let request = v1::CancelJobRequest { job_id: id.clone() };
    operator.0.cancel_job(request).await.unwrap();
    assert!(viewer.show(&id).await.cancel_requested);
    let _cancel = agent.command().await;
    let failure = v1::Failure {
        code: "cancelled".into(),
        message: "stopped".into(),
        retryable: false,
    };
    agent.answer(&command, Outcome::Failure(failure)).await;
    let _ended = job.end().await;
    let shown = viewer.show(&id).await;
    assert_eq!(steps(&shown), ["CAPTURE n1 docs/0 NOT_DONE"]);
    let log = log(&shown);
    assert!(
        log.contains(&"! operator op asks to cancel it".to_owned()),
        "{log:?}"
    );
    assert!(log.last().unwrap().starts_with("! cancelled: "), "{log:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_job_is_told_apart_from_a_wrong_id() {
    let world = World::new();
    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    for (job_id, code, message) in [
        ("backup-x", Code::NotFound, "job backup-x is not known"),
        ("", Code::InvalidArgument, ""),
        ("A job", Code::InvalidArgument, ""),
    ] {
        let show = v1::ShowJobRequest {
            job_id: job_id.into(),
        };
        let watch = v1::WatchJobRequest {
            job_id: job_id.into(),
        };
        let shown = viewer.0.show_job(show).await.unwrap_err();
        let watched = viewer.0.watch_job(watch).await.unwrap_err();
        for status in [shown, watched] {
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(message), "{status}");
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_goes_and_comes_back_is_in_the_log() {
    let world = World::new();
    let running = world.start().await;
    let mut viewer = Viewer::new(&world, &running).await;
    let HalfWay { id, agent, .. } = half_way(&world, &running, &mut viewer).await;
    drop(agent);
    let has = |shown: &v1::JobDetail, text: &str| log(shown).contains(&text.to_owned());
    while !has(
        &viewer.show(&id).await,
        "! the agent of node n1 is away: waiting for it",
    ) {
        tokio::task::yield_now().await;
    }
    let _agent = Agent::join(&world, &running, "n1").await;
    while !has(&viewer.show(&id).await, "the agent of node n1 is back") {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_was_moved_tells_where_it_failed() {
    let mut cluster = Cluster::start("", &[("docs", &[1, 2])]).await;
    let mut viewer = Viewer::new(&cluster.world, &cluster.running).await;
    let mut job = cluster.operator.backup().await;
    let id = job.id().await;
    let [n1, n2, _] = &mut cluster.agents;
    let first = n1.command().await;
    n1.answer(&first, failure("qdrant-error")).await;
    let again = n2.command().await;
    let shown = viewer.show(&id).await;
    assert_eq!(steps(&shown), ["CAPTURE n2 docs/0 RUNNING"]);
    let step = &shown.steps[0];
    assert_eq!(step.tries, 2);
    let told = (&*step.failures[0].node, &*step.failures[0].why);
    assert_eq!(told, ("n1", "capture of docs/0 on n1: it broke"));
    n2.capture(&again, &files(&[("x", b"1")])).await;
    let _ended = job.end().await;
    let shown = viewer.show(&id).await;
    assert_eq!(steps(&shown), ["CAPTURE n2 docs/0 DONE"]);
    let log = log(&shown);
    assert_eq!(log[2], "! capture of docs/0 on n1: it broke");
    assert!(log[3].starts_with("! capture docs/0 "), "{log:?}");
    assert_eq!(log[4], "capture of docs/0 on n2 begins");
    cluster.running.stop().await;
}
