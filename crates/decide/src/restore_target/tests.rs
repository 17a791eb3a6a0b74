//! Restores into clusters: who receives what, and what forbids it.

use crate::fixture::{NOW, captured, cluster, name, node, seen, server};
use crate::observation::Observation;
use crate::restore::{
    CapturedCollection, Mapping, PointView, RestorePlan, RestoreRequest, plan_restore,
};
use crate::restore_check::check_restore;
use holdfast_types::{ByteCount, ShardId};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

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

/// Six shards of 100 bytes, two replicas each.
fn docs() -> CapturedCollection {
    CapturedCollection {
        shards: 6,
        shard_sizes: (0..6).map(|shard| (ShardId(shard), 100)).collect(),
        logical_bytes: 600,
        replication_factor: 2,
        ..captured("docs")
    }
}

fn planned(obs: &Observation, request: &RestoreRequest) -> RestorePlan {
    let point = PointView::Found(vec![docs()]);
    let plan = plan_restore(obs, &point, request, NOW);
    if plan.is_runnable() {
        assert_eq!(check_restore(&plan, request, &point, obs, NOW), []);
    }
    plan
}

fn blocked(obs: &Observation, request: &RestoreRequest) -> String {
    let plan = planned(obs, request);
    let told: Vec<String> = plan.blockers.iter().map(ToString::to_string).collect();
    told.join("; ")
}

#[test]
fn an_only_cluster_is_meant_and_all_of_its_nodes_receive() {
    let mut obs = cluster(3, "other", &[]);
    server(&mut obs, "n2").storage_free = Some(ByteCount(500));
    let plan = planned(&obs, &request());
    assert_eq!(plan.node, Some("n1".parse().unwrap()));
    assert!(plan.in_cluster);
    let receivers = plan.receivers.iter().map(|r| (r.node.as_str(), r.needed));
    assert_eq!(
        receivers.collect::<Vec<_>>(),
        [("n1", 400), ("n2", 400), ("n3", 400)]
    );
    assert_eq!(plan.steps[0].replicas, Some(2));
    assert_eq!(
        plan.steps[0].to_string(),
        "restore docs: 6 shards, 600 B, 2 replicas of each"
    );
    assert_eq!(
        plan.warnings,
        ["node n2 has 500 B free on its storage volume; up to 600 B may be needed for a while"]
    );
    // A node that is away is not led by, and not done without.
    obs.nodes.get_mut(&"n1".parse().unwrap()).unwrap().connected = false;
    let without = planned(&obs, &request());
    assert_eq!(without.node, Some("n2".parse().unwrap()));
    assert!(without.blockers[0].to_string().starts_with(
        "node n1 of the Qdrant cluster of node n2 can't receive data (node n1 is not connected"
    ));
}

#[test]
fn replicas_are_as_captured_or_as_asked() {
    let mut order = request();
    let replicas = |nodes: u64, order: &RestoreRequest| {
        let plan = planned(&cluster(nodes, "other", &[]), order);
        (plan.steps[0].replicas, plan.warnings.join("; "))
    };
    assert_eq!(replicas(3, &order), (Some(2), String::new()));
    order.replication_factor = Some(3);
    assert_eq!(replicas(3, &order), (Some(3), String::new()));
    order.replication_factor = Some(4);
    assert!(
        blocked(&cluster(3, "other", &[]), &order)
            .contains("4 replicas of each shard were asked for, but there are 3 nodes")
    );
    // One node, also as a cluster of its own, has one replica of each, and is restored into as a whole.
    order.replication_factor = None;
    let alone = seen([node("n1", Some(1), [])]);
    let plan = planned(&alone, &order);
    assert_eq!(
        (
            plan.in_cluster,
            plan.steps[0].replicas,
            plan.receivers.len()
        ),
        (false, None, 1)
    );
    let mut many = docs();
    many.replication_factor = 5;
    let plan = plan_restore(
        &cluster(3, "x", &[]),
        &PointView::Found(vec![many]),
        &order,
        NOW,
    );
    assert_eq!(plan.steps[0].replicas, Some(3));
    assert_eq!(
        plan.warnings,
        ["docs was captured with 5 replicas of each shard and gets 3: there are no more nodes"]
    );
}

#[test]
fn every_node_must_be_able_to_take_its_part() {
    let order = request();
    let mut old = cluster(3, "other", &[]);
    server(&mut old, "n3").restores_parts = false;
    assert!(
        blocked(&old, &order)
            .starts_with("the agent of node n3 can't restore into a Qdrant cluster")
    );
    let mut stranger = cluster(3, "other", &[]);
    for n in ["n1", "n2", "n3"] {
        server(&mut stranger, n).cluster.insert(4, String::new());
        server(&mut stranger, n).peers = 4;
    }
    assert!(blocked(&stranger, &order).starts_with(
        "peer 4 of the Qdrant cluster of node n1 can't receive data (no agent of it is known)"
    ));
    let mut other = cluster(3, "other", &[]);
    server(&mut other, "n2").version = "1.21.0".parse().unwrap();
    assert!(blocked(&other, &order).contains("node n2 runs 1.21.0"));
    // Two clusters: one must be named, by any of its nodes.
    let mut two = cluster(2, "other", &[]);
    let (id, view) = node("x1", Some(9), []);
    two.nodes.insert(id, view);
    assert!(blocked(&two, &order).starts_with("several nodes are connected (n1, n2, x1)"));
    let mut named = request();
    named.node = Some("n2".parse().unwrap());
    let plan = planned(&two, &named);
    assert_eq!((plan.node, plan.receivers.len()), (named.node, 2));
}

