//! A backup of several nodes: who is asked for what and when, and what becomes of it when the cluster changes meanwhile.

use crate::agent::{Agent, files};
use crate::world::{Operator, Running, World};
use holdfast_proto::v1;
use holdfast_proto::v1::command::Command;
use holdfast_proto::v1::command_result::Outcome;
use serde_json::Value;

/// Collections of one shard, with the peers that have a replica.
pub(crate) type Placed<'a> = &'a [(&'a str, &'a [u64])];

const HASTY: &str = "[limits]\nagent_grace_secs = 60\nreplica_grace_secs = 0\n";

pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) running: Running,
    pub(crate) operator: Operator,
    pub(crate) agents: [Agent; 3],
}

impl Cluster {
    pub(crate) async fn start(more: &str, placed: Placed<'_>) -> Self {
        let world = World::with(more);
        let running = world.start().await;
        let mut operator = world.operator(&running).await;
        let agents = [
            Agent::join(&world, &running, "n1").await,
            Agent::join(&world, &running, "n2").await,
            Agent::join(&world, &running, "n3").await,
        ];
        let cluster = Self {
            agents,
            operator: world.operator(&running).await,
            running,
            world,
        };
        cluster.report(placed).await;
        let names: Vec<&str> = placed.iter().map(|(name, _)| *name).collect();
        for node in ["n1", "n2", "n3"] {
            operator.sees(node, &names).await;
        }
        cluster
    }

    pub(crate) async fn report(&self, placed: Placed<'_>) {
        for (peer, agent) in (1..).zip(&self.agents) {
            agent.report_peer(peer, placed).await;
        }
    }

    async fn manifest(&mut self, ended: &v1::JobEnded) -> Value {
        let point = ended.backup.as_ref().expect("a recovery point");
        let shown = v1::ShowBackupRequest {
            recovery_point: point.recovery_point.clone(),
            from_copy: String::new(),
        };
        let shown = self.operator.0.show_backup(shown).await.unwrap();
        serde_json::from_str(&shown.into_inner().manifest_json).unwrap()
    }
}

fn collection(command: &v1::Command) -> &str {
    match &command.command {
        Some(Command::CaptureShard(capture)) => &capture.collection,
        other => panic!("no capture: {other:?}"),
    }
}

pub(crate) fn failure(code: &str) -> Outcome {
    Outcome::Failure(v1::Failure {
        code: code.into(),
        message: "it broke".into(),
        retryable: true,
    })
}

