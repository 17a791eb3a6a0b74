//! Tests of following a job.

use super::{Finished, Follower};
use crate::failure::{Action, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use futures::stream;
use holdfast_proto::v1;
use holdfast_proto::v1::job_event::Event;
use holdfast_service::exit::ExitCode;

fn event(event: Event) -> Result<v1::JobEvent, tonic::Status> {
    Ok(v1::JobEvent {
        job_id: "backup-1".into(),
        at_us: 1,
        event: Some(event),
    })
}

fn started() -> Result<v1::JobEvent, tonic::Status> {
    event(Event::Started(v1::JobStarted {
        kind: "backup".into(),
        plan: vec!["capture products/0 on n1".into()],
    }))
}

fn ended(state: v1::JobState, failure: Option<v1::Failure>) -> Result<v1::JobEvent, tonic::Status> {
    event(Event::Ended(v1::JobEnded {
        state: state.into(),
        failure,
        ..Default::default()
    }))
}

async fn follow(
    events: Vec<Result<v1::JobEvent, tonic::Status>>,
    interrupt: bool,
) -> Outcome<Finished> {
    follow_known("", events, interrupt).await
}

/// As whoever knows the job's id before its first event.
async fn follow_known(
    job: &str,
    events: Vec<Result<v1::JobEvent, tonic::Status>>,
    interrupt: bool,
) -> Outcome<Finished> {
    let mut progress = Progress::stderr(true);
    let follower = Follower {
        action: Action::Backup,
        job: job.to_owned(),
        progress: &mut progress,
        output: Output::Text,
    };
    // A job that is not over keeps its stream open.
    let events = stream::iter(events);
    let stop = async move {
        if !interrupt {
            std::future::pending::<()>().await;
        }
        // The events that are there are read first: give way until they have been.
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    };
    if interrupt {
        let open = futures::StreamExt::chain(events, stream::pending());
        follower.run(async { Ok(open) }, stop).await
    } else {
        follower.run(async { Ok(events) }, stop).await
    }
}

#[tokio::test]
async fn success_brings_the_last_event() {
    let finished = follow(vec![started(), ended(v1::JobState::Succeeded, None)], false).await;
    assert_eq!(finished.expect("success").job, "backup-1");
}

#[tokio::test]
async fn a_failed_job_fails_with_its_code() {
    let failure = v1::Failure {
        code: "disk-full".into(),
        message: "the repository's disk is full: 3 MiB free, 32 MiB needed".into(),
        retryable: false,
    };
    let events = vec![started(), ended(v1::JobState::Failed, Some(failure))];
    let failure = follow(events, false).await.expect_err("failed");
    assert_eq!(failure.exit(), ExitCode::Storage);
    insta::assert_snapshot!(failure.render(), @r"
error: the repository's disk is full: 3 MiB free, 32 MiB needed
  at risk  no new recovery point was committed; earlier ones and the data in Qdrant are untouched
  to do    free space on the disk that is full, then try again
");
}

#[tokio::test]
async fn a_cancelled_job_is_a_failed_job() {
    let events = vec![started(), ended(v1::JobState::Cancelled, None)];
    let failure = follow(events, false).await.expect_err("cancelled");
    assert_eq!(failure.exit(), ExitCode::JobFailed);
}

#[tokio::test]
async fn ctrl_c_says_that_the_job_goes_on() {
    let failure = follow(vec![started()], true)
        .await
        .expect_err("interrupted");
    assert_eq!(failure.exit(), ExitCode::Interrupted);
    insta::assert_snapshot!(failure.render(), @r"
error: interrupted: this program has stopped watching
  at risk  nothing: the backup goes on in the coordinator as job backup-1
  to do    go on watching: holdfast jobs watch backup-1
           cancel: holdfast jobs cancel backup-1
");
}

#[tokio::test]
async fn ctrl_c_before_the_job_has_a_name_says_so() {
    let failure = follow(vec![], true).await.expect_err("interrupted");
    assert_eq!(failure.exit(), ExitCode::Interrupted);
    insta::assert_snapshot!(failure.render(), @r"
error: interrupted before the coordinator had named the backup job
  at risk  nothing; but the job may have started, and then goes on in the coordinator
  to do    look: holdfast jobs list
");
}

#[tokio::test]
async fn a_job_that_is_known_is_named_before_its_first_event() {
    let failure = follow_known("backup-1", vec![], true)
        .await
        .expect_err("interrupted");
    assert_eq!(failure.exit(), ExitCode::Interrupted);
    assert!(
        failure
            .render()
            .contains("goes on in the coordinator as job backup-1")
    );
    // It was forgotten between the two calls.
    let gone = tonic::Status::not_found("job backup-1 is not known");
    let failure = follow_known("backup-1", vec![Err(gone)], false)
        .await
        .expect_err("gone");
    assert_eq!(failure.exit(), ExitCode::NotFound);
}

#[tokio::test]
async fn a_stream_that_breaks_is_not_a_failed_job() {
    for last in [
        None,
        Some(Err(tonic::Status::unavailable("connection reset"))),
    ] {
        let events = std::iter::once(started()).chain(last).collect();
        let failure = follow(events, false).await.expect_err("broken");
        assert_eq!(failure.exit(), ExitCode::Coordinator);
    }
}
