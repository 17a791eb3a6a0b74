//! Which replica of which shard is captured where and how.
//!
//! A backup is whole or refused: a collection that can't be captured completely blocks the plan,
//! and a request for everything is blocked by a node whose collections are unknown.

use crate::blocker::Blocker;
use crate::observation::{CollectionView, Observation, ServerSeen, ServerView};
use holdfast_types::{CollectionName, Epoch, NodeId, ServerVersion, ShardId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What to back up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRequest {
    /// Collections by name; empty means every one.
    pub collections: BTreeSet<CollectionName>,
    /// How to capture.
    pub method: MethodWish,
}

/// How the caller wants shards captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodWish {
    /// What each agent's configuration says; by default the quickest that its node allows.
    Auto,
    /// Immutable files from the shared storage volume.
    Direct,
    /// What has changed since the last capture.
    Partial,
    /// Stored snapshots only.
    Stored,
    /// Streams only.
    Stream,
}

/// How a shard is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The agent chooses, by its configuration and by what its node allows.
    Auto,
    /// Immutable files from the shared storage volume; another way where that can't be right.
    Direct,
    /// What has changed since the last capture; another way where that can't be right.
    Partial,
    /// A stored shard snapshot, read from the shared volume.
    Stored,
    /// A streamed shard snapshot.
    Stream,
}

/// The captures of one backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPlan {
    /// The term it belongs to.
    pub epoch: Epoch,
    /// What will be in the recovery point.
    pub collections: BTreeSet<CollectionName>,
    /// The servers that are captured.
    pub nodes: Vec<NodeFacts>,
    /// In this order on each node, one at a time; nodes don't wait for each other.
    pub captures: Vec<CaptureStep>,
    /// Why it is so, where there was a choice or something is unusual.
    pub reasons: Vec<String>,
}

/// What a recovery point records of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Which node.
    pub node: NodeId,
    /// Its version.
    pub version: ServerVersion,
    /// Its commit, if it tells.
    pub commit: Option<String>,
    /// Its peer id; `None` when cluster mode is off.
    pub peer_id: Option<u64>,
}

/// Capture one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStep {
    /// Which collection.
    pub collection: CollectionName,
    /// Which shard.
    pub shard: ShardId,
    /// From the replica of this node.
    pub node: NodeId,
    /// How.
    pub method: Method,
}

/// Best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    not_green: bool,
    not_shared: bool,
    captures_already: usize,
    node: &'a NodeId,
}

type Usable<'a> = BTreeMap<&'a NodeId, &'a ServerSeen>;

/// Plans a backup.
///
/// # Errors
/// Every reason why it can't be done, the most basic first.
pub fn plan_backup(
    seen: &Observation,
    request: &BackupRequest,
    now: Timestamp,
) -> Result<BackupPlan, Vec<Blocker>> {
    let running = seen.running.as_ref().map(|job| Blocker::JobRunning {
        job: job.id.clone(),
        kind: job.kind,
    });
    match (running, plan_captures(seen, request, now)) {
        (None, outcome) => outcome,
        (Some(busy), Ok(_)) => Err(vec![busy]),
        (Some(busy), Err(others)) => Err(std::iter::once(busy).chain(others).collect()),
    }
}

/// [`plan_backup`] without regard to other jobs: the safety capture inside a restore.
pub(crate) fn plan_captures(
    seen: &Observation,
    request: &BackupRequest,
    now: Timestamp,
) -> Result<BackupPlan, Vec<Blocker>> {
    let usable: Usable = seen
        .nodes
        .iter()
        .filter_map(|(id, node)| Some((id, node.usable(now)?)))
        .collect();
    let known: BTreeSet<&CollectionName> = usable
        .values()
        .flat_map(|server| server.collections.keys())
        .collect();
    let everything = request.collections.is_empty();
    let wanted: BTreeSet<&CollectionName> = if everything {
        known.clone()
    } else {
        request.collections.iter().collect()
    };

    let mut plan = BackupPlan {
        epoch: seen.epoch,
        collections: wanted.iter().map(|name| (*name).clone()).collect(),
        nodes: Vec::new(),
        captures: Vec::new(),
        reasons: Vec::new(),
    };
    let mut blockers = Vec::new();
    for name in &wanted {
        if let Err(blocker) = capture_collection(&mut plan, &usable, name, request.method) {
            blockers.push(match blocker {
                None => Blocker::CollectionUnknown {
                    collection: (*name).clone(),
                    known: known.iter().map(|name| (*name).clone()).collect(),
                },
                Some(blocker) => *blocker,
            });
        }
    }
    if !seen.nodes.values().any(|node| node.connected) {
        // What else is missing follows from that.
        return Err(vec![Blocker::NoNode]);
    }
    let mut trouble = node_trouble(seen, &usable, everything.then_some(&known), now);
    if everything {
        trouble.extend(unusable_names(&usable, &mut plan.reasons));
    }
    if everything || !blockers.is_empty() {
        trouble.append(&mut blockers);
        blockers = trouble;
    }
    if blockers.is_empty() && plan.captures.is_empty() {
        blockers.push(Blocker::NothingToCapture);
    }
    if blockers.is_empty() {
        plan.nodes = facts(&plan.captures, &usable);
        let skews = plan
            .nodes
            .iter()
            .filter_map(|node| seen.skew_warning(&node.node));
        plan.reasons.extend(skews);
        Ok(plan)
    } else {
        Err(blockers)
    }
}

