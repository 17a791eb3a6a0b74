//! The node that receives a restore, and what is in the way there.

use crate::backup::{BackupRequest, MethodWish, plan_captures};
use crate::blocker::{Blocker, alias_stays};
use crate::observation::{Observation, ServerSeen};
use crate::restore::{CapturedCollection, RestorePlan, RestoreRequest, RestoreStep};
use holdfast_types::{
    AliasName, ByteCount, CollectionName, Compatibility, NodeId, ServerVersion, Timestamp,
};

/// A node whose server is known and usable.
pub(crate) struct Target<'a> {
    pub(crate) node: &'a NodeId,
    server: &'a ServerSeen,
}

impl<'a> Target<'a> {
    /// The node that is meant.
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
            (None, several) => {
                return Err(Box::new(Blocker::SeveralNodes {
                    nodes: several.iter().map(|id| (*id).clone()).collect(),
                }));
            }
        };
        let Some((node, view)) = seen.nodes.get_key_value(named) else {
            return Err(Box::new(Blocker::NodeUnknown {
                node: named.clone(),
                connected: connected.into_iter().cloned().collect(),
            }));
        };
        match (seen.node_blocker(node, now), view.usable(now)) {
            (None, Some(server)) => Ok(Self { node, server }),
            (Some(blocker), _) => Err(Box::new(blocker)),
            (None, None) => Err(Box::new(Blocker::NodeSilent { node: node.clone() })),
        }
    }

    /// Blockers that don't depend on a collection.
    pub(crate) fn judge_server(&self, seen: &Observation, blockers: &mut Vec<Blocker>) {
        if !self.server.version.is_supported() {
            blockers.push(Blocker::ServerTooOld {
                node: self.node.clone(),
                version: self.server.version.clone(),
            });
        }
        let other_peer = |(id, node): (&NodeId, &crate::NodeView)| {
            id != self.node
                && match &node.server {
                    crate::ServerView::Seen(server) => server.peer_id.is_some(),
                    crate::ServerView::Unknown | crate::ServerView::Failing { .. } => false,
                }
        };
        // Qdrant spreads a new collection over all its peers, also those without an agent.
        let several = self.server.peers > 1 || seen.nodes.iter().any(other_peer);
        if self.server.peer_id.is_some() && several {
            blockers.push(Blocker::SeveralPeers {
                node: self.node.clone(),
            });
        }
    }

    /// An older agent would restore what was captured, and say nothing.
    pub(crate) fn judge_agent(&self, request: &RestoreRequest, blockers: &mut Vec<Blocker>) {
        if request.instant.is_some() && !self.server.splices_logs {
            let node = self.node.clone();
            blockers.push(Blocker::AgentTooOld { node });
        }
    }

    /// Adds the step for one collection, with whatever speaks against it.
    pub(crate) fn add_step(
        &self,
        plan: &mut RestorePlan,
        request: &RestoreRequest,
        captured: &CapturedCollection,
        target: CollectionName,
    ) {
        if let Some(version) = captured.versions.iter().find(|v| !self.reads(v)) {
            plan.blockers.push(Blocker::VersionMismatch {
                collection: captured.name.clone(),
                captured: version.clone(),
                node: self.node.clone(),
                running: self.server.version.clone(),
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
        let step = RestoreStep::new(captured, target, exists.is_some(), aliases);
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

    fn reads(&self, captured: &ServerVersion) -> bool {
        match captured.restores_into(&self.server.version) {
            Compatibility::Compatible => true,
            Compatibility::TargetOlder | Compatibility::TargetTooNew => false,
        }
    }

    /// Tells if the volume may be too small: an upload and its unpacked form exist at once.
    pub(crate) fn warn_of_space(&self, plan: &mut RestorePlan) {
        let needed = ByteCount(plan.logical_bytes().saturating_mul(2));
        if let Some(free) = self.server.storage_free.filter(|free| *free < needed) {
            plan.warnings.push(format!(
                "node {} has {free} free on its storage volume; up to {needed} may be needed for a while",
                self.node
            ));
        }
    }

    /// Plans the capture of what will be replaced.
    pub(crate) fn plan_safety(&self, plan: &mut RestorePlan, seen: &Observation, now: Timestamp) {
        let replaced = plan.steps.iter().filter(|step| step.replaces);
        let request = BackupRequest {
            collections: replaced.map(|step| step.target.clone()).collect(),
            patterns: [].into(),
            method: MethodWish::Auto,
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
