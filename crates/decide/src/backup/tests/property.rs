//! The planner in clusters made at random: every shard once, pins stable, limits kept.

use super::everything;
use crate::backup::{BackupPlan, Standing, plan_backup, settle_backup};
use crate::backup_check::check_backup;
use crate::fixture::{NOW, collection, name, node, seen, server};
use crate::observation::{Observation, RemoteView, ServerView};
use holdfast_types::{NodeId, ShardId};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A healthy cluster of `nodes` nodes, whose collections `docs` and `logs` have so many shards, with so many replicas.
fn cluster(nodes: u64, shards: u32, replicas: u64, offset: u64) -> Observation {
    let mut obs = seen([]);
    let peers: BTreeMap<u64, String> = (1..=nodes).map(|peer| (peer, String::new())).collect();
    for peer in 1..=nodes {
        let id = format!("n{peer}");
        let (key, view) = node(&id, Some(peer), []);
        obs.nodes.insert(key, view);
        let server = server(&mut obs, &id);
        server.cluster = peers.clone();
        for (text, shift) in [("docs", 0), ("logs", 1)] {
            let (key, mut view) = collection(text, shards, &[]);
            for shard in 0..shards {
                for replica in 0..replicas {
                    let holder = (u64::from(shard) + replica + offset + shift) % nodes + 1;
                    let shard = ShardId(shard);
                    if holder == peer {
                        let (_, local) = collection(text, shards, &[shard.0]);
                        view.shards.extend(local.shards);
                    } else {
                        let state = "Active".into();
                        view.remote.push(RemoteView {
                            shard,
                            peer: holder,
                            state,
                        });
                    }
                }
            }
            server.collections.insert(key, view);
        }
    }
    obs
}

fn any_cluster() -> impl Strategy<Value = (Observation, u64)> {
    (1..5_u64, 1..7_u32, 1..4_u64, 0..4_u64).prop_map(|(nodes, shards, replicas, offset)| {
        let replicas = replicas.min(nodes);
        (cluster(nodes, shards, replicas, offset), replicas)
    })
}

/// Something that speaks against a node, lighter or heavier.
fn harm(obs: &mut Observation, id: &NodeId, kind: u8) {
    if kind == 5 {
        for view in server(obs, id.as_str()).collections.values_mut() {
            for replica in view.shards.values_mut() {
                replica.state = "Dead".into();
            }
        }
    }
    let Some(node) = obs.nodes.get_mut(id) else {
        return;
    };
    match kind {
        0 => node.late = true,
        1 => node.pulse.answer = 3 * SECOND,
        2 => node.pulse.silent = 20 * SECOND,
        3 => node.connected = false,
        4 => {
            let before = std::mem::replace(&mut node.server, ServerView::Unknown);
            if let ServerView::Seen(server) = before {
                node.before = Some(server);
            }
            node.server = ServerView::Failing {
                code: "qdrant-unreachable".into(),
                message: "no".into(),
            };
        }
        _ => {}
    }
}

fn commit(obs: &mut Observation, plan: &BackupPlan) {
    let pins = plan.captures.iter();
    let pins = pins.map(|step| ((step.collection.clone(), step.shard), step.node.clone()));
    obs.past.pins.extend(pins);
}

fn shards_of(plan: &BackupPlan) -> Vec<(String, ShardId)> {
    let steps = plan.captures.iter();
    steps
        .map(|step| (step.collection.to_string(), step.shard))
        .collect()
}

