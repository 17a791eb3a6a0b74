//! Which files beside Qdrant's own go into the same recovery point.
//!
//! A node takes part if a shard is captured from it, or if it belongs to the Qdrant cluster of one that is: what it has
//! beside its replicas is its own, whoever's replicas are captured. A node that can't be used blocks nothing here, as it
//! blocks no shard that others have; the point says what it lacks.

use super::fleet::Fleet;
use super::{BackupPlan, CaptureStep, NodeFacts};
use crate::observation::{NodeView, ServerSeen, ServerView};
use holdfast_types::{ExtraName, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Capture one extra of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraStep {
    /// Which node.
    pub node: NodeId,
    /// Its name there.
    pub name: ExtraName,
    /// Whether it is Qdrant's own configuration.
    pub config: bool,
    /// Whether there is no recovery point without it.
    pub required: bool,
    /// Why it can't be captured: the point says so, and nobody tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// Adds the extras of all nodes that take part.
pub(super) fn add(plan: &mut BackupPlan, fleet: &Fleet<'_>) {
    for (id, view) in &fleet.seen.nodes {
        let Some(server) = last_seen(view) else {
            continue;
        };
        if !takes_part(&plan.captures, fleet, id, server) {
            continue;
        }
        let absent = match fleet.usable.get(id) {
            Some(_) => None,
            None => fleet
                .seen
                .node_blocker(id, fleet.now)
                .map(|b| b.to_string()),
        };
        let Some(extras) = &server.extras else {
            if absent.is_none() {
                let why = "its agent is older than this coordinator and does not tell".to_owned();
                plan.extras_unknown.insert(id.clone(), why);
                add_facts(plan, id, server);
            }
            continue;
        };
        for extra in extras {
            let step = ExtraStep {
                node: id.clone(),
                name: extra.name.clone(),
                config: extra.config,
                required: extra.required,
                absent: absent.clone(),
            };
            if let Some(why) = &absent {
                let name = &extra.name;
                let line = format!("extra {name} of node {id} can't be captured: {why}");
                plan.reasons.push(line);
            }
            plan.extras.push(step);
            add_facts(plan, id, server);
        }
    }
}

/// What its agent told last of a server.
fn last_seen(view: &NodeView) -> Option<&ServerSeen> {
    match &view.server {
        ServerView::Seen(server) => Some(server),
        ServerView::Unknown | ServerView::Failing { .. } => view.before.as_ref(),
    }
}

fn takes_part(
    captures: &[CaptureStep],
    fleet: &Fleet<'_>,
    id: &NodeId,
    server: &ServerSeen,
) -> bool {
    let captured: BTreeSet<&NodeId> = captures.iter().map(|step| &step.node).collect();
    captured.contains(id)
        || server.peer_id.is_some_and(|peer| {
            let of = captured.iter().filter_map(|node| fleet.usable.get(*node));
            let mut clusters = of.map(|server| &server.cluster);
            clusters.any(|cluster| cluster.contains_key(&peer))
        })
}

fn add_facts(plan: &mut BackupPlan, id: &NodeId, server: &ServerSeen) {
    if plan.nodes.iter().all(|facts| facts.node != *id) {
        plan.nodes.push(NodeFacts {
            node: id.clone(),
            version: server.version.clone(),
            commit: server.commit.clone(),
            peer_id: server.peer_id,
        });
        plan.nodes.sort_by(|a, b| a.node.cmp(&b.node));
    }
}

impl fmt::Display for ExtraStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, name, .. } = self;
        if let Some(why) = &self.absent {
            return write!(f, "leave out extra {name} of {node}: {why}");
        }
        write!(f, "capture extra {name} on {node}")?;
        match self.required {
            true => f.write_str(", without which there is no recovery point"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::everything;
    use super::super::{BackupPlan, plan_backup};
    use crate::backup_check::check_backup;
    use crate::fixture::{NOW, cluster, collection, node, seen, server, single};
    use crate::observation::{ExtraSeen, Observation};
    use crate::violation::Violation;

    fn tell(obs: &mut Observation, id: &str, names: &[&str]) {
        let extras = names.iter().map(|name| ExtraSeen {
            name: name.parse().unwrap(),
            config: *name == "qdrant",
            required: *name == "redis",
        });
        server(obs, id).extras = Some(extras.collect());
    }

    fn plan(obs: &Observation) -> BackupPlan {
        let plan = plan_backup(obs, &everything(), NOW).unwrap();
        let wrong = check_backup(&plan, &everything(), obs, NOW);
        assert_eq!(wrong, [], "{plan:?}");
        plan
    }

    fn lines(plan: &BackupPlan) -> Vec<String> {
        plan.extras.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_that_is_captured_from_gives_its_extras() {
        let mut obs = single(&["docs"]);
        tell(&mut obs, "n1", &["qdrant", "redis"]);
        let plan = plan(&obs);
        assert_eq!(
            lines(&plan),
            [
                "capture extra qdrant on n1",
                "capture extra redis on n1, without which there is no recovery point",
            ]
        );
        assert!(plan.extras_unknown.is_empty() && plan.reasons.is_empty());
        assert_eq!(plan.nodes.len(), 1);
    }

    #[test]
    fn so_does_its_cluster_but_no_stranger() {
        let mut obs = cluster(3, "docs", &[&[1]]);
        for id in ["n1", "n2", "n3"] {
            tell(&mut obs, id, &["qdrant"]);
        }
        let (id, view) = node("other", None, []);
        obs.nodes.insert(id, view);
        tell(&mut obs, "other", &["redis"]);
        let plan = plan(&obs);
        assert_eq!(
            lines(&plan),
            [
                "capture extra qdrant on n1",
                "capture extra qdrant on n2",
                "capture extra qdrant on n3",
            ]
        );
        assert_eq!(plan.nodes.len(), 3, "each has its facts");
    }

    #[test]
    fn a_node_that_is_away_is_told_of() {
        let mut obs = cluster(2, "docs", &[&[1, 2]]);
        tell(&mut obs, "n1", &["qdrant"]);
        tell(&mut obs, "n2", &["redis"]);
        let away = obs.nodes.get_mut(&"n2".parse().unwrap()).unwrap();
        away.connected = false;
        let plan = plan(&obs);
        assert_eq!(plan.extras.len(), 2);
        let absent = plan.extras[1].absent.as_deref().unwrap();
        assert!(absent.contains("n2"), "{absent}");
        let told = plan
            .reasons
            .iter()
            .any(|line| line.contains("extra redis of node n2"));
        assert!(told, "{:?}", plan.reasons);
    }

    #[test]
    fn an_older_agent_is_not_asked() {
        let mut obs = seen([node("n1", None, [collection("docs", 1, &[0])])]);
        server(&mut obs, "n1").extras = None;
        let plan = plan(&obs);
        assert_eq!((plan.extras.len(), plan.extras_unknown.len()), (0, 1));
    }

    #[test]
    fn the_checker_misses_nothing() {
        let mut obs = single(&["docs"]);
        tell(&mut obs, "n1", &["qdrant", "redis"]);
        let right = plan(&obs);
        let changes: [fn(&mut BackupPlan); 5] = [
            |plan| drop(plan.extras.pop()),
            |plan| plan.extras.push(plan.extras[0].clone()),
            |plan| plan.extras[1].required = false,
            |plan| plan.extras[1].absent = Some("no".into()),
            |plan| plan.extras[1].node = "n9".parse().unwrap(),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut plan = right.clone();
            change(&mut plan);
            let wrong = check_backup(&plan, &everything(), &obs, NOW);
            let found = wrong.iter().any(|w| matches!(w, Violation::Extra { .. }));
            assert!(found, "change {i}: {wrong:?}");
        }
    }
}