/// Adds the captures of one collection; `Err(None)` if no usable node has it.
fn capture_collection(
    plan: &mut BackupPlan,
    usable: &Usable,
    name: &CollectionName,
    wish: MethodWish,
) -> Result<(), Option<Box<Blocker>>> {
    let holders: Vec<(&NodeId, &ServerSeen, &CollectionView)> = usable
        .iter()
        .filter_map(|(node, server)| Some((*node, *server, server.collections.get(name)?)))
        .collect();
    let expected = holders.iter().map(|(_, _, view)| view.shard_count).max();
    let expected = expected.ok_or(None)?;
    if holders.len() > 1
        && holders
            .iter()
            .any(|(_, server, _)| server.peer_id.is_none())
    {
        return Err(Some(Box::new(Blocker::IndependentCopies {
            collection: name.clone(),
            nodes: holders.iter().map(|(node, ..)| (*node).clone()).collect(),
        })));
    }
    for (node, server, view) in &holders {
        if !server.version.is_supported() {
            return Err(Some(Box::new(Blocker::ServerTooOld {
                node: (*node).clone(),
                version: server.version.clone(),
            })));
        }
        if view.status != "green" {
            plan.reasons.push(format!(
                "collection {name} is {} on {node}: it is captured as it is",
                view.status
            ));
        }
    }

    let shards: BTreeSet<ShardId> = holders
        .iter()
        .flat_map(|(_, _, view)| view.shards.iter().filter(|(_, s)| s.active))
        .map(|(id, _)| *id)
        .collect();
    if shards.is_empty() || shards.len() != expected as usize {
        return Err(Some(Box::new(Blocker::ShardsMissing {
            collection: name.clone(),
            found: shards.len(),
            expected,
        })));
    }
    for shard in shards {
        plan.captures
            .push(choose(plan, &holders, name, shard, wish)?);
    }
    Ok(())
}

/// The replica of a shard that is captured, and how.
fn choose(
    plan: &BackupPlan,
    holders: &[(&NodeId, &ServerSeen, &CollectionView)],
    name: &CollectionName,
    shard: ShardId,
    wish: MethodWish,
) -> Result<CaptureStep, Option<Box<Blocker>>> {
    let (_, node, server) = holders
        .iter()
        .filter(|(_, _, view)| view.shards.get(&shard).is_some_and(|s| s.active))
        .map(|(node, server, view)| {
            let rank = Rank {
                not_green: view.status != "green",
                not_shared: !server.snapshots_shared,
                captures_already: plan.captures.iter().filter(|c| c.node == **node).count(),
                node,
            };
            (rank, *node, *server)
        })
        .min_by(|a, b| a.0.cmp(&b.0))
        .ok_or(None)?;
    let method = match (wish, server.snapshots_shared) {
        (MethodWish::Auto, _) => Method::Auto,
        (MethodWish::Direct, _) => Method::Direct,
        (MethodWish::Partial, _) => Method::Partial,
        (MethodWish::Stream, _) => Method::Stream,
        (MethodWish::Stored, true) => Method::Stored,
        (MethodWish::Stored, false) => {
            return Err(Some(Box::new(Blocker::MethodUnavailable {
                node: node.clone(),
            })));
        }
    };
    Ok(CaptureStep {
        collection: name.clone(),
        shard,
        node: node.clone(),
        method,
    })
}

/// What a backup of everything can't hold: collections block it, aliases are told of.
fn unusable_names(usable: &Usable, reasons: &mut Vec<String>) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for (node, server) in usable {
        let collections = server.unusable_collections.iter();
        blockers.extend(collections.map(|collection| Blocker::UnusableName {
            node: (*node).clone(),
            collection: collection.clone(),
        }));
        for alias in &server.unusable_aliases {
            reasons.push(format!(
                "{alias} on node {node} is left out: its name can't be captured"
            ));
        }
    }
    blockers
}

