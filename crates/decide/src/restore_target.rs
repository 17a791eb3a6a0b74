//! The node, or the Qdrant cluster, that receives a restore, and what is in the way there.

use crate::backup::{BackupRequest, MethodWish, plan_captures};
use crate::blocker::{Blocker, alias_stays};
use crate::instant::ReplayWay;
use crate::observation::{Observation, ServerSeen};
use crate::restore::{CapturedCollection, Receiver, RestorePlan, RestoreRequest, RestoreStep};
use holdfast_types::{
    AliasName, ByteCount, CaptureLimits, CollectionName, Compatibility, NodeId, ServerVersion,
    Timestamp,
};

/// A node whose server is known and usable, and the other usable nodes of its Qdrant cluster.
pub(crate) struct Target<'a> {
    pub(crate) node: &'a NodeId,
    server: &'a ServerSeen,
    members: Vec<(&'a NodeId, &'a ServerSeen)>,
}

impl<'a> Target<'a> {
    /// The node that is meant; of a cluster that is meant as a whole, the first that can be used.
    pub(crate) fn choose(
        seen: &'a Observation,
        named: Option<&NodeId>,
        now: Timestamp,
    ) -> Result<Self, Box<Blocker>> {
        let connected: Vec<&NodeId> = seen
            .nodes
            .iter()
            .filter(|(_, node)| node.connected)
            .map(|(id, _)| id)
            .collect();
        let named = match (named, connected.as_slice()) {
            (Some(named), _) => named,
            (None, [only]) => *only,
            (None, []) => return Err(Box::new(Blocker::NoNode)),
            (None, several) => one_cluster(seen, several, now).ok_or_else(|| {
                Box::new(Blocker::SeveralNodes {
                    nodes: several.iter().map(|id| (*id).clone()).collect(),
                })
            })?,
        };
        let Some((node, view)) = seen.nodes.get_key_value(named) else {
            return Err(Box::new(Blocker::NodeUnknown {
                node: named.clone(),
                connected: connected.into_iter().cloned().collect(),
            }));
        };
        match (seen.node_blocker(node, now), view.usable(now)) {
            (None, Some(server)) => Ok(Self {
                node,
                server,
                members: members(seen, node, server, now),
            }),
            (Some(blocker), _) => Err(Box::new(blocker)),
            (None, None) => Err(Box::new(Blocker::NodeSilent { node: node.clone() })),
        }
    }

    /// Whether Qdrant spreads a new collection over several nodes. An agent that does not say how many there are may have any number.
    pub(crate) fn in_cluster(&self) -> bool {
        self.server.peer_id.is_some() && self.server.peers != 1
    }

    /// Blockers that don't depend on a collection.
    pub(crate) fn judge_servers(
        &self,
        seen: &Observation,
        now: Timestamp,
        blockers: &mut Vec<Blocker>,
    ) {
        for (node, server) in &self.members {
            if !server.version.is_supported() {
                blockers.push(Blocker::ServerTooOld {
                    node: (*node).clone(),
                    version: server.version.clone(),
                });
            }
            if self.in_cluster() && !server.restores_parts {
                let node = (*node).clone();
                blockers.push(Blocker::AgentWithoutParts { node });
            }
        }
        let peers = self.server.cluster.keys();
        for peer in peers.filter(|_| self.in_cluster()) {
            let (name, why) = match seen.node_of(*peer) {
                None => (format!("peer {peer}"), "no agent of it is known".to_owned()),
                Some(member) if self.members.iter().any(|(node, _)| *node == member) => continue,
                Some(member) => {
                    let why = seen.node_blocker(member, now);
                    let why = why.map_or("its agent does not report".to_owned(), |b| b.to_string());
                    (format!("node {member}"), why)
                }
            };
            blockers.push(Blocker::PeerUnusable {
                node: self.node.clone(),
                peer: name,
                why,
            });
        }
    }

