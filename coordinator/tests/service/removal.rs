//! A coordinator ends in the middle of a deletion, and somebody says meanwhile that the point must stay.

use crate::agent::{Agent, files};
use crate::world::World;
use holdfast_coordinator::repository::{Creation, open};
use holdfast_coordinator::{retention, start};
use holdfast_decide::Tombstone;
use holdfast_repository::{Pin, PointTombstone, Repository};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::shutdown::Shutdown;
use holdfast_store::{DiskStore, FaultPlan, FaultStore, StopAt, StopEffect};
use holdfast_types::{Epoch, RecoveryPointId};
use std::sync::Arc;
use std::time::Duration;

/// A world with two points of one collection, and the older one.
async fn two_points() -> (World, RecoveryPointId) {
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
        points.push(job.end().await.0.backup.unwrap().recovery_point);
    }
    running.stop().await;
    (world, points[0].parse().unwrap())
}

/// Another coordinator begins to delete the point and dies when that is written down and nothing is deleted yet.
async fn half_swept(world: &World, point: &RecoveryPointId) {
    let path = world.dir.path().join("repo");
    // The epoch's claim, the tombstone, the tombstone as swept.
    let plan = FaultPlan {
        stop_at: Some(StopAt {
            mutation: 3,
            effect: StopEffect::After,
        }),
        ..FaultPlan::default()
    };
    let store = Arc::new(FaultStore::new(DiskStore::open(path).unwrap(), plan));
    let kek = holdfast_archive::Kek::from_hex(&"5a".repeat(32)).unwrap();
    let other = Repository::open(store.clone(), kek).await.unwrap();
    let epoch = other.claim_epoch().await.unwrap();
    let stone = PointTombstone {
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
    };
    other.tombstone_point(epoch, &stone).await.unwrap();
    let now = SystemClock.now();
    other.sweep_point(epoch, point, now).await.unwrap_err();
    assert!(store.is_stopped());
}

async fn pruned(world: &World) -> retention::Pruned {
    let shutdown = Shutdown::new();
    let opened = start::open_core(&world.config, shutdown.clone(), Arc::new(SystemClock));
    let core = opened.await.unwrap();
    let marks = core.retention.marks();
    assert!(marks.tombstones.values().all(|stone| stone.swept));
    assert_eq!(marks.tombstones.len(), 1, "one is half way");
    let pruned = retention::prune(&core, None).await.unwrap();
    shutdown.stop();
    pruned
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_left_half_way_is_finished() {
    let (world, point) = two_points().await;
    half_swept(&world, &point).await;
    let pruned = pruned(&world).await;
    assert_eq!((pruned.swept, pruned.spared), (vec![point], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_placed_meanwhile_stops_it() {
    let (world, point) = two_points().await;
    half_swept(&world, &point).await;
    let repository = open(&world.config, Creation::Never, SystemClock.now()).await;
    let repository = repository.unwrap();
    let epoch = repository.claim_epoch().await.unwrap();
    let pin = Pin {
        point: point.clone(),
        reason: "golden".to_owned(),
        by: "operator/op".to_owned(),
        at: SystemClock.now(),
    };
    repository.pin_point(epoch, &pin).await.unwrap();
    drop(repository);
    let pruned = pruned(&world).await;
    assert_eq!((pruned.swept, pruned.spared), (vec![], vec![point.clone()]));
    let repository = open(&world.config, Creation::Never, SystemClock.now()).await;
    let repository = repository.unwrap();
    repository.read_point(&point).await.unwrap();
    assert!(repository.read_marks().await.unwrap().tombstones.is_empty());
}
