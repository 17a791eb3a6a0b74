//! A restore into a cluster: which agent is told what, in which order, and what follows from each failure.

use crate::agent::{Agent, files};
use crate::cluster::{Cluster, Placed, failure};
use holdfast_proto::v1;
use holdfast_proto::v1::command::Command;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::restore_part::Part;

const PLACED: Placed<'_> = &[("docs", &[2])];

/// A cluster without the collection that its recovery point holds.
async fn emptied() -> (Cluster, String) {
    let mut cluster = Cluster::start("", PLACED).await;
    let job = cluster.operator.backup().await;
    let capture = cluster.agents[1].command().await;
    let content = files(&[("x", b"content")]);
    cluster.agents[1].capture(&capture, &content).await;
    let (ended, _) = job.end().await;
    let point = ended.backup.expect("a recovery point").recovery_point;
    cluster.report(&[]).await;
    for node in ["n1", "n2", "n3"] {
        cluster.operator.sees(node, &[]).await;
    }
    (cluster, point)
}

fn order(point: &str) -> v1::RestoreRequest {
    v1::RestoreRequest {
        recovery_point: point.into(),
        ..Default::default()
    }
}

/// The next command of an agent, which must be a part.
async fn part(agent: &mut Agent) -> (v1::Command, v1::RestorePart) {
    let command = agent.command().await;
    let part = if let Some(Command::RestorePart(part)) = &command.command {
        Some(part.clone())
    } else {
        None
    };
    let part = part.expect("a part of a restore");
    (command, part)
}

fn done(points: u64) -> Outcome {
    Outcome::Restore(v1::RestoreDone {
        points,
        collection_uuid: "made".into(),
        ..Default::default()
    })
}

fn is_upload(part: &v1::RestorePart) -> bool {
    part.part == Some(Part::Upload(v1::UploadShard { shard_id: 0 }))
}

/// The collection is created by n1 and seen by all.
async fn prepared(cluster: &mut Cluster) {
    let (command, part) = part(&mut cluster.agents[0]).await;
    assert_eq!(part.part, Some(Part::Prepare(v1::PrepareTarget {})));
    assert_eq!(part.collection_uuid, "");
    assert!(!part.collection.expect("a collection").with_aliases);
    cluster.agents[0].answer(&command, done(0)).await;
    cluster.report(PLACED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_prepares_one_uploads_all_count_and_the_first_points_aliases() {
    let (mut cluster, point) = emptied().await;
    let job = cluster.operator.restore(order(&point)).await;
    prepared(&mut cluster).await;
    // The one that has the shard; it is told which collection is meant.
    let (command, upload) = part(&mut cluster.agents[1]).await;
    assert!(
        is_upload(&upload) && upload.collection_uuid == "made",
        "{upload:?}"
    );
    assert!(!cluster.agents[0].has_command() && !cluster.agents[2].has_command());
    // Its server was away for a moment: it is told again, by another name.
    cluster.agents[1]
        .answer(&command, failure("qdrant-unreachable"))
        .await;
    let (again, upload) = part(&mut cluster.agents[1]).await;
    assert!(is_upload(&upload) && again.command_id != command.command_id);
    cluster.agents[1].answer(&again, done(0)).await;
    let [n1, n2, n3] = &mut cluster.agents;
    let (second, finish) = part(n2).await;
    let (third, other) = part(n3).await;
    for finish in [finish, other] {
        assert_eq!(finish.part, Some(Part::Finish(v1::FinishTarget {})));
        assert!(!finish.collection.expect("a collection").with_aliases);
    }
    assert!(!n1.has_command(), "aliases come last");
    n2.answer(&second, done(3)).await;
    n3.answer(&third, done(3)).await;
    let (first, last) = part(n1).await;
    assert!(last.collection.expect("a collection").with_aliases);
    n1.answer(&first, done(3)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_differ_are_no_success() {
    let (mut cluster, point) = emptied().await;
    let job = cluster.operator.restore(order(&point)).await;
    prepared(&mut cluster).await;
    let [n1, n2, n3] = &mut cluster.agents;
    let (command, _) = part(n2).await;
    n2.answer(&command, done(0)).await;
    let (second, _) = part(n2).await;
    let (third, _) = part(n3).await;
    n2.answer(&second, done(3)).await;
    n3.answer(&third, done(2)).await;
    let (ended, _) = job.end().await;
    let failure = ended.failure.expect("a failure");
    assert_eq!(failure.code, "proof-failed", "{failure:?}");
    assert!(
        failure.message.contains("its replicas differ"),
        "{failure:?}"
    );
    assert!(!n1.has_command(), "aliases were pointed at it");
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_is_deleted_again_or_each_shard_is_told() {
    for deleted in [true, false] {
        let (mut cluster, point) = emptied().await;
        let job = cluster.operator.restore(order(&point)).await;
        prepared(&mut cluster).await;
        let [n1, n2, _] = &mut cluster.agents;
        let (command, _) = part(n2).await;
        n2.answer(&command, failure("repository-damaged")).await;
        let (command, discard) = part(n1).await;
        assert_eq!(discard.part, Some(Part::Discard(v1::DiscardTarget {})));
        assert_eq!(discard.collection_uuid, "made");
        let answer = if deleted {
            done(0)
        } else {
            failure("qdrant-error")
        };
        n1.answer(&command, answer).await;
        let (ended, _) = job.end().await;
        let told = ended.failure.expect("a failure").message;
        let want = match deleted {
            true => "docs did not exist before and is deleted again",
            false => {
                "shard 0 of docs: nothing or the restored data, since its upload was interrupted; docs could not be deleted"
            }
        };
        assert!(told.contains(want), "{told}");
        assert!(told.contains("to go on: holdfast restore run"), "{told}");
        cluster.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_nothing_is_done_twice() {
    let (mut cluster, point) = emptied().await;
    drop(cluster.operator.restore(order(&point)).await);
    prepared(&mut cluster).await;
    let (before, _) = part(&mut cluster.agents[1]).await;
    let Cluster { world, running, .. } = cluster;
    running.stop().await;
    let running = world.start().await;
    let agents = [
        Agent::join(&world, &running, "n1").await,
        Agent::join(&world, &running, "n2").await,
        Agent::join(&world, &running, "n3").await,
    ];
    let mut cluster = Cluster {
        agents,
        operator: world.operator(&running).await,
        running,
        world,
    };
    cluster.report(PLACED).await;
    // No second prepare; the upload has the name that it had.
    let (again, upload) = part(&mut cluster.agents[1]).await;
    assert!(is_upload(&upload) && upload.collection_uuid == "made");
    assert_eq!(again.command_id, before.command_id);
    assert!(!cluster.agents[0].has_command());
    cluster.running.stop().await;
}
