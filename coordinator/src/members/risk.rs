//! What it costs to remove a node, said before it is done: by what nodes report, and by what recovery points say.

use crate::core::Core;
use crate::plan::past::past;
use holdfast_decide::{Observation, Past, ServerView};
use holdfast_types::{CollectionName, NodeId, ShardId};
use std::collections::BTreeSet;

/// Shards that are named one by one.
const NAMED: usize = 10;

type Places = BTreeSet<(CollectionName, ShardId)>;

/// Sentences for an operator.
#[derive(Debug, Default)]
pub(super) struct Risk {
    /// What could be lost.
    pub(super) risks: Vec<String>,
    /// What follows from it.
    pub(super) effects: Vec<String>,
}

/// Of the removal of a node, for `successor` to take its place if there is one.
pub(super) async fn of(core: &Core, node: &NodeId, successor: Option<&NodeId>) -> Risk {
    let past = past(core).await;
    let seen = core.nodes.observation(core.epoch, None, 0);
    let mut risk = Risk {
        risks: lost(&seen, &past, node),
        effects: Vec::new(),
    };
    match seen.nodes.get(node) {
        None => risk.risks.push(format!(
            "no agent of node {node} has connected since the coordinator started: see that the name is right"
        )),
        Some(view) if view.connected => risk.effects.push(
            "its agent is connected now; it is turned away from then on, and so is every certificate of its name that began before"
                .to_owned(),
        ),
        Some(_) => risk.effects.push(
            "every certificate of its name that began before is refused from then on".to_owned(),
        ),
    }
    let logs: Places = core.logs.sent_by(node).into_iter().collect();
    if !logs.is_empty() {
        risk.effects.push(format!(
            "logs are archived from it ({}): that ends; what is archived stays restorable, and goes when retention says so",
            list(&logs)
        ));
    }
    let named = core.policy.as_ref();
    if named.is_some_and(|loaded| loaded.policy.nodes.contains(node)) {
        risk.effects.push(
            "the policy names it in `nodes`: it is not waited for any more, and `holdfast status` reminds you of it"
                .to_owned(),
        );
    }
    let pinned = pinned(&past, node);
    if let (Some(successor), false) = (successor, pinned.is_empty()) {
        risk.effects.push(format!(
            "{successor} takes over what was captured from it ({}): a base of it is captured as soon as there is a replica on {successor}, and costs its whole size",
            list(&pinned)
        ));
    }
    risk
}

/// Replicas on a node that no other connected node has.
pub(crate) fn only_on(seen: &Observation, node: &NodeId) -> Places {
    let others = seen.nodes.iter().filter(|(id, _)| *id != node);
    let others = others.filter(|(_, view)| view.connected);
    let elsewhere: Places = others.flat_map(|(_, view)| shards(&view.server)).collect();
    let view = seen.nodes.get(node);
    let here = view.into_iter().flat_map(|view| shards(&view.server));
    here.filter(|place| !elsewhere.contains(place)).collect()
}

/// Names of shards, not too many of them.
pub(crate) fn list(places: &Places) -> String {
    let names = places.iter().take(NAMED);
    let names: Vec<String> = names
        .map(|(collection, shard)| format!("{collection}/{shard}"))
        .collect();
    match places.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn lost(seen: &Observation, past: &Past, node: &NodeId) -> Vec<String> {
    let others = seen.nodes.iter().filter(|(id, _)| *id != node);
    let others = others.filter(|(_, view)| view.connected);
    let elsewhere: Places = others.flat_map(|(_, view)| shards(&view.server)).collect();
    let captured: Places = pinned(past, node).difference(&elsewhere).cloned().collect();
    let never: Places = only_on(seen, node)
        .into_iter()
        .filter(|place| !past.pins.contains_key(place))
        .collect();
    let mut risks = Vec::new();
    if !never.is_empty() {
        risks.push(format!(
            "no other connected node has {}, and there is no capture of it: it could not be brought back at all",
            list(&never)
        ));
    }
    if !captured.is_empty() {
        risks.push(format!(
            "it is the last known holder of {}: no other connected node has a replica, so that only the recovery points are left, and what was written after them is not",
            list(&captured)
        ));
    }
    risks
}

fn pinned(past: &Past, node: &NodeId) -> Places {
    let pins = past.pins.iter().filter(|(_, pin)| *pin == node);
    pins.map(|(place, _)| place.clone()).collect()
}

fn shards(server: &ServerView) -> Vec<(CollectionName, ShardId)> {
    match server {
        ServerView::Seen(server) => {
            let collections = server.collections.iter();
            collections
                .flat_map(|(name, view)| view.shards.keys().map(|shard| (name.clone(), *shard)))
                .collect()
        }
        ServerView::Unknown | ServerView::Failing { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{list, lost, only_on};
    use holdfast_decide::{
        CollectionView, NodeView, Observation, Past, Pulse, ServerSeen, ServerView, ShardView,
    };
    use holdfast_types::{Epoch, NodeId, ShardId};

    fn view(collections: &[&str], connected: bool) -> NodeView {
        let collection = |name: &&str| {
            let shard = ShardView {
                state: "Active".into(),
                optimizing: std::time::Duration::ZERO,
                points_approx: 1,
            };
            let view = CollectionView {
                status: "green".into(),
                shard_count: 1,
                shards: [(ShardId(0), shard)].into(),
                remote: vec![],
                transfers: vec![],
                aliases: vec![],
            };
            (name.parse().unwrap(), view)
        };
        NodeView {
            connected,
            reported_at: None,
            clock_skew: None,
            server: ServerView::Seen(ServerSeen {
                version: "1.18.3".parse().unwrap(),
                commit: None,
                peer_id: None,
                peers: 0,
                cluster: [].into(),
                unusable_collections: vec![],
                unusable_aliases: vec![],
                storage_free: None,
                snapshots_shared: false,
                splices_logs: false,
                restores_parts: false,
                replays_logs: false,
                keeps_limits: false,
                extras: None,
                collections: collections.iter().map(collection).collect(),
            }),
            before: None,
            late: false,
            pulse: Pulse::default(),
            drained: false,
            searches: None,
        }
    }

    #[test]
    fn what_only_a_node_has_is_named_and_whether_it_was_captured() {
        let node = |name: &str| name.parse::<NodeId>().unwrap();
        let seen = Observation {
            epoch: Epoch(1),
            running: None,
            nodes: [
                (node("n1"), view(&["both", "kept", "new", "stale"], true)),
                (node("n2"), view(&["both"], true)),
                // What a node that is away had is no reason to be calm.
                (node("n3"), view(&["stale"], false)),
            ]
            .into(),
            past: Past::default(),
        };
        assert_eq!(list(&only_on(&seen, &node("n1"))), "kept/0, new/0, stale/0");
        let pin = |name: &str| ((name.parse().unwrap(), ShardId(0)), node("n1"));
        let past = Past {
            // Gone from the node, too: what was captured is all there is.
            pins: [pin("both"), pin("kept"), pin("stale"), pin("dead")].into(),
            ..Past::default()
        };
        let told = lost(&seen, &past, &node("n1"));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("has new/0, and there is no capture"),
            "{told:?}"
        );
        assert!(
            told[1].contains("holder of dead/0, kept/0, stale/0:"),
            "{told:?}"
        );
        assert_eq!(
            lost(&seen, &Past::default(), &node("n2")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn long_lists_end() {
        let places = (0..12)
            .map(|n| ("docs".parse().unwrap(), ShardId(n)))
            .collect();
        assert!(
            list(&places).ends_with("docs/9 and 2 more"),
            "{}",
            list(&places)
        );
    }
}
