//! The checker against spoilt plans, and against the planner in worlds made at random.

use super::check_backup;
use crate::backup::{BackupPlan, BackupRequest, Method, MethodWish, Repin, Trouble, plan_backup};
use crate::fixture::{NOW, busy, collection, name, server, single};
use crate::observation::{
    CollectionView, ExtraSeen, NodeView, Observation, Past, Pulse, RemoteView, ServerSeen,
    ServerView, ShardView, TransferView,
};
use crate::violation::Violation;
use holdfast_types::{CaptureLimits, Epoch, NodeId, ShardId};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use std::time::Duration;

fn plan(method: MethodWish) -> (BackupPlan, BackupRequest, Observation) {
    let obs = single(&["books", "docs"]);
    let request = BackupRequest {
        collections: ["books", "docs"].map(name).into(),
        patterns: [].into(),
        method,
        limits: CaptureLimits::default(),
    };
    let plan = plan_backup(&obs, &request, NOW).unwrap();
    (plan, request, obs)
}

/// Two nodes of a Qdrant cluster, of which one says that the other's replica is dead.
fn called_dead(_: &mut BackupPlan, obs: &mut Observation) {
    let peers = [1, 2].map(|peer| (peer, String::new()));
    for (id, peer) in [("n1", 1), ("n2", 2)] {
        let (id, mut view) = crate::fixture::node(id, Some(peer), []);
        if let Some(known) = obs.nodes.remove(&id) {
            view = known;
        }
        obs.nodes.insert(id, view);
    }
    server(obs, "n1").peer_id = Some(1);
    server(obs, "n1").cluster = peers.into();
    let mut docs = crate::fixture::collection("docs", 1, &[]);
    docs.1.remote.push(RemoteView {
        shard: ShardId(0),
        peer: 1,
        state: "Dead".into(),
    });
    server(obs, "n2").collections.extend([docs]);
}

#[test]
fn each_way_to_spoil_a_plan_is_found() {
    type Spoil = fn(&mut BackupPlan, &mut Observation);
    let ways: &[(&str, Spoil)] = &[
        ("another term", |plan, _| plan.epoch = Epoch(6)),
        ("another limit", |plan, _| {
            plan.limits.max_nodes = std::num::NonZeroU32::new(2);
        }),
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
            docs.unwrap().shards.get_mut(&ShardId(0)).unwrap().state = "Dead".into();
        }),
        ("an agent gone", |_, obs| {
            obs.nodes
                .values_mut()
                .for_each(|node| node.connected = false);
        }),
        ("a replica that another node calls dead", called_dead),
        ("a pin left for nothing", |_, obs| {
            let (id, view) = crate::fixture::node("n2", None, [collection("docs", 1, &[0])]);
            obs.past.pins.insert((name("docs"), ShardId(0)), id.clone());
            obs.nodes.insert(id, view);
        }),
        ("a pin left without a word", |_, obs| {
            let pin = "n2".parse().unwrap();
            obs.past.pins.insert((name("docs"), ShardId(0)), pin);
        }),
        ("a word about a pin that was not left", |plan, _| {
            plan.captures[0].repinned = Some(Repin {
                from: "n1".parse().unwrap(),
                why: Trouble::Late,
            });
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
        patterns: [].into(),
        method: MethodWish::Auto,
        limits: CaptureLimits::default(),
    };
    assert_eq!(
        check_backup(&plan, &request, &obs, NOW),
        [Violation::Omitted(name("new"))]
    );
}

