//! Reads a backup plan again, against the observation and the request, before it is recorded.
//!
//! Deliberately shares no code with the planner, so that one mistake is not made twice.

use crate::backup::{BackupPlan, BackupRequest, Method};
use crate::observation::{MAX_REPORT_AGE, Observation, ServerSeen, ServerView};
use crate::violation::Violation;
use holdfast_types::{NodeId, Timestamp};
use std::collections::HashSet;

/// Everything wrong with `plan`; empty if it may be carried out.
#[must_use]
pub fn check_backup(
    plan: &BackupPlan,
    request: &BackupRequest,
    seen: &Observation,
    now: Timestamp,
) -> Vec<Violation> {
    let mut wrong = check_captures(plan, seen, now);
    if seen.running.is_some() {
        wrong.push(Violation::Busy);
    }
    for name in &request.collections {
        if !plan.collections.contains(name) {
            wrong.push(Violation::Omitted(name.clone()));
        }
    }
    for name in &plan.collections {
        if !request.collections.is_empty() && !request.collections.contains(name) {
            wrong.push(Violation::Unasked(name.clone()));
        }
    }
    if request.collections.is_empty() {
        for node in seen.nodes.values() {
            if let (true, ServerView::Seen(server)) = (node.connected, &node.server) {
                let absent = |name: &&_| !plan.collections.contains(*name);
                let omitted = server.collections.keys().filter(absent);
                wrong.extend(omitted.map(|name| Violation::Omitted(name.clone())));
            }
        }
    }
    wrong
}

/// The rules that a safety capture must keep too.
pub(crate) fn check_captures(
    plan: &BackupPlan,
    seen: &Observation,
    now: Timestamp,
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if plan.epoch != seen.epoch {
        wrong.push(Violation::Epoch {
            plan: plan.epoch,
            now: seen.epoch,
        });
    }
    if plan.captures.is_empty() {
        wrong.push(Violation::Empty);
    }
    let mut once = HashSet::new();
    for step in &plan.captures {
        if !once.insert((&step.collection, step.shard)) {
            wrong.push(Violation::Twice {
                collection: step.collection.clone(),
                shard: step.shard,
            });
        }
        if !plan.collections.contains(&step.collection) {
            wrong.push(Violation::Unasked(step.collection.clone()));
        }
        let Some(server) = fresh(seen, &step.node, now) else {
            wrong.push(Violation::NodeUnusable(step.node.clone()));
            continue;
        };
        let replica = server
            .collections
            .get(&step.collection)
            .and_then(|view| view.shards.get(&step.shard));
        if !replica.is_some_and(|replica| replica.active) {
            wrong.push(Violation::NoReplica {
                node: step.node.clone(),
                collection: step.collection.clone(),
                shard: step.shard,
            });
        }
        if step.method == Method::Stored && !server.snapshots_shared {
            wrong.push(Violation::NotShared(step.node.clone()));
        }
        let recorded = plan.nodes.iter().find(|facts| facts.node == step.node);
        if !recorded
            .is_some_and(|facts| facts.version == server.version && facts.peer_id == server.peer_id)
        {
            wrong.push(Violation::NodeFacts(step.node.clone()));
        }
    }
    wrong.extend(incomplete(plan, seen, now));
    wrong
}

/// Collections of which not every shard is captured.
fn incomplete(plan: &BackupPlan, seen: &Observation, now: Timestamp) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for name in &plan.collections {
        let captured = plan
            .captures
            .iter()
            .filter(|step| step.collection == *name)
            .count();
        let expected = seen
            .nodes
            .keys()
            .filter_map(|node| Some(fresh(seen, node, now)?.collections.get(name)?.shard_count))
            .max()
            .unwrap_or(0);
        if expected == 0 || captured != expected as usize {
            wrong.push(Violation::Incomplete {
                collection: name.clone(),
                expected,
                captured,
            });
        }
    }
    wrong
}

