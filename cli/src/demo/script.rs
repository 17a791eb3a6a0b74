//! The demo's acts, in order. Backup and restore go through the same client code as the commands.

use super::binaries::Binaries;
use super::configs::NODE;
use super::dataset::Dataset;
use super::load::{self, ALIASES, COLLECTION};
use super::proof::{Check, Proof};
use super::rest::Qdrant;
use super::summary::{DemoView, ProofView, ServerView, uploaded};
use super::topology::{Server, Topology};
use crate::args::DemoArgs;
use crate::client::Coordinator;
use crate::command::{backup, restore};
use crate::failure::Outcome;
use crate::output::Output;
use crate::progress::Progress;
use crate::view::{BackupResultView, BackupView, RestoreView, millis};
use holdfast_proto::v1;
use holdfast_types::ByteCount;
use std::time::Instant;

/// The name under which a copy is restored beside the original.
const COPY: &str = "holdfast_demo_copy";

/// Points and dimensions when none are given: what a real server, and the stand-in, load and index in
/// well under a minute on two cores.
const REAL_SIZE: (u64, u32) = (100_000, 384);
const DEVNODE_SIZE: (u64, u32) = (20_000, 128);

/// What all acts need.
struct Stage<'a> {
    topology: &'a mut Topology,
    progress: &'a mut Progress,
    coordinator: Coordinator,
    qdrant: Qdrant,
    data: Dataset,
    dim: u32,
    method: v1::CaptureMethod,
}

/// Plays all acts.
pub(super) async fn play(
    topology: &mut Topology,
    args: &DemoArgs,
    progress: &mut Progress,
) -> Outcome<DemoView> {
    let begun = Instant::now();
    let binaries = Binaries::find(args.server, progress).await?;
    let (server, coordinator) = set_up(topology, &binaries, progress).await?;
    let size = if server.real { REAL_SIZE } else { DEVNODE_SIZE };
    let (points, dim) = (args.points.unwrap_or(size.0), args.dim.unwrap_or(size.1));
    let mut stage = Stage {
        qdrant: topology.qdrant(),
        topology,
        progress,
        coordinator,
        data: Dataset::new(points, usize::try_from(dim).unwrap_or(usize::MAX)),
        dim,
        method: backup::wire_method(args.method),
    };
    let load_ms = stage.load().await?;
    let first_backup = stage.back_up("first").await?;
    let points_changed = stage.change().await?;
    let captured = stage.proof(COLLECTION).await?;
    let second_backup = stage.back_up("second").await?;
    stage.destroy().await?;
    let restored = stage.bring_back(&second_backup, None).await?;
    let main_proof = stage.prove(&captured, COLLECTION).await?;
    let copy = stage.bring_back(&second_backup, Some(COPY)).await?;
    let copy_proof = stage.prove(&captured, COPY).await?;
    let proofs = vec![main_proof, copy_proof];
    Ok(DemoView {
        proven: proofs.iter().all(|proof| proof.equal),
        server: server_view(&server),
        points,
        dim,
        load_ms,
        data_bytes: uploaded(&restored),
        first_backup,
        points_changed,
        second_backup,
        restore: restored,
        copy,
        proofs,
        agent_peak_memory_bytes: stage.topology.peak_memory("agent"),
        coordinator_peak_memory_bytes: stage.topology.peak_memory("coordinator"),
        elapsed_ms: elapsed_ms(begun),
        kept: args.keep.then(|| stage.topology.kept()),
    })
}

async fn set_up(
    topology: &mut Topology,
    binaries: &Binaries,
    progress: &mut Progress,
) -> Outcome<(Server, Coordinator)> {
    progress.say(&format!(
        "Everything of this demo is in {}",
        topology.dir().display()
    ));
    let server = topology.start_qdrant(&binaries.server).await?;
    let view = server_view(&server);
    let remark = if server.real {
        "a real server"
    } else {
        "the embedded stand-in for demos and tests; no real Qdrant was used"
    };
    progress.say(&format!(
        "1. Started {} {} ({remark}) at {}",
        view.program,
        view.version,
        topology.qdrant().url()
    ));
    topology.write_files()?;
    progress
        .say("2. Made a certificate authority and identities for coordinator, agent and operator");
    let mut coordinator = topology.start_coordinator(binaries).await?;
    topology.start_agent(binaries, &mut coordinator).await?;
    progress.say(&format!(
        "3. Started the coordinator at {} and the agent of node {NODE}; they talk by mutual TLS 1.3",
        coordinator.endpoint()
    ));
    Ok((server, coordinator))
}

