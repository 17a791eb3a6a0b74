//! Which replica of which shard is captured where and how.
//!
//! A backup is whole or refused: a collection that can't be captured completely blocks the plan,
//! and a request for everything is blocked by a node whose collections are unknown.
//!
//! One replica of every shard is captured, and the same one each time as long as nothing speaks against it: replicas are
//! built independently and share no bytes, so that another one costs its whole size again. The node of the newest
//! recovery point is the pin; leaving it has a named reason ([`Trouble`]).

use crate::blocker::Blocker;
use crate::observation::{CollectionView, Observation, ServerSeen, ServerView};
use crate::retention::NamePattern;
pub use extras::ExtraStep;
pub use fleet::has_other_replica;
use fleet::{Failures, Fleet};
use holdfast_types::{
    CaptureLimits, CollectionName, Epoch, NodeId, ServerVersion, ShardId, Timestamp,
};
pub use lanes::{Lane, Lanes};
use serde::{Deserialize, Serialize};
pub use settle::{Gone, Settlement, Standing, settle_backup};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
pub use trouble::Trouble;

mod extras;
mod fleet;
mod lanes;
mod settle;
mod trouble;

/// What to back up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRequest {
    /// Collections by name. Without these and without patterns every collection is meant.
    pub collections: BTreeSet<CollectionName>,
    /// Collections by the shape of their names.
    pub patterns: BTreeSet<NamePattern>,
    /// How to capture.
    pub method: MethodWish,
    /// How much it may take from the database.
    pub limits: CaptureLimits,
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
    /// What was asked for: by it is judged what appears or vanishes while the job runs.
    #[serde(default)]
    pub asked: Asked,
    /// The servers that are captured, or of whose extras something is said.
    pub nodes: Vec<NodeFacts>,
    /// In this order on each node, one at a time; nodes don't wait for each other.
    pub captures: Vec<CaptureStep>,
    /// The files beside Qdrant's own: each node's before its captures. None in a safety capture, which is no backup of a node.
    #[serde(default)]
    pub extras: Vec<ExtraStep>,
    /// Nodes of which it is not known what extras they have, with why.
    #[serde(default)]
    pub extras_unknown: BTreeMap<NodeId, String>,
    /// How much they may take from the database. Plans that an earlier release recorded have no bounds.
    #[serde(default)]
    pub limits: CaptureLimits,
    /// Why it is so, where there was a choice or something is unusual.
    pub reasons: Vec<String>,
}

/// What was asked for. Plans that an earlier release recorded don't say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Collections that were named: none of them may be missing.
    pub named: BTreeSet<CollectionName>,
    /// The shapes of names that were given.
    pub patterns: BTreeSet<NamePattern>,
    /// Whether every collection was asked for.
    pub everything: bool,
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
    /// Set if another node's replica was captured the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repinned: Option<Repin>,
}

/// Why a shard is not captured from where it was the last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repin {
    /// The node it was captured from.
    pub from: NodeId,
    /// What speaks against it.
    pub why: Trouble,
}

