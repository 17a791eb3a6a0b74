//! Which collections of a recovery point go where, what they replace, and what speaks against it.
//!
//! A plan is always returned, so that it can be shown; it may be carried out only if it has no
//! blockers. What exists is never replaced without permission, and then captured first.

use crate::backup::BackupPlan;
use crate::blocker::Blocker;
use crate::instant::Choice;
use crate::observation::Observation;
use crate::recovery_order::RecoveryOrder;
use crate::restore_target::Target;
use holdfast_types::{
    AliasName, ByteCount, CollectionName, Epoch, NodeId, RecoveryPointId, ServerVersion, ShardId,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreRequest {
    /// From which recovery point.
    pub point: RecoveryPointId,
    /// Which collections; empty means all of it under their own names.
    pub collections: Vec<Mapping>,
    /// Where to, or a node of the cluster that is meant; `None` means the only connected node or cluster.
    pub node: Option<NodeId>,
    /// Replicas of each shard; `None` means as captured.
    pub replication_factor: Option<u32>,
    /// Whether what exists may be replaced.
    pub overwrite: bool,
    /// Whether aliases are re-created.
    pub with_aliases: bool,
    /// What is replayed on the captured shards; `None` means that they are restored as they are.
    pub instant: Option<Choice>,
    /// Which comes back first; `None` means in the order in which they are asked for, or stand in the recovery point.
    pub order: Option<RecoveryOrder>,
}

/// A collection's name in the recovery point and the one it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Name in the recovery point.
    pub source: CollectionName,
    /// Name afterwards.
    pub target: CollectionName,
}

/// The recovery point as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointView {
    /// There is none of that id.
    Unknown,
    /// It can't be read.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// It is another namespace's.
    Foreign {
        /// Whose it is.
        namespace: String,
    },
    /// What it holds.
    Found(Vec<CapturedCollection>),
}

/// One collection of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedCollection {
    /// Its name.
    pub name: CollectionName,
    /// Versions of the servers it was captured from.
    pub versions: BTreeSet<ServerVersion>,
    /// Number of its shards.
    pub shards: u32,
    /// Bytes of each shard's files.
    pub shard_sizes: BTreeMap<ShardId, u64>,
    /// Whether its shards have keys.
    pub keyed: bool,
    /// Replicas that each of its shards was to have.
    pub replication_factor: u32,
    /// Bytes of its files.
    pub logical_bytes: u64,
    /// Aliases that pointed at it.
    pub aliases: Vec<AliasName>,
    /// Payload fields that were indexed.
    pub indexes: Vec<String>,
    /// Exact number of points, if it was known.
    pub points: Option<u64>,
}

/// How a recovery point is brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The term it belongs to.
    pub epoch: Epoch,
    /// From which recovery point.
    pub point: RecoveryPointId,
    /// Where to; `None` if that is undecided, which is a blocker. In a cluster the node that creates collections and aliases.
    pub node: Option<NodeId>,
    /// Whether that is a Qdrant cluster of several nodes: then each shard is uploaded by one of the nodes that have it.
    #[serde(default)]
    pub in_cluster: bool,
    /// The nodes that receive something: the node, or all of its cluster.
    #[serde(default)]
    pub receivers: Vec<Receiver>,
    /// Whether aliases were asked for.
    #[serde(default = "yes")]
    pub with_aliases: bool,
    /// One after the other, in this order.
    pub steps: Vec<RestoreStep>,
    /// Who gives the order, in words; absent if nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_from: Option<String>,
    /// Captured before the first step: what will be replaced.
    pub safety: Option<BackupPlan>,
    /// What is replayed on the captured shards; absent if they are restored as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instant: Option<Choice>,
    /// What speaks against it.
    #[serde(skip)]
    pub blockers: Vec<Blocker>,
    /// What a person should know before saying yes.
    pub warnings: Vec<String>,
}

/// Plans that an earlier release recorded don't say; re-creating aliases is the default.
fn yes() -> bool {
    true
}

/// A node that receives data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Which.
    pub node: NodeId,
    /// Its Qdrant's version.
    pub version: ServerVersion,
    /// About how many bytes its storage gets.
    pub needed: u64,
    /// Bytes free there, if its agent sees that.
    pub free: Option<u64>,
}

