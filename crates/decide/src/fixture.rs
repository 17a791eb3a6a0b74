//! Small worlds for this crate's tests.

use crate::observation::{
    CollectionView, NodeView, Observation, RunningJob, ServerSeen, ServerView, ShardView,
};
use crate::restore::CapturedCollection;
use holdfast_types::{CollectionName, Epoch, NodeId, ShardId, Timestamp};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_256_130_000_000);

pub(crate) fn name(text: &str) -> CollectionName {
    text.parse().unwrap()
}

pub(crate) fn names(texts: &[&str]) -> Vec<CollectionName> {
    texts.iter().map(|text| name(text)).collect()
}

pub(crate) fn collection(
    text: &str,
    shard_count: u32,
    active: &[u32],
) -> (CollectionName, CollectionView) {
    let shard = |id: &u32| {
        let view = ShardView {
            state: "Active".into(),
            optimizing: std::time::Duration::ZERO,
            points_approx: 10,
        };
        (ShardId(*id), view)
    };
    let view = CollectionView {
        status: "green".into(),
        shard_count,
        shards: active.iter().map(shard).collect(),
        remote: vec![],
        transfers: vec![],
        aliases: vec![],
    };
    (name(text), view)
}

pub(crate) fn node<const N: usize>(
    id: &str,
    peer_id: Option<u64>,
    collections: [(CollectionName, CollectionView); N],
) -> (NodeId, NodeView) {
    let server = ServerSeen {
        version: "1.18.3".parse().unwrap(),
        commit: None,
        peer_id,
        peers: u32::from(peer_id.is_some()),
        cluster: [].into(),
        unusable_collections: vec![],
        unusable_aliases: vec![],
        storage_free: None,
        snapshots_shared: true,
        splices_logs: true,
        replays_logs: true,
        restores_parts: true,
        keeps_limits: true,
        extras: Some(vec![]),
        collections: collections.into_iter().collect(),
    };
    let view = NodeView {
        connected: true,
        reported_at: Some(NOW),
        clock_skew: None,
        server: ServerView::Seen(server),
        before: None,
        late: false,
        pulse: crate::observation::Pulse::default(),
        drained: false,
        searches: None,
    };
    (id.parse().unwrap(), view)
}

/// Nodes `n1`, `n2`, … that are one cluster, with peer ids of these numbers, and a collection with Active replicas of each shard on these peers.
pub(crate) fn cluster(count: u64, text: &str, shards: &[&[u64]]) -> Observation {
    let mut obs = seen([]);
    for peer in 1..=count {
        let (id, mut view) = node(&format!("n{peer}"), Some(peer), []);
        if let ServerView::Seen(server) = &mut view.server {
            server.peers = u32::try_from(count).unwrap();
            server.cluster = (1..=count).map(|peer| (peer, String::new())).collect();
            let total = u32::try_from(shards.len()).unwrap();
            let (held, remote): (Vec<_>, Vec<_>) = (0..)
                .zip(shards)
                .flat_map(|(shard, on)| on.iter().map(move |holder| (shard, *holder)))
                .partition(|(_, holder)| *holder == peer);
            let held: Vec<u32> = held.into_iter().map(|(shard, _)| shard).collect();
            let (name, mut docs) = collection(text, total, &held);
            docs.remote = remote
                .into_iter()
                .map(|(shard, peer)| crate::observation::RemoteView {
                    shard: ShardId(shard),
                    peer,
                    state: "Active".into(),
                })
                .collect();
            if total > 0 {
                server.collections.insert(name, docs);
            }
        }
        obs.nodes.insert(id, view);
    }
    obs
}

pub(crate) fn seen<const N: usize>(nodes: [(NodeId, NodeView); N]) -> Observation {
    Observation {
        epoch: Epoch(7),
        running: None,
        nodes: nodes.into_iter().collect(),
        past: crate::observation::Past::default(),
    }
}

/// One stand-alone node `n1` with these collections, one shard each.
pub(crate) fn single(collections: &[&str]) -> Observation {
    let mut obs = seen([node("n1", None, [])]);
    server(&mut obs, "n1").collections = collections
        .iter()
        .map(|name| collection(name, 1, &[0]))
        .collect();
    obs
}

pub(crate) fn server<'a>(obs: &'a mut Observation, id: &str) -> &'a mut ServerSeen {
    let node = obs.nodes.get_mut(&id.parse::<NodeId>().unwrap()).unwrap();
    match &mut node.server {
        ServerView::Seen(server) => server,
        ServerView::Unknown | ServerView::Failing { .. } => panic!("node {id} has no server"),
    }
}

pub(crate) fn busy(mut obs: Observation) -> Observation {
    obs.running = Some(RunningJob {
        id: "job-1".parse().unwrap(),
        kind: "backup",
    });
    obs
}

pub(crate) fn captured(text: &str) -> CapturedCollection {
    CapturedCollection {
        name: name(text),
        versions: ["1.18.3".parse().unwrap()].into(),
        shards: 1,
        shard_sizes: [(ShardId(0), 1000)].into(),
        keyed: false,
        replication_factor: 1,
        logical_bytes: 1000,
        aliases: vec![format!("{text}-live").parse().unwrap()],
        indexes: vec!["year".into()],
        points: Some(10),
    }
}
