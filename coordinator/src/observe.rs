//! What the agents told: the one place where observations are kept.
//!
//! Filled by the control service, read by planners as one consistent [`Observation`]. It decides
//! nothing and remembers nothing across a restart: nobody is known until they say hello.

use holdfast_decide::{
    CollectionView, ExtraSeen, NodeView, Observation, Past, Pulse, RemoteView, RunningJob,
    ServerSeen, ServerView, ShardView, TransferView,
};
use holdfast_proto::convert::{CollectionSeen, ExtraTold, Greeting, NodeSeen, ReportedFailure};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, Epoch, NodeId, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Clocks further apart than this are reported.
pub const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(300);

/// A Qdrant that has not answered the simplest question for so long won't answer a look in time either.
const HOPELESS: Duration = Duration::from_secs(10);

/// An agent that is not let in tries again every few seconds; one that has not for so long was stopped.
const KEPT_OUT: Duration = Duration::from_secs(120);

/// Every node heard of since the start.
#[derive(Debug, Default)]
pub struct Registry {
    nodes: Mutex<BTreeMap<NodeId, NodeRecord>>,
    /// Agents that were not let in: when last, and why.
    turned_away: Mutex<BTreeMap<NodeId, (Timestamp, String)>>,
    /// Woken by every report and every departure.
    news: Notify,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeRecord {
    /// Whether its agent is connected.
    pub connected: bool,
    /// When its agent was last heard.
    pub last_seen: Timestamp,
    /// When it last reported on its server.
    reported_at: Option<Timestamp>,
    /// The agent's release.
    pub program: String,
    /// The newest request to look again that its last report answers.
    answers: u64,
    /// How its Qdrant answers, by the last report.
    pulse: Pulse,
    /// How long searches took there, by the last report.
    pub searches: Option<Duration>,
    /// For how long its captures were held up for them, since the coordinator's start.
    pub held_up: Duration,
    server: ServerView,
    /// The last server that was told of, for when the agent is away.
    last_server: Option<ServerSeen>,
    /// The last inventory, as it came.
    pub inventory: Option<v1::Inventory>,
    /// Why the last report has no inventory.
    pub error: Option<v1::Failure>,
    /// The last look at the storage directory that it watches.
    pub storage: Option<v1::StorageWatch>,
    /// Agent's clock minus ours, in microseconds.
    pub clock_offset_us: i64,
}

impl Registry {
    /// An agent said hello.
    pub fn connected(&self, greeting: &Greeting, now: Timestamp) {
        let turned = self.turned_away.lock();
        turned
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&greeting.node);
        let mut nodes = self.lock();
        let record = nodes
            .entry(greeting.node.clone())
            .or_insert_with(|| NodeRecord {
                connected: true,
                last_seen: now,
                reported_at: None,
                answers: 0,
                pulse: Pulse::default(),
                searches: None,
                held_up: Duration::ZERO,
                program: String::new(),
                server: ServerView::Unknown,
                last_server: None,
                inventory: None,
                error: None,
                storage: None,
                clock_offset_us: 0,
            });
        record.connected = true;
        record.last_seen = now;
        record.reported_at = None;
        record.answers = 0;
        record.pulse = Pulse::default();
        record.searches = None;
        record.program.clone_from(&greeting.program);
        record.clock_offset_us = offset(greeting.now, now);
    }

    /// An agent was not let in. Its name is its certificate's.
    pub fn turned_away(&self, node: &NodeId, now: Timestamp, why: String) {
        let turned = self.turned_away.lock();
        let mut turned = turned.unwrap_or_else(PoisonError::into_inner);
        turned.insert(node.clone(), (now, why));
    }

    /// Agents that tried lately and were not let in, and why.
    #[must_use]
    pub fn kept_out(&self, now: Timestamp) -> Vec<(NodeId, String)> {
        let turned = self.turned_away.lock();
        let turned = turned.unwrap_or_else(PoisonError::into_inner);
        let lately = turned
            .iter()
            .filter(|(_, (at, _))| now.distance(*at) < KEPT_OUT);
        lately
            .map(|(node, (_, why))| (node.clone(), why.clone()))
            .collect()
    }

    /// An agent went away.
    pub fn disconnected(&self, node: &NodeId) {
        if let Some(record) = self.lock().get_mut(node) {
            record.connected = false;
        }
        self.news.notify_waiters();
    }

    /// An operator has removed a node: nothing is known of it any more.
    pub fn forget(&self, node: &NodeId) {
        let turned = self.turned_away.lock();
        turned.unwrap_or_else(PoisonError::into_inner).remove(node);
        self.lock().remove(node);
        self.news.notify_waiters();
    }

