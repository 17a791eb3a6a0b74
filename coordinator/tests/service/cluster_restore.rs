//! A restore into a cluster: which agent is told what, in which order, and what follows from each failure.

use crate::agent::{Agent, files};
use crate::cluster::{Cluster, Placed, failure};
use crate::jobs::{Viewer, steps};
use holdfast_proto::v1;
use holdfast_proto::v1::command::Command;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::restore_part::Part;

const PLACED: Placed<'_> = &[("docs", &[2])];

/// A cluster with a recovery point of its only collection.
async fn captured(more: &str) -> (Cluster, String) {
    let mut cluster = Cluster::start(more, PLACED).await;
    let job = cluster.operator.backup().await;
    capture(&mut cluster.agents[1]).await;
    let (ended, _) = job.end().await;
    let point = ended.backup.expect("a recovery point").recovery_point;
    (cluster, point)
}

async fn capture(agent: &mut Agent) {
    let command = agent.command().await;
    let content = files(&[("x", b"content")]);
    agent.capture(&command, &content).await;
}

/// A cluster without the collection that its recovery point holds.
async fn emptied() -> (Cluster, String) {
    let (mut cluster, point) = captured("").await;
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
async fn one_prepares_one_uploads_all_count_and_then_the_first_points_aliases() {
    let (mut cluster, point) = emptied().await;
    let mut job = cluster.operator.restore(order(&point)).await;
    let id = job.id().await;
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
    count(&mut cluster, [3, 3, 3]).await;
    let n1 = &mut cluster.agents[0];
    let (command, last) = part(n1).await;
    assert_eq!(last.part, Some(Part::Finish(v1::FinishTarget {})));
    assert!(last.collection.expect("a collection").with_aliases);
    n1.answer(&command, done(3)).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let mut viewer = Viewer::new(&cluster.world, &cluster.running).await;
    let shown = viewer.show(&id).await;
    assert_eq!(steps(&shown), ["UPLOAD n2 docs/0 DONE"]);
    assert_eq!(shown.steps[0].tries, 2);
    let (told, _) = viewer.watch(&id).await.end().await;
    assert_eq!(
        told.restore.unwrap().collections,
        ended.restore.unwrap().collections
    );
    cluster.running.stop().await;
}

/// Every node counts, without a look at aliases.
async fn count(cluster: &mut Cluster, counts: [u64; 3]) {
    for (agent, points) in cluster.agents.iter_mut().zip(counts) {
        let (command, finish) = part(agent).await;
        assert_eq!(finish.part, Some(Part::Finish(v1::FinishTarget {})));
        assert!(!finish.collection.expect("a collection").with_aliases);
        agent.answer(&command, done(points)).await;
    }
}

/// Whether the nodes differ, or agree on what was not captured: no alias is pointed at it, and what is printed replaces it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_proven_gets_no_alias() {
    for (counts, why) in [
        ([3, 3, 2], "its replicas differ"),
        ([2, 3, 3], "its replicas differ"),
        ([2, 2, 2], "has 2 points after the restore, 3 were captured"),
    ] {
        let (mut cluster, point) = emptied().await;
        let job = cluster.operator.restore(order(&point)).await;
        prepared(&mut cluster).await;
        let n2 = &mut cluster.agents[1];
        let (command, _) = part(n2).await;
        n2.answer(&command, done(0)).await;
        count(&mut cluster, counts).await;
        let (ended, _) = job.end().await;
        let failure = ended.failure.expect("a failure");
        assert_eq!(failure.code, "proof-failed", "{failure:?}");
        assert!(failure.message.contains(why), "{failure:?}");
        let (_, on) = failure.message.split_once("to go on: ").expect("a command");
        assert!(on.contains(" --overwrite"), "docs is left: {failure:?}");
        assert!(!cluster.agents[0].has_command(), "an alias was pointed");
        cluster.running.stop().await;
    }
}

/// The plan was right, and a node went away while what is replaced was captured: it would be deleted for a restore that can't end well.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_on_a_cluster_that_is_not_whole() {
    let (cluster, point) = captured("[limits]\nagent_grace_secs = 1\n").await;
    let Cluster {
        world,
        running,
        mut operator,
        agents: [mut n1, mut n2, n3],
    } = cluster;
    let replacing = v1::RestoreRequest {
        overwrite: true,
        ..order(&point)
    };
    let job = operator.restore(replacing).await;
    drop(n3);
    capture(&mut n2).await;
    let (ended, _) = job.end().await;
    let told = ended.failure.expect("a failure").message;
    assert!(told.contains("n3 does not answer"), "{told}");
    assert!(told.contains("nothing of docs was changed"), "{told}");
    assert!(!n1.has_command(), "docs was deleted");
    running.stop().await;
    drop(world);
}

/// Nobody knows how much of a replacement was done before a restart, and the safety capture may be old: it is not begun again.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_nothing_is_deleted() {
    let (mut cluster, point) = captured("").await;
    let replacing = v1::RestoreRequest {
        overwrite: true,
        ..order(&point)
    };
    drop(cluster.operator.restore(replacing).await);
    capture(&mut cluster.agents[1]).await;
    let (_, prepare) = part(&mut cluster.agents[0]).await;
    assert_eq!(prepare.part, Some(Part::Prepare(v1::PrepareTarget {})));
    let mut cluster = restarted(cluster).await;
    let ended = cluster.operator.settled().await;
    let told = ended.failure.expect("a failure").message;
    assert!(told.contains("docs is as it was, or was deleted"), "{told}");
    assert!(told.contains("what was replaced is kept"), "{told}");
    assert!(!cluster.agents[0].has_command());
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
    let mut cluster = restarted(cluster).await;
    // No second prepare; the upload has the name that it had.
    let (again, upload) = part(&mut cluster.agents[1]).await;
    assert!(is_upload(&upload) && upload.collection_uuid == "made");
    assert_eq!(again.command_id, before.command_id);
    assert!(!cluster.agents[0].has_command());
    cluster.running.stop().await;
}

/// The same with another coordinator.
async fn restarted(cluster: Cluster) -> Cluster {
    let Cluster { world, running, .. } = cluster;
    running.stop().await;
    let running = world.start().await;
    let agents = [
        Agent::join(&world, &running, "n1").await,
        Agent::join(&world, &running, "n2").await,
        Agent::join(&world, &running, "n3").await,
    ];
    let cluster = Cluster {
        agents,
        operator: world.operator(&running).await,
        running,
        world,
    };
    cluster.report(PLACED).await;
    cluster
}