#[test]
fn shard_keys_need_cluster_mode() {
    let keyed = CapturedCollection {
        keyed: true,
        ..docs()
    };
    let point = PointView::Found(vec![keyed]);
    let alone = seen([node("n1", None, [])]);
    let plan = plan_restore(&alone, &point, &request(), NOW);
    assert!(
        plan.blockers[0]
            .to_string()
            .contains("runs without cluster mode")
    );
    for there in [seen([node("n1", Some(1), [])]), cluster(3, "other", &[])] {
        assert_eq!(plan_restore(&there, &point, &request(), NOW).blockers, []);
    }
}

#[test]
fn what_is_replaced_is_captured_on_all_nodes_first_and_the_risk_is_told() {
    let obs = cluster(3, "docs", &[&[1, 2], &[2, 3], &[3, 1]]);
    let mut order = request();
    assert!(blocked(&obs, &order).contains("already exists"));
    order.overwrite = true;
    let plan = planned(&obs, &order);
    let nodes = plan.safety.iter().flat_map(|safety| &safety.captures);
    let nodes: Vec<&str> = nodes.map(|capture| capture.node.as_str()).collect();
    assert_eq!(nodes.len(), 3);
    assert!(
        plan.warnings[0]
            .contains("what is written to it from the beginning of the capture on is lost")
    );
}

#[test]
fn each_way_to_spoil_a_plan_for_a_cluster_is_found() {
    type Spoil = fn(&mut RestorePlan, &mut Observation, &mut RestoreRequest);
    let ways: &[(&str, Spoil)] = &[
        ("taken for one node", |plan, _, _| plan.in_cluster = false),
        ("a node left out", |plan, _, _| drop(plan.receivers.pop())),
        ("a node twice", |plan, _, _| {
            let first = plan.receivers[0].clone();
            plan.receivers.push(first);
        }),
        ("a new node", |_, obs, _| {
            server(obs, "n1").cluster.insert(4, String::new());
        }),
        ("an agent of before", |_, obs, _| {
            server(obs, "n2").restores_parts = false;
        }),
        ("a node that went away", |_, obs, _| {
            obs.nodes.get_mut(&"n3".parse().unwrap()).unwrap().connected = false;
        }),
        ("a node that can't read it", |_, obs, _| {
            server(obs, "n3").version = "1.21.0".parse().unwrap();
        }),
        ("no replica", |plan, _, _| plan.steps[0].replicas = Some(0)),
        ("too many replicas", |plan, _, _| {
            plan.steps[0].replicas = Some(4)
        }),
        ("unsaid replicas", |plan, _, _| {
            plan.steps[0].replicas = None
        }),
        ("other replicas than asked for", |_, _, request| {
            request.replication_factor = Some(3);
        }),
        ("another shard", |plan, _, _| {
            plan.steps[0].shard_sizes.insert(ShardId(6), 1);
        }),
        ("a capture elsewhere", |plan, _, _| {
            let safety = plan.safety.as_mut().unwrap();
            safety.captures[0].node = "n9".parse().unwrap();
        }),
        ("no safety capture", |plan, _, _| plan.safety = None),
    ];
    let obs = cluster(3, "docs", &[&[1, 2], &[2, 3]]);
    let (point, mut order) = (PointView::Found(vec![docs()]), request());
    order.overwrite = true;
    let plan = plan_restore(&obs, &point, &order, NOW);
    assert_eq!(check_restore(&plan, &order, &point, &obs, NOW), []);
    for (what, spoil) in ways {
        let (mut plan, mut obs, mut order) = (plan.clone(), obs.clone(), order.clone());
        spoil(&mut plan, &mut obs, &mut order);
        assert!(
            !check_restore(&plan, &order, &point, &obs, NOW).is_empty(),
            "{what}"
        );
    }
}

proptest! {
    /// A plan without blockers passes the check, whatever nodes, replicas, agents and keys meet.
    #[test]
    fn planner_and_checker_agree(
        nodes in 1..6_u64,
        there in any::<bool>(),
        old in prop::option::of(1..6_u64),
        away in prop::option::of(1..6_u64),
        named in prop::option::of(1..6_u64),
        factor in prop::option::of(1..6_u32),
        captured_factor in 1..6_u32,
        keyed in any::<bool>(),
        overwrite in any::<bool>(),
    ) {
        let shards: &[&[u64]] = if there { &[&[1], &[1]] } else { &[] };
        let mut obs = cluster(nodes, "docs", shards);
        if let Some(old) = old.filter(|old| *old <= nodes) {
            server(&mut obs, &format!("n{old}")).restores_parts = false;
        }
        if let Some(away) = away.filter(|away| *away <= nodes) {
            obs.nodes.get_mut(&format!("n{away}").parse().unwrap()).unwrap().connected = false;
        }
        let order = RestoreRequest {
            collections: vec![Mapping { source: name("docs"), target: name("docs") }],
            node: named.map(|n| format!("n{n}").parse().unwrap()),
            replication_factor: factor,
            overwrite,
            ..request()
        };
        let point = PointView::Found(vec![CapturedCollection {
            keyed,
            replication_factor: captured_factor,
            ..docs()
        }]);
        let plan = plan_restore(&obs, &point, &order, NOW);
        if plan.is_runnable() {
            prop_assert_eq!(check_restore(&plan, &order, &point, &obs, NOW), vec![]);
            prop_assert_eq!(plan.receivers.len() as u64, nodes);
            prop_assert!(!there || (overwrite && plan.safety.is_some()));
        }
    }
}