impl Asked {
    /// Whether a collection of this name belongs to it.
    #[must_use]
    pub fn wants(&self, name: &CollectionName) -> bool {
        self.everything
            || self.named.contains(name)
            || self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

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
    let planned = plan_captures(seen, request, now).map(|mut plan| {
        let (pins, failures) = (&seen.past.pins, Failures::new());
        extras::add(
            &mut plan,
            &Fleet::new(seen, request.method, pins, &failures, now),
        );
        plan
    });
    match (running, planned) {
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
    if !seen.nodes.values().any(|node| node.connected) {
        // What else is missing follows from that.
        return Err(vec![Blocker::NoNode]);
    }
    let failures = Failures::new();
    let fleet = Fleet::new(seen, request.method, &seen.past.pins, &failures, now);
    let known = fleet.known();
    let everything = request.collections.is_empty() && request.patterns.is_empty();
    let asked = Asked {
        named: request.collections.clone(),
        patterns: request.patterns.clone(),
        everything,
    };
    let (wanted, mut blockers) = wanted(&asked, &known);
    let mut plan = BackupPlan {
        epoch: seen.epoch,
        collections: owned(&wanted),
        asked: asked.clone(),
        nodes: Vec::new(),
        captures: Vec::new(),
        extras: Vec::new(),
        extras_unknown: BTreeMap::new(),
        limits: request.limits,
        reasons: Vec::new(),
    };
    let mut shards = Vec::new();
    for name in &wanted {
        match judge_collection(&fleet, name, &mut plan.reasons) {
            Ok(found) => shards.extend(found.into_iter().map(|shard| (*name, shard))),
            Err(None) => blockers.push(Blocker::CollectionUnknown {
                collection: (*name).clone(),
                known: owned(&known),
            }),
            Err(Some(blocker)) => blockers.push(*blocker),
        }
    }
    // A pattern, too, may fit what only a node has that can't be seen.
    let blind = everything || !request.patterns.is_empty();
    let mut trouble = node_trouble(&fleet, blind.then_some(&known), &mut plan.reasons, now);
    if blind {
        trouble.extend(unusable_names(&fleet, &mut plan.reasons));
    }
    if blind || !blockers.is_empty() {
        trouble.append(&mut blockers);
        blockers = trouble;
    }
    if blockers.is_empty() && shards.is_empty() {
        blockers.push(Blocker::NothingToCapture);
    }
    if !blockers.is_empty() {
        return Err(blockers);
    }
    plan.captures = fleet
        .choose(&shards, BTreeMap::new())
        .map_err(|left| fleet.none_left(&left))?;
    plan.nodes = facts(&plan.captures, &fleet.usable);
    plan.reasons.extend(fleet.despite_drain(&plan.captures));
    let unlimited = unlimited(&plan, &fleet);
    plan.reasons.extend(unlimited);
    let skews = plan.nodes.iter();
    let skews = skews.filter_map(|node| seen.skew_warning(&node.node));
    plan.reasons.extend(skews);
    Ok(plan)
}

/// Nodes that would be captured as fast as they can be, whatever was asked for: a backup that takes too much is better than none.
fn unlimited(plan: &BackupPlan, fleet: &Fleet<'_>) -> Vec<String> {
    if !plan.limits.need_agents() {
        return Vec::new();
    }
    let keeps = |node: &NodeId| fleet.usable.get(node).is_some_and(|s| s.keeps_limits);
    let nodes = plan.nodes.iter().map(|facts| &facts.node);
    nodes
        .filter(|node| !keeps(node))
        .map(|node| {
            format!(
                "the agent of node {node} is of an earlier release and keeps no limits: it captures as fast as it can until it is updated"
            )
        })
        .collect()
}

/// The collections that are meant, and what speaks against the patterns.
fn wanted<'a>(
    asked: &'a Asked,
    known: &BTreeSet<&'a CollectionName>,
) -> (BTreeSet<&'a CollectionName>, Vec<Blocker>) {
    if asked.everything {
        return (known.clone(), Vec::new());
    }
    let mut wanted: BTreeSet<&CollectionName> = asked.named.iter().collect();
    let mut blockers = Vec::new();
    for pattern in &asked.patterns {
        let mut fits = known.iter().filter(|name| pattern.matches(name)).peekable();
        if fits.peek().is_none() {
            blockers.push(Blocker::NothingFits {
                pattern: pattern.clone(),
                known: owned(known),
            });
        }
        wanted.extend(fits);
    }
    (wanted, blockers)
}

fn owned<T: FromIterator<CollectionName>>(names: &BTreeSet<&CollectionName>) -> T {
    names.iter().map(|name| (*name).clone()).collect()
}

/// The shards of one collection; `Err(None)` if no usable node has it.
fn judge_collection(
    fleet: &Fleet<'_>,
    name: &CollectionName,
    reasons: &mut Vec<String>,
) -> Result<BTreeSet<ShardId>, Option<Box<Blocker>>> {
    let holders = fleet.holders(name);
    let expected = holders.iter().map(|(_, _, view)| view.shard_count).max();
    let expected = expected.ok_or(None)?;
    if !one_cluster(&holders) {
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
            reasons.push(format!(
                "collection {name} is {} on {node}: it is captured as it is",
                view.status
            ));
        }
    }
    let shards = fleet.shards(name);
    let mut missing = Vec::new();
    let mut bad = 0;
    for shard in &shards {
        let holders = holders.iter().map(|(node, ..)| *node);
        let troubles: Vec<_> = holders
            .map(|node| (node, fleet.trouble(name, *shard, node)))
            .collect();
        if troubles
            .iter()
            .any(|(_, t)| !t.as_ref().is_some_and(Trouble::forbids))
        {
            continue;
        }
        let mut unshared = troubles.iter();
        if let Some((node, _)) = unshared.find(|(_, t)| *t == Some(Trouble::NotShared)) {
            let node = (*node).clone();
            return Err(Some(Box::new(Blocker::MethodUnavailable { node })));
        }
        bad += 1;
        missing.push(format!(
            "shard {shard}: {}",
            fleet.lament(name, *shard).join(", ")
        ));
    }
    if shards.len() < expected as usize {
        missing.push(format!(
            "{} have no replica at all",
            expected as usize - shards.len()
        ));
    } else if shards.len() > expected as usize {
        missing.push("the nodes don't agree yet on how many there are".to_owned());
    }
    if missing.is_empty() && !shards.is_empty() {
        return Ok(shards);
    }
    Err(Some(Box::new(Blocker::ShardsMissing {
        collection: name.clone(),
        found: shards.len() - bad,
        expected,
        missing,
    })))
}

