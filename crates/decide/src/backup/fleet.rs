//! All replicas of all shards as they are seen, and which of them is captured.

use super::trouble::{HANGS, OPTIMIZING_FOR_LONG, OVERLOADED, Trouble};
use super::{CaptureStep, MethodWish, Repin};
use crate::backup::Method;
use crate::blocker::Blocker;
use crate::observation::{
    ACTIVE, CollectionView, NodeView, Observation, ServerSeen, ServerView, ShardView,
};
use holdfast_types::{CollectionName, NodeId, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Captures that failed in the same job, with why.
pub(super) type Failures = BTreeMap<(CollectionName, ShardId, NodeId), String>;

/// The replicas that are kept to as long as nothing speaks against them.
pub(super) type Pins = BTreeMap<(CollectionName, ShardId), NodeId>;

/// The world as a planner sees it.
pub(super) struct Fleet<'a> {
    pub(super) seen: &'a Observation,
    pub(super) usable: BTreeMap<&'a NodeId, &'a ServerSeen>,
    wish: MethodWish,
    failures: &'a Failures,
    pins: &'a Pins,
    pub(super) now: Timestamp,
}

/// Best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    severity: u8,
    not_pinned: bool,
    not_green: bool,
    not_shared: bool,
    captures_already: usize,
    node: &'a NodeId,
}

/// A shard that is to be captured, and the nodes that may do.
struct Open<'a> {
    collection: &'a CollectionName,
    shard: ShardId,
    candidates: Vec<Candidate<'a>>,
}

