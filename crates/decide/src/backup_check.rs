//! Reads a backup plan again, against the observation and the request, before it is recorded.
//!
//! Deliberately shares no code with the planner, so that one mistake is not made twice.

use crate::backup::{BackupPlan, BackupRequest, CaptureStep, Method};
use crate::observation::{MAX_REPORT_AGE, Observation, ServerSeen, ServerView, TransferView};
use crate::violation::Violation;
use holdfast_types::{CollectionName, NodeId, Timestamp};
use std::collections::HashSet;
use std::time::Duration;

mod extras;

/// Everything wrong with `plan`; empty if it may be carried out.
#[must_use]
pub fn check_backup(
    plan: &BackupPlan,
    request: &BackupRequest,
    seen: &Observation,
    now: Timestamp,
) -> Vec<Violation> {
    let mut wrong = check_captures(plan, seen, now);
    wrong.extend(extras::check(plan, seen, now));
    if seen.running.is_some() {
        wrong.push(Violation::Busy);
    }
    if plan.limits != request.limits {
        wrong.push(Violation::Limits);
    }
    for name in &request.collections {
        if !plan.collections.contains(name) {
            wrong.push(Violation::Omitted(name.clone()));
        }
    }
    let all = request.collections.is_empty() && request.patterns.is_empty();
    let meant = |name: &CollectionName| {
        let mut patterns = request.patterns.iter();
        all || request.collections.contains(name) || patterns.any(|p| p.matches(name))
    };
    for name in &plan.collections {
        if !meant(name) {
            wrong.push(Violation::Unasked(name.clone()));
        }
    }
    for node in seen.nodes.values() {
        if let (true, ServerView::Seen(server)) = (node.connected, &node.server) {
            let absent = |name: &&_| meant(name) && !plan.collections.contains(*name);
            let omitted = server.collections.keys().filter(absent);
            wrong.extend(omitted.map(|name| Violation::Omitted(name.clone())));
        }
    }
    wrong
}

/// The rules that a safety capture must keep too.
pub(crate) fn check_captures(
    plan: &BackupPlan,
    seen: &Observation,
    now: Timestamp,
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if plan.epoch != seen.epoch {
        wrong.push(Violation::Epoch {
            plan: plan.epoch,
            now: seen.epoch,
        });
    }
    if plan.captures.is_empty() {
        wrong.push(Violation::Empty);
    }
    let mut once = HashSet::new();
    for step in &plan.captures {
        if !once.insert((&step.collection, step.shard)) {
            wrong.push(Violation::Twice {
                collection: step.collection.clone(),
                shard: step.shard,
            });
        }
        if !plan.collections.contains(&step.collection) {
            wrong.push(Violation::Unasked(step.collection.clone()));
        }
        let Some(server) = fresh(seen, &step.node, now) else {
            wrong.push(Violation::NodeUnusable(step.node.clone()));
            continue;
        };
        if !is_source(seen, step, &step.node, now) {
            wrong.push(Violation::NoReplica {
                node: step.node.clone(),
                collection: step.collection.clone(),
                shard: step.shard,
            });
        }
        wrong.extend(pin_violation(seen, step, now));
        wrong.extend(drain_violation(seen, step, now));
        if step.method == Method::Stored && !server.snapshots_shared {
            wrong.push(Violation::NotShared(step.node.clone()));
        }
        let recorded = plan.nodes.iter().find(|facts| facts.node == step.node);
        if !recorded
            .is_some_and(|facts| facts.version == server.version && facts.peer_id == server.peer_id)
        {
            wrong.push(Violation::NodeFacts(step.node.clone()));
        }
    }
    wrong.extend(incomplete(plan, seen, now));
    wrong
}