/// Restore one collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreStep {
    /// Name in the recovery point.
    pub source: CollectionName,
    /// Name afterwards.
    pub target: CollectionName,
    /// Whether it exists and is replaced.
    pub replaces: bool,
    /// Number of shards.
    pub shards: u32,
    /// Bytes of its files.
    pub logical_bytes: u64,
    /// Bytes of each shard's files.
    #[serde(default)]
    pub shard_sizes: BTreeMap<ShardId, u64>,
    /// In a cluster: replicas that each shard will have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The setting of the collection, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// In a cluster: aliases that the replaced collection has and the captured one had not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_aliases: Vec<AliasName>,
    /// Aliases that will point at it.
    pub aliases: Vec<AliasName>,
    /// Payload fields that will be indexed.
    pub indexes: Vec<String>,
    /// Number of points it must have afterwards, if known.
    pub points: Option<u64>,
    /// Its place, if somebody gives the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_order: Option<u32>,
}

/// Plans a restore; what speaks against it stands in the plan's `blockers`.
#[must_use]
pub fn plan_restore(
    seen: &Observation,
    point: &PointView,
    request: &RestoreRequest,
    now: Timestamp,
) -> RestorePlan {
    let mut plan = RestorePlan {
        epoch: seen.epoch,
        point: request.point.clone(),
        node: None,
        in_cluster: false,
        receivers: Vec::new(),
        with_aliases: request.with_aliases,
        steps: Vec::new(),
        order_from: request.order.as_ref().map(|order| order.from.clone()),
        safety: None,
        instant: request.instant.clone(),
        blockers: Vec::new(),
        warnings: request
            .instant
            .iter()
            .flat_map(|choice| choice.warnings.iter().map(ToString::to_string))
            .collect(),
    };
    if let Some(job) = &seen.running {
        plan.blockers.push(Blocker::JobRunning {
            job: job.id.clone(),
            kind: job.kind,
        });
    }
    let wanted = wanted(point, request, &mut plan.blockers);
    match Target::choose(seen, request.node.as_ref(), now) {
        Ok(target) => {
            plan.node = Some(target.node.clone());
            plan.in_cluster = target.in_cluster();
            target.judge_servers(seen, now, &mut plan.blockers);
            target.judge_agent(request, &mut plan.blockers);
            for (captured, name) in wanted {
                target.add_step(&mut plan, request, captured, name);
            }
            target.receive(&mut plan);
            plan.warnings.extend(seen.skew_warning(target.node));
            target.plan_safety(&mut plan, seen, now);
        }
        Err(blocker) => {
            plan.blockers.push(*blocker);
            let step = |(captured, name)| RestoreStep::new(captured, name, false, vec![]);
            plan.steps = wanted.into_iter().map(step).collect();
        }
    }
    if let Some(order) = &request.order {
        for step in &mut plan.steps {
            step.recovery_order = Some(order.place(&step.source));
        }
    }
    if plan.instant.is_some() {
        // What was counted is the captured number.
        plan.steps.iter_mut().for_each(|step| step.points = None);
    }
    plan
}

/// The collections that are asked for and that the recovery point has, with their names afterwards.
fn wanted<'a>(
    point: &'a PointView,
    request: &RestoreRequest,
    blockers: &mut Vec<Blocker>,
) -> Vec<(&'a CapturedCollection, CollectionName)> {
    let id = request.point.clone();
    let captured = match point {
        PointView::Found(captured) => captured,
        PointView::Unknown => {
            blockers.push(Blocker::PointUnknown { point: id });
            return Vec::new();
        }
        PointView::Damaged { why } => {
            let why = why.clone();
            blockers.push(Blocker::PointDamaged { point: id, why });
            return Vec::new();
        }
        PointView::Foreign { namespace } => {
            let namespace = namespace.clone();
            blockers.push(Blocker::PointForeign {
                point: id,
                namespace,
            });
            return Vec::new();
        }
    };
    let mut wanted = Vec::new();
    if request.collections.is_empty() {
        wanted.extend(captured.iter().map(|c| (c, c.name.clone())));
    }
    for mapping in &request.collections {
        match captured.iter().find(|c| c.name == mapping.source) {
            Some(found) => wanted.push((found, mapping.target.clone())),
            None => blockers.push(Blocker::CollectionNotInPoint {
                point: id.clone(),
                collection: mapping.source.clone(),
                known: captured.iter().map(|c| c.name.clone()).collect(),
            }),
        }
    }
    if let Some(order) = &request.order {
        wanted.sort_by_cached_key(|(captured, target)| {
            (
                order.place(&captured.name),
                captured.name.clone(),
                target.clone(),
            )
        });
    }
    let mut targets = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for (_, target) in &wanted {
        if !targets.insert(target) && twice.insert(target) {
            blockers.push(Blocker::TargetTwice {
                target: target.clone(),
            });
        }
    }
    wanted
}