/// What is wrong with nodes that can't be used. With `known`, a disconnected node whose
/// collections are all found elsewhere is no trouble; without, every such node is named.
fn node_trouble(
    seen: &Observation,
    usable: &Usable,
    known: Option<&BTreeSet<&CollectionName>>,
    now: Timestamp,
) -> Vec<Blocker> {
    seen.nodes
        .iter()
        .filter(|(id, _)| !usable.contains_key(id))
        .filter_map(|(id, node)| {
            let covered = |server: &ServerSeen| {
                known.is_some_and(|known| server.collections.keys().all(|c| known.contains(c)))
            };
            match &node.server {
                ServerView::Seen(server) if !node.connected && covered(server) => None,
                ServerView::Seen(_) | ServerView::Unknown | ServerView::Failing { .. } => {
                    seen.node_blocker(id, now)
                }
            }
        })
        .collect()
}

impl Observation {
    /// What a person should know of a node whose clock is off.
    pub(crate) fn skew_warning(&self, id: &NodeId) -> Option<String> {
        let apart = self.nodes.get(id)?.clock_skew?;
        Some(format!(
            "the clocks of node {id} and of the coordinator are {} s apart, so the times recorded for it are wrong: set both by NTP",
            apart.as_secs()
        ))
    }

    /// Why a known node can't be used; `None` if it can.
    pub(crate) fn node_blocker(&self, id: &NodeId, now: Timestamp) -> Option<Blocker> {
        let node = self.nodes.get(id)?;
        if !node.connected {
            return Some(Blocker::NodeDisconnected { node: id.clone() });
        }
        if let ServerView::Failing { code, message } = &node.server {
            return Some(Blocker::Server {
                node: id.clone(),
                code: code.clone(),
                message: message.clone(),
            });
        }
        node.usable(now)
            .is_none()
            .then(|| Blocker::NodeSilent { node: id.clone() })
    }
}

fn facts(captures: &[CaptureStep], usable: &Usable) -> Vec<NodeFacts> {
    let nodes: BTreeSet<&NodeId> = captures.iter().map(|step| &step.node).collect();
    nodes
        .into_iter()
        .filter_map(|node| {
            let server = usable.get(node)?;
            Some(NodeFacts {
                node: node.clone(),
                version: server.version.clone(),
                commit: server.commit.clone(),
                peer_id: server.peer_id,
            })
        })
        .collect()
}

impl fmt::Display for CaptureStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.method {
            Method::Auto => "the quickest way that its agent has",
            Method::Direct => "its files on disk",
            Method::Partial => "what has changed",
            Method::Stored => "a stored snapshot",
            Method::Stream => "a streamed snapshot",
        };
        let Self {
            collection,
            shard,
            node,
            ..
        } = self;
        write!(f, "capture {collection}/{shard} on {node} through {how}")
    }
}

#[cfg(test)]
mod tests {
    use super::{BackupRequest, Method, MethodWish, plan_backup};
    use crate::blocker::Blocker;
    use crate::fixture::{NOW, busy, collection, names, node, seen, server, single};
    use crate::observation::ServerView;

    fn request(collections: &[&str], method: MethodWish) -> BackupRequest {
        BackupRequest {
            collections: names(collections).into_iter().collect(),
            method,
        }
    }

    fn everything() -> BackupRequest {
        request(&[], MethodWish::Auto)
    }