struct Candidate<'a> {
    node: &'a NodeId,
    severity: u8,
    pinned: bool,
    green: bool,
    shared: bool,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        seen: &'a Observation,
        wish: MethodWish,
        pins: &'a Pins,
        failures: &'a Failures,
        now: Timestamp,
    ) -> Self {
        let nodes = seen.nodes.iter();
        Self {
            seen,
            usable: nodes
                .filter_map(|(id, node)| Some((id, node.usable(now)?)))
                .collect(),
            wish,
            failures,
            pins,
            now,
        }
    }

    /// Every collection that a usable node has.
    pub(super) fn known(&self) -> BTreeSet<&'a CollectionName> {
        let servers = self.usable.values();
        servers
            .flat_map(|server| server.collections.keys())
            .collect()
    }

    /// Usable nodes that have the collection; in a cluster that is every one.
    pub(super) fn holders(
        &self,
        name: &CollectionName,
    ) -> Vec<(&'a NodeId, &'a ServerSeen, &'a CollectionView)> {
        let nodes = self.usable.iter();
        nodes
            .filter_map(|(node, server)| Some((*node, *server, server.collections.get(name)?)))
            .collect()
    }

    /// Every shard of the collection that some usable node knows of, whatever its state.
    pub(super) fn shards(&self, name: &CollectionName) -> BTreeSet<ShardId> {
        let holders = self.holders(name).into_iter();
        holders
            .flat_map(|(_, _, view)| {
                let remote = view.remote.iter().map(|replica| replica.shard);
                view.shards.keys().copied().chain(remote)
            })
            .collect()
    }

    /// What speaks against the replica of the shard on the node; `None` if nothing does.
    pub(super) fn trouble(
        &self,
        name: &CollectionName,
        shard: ShardId,
        node: &NodeId,
    ) -> Option<Trouble> {
        let Some(view) = self.seen.nodes.get(node) else {
            let removed = self.seen.past.removed.contains(node);
            return Some(if removed {
                Trouble::Removed
            } else {
                Trouble::Unknown
            });
        };
        if !view.connected {
            return Some(Trouble::Away);
        }
        if let ServerView::Failing { message, .. } = &view.server {
            let message = message.clone();
            return Some(Trouble::Failing { message });
        }
        let Some(server) = self.usable.get(node) else {
            return Some(Trouble::Silent);
        };
        let failed = self.failures.get(&(name.clone(), shard, node.clone()));
        if let Some(why) = failed {
            return Some(Trouble::Failed { why: why.clone() });
        }
        let Some(collection) = server.collections.get(name) else {
            return Some(Trouble::Absent);
        };
        let Some(replica) = collection.shards.get(&shard) else {
            return Some(Trouble::Absent);
        };
        if !replica.is_active() {
            return Some(Trouble::State {
                state: replica.state.clone(),
                seen_by: None,
            });
        }
        if let Some((seen_by, state)) = self.disputed(name, shard, server) {
            return Some(Trouble::State {
                state: state.to_owned(),
                seen_by: Some(seen_by.clone()),
            });
        }
        if self.wish == MethodWish::Stored && !server.snapshots_shared {
            return Some(Trouble::NotShared);
        }
        if view.drained {
            return Some(Trouble::Drained);
        }
        self.inconvenience(view, server, (collection, shard), replica)
    }

    /// What makes a replica that may be captured a worse choice than another.
    fn inconvenience(
        &self,
        view: &NodeView,
        server: &ServerSeen,
        (collection, shard): (&CollectionView, ShardId),
        replica: &ShardView,
    ) -> Option<Trouble> {
        if view.pulse.silent > HANGS {
            return Some(Trouble::Hangs {
                seconds: view.pulse.silent.as_secs(),
            });
        }
        if view.late {
            return Some(Trouble::Late);
        }
        if view.pulse.answer > OVERLOADED {
            return Some(Trouble::Overloaded {
                answer_ms: u64::try_from(view.pulse.answer.as_millis()).unwrap_or(u64::MAX),
            });
        }
        if replica.optimizing > OPTIMIZING_FOR_LONG {
            return Some(Trouble::Optimizing {
                minutes: replica.optimizing.as_secs() / 60,
            });
        }
        let leaves = |peer| {
            let mut transfers = collection.transfers.iter();
            transfers.any(|transfer| transfer.shard == shard && transfer.from == peer)
        };
        server
            .peer_id
            .is_some_and(leaves)
            .then_some(Trouble::Moving)
    }

    /// A node that calls the replica on `server` otherwise than it does itself: one that is cut off believes that it is
    /// Active, and lacks what was acknowledged since.
    fn disputed(
        &self,
        name: &CollectionName,
        shard: ShardId,
        server: &ServerSeen,
    ) -> Option<(&'a NodeId, &'a str)> {
        let peer = server.peer_id?;
        let holders = self.holders(name).into_iter();
        holders
            .flat_map(|(node, _, view)| view.remote.iter().map(move |replica| (node, replica)))
            .find(|(_, replica)| {
                replica.shard == shard && replica.peer == peer && replica.state != ACTIVE
            })
            .map(|(node, replica)| (node, replica.state.as_str()))
    }

    /// A replica for each of these shards: pinned ones first, then those with the least choice. `taken` counts the captures
    /// that the nodes have already.
    ///
    /// # Errors
    /// The shards of which no replica may be captured.
    pub(super) fn choose(
        &self,
        wanted: &[(&'a CollectionName, ShardId)],
        mut taken: BTreeMap<NodeId, usize>,
    ) -> Result<Vec<CaptureStep>, Vec<(&'a CollectionName, ShardId)>> {
        let mut open: Vec<Open<'_>> = wanted
            .iter()
            .map(|(collection, shard)| Open {
                collection,
                shard: *shard,
                candidates: self.candidates(collection, *shard),
            })
            .collect();
        let stays = |open: &Open<'_>| open.candidates.iter().any(|c| c.pinned && c.severity == 0);
        open.sort_by_key(|open| {
            let place = (open.collection, open.shard);
            (!stays(open), open.candidates.len(), place)
        });
        let (mut steps, mut impossible) = (Vec::new(), Vec::new());
        for Open {
            collection,
            shard,
            candidates,
        } in open
        {
            let best = candidates.iter().min_by_key(|candidate| Rank {
                severity: candidate.severity,
                not_pinned: !candidate.pinned,
                not_green: !candidate.green,
                not_shared: !candidate.shared,
                captures_already: taken.get(candidate.node).copied().unwrap_or(0),
                node: candidate.node,
            });
            match best {
                Some(best) => {
                    *taken.entry(best.node.clone()).or_default() += 1;
                    steps.push(self.step(collection, shard, best.node));
                }
                None => impossible.push((collection, shard)),
            }
        }
        steps.sort_by(|a, b| (&a.collection, a.shard).cmp(&(&b.collection, b.shard)));
        if impossible.is_empty() {
            Ok(steps)
        } else {
            impossible.sort_unstable();
            Err(impossible)
        }
    }

    fn candidates(&self, name: &CollectionName, shard: ShardId) -> Vec<Candidate<'a>> {
        let pin = self.pin(name, shard);
        let holders = self.holders(name).into_iter();
        holders
            .filter_map(|(node, server, view)| {
                let trouble = self.trouble(name, shard, node);
                if trouble.as_ref().is_some_and(Trouble::forbids) {
                    return None;
                }
                Some(Candidate {
                    node,
                    severity: trouble.map_or(0, |trouble| trouble.severity()),
                    pinned: pin == Some(node),
                    green: view.status == "green",
                    shared: server.snapshots_shared,
                })
            })
            .collect()
    }

    fn pin(&self, name: &CollectionName, shard: ShardId) -> Option<&'a NodeId> {
        self.pins.get(&(name.clone(), shard))
    }

    fn step(&self, name: &CollectionName, shard: ShardId, node: &NodeId) -> CaptureStep {
        let left = self.pin(name, shard).filter(|pin| *pin != node);
        // A pin that is left is left for something; were it not so, the checker would refuse the plan.
        let repinned = left.and_then(|from| {
            Some(Repin {
                from: from.clone(),
                why: self.trouble(name, shard, from)?,
            })
        });
        CaptureStep {
            collection: name.clone(),
            shard,
            node: node.clone(),
            method: match self.wish {
                MethodWish::Auto => Method::Auto,
                MethodWish::Direct => Method::Direct,
                MethodWish::Partial => Method::Partial,
                MethodWish::Stored => Method::Stored,
                MethodWish::Stream => Method::Stream,
            },
            repinned,
        }
    }

    /// Captures that stay on a drained node for want of another replica, in words.
    pub(super) fn despite_drain(&self, steps: &[CaptureStep]) -> Vec<String> {
        let drained = |step: &&CaptureStep| {
            let view = self.seen.nodes.get(&step.node);
            view.is_some_and(|view| view.drained)
        };
        let told = steps.iter().filter(drained).map(|step| {
            format!(
                "{}/{} is captured on {} although it is drained: no other replica can be captured",
                step.collection, step.shard, step.node
            )
        });
        told.collect()
    }

    /// What is known of every replica of a shard that can't be captured, each in words.
    pub(super) fn lament(&self, name: &CollectionName, shard: ShardId) -> Vec<String> {
        let mut peers: BTreeSet<u64> = BTreeSet::new();
        let mut nodes: BTreeSet<&NodeId> = self.pin(name, shard).into_iter().collect();
        for (node, _, view) in self.holders(name) {
            if view.shards.contains_key(&shard) {
                nodes.insert(node);
            }
            let remote = view.remote.iter().filter(|replica| replica.shard == shard);
            peers.extend(remote.map(|replica| replica.peer));
        }
        let mut strangers = Vec::new();
        for peer in peers {
            match self.seen.node_of(peer) {
                Some(node) => drop(nodes.insert(node)),
                None => strangers.push(peer),
            }
        }
        let told = nodes.into_iter().map(|node| {
            let trouble = self.trouble(name, shard, node);
            match trouble {
                Some(trouble) => format!("{node}: {trouble}"),
                None => format!("{node}: nothing speaks against it"),
            }
        });
        let strangers = strangers
            .into_iter()
            .map(|peer| format!("peer {peer}: no agent of it has connected"));
        told.chain(strangers).collect()
    }

    /// The blockers of shards without a replica to capture.
    pub(super) fn none_left(&self, shards: &[(&CollectionName, ShardId)]) -> Vec<Blocker> {
        let blocker = |(name, shard): &(&CollectionName, ShardId)| Blocker::NoReplicaLeft {
            collection: (*name).clone(),
            shard: *shard,
            replicas: self.lament(name, *shard),
        };
        shards.iter().map(blocker).collect()
    }

    /// Whether the node, which can't be used, is a peer of a cluster that can be seen: then others tell what it holds.
    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.seen.is_covered(node, self.now)
    }
}

