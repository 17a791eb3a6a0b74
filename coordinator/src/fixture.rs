//! Small values for this crate's tests.

use crate::job::upkeep::{Extent, Task, UpkeepWork};
use crate::job::{BackupWork, CommittedShard, JobRecord, Work};
use crate::observe::Registry;
use holdfast_archive::{CollectionEntry, Manifest, NodeEntry, PointStats, ShardEntry};
use holdfast_decide::{Asked, BackupPlan, CaptureStep, Method, NodeFacts};
use holdfast_proto::convert::Greeting;
use holdfast_proto::v1;
use holdfast_types::{CaptureLimits, ChunkId, Epoch, ShardId, Timestamp};
use std::collections::BTreeMap;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_256_130_000_000);

/// Node n1 of the cluster demo, whose agent has told this.
pub(crate) fn heard(beat: v1::Heartbeat) -> Registry {
    let registry = Registry::default();
    let greeting = Greeting {
        node: "n1".parse().unwrap(),
        cluster: "demo".parse().unwrap(),
        program: "0.1.0".into(),
        now: NOW,
        open_commands: Vec::new(),
    };
    registry.connected(&greeting, NOW);
    registry.heard(&greeting.node, beat, NOW);
    registry
}

pub(crate) fn shard_entry(shard: u32) -> ShardEntry {
    ShardEntry {
        shard_id: ShardId(shard),
        node: "n1".parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        method: "stored".into(),
        reasons: Vec::new(),
        captured_at: NOW,
        next_operation: None,
        wal: None,
        clocks: None,
        replica_state: None,
        replicas: Vec::new(),
        recipe: vec![ChunkId::from_bytes([7; 32])],
        recipe_len: 10,
        recipe_hash: "ab".repeat(32),
        files: 1,
        logical_bytes: 1000,
    }
}

pub(crate) fn collection_entry(name: &str) -> CollectionEntry {
    CollectionEntry {
        name: name.parse().unwrap(),
        info: serde_json::json!({"payload_schema": {"year": {"data_type": "integer"}}}),
        aliases: vec!["live".parse().unwrap()],
        cluster: None,
        shard_count: 1,
        uuid: None,
        shard_keys: Vec::new(),
        points: Some(10),
        shards: vec![],
    }
}

pub(crate) fn manifest(id: &str, committed: i64) -> Manifest {
    let mut collection = collection_entry("docs");
    collection.shards = vec![shard_entry(0)];
    Manifest {
        format: 1,
        id: id.parse().unwrap(),
        cluster: "demo".parse().unwrap(),
        namespace: "demo".parse().unwrap(),
        begun: NOW,
        committed: Timestamp::from_micros(committed),
        epoch: Epoch(1),
        program: "test".into(),
        note: String::new(),
        tags: [].into(),
        nodes: vec![NodeEntry {
            node: "n1".parse().unwrap(),
            qdrant_version: "1.18.3".parse().unwrap(),
            qdrant_commit: None,
            peer_id: 0,
            extras: vec![],
            extras_unknown: None,
        }],
        collections: vec![collection],
        stats: PointStats::default(),
        safety_for: None,
        left_out: vec![],
        peers: vec![],
    }
}

pub(crate) fn backup_work() -> BackupWork {
    let step = |collection: &str, shard| CaptureStep {
        collection: collection.parse().unwrap(),
        shard: ShardId(shard),
        node: "n1".parse().unwrap(),
        method: Method::Stored,
        repinned: None,
    };
    BackupWork {
        point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
        begun: NOW,
        note: "why".into(),
        tags: [].into(),
        safety_for: None,
        imported_by: None,
        plan: BackupPlan {
            epoch: Epoch(1),
            collections: ["books", "docs"].map(|name| name.parse().unwrap()).into(),
            asked: Asked::default(),
            nodes: vec![NodeFacts {
                node: "n1".parse().unwrap(),
                version: "1.18.3".parse().unwrap(),
                commit: None,
                peer_id: None,
            }],
            captures: vec![step("books", 0), step("docs", 0), step("docs", 1)],
            extras: vec![],
            extras_unknown: BTreeMap::new(),
            limits: CaptureLimits::default(),
            reasons: vec![],
        },
        committed: BTreeMap::new(),
        repeats: BTreeMap::new(),
        extras: BTreeMap::new(),
        extra_repeats: BTreeMap::new(),
        failed: Vec::new(),
        dropped: [].into(),
        left_out: Vec::new(),
        captured: BTreeMap::new(),
        done: false,
    }
}

