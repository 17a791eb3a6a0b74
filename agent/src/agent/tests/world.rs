//! A node with its agent, and a coordinator.

use super::coordinator::{Commit, FakeCoordinator};
use super::qdrant::FakeQdrant;
use super::shard;
use crate::config::{CaptureSection, Limits, QdrantSection, WalSection, WatchSection};
use crate::order::Method;
use crate::{Agent, AgentConfig};
use holdfast_certs::TlsPaths;
use holdfast_proto::v1;
use holdfast_service::logging::LogConfig;
use holdfast_service::shutdown::Shutdown;
use holdfast_types::ByteCount;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use v1::command::Command;

pub(crate) struct World {
    _dir: TempDir,
    pub(super) qdrant: FakeQdrant,
    pub(super) coordinator: FakeCoordinator,
    pub(crate) config: AgentConfig,
}

/// An agent on a runtime of its own, so that it can be killed at any instant.
pub(super) struct RunningAgent {
    runtime: Option<Runtime>,
    shutdown: Shutdown,
    ended: tokio::task::JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        holdfast_certs::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let snapshots = dir.path().join("snapshots");
        std::fs::create_dir(&snapshots).unwrap();
        let qdrant = FakeQdrant::start(snapshots.clone()).await;
        let none = dir.path().join("none");
        let config = AgentConfig {
            node: "n1".parse().unwrap(),
            cluster: "demo".parse().unwrap(),
            state_dir: dir.path().join("state"),
            health_listen: None,
            coordinator: "https://127.0.0.1:1".parse().unwrap(),
            tls: TlsPaths {
                cert: none.clone(),
                key: none.clone(),
                ca: none,
            },
            qdrant: QdrantSection {
                url: qdrant.url.clone(),
                api_key_file: None,
                snapshots_dir: Some(snapshots),
                storage_dir: None,
            },
            capture: CaptureSection {
                way: Some(Method::Auto),
                full_every: 24,
                optimizer_wait: Duration::from_secs(10),
            },
            wal: WalSection {
                archive: false,
                poll: Duration::from_millis(100),
                max_unsent: 1 << 20,
            },
            watch: WatchSection {
                every: Duration::from_secs(10),
            },
            extras: Vec::new(),
            spool_limit: ByteCount::mib(64),
            limits: Limits {
                encode_threads: 2,
                retry_for: Duration::from_secs(60),
                qdrant_bulk_timeout: Duration::from_secs(60),
            },
            log: LogConfig::default(),
        };
        Self {
            qdrant,
            coordinator: FakeCoordinator::start().await,
            config,
            _dir: dir,
        }
    }

    pub(super) fn start(&self) -> RunningAgent {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = Shutdown::new();
        let dial = Arc::new(self.coordinator.clone());
        let agent = Agent::with_dial(self.config.clone(), dial).unwrap();
        let stop = shutdown.clone();
        let ended = runtime.spawn(async move { agent.run(stop).await.unwrap() });
        RunningAgent {
            runtime: Some(runtime),
            shutdown,
            ended,
        }
    }

    /// Captures the collection `docs` as command `capture`.
    pub(super) async fn capture(&self, method: v1::CaptureMethod) -> Commit {
        self.coordinator
            .give("capture", capture("docs", method))
            .await;
        let outcome = self.coordinator.result("capture", 0).await;
        assert!(
            matches!(outcome, v1::command_result::Outcome::Capture(_)),
            "{outcome:?}"
        );
        self.coordinator.lock().commits["capture"].clone()
    }

    /// Waits until no snapshot is left on Qdrant's disk.
    pub(super) async fn until_clean(&self) {
        self.eventually(|| self.qdrant.snapshot_files().is_empty())
            .await;
    }

    /// Looks again and again until it is so.
    pub(super) async fn eventually(&self, is_so: impl Fn() -> bool) {
        let so = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), so)
            .await
            .expect("it comes about in the end");
    }
}

impl RunningAgent {
    /// Ends everything at its next instruction, as far as a test can: nothing is drained.
    pub(super) async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(30)))
            .await
            .unwrap();
    }

    /// Stops in order.
    pub(super) async fn stop(mut self) {
        self.shutdown.stop();
        (&mut self.ended).await.unwrap();
        self.kill().await;
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) fn capture(collection: &str, method: v1::CaptureMethod) -> Command {
    Command::CaptureShard(v1::CaptureShard {
        collection: collection.into(),
        shard_id: 0,
        method: method.into(),
        ..Default::default()
    })
}

pub(super) fn cancel(id: &str) -> Command {
    Command::Cancel(v1::Cancel {
        command_id: id.into(),
    })
}

/// The command that restores what was captured.
pub(super) fn restore(commit: &Commit, target: &str, overwrite: bool) -> Command {
    let mut entry = commit.collection.clone();
    entry.shards = vec![commit.shard.clone()];
    Command::RestoreCollection(v1::RestoreCollection {
        recovery_point: "20261121t101530z-0a1b2c3d".into(),
        source_collection: entry.name.to_string(),
        target_collection: target.into(),
        overwrite,
        with_aliases: true,
        collection_manifest_json: serde_json::to_string(&entry).unwrap(),
        logs: vec![],
    })
}

pub(super) fn failure_code(outcome: &v1::command_result::Outcome) -> &str {
    if let v1::command_result::Outcome::Failure(failure) = outcome {
        return &failure.code;
    }
    panic!("no failure: {outcome:?}")
}

/// A node whose collection `docs` has `mib` MiB of vectors.
pub(super) async fn world_with_docs(mib: usize) -> (World, shard::Files) {
    let world = World::new().await;
    let files = shard::files(mib, 1);
    world.qdrant.add("docs", shard::archive(&files));
    let alias = ("current".to_owned(), "docs".to_owned());
    world.qdrant.lock().aliases.extend([alias]);
    (world, files)
}
