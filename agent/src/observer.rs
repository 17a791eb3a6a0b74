//! Looks at the local Qdrant again and again, for heartbeats and readiness. It changes nothing there.

use crate::config::{AgentConfig, ExtraSection};
use crate::failure::Failed;
use crate::job::qdrant_failed;
use holdfast_proto::limits::MAX_MESSAGE_BYTES;
use holdfast_proto::v1;
use holdfast_qdrant::{CollectionInventory, NodeInventory, QdrantClient, QdrantError, inventory};
use holdfast_service::failure::Code;
use holdfast_service::health::HealthState;
use optimizing::Optimizing;
use prost::Message as _;
use pulse::Pulse;
use searches::Searching;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod optimizing;
mod pulse;
mod searches;

/// Between two looks that nobody asked for: each is some lines in Qdrant's log.
const EVERY: Duration = Duration::from_secs(5);
/// A look that takes longer counts as no answer.
const LOOK_WITHIN: Duration = Duration::from_secs(60);

/// The name of Qdrant in the health report.
pub const HEALTH_PART: &str = "qdrant";

/// One look at Qdrant.
#[derive(Debug)]
pub struct Seen {
    /// What was seen, or why nothing could be.
    pub inventory: Result<v1::Inventory, Failed>,
    /// Number of the newest request that had arrived before the look began; 0 if none had.
    pub asked: u64,
    /// When the look began …
    pub began: Instant,
    /// … and ended.
    pub ended: Instant,
}

type Observation = Option<Arc<Seen>>;

/// Where the newest observation can be read, and another one be asked for.
#[derive(Clone, Debug)]
pub struct ObservationReceiver {
    seen: watch::Receiver<Observation>,
    asked: Arc<watch::Sender<u64>>,
    pulse: Arc<Pulse>,
    searching: Arc<Searching>,
}

/// Where it is put, and requests arrive.
#[derive(Debug)]
pub struct ObservationSender {
    seen: watch::Sender<Observation>,
    asked: watch::Receiver<u64>,
    pulse: Arc<Pulse>,
    searching: Arc<Searching>,
}

/// A pair without an observation.
#[must_use]
pub fn channel() -> (ObservationSender, ObservationReceiver) {
    let (seen_sender, seen) = watch::channel(None);
    let (asked_sender, asked) = watch::channel(0);
    let pulse = Arc::new(Pulse::new());
    let searching = Arc::new(Searching::default());
    let sender = ObservationSender {
        seen: seen_sender,
        asked,
        pulse: Arc::clone(&pulse),
        searching: Arc::clone(&searching),
    };
    let receiver = ObservationReceiver {
        seen,
        asked: Arc::new(asked_sender),
        pulse,
        searching,
    };
    (sender, receiver)
}

impl ObservationReceiver {
    /// The newest observation; `None` before the first.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Seen>> {
        self.seen.borrow().clone()
    }

    /// Adds to a heartbeat how Qdrant answers the simplest question.
    pub fn tell_pulse(&self, beat: &mut v1::Heartbeat) {
        self.pulse.tell(beat);
    }

    /// Whether heartbeats shall say how long searches take.
    pub fn watch_searches(&self, wanted: bool) {
        self.searching.want(wanted);
    }

    /// Adds that to a heartbeat.
    pub fn tell_searches(&self, beat: &mut v1::Heartbeat) {
        self.searching.tell(beat);
    }

    /// Asks for a look that begins from now on. Returns the request's number: the first look whose
    /// [`Seen::asked`] is not less has begun after this call.
    #[must_use]
    pub fn ask(&self) -> u64 {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    }

    /// Waits for an observation that differs from the one before. Never completes if there is none to come.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl ObservationSender {
    /// Publishes what was seen. Receivers are woken only if it was asked for or something important changed.
    pub fn publish(&self, seen: Seen) {
        self.seen.send_if_modified(|last| {
            let important = last.as_deref().is_none_or(|last| {
                last.asked != seen.asked
                    || match (&last.inventory, &seen.inventory) {
                        (Ok(before), Ok(now)) => differs(before, now),
                        (Err(before), Err(now)) => before.code != now.code,
                        (Ok(_), Err(_)) | (Err(_), Ok(_)) => true,
                    }
            });
            *last = Some(Arc::new(seen));
            important
        });
    }
}

