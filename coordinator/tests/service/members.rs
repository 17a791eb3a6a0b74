//! Nodes that are drained and removed, and what the coordinator remembers of it.

use crate::agent::{Agent, files, hello};
use crate::cluster::{Cluster, Placed};
use crate::world::{Operator, Running, World, cluster};
use holdfast_certs::ca::{self, BACKDATE, IssueRequest};
use holdfast_certs::{Identity, Role};
use holdfast_proto::v1;
use holdfast_proto::v1::nodes_client::NodesClient;
use holdfast_service::clock::{Clock as _, SystemClock};
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

const PLACED: Placed<'_> = &[("docs", &[1, 2]), ("solo", &[2])];

pub(crate) async fn members(world: &World, running: &Running) -> NodesClient<Channel> {
    NodesClient::new(world.channel(running, "op").await)
}

pub(crate) async fn plan(operator: &mut Operator) -> v1::BackupPlan {
    let request = v1::CreateBackupRequest {
        method: v1::CaptureMethod::Auto.into(),
        ..Default::default()
    };
    operator.0.plan_backup(request).await.unwrap().into_inner()
}

pub(crate) async fn nodes(operator: &mut Operator) -> v1::ListNodesResponse {
    let nodes = operator.0.list_nodes(v1::ListNodesRequest {}).await;
    nodes.unwrap().into_inner()
}

/// The capture of a collection's only shard: its node, the node that it leaves, and why.
pub(crate) fn placed<'a>(plan: &'a v1::BackupPlan, collection: &str) -> [&'a str; 3] {
    let mut captures = plan.captures.iter();
    let found = captures.find(|one| one.collection == collection).unwrap();
    [&found.node, &found.left_node, &found.left_because]
}