/// Collection and node of every shard.
fn placed(manifest: &Value) -> Vec<(String, String)> {
    let collections = manifest["collections"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    collections
        .map(|one| (text(&one["name"]), text(&one["shards"][0]["node"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_nodes_capture_at_once_and_each_one_at_a_time() {
    let placed_on: Placed<'_> = &[
        ("a", &[1]),
        ("b", &[1]),
        ("c", &[2]),
        ("d", &[3]),
        ("e", &[3]),
    ];
    let mut cluster = Cluster::start("", placed_on).await;
    let job = cluster.operator.backup().await;
    let [n1, n2, n3] = &mut cluster.agents;
    // Nobody has answered yet, and everybody has something to do.
    let (a, c, d) = (n1.command().await, n2.command().await, n3.command().await);
    assert_eq!(
        [collection(&a), collection(&c), collection(&d)],
        ["a", "c", "d"]
    );
    n2.capture(&c, &files(&[("x", b"c")])).await;
    assert!(
        !n1.has_command() && !n3.has_command(),
        "a second command at once"
    );
    n3.capture(&d, &files(&[("x", b"d")])).await;
    let e = n3.command().await;
    assert!(!n1.has_command(), "a second command at once");
    n1.capture(&a, &files(&[("x", b"a")])).await;
    let b = n1.command().await;
    assert_eq!([collection(&b), collection(&e)], ["b", "e"]);
    n3.capture(&e, &files(&[("x", b"e")])).await;
    n1.capture(&b, &files(&[("x", b"b")])).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_one_node_is_captured_from_another_and_stays_there() {
    let mut cluster = Cluster::start("", &[("docs", &[1, 2])]).await;
    let job = cluster.operator.backup().await;
    let first = cluster.agents[0].command().await;
    cluster.agents[0]
        .answer(&first, failure("qdrant-error"))
        .await;
    let again = cluster.agents[1].command().await;
    assert_ne!(again.command_id, first.command_id);
    cluster.agents[1]
        .capture(&again, &files(&[("x", b"1")]))
        .await;
    let (ended, notes) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let why = "not on n1 as before: a capture from it failed: capture of docs/0 on n1: it broke";
    assert!(notes.iter().any(|note| note.contains(why)), "{notes:?}");
    let manifest = cluster.manifest(&ended).await;
    assert_eq!(placed(&manifest), [("docs".into(), "n2".into())]);
    let reason = manifest["collections"][0]["shards"][0]["reasons"][0].as_str();
    assert!(
        reason
            .unwrap()
            .starts_with("captured from n2, not from n1 as before")
    );
    assert_eq!(manifest["nodes"].as_array().unwrap().len(), 1);

    // Now n2 is the pin, after a restart too.
    let Cluster { world, running, .. } = cluster;
    running.stop().await;
    let mut agents = Vec::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    for (peer, node) in [(1, "n1"), (2, "n2"), (3, "n3")] {
        let agent = Agent::join(&world, &running, node).await;
        agent.report_peer(peer, &[("docs", &[1, 2])]).await;
        operator.sees(node, &["docs"]).await;
        agents.push(agent);
    }
    let job = operator.backup().await;
    let command = agents[1].command().await;
    agents[1].capture(&command, &files(&[("x", b"1")])).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_replica_the_job_fails_and_names_what_there_is() {
    let limits = "[limits]\nreplica_grace_secs = 0\n";
    let mut cluster = Cluster::start(limits, &[("docs", &[1, 2])]).await;
    let job = cluster.operator.backup().await;
    for agent in &mut cluster.agents[..2] {
        let command = agent.command().await;
        agent.answer(&command, failure("qdrant-error")).await;
    }
    let (ended, _) = job.end().await;
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "qdrant-error");
    for part in [
        "capture of docs/0 on n2: it broke",
        "shard 0 of collection docs can't be captured from any node",
        "n1: a capture from it failed",
        "n2: a capture from it failed",
    ] {
        assert!(failure.message.contains(part), "{part}: {failure:?}");
    }
    assert!(cluster.operator.points().await.is_empty());
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_goes_is_waited_for_shortly_where_another_replica_is() {
    let placed_on: Placed<'_> = &[("docs", &[1, 2]), ("logs", &[1, 3])];
    let mut cluster = Cluster::start(HASTY, placed_on).await;
    let job = cluster.operator.backup().await;
    // The first of each is taken by the node with the least to do.
    let n1 = cluster.agents[0].command().await;
    assert_eq!(collection(&n1), "docs");
    let Cluster {
        running,
        mut operator,
        agents: [n1, mut n2, mut n3],
        world: _world,
    } = cluster;
    let logs = n3.command().await;
    n3.capture(&logs, &files(&[("x", b"1")])).await;
    drop(n1);
    let docs = n2.command().await;
    n2.capture(&docs, &files(&[("x", b"2")])).await;
    let (ended, notes) = job.end().await;
    assert_eq!(
        ended.state(),
        v1::JobState::Succeeded,
        "{ended:?} {notes:?}"
    );
    assert_eq!(operator.points().await.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qdrant_that_hangs_is_left_and_its_agent_told_to_stop() {
    let placed_on: Placed<'_> = &[("docs", &[1, 2])];
    let mut cluster = Cluster::start(HASTY, placed_on).await;
    let job = cluster.operator.backup().await;
    let command = cluster.agents[0].command().await;
    let late = cluster.agents[0]
        .deliver(&command, &files(&[("x", b"old")]))
        .await;
    cluster.agents[0].report_silent(1, placed_on, 16_000).await;
    let again = cluster.agents[1].command().await;
    let stop = cluster.agents[0].command().await;
    assert!(
        matches!(&stop.command, Some(Command::Cancel(cancel)) if cancel.command_id == command.command_id)
    );
    // What the first one still delivers is not taken: the shard is another node's now.
    assert!(cluster.agents[0].commit(late).await.is_err());
    cluster.agents[1]
        .capture(&again, &files(&[("x", b"new")]))
        .await;
    let (ended, notes) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let said = |note: &String| note.contains("Qdrant on node n1 has not answered for 16 s");
    assert!(notes.iter().any(said), "{notes:?}");
    let manifest = cluster.manifest(&ended).await;
    assert_eq!(placed(&manifest), [("docs".into(), "n2".into())]);
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_and_goes_meanwhile_is_said() {
    let mut cluster = Cluster::start("", &[("docs", &[1]), ("logs", &[2])]).await;
    let job = cluster.operator.backup().await;
    let docs = cluster.agents[0].command().await;
    let logs = cluster.agents[1].command().await;
    cluster.report(&[("docs", &[1]), ("new", &[3])]).await;
    cluster.agents[1]
        .answer(&logs, failure("collection-not-found"))
        .await;
    cluster.agents[0]
        .capture(&docs, &files(&[("x", b"1")]))
        .await;
    let (ended, notes) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let manifest = cluster.manifest(&ended).await;
    assert_eq!(placed(&manifest), [("docs".into(), "n1".into())]);
    let left_out = serde_json::json!([
        {"collection": "logs", "why": "collection logs: it was dropped during the capture"},
        {"collection": "new", "why": "collection new: it appeared during the capture"},
    ]);
    assert_eq!(manifest["left_out"], left_out);
    let lines = ended.backup.unwrap().left_out;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        notes.contains(&format!("not in this point: {}", lines[0])),
        "{notes:?}"
    );

    // Named, it must not be missing.
    cluster.report(&[("docs", &[1]), ("logs", &[2])]).await;
    let request = v1::CreateBackupRequest {
        collections: vec!["docs".into(), "logs".into()],
        method: v1::CaptureMethod::Auto.into(),
        ..Default::default()
    };
    let mut job = cluster
        .operator
        .0
        .create_backup(request)
        .await
        .unwrap()
        .into_inner();
    let docs = cluster.agents[0].command().await;
    let logs = cluster.agents[1].command().await;
    cluster.report(&[("docs", &[1])]).await;
    cluster.agents[1]
        .answer(&logs, failure("collection-not-found"))
        .await;
    cluster.agents[0]
        .capture(&docs, &files(&[("x", b"1")]))
        .await;
    let failure = loop {
        let event = job.message().await.unwrap().unwrap().event.unwrap();
        if let v1::job_event::Event::Ended(ended) = event {
            break ended.failure.unwrap();
        }
    };
    assert!(
        failure.message.contains("collection logs was dropped"),
        "{failure:?}"
    );
    assert_eq!(cluster.operator.points().await.len(), 1);
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_a_restart_where_it_was_moved_to() {
    let mut cluster = Cluster::start("", &[("docs", &[1, 2])]).await;
    let _job = cluster.operator.backup().await;
    let first = cluster.agents[0].command().await;
    cluster.agents[0]
        .answer(&first, failure("qdrant-error"))
        .await;
    let moved = cluster.agents[1].command().await;
    let Cluster { world, running, .. } = cluster;
    running.stop().await;
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agents = Vec::new();
    for (peer, node) in [(1, "n1"), (2, "n2")] {
        let agent = Agent::join(&world, &running, node).await;
        agent.report_peer(peer, &[("docs", &[1, 2])]).await;
        agents.push(agent);
    }
    let again = agents[1].command().await;
    assert_eq!(again.command_id, moved.command_id);
    agents[1].capture(&again, &files(&[("x", b"1")])).await;
    assert_eq!(operator.settled().await.state(), v1::JobState::Succeeded);
    running.stop().await;
}