    fn lines(plan: &super::BackupPlan) -> Vec<String> {
        plan.captures.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_that_can_not_be_captured_are_never_passed_over() {
        let mut obs = single(&["docs"]);
        server(&mut obs, "n1").unusable_aliases = vec![r#"alias "x\n""#.into()];
        let plan = plan_backup(&obs, &everything(), NOW).unwrap();
        assert_eq!(
            plan.reasons,
            [r#"alias "x\n" on node n1 is left out: its name can't be captured"#]
        );
        server(&mut obs, "n1").unusable_collections = vec![r#"collection "a\n""#.into()];
        let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
        assert!(
            blockers[0]
                .to_string()
                .starts_with(r#"collection "a\n" on node n1 can't be captured"#)
        );
        // Who names others gets them.
        assert!(plan_backup(&obs, &request(&["docs"], MethodWish::Auto), NOW).is_ok());
    }

    #[test]
    fn one_node_is_captured_whole_in_order() {
        let plan = plan_backup(&single(&["docs", "books"]), &everything(), NOW).unwrap();
        assert_eq!(
            lines(&plan),
            [
                "capture books/0 on n1 through the quickest way that its agent has",
                "capture docs/0 on n1 through the quickest way that its agent has",
            ]
        );
        assert_eq!(plan.nodes.len(), 1);
        assert_eq!(plan.reasons, [""; 0]);
    }

    #[test]
    fn replicas_of_a_cluster_share_the_work() {
        let obs = seen([
            node("n1", Some(1), [collection("docs", 4, &[0, 1, 2, 3])]),
            node("n2", Some(2), [collection("docs", 4, &[0, 1, 2, 3])]),
        ]);
        let plan = plan_backup(&obs, &everything(), NOW).unwrap();
        assert_eq!(
            lines(&plan),
            [
                "capture docs/0 on n1 through the quickest way that its agent has",
                "capture docs/1 on n2 through the quickest way that its agent has",
                "capture docs/2 on n1 through the quickest way that its agent has",
                "capture docs/3 on n2 through the quickest way that its agent has",
            ]
        );
    }

    #[test]
    fn a_green_replica_comes_before_a_yellow_one() {
        let mut yellow = collection("docs", 1, &[0]);
        yellow.1.status = "yellow".into();
        let obs = seen([
            node("n1", Some(1), [yellow]),
            node("n2", Some(2), [collection("docs", 1, &[0])]),
        ]);
        let plan = plan_backup(&obs, &everything(), NOW).unwrap();
        assert_eq!(
            lines(&plan),
            ["capture docs/0 on n2 through the quickest way that its agent has"]
        );
        assert_eq!(plan.reasons.len(), 1);
    }

    #[test]
    fn without_a_shared_volume_nothing_is_stored() {
        let mut obs = single(&["docs"]);
        crate::fixture::server(&mut obs, "n1").snapshots_shared = false;
        let plan = plan_backup(&obs, &everything(), NOW).unwrap();
        assert_eq!(plan.captures[0].method, Method::Auto);
        let refused = plan_backup(&obs, &request(&["docs"], MethodWish::Stored), NOW);
        assert!(matches!(
            refused.unwrap_err()[..],
            [Blocker::MethodUnavailable { .. }]
        ));
    }

    #[test]
    fn a_missing_shard_blocks() {
        let obs = seen([node("n1", Some(1), [collection("docs", 3, &[0, 2])])]);
        let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
        assert!(matches!(
            blockers[..],
            [Blocker::ShardsMissing {
                found: 2,
                expected: 3,
                ..
            }]
        ));
    }

    #[test]
    fn unknown_collections_are_named_with_what_there_is() {
        let blockers = plan_backup(
            &single(&["docs"]),
            &request(&["dogs"], MethodWish::Auto),
            NOW,
        )
        .unwrap_err();
        assert_eq!(
            blockers[0].to_string(),
            "collection dogs is on no node that can be seen; there are: docs"
        );
    }

    #[test]
    fn a_failing_node_blocks_everything_but_not_what_lives_elsewhere() {
        let mut obs = seen([
            node("n1", None, [collection("docs", 1, &[0])]),
            node("n2", None, [collection("books", 1, &[0])]),
        ]);
        let n2 = obs.nodes.values_mut().nth(1).unwrap();
        n2.server = ServerView::Failing {
            code: "qdrant-unreachable".into(),
            message: "no answer".into(),
        };
        let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
        assert!(
            matches!(blockers[..], [Blocker::Server { .. }]),
            "{blockers:?}"
        );
        assert!(plan_backup(&obs, &request(&["docs"], MethodWish::Auto), NOW).is_ok());
        let blockers = plan_backup(&obs, &request(&["books"], MethodWish::Auto), NOW).unwrap_err();
        assert!(
            matches!(
                blockers[..],
                [Blocker::Server { .. }, Blocker::CollectionUnknown { .. }]
            ),
            "{blockers:?}"
        );
    }

    #[test]
    fn nobody_connected_nothing_there_and_independent_copies_block() {
        let none = plan_backup(&seen([]), &everything(), NOW).unwrap_err();
        assert_eq!(none, [Blocker::NoNode]);
        let empty = plan_backup(&single(&[]), &everything(), NOW).unwrap_err();
        assert_eq!(empty, [Blocker::NothingToCapture]);
        let twins = seen([
            node("n1", None, [collection("docs", 1, &[0])]),
            node("n2", None, [collection("docs", 1, &[0])]),
        ]);
        let blockers = plan_backup(&twins, &everything(), NOW).unwrap_err();
        assert!(matches!(blockers[..], [Blocker::IndependentCopies { .. }]));
    }

    #[test]
    fn a_running_job_and_a_stale_report_block() {
        let obs = busy(single(&["docs"]));
        let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
        assert!(matches!(blockers[..], [Blocker::JobRunning { .. }]));
        let later = NOW.after(std::time::Duration::from_secs(61));
        let blockers = plan_backup(&single(&["docs"]), &everything(), later).unwrap_err();
        assert!(matches!(blockers[..], [Blocker::NodeSilent { .. }]));
    }

    #[test]
    fn an_old_server_blocks() {
        let mut obs = single(&["docs"]);
        crate::fixture::server(&mut obs, "n1").version = "1.17.0".parse().unwrap();
        let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
        assert!(matches!(blockers[..], [Blocker::ServerTooOld { .. }]));
    }
}