impl Stage<'_> {
    async fn load(&mut self) -> Outcome<u64> {
        self.progress.say(&format!(
            "4. Loading {} points of {} dimensions with payloads, three payload indexes and the aliases {}",
            self.data.len(),
            self.dim,
            ALIASES.join(" and ")
        ));
        let begun = Instant::now();
        load::fill(&self.qdrant, &self.data, self.dim, self.progress).await?;
        self.progress.say(&format!(
            "   loaded and indexed in {}",
            millis(elapsed_ms(begun))
        ));
        self.until_seen(true).await?;
        Ok(elapsed_ms(begun))
    }

    async fn back_up(&mut self, which: &str) -> Outcome<BackupView> {
        self.progress.say(&format!(
            "{} backup",
            if which == "first" {
                "5. First"
            } else {
                "7. Second"
            }
        ));
        let request = v1::CreateBackupRequest {
            collections: vec![COLLECTION.to_owned()],
            method: self.method.into(),
            note: format!("the demo's {which} backup"),
            tags: Vec::new(),
            limits: None,
        };
        let forever = std::future::pending();
        let BackupResultView { backup, .. } = backup::create(
            &mut self.coordinator,
            request,
            self.progress,
            Output::Text,
            forever,
        )
        .await?;
        self.progress.say(&format!(
            "   {}: captured in {}, {} sent, {} stored",
            backup.recovery_point,
            millis(backup.elapsed_ms),
            ByteCount(backup.sent_bytes),
            ByteCount(backup.stored_bytes)
        ));
        Ok(backup)
    }

    async fn change(&mut self) -> Outcome<u64> {
        let changed = load::change(&self.qdrant, &self.data, self.dim).await?;
        load::wait_green(&self.qdrant, COLLECTION, self.progress).await?;
        self.progress.say(&format!(
            "6. Changed {changed} points; reading everything back for the proof"
        ));
        Ok(changed)
    }

    async fn destroy(&mut self) -> Outcome<()> {
        self.qdrant.delete_collection(COLLECTION).await?;
        self.progress.say(&format!(
            "8. Deleted the collection {COLLECTION}: data, indexes and aliases are gone"
        ));
        self.until_seen(false).await
    }

    async fn bring_back(
        &mut self,
        backup: &BackupView,
        copy: Option<&str>,
    ) -> Outcome<RestoreView> {
        self.progress.say(&match copy {
            None => format!("9. Restoring {} under its own name", backup.recovery_point),
            Some(name) => format!("10. Restoring it once more, beside it, as {name}"),
        });
        let request = v1::RestoreRequest {
            recovery_point: backup.recovery_point.clone(),
            collections: vec![v1::CollectionMapping {
                source: COLLECTION.to_owned(),
                target: copy.unwrap_or_default().to_owned(),
            }],
            node: NODE.to_owned(),
            replication_factor: 0,
            overwrite: false,
            // The original has its aliases back; the copy must not take them.
            without_aliases: copy.is_some(),
            from_copy: String::new(),
            to: None,
        };
        let forever = std::future::pending();
        let result = restore::restore(
            &mut self.coordinator,
            request,
            self.progress,
            Output::Text,
            forever,
        )
        .await?;
        self.progress
            .say(&format!("   done in {}", millis(result.elapsed_ms)));
        Ok(result)
    }

    async fn prove(&mut self, captured: &Proof, collection: &str) -> Outcome<ProofView> {
        load::wait_green(&self.qdrant, collection, self.progress).await?;
        let restored = self.proof(collection).await?;
        let checks: Vec<Check> = captured.compare(&restored, collection == COLLECTION);
        let equal = checks.iter().all(|check| check.equal);
        self.progress.say(&format!(
            "   {} points compared: {}",
            restored.count(),
            if equal {
                "everything is equal"
            } else {
                "DIFFERENT"
            }
        ));
        Ok(ProofView {
            collection: collection.to_owned(),
            equal,
            digest: restored.digest().to_owned(),
            checks,
        })
    }

    async fn proof(&mut self, collection: &str) -> Outcome<Proof> {
        Proof::take(
            &self.qdrant,
            collection,
            &self.data,
            self.dim,
            self.progress,
        )
        .await
    }

    /// Waits until the coordinator knows that the collection is there, or no longer is.
    async fn until_seen(&mut self, there: bool) -> Outcome<()> {
        let coordinator = &mut self.coordinator;
        let what = format!("the coordinator's view of {COLLECTION}");
        let look = async || {
            let seen = coordinator.collections().await?;
            let found = seen.collections.iter().any(|c| c.name == COLLECTION);
            Ok((found == there).then_some(()))
        };
        self.topology.until(&what, look).await
    }
}

fn server_view(server: &Server) -> ServerView {
    ServerView {
        program: if server.real {
            "qdrant"
        } else {
            "holdfast-devnode"
        },
        version: server.root.version.clone(),
        commit: server.root.commit.clone(),
    }
}

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
