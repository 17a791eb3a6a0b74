//! A copy beside the repository: made when it is asked for, filled and pruned on its own, read from when the repository is damaged,
//! and no reason for anything else to fail.

use crate::agent::{Agent, Files, files};
use crate::world::{Operator, Running, World};
use holdfast_coordinator::copies;
use holdfast_coordinator::core::Core;
use holdfast_proto::v1;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::copies_client::CopiesClient;
use holdfast_proto::v1::retention_client::RetentionClient;
use holdfast_repository::Repository;
use holdfast_service::clock::{Clock, SystemClock};
use holdfast_store::{DiskStore, FaultPlan, FaultStore, StopAt, StopEffect};
use holdfast_types::Epoch;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tonic::transport::Channel;

const COPY: &str = "[[copy]]\nname = \"b\"\npath = \"ROOT/b\"\n";

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) running: Running,
    /// Not kept alive: it holds the catalogue, which a restart opens again.
    core: Weak<Core>,
    pub(crate) operator: Operator,
    pub(crate) copies: CopiesClient<Channel>,
    agent: Agent,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let world = World::with(&format!("{COPY}{more}"));
        Self::start(world).await
    }

    /// A coordinator with its background work for copies, and a node.
    async fn start(world: World) -> Self {
        Self::start_at(world, Arc::new(SystemClock)).await
    }

    /// The same, with another clock of the coordinator.
    pub(crate) async fn start_at(world: World, clock: Arc<dyn Clock>) -> Self {
        let (running, core) = world.start_at(clock).await;
        look_after(&core);
        let mut operator = world.operator(&running).await;
        let copies = CopiesClient::new(world.channel(&running, "op").await);
        let agent = Agent::join(&world, &running, "n1").await;
        agent.report(&["docs"]).await;
        operator.sees("n1", &["docs"]).await;
        Self {
            world,
            running,
            core: Arc::downgrade(&core),
            operator,
            copies,
            agent,
        }
    }

    async fn restart(self) -> Self {
        drop(self.agent);
        self.running.stop().await;
        Self::start(self.world).await
    }

    pub(crate) async fn backup(&mut self, content: &Files) -> String {
        let job = self.operator.backup().await;
        let command = self.agent.command().await;
        self.agent.capture(&command, content).await;
        job.end().await.0.backup.unwrap().recovery_point
    }

    pub(crate) async fn add(&mut self, confirm: bool) -> v1::AddCopyResponse {
        let request = v1::AddCopyRequest {
            name: "b".into(),
            confirm,
            take_over: false,
        };
        self.copies.add_copy(request).await.unwrap().into_inner()
    }

    async fn sync(&mut self, release: bool) {
        let request = v1::SyncCopyRequest {
            name: "b".into(),
            release,
        };
        self.copies.sync_copy(request).await.unwrap();
    }

    pub(crate) async fn prune(&mut self, confirm: bool) -> v1::PruneReport {
        let name = "b".into();
        let request = v1::PruneCopyRequest { name, confirm };
        self.copies.prune_copy(request).await.unwrap().into_inner()
    }

    pub(crate) async fn status(&mut self) -> v1::CopyStatus {
        let listed = self.copies.list_copies(v1::ListCopiesRequest {}).await;
        listed.unwrap().into_inner().copies.remove(0)
    }

    /// Waits until the copy stands so.
    async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&v1::CopyStatus) -> bool,
    ) -> v1::CopyStatus {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status().await;
            if fits(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < end, "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn up_to_date(&mut self, points: u64) -> v1::CopyStatus {
        let fits = |status: &v1::CopyStatus| {
            status.lag == Some(v1::CopyLag::default())
                && status.recovery_points == points
                && status.open_run.is_none()
        };
        self.until("up to date", fits).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.dir.path().join(name)
    }

    async fn alone(&self) -> Repository {
        let store = Arc::new(DiskStore::open(self.path("b")).unwrap());
        Repository::open(store, kek()).await.unwrap()
    }
}

fn look_after(core: &Arc<Core>) {
    for copy in core.copies.iter() {
        let run = copies::run(Arc::clone(core), Arc::clone(copy));
        drop(core.shutdown.clone().spawn(run));
    }
}

fn kek() -> holdfast_archive::Kek {
    holdfast_archive::Kek::from_hex(&"5a".repeat(32)).unwrap()
}

