//! Where the shards of a collection are in a Qdrant cluster, once all of its nodes tell the same; and which node uploads which.
//!
//! One node's word is not enough: a replica that is being rebuilt is Active for some and Partial for others, and a node that is cut off believes what it
//! believed before. So every node of the cluster must tell, of a look that was asked for just now, and all must tell the same.

use crate::observation::{ACTIVE, CollectionView, Observation, ServerSeen};
use holdfast_types::{CollectionName, NodeId, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What a collection must be like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which.
    pub collection: &'a CollectionName,
    /// The numbers of its shards.
    pub shards: &'a BTreeSet<ShardId>,
    /// Replicas of each.
    pub replicas: u32,
    /// The nodes of the cluster, as planned.
    pub nodes: &'a BTreeSet<NodeId>,
}

/// The nodes that have a replica of each shard.
pub type Holders = BTreeMap<ShardId, BTreeSet<NodeId>>;

/// What is still missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// Each in words.
    pub reasons: Vec<String>,
    /// Whether Qdrant is at work on it: a replica is on its way.
    pub moving: bool,
}

/// Replicas of the shards: peer and state.
type Replicas<'a> = BTreeMap<(ShardId, u64), &'a str>;

/// The holders of every shard, if all nodes of the cluster of `node` agree that the collection is as wanted: every replica Active, none on its way.
///
/// # Errors
/// What is not so yet, by whom.
pub fn agreed(
    seen: &Observation,
    node: &NodeId,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Result<Holders, Unsettled> {
    let mut unsettled = Unsettled {
        reasons: Vec::new(),
        moving: false,
    };
    let members = match planned(seen, node, wanted.nodes, now) {
        Ok(members) => members,
        Err(reasons) => {
            unsettled.reasons = reasons;
            return Err(unsettled);
        }
    };
    let mut first: Option<(&NodeId, Replicas<'_>)> = None;
    for (member, server) in &members {
        let Some(view) = server.collections.get(wanted.collection) else {
            let why = format!("{member} does not have {} yet", wanted.collection);
            unsettled.reasons.push(why);
            continue;
        };
        unsettled.moving |= !view.transfers.is_empty();
        let replicas = replicas(view, server.peer_id.unwrap_or_default());
        unsettled
            .reasons
            .extend(told_by(seen, member, view, &replicas, wanted));
        match &first {
            None => first = Some((member, replicas)),
            Some((other, said)) if *said != replicas => unsettled.reasons.push(format!(
                "{member} and {other} don't tell the same of the replicas"
            )),
            Some(_) => {}
        }
    }
    let holders = first.map(|(_, replicas)| holders(seen, &replicas));
    match holders {
        Some(holders) if unsettled.reasons.is_empty() => Ok(holders),
        Some(_) | None => Err(unsettled),
    }
}

/// Whether the cluster of `node` consists of these nodes, all of which have just answered.
///
/// # Errors
/// What is different, each in words.
pub fn is_whole(
    seen: &Observation,
    node: &NodeId,
    nodes: &BTreeSet<NodeId>,
    now: Timestamp,
) -> Result<(), Vec<String>> {
    planned(seen, node, nodes, now).map(drop)
}

fn planned<'a>(
    seen: &'a Observation,
    node: &NodeId,
    nodes: &BTreeSet<NodeId>,
    now: Timestamp,
) -> Result<Vec<(&'a NodeId, &'a ServerSeen)>, Vec<String>> {
    let members = members(seen, node, now)?;
    let now: BTreeSet<NodeId> = members.iter().map(|(node, _)| (*node).clone()).collect();
    if now == *nodes {
        return Ok(members);
    }
    let list = |nodes: &BTreeSet<NodeId>| {
        let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
        names.join(", ")
    };
    Err(vec![format!(
        "the cluster consists of {} now, and of {} when it was planned",
        list(&now),
        list(nodes)
    )])
}

/// Every node of the cluster, all of which must have answered the last look.
fn members<'a>(
    seen: &'a Observation,
    node: &NodeId,
    now: Timestamp,
) -> Result<Vec<(&'a NodeId, &'a ServerSeen)>, Vec<String>> {
    let usable = |node: &NodeId| {
        let view = seen.nodes.get(node)?;
        view.usable(now).filter(|_| !view.late)
    };
    let Some(cluster) = usable(node).map(|server| &server.cluster) else {
        return Err(vec![format!("{node} does not answer")]);
    };
    let (mut members, mut reasons) = (Vec::new(), Vec::new());
    for peer in cluster.keys() {
        let Some(member) = seen.node_of(*peer) else {
            reasons.push(format!("peer {peer} has no agent that is connected"));
            continue;
        };
        match usable(member) {
            Some(server) if server.cluster.keys().eq(cluster.keys()) => {
                members.push((member, server));
            }
            Some(_) => reasons.push(format!("{member} knows other nodes of the cluster")),
            None => reasons.push(format!("{member} does not answer")),
        }
    }
    if reasons.is_empty() {
        Ok(members)
    } else {
        Err(reasons)
    }
}

