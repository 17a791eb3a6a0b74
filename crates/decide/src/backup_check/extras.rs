//! The extras of a plan against what the agents told.

use super::fresh;
use crate::backup::BackupPlan;
use crate::observation::Observation;
use crate::violation::Violation;
use holdfast_types::{ExtraName, NodeId, Timestamp};
use std::collections::HashSet;

pub(super) fn check(plan: &BackupPlan, seen: &Observation, now: Timestamp) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut once = HashSet::new();
    for step in &plan.extras {
        let mut bad = |what| wrong.push(violation(&step.node, &step.name, what));
        if !once.insert((&step.node, &step.name)) {
            bad("is captured twice");
        }
        if plan.nodes.iter().all(|facts| facts.node != step.node) {
            bad("is of a node that nothing is recorded of");
        }
        match (fresh(seen, &step.node, now), &step.absent) {
            (None, Some(_)) => {}
            (None, None) => bad("is of a node that can't be used"),
            (Some(_), Some(_)) => bad("is left out, and its node can be used"),
            (Some(server), None) => {
                let mut told = server.extras.iter().flatten();
                let as_told = told.any(|extra| {
                    (&extra.name, extra.config, extra.required)
                        == (&step.name, step.config, step.required)
                });
                if !as_told {
                    bad("is not what its agent is configured to capture");
                }
            }
        }
    }
    let sources: HashSet<&NodeId> = plan.captures.iter().map(|step| &step.node).collect();
    for node in seen.nodes.keys() {
        let Some(server) = fresh(seen, node, now) else {
            continue;
        };
        let is_peer = |source: &&NodeId| {
            let cluster = fresh(seen, source, now).map(|source| &source.cluster);
            let peer = server.peer_id;
            peer.is_some_and(|peer| cluster.is_some_and(|cluster| cluster.contains_key(&peer)))
        };
        if !sources.contains(node) && !sources.iter().any(is_peer) {
            continue;
        }
        for extra in server.extras.iter().flatten() {
            if !once.contains(&(node, &extra.name)) {
                wrong.push(violation(node, &extra.name, "is not in the plan"));
            }
        }
    }
    wrong
}

fn violation(node: &NodeId, name: &ExtraName, what: &'static str) -> Violation {
    Violation::Extra {
        node: node.clone(),
        name: name.clone(),
        what,
    }
}