pub(crate) fn content(n: u8) -> Files {
    files(&[("a", &[n; 70_000]), ("b", &[n, 7])])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_made_when_asked_filled_and_restored_from() {
    let mut scene = Scene::new("").await;
    let point = scene.backup(&content(1)).await;
    let unmade = scene
        .until("nothing is made by itself", |status| {
            status.trouble.is_some()
        })
        .await;
    assert!(!unmade.made && unmade.lag.is_none(), "{unmade:?}");
    assert!(unmade.warnings[0].contains("repo copy add b"), "{unmade:?}");
    assert!(!scene.path("b").exists());
    let looked = scene.add(false).await;
    assert!(!looked.made && looked.found.contains("does not exist"));
    assert!(!scene.path("b").exists());
    assert!(scene.add(true).await.made);
    let status = scene.up_to_date(1).await;
    assert!(
        status.trouble.is_none() && status.warnings.is_empty(),
        "{status:?}"
    );
    assert_eq!(status.last_run.as_ref().unwrap().points, 1);
    assert!(status.last_run.unwrap().bytes > 0);
    scene.backup(&content(2)).await;
    scene.up_to_date(2).await;

    // The repository loses its packs; what the copy has comes back through the agent.
    std::fs::remove_dir_all(scene.path("repo/packs")).unwrap();
    let mut scene = scene.restart().await;
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let mut order = v1::RestoreRequest {
        recovery_point: point,
        ..Default::default()
    };
    let job = scene.operator.restore(order.clone()).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.failure.unwrap().code, "repository-damaged");
    order.from_copy = "b".into();
    let job = scene.operator.restore(order).await;
    let command = scene.agent.command().await;
    assert_eq!(scene.agent.fetch(&command).await.unwrap(), content(1));
    let done = v1::RestoreDone {
        points: 3,
        ..Default::default()
    };
    scene.agent.answer(&command, Outcome::Restore(done)).await;
    assert_eq!(job.end().await.0.state(), v1::JobState::Succeeded);
    let shown = v1::ListBackupsRequest {
        from_copy: "b".into(),
        ..Default::default()
    };
    let listed = scene.operator.0.list_backups(shown).await.unwrap();
    assert_eq!(listed.into_inner().backups.len(), 2);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_away_stops_nothing_and_catches_up() {
    let mut scene = Scene::new("").await;
    scene.add(true).await;
    scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    std::fs::rename(scene.path("b"), scene.path("away")).unwrap();
    scene.backup(&content(2)).await;
    let status = scene
        .until("trouble is told", |status| status.trouble.is_some())
        .await;
    assert_eq!(status.lag.as_ref().unwrap().points, 1, "{status:?}");
    assert!(status.lag.unwrap().bytes > 0 && status.again_us > status.trouble_at_us);
    let told = scene.operator.status().await;
    assert_eq!(told.copies.len(), 1);
    assert!(
        told.warnings.iter().any(|w| w.starts_with("copy b:")),
        "{told:?}"
    );
    assert!(!scene.path("b").exists(), "no new one in its place");
    // Also across a restart; asked for, it does not wait.
    std::fs::rename(scene.path("away"), scene.path("b")).unwrap();
    let mut scene = scene.restart().await;
    scene.sync(false).await;
    let status = scene.up_to_date(2).await;
    assert!(status.trouble.is_none(), "{status:?}");
    scene.running.stop().await;
}

/// Its own rules, which look at what it holds, and the legal holds of the primary, which stay until that is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_by_its_own_rules_and_obeys_holds() {
    let rules = "[copy.retention]\nmin_proven = 1\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\n\
                 [[copy.retention.rules]]\nkeep_last = 1\n";
    let mut scene = Scene::new(rules).await;
    scene.add(true).await;
    let old = scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    let mut holds = RetentionClient::new(scene.world.channel(&scene.running, "op").await);
    let hold = v1::Hold {
        id: "case-7".into(),
        reason: "a lawsuit".into(),
        owner: "legal".into(),
        recovery_points: vec![old.clone()],
        ..Default::default()
    };
    let placed = v1::PlaceHoldRequest { hold: Some(hold) };
    holds.place_hold(placed).await.unwrap();
    scene.backup(&content(2)).await;
    scene.up_to_date(2).await;
    let kept = scene.prune(true).await;
    assert!(kept.verdicts.iter().all(|verdict| verdict.keep), "{kept:?}");

    let id = "case-7".into();
    holds
        .release_hold(v1::ReleaseHoldRequest { id })
        .await
        .unwrap();
    scene.sync(false).await;
    let status = scene
        .until("what only it has is told", |status| {
            status.warnings.iter().any(|w| w.contains("case-7"))
        })
        .await;
    assert!(status.lag.is_some());
    assert!(scene.prune(false).await.verdicts.iter().all(|v| v.keep));
    scene.sync(true).await;
    let planned = scene.prune(false).await;
    let removed = |report: &v1::PruneReport| {
        let gone = report.verdicts.iter().filter(|verdict| !verdict.keep);
        gone.map(|v| v.recovery_point.clone()).collect::<Vec<_>>()
    };
    assert_eq!(removed(&planned), std::slice::from_ref(&old));
    let pruned = scene.prune(true).await;
    assert_eq!(removed(&pruned), std::slice::from_ref(&old));
    assert_eq!(scene.prune(true).await.swept, [old]);
    scene.sync(false).await;
    // It does not come back, and the repository still has both.
    scene.up_to_date(1).await;
    assert_eq!(scene.operator.points().await.len(), 2);
    scene.running.stop().await;
}