pub(crate) fn fresh<'a>(
    seen: &'a Observation,
    node: &NodeId,
    now: Timestamp,
) -> Option<&'a ServerSeen> {
    let view = seen.nodes.get(node)?;
    let reported = view.reported_at?;
    if !view.connected || now.since(reported) > MAX_REPORT_AGE {
        return None;
    }
    match &view.server {
        ServerView::Seen(server) => Some(server),
        ServerView::Unknown | ServerView::Failing { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::check_backup;
    use crate::backup::{BackupPlan, BackupRequest, Method, MethodWish, plan_backup};
    use crate::fixture::{NOW, busy, name, server, single};
    use crate::observation::{
        CollectionView, NodeView, Observation, ServerSeen, ServerView, ShardView,
    };
    use crate::violation::Violation;
    use holdfast_types::{Epoch, NodeId, ShardId};
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

    fn plan(method: MethodWish) -> (BackupPlan, BackupRequest, Observation) {
        let obs = single(&["books", "docs"]);
        let request = BackupRequest {
            collections: ["books", "docs"].map(name).into(),
            method,
        };
        let plan = plan_backup(&obs, &request, NOW).unwrap();
        (plan, request, obs)
    }

    #[test]
    fn each_way_to_spoil_a_plan_is_found() {
        type Spoil = fn(&mut BackupPlan, &mut Observation);
        let ways: &[(&str, Spoil)] = &[
            ("another term", |plan, _| plan.epoch = Epoch(6)),
            ("a capture left out", |plan, _| {
                plan.captures.pop();
            }),
            ("a capture twice", |plan, _| {
                let first = plan.captures[0].clone();
                plan.captures.push(first);
            }),
            ("a wrong shard", |plan, _| {
                plan.captures[0].shard = ShardId(9)
            }),
            ("a wrong node", |plan, _| {
                plan.captures[0].node = "n9".parse().unwrap();
            }),
            ("a collection left out", |plan, _| {
                plan.collections.pop_first();
            }),
            ("no facts", |plan, _| plan.nodes.clear()),
            ("nothing shared", |_, obs| {
                server(obs, "n1").snapshots_shared = false;
            }),
            ("a replica gone bad", |_, obs| {
                let docs = server(obs, "n1").collections.get_mut(&name("docs"));
                docs.unwrap().shards.get_mut(&ShardId(0)).unwrap().active = false;
            }),
            ("an agent gone", |_, obs| {
                obs.nodes
                    .values_mut()
                    .for_each(|node| node.connected = false);
            }),
            ("a new job", |_, obs| *obs = busy(obs.clone())),
        ];
        let (good, request, obs) = plan(MethodWish::Stored);
        assert_eq!(check_backup(&good, &request, &obs, NOW), []);
        for (what, spoil) in ways {
            let (mut plan, mut obs) = (good.clone(), obs.clone());
            spoil(&mut plan, &mut obs);
            let found = check_backup(&plan, &request, &obs, NOW);
            assert!(!found.is_empty(), "{what}");
        }
    }

    #[test]
    fn a_request_for_everything_leaves_nothing_out() {
        let (plan, _, mut obs) = plan(MethodWish::Auto);
        server(&mut obs, "n1")
            .collections
            .extend([crate::fixture::collection("new", 1, &[0])]);
        let request = BackupRequest {
            collections: [].into(),
            method: MethodWish::Auto,
        };
        assert_eq!(
            check_backup(&plan, &request, &obs, NOW),
            [Violation::Omitted(name("new"))]
        );
    }

    fn any_server() -> impl Strategy<Value = ServerSeen> {
        let shard = any::<bool>().prop_map(|active| ShardView {
            active,
            points_approx: 1,
        });
        let view = (
            prop::sample::select(vec!["green", "yellow", "red"]),
            1..4_u32,
            prop::collection::btree_map((0..4_u32).prop_map(ShardId), shard, 0..4),
        )
            .prop_map(|(status, shard_count, shards)| CollectionView {
                status: status.into(),
                shard_count,
                shards,
                aliases: vec![],
            });
        let names = prop::sample::select(vec!["a", "b", "c"]).prop_map(name);
        (
            prop::sample::select(vec!["1.18.3", "1.19.0", "1.17.0"]),
            prop::option::of(1..3_u64),
            any::<bool>(),
            prop::collection::btree_map(names, view, 0..3),
        )
            .prop_map(
                |(version, peer_id, snapshots_shared, collections)| ServerSeen {
                    version: version.parse().unwrap(),
                    commit: None,
                    peer_id,
                    peers: u32::from(peer_id.is_some()),
                    unusable_collections: vec![],
                    unusable_aliases: vec![],
                    storage_free: None,
                    snapshots_shared,
                    splices_logs: true,
                    collections,
                },
            )
    }

    fn any_world() -> impl Strategy<Value = Observation> {
        let view = prop_oneof_server().prop_flat_map(|server| {
            (0..9_u8, 0..90_i64).prop_map(move |(connected, age)| NodeView {
                connected: connected != 0,
                reported_at: Some(holdfast_types::Timestamp::from_micros(
                    NOW.as_micros() - age * 1_000_000,
                )),
                clock_skew: None,
                server: server.clone(),
            })
        });
        let ids = prop::sample::select(vec!["n1", "n2", "n3"])
            .prop_map(|id| id.parse::<NodeId>().unwrap());
        prop::collection::btree_map(ids, view, 0..3).prop_map(|nodes| Observation {
            epoch: Epoch(1),
            running: None,
            nodes,
        })
    }

    fn prop_oneof_server() -> impl Strategy<Value = ServerView> {
        (any_server(), 0..8_u8).prop_map(|(server, dice)| match dice {
            0 => ServerView::Unknown,
            1 => ServerView::Failing {
                code: "qdrant-error".into(),
                message: "broken".into(),
            },
            _ => ServerView::Seen(server),
        })
    }

    proptest! {
        /// Whatever the world looks like: a plan that is made passes the check, and is refused with
        /// a reason otherwise; planning the same twice gives the same.
        #[test]
        fn planner_and_checker_agree(
            obs in any_world(),
            wanted in prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c"]), 0..3),
            method in prop::sample::select(vec![
                MethodWish::Auto, MethodWish::Direct, MethodWish::Partial, MethodWish::Stored, MethodWish::Stream,
            ]),
        ) {
            let request = BackupRequest { collections: wanted.into_iter().map(name).collect(), method };
            let outcome = plan_backup(&obs, &request, NOW);
            prop_assert_eq!(&outcome, &plan_backup(&obs, &request, NOW));
            match outcome {
                Ok(plan) => {
                    prop_assert_eq!(check_backup(&plan, &request, &obs, NOW), vec![]);
                    let want = match method {
                        MethodWish::Auto => Method::Auto,
                        MethodWish::Direct => Method::Direct,
                        MethodWish::Partial => Method::Partial,
                        MethodWish::Stored => Method::Stored,
                        MethodWish::Stream => Method::Stream,
                    };
                    prop_assert!(plan.captures.iter().all(|step| step.method == want));
                }
                Err(blockers) => prop_assert!(!blockers.is_empty()),
            }
        }
    }
}