fn replicas(view: &CollectionView, own: u64) -> Replicas<'_> {
    let local = view.shards.iter();
    let local = local.map(|(shard, replica)| ((*shard, own), replica.state.as_str()));
    let remote = view.remote.iter();
    let remote = remote.map(|replica| ((replica.shard, replica.peer), replica.state.as_str()));
    local.chain(remote).collect()
}

/// What one node says that is not as wanted.
fn told_by(
    seen: &Observation,
    member: &NodeId,
    view: &CollectionView,
    replicas: &Replicas<'_>,
    wanted: Wanted<'_>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let shards: BTreeSet<ShardId> = replicas.keys().map(|(shard, _)| *shard).collect();
    if shards != *wanted.shards || view.shard_count as usize != wanted.shards.len() {
        let list = |shards: &BTreeSet<ShardId>| {
            let ids: Vec<String> = shards.iter().map(ToString::to_string).collect();
            ids.join(", ")
        };
        reasons.push(format!(
            "{member} sees shards {} of {}, not {}",
            list(&shards),
            view.shard_count,
            list(wanted.shards)
        ));
    }
    for shard in &shards {
        let count = replicas.keys().filter(|(of, _)| of == shard).count();
        if count != wanted.replicas as usize {
            reasons.push(format!(
                "{member} sees {count} replicas of shard {shard}, not {}",
                wanted.replicas
            ));
        }
    }
    for ((shard, peer), state) in replicas {
        if *state != ACTIVE {
            let place = match seen.node_of(*peer) {
                Some(node) => node.to_string(),
                None => format!("peer {peer}"),
            };
            reasons.push(format!("{member} sees shard {shard} on {place} as {state}"));
        }
    }
    for transfer in &view.transfers {
        reasons.push(format!(
            "{member} sees a transfer of shard {}",
            transfer.shard
        ));
    }
    reasons
}

fn holders(seen: &Observation, replicas: &Replicas<'_>) -> Holders {
    let mut holders = Holders::new();
    for (shard, peer) in replicas.keys() {
        if let Some(node) = seen.node_of(*peer) {
            holders.entry(*shard).or_default().insert(node.clone());
        }
    }
    holders
}