/// Whoever begins to read from a copy does so while nothing is removed from it: a prune waits, and then sees what is read.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_a_copy_is_not_pruned_from_it_meanwhile() {
    let rules = "[copy.retention]\nmin_proven = 1\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\n\
                 [[copy.retention.rules]]\nkeep_last = 1\n";
    let mut scene = Scene::new(rules).await;
    scene.add(true).await;
    let old = scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    scene.backup(&content(2)).await;
    scene
        .until("both are there", |status| status.recovery_points == 2)
        .await;
    // Marked by the first run, and due for the second.
    assert!(scene.prune(true).await.verdicts.iter().any(|v| !v.keep));
    let core = scene.core.upgrade().unwrap();
    // As a ticket, an export or a restore does while it is being recorded.
    let beginning = core.retention.removing.lock().await;
    let mut pruning = Box::pin(scene.prune(true));
    let early = tokio::time::timeout(Duration::from_secs(3), &mut pruning).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    let copy = core.source(Some(&"b".parse().unwrap())).await.unwrap();
    let manifest = Arc::new(copy.read_point(&old.parse().unwrap()).await.unwrap());
    let reader = holdfast_certs::Identity::new(
        "test".parse().unwrap(),
        holdfast_certs::Role::Operator,
        "op",
    )
    .unwrap();
    let entry = manifest.collections[0].clone();
    let from = Some("b".parse().unwrap());
    let now = core.clock.now();
    core.tickets
        .export(reader, manifest, &entry, from, &Arc::default(), now)
        .unwrap();
    drop(beginning);
    let report = pruning.await;
    assert!(report.swept.is_empty(), "{report:?}");
    let alone = scene.alone().await;
    alone.read_point(&old.parse().unwrap()).await.unwrap();
    scene.running.stop().await;
}

/// A disk that fails at one object costs the points that need it, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_can_not_be_written_keeps_no_other_point_back() {
    let mut scene = Scene::new("").await;
    let old = scene.backup(&content(1)).await;
    let new = scene.backup(&content(2)).await;
    // The system refuses to open it, and nothing else.
    let manifest = scene.path("repo").join("points").join(&new);
    let sound = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
    scene.add(true).await;
    let status = scene
        .until("the other came", |status| {
            status.recovery_points == 1 && status.warnings.iter().any(|w| w.contains(&new))
        })
        .await;
    assert!(status.trouble.is_none(), "{status:?}");
    scene
        .alone()
        .await
        .read_point(&old.parse().unwrap())
        .await
        .unwrap();
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&manifest, sound).unwrap();
    scene.sync(false).await;
    scene.up_to_date(2).await;
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_a_copy_is_found_and_healed_from_the_repository() {
    let mut scene = Scene::new("").await;
    scene.add(true).await;
    let point = scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    let manifest = scene.path("b").join("points").join(point);
    let sound = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, b"rotten").unwrap();
    let name = "b".into();
    let request = v1::VerifyCopyRequest { name, full: true };
    scene.copies.verify_copy(request).await.unwrap();
    let checked = |status: &v1::CopyStatus| status.last_check.is_some();
    let status = scene.until("it is checked", checked).await;
    assert!(!status.last_check.unwrap().needs_attention);
    assert_eq!(std::fs::read(&manifest).unwrap(), sound);
    scene.running.stop().await;
}

