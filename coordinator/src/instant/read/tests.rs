//! What follows of agents and Qdrants that agree, differ, hang or are away.

use super::agreed;
use crate::instant::between::replicas;
use holdfast_decide::instant::{Listed, Present};
use holdfast_decide::{
    CollectionView, NodeView, Observation, Past, Pulse, RemoteView, ServerSeen, ServerView,
    ShardView,
};
use holdfast_types::{CollectionName, Epoch, IncarnationId, NodeId, ShardId};
use std::time::Duration;

fn docs() -> CollectionName {
    "docs".parse().unwrap()
}

fn n1() -> NodeId {
    "n1".parse().unwrap()
}

/// `docs` with a shard here, or with one of a peer.
fn lists(shards: u32, peer: Option<u64>) -> CollectionView {
    let shard = |id| {
        let view = ShardView {
            state: "Active".into(),
            optimizing: Duration::ZERO,
            points_approx: 1,
        };
        (ShardId(id), view)
    };
    let remote = peer.map(|peer| RemoteView {
        shard: ShardId(0),
        peer,
        state: "Active".into(),
    });
    CollectionView {
        status: "green".into(),
        shard_count: 1,
        shards: (0..shards).map(shard).collect(),
        remote: remote.into_iter().collect(),
        transfers: vec![],
        aliases: vec![],
    }
}

fn node(peer_id: u64, docs_there: Option<CollectionView>) -> NodeView {
    let server = ServerSeen {
        version: "1.18.3".parse().unwrap(),
        commit: None,
        peer_id: Some(peer_id),
        peers: 2,
        cluster: [].into(),
        unusable_collections: vec![],
        unusable_aliases: vec![],
        storage_free: None,
        snapshots_shared: true,
        splices_logs: true,
        replays_logs: true,
        restores_parts: true,
        keeps_limits: true,
        extras: None,
        collections: docs_there.map(|view| (docs(), view)).into_iter().collect(),
    };
    NodeView {
        connected: true,
        reported_at: None,
        clock_skew: None,
        server: ServerView::Seen(server),
        before: None,
        late: false,
        pulse: Pulse::default(),
        drained: false,
        searches: None,
    }
}

fn seen<const N: usize>(nodes: [(&str, NodeView); N]) -> Observation {
    Observation {
        epoch: Epoch(1),
        running: None,
        nodes: nodes
            .into_iter()
            .map(|(name, view)| (name.parse().unwrap(), view))
            .collect(),
        past: Past::default(),
    }
}

/// The agent of n1 has told of all its logs, and follows `docs` or not.
fn told(follows: bool) -> Present {
    let life = IncarnationId::from_bytes([1; 16]);
    let lives = follows.then(|| (life, (docs(), n1())));
    Present {
        nodes: [n1()].into(),
        lives: lives.into_iter().collect(),
        ..Present::default()
    }
}

#[test]
fn agent_and_qdrant_must_agree() {
    for (follows, listed, agree) in [
        (true, Some(lists(1, None)), true),
        (false, None, true),
        (false, Some(lists(1, None)), false),
        (true, None, false),
        // Its shards have left the node, and their logs are not stored to the end.
        (true, Some(lists(0, None)), false),
    ] {
        let found = agreed(&seen([("n1", node(1, listed))]), told(follows));
        assert_eq!(found.nodes, [n1()].into());
        assert_eq!(found.disputed.is_empty(), agree, "{found:?}");
    }
}

#[test]
fn a_node_that_does_not_answer_now_is_not_known() {
    let well = || node(1, Some(lists(1, None)));
    let away = NodeView {
        connected: false,
        ..well()
    };
    let late = NodeView {
        late: true,
        ..well()
    };
    let failing = NodeView {
        server: ServerView::Unknown,
        ..well()
    };
    for view in [away, late, failing] {
        let found = agreed(&seen([("n1", view)]), told(true));
        assert!(found.nodes.is_empty(), "{found:?}");
    }
    let found = agreed(&seen([]), told(true));
    assert!(found.nodes.is_empty(), "never heard of");
}

#[test]
fn who_has_a_collection_that_has_left_a_node_is_named() {
    let left = || ("n1", node(1, Some(lists(0, Some(2)))));
    let known = agreed(&seen([left(), ("n2", node(2, None))]), told(false));
    assert_eq!(known.remote, [(docs(), "node n2".to_owned())].into());
    let unknown = agreed(&seen([left()]), told(false));
    assert_eq!(
        unknown.remote[&docs()],
        "peer 2, of which no agent is known"
    );
    assert!(unknown.disputed.is_empty());
}

/// Of a node that does not answer what it listed last counts: a shard too many is named, one too few is passed over.
#[test]
fn replicas_are_those_that_any_node_lists() {
    let mut away = node(8, Some(lists(2, None)));
    let before = std::mem::replace(&mut away.server, ServerView::Unknown);
    if let ServerView::Seen(server) = before {
        away.before = Some(server);
    }
    let nodes = [
        ("n1", node(7, Some(lists(0, Some(8))))),
        ("n2", away),
        ("n3", node(9, Some(lists(1, Some(77))))),
        ("n4", node(10, None)),
    ];
    let n = |n: &str| Some(n.parse::<NodeId>().unwrap());
    let wanted: Listed = [
        (ShardId(0), [n("n2"), n("n3"), None].into()),
        (ShardId(1), [n("n2")].into()),
    ]
    .into();
    assert_eq!(replicas(&seen(nodes), &docs()), wanted);
}
