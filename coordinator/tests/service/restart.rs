//! The coordinator ends in the middle of a backup and comes back.

use crate::agent::{Agent, files, hello};
use crate::world::World;
use holdfast_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_on_and_keeps_what_is_committed() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["books", "docs"]).await;
    operator.sees("n1", &["books", "docs"]).await;
    let _job = operator.backup().await;
    let books = agent.command().await;
    agent.capture(&books, &files(&[("a", b"books")])).await;
    // Chunks of the second capture are there, its commit is not.
    let docs = agent.command().await;
    let content = files(&[("a", b"docs")]);
    agent.deliver(&docs, &content).await;
    running.stop().await;

    let running = world.start().await;
    let channel = world.channel(&running, "n1").await;
    let hello = v1::Hello {
        open_commands: vec![docs.command_id.clone()],
        ..hello("n1")
    };
    let mut agent = Agent::with(channel, hello).await.unwrap();
    let again = agent.command().await;
    assert_eq!(again.command_id, docs.command_id);
    assert!(again.epoch > docs.epoch);
    agent.capture(&again, &content).await;
    let mut operator = world.operator(&running).await;
    let job = operator.settled().await;
    assert_eq!(job.state(), v1::JobState::Succeeded, "{job:?}");
    assert_eq!(operator.points().await, [job.recovery_point]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_counts() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let _job = operator.backup().await;
    let command = agent.command().await;
    let delivered = agent.deliver(&command, &files(&[("a", b"docs")])).await;
    agent.commit(delivered).await.unwrap();
    // The agent never says that it is done.
    running.stop().await;

    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let job = operator.settled().await;
    assert_eq!(job.state(), v1::JobState::Succeeded, "{job:?}");
    // The agent still believes it has to do it, and is told otherwise.
    let channel = world.channel(&running, "n1").await;
    let hello = v1::Hello {
        open_commands: vec![command.command_id.clone()],
        ..hello("n1")
    };
    let mut agent = Agent::with(channel, hello).await.unwrap();
    let order = agent.command().await;
    assert!(
        matches!(order.command, Some(v1::command::Command::Cancel(c)) if c.command_id == command.command_id)
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_a_cache() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let job = operator.backup().await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"docs")])).await;
    let (ended, _) = job.end().await;
    let point = ended.backup.unwrap().recovery_point;
    running.stop().await;

    let catalog = world.config.catalog_path();
    for spoil in [None, Some("garbage")] {
        std::fs::remove_file(&catalog).unwrap();
        if let Some(content) = spoil {
            std::fs::write(&catalog, content).unwrap();
        }
        let fault = world.refused_start().await;
        assert!(fault.message.contains("rebuild"), "{fault}");
        assert_eq!(fault.known_code().exit_code().code(), 7);
        world.rebuild().await;
        let running = world.start().await;
        let mut operator = world.operator(&running).await;
        assert_eq!(operator.points().await, std::slice::from_ref(&point));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stays_cancelled() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let mut job = operator.backup().await;
    let job_id = job.id().await;
    let _unanswered = agent.command().await;
    let cancelled = operator.0.cancel_job(v1::CancelJobRequest { job_id }).await;
    assert!(cancelled.unwrap().into_inner().cancelled);
    // The agent has not said that it stopped, so the job is not over yet.
    running.stop().await;

    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let job = operator.settled().await;
    assert_eq!(job.state(), v1::JobState::Cancelled, "{job:?}");
    assert!(operator.points().await.is_empty());
    running.stop().await;
}

/// While the coordinator is away, another one takes what the job has captured for garbage.
async fn captured_and_collected(runs: u64) -> (usize, v1::JobSummary) {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["books", "docs"]).await;
    operator.sees("n1", &["books", "docs"]).await;
    let _job = operator.backup().await;
    let books = agent.command().await;
    let content = files(&[("a", b"books")]);
    agent.capture(&books, &content).await;
    let docs = agent.command().await;
    running.stop().await;
    world.collect_garbage(runs).await;

    let running = world.start().await;
    let channel = world.channel(&running, "n1").await;
    let hello = v1::Hello {
        open_commands: vec![docs.command_id.clone()],
        ..hello("n1")
    };
    let mut agent = Agent::with(channel, hello).await.unwrap();
    let again = agent.command().await;
    assert_eq!(again.command_id, docs.command_id);
    agent.capture(&again, &files(&[("a", b"docs")])).await;
    let mut operator = world.operator(&running).await;
    let mut repeated = 0;
    let job = loop {
        tokio::select! {
            command = agent.command() => {
                assert_ne!(command.command_id, books.command_id, "that one is done");
                agent.capture(&command, &content).await;
                repeated += 1;
            }
            job = operator.settled() => break job,
        }
    };
    running.stop().await;
    (repeated, job)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_doomed_meanwhile_is_copied() {
    let (repeated, job) = captured_and_collected(1).await;
    assert_eq!(job.state(), v1::JobState::Succeeded, "{job:?}");
    assert_eq!(repeated, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_meanwhile_is_captured_again() {
    let (repeated, job) = captured_and_collected(2).await;
    assert_eq!(job.state(), v1::JobState::Succeeded, "{job:?}");
    assert_eq!(repeated, 1);
}