    /// An older agent would restore what was captured, and say nothing.
    pub(crate) fn judge_agent(&self, request: &RestoreRequest, blockers: &mut Vec<Blocker>) {
        if let Some(choice) = &request.instant {
            let node = self.node.clone();
            match choice.way {
                _ if !self.server.splices_logs => blockers.push(Blocker::AgentTooOld { node }),
                ReplayWay::Requests if !self.server.replays_logs => {
                    blockers.push(Blocker::AgentWithoutRequests { node });
                }
                ReplayWay::Splice | ReplayWay::Requests => {}
            }
        }
        if request.instant.is_some() && self.in_cluster() {
            blockers.push(Blocker::InstantInCluster);
        }
        let nodes = self.nodes();
        if let Some(replicas) = request.replication_factor.filter(|asked| *asked > nodes) {
            blockers.push(Blocker::TooFewNodes { replicas, nodes });
        }
    }

    fn nodes(&self) -> u32 {
        let listed = u32::try_from(self.server.cluster.len()).unwrap_or(u32::MAX);
        if self.in_cluster() { listed.max(1) } else { 1 }
    }

    /// Adds the step for one collection, with whatever speaks against it.
    pub(crate) fn add_step(
        &self,
        plan: &mut RestorePlan,
        request: &RestoreRequest,
        captured: &CapturedCollection,
        target: CollectionName,
    ) {
        for (node, server) in &self.members {
            if let Some(version) = captured.versions.iter().find(|v| !reads(server, v)) {
                plan.blockers.push(Blocker::VersionMismatch {
                    collection: captured.name.clone(),
                    captured: version.clone(),
                    node: (*node).clone(),
                    running: server.version.clone(),
                });
            }
        }
        if captured.keyed && self.server.peer_id.is_none() {
            plan.blockers.push(Blocker::KeysNeedCluster {
                collection: captured.name.clone(),
                node: self.node.clone(),
            });
        }
        let exists = self.server.collections.get(&target);
        if exists.is_some() && !request.overwrite {
            plan.blockers.push(Blocker::TargetExists {
                target: target.clone(),
                node: self.node.clone(),
            });
        }
        if let Some(holder) = self.holder(target.as_str()) {
            plan.blockers.push(Blocker::TargetIsAlias {
                target: target.clone(),
                holder: holder.clone(),
                node: self.node.clone(),
            });
        }
        let mut aliases = Vec::new();
        if request.with_aliases {
            for alias in &captured.aliases {
                match self.alias_taken(plan, alias, &target) {
                    Some(why) => plan.warnings.push(why),
                    None => aliases.push(alias.clone()),
                }
            }
        }
        for kept in exists.into_iter().flat_map(|view| &view.aliases) {
            if !aliases.contains(kept) {
                plan.warnings.push(format!(
                    "alias {kept} stays with collection {target}, as it is now"
                ));
            }
        }
        let mut step = RestoreStep::new(captured, target, exists.is_some(), aliases);
        step.replication_factor = request.replication_factor;
        if self.in_cluster() {
            let wanted = request.replication_factor;
            let wanted = wanted.unwrap_or(captured.replication_factor).max(1);
            step.replicas = Some(wanted.min(self.nodes()));
            step.kept_aliases = exists.map_or_else(Vec::new, |view| view.aliases.clone());
            step.kept_aliases
                .retain(|alias| !step.aliases.contains(alias));
            if wanted > self.nodes() && request.replication_factor.is_none() {
                plan.warnings.push(format!(
                    "{} was captured with {wanted} replicas of each shard and gets {}: there are no more nodes",
                    captured.name,
                    self.nodes()
                ));
            }
            if step.replaces {
                plan.warnings.push(at_risk(&step.target));
            }
        }
        plan.steps.push(step);
    }

    /// Why an alias of the recovery point can't be re-created, if it can't.
    fn alias_taken(
        &self,
        plan: &RestorePlan,
        alias: &AliasName,
        target: &CollectionName,
    ) -> Option<String> {
        if let Some(holder) = self.holder(alias.as_str()).filter(|h| *h != target) {
            return Some(alias_stays(alias, holder));
        }
        if let Some(earlier) = plan.steps.iter().find(|step| step.aliases.contains(alias)) {
            return Some(alias_stays(alias, &earlier.target));
        }
        let is_name = |name: &CollectionName| name.as_str() == alias.as_str();
        let named_so = self.server.collections.keys().any(is_name)
            || is_name(target)
            || plan.steps.iter().any(|step| is_name(&step.target));
        named_so.then(|| format!("alias {alias} is left out: a collection has that name"))
    }

