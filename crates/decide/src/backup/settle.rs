//! What has changed while a backup runs, and what follows for it: looked at whenever captures have failed, and once more
//! when all are in, before the recovery point is committed.
//!
//! | what is seen | what follows |
//! |---|---|
//! | a capture failed, or its node is in trouble, and another replica is there | it is captured from that one |
//! | no other replica is there | the job fails and names every replica |
//! | a shard appeared in a chosen collection | it is captured too |
//! | a shard vanished (its key was removed) | it is left out, and the point says so |
//! | a collection vanished that was asked for by its name | the job fails |
//! | one vanished that a pattern or "everything" chose | what is not captured of it is left out whole, and the point says so |
//! | a collection appeared that would have been chosen | it is not in the point, and the point says so |

use super::fleet::{Failures, Fleet, Pins};
use super::{BackupPlan, CaptureStep, MethodWish, NodeFacts, facts, judge_collection};
use crate::blocker::Blocker;
use crate::observation::Observation;
use holdfast_types::{CollectionName, NodeId, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How far a backup is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Captures that are in, by their index in the plan.
    pub captured: BTreeSet<usize>,
    /// Captures that are left out already, by their index.
    pub dropped: BTreeSet<usize>,
    /// Captures that failed, from which node, and why.
    pub failed: Vec<(usize, NodeId, String)>,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Captures, by their index in the plan, that are made otherwise.
    pub moved: Vec<(usize, CaptureStep)>,
    /// Captures that are added to the plan.
    pub added: Vec<CaptureStep>,
    /// What of the plan is left out.
    pub gone: Vec<Gone>,
    /// Collections that came while the job ran and are not in the point.
    pub appeared: Vec<CollectionName>,
    /// What is recorded of the nodes of moved and added captures.
    pub nodes: Vec<NodeFacts>,
}

/// Something that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The collection.
    pub collection: CollectionName,
    /// Its shard; `None` means the whole collection.
    pub shard: Option<ShardId>,
    /// The captures that are left out with it, by their index in the plan.
    pub captures: BTreeSet<usize>,
}

impl Settlement {
    /// Whether there is something to capture.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.moved.is_empty() || !self.added.is_empty()
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(
                f,
                "shard {shard} of collection {}: it was removed during the capture",
                self.collection
            ),
            None => write!(
                f,
                "collection {}: it was dropped during the capture",
                self.collection
            ),
        }
    }
}

/// Judges a running backup by what is seen now.
///
/// # Errors
/// Why it can't come to a good end.
pub fn settle_backup(
    plan: &BackupPlan,
    standing: &Standing,
    seen: &Observation,
    now: Timestamp,
) -> Result<Settlement, Vec<Blocker>> {
    let failures: Failures = standing
        .failed
        .iter()
        .filter_map(|(index, node, why)| {
            let step = plan.captures.get(*index)?;
            let place = (step.collection.clone(), step.shard, node.clone());
            Some((place, why.clone()))
        })
        .collect();
    // What is planned stays where it is, unless something speaks against it.
    let planned = plan.captures.iter();
    let planned = planned.map(|step| ((step.collection.clone(), step.shard), step.node.clone()));
    let pins: Pins = seen.past.pins.clone().into_iter().chain(planned).collect();
    let fleet = Fleet::new(seen, wish(plan), &pins, &failures, now);
    let mut settlement = Settlement::default();
    let mut blockers = Vec::new();
    let mut wanted: Vec<(&CollectionName, ShardId)> = Vec::new();
    for name in &plan.collections {
        let judged = judge(&fleet, plan, standing, name, &mut settlement.gone);
        match judged {
            Ok(shards) => wanted.extend(shards.into_iter().map(|shard| (name, shard))),
            Err(blocker) => blockers.push(*blocker),
        }
    }
    let taken = taken(plan, standing, &wanted);
    match fleet.choose(&wanted, taken) {
        Ok(steps) => sort_in(plan, standing, steps, &mut settlement),
        Err(left) => blockers.extend(fleet.none_left(&left)),
    }
    if !blockers.is_empty() {
        return Err(blockers);
    }
    let known = fleet.known().into_iter();
    settlement.appeared = known
        .filter(|name| !plan.collections.contains(name) && plan.asked.wants(name))
        .cloned()
        .collect();
    let moved = settlement.moved.iter().map(|(_, step)| step.clone());
    let new: Vec<CaptureStep> = moved.chain(settlement.added.iter().cloned()).collect();
    settlement.nodes = facts(&new, &fleet.usable);
    Ok(settlement)
}

fn wish(plan: &BackupPlan) -> MethodWish {
    use super::Method;
    match plan.captures.first().map(|step| step.method) {
        None | Some(Method::Auto) => MethodWish::Auto,
        Some(Method::Direct) => MethodWish::Direct,
        Some(Method::Partial) => MethodWish::Partial,
        Some(Method::Stored) => MethodWish::Stored,
        Some(Method::Stream) => MethodWish::Stream,
    }
}