    /// Waits until every connected node has reported in answer to `request`, or has gone, or hangs.
    pub async fn answered(&self, request: u64) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Enrolled before the look, so that no report between look and wait is missed.
            news.as_mut().enable();
            let hangs = |record: &NodeRecord| record.pulse.silent >= HOPELESS;
            let open = |record: &NodeRecord| {
                record.connected && record.answers < request && !hangs(record)
            };
            if !self.lock().values().any(open) {
                return;
            }
            news.await;
        }
    }

    /// An agent reported.
    pub fn heard(&self, node: &NodeId, beat: v1::Heartbeat, now: Timestamp) {
        let server = server_view(&beat);
        let mut nodes = self.lock();
        let Some(record) = nodes.get_mut(node) else {
            return;
        };
        record.last_seen = now;
        record.reported_at = Some(now);
        record.clock_offset_us = offset(Timestamp::from_micros(beat.now_us), now);
        if let ServerView::Seen(seen) = &server {
            record.last_server = Some(seen.clone());
        }
        record.server = server;
        if beat.inventory.is_some() {
            record.inventory = beat.inventory;
        }
        if beat.storage.is_some() {
            record.storage = beat.storage;
        }
        record.error = beat.qdrant_error;
        record.answers = beat.answers;
        record.pulse = Pulse {
            silent: Duration::from_millis(beat.qdrant_silent_ms),
            answer: Duration::from_millis(beat.qdrant_answer_ms),
        };
        let searches = Duration::from_micros(beat.search_us);
        record.searches = Some(searches).filter(|took| !took.is_zero());
        drop(nodes);
        self.news.notify_waiters();
    }

    /// Everything known, for a planner. A connected node that has not answered `request` is late.
    #[must_use]
    pub fn observation(
        &self,
        epoch: Epoch,
        running: Option<RunningJob>,
        request: u64,
    ) -> Observation {
        let view = |record: &NodeRecord| NodeView {
            connected: record.connected,
            reported_at: record.reported_at,
            clock_skew: record.clock_skew(),
            before: record.last_server.clone(),
            late: record.connected && record.answers < request,
            pulse: record.pulse,
            // What operators say of nodes is added by the core.
            drained: false,
            searches: record.searches,
            server: match (&record.last_server, record.connected) {
                (Some(last), false) => ServerView::Seen(last.clone()),
                (None | Some(_), _) => record.server.clone(),
            },
        };
        let nodes = self.lock();
        let nodes = nodes.iter().map(|(id, record)| (id.clone(), view(record)));
        Observation {
            epoch,
            running,
            nodes: nodes.collect(),
            past: Past::default(),
        }
    }

    /// For how long the node's Qdrant has not answered its agent.
    #[must_use]
    pub fn silence(&self, node: &NodeId) -> Duration {
        let nodes = self.lock();
        let record = nodes.get(node);
        record.map_or(Duration::ZERO, |record| record.pulse.silent)
    }

    /// A capture of the node was held up for so long.
    pub fn held_up(&self, node: &NodeId, time: Duration) {
        if let Some(record) = self.lock().get_mut(node) {
            record.held_up = record.held_up.saturating_add(time);
        }
    }

    /// Every node by name.
    #[must_use]
    pub fn list(&self) -> Vec<(NodeId, NodeRecord)> {
        let nodes = self.lock();
        nodes
            .iter()
            .map(|(id, record)| (id.clone(), record.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, NodeRecord>> {
        // No code that holds this lock can panic half-way through a change.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeRecord {
    /// How far the agent's clock is off, if that is too far.
    #[must_use]
    pub fn clock_skew(&self) -> Option<Duration> {
        let apart = Duration::from_micros(self.clock_offset_us.unsigned_abs());
        (apart > MAX_CLOCK_OFFSET).then_some(apart)
    }
}

fn offset(theirs: Timestamp, ours: Timestamp) -> i64 {
    theirs.as_micros().saturating_sub(ours.as_micros())
}

fn server_view(beat: &v1::Heartbeat) -> ServerView {
    if let Some(inventory) = &beat.inventory {
        return match NodeSeen::try_from(inventory.clone()) {
            Ok(seen) => ServerView::Seen(server_seen(seen)),
            Err(error) => ServerView::Failing {
                code: Code::QdrantError.to_string(),
                message: format!("the agent's report can't be read: {error}"),
            },
        };
    }
    match beat.qdrant_error.clone().map(ReportedFailure::from) {
        Some(failure) => ServerView::Failing {
            code: failure.code,
            message: failure.message,
        },
        None => ServerView::Unknown,
    }
}

fn server_seen(seen: NodeSeen) -> ServerSeen {
    let NodeSeen {
        version,
        commit,
        peer_id,
        peers,
        cluster,
        unusable_collections,
        unusable_aliases,
        collections,
        storage_free_bytes,
        snapshots_shared,
        splices_logs,
        restores_parts,
        replays_logs,
        keeps_limits,
        extras,
    } = seen;
    let view = |collection: CollectionSeen| {
        let CollectionSeen {
            name,
            status,
            aliases,
            shard_count,
            shards,
            remote,
            transfers,
            points_exact: _,
        } = collection;
        let shards = shards.into_iter().map(|shard| {
            let view = ShardView {
                state: shard.state,
                optimizing: shard.optimizing,
                points_approx: shard.points_approx,
            };
            (shard.id, view)
        });
        let view = CollectionView {
            status,
            shard_count,
            shards: shards.collect(),
            remote: remote
                .into_iter()
                .map(|(shard, peer, state)| RemoteView { shard, peer, state })
                .collect(),
            transfers: transfers
                .into_iter()
                .map(|(shard, from, to)| TransferView { shard, from, to })
                .collect(),
            aliases,
        };
        (name, view)
    };
    ServerSeen {
        version,
        commit,
        peer_id,
        peers,
        cluster,
        unusable_collections,
        unusable_aliases,
        storage_free: storage_free_bytes.map(ByteCount),
        snapshots_shared,
        splices_logs,
        restores_parts,
        replays_logs,
        keeps_limits,
        extras: extras.map(|extras| extras.into_iter().map(extra_seen).collect()),
        collections: collections.into_iter().map(view).collect(),
    }
}

fn extra_seen(told: ExtraTold) -> ExtraSeen {
    ExtraSeen {
        name: told.name,
        config: told.config,
        required: told.required,
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;
    use holdfast_decide::ServerView;
    use holdfast_proto::convert::Greeting;
    use holdfast_proto::v1;
    use holdfast_types::{Epoch, NodeId, Timestamp};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_micros(1_795_256_130_000_000);

    fn n1() -> NodeId {
        "n1".parse().unwrap()
    }

    fn registry(clock: Timestamp) -> Registry {
        let registry = Registry::default();
        let greeting = Greeting {
            node: n1(),
            cluster: "demo".parse().unwrap(),
            program: "0.1.0".into(),
            now: clock,
            open_commands: vec![],
        };
        registry.connected(&greeting, NOW);
        registry
    }

    fn beat(inventory: Option<v1::Inventory>, code: Option<&str>) -> v1::Heartbeat {
        v1::Heartbeat {
            now_us: NOW.as_micros(),
            inventory,
            qdrant_error: code.map(|code| v1::Failure {
                code: code.into(),
                message: "broken".into(),
                retryable: true,
            }),
            ..Default::default()
        }
    }

    fn inventory(state: &str) -> v1::Inventory {
        v1::Inventory {
            qdrant_version: "1.18.3".into(),
            collections: vec![v1::CollectionInfo {
                name: "docs".into(),
                status: "green".into(),
                shard_count: 1,
                local_shards: vec![v1::ShardInfo {
                    shard_id: 0,
                    state: state.into(),
                    points_approx: 5,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn server(registry: &Registry) -> ServerView {
        let mut obs = registry.observation(Epoch(1), None, 0);
        obs.nodes.remove(&n1()).unwrap().server
    }

    #[test]
    fn a_report_replaces_what_was_known() {
        let registry = registry(NOW);
        assert_eq!(server(&registry), ServerView::Unknown);
        registry.heard(&n1(), beat(Some(inventory("Active")), None), NOW);
        let ServerView::Seen(seen) = server(&registry) else {
            panic!("no server");
        };
        let docs = seen.collections.values().next().unwrap();
        assert!(docs.shards.values().next().unwrap().is_active());
        registry.heard(&n1(), beat(Some(inventory("Dead")), None), NOW);
        let ServerView::Seen(seen) = server(&registry) else {
            panic!("no server");
        };
        let docs = seen.collections.values().next().unwrap();
        assert!(!docs.shards.values().next().unwrap().is_active());
        registry.heard(&n1(), beat(None, Some("qdrant-unreachable")), NOW);
        assert!(
            matches!(server(&registry), ServerView::Failing { code, .. } if code == "qdrant-unreachable")
        );
        // Away: what it last told of its collections is what there is.
        registry.disconnected(&n1());
        assert!(matches!(server(&registry), ServerView::Seen(_)));
    }

    #[test]
    fn an_unreadable_report_is_a_failing_server() {
        let registry = registry(NOW);
        registry.heard(&n1(), beat(Some(v1::Inventory::default()), None), NOW);
        assert!(matches!(server(&registry), ServerView::Failing { .. }));
    }

    #[test]
    fn a_clock_that_is_off_is_noticed_either_way() {
        for (shift, off) in [(0, false), (299, false), (301, true), (-301, true)] {
            let clock = Timestamp::from_micros(NOW.as_micros() + shift * 1_000_000);
            let (_, record) = registry(clock).list().remove(0);
            assert_eq!(record.clock_skew().is_some(), off, "{shift}");
        }
        let (_, record) = registry(NOW.after(Duration::from_secs(7200)))
            .list()
            .remove(0);
        assert_eq!(record.clock_skew(), Some(Duration::from_secs(7200)));
    }
}