    /// The collection that an alias points at.
    fn holder(&self, alias: &str) -> Option<&CollectionName> {
        self.server
            .collections
            .iter()
            .find(|(_, view)| view.aliases.iter().any(|a| a.as_str() == alias))
            .map(|(name, _)| name)
    }

    /// Notes who receives how much, and tells if a volume may be too small: an upload and its unpacked form exist at once.
    pub(crate) fn receive(&self, plan: &mut RestorePlan) {
        let nodes = u64::from(self.nodes());
        let share = |step: &RestoreStep| match step.replicas {
            None => step.logical_bytes,
            Some(replicas) => {
                let copies = step.logical_bytes.saturating_mul(u64::from(replicas));
                copies.div_ceil(nodes)
            }
        };
        let needed = plan.steps.iter().map(share);
        let needed = needed.fold(0_u64, u64::saturating_add);
        let largest = plan.steps.iter().flat_map(|step| step.shard_sizes.values());
        let largest = largest.max().copied().unwrap_or(0);
        let at_most = match self.in_cluster() {
            true => needed.saturating_add(largest.saturating_mul(2)),
            false => needed.saturating_mul(2),
        };
        let at_most = ByteCount(at_most);
        for (node, server) in &self.members {
            plan.receivers.push(Receiver {
                node: (*node).clone(),
                version: server.version.clone(),
                needed,
                free: server.storage_free.map(|free| free.0),
            });
            if let Some(free) = server.storage_free.filter(|free| *free < at_most) {
                plan.warnings.push(format!(
                    "node {node} has {free} free on its storage volume; up to {at_most} may be needed for a while"
                ));
            }
        }
    }

    /// Plans the capture of what will be replaced.
    pub(crate) fn plan_safety(&self, plan: &mut RestorePlan, seen: &Observation, now: Timestamp) {
        let replaced = plan.steps.iter().filter(|step| step.replaces);
        let request = BackupRequest {
            collections: replaced.map(|step| step.target.clone()).collect(),
            patterns: [].into(),
            method: MethodWish::Auto,
            // What is replaced is out of use as soon as it is captured: the sooner, the better.
            limits: CaptureLimits::default(),
        };
        if request.collections.is_empty() || !plan.blockers.is_empty() {
            return;
        }
        match plan_captures(seen, &request, now) {
            Ok(safety) => plan.safety = Some(safety),
            Err(blockers) => plan.blockers.extend(blockers),
        }
    }
}

/// What whoever replaces a collection in a cluster must know.
fn at_risk(target: &CollectionName) -> String {
    format!(
        "{target} is captured, deleted and created anew on all nodes: until the restore has ended it can't be read whole, and what is written to it from the beginning of the capture on is lost: stop its writers first"
    )
}

fn reads(server: &ServerSeen, captured: &ServerVersion) -> bool {
    match captured.restores_into(&server.version) {
        Compatibility::Compatible => true,
        Compatibility::TargetOlder | Compatibility::TargetTooNew => false,
    }
}

/// The usable nodes of the cluster of `node`, itself included, by name.
fn members<'a>(
    seen: &'a Observation,
    node: &'a NodeId,
    server: &'a ServerSeen,
    now: Timestamp,
) -> Vec<(&'a NodeId, &'a ServerSeen)> {
    let of_cluster = |id: &NodeId| {
        let peer = seen.peer_of(id);
        peer.is_some_and(|peer| server.cluster.contains_key(&peer))
    };
    let nodes = seen.nodes.iter();
    nodes
        .filter(|(id, _)| *id == node || of_cluster(id))
        .filter_map(|(id, view)| Some((id, view.usable(now)?)))
        .collect()
}

/// The first usable one of these nodes, if all of them are nodes of its cluster.
fn one_cluster<'a>(
    seen: &Observation,
    connected: &[&'a NodeId],
    now: Timestamp,
) -> Option<&'a NodeId> {
    let usable = |node: &&&NodeId| seen.nodes.get(**node)?.usable(now).map(drop);
    let first = connected.iter().find(|node| usable(node).is_some())?;
    let cluster = &seen.nodes.get(*first)?.usable(now)?.cluster;
    let of_cluster = |node: &&NodeId| {
        let peer = seen.peer_of(node);
        peer.is_some_and(|peer| cluster.contains_key(&peer))
    };
    connected.iter().all(of_cluster).then_some(*first)
}

#[cfg(test)]
mod tests;
