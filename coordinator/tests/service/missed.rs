//! A recovery point vanishes from the repository, by accident or on purpose, and what the coordinator says of it.

use crate::agent::{Agent, files};
use crate::world::{Running, World};
use holdfast_coordinator::core::Core;
use holdfast_coordinator::repository::{Creation, open};
use holdfast_coordinator::{retention, verify};
use holdfast_decide::Tombstone;
use holdfast_proto::v1;
use holdfast_proto::v1::retention_client::RetentionClient;
use holdfast_repository::PointTombstone;
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use holdfast_store::{DiskStore, FaultPlan, FaultStore, StopAt, StopEffect};
use holdfast_types::{Epoch, RecoveryPointId};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A world with two points of one collection, oldest first.
async fn two_points() -> (World, [RecoveryPointId; 2]) {
    let world = World::with("[retention]\nevery_hours = 0\ngarbage_grace_hours = 0\n");
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let mut points = Vec::new();
    for content in [b"old", b"new"] {
        let job = operator.backup().await;
        let command = agent.command().await;
        agent.capture(&command, &files(&[("a", content)])).await;
        let point = job.end().await.0.backup.unwrap().recovery_point;
        points.push(point.parse().unwrap());
    }
    running.stop().await;
    (world, points.try_into().unwrap())
}

fn manifest_of(world: &World, point: &RecoveryPointId) -> PathBuf {
    world.dir.path().join(format!("repo/points/{point}"))
}

/// What status says of recovery points that are gone, and the points that are listed.
async fn told(world: &World, running: &Running) -> (Vec<String>, Vec<String>) {
    let mut operator = world.operator(running).await;
    let mut warnings = operator.status().await.warnings;
    warnings.retain(|warning| warning.contains("is gone from the repository"));
    (warnings, operator.points().await)
}

/// The same, of a coordinator that starts and stops for that.
async fn told_at_a_start(world: &World) -> (Vec<String>, Vec<String>) {
    let running = world.start().await;
    let told = told(world, &running).await;
    running.stop().await;
    told
}

async fn delete(
    world: &World,
    running: &Running,
    point: &RecoveryPointId,
    dry_run: bool,
) -> v1::DeleteBackupResponse {
    let mut client = RetentionClient::new(world.channel(running, "op").await);
    let request = v1::DeleteBackupRequest {
        recovery_point: point.to_string(),
        reason: "known".into(),
        despite_floor: true,
        dry_run,
    };
    client.delete_backup(request).await.unwrap().into_inner()
}