/// Other collections, states or versions: counts and free space change all the time.
fn differs(before: &v1::Inventory, now: &v1::Inventory) -> bool {
    let essence = |inventory: &v1::Inventory| {
        let collections: Vec<_> = inventory
            .collections
            .iter()
            .map(|c| {
                let states = c.local_shards.iter().map(|s| (s.shard_id, s.state.clone()));
                let remote = c.remote_shards.clone();
                let essence = (c.name.clone(), c.status.clone(), c.aliases.clone());
                (essence, states.collect::<Vec<_>>(), remote)
            })
            .collect();
        (inventory.qdrant_version.clone(), collections)
    };
    essence(before) != essence(now)
}

/// Observes until `stop` is cancelled.
pub async fn run(
    qdrant: QdrantClient,
    config: Arc<AgentConfig>,
    mut out: ObservationSender,
    health: HealthState,
    stop: CancellationToken,
) {
    let pulse = Arc::clone(&out.pulse);
    let looks = look_on(&qdrant, &config, &mut out, &health, &stop);
    tokio::join!(looks, pulse.beat(&qdrant, &stop));
}

async fn look_on(
    qdrant: &QdrantClient,
    config: &AgentConfig,
    out: &mut ObservationSender,
    health: &HealthState,
    stop: &CancellationToken,
) {
    let mut last_told = None;
    let mut optimizing = Optimizing::default();
    let (searching, mut searches) = (Arc::clone(&out.searching), None);
    loop {
        let asked = *out.asked.borrow_and_update();
        let began = Instant::now();
        let seen = tokio::select! {
            seen = look(qdrant, config, &mut optimizing) => seen,
            () = stop.cancelled() => return,
        };
        match &seen {
            Ok(inventory) => {
                health.ready(HEALTH_PART);
                if last_told.take().is_some() {
                    tracing::info!(version = %inventory.qdrant_version, "Qdrant answers");
                }
            }
            Err(failed) => {
                health.not_ready(HEALTH_PART, failed.to_string());
                if last_told.as_deref() != Some(failed.message.as_str()) {
                    tracing::warn!(code = %failed.code, reason = %failed.message, "Qdrant can't be used");
                    last_told = Some(failed.message.clone());
                }
            }
        }
        searching.look(qdrant, &mut searches).await;
        out.publish(Seen {
            inventory: seen,
            asked,
            began,
            ended: Instant::now(),
        });
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            Ok(()) = out.asked.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn look(
    qdrant: &QdrantClient,
    config: &AgentConfig,
    optimizing: &mut Optimizing,
) -> Result<v1::Inventory, Failed> {
    let look = async {
        qdrant.check_supported().await?;
        inventory(qdrant).await
    };
    let node: Result<NodeInventory, QdrantError> = tokio::time::timeout(LOOK_WITHIN, look)
        .await
        .map_err(|_| Failed::new(Code::QdrantUnreachable, "Qdrant does not answer in time"))?;
    let node = node.map_err(|error| qdrant_failed(&error))?;
    let section = &config.qdrant;
    let mut inventory = v1::Inventory {
        qdrant_version: node.version.to_string(),
        qdrant_commit: node.commit.unwrap_or_default(),
        peer_id: node.peer_id,
        peers: node.peers,
        cluster_peers: node
            .cluster
            .into_iter()
            .map(|(peer_id, uri)| v1::Peer { peer_id, uri })
            .collect(),
        unusable_collections: node.unusable_collections,
        unusable_aliases: node.unusable_aliases,
        collections: node.collections.into_iter().map(collection).collect(),
        storage_free_bytes: section.storage_dir.as_deref().map_or(0, free_bytes),
        snapshots_shared: section
            .snapshots_dir
            .as_deref()
            .is_some_and(|dir| std::fs::read_dir(dir).is_ok()),
        splices_logs: true,
        replays_logs: true,
        restores_parts: true,
        keeps_limits: true,
        captures_extras: true,
        extras: config.extras.iter().map(extra).collect(),
    };
    optimizing.look(qdrant, &mut inventory).await;
    Ok(bounded(inventory))
}

/// What others may know of an extra: not where its files are, nor what its hooks do.
fn extra(section: &ExtraSection) -> v1::ExtraInfo {
    v1::ExtraInfo {
        name: section.name.to_string(),
        config: section.config,
        required: section.required,
    }
}

/// A node with thousands of collections must not send a message that the coordinator refuses: it then
/// does without their descriptions, which a capture records anyway.
fn bounded(mut inventory: v1::Inventory) -> v1::Inventory {
    if inventory.encoded_len() > MAX_MESSAGE_BYTES / 2 {
        for collection in &mut inventory.collections {
            collection.info_json.clear();
        }
    }
    inventory
}

fn collection(seen: CollectionInventory) -> v1::CollectionInfo {
    let status = seen.status.map(|status| status.to_string());
    let local = seen.shards.local_shards.into_iter();
    let remote = seen.shards.remote_shards.into_iter();
    let transfers = seen.shards.shard_transfers.into_iter();
    v1::CollectionInfo {
        name: seen.name.to_string(),
        status: status.unwrap_or_else(|| "unknown".to_owned()),
        info_json: seen.info.to_string(),
        aliases: seen.aliases.iter().map(ToString::to_string).collect(),
        shard_count: seen.shards.shard_count,
        local_shards: local
            .map(|shard| v1::ShardInfo {
                shard_id: shard.shard_id.0,
                state: shard.state,
                points_approx: shard.points_count,
                optimizing_ms: 0,
            })
            .collect(),
        // counting exactly is too much work for a heartbeat
        points_exact: None,
        remote_shards: remote
            .map(|replica| v1::RemoteShard {
                shard_id: replica.shard_id.0,
                peer_id: replica.peer_id,
                state: replica.state,
            })
            .collect(),
        transfers: transfers
            .map(|transfer| v1::ShardTransfer {
                shard_id: transfer.shard_id.0,
                from: transfer.from,
                to: transfer.to,
            })
            .collect(),
    }
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::{Seen, channel};
    use crate::failure::Failed;
    use holdfast_proto::v1;
    use holdfast_service::failure::Code;
    use std::time::Instant;

    fn seen_now(inventory: Result<v1::Inventory, Failed>, asked: u64) -> Seen {
        let now = Instant::now();
        Seen {
            inventory,
            asked,
            began: now,
            ended: now,
        }
    }

    fn seen(status: &str, free: u64) -> v1::Inventory {
        v1::Inventory {
            qdrant_version: "1.18.3".into(),
            storage_free_bytes: free,
            collections: vec![v1::CollectionInfo {
                name: "docs".into(),
                status: status.into(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn only_important_changes_wake() {
        let (sender, mut receiver) = channel();
        assert!(receiver.latest().is_none());
        let asked = 0;
        let mut woken = |inventory| {
            sender.publish(seen_now(inventory, asked));
            let woken = receiver.seen.has_changed().unwrap();
            receiver.seen.mark_unchanged();
            woken
        };
        let unreachable = |text: &str| Err(Failed::new(Code::QdrantUnreachable, text));
        assert!(woken(Ok(seen("green", 1))));
        assert!(!woken(Ok(seen("green", 2))));
        assert!(woken(Ok(seen("yellow", 2))));
        assert!(woken(unreachable("refused")));
        assert!(!woken(unreachable("refused again")));
        assert!(woken(Ok(seen("yellow", 2))));
        let latest = receiver.latest().unwrap();
        assert_eq!(latest.inventory.as_ref().unwrap().storage_free_bytes, 2);
        // What was asked for is told even if nothing changed.
        sender.publish(seen_now(Ok(seen("yellow", 2)), 7));
        assert!(receiver.seen.has_changed().unwrap());
    }
}