proptest! {
    #[test]
    fn every_shard_once_and_the_work_is_shared((obs, replicas) in any_cluster()) {
        let plan = plan_backup(&obs, &everything(), NOW).unwrap();
        prop_assert_eq!(check_backup(&plan, &everything(), &obs, NOW), vec![]);
        let mut once = shards_of(&plan);
        once.dedup();
        prop_assert_eq!(once.len(), plan.captures.len());
        let mut lanes: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for step in &plan.captures {
            *lanes.entry(&step.node).or_default() += 1;
        }
        // Where every node has everything, nobody has more than one capture more than another.
        if replicas == obs.nodes.len() as u64 && lanes.len() == obs.nodes.len() {
            let (most, least) = (lanes.values().max(), lanes.values().min());
            prop_assert!(most.unwrap() - least.unwrap() <= 1, "{lanes:?}");
        }
    }

    #[test]
    fn pins_stay_until_something_speaks_against_them(
        (mut obs, replicas) in any_cluster(),
        victim in 1..5_u64,
        kind in 0..6_u8,
        noise in any::<bool>(),
    ) {
        let first = plan_backup(&obs, &everything(), NOW).unwrap();
        commit(&mut obs, &first);
        if noise {
            // Nothing that a pin would be left for.
            for node in ["n1", "n2"].iter().filter(|n| obs.nodes.contains_key(&n.parse().unwrap())).copied().collect::<Vec<_>>() {
                let server = server(&mut obs, node);
                server.snapshots_shared = node == "n2";
                server.collections.get_mut(&name("docs")).unwrap().status = "yellow".into();
            }
        }
        let again = plan_backup(&obs, &everything(), NOW).unwrap();
        prop_assert_eq!(&again.captures, &first.captures);

        let victim: NodeId = format!("n{}", (victim - 1) % obs.nodes.len() as u64 + 1).parse().unwrap();
        harm(&mut obs, &victim, kind);
        let light = kind < 3;
        match plan_backup(&obs, &everything(), NOW) {
            Ok(plan) => {
                prop_assert_eq!(check_backup(&plan, &everything(), &obs, NOW), vec![]);
                prop_assert_eq!(shards_of(&plan), shards_of(&first));
                for (now, before) in plan.captures.iter().zip(&first.captures) {
                    let moves = before.node == victim && replicas > 1;
                    prop_assert_eq!(now.node != before.node, moves, "{} {}", now, before);
                    prop_assert_eq!(now.repinned.as_ref().map(|r| &r.from), moves.then_some(&victim));
                }
            }
            Err(blockers) => {
                prop_assert!(!light && replicas == 1, "{blockers:?}");
            }
        }
    }

    /// Whatever fails: nothing is captured twice or from where it failed, and nothing is forgotten.
    #[test]
    fn a_running_backup_comes_to_an_end(
        (mut obs, replicas) in any_cluster(),
        captured in prop::collection::btree_set(0..12_usize, 0..12),
        failed in prop::collection::btree_set(0..12_usize, 0..4),
        victim in 0..4_usize,
        kind in 0..8_u8,
    ) {
        let plan = plan_backup(&obs, &everything(), NOW).unwrap();
        let all = 0..plan.captures.len();
        let failed: BTreeSet<usize> = failed.into_iter().filter(|i| all.contains(i)).collect();
        let captured = captured.into_iter().filter(|i| all.contains(i) && !failed.contains(i));
        let standing = Standing {
            captured: captured.collect(),
            dropped: [].into(),
            failed: failed.iter().map(|i| (*i, plan.captures[*i].node.clone(), "no".into())).collect(),
        };
        let victim = obs.nodes.keys().nth(victim % obs.nodes.len()).unwrap().clone();
        harm(&mut obs, &victim, kind);
        match settle_backup(&plan, &standing, &obs, NOW) {
            Ok(settlement) => {
                prop_assert!(settlement.added.is_empty() && settlement.appeared.is_empty());
                prop_assert!(settlement.gone.is_empty());
                for (index, step) in &settlement.moved {
                    let before = &plan.captures[*index];
                    prop_assert!(!standing.captured.contains(index));
                    prop_assert_eq!((&step.collection, step.shard), (&before.collection, before.shard));
                    prop_assert!(failed.contains(index) || before.node == victim);
                    prop_assert_eq!(step.repinned.as_ref().map(|r| &r.from), Some(&before.node));
                }
                let moved: BTreeSet<usize> = settlement.moved.iter().map(|(i, _)| *i).collect();
                prop_assert!(failed.is_subset(&moved));
            }
            Err(blockers) => prop_assert!(replicas == 1 || !failed.is_empty(), "{blockers:?}"),
        }
    }
}