/// A promotion that died after it had claimed its term, and was given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_was_given_up_is_gone_on_from() {
    let mut scene = Scene::new("").await;
    scene.add(true).await;
    scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    drop(scene.agent);
    scene.running.stop().await;
    let stop_at = Some(StopAt {
        mutation: 1,
        effect: StopEffect::After,
    });
    let plan = FaultPlan {
        stop_at,
        ..FaultPlan::default()
    };
    let path = scene.world.dir.path().join("b");
    let store = Arc::new(FaultStore::new(DiskStore::open(path).unwrap(), plan));
    let dying = Repository::open(store.clone(), kek()).await.unwrap();
    let now = SystemClock.now();
    let died = dying.promote(&"b".parse().unwrap(), Epoch(0), now).await;
    assert!(died.is_err() && store.is_stopped());
    drop((dying, store));

    let mut scene = Scene::start(scene.world).await;
    let stale = scene
        .until("it is refused", |status| status.trouble.is_some())
        .await;
    let trouble = stale.trouble.unwrap();
    assert_eq!(trouble.code, "stale-epoch");
    assert!(trouble.message.contains("restart this coordinator"));
    // That is no reason to stop for the coordinator itself.
    scene.backup(&content(2)).await;
    let mut scene = scene.restart().await;
    scene.sync(false).await;
    scene.up_to_date(2).await;
    scene.running.stop().await;
}

/// The repository was replaced while its coordinator could not be reached.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_primary_is_refused_by_its_promoted_copy_and_becomes_a_copy() {
    let mut scene = Scene::new("").await;
    scene.add(true).await;
    scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    drop(scene.agent);
    scene.running.stop().await;
    let promoted = scene.world.dir.path().join("b");
    let store = Arc::new(DiskStore::open(&promoted).unwrap());
    let copy = Repository::open(store, kek()).await.unwrap();
    let now = SystemClock.now();
    copy.promote(&"b".parse().unwrap(), Epoch(0), now)
        .await
        .unwrap();
    drop(copy);

    let mut scene = Scene::start(scene.world).await;
    let told = scene
        .until("it is told", |status| status.trouble.is_some())
        .await;
    assert_eq!(told.trouble.unwrap().code, "repository-role");
    drop(scene.agent);
    scene.running.stop().await;

    // The coordinator of the new primary, with the old one as a copy.
    let mut world = scene.world;
    let section = &mut world.config;
    let old = std::mem::replace(
        &mut section.repository.place,
        section.copies[0].place.clone(),
    );
    section.copies[0].place = old;
    let mut scene = Scene::start(world).await;
    let mut request = v1::AddCopyRequest {
        name: "b".into(),
        confirm: true,
        take_over: false,
    };
    let refused = scene.copies.add_copy(request.clone()).await.unwrap_err();
    assert!(refused.message().contains("--take-over"), "{refused}");
    request.take_over = true;
    assert!(
        scene
            .copies
            .add_copy(request)
            .await
            .unwrap()
            .into_inner()
            .made
    );
    scene.backup(&content(3)).await;
    scene.up_to_date(2).await;
    let alone = scene.alone().await;
    assert_eq!(alone.list_point_ids().await.unwrap().len(), 2);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_copy_is_left_as_it_is_until_it_is_added_again() {
    let mut scene = Scene::new("").await;
    scene.add(true).await;
    scene.backup(&content(1)).await;
    scene.up_to_date(1).await;
    let name = "b".to_owned();
    for confirm in [false, true] {
        let name = name.clone();
        let request = v1::RemoveCopyRequest { name, confirm };
        let removed = scene.copies.remove_copy(request).await.unwrap();
        assert_eq!(removed.into_inner().removed, confirm);
    }
    scene.backup(&content(2)).await;
    let status = scene
        .until("it is left alone", |status| status.trouble.is_some())
        .await;
    assert!(status.warnings[0].contains("detached"), "{status:?}");
    assert_eq!(scene.alone().await.list_point_ids().await.unwrap().len(), 1);
    scene.add(true).await;
    scene.up_to_date(2).await;
    let unknown = v1::RemoveCopyRequest {
        name: "c".into(),
        confirm: true,
    };
    let refused = scene.copies.remove_copy(unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    scene.running.stop().await;
}