/// For each of these shards the one node that uploads it: the largest first, each to the holder with the fewest bytes so far.
#[must_use]
pub fn assign(holders: &Holders, sizes: &BTreeMap<ShardId, u64>) -> BTreeMap<ShardId, NodeId> {
    let mut shards: Vec<(&ShardId, &u64)> = sizes.iter().collect();
    shards.sort_by_key(|(shard, size)| (std::cmp::Reverse(**size), **shard));
    let (mut taken, mut assigned) = (BTreeMap::<&NodeId, u64>::new(), BTreeMap::new());
    for (shard, size) in shards {
        let nodes = holders.get(shard).into_iter().flatten();
        let load = |node: &&NodeId| (taken.get(*node).copied().unwrap_or(0), (*node).clone());
        if let Some(node) = nodes.min_by_key(load) {
            let load = taken.entry(node).or_default();
            *load = load.saturating_add(*size).saturating_add(1);
            assigned.insert(*shard, node.clone());
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::{Holders, Wanted, agreed, assign};
    use crate::fixture::{NOW, cluster, name, server};
    use crate::observation::{Observation, RemoteView, TransferView};
    use holdfast_types::{NodeId, ShardId};
    use proptest::prelude::{prop, prop_assert, proptest};
    use std::collections::{BTreeMap, BTreeSet};

    fn docs(seen: &Observation) -> Result<Holders, Vec<String>> {
        let (collection, shards) = (name("docs"), [ShardId(0), ShardId(1)].into());
        let wanted = Wanted {
            collection: &collection,
            shards: &shards,
            replicas: 2,
            nodes: &[node("n1"), node("n2"), node("n3")].into(),
        };
        agreed(seen, &node("n1"), wanted, NOW).map_err(|unsettled| unsettled.reasons)
    }

    fn node(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    /// Three nodes; shard 0 is on n1 and n2, shard 1 on n2 and n3.
    fn settled() -> Observation {
        cluster(3, "docs", &[&[1, 2], &[2, 3]])
    }

    #[test]
    fn all_must_tell_the_same_and_nothing_may_be_on_its_way() {
        let holders = docs(&settled()).unwrap();
        let want = [
            (ShardId(0), [node("n1"), node("n2")].into()),
            (ShardId(1), [node("n2"), node("n3")].into()),
        ];
        assert_eq!(holders, want.into());

        type Spoil = fn(&mut Observation);
        let ways: &[(&str, Spoil)] = &[
            ("sees shard 0 on n1 as Partial", |obs| {
                let view = docs_of(obs, "n1");
                view.shards.get_mut(&ShardId(0)).unwrap().state = "Partial".into();
            }),
            ("n3 sees shard 0 on n1 as Dead", |obs| {
                docs_of(obs, "n3").remote[0].state = "Dead".into();
            }),
            ("n2 sees a transfer of shard 1", |obs| {
                docs_of(obs, "n2").transfers.push(TransferView {
                    shard: ShardId(1),
                    from: 2,
                    to: 3,
                });
            }),
            ("n3 does not have docs yet", |obs| {
                server(obs, "n3").collections.clear();
            }),
            ("n2 does not answer", |obs| {
                obs.nodes.get_mut(&node("n2")).unwrap().late = true;
            }),
            ("n3 does not answer", |obs| {
                obs.nodes.get_mut(&node("n3")).unwrap().connected = false;
            }),
            ("n1 does not answer", |obs| {
                obs.nodes.get_mut(&node("n1")).unwrap().reported_at = None;
            }),
            ("n2 knows other nodes", |obs| {
                server(obs, "n2").cluster.remove(&3);
            }),
            ("peer 9 has no agent", |obs| {
                for n in ["n1", "n2", "n3"] {
                    server(obs, n).cluster.insert(9, String::new());
                }
            }),
            ("sees 3 replicas of shard 0, not 2", |obs| {
                docs_of(obs, "n1").remote.push(RemoteView {
                    shard: ShardId(0),
                    peer: 3,
                    state: "Active".into(),
                });
            }),
            ("consists of n1, n2 now, and of n1, n2, n3", |obs| {
                for n in ["n1", "n2"] {
                    server(obs, n).cluster.remove(&3);
                }
            }),
            ("don't tell the same", |obs| {
                docs_of(obs, "n1").remote.pop();
            }),
            ("sees shards 0 of 2, not 0, 1", |obs| {
                docs_of(obs, "n1").remote.retain(|r| r.shard == ShardId(0));
            }),
        ];
        for (want, spoil) in ways {
            let mut seen = settled();
            spoil(&mut seen);
            let reasons = docs(&seen).unwrap_err().join("; ");
            assert!(reasons.contains(want), "{want}: {reasons}");
        }
    }

    fn docs_of<'a>(obs: &'a mut Observation, id: &str) -> &'a mut crate::CollectionView {
        server(obs, id).collections.get_mut(&name("docs")).unwrap()
    }

    proptest! {
        /// Every shard goes to exactly one of its holders, and no holder has more than its share and the largest shard besides.
        #[test]
        fn every_shard_has_one_source(
            nodes in 1..6_u32,
            placed in prop::collection::vec((prop::collection::btree_set(0..6_u32, 1..4), 0..1000_u64), 1..12),
        ) {
            let mut holders = Holders::new();
            let mut sizes = BTreeMap::new();
            for (at, (on, size)) in (0..).zip(&placed) {
                let on: BTreeSet<NodeId> = on.iter().map(|n| node(&format!("n{}", n % nodes))).collect();
                holders.insert(ShardId(at), on);
                sizes.insert(ShardId(at), *size);
            }
            let assigned = assign(&holders, &sizes);
            prop_assert!(assigned.keys().eq(sizes.keys()));
            for (shard, node) in &assigned {
                prop_assert!(holders[shard].contains(node));
            }
            if holders.values().all(|on| on.len() == nodes as usize) {
                let load = |node: &NodeId| -> u64 {
                    assigned.iter().filter(|(_, on)| *on == node).map(|(shard, _)| sizes[shard]).sum()
                };
                let share = sizes.values().sum::<u64>() / u64::from(nodes);
                let largest = sizes.values().max().copied().unwrap_or(0);
                for on in assigned.values() {
                    prop_assert!(load(on) <= share + largest + placed.len() as u64);
                }
            }
        }
    }
}