/// Whether the node has a replica of the step's shard that everybody who is seen calls Active.
fn is_source(seen: &Observation, step: &CaptureStep, node: &NodeId, now: Timestamp) -> bool {
    let Some(server) = fresh(seen, node, now) else {
        return false;
    };
    let own = server.collections.get(&step.collection);
    let own = own.and_then(|view| view.shards.get(&step.shard));
    if own.is_none_or(|replica| replica.state != "Active") {
        return false;
    }
    for other in seen.nodes.keys().filter(|other| *other != node) {
        let told = fresh(seen, other, now).and_then(|s| s.collections.get(&step.collection));
        for replica in told.into_iter().flat_map(|view| &view.remote) {
            let this = replica.shard == step.shard && Some(replica.peer) == server.peer_id;
            if this && replica.state != "Active" {
                return false;
            }
        }
    }
    true
}

/// Whether nothing at all speaks against a replica: then nobody may leave it.
fn is_sound(seen: &Observation, step: &CaptureStep, node: &NodeId, now: Timestamp) -> bool {
    let (Some(view), Some(server)) = (seen.nodes.get(node), fresh(seen, node, now)) else {
        return false;
    };
    let quick = view.pulse.silent <= Duration::from_secs(15)
        && view.pulse.answer <= Duration::from_secs(2)
        && !view.late;
    let stored = step.method != Method::Stored || server.snapshots_shared;
    let collection = server.collections.get(&step.collection);
    let replica = collection.and_then(|view| view.shards.get(&step.shard));
    let quiet = replica.is_some_and(|r| r.optimizing <= Duration::from_mins(10));
    let stays = collection.is_some_and(|view| {
        let leaves = |t: &TransferView| t.shard == step.shard && Some(t.from) == server.peer_id;
        !view.transfers.iter().any(leaves)
    });
    !view.drained && quick && stored && quiet && stays && is_source(seen, step, node, now)
}

/// A pin that was left for nothing or without a word, or a word about a pin that was not left.
fn pin_violation(seen: &Observation, step: &CaptureStep, now: Timestamp) -> Option<Violation> {
    let place = (step.collection.clone(), step.shard);
    let pin = seen.past.pins.get(&place);
    let told = step.repinned.as_ref().map(|repin| &repin.from);
    let wrong = match pin.filter(|pin| **pin != step.node) {
        Some(pin) => told != Some(pin) || is_sound(seen, step, pin, now),
        None => told.is_some(),
    };
    wrong.then(|| Violation::Pin {
        collection: step.collection.clone(),
        shard: step.shard,
    })
}

/// A capture on a drained node of what another node has without any trouble.
fn drain_violation(seen: &Observation, step: &CaptureStep, now: Timestamp) -> Option<Violation> {
    if !seen.nodes.get(&step.node)?.drained {
        return None;
    }
    let mut others = seen.nodes.keys().filter(|node| **node != step.node);
    let other = others.any(|node| is_sound(seen, step, node, now));
    other.then(|| Violation::Drained {
        node: step.node.clone(),
        collection: step.collection.clone(),
        shard: step.shard,
    })
}

/// Collections of which not every shard is captured.
fn incomplete(plan: &BackupPlan, seen: &Observation, now: Timestamp) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for name in &plan.collections {
        let captured = plan
            .captures
            .iter()
            .filter(|step| step.collection == *name)
            .count();
        let expected = seen
            .nodes
            .keys()
            .filter_map(|node| Some(fresh(seen, node, now)?.collections.get(name)?.shard_count))
            .max()
            .unwrap_or(0);
        if expected == 0 || captured != expected as usize {
            wrong.push(Violation::Incomplete {
                collection: name.clone(),
                expected,
                captured,
            });
        }
    }
    wrong
}

pub(crate) fn fresh<'a>(
    seen: &'a Observation,
    node: &NodeId,
    now: Timestamp,
) -> Option<&'a ServerSeen> {
    let view = seen.nodes.get(node)?;
    let reported = view.reported_at?;
    if !view.connected || now.since(reported) > MAX_REPORT_AGE {
        return None;
    }
    match &view.server {
        ServerView::Seen(server) => Some(server),
        ServerView::Unknown | ServerView::Failing { .. } => None,
    }
}

#[cfg(test)]
mod tests;