impl RestoreStep {
    pub(crate) fn new(
        captured: &CapturedCollection,
        target: CollectionName,
        replaces: bool,
        aliases: Vec<AliasName>,
    ) -> Self {
        Self {
            source: captured.name.clone(),
            target,
            replaces,
            shards: captured.shards,
            logical_bytes: captured.logical_bytes,
            shard_sizes: captured.shard_sizes.clone(),
            replicas: None,
            replication_factor: None,
            kept_aliases: Vec::new(),
            aliases,
            indexes: captured.indexes.clone(),
            points: captured.points,
            recovery_order: None,
        }
    }
}

impl RestorePlan {
    /// Whether it may be carried out, as far as the planner knows.
    #[must_use]
    pub fn is_runnable(&self) -> bool {
        self.blockers.is_empty()
    }

    /// Bytes of all files that will be restored.
    #[must_use]
    pub fn logical_bytes(&self) -> u64 {
        self.steps
            .iter()
            .fold(0, |sum, step| sum.saturating_add(step.logical_bytes))
    }
}

impl fmt::Display for RestoreStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            target,
            shards,
            ..
        } = self;
        write!(f, "restore {source}")?;
        if source != target {
            write!(f, " as {target}")?;
        }
        let size = ByteCount(self.logical_bytes);
        let plural = if *shards == 1 { "" } else { "s" };
        write!(f, ": {shards} shard{plural}, {size}")?;
        if let Some(replicas) = self.replicas {
            let plural = if replicas == 1 { "" } else { "s" };
            write!(f, ", {replicas} replica{plural} of each")?;
        }
        if self.replaces {
            f.write_str(", replacing the one that exists")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Mapping, PointView, RestorePlan, RestoreRequest, plan_restore};
    use crate::fixture::{NOW, busy, captured, name, node, seen, server, single};
    use crate::observation::{Observation, ServerView};
    use std::time::Duration;

    fn point() -> PointView {
        PointView::Found(vec![captured("books"), captured("docs")])
    }

    fn request() -> RestoreRequest {
        RestoreRequest {
            point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
            collections: vec![],
            node: None,
            replication_factor: None,
            overwrite: false,
            with_aliases: true,
            instant: None,
            order: None,
        }
    }

    fn map(source: &str, target: &str) -> Mapping {
        Mapping {
            source: name(source),
            target: name(target),
        }
    }

    /// The plan as lines: steps with aliases, safety captures, blockers, warnings.
    fn lines(plan: &RestorePlan) -> Vec<String> {
        let step = |s: &super::RestoreStep| format!("{s} {:?}", s.aliases);
        let safety = plan.safety.iter().flat_map(|safety| &safety.captures);
        plan.steps
            .iter()
            .map(step)
            .chain(safety.map(|capture| format!("safety: {capture}")))
            .chain(plan.blockers.iter().map(|b| format!("blocked: {b}")))
            .chain(plan.warnings.iter().map(|w| format!("warning: {w}")))
            .collect()
    }

    fn planned(obs: &Observation, request: &RestoreRequest) -> Vec<String> {
        lines(&plan_restore(obs, &point(), request, NOW))
    }

    #[test]
    fn everything_goes_back_to_the_only_node() {
        let obs = single(&[]);
        assert_eq!(
            planned(&obs, &request()),
            [
                r#"restore books: 1 shard, 1000 B ["books-live"]"#,
                r#"restore docs: 1 shard, 1000 B ["docs-live"]"#,
            ]
        );
    }

    #[test]
    fn what_exists_is_refused_or_captured_first() {
        let obs = single(&["docs"]);
        let mut order = request();
        order.collections = vec![map("docs", "docs")];
        assert_eq!(
            planned(&obs, &order)[1],
            "blocked: collection docs already exists on node n1: restore under another name with --as, or replace it with --overwrite (it is captured first)"
        );
        order.overwrite = true;
        assert_eq!(
            planned(&obs, &order),
            [
                r#"restore docs: 1 shard, 1000 B, replacing the one that exists ["docs-live"]"#,
                "safety: capture docs/0 on n1 through the quickest way that its agent has",
            ]
        );
    }

    #[test]
    fn an_alias_in_use_is_left_where_it_is() {
        let mut obs = single(&["docs"]);
        server(&mut obs, "n1")
            .collections
            .get_mut(&name("docs"))
            .unwrap()
            .aliases = vec!["docs-live".parse().unwrap()];
        let mut order = request();
        order.collections = vec![map("docs", "docs-old")];
        assert_eq!(
            planned(&obs, &order),
            [
                "restore docs as docs-old: 1 shard, 1000 B []",
                "warning: alias docs-live points at collection docs and stays there",
            ]
        );
        order.collections = vec![map("books", "docs-live")];
        assert!(
            planned(&obs, &order)[1]
                .starts_with("blocked: docs-live is an alias of collection docs")
        );
        // Replacing docs takes its aliases with it and brings them back.
        order.collections = vec![map("docs", "docs")];
        order.overwrite = true;
        assert!(planned(&obs, &order)[0].ends_with(r#"["docs-live"]"#));
        order.with_aliases = false;
        assert_eq!(
            planned(&obs, &order)[2],
            "warning: alias docs-live stays with collection docs, as it is now"
        );
    }

    #[test]
    fn every_blocker_is_told_at_once() {
        let mut obs = busy(single(&["docs"]));
        server(&mut obs, "n1").version = "1.20.0".parse().unwrap();
        let mut order = request();
        order.collections = vec![map("docs", "x"), map("books", "x"), map("nope", "y")];
        let blocked = planned(&obs, &order)
            .into_iter()
            .filter_map(|line| Some(line.strip_prefix("blocked: ")?.chars().take(38).collect()))
            .collect::<Vec<String>>();
        assert_eq!(
            blocked,
            [
                "backup job job-1 is still running: wai",
                "recovery point 20261121t101530z-0a1b2c",
                "two collections would be restored as x",
                "collection docs was captured from Qdra",
                "collection books was captured from Qdr",
            ]
        );
    }

    #[test]
    fn the_node_must_be_clear_and_usable() {
        let two = seen([node("n1", None, []), node("n2", None, [])]);
        let blocked = |obs: &Observation, order: &RestoreRequest| {
            plan_restore(obs, &point(), order, NOW).blockers[0].to_string()
        };
        assert_eq!(
            blocked(&two, &request()),
            "several nodes are connected (n1, n2): choose one with --node"
        );
        let mut order = request();
        order.node = Some("n3".parse().unwrap());
        assert_eq!(
            blocked(&two, &order),
            "node n3 is not known; connected nodes: n1, n2"
        );
        order.node = Some("n2".parse().unwrap());
        assert_eq!(plan_restore(&two, &point(), &order, NOW).blockers, []);
        let mut down = single(&[]);
        down.nodes.values_mut().next().unwrap().server = ServerView::Failing {
            code: "qdrant-unreachable".into(),
            message: "no answer on http://127.0.0.1:6333".into(),
        };
        assert_eq!(
            blocked(&down, &request()),
            "Qdrant on node n1 can't be used: no answer on http://127.0.0.1:6333"
        );
        // A peer counts although no agent stands beside it.
        order.node = Some("n1".parse().unwrap());
        let mut alone = seen([node("n1", Some(1), [])]);
        assert_eq!(plan_restore(&alone, &point(), &order, NOW).blockers, []);
        server(&mut alone, "n1").peers = 2;
        server(&mut alone, "n1").cluster = [(1, String::new()), (2, String::new())].into();
        assert!(blocked(&alone, &order).starts_with("peer 2 of the Qdrant cluster of node n1"));
    }

    #[test]
    fn a_clock_that_is_off_is_told_and_blocks_nothing() {
        let mut obs = single(&[]);
        obs.nodes.values_mut().next().unwrap().clock_skew = Some(Duration::from_secs(7200));
        let plan = plan_restore(&obs, &point(), &request(), NOW);
        assert!(plan.is_runnable());
        assert!(
            plan.warnings[0]
                .starts_with("the clocks of node n1 and of the coordinator are 7200 s apart")
        );
    }

    #[test]
    fn unknown_damaged_and_foreign_points_block() {
        for (view, want) in [
            (PointView::Unknown, "does not exist"),
            (PointView::Damaged { why: "cut".into() }, "is damaged (cut)"),
            (
                PointView::Foreign {
                    namespace: "other".into(),
                },
                "belongs to namespace other",
            ),
        ] {
            let plan = plan_restore(&single(&[]), &view, &request(), NOW);
            assert!(plan.blockers[0].to_string().contains(want), "{plan:?}");
            assert!(!plan.is_runnable());
        }
    }

    #[test]
    fn little_space_is_told() {
        let mut obs = single(&[]);
        server(&mut obs, "n1").storage_free = Some(holdfast_types::ByteCount(3000));
        assert!(planned(&obs, &request())[2].starts_with("warning: node n1 has 2.9 KiB free"));
    }
}