pub(crate) fn code(status: &Status) -> String {
    let code = status.metadata().get("holdfast-code");
    code.map(|code| code.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

/// A recovery point with docs from n1 and solo from n2.
async fn captured() -> Cluster {
    let mut cluster = Cluster::start("", PLACED).await;
    let job = cluster.operator.backup().await;
    for (agent, content) in cluster.agents[..2].iter_mut().zip([b"d", b"s"]) {
        let command = agent.command().await;
        agent.capture(&command, &files(&[("x", content)])).await;
    }
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    cluster
}

fn drain(node: &str) -> v1::DrainNodeRequest {
    v1::DrainNodeRequest {
        node: node.into(),
        reason: "new disk".into(),
    }
}

fn remove(node: &str, confirm: bool) -> v1::RemoveNodeRequest {
    v1::RemoveNodeRequest {
        node: node.into(),
        reason: "scrapped".into(),
        successor: String::new(),
        confirm,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_is_not_chosen_where_another_has_the_replica() {
    let Cluster {
        world,
        running,
        mut operator,
        agents,
    } = captured().await;
    assert_eq!(placed(&plan(&mut operator).await, "docs"), ["n1", "", ""]);
    let mut members_of = members(&world, &running).await;
    let unknown = members_of.drain_node(drain("n9")).await.unwrap_err();
    assert_eq!(code(&unknown), "node-not-found", "{unknown}");

    let drained = members_of
        .drain_node(drain("n1"))
        .await
        .unwrap()
        .into_inner();
    assert!(drained.only_here.is_empty() && !drained.was_drained);
    let again = members_of
        .drain_node(drain("n1"))
        .await
        .unwrap()
        .into_inner();
    assert!(again.was_drained);
    assert_eq!(again.mark, drained.mark, "the first word stays");
    let moved = ["n2", "n1", "it is drained"];
    assert_eq!(placed(&plan(&mut operator).await, "docs"), moved);
    assert_eq!(operator.status().await.drained, ["n1"]);
    let listed = nodes(&mut operator).await;
    let mark = listed.nodes[0].drained.as_ref().unwrap();
    assert_eq!((mark.by.as_str(), mark.reason.as_str()), ("op", "new disk"));

    // What nobody else has is named, and stays.
    let solo = members_of
        .drain_node(drain("n2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(solo.only_here, ["solo/0"]);
    let both = plan(&mut operator).await;
    assert_eq!(placed(&both, "solo"), ["n2", "", ""]);
    let note = "solo/0 is captured on n2 although it is drained";
    assert!(both.notes.iter().any(|n| n.starts_with(note)), "{both:?}");

    // It is remembered, also of a node that is away.
    drop(agents);
    running.stop().await;
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    assert_eq!(operator.status().await.drained, ["n1", "n2"]);
    let mut members_of = members(&world, &running).await;
    let undrain = v1::UndrainNodeRequest { node: "n2".into() };
    let ended = members_of.undrain_node(undrain.clone()).await.unwrap();
    assert!(ended.into_inner().was_drained);
    let ended = members_of.undrain_node(undrain).await.unwrap_err();
    assert_eq!(code(&ended), "node-not-found", "neither drained nor here");
    let mut agents = Vec::new();
    for (peer, node) in [(1, "n1"), (2, "n2")] {
        let agent = Agent::join(&world, &running, node).await;
        agent.report_peer(peer, PLACED).await;
        operator.sees(node, &["docs", "solo"]).await;
        agents.push(agent);
    }
    assert_eq!(placed(&plan(&mut operator).await, "docs"), moved);
    running.stop().await;
}

/// A pair for `node` whose lifetime begins now, as the enrolment of a node gives it that was removed.
fn issue_anew(world: &World, node: &str, folder: &str) {
    let request = IssueRequest {
        identity: Identity::new(cluster(), Role::Agent, node).unwrap(),
        dns_names: vec![],
        ip_addresses: vec![],
        validity: Duration::from_secs(3600),
    };
    let root = world.dir.path();
    let now = SystemClock.now().after(BACKDATE);
    ca::issue(&root.join("ca"), &request, &root.join(folder), now).unwrap();
}

/// A certificate that was issued since lets n2 in again; the old one stays refused.
async fn comes_back(world: &World, running: &Running) {
    let mut operator = world.operator(running).await;
    // Certificates begin with whole seconds, and what begins within the second of a second removal is refused.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    issue_anew(world, "n2", "n2-anew");
    let channel = world.channel(running, "n2-anew").await;
    let back = Agent::with(channel, hello("n2")).await.unwrap();
    back.report_peer(2, PLACED).await;
    operator.sees("n2", &["docs", "solo"]).await;
    assert!(nodes(&mut operator).await.removed.is_empty());
    let channel = world.channel(running, "n2").await;
    let refused = Agent::with(channel, hello("n2")).await.err().unwrap();
    assert!(
        refused.message().contains("has come back since"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_forgotten_and_its_certificate_refused() {
    let mut found = captured().await;
    let mut members_of = members(&found.world, &found.running).await;
    // A job works on it: it would wait in vain.
    let _job = found.operator.backup().await;
    let command = found.agents[1].command().await;
    let busy = members_of
        .remove_node(remove("n2", true))
        .await
        .unwrap_err();
    assert_eq!(code(&busy), "job-conflict", "{busy}");
    found.agents[1]
        .capture(&command, &files(&[("x", b"s")]))
        .await;
    let docs = found.agents[0].command().await;
    found.agents[0].capture(&docs, &files(&[("x", b"d")])).await;
    let _ended = found.operator.settled().await;
    let Cluster {
        world,
        running,
        mut operator,
        agents: [_n1, mut n2, _n3],
    } = found;

    // Until it is confirmed, it is only said what that costs.
    let told = members_of.remove_node(remove("n2", false)).await.unwrap();
    let told = told.into_inner();
    assert!(!told.removed, "{told:?}");
    assert!(
        told.risks[0].contains("the last known holder of solo/0"),
        "{told:?}"
    );
    assert!(told.effects[0].contains("turned away"), "{told:?}");
    assert_eq!(nodes(&mut operator).await.nodes.len(), 3);

    let done = members_of.remove_node(remove("n2", true)).await.unwrap();
    assert!(done.into_inner().removed);
    let closed = n2.next().await.unwrap_err();
    assert_eq!(code(&closed), "node-removed", "{closed}");
    // Neither by a new session nor by any other call on the open connection.
    let refused = Agent::with(n2.channel.clone(), hello("n2")).await;
    let refused = refused.err().unwrap();
    assert_eq!(code(&refused), "node-removed");
    assert!(refused.message().contains("by op (scrapped)"), "{refused}");
    let follow = v1::log_archive_client::LogArchiveClient::new(n2.channel.clone())
        .follow(tokio_stream::empty())
        .await;
    assert_eq!(code(&follow.unwrap_err()), "node-removed");
    let listed = nodes(&mut operator).await;
    assert_eq!(listed.nodes.len(), 2, "{listed:?}");
    assert_eq!(listed.removed[0].node, "n2");
    let status = operator.status().await;
    assert_eq!(status.nodes_known, 2);
    assert!(
        !status.warnings.iter().any(|w| w.contains("n2")),
        "{status:?}"
    );
    // Once is enough, and the first word stays; certificates given since are refused, too.
    let again = members_of.remove_node(remove("n2", true)).await.unwrap();
    assert!(again.into_inner().was_removed);

    // A restart changes nothing.
    running.stop().await;
    let running = world.start().await;
    let channel = world.channel(&running, "n2").await;
    let refused = Agent::with(channel, hello("n2")).await.err().unwrap();
    assert_eq!(code(&refused), "node-removed");

    comes_back(&world, &running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_heard_of_can_be_removed_before_it_comes() {
    let world = World::new();
    let running = world.start().await;
    let mut members_of = members(&world, &running).await;
    let told = members_of.remove_node(remove("n3", false)).await.unwrap();
    let told = told.into_inner();
    assert!(
        told.risks[0].contains("see that the name is right"),
        "{told:?}"
    );
    members_of.remove_node(remove("n3", true)).await.unwrap();
    let channel = world.channel(&running, "n3").await;
    let refused = Agent::with(channel, hello("n3")).await.err().unwrap();
    assert_eq!(code(&refused), "node-removed");
    // A drained node of which the job is done is one thing, a removed one another.
    let gone = members_of.drain_node(drain("n3")).await.unwrap_err();
    assert_eq!(code(&gone), "node-not-found", "{gone}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_anothers_place_is_captured_as_soon_as_it_has_the_replicas() {
    let mut found = captured().await;
    let mut members_of = members(&found.world, &found.running).await;
    let request = |successor: &str, confirm| v1::RemoveNodeRequest {
        successor: successor.into(),
        ..remove("n1", confirm)
    };
    for (successor, want) in [("n1", "usage"), ("n9", "node-not-found")] {
        let refused = members_of.remove_node(request(successor, true)).await;
        assert_eq!(code(&refused.unwrap_err()), want);
    }
    members_of.drain_node(drain("n3")).await.unwrap();
    let refused = members_of.remove_node(request("n3", true)).await;
    assert_eq!(code(&refused.unwrap_err()), "plan-blocked");
    let undrain = v1::UndrainNodeRequest { node: "n3".into() };
    members_of.undrain_node(undrain).await.unwrap();

    let told = members_of.remove_node(request("n3", false)).await.unwrap();
    let takes = "n3 takes over what was captured from it (docs/0)";
    let told = told.into_inner();
    assert!(
        told.effects.iter().any(|e| e.starts_with(takes)),
        "{told:?}"
    );
    members_of.remove_node(request("n3", true)).await.unwrap();
    assert_eq!(nodes(&mut found.operator).await.removed[0].successor, "n3");
    let Cluster { world, running, .. } = found;

    // What was promised is remembered.
    running.stop().await;
    let (running, core) = world.start_at(std::sync::Arc::new(SystemClock)).await;
    let tracker = core.shutdown.clone();
    drop(tracker.spawn(holdfast_coordinator::members::rebase(core)));
    let mut operator = world.operator(&running).await;
    let n2 = Agent::join(&world, &running, "n2").await;
    n2.report_peer(2, PLACED).await;
    let mut n3 = Agent::join(&world, &running, "n3").await;
    n3.report_peer(3, PLACED).await;
    operator.sees("n3", &["docs", "solo"]).await;
    // The replica has arrived.
    let moved: Placed<'_> = &[("docs", &[2, 3]), ("solo", &[2])];
    n3.report_peer(3, moved).await;
    n2.report_peer(2, moved).await;
    let command = n3.command().await;
    n3.capture(&command, &files(&[("x", b"d")])).await;
    let job = operator.settled().await;
    assert_eq!(job.state(), v1::JobState::Succeeded, "{job:?}");
    assert_eq!(job.asked_by, "replacement of a node");
    assert_eq!(placed(&plan(&mut operator).await, "docs"), ["n3", "", ""]);
    running.stop().await;
}
