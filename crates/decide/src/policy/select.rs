//! What one run of a schedule captures, of what there is now.

use super::Policy;
use crate::observation::{CollectionView, NodeView, Observation, ServerSeen, ServerView};
use holdfast_types::{CollectionName, NodeId, ScheduleName, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What a run captures, and what it can't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Collections that can be captured whole.
    pub capture: BTreeSet<CollectionName>,
    /// What belongs to the schedule and can't be captured now, with why. A run with such an entry is no success.
    pub left_out: Vec<String>,
}

/// What a run of the schedule would capture now.
#[must_use]
pub fn select(
    policy: &Policy,
    schedule: &ScheduleName,
    seen: &Observation,
    now: Timestamp,
) -> Selection {
    let mut selection = Selection::default();
    let belongs = |name: &CollectionName| {
        let chosen = policy.rule_of(name);
        chosen.is_some_and(|chosen| chosen.rule.schedules.contains(schedule))
    };
    let known: BTreeSet<&CollectionName> = seen
        .nodes
        .values()
        .filter_map(last_told)
        .flat_map(|server| server.collections.keys())
        .filter(|name| belongs(name))
        .collect();
    for name in known {
        match unreachable(name, seen, now) {
            None => {
                selection.capture.insert(name.clone());
            }
            Some(why) => selection.left_out.push(format!("{name}: {why}")),
        }
    }
    if covers_everything(policy, schedule) {
        for (node, view) in &seen.nodes {
            let unusable = view.usable(now).map(|server| &server.unusable_collections);
            let told = unusable.into_iter().flatten();
            selection.left_out.extend(
                told.map(|name| format!("{name} on node {node}: its name can't be captured")),
            );
        }
    }
    selection.left_out.extend(unknown_nodes(policy, seen, now));
    selection
}

/// Nodes of which nobody knows what they hold.
fn unknown_nodes(policy: &Policy, seen: &Observation, now: Timestamp) -> Vec<String> {
    let absent = policy
        .nodes
        .iter()
        .filter(|node| !seen.nodes.contains_key(node));
    let absent = absent.map(|node| {
        format!("what is on node {node}: it has not connected since the coordinator started")
    });
    let silent = seen
        .nodes
        .iter()
        .filter(|(node, view)| last_told(view).is_none() && !seen.is_covered(node, now));
    let silent = silent.map(|(node, _)| {
        let why = why_not(seen, node, now);
        format!("what is on node {node}: {why}")
    });
    absent.chain(silent).collect()
}

fn last_told(view: &NodeView) -> Option<&ServerSeen> {
    match &view.server {
        ServerView::Seen(server) => Some(server),
        ServerView::Unknown | ServerView::Failing { .. } => None,
    }
}

fn why_not(seen: &Observation, node: &NodeId, now: Timestamp) -> String {
    let blocker = seen.node_blocker(node, now);
    blocker.map_or_else(
        || "it has not reported yet".to_owned(),
        |why| why.to_string(),
    )
}

/// Why a collection can't be captured whole; `None` if it can.
fn unreachable(name: &CollectionName, seen: &Observation, now: Timestamp) -> Option<String> {
    let mut shards: BTreeMap<ShardId, bool> = BTreeMap::new();
    let mut expected = 0;
    let mut away = Vec::new();
    for (node, view) in &seen.nodes {
        let held = |server: &ServerSeen| server.collections.get(name).cloned();
        match (
            view.usable(now).and_then(held),
            last_told(view).and_then(held),
        ) {
            (Some(collection), _) => {
                let CollectionView {
                    shard_count,
                    shards: local,
                    ..
                } = collection;
                expected = expected.max(shard_count);
                for (shard, replica) in local {
                    *shards.entry(shard).or_default() |= replica.is_active();
                }
            }
            (None, Some(_)) => away.push(why_not(seen, node, now)),
            (None, None) => {}
        }
    }
    let active = shards.values().filter(|active| **active).count();
    if expected > 0 && active == expected as usize {
        return None;
    }
    away.sort();
    away.dedup();
    if away.is_empty() {
        return Some(format!(
            "only {active} of {expected} shards have an active replica"
        ));
    }
    Some(away.join("; "))
}

/// Whether a name that nobody can parse would belong to the schedule.
fn covers_everything(policy: &Policy, schedule: &ScheduleName) -> bool {
    let mut rules = policy
        .rules
        .iter()
        .filter(|rule| rule.schedules.contains(schedule));
    rules.any(|rule| {
        rule.collections
            .iter()
            .any(|pattern| pattern.as_str() == "*")
    })
}