/// Whether these nodes, which have a collection of one name, are peers of one Qdrant cluster.
fn one_cluster(holders: &[(&NodeId, &ServerSeen, &CollectionView)]) -> bool {
    let mut all = holders
        .iter()
        .flat_map(|a| holders.iter().map(move |b| (a, b)));
    all.all(|((a, server, _), (b, other, _))| {
        a == b
            || match (server.peer_id, other.peer_id) {
                // An older agent does not tell of its peers.
                (Some(_), Some(other)) => {
                    server.cluster.is_empty() || server.cluster.contains_key(&other)
                }
                (None, _) | (_, None) => false,
            }
    })
}

/// What a backup of everything can't hold: collections block it, aliases are told of.
fn unusable_names(fleet: &Fleet<'_>, reasons: &mut Vec<String>) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for (node, server) in &fleet.usable {
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

/// What is wrong with nodes that can't be used. With `known`, a node is no trouble if all that it had is found elsewhere,
/// or if it is a peer of a cluster that others tell of; without, every such node is named.
fn node_trouble(
    fleet: &Fleet<'_>,
    known: Option<&BTreeSet<&CollectionName>>,
    reasons: &mut Vec<String>,
    now: Timestamp,
) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    let nodes = fleet.seen.nodes.iter();
    for (id, node) in nodes.filter(|(id, _)| !fleet.usable.contains_key(id)) {
        let Some(blocker) = fleet.seen.node_blocker(id, now) else {
            continue;
        };
        if known.is_some() && fleet.is_member(id) {
            reasons.push(format!(
                "{blocker}; what it has is captured from other nodes"
            ));
            continue;
        }
        let covered = |server: &ServerSeen| {
            known.is_some_and(|known| server.collections.keys().all(|c| known.contains(c)))
        };
        match &node.server {
            ServerView::Seen(server) if !node.connected && covered(server) => {}
            ServerView::Seen(_) | ServerView::Unknown | ServerView::Failing { .. } => {
                blockers.push(blocker);
            }
        }
    }
    blockers
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

/// What is recorded of the nodes of these captures.
pub(crate) fn facts(
    captures: &[CaptureStep],
    usable: &BTreeMap<&NodeId, &ServerSeen>,
) -> Vec<NodeFacts> {
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
        write!(f, "capture {collection}/{shard} on {node} through {how}")?;
        match &self.repinned {
            Some(Repin { from, why }) => write!(f, ", not on {from} as before: {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