pub(crate) fn backup_record() -> JobRecord {
    let work = backup_work();
    let id = JobRecord::new_id("backup", &work.point).unwrap();
    JobRecord::begun(
        id,
        NOW,
        "operator op".to_owned(),
        Work::Backup(Box::new(work)),
    )
}

/// A run of upkeep, begun so many seconds after [`NOW`].
pub(crate) fn upkeep_record(seconds: u64) -> JobRecord {
    let work = UpkeepWork {
        task: Task::Prune { copy: None },
        automatic: true,
        extent: Extent::default(),
        found: Vec::new(),
    };
    JobRecord::begun(
        format!("prune-{seconds}").parse().unwrap(),
        NOW.after(std::time::Duration::from_secs(seconds)),
        "schedule".to_owned(),
        Work::Upkeep(Box::new(work)),
    )
}

pub(crate) fn committed(collection: &str, shard: u32, shards: u32) -> CommittedShard {
    let mut entry = collection_entry(collection);
    entry.shard_count = shards;
    CommittedShard {
        shard: shard_entry(shard),
        collection: entry,
        sent_bytes: 100,
        stored_bytes: 10,
        elapsed_ms: 0,
        held_up_ms: 0,
    }
}

/// An empty repository in memory, of cluster `demo`.
pub(crate) async fn repository() -> holdfast_repository::Repository {
    repository_in(std::sync::Arc::new(holdfast_store::MemoryStore::new())).await
}

/// An empty repository of cluster `demo`.
pub(crate) async fn repository_in(
    store: std::sync::Arc<holdfast_store::MemoryStore>,
) -> holdfast_repository::Repository {
    let options = holdfast_repository::RepositoryOptions {
        cluster: "demo".parse().unwrap(),
        kek: holdfast_archive::Kek::from_hex(&"5a".repeat(32)).unwrap(),
        created: NOW,
        program: "test".into(),
    };
    holdfast_repository::Repository::init(store, options)
        .await
        .unwrap()
}

/// Commits a recovery point with one empty shard.
pub(crate) async fn commit_point(
    repository: &holdfast_repository::Repository,
) -> holdfast_types::RecoveryPointId {
    commit_point_at(repository, NOW).await
}

/// The same, committed at that instant.
pub(crate) async fn commit_point_at(
    repository: &holdfast_repository::Repository,
    committed: Timestamp,
) -> holdfast_types::RecoveryPointId {
    let epoch = repository.claim_epoch().await.unwrap();
    let writer = repository.begin(epoch).await.unwrap();
    let recipe = holdfast_archive::ShardRecipe::new(vec![]).encode().unwrap();
    let hash = holdfast_archive::ShardRecipe::hash(&recipe);
    let recipe_len = recipe.len() as u64;
    let key = repository.chunk_key(&repository.namespace());
    let chunks = writer.put_recipe(key, recipe).await.unwrap();
    writer.flush().await.unwrap();
    let mut point = manifest("20261121t101530z-00000001", committed.as_micros());
    point.epoch = epoch;
    let shard = &mut point.collections[0].shards[0];
    shard.recipe = chunks;
    shard.recipe_len = recipe_len;
    shard.recipe_hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    (shard.files, shard.logical_bytes) = (0, 0);
    repository.commit_point(&point).await.unwrap();
    point.id
}

/// A valid configuration with everything below `dir`.
pub(crate) fn config(dir: &std::path::Path) -> crate::config::CoordinatorConfig {
    let at = |name: &str| dir.join(name).display().to_string();
    std::fs::write(dir.join("key"), "5a".repeat(32)).unwrap();
    let text = crate::config::DEFAULT_CONFIG
        .replace("/var/lib/holdfast-coordinator", &at("state"))
        .replace("/var/lib/holdfast-repository", &at("repository"))
        .replace("/etc/holdfast/repository.key", &at("key"))
        .replace("init = false", "init = true");
    let path = dir.join("coordinator.toml");
    std::fs::write(&path, text).unwrap();
    crate::config::load(&path, holdfast_service::config::Strictness::Strict)
        .unwrap()
        .0
}