/// Whether another node's replica could be captured in place of this step's.
#[must_use]
pub fn has_other_replica(seen: &Observation, step: &CaptureStep, now: Timestamp) -> bool {
    let failures = Failures::new();
    let fleet = Fleet::new(seen, MethodWish::Auto, &seen.past.pins, &failures, now);
    let mut others = fleet.candidates(&step.collection, step.shard).into_iter();
    others.any(|other| *other.node != step.node)
}

impl Observation {
    /// The peer id that a node has, or had when it was last heard of.
    pub(crate) fn peer_of(&self, node: &NodeId) -> Option<u64> {
        let view = self.nodes.get(node);
        let server = view.and_then(|view| match &view.server {
            ServerView::Seen(server) => Some(server),
            ServerView::Unknown | ServerView::Failing { .. } => view.before.as_ref(),
        });
        match server {
            Some(server) => server.peer_id,
            None => self.past.peers.get(node).copied(),
        }
    }

    /// The node that has, or had, this peer id.
    pub(crate) fn node_of(&self, peer: u64) -> Option<&NodeId> {
        let nodes = self.nodes.keys().chain(self.past.peers.keys());
        nodes
            .into_iter()
            .find(|node| self.peer_of(node) == Some(peer))
    }

    /// Whether a node that can't be used belongs to a Qdrant cluster of which another node tells: every node of a cluster
    /// knows all collections and all replicas.
    pub(crate) fn is_covered(&self, node: &NodeId, now: Timestamp) -> bool {
        let Some(peer) = self.peer_of(node) else {
            return false;
        };
        let mut others = self.nodes.iter().filter(|(id, _)| *id != node);
        others.any(|(_, view)| {
            let server = view.usable(now);
            server.is_some_and(|server| server.cluster.contains_key(&peer))
        })
    }
}