fn any_server() -> impl Strategy<Value = ServerSeen> {
    let state = || prop::sample::select(vec!["Active", "Active", "Active", "Dead", "Partial"]);
    let shard = (state(), 0..20_u64).prop_map(|(state, minutes)| ShardView {
        state: state.into(),
        optimizing: Duration::from_mins(minutes),
        points_approx: 1,
    });
    let remote = (0..4_u32, 1..4_u64, state()).prop_map(|(shard, peer, state)| RemoteView {
        shard: ShardId(shard),
        peer,
        state: state.into(),
    });
    let transfer = (0..4_u32, 1..4_u64, 1..4_u64).prop_map(|(shard, from, to)| TransferView {
        shard: ShardId(shard),
        from,
        to,
    });
    let view = (
        prop::sample::select(vec!["green", "yellow", "red"]),
        1..4_u32,
        prop::collection::btree_map((0..4_u32).prop_map(ShardId), shard, 0..4),
        prop::collection::vec(remote, 0..4),
        prop::collection::vec(transfer, 0..2),
    )
        .prop_map(
            |(status, shard_count, shards, remote, transfers)| CollectionView {
                status: status.into(),
                shard_count,
                shards,
                remote,
                transfers,
                aliases: vec![],
            },
        );
    let names = prop::sample::select(vec!["a", "b", "c"]).prop_map(name);
    (
        prop::sample::select(vec!["1.18.3", "1.19.0", "1.17.0"]),
        prop::option::of(1..4_u64),
        any::<bool>(),
        prop::collection::btree_map(names, view, 0..3),
        prop::option::of(0..3_usize),
    )
        .prop_map(
            |(version, peer_id, snapshots_shared, collections, extras)| ServerSeen {
                version: version.parse().unwrap(),
                commit: None,
                peer_id,
                peers: u32::from(peer_id.is_some()),
                cluster: (1..4).map(|peer| (peer, String::new())).collect(),
                unusable_collections: vec![],
                unusable_aliases: vec![],
                storage_free: None,
                snapshots_shared,
                splices_logs: true,
                replays_logs: true,
                restores_parts: true,
                keeps_limits: true,
                extras: extras.map(|count| EXTRAS[..count].iter().map(extra).collect()),
                collections,
            },
        )
}

const EXTRAS: [&str; 2] = ["qdrant", "redis"];

fn extra(name: &&str) -> ExtraSeen {
    ExtraSeen {
        name: name.parse().unwrap(),
        config: *name == "qdrant",
        required: *name == "redis",
    }
}

fn any_world() -> impl Strategy<Value = Observation> {
    let view = prop_oneof_server().prop_flat_map(|server| {
        let pulse = (0..20_u64, 0..4_u64, 0..6_u8, 0..4_u8);
        (0..9_u8, 0..90_i64, pulse).prop_map(move |(connected, age, pulse)| {
            let (silent, answer, late, drained) = pulse;
            NodeView {
                connected: connected != 0,
                reported_at: Some(holdfast_types::Timestamp::from_micros(
                    NOW.as_micros() - age * 1_000_000,
                )),
                clock_skew: None,
                server: server.clone(),
                before: None,
                late: late == 0,
                searches: None,
                pulse: Pulse {
                    silent: Duration::from_secs(silent),
                    answer: Duration::from_secs(answer),
                },
                drained: drained == 0,
            }
        })
    });
    let ids =
        prop::sample::select(vec!["n1", "n2", "n3"]).prop_map(|id| id.parse::<NodeId>().unwrap());
    let place = (
        prop::sample::select(vec!["a", "b", "c"]).prop_map(name),
        0..4_u32,
    );
    let place = place.prop_map(|(name, shard)| (name, ShardId(shard)));
    let pins = prop::collection::btree_map(place, ids.clone(), 0..6);
    let nodes = prop::collection::btree_map(ids, view, 0..4);
    (nodes, pins).prop_map(|(nodes, pins)| Observation {
        epoch: Epoch(1),
        running: None,
        nodes,
        past: Past {
            pins,
            ..Past::default()
        },
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
        fits in any::<bool>(),
        method in prop::sample::select(vec![
            MethodWish::Auto, MethodWish::Direct, MethodWish::Partial, MethodWish::Stored, MethodWish::Stream,
        ]),
    ) {
        let request = BackupRequest {
            collections: wanted.into_iter().map(name).collect(),
            patterns: if fits { ["b*".parse().unwrap()].into() } else { [].into() },
            method,
            limits: CaptureLimits::default(),
        };
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
