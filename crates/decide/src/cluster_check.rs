//! What a checked restore plan says of a Qdrant cluster, held against what is seen. Shares no code with the planner.

use crate::observation::{NodeView, Observation, ServerSeen, ServerView};
use crate::restore::{PointView, RestorePlan, RestoreRequest, RestoreStep};
use crate::violation::Violation;
use holdfast_types::{Compatibility, Timestamp};
use std::collections::BTreeSet;

/// What is wrong about nodes, replicas and shard keys.
pub(crate) fn not_of_the_cluster(
    plan: &RestorePlan,
    request: &RestoreRequest,
    point: &PointView,
    seen: &Observation,
    now: Timestamp,
) -> Vec<Violation> {
    let target = plan.node.as_ref().and_then(|node| seen.nodes.get(node));
    let Some(target) = target.and_then(|view| server(view, now)) else {
        // Said elsewhere.
        return Vec::new();
    };
    let mut wrong = Vec::new();
    let spread = target.peer_id.is_some() && target.peers != 1;
    if plan.in_cluster != spread {
        wrong.push("whether it is one");
    }
    let received: BTreeSet<_> = plan.receivers.iter().map(|r| &r.node).collect();
    if received.len() != plan.receivers.len() {
        wrong.push("a node receives twice");
    }
    if spread {
        wrong.extend(wrong_members(plan, target, seen, now));
        if plan.instant.is_some() || request.instant.is_some() {
            wrong.push("logs are not replayed there");
        }
    } else if plan.receivers.len() != 1
        || plan.receivers.first().map(|r| &r.node) != plan.node.as_ref()
    {
        wrong.push("other nodes receive something");
    }
    let nodes = if spread { target.cluster.len() } else { 1 };
    for step in &plan.steps {
        wrong.extend(wrong_step(step, request, spread, nodes));
        let PointView::Found(captured) = point else {
            continue;
        };
        let source = captured.iter().find(|c| c.name == step.source);
        if source.is_some_and(|c| c.keyed) && target.peer_id.is_none() {
            wrong.push("shard keys without cluster mode");
        }
        if source.is_some_and(|c| c.shard_sizes != step.shard_sizes) {
            wrong.push("other shards than were captured");
        }
        let unreadable = |version| {
            plan.receivers.iter().any(|r| {
                let running = seen.nodes.get(&r.node).and_then(|view| server(view, now));
                running.is_none_or(|running| {
                    holdfast_types::ServerVersion::restores_into(version, &running.version)
                        != Compatibility::Compatible
                })
            })
        };
        if source.is_some_and(|c| c.versions.iter().any(unreadable)) {
            wrong.push("a node can't read what was captured");
        }
    }
    wrong.into_iter().map(Violation::Cluster).collect()
}

fn server(view: &NodeView, now: Timestamp) -> Option<&ServerSeen> {
    let age = view.reported_at.map(|at| now.since(at))?;
    match &view.server {
        ServerView::Seen(server) if view.connected && age <= crate::MAX_REPORT_AGE => Some(server),
        ServerView::Seen(_) | ServerView::Unknown | ServerView::Failing { .. } => None,
    }
}

/// Every peer must be a receiver with a fresh report and an agent that knows its part, and nobody else.
fn wrong_members(
    plan: &RestorePlan,
    target: &ServerSeen,
    seen: &Observation,
    now: Timestamp,
) -> Vec<&'static str> {
    let mut peers = BTreeSet::new();
    let mut wrong = Vec::new();
    for receiver in &plan.receivers {
        let view = seen.nodes.get(&receiver.node);
        match view.and_then(|view| server(view, now)) {
            Some(server) if server.restores_parts => peers.extend(server.peer_id),
            Some(_) => wrong.push("an agent would not know its part"),
            None => wrong.push("a node can't be used"),
        }
    }
    if !peers.iter().eq(target.cluster.keys()) {
        wrong.push("not all of its nodes, or others, receive");
    }
    wrong
}

fn wrong_step(
    step: &RestoreStep,
    request: &RestoreRequest,
    spread: bool,
    nodes: usize,
) -> Option<&'static str> {
    let asked = request.replication_factor;
    if step.replication_factor != asked || asked.is_some_and(|asked| asked as usize > nodes) {
        return Some("another replication factor than was asked for");
    }
    match step.replicas {
        None if spread => Some("replicas of a step are not said"),
        Some(_) if !spread => Some("replicas in a single node"),
        Some(0) => Some("no replica"),
        Some(replicas) if replicas as usize > nodes => Some("more replicas than nodes"),
        Some(replicas) if asked.is_some_and(|asked| asked != replicas) => {
            Some("other replicas than were asked for")
        }
        None | Some(_) => None,
    }
}