/// The steps of a collection that count, with their index.
fn steps_of<'a>(
    plan: &'a BackupPlan,
    standing: &'a Standing,
    name: &'a CollectionName,
) -> impl Iterator<Item = (usize, &'a CaptureStep)> {
    let steps = plan.captures.iter().enumerate();
    steps.filter(move |(index, step)| step.collection == *name && !standing.dropped.contains(index))
}

/// The shards of one collection that are still to be captured; what of it has gone is added to `gone`.
fn judge(
    fleet: &Fleet<'_>,
    plan: &BackupPlan,
    standing: &Standing,
    name: &CollectionName,
    gone: &mut Vec<Gone>,
) -> Result<BTreeSet<ShardId>, Box<Blocker>> {
    let steps: Vec<(usize, &CaptureStep)> = steps_of(plan, standing, name).collect();
    let is_open = |index: &usize| !standing.captured.contains(index);
    let open: BTreeSet<ShardId> = steps
        .iter()
        .filter(|(index, _)| is_open(index))
        .map(|(_, step)| step.shard)
        .collect();
    if steps.is_empty() {
        return Ok(open);
    }
    let holders = fleet.holders(name);
    if holders.is_empty() {
        if open.is_empty() {
            // All of it was captured before it was dropped, or before nobody could be asked.
            return Ok(open);
        }
        if !is_certain(fleet, &steps) {
            return Ok(open);
        }
        if plan.asked.named.contains(name) || !plan.asked.wants(name) {
            return Err(Box::new(Blocker::Dropped {
                collection: name.clone(),
            }));
        }
        gone.push(Gone {
            collection: name.clone(),
            shard: None,
            captures: steps.iter().map(|(index, _)| *index).collect(),
        });
        return Ok(BTreeSet::new());
    }
    let expected = holders.iter().map(|(_, _, view)| view.shard_count).max();
    let shards = fleet.shards(name);
    if Some(shards.len()) != expected.map(|expected| expected as usize) {
        // Not known in full: what is open is captured, or its absence shows there.
        return if open.is_empty() {
            complete(fleet, name).map(|_| open)
        } else {
            Ok(open)
        };
    }
    let planned: BTreeSet<ShardId> = steps.iter().map(|(_, step)| step.shard).collect();
    for (index, step) in &steps {
        if !shards.contains(&step.shard) {
            gone.push(Gone {
                collection: name.clone(),
                shard: Some(step.shard),
                captures: [*index].into(),
            });
        }
    }
    let new = shards.difference(&planned).copied();
    Ok(open.intersection(&shards).copied().chain(new).collect())
}

/// That a collection has as many shards as it says.
fn complete(fleet: &Fleet<'_>, name: &CollectionName) -> Result<BTreeSet<ShardId>, Box<Blocker>> {
    judge_collection(fleet, name, &mut Vec::new()).map_err(|blocker| {
        blocker.unwrap_or_else(|| {
            Box::new(Blocker::Dropped {
                collection: name.clone(),
            })
        })
    })
}

/// Whether it is certain that a collection which no usable node has is there no more: a node that was to be captured, or
/// another of its cluster, has been asked just now and does not have it.
fn is_certain(fleet: &Fleet<'_>, steps: &[(usize, &CaptureStep)]) -> bool {
    let answers = |node: &NodeId| {
        let view = fleet.seen.nodes.get(node);
        fleet.usable.contains_key(node) && view.is_some_and(|view| !view.late)
    };
    steps.iter().any(|(_, step)| {
        let peer = fleet.seen.peer_of(&step.node);
        answers(&step.node)
            || fleet.usable.iter().any(|(node, server)| {
                peer.is_some_and(|peer| server.cluster.contains_key(&peer)) && answers(node)
            })
    })
}

/// Captures that the nodes still have before them, beside those that are chosen anew.
fn taken(
    plan: &BackupPlan,
    standing: &Standing,
    wanted: &[(&CollectionName, ShardId)],
) -> BTreeMap<NodeId, usize> {
    let mut taken = BTreeMap::new();
    for (index, step) in plan.captures.iter().enumerate() {
        let again = wanted.contains(&(&step.collection, step.shard));
        if !again && !standing.captured.contains(&index) && !standing.dropped.contains(&index) {
            *taken.entry(step.node.clone()).or_default() += 1;
        }
    }
    taken
}

/// Tells steps that are as before from moved and added ones.
fn sort_in(
    plan: &BackupPlan,
    standing: &Standing,
    steps: Vec<CaptureStep>,
    settlement: &mut Settlement,
) {
    for step in steps {
        let before = steps_of(plan, standing, &step.collection)
            .find(|(_, planned)| planned.shard == step.shard)
            .map(|(index, planned)| (index, planned.node == step.node));
        match before {
            None => settlement.added.push(step),
            Some((_, true)) => {}
            Some((index, false)) => settlement.moved.push((index, step)),
        }
    }
}
