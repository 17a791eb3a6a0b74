//! A node with a living shard, its agent and a coordinator, and captures of it that must be right.

use super::coordinator::Commit;
use super::living::LivingShard;
use super::shard;
use super::world::{RunningAgent, World, capture};
use crate::AgentConfig;
use holdfast_proto::v1;
use std::sync::atomic::{AtomicU32, Ordering};
use v1::CaptureMethod::{self, Stored};
use v1::command_result::Outcome;

pub(super) struct Shop {
    pub(super) world: World,
    agent: RunningAgent,
    commands: AtomicU32,
}

impl Shop {
    pub(super) async fn open(full_every: u32) -> Self {
        Self::with(|config| config.capture.full_every = full_every).await
    }

    pub(super) async fn with(configure: impl FnOnce(&mut AgentConfig)) -> Self {
        let mut world = World::new().await;
        let storage = world.config.state_dir.with_file_name("storage");
        world.config.qdrant.storage_dir = Some(storage.clone());
        configure(&mut world.config);
        world.qdrant.add("docs", Vec::new());
        world.qdrant.lock().living = Some(LivingShard::new(storage));
        world.qdrant.lock().started = "noon".to_owned();
        let agent = world.start();
        Self {
            world,
            agent,
            commands: AtomicU32::new(0),
        }
    }

    pub(super) fn shard<T>(&self, act: impl FnOnce(&mut LivingShard) -> T) -> T {
        act(self.world.qdrant.lock().living.as_mut().unwrap())
    }

    pub(super) async fn outcome(&self, method: CaptureMethod) -> (String, Outcome) {
        let id = format!("c{}", self.commands.fetch_add(1, Ordering::Relaxed));
        let archive = self.shard(|shard| shard::archive(&shard.files));
        {
            let mut qdrant = self.world.qdrant.lock();
            qdrant.collections.get_mut("docs").unwrap().archive = archive;
        }
        let coordinator = &self.world.coordinator;
        coordinator.give(&id, capture("docs", method)).await;
        let outcome = coordinator.result(&id, 0).await;
        (id, outcome)
    }

    pub(super) async fn take(&self, method: CaptureMethod) -> Commit {
        let (id, outcome) = self.outcome(method).await;
        assert!(matches!(outcome, Outcome::Capture(_)), "{outcome:?}");
        self.world.coordinator.lock().commits[&id].clone()
    }

    /// Captures, and requires the way and that the files are those of a stored snapshot.
    pub(super) async fn right(&self, method: CaptureMethod, way: &str) -> Vec<String> {
        let commit = self.take(method).await;
        assert_eq!(commit.shard.method, way, "{:?}", commit.shard.reasons);
        // names of stored snapshots have a resolution of a second
        self.world.until_clean().await;
        let stored = self.take(Stored).await;
        assert!(commit.recipe == stored.recipe, "other files than stored");
        self.world.until_clean().await;
        commit.shard.reasons
    }

    pub(super) fn meanwhile(&self, act: impl FnOnce(&mut LivingShard) + Send + 'static) {
        self.shard(|shard| shard.meanwhile.push_back(Box::new(act)));
    }

    pub(super) async fn close(self) {
        self.agent.stop().await;
    }
}

pub(super) fn one_says(reasons: &[String], text: &str) {
    assert!(reasons.iter().any(|r| r.contains(text)), "{reasons:?}");
}