fn stone(point: &RecoveryPointId) -> PointTombstone {
    PointTombstone {
        point: point.clone(),
        tombstone: Tombstone {
            since: SystemClock.now(),
            grace: Duration::ZERO,
        },
        reasons: vec!["no longer needed".to_owned()],
        by: "operator/op".to_owned(),
        despite_floor: true,
        swept: false,
        marked: Epoch(0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_point_is_named_until_it_is_back() {
    let (world, [old, new]) = two_points().await;
    let path = manifest_of(&world, &old);
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for start in ["first", "second"] {
        let (warnings, listed) = told_at_a_start(&world).await;
        assert_eq!(warnings.len(), 1, "{start}: {warnings:?}");
        let begins = format!("recovery point {old} (docs; committed ");
        assert!(warnings[0].starts_with(&begins), "{warnings:?}");
        assert!(warnings[0].contains("nobody is known to have removed it"));
        assert!(warnings[0].contains("--lost-points` shows all that would come"));
        assert_eq!(listed, [new.to_string()]);
    }
    std::fs::write(&path, kept).unwrap();
    let (warnings, listed) = told_at_a_start(&world).await;
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(listed, [new.to_string(), old.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_point_is_named_until_it_is_acknowledged() {
    let (world, [old, new]) = two_points().await;
    std::fs::remove_file(manifest_of(&world, &old)).unwrap();
    let running = world.start().await;
    let tried = delete(&world, &running, &old, true).await;
    assert!(tried.gone_before && tried.mark.is_none());
    assert_eq!(told(&world, &running).await.0.len(), 1, "that was a trial");
    let sound = delete(&world, &running, &new, true).await;
    assert!(!sound.gone_before, "that one is there");
    let done = delete(&world, &running, &old, false).await;
    assert!(done.gone_before && done.mark.is_none());
    assert_eq!(told(&world, &running).await.0, [] as [&str; 0]);
    running.stop().await;
    let (warnings, listed) = told_at_a_start(&world).await;
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(listed, [new.to_string()]);
}

/// Its chunks may be all there: they are kept until somebody gives the point up.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_point_needs_is_no_garbage() {
    let (world, [old, _]) = two_points().await;
    std::fs::remove_file(manifest_of(&world, &old)).unwrap();
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    for _ in 0..2 {
        for refused in [
            retention::plan(&core).await.unwrap_err(),
            retention::prune(&core, None).await.unwrap_err(),
        ] {
            assert_eq!(refused.code, "repository-damaged");
            assert!(refused.message.contains("garbage is not collected"));
            assert!(refused.message.contains(old.as_str()), "{refused}");
        }
    }
    delete(&world, &running, &old, false).await;
    let marked = retention::prune(&core, None).await.unwrap();
    let after = retention::prune(&core, None).await.unwrap();
    let doomed = [&marked, &after].map(|pruned| pruned.garbage.dead.packs);
    assert!(doomed.iter().any(|packs| *packs > 0), "{doomed:?}");
    drop(core);
    running.stop().await;
}

/// Damage first takes a point out of the listing; that it goes after that is noticed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_point_that_vanishes_is_named() {
    let (world, [old, _]) = two_points().await;
    let path = manifest_of(&world, &old);
    std::fs::write(&path, "rotten").unwrap();
    assert_eq!(told_at_a_start(&world).await.0, [] as [&str; 0]);
    std::fs::remove_file(&path).unwrap();
    let (warnings, _) = told_at_a_start(&world).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(old.as_str()));
}

/// The point was deleted, and the coordinator died before it took it out of its listing.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_of_its_own_deletion_is_not_missed() {
    let (world, [old, new]) = two_points().await;
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    core.catalog.point_leaves(old.clone()).await.unwrap();
    core.repository
        .tombstone_point(core.epoch, &stone(&old))
        .await
        .unwrap();
    core.repository
        .sweep_point(core.epoch, &old, SystemClock.now())
        .await
        .unwrap();
    drop(core);
    running.stop().await;
    let (warnings, listed) = told_at_a_start(&world).await;
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(listed, [new.to_string()]);
}

/// A prune records that a deletion begins, and forgets it with the point.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_point_is_not_missed() {
    let (world, [old, new]) = two_points().await;
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    mark_and_prune(&core, &old).await;
    drop(core);
    running.stop().await;
    let (warnings, listed) = told_at_a_start(&world).await;
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(listed, [new.to_string()]);
}

async fn mark_and_prune(core: &Arc<Core>, point: &RecoveryPointId) {
    let stone = stone(point);
    let marked = core.repository.tombstone_point(core.epoch, &stone);
    marked.await.unwrap();
    let pruned = retention::prune(core, None).await.unwrap();
    assert_eq!(pruned.swept, std::slice::from_ref(point));
}

/// Another coordinator removed it: all the way, which leaves no trace, or as far as a crash let it.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_by_another_coordinator_is_told_apart() {
    // The claim, the tombstone, the tombstone as swept, the manifest's deletion.
    for (stop_at, warned) in [(4, false), (100, true)] {
        let (world, [old, _]) = two_points().await;
        let stop_at = Some(StopAt {
            mutation: stop_at,
            effect: StopEffect::After,
        });
        let plan = FaultPlan {
            stop_at,
            ..FaultPlan::default()
        };
        let disk = DiskStore::open(world.dir.path().join("repo")).unwrap();
        let store = Arc::new(FaultStore::new(disk, plan));
        let kek = holdfast_archive::Kek::from_hex(&"5a".repeat(32)).unwrap();
        let other = holdfast_repository::Repository::open(store, kek)
            .await
            .unwrap();
        let epoch = other.claim_epoch().await.unwrap();
        other.tombstone_point(epoch, &stone(&old)).await.unwrap();
        let swept = other.sweep_point(epoch, &old, SystemClock.now()).await;
        assert_eq!(swept.is_ok(), warned, "{swept:?}");
        drop(other);
        assert!(!manifest_of(&world, &old).exists());
        let (warnings, _) = told_at_a_start(&world).await;
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
        assert!(
            warnings
                .iter()
                .all(|said| said.contains("may have removed it"))
        );
    }
}

/// While the coordinator runs, the next check finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_that_a_point_vanished_and_that_it_is_back() {
    let (world, [old, new]) = two_points().await;
    let clock = FixedClock::new(SystemClock.now());
    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let checks = verify::run(Arc::clone(&core), core.verify);
    drop(core.shutdown.clone().spawn(checks));
    let path = manifest_of(&world, &old);
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    clock.advance(Duration::from_hours(25));
    until(&core, |astray| astray == std::slice::from_ref(&old)).await;
    let (warnings, listed) = told(&world, &running).await;
    assert_eq!((warnings.len(), listed), (1, vec![new.to_string()]));
    std::fs::write(&path, kept).unwrap();
    clock.advance(Duration::from_hours(25));
    until(&core, <[RecoveryPointId]>::is_empty).await;
    let (warnings, listed) = told(&world, &running).await;
    assert_eq!((warnings.len(), listed.len()), (0, 2));
    drop(core);
    running.stop().await;
}

/// Waits until the points that went astray are as wanted.
async fn until(core: &Core, wanted: impl Fn(&[RecoveryPointId]) -> bool) {
    let poll = async {
        loop {
            let astray = core.catalog.astray().await.unwrap().into_iter();
            let ids: Vec<_> = astray.map(|astray| astray.point.id).collect();
            if wanted(&ids) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll)
        .await
        .expect("a check that is due is carried out");
}

/// That is all that can be known of it from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_names_what_the_old_catalogue_knew() {
    let (world, [old, _]) = two_points().await;
    std::fs::remove_file(manifest_of(&world, &old)).unwrap();
    let repository = open(&world.config, Creation::Never, SystemClock.now()).await;
    let path = world.config.catalog_path();
    let rebuild = holdfast_coordinator::catalog::rebuild::rebuild;
    let done = rebuild(&path, &repository.unwrap()).await.unwrap();
    let missed: Vec<_> = done.missed.iter().map(|point| &point.id).collect();
    assert_eq!(missed, [&old]);
    assert_eq!(told_at_a_start(&world).await.0, [] as [&str; 0], "once");
}
