//! I1 under crashes: the writer dies before or after its n-th put, for every n. Whoever opens the
//! repository next finds each point whole or not at all, and can go on.

use crate::place::TestStore;
use crate::support::{Files, capture, copy_of, create, files, open, point_id, restore};
use holdfast_repository::{Repository, RepositoryError, VerifyLevel};
use holdfast_store::{FaultPlan, FaultStore, ObjectStore, StopAt, StopEffect};
use std::sync::Arc;
use std::time::Duration;

fn shards() -> [Files; 3] {
    [files(1), files(2), files(3)]
}

/// Claims an epoch and captures points 1 and 2. Returns how many were acknowledged.
async fn run(store: Arc<dyn ObjectStore>) -> (u32, Result<(), RepositoryError>) {
    let repository =
        match Repository::open_with(store, crate::support::kek(), crate::support::SMALL).await {
            Ok(repository) => repository,
            Err(error) => return (0, Err(error)),
        };
    let epoch = match repository.claim_epoch().await {
        Ok(epoch) => epoch,
        Err(error) => return (0, Err(error)),
    };
    for n in 1..=2 {
        if let Err(error) = capture(&repository, epoch, n, &shards()[n as usize]).await {
            return (n - 1, Err(error));
        }
    }
    (2, Ok(()))
}

/// Waits until what the writer had on its way has arrived or failed: with a dead process it does so before anybody looks, or counts
/// as sent by somebody else. Uploads go on beside the one that fails, and hold their store until they end.
async fn is_dead(writer: &Arc<FaultStore<Arc<TestStore>>>) {
    let ends = async {
        while Arc::strong_count(writer) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ends).await;
    ended.expect("nothing holds a dead writer's store");
}

/// Everything listed is whole, everything acknowledged is listed, and point 0 is untouched.
async fn check(store: Arc<TestStore>, acknowledged: u32, what: &str) {
    let repository = open(store.clone()).await;
    assert!(
        repository.report().damaged.is_empty(),
        "{what}: {:?}",
        repository.report()
    );
    let listed = repository.list_points().await.unwrap();
    for listing in &listed {
        assert!(listing.manifest.is_ok(), "{what}: {listing:?}");
    }
    let is_listed = |n| listed.iter().any(|listing| listing.id == point_id(n));
    for n in 0..=2 {
        if is_listed(n) {
            let restored = restore(&repository, n).await.unwrap();
            assert_eq!(restored, shards()[n as usize], "{what}: point {n}");
        } else {
            assert!(
                n > acknowledged,
                "{what}: point {n} was acknowledged and is lost"
            );
        }
    }
    let verified = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{what}: {verified:?}");

    // The next writer goes on where this one died, and sends nothing twice that is whole.
    let epoch = repository.claim_epoch().await.unwrap();
    for n in (1..=2).filter(|n| !is_listed(*n)) {
        capture(&repository, epoch, n, &shards()[n as usize])
            .await
            .unwrap();
    }
    let last = open(store).await;
    assert_eq!(
        last.report().adopted_packs,
        0,
        "{what}: adopted packs are indexed by now"
    );
    for n in 0..=2 {
        assert_eq!(
            restore(&last, n).await.unwrap(),
            shards()[n as usize],
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_crash_at_any_put_leaves_whole_points_only() {
    let start = Arc::new(TestStore::without_locks());
    let repository = create(start.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 0, &shards()[0]).await.unwrap();

    let mut crashes = 0;
    for effect in [StopEffect::Before, StopEffect::After] {
        for mutation in 1.. {
            let memory = copy_of(start.as_ref()).await;
            let stop_at = Some(StopAt { mutation, effect });
            let plan = FaultPlan {
                stop_at,
                ..FaultPlan::default()
            };
            let faulty = Arc::new(FaultStore::new(memory.clone(), plan));
            let (acknowledged, outcome) = run(faulty.clone()).await;
            let what = format!("stopped {effect:?} put {mutation}");
            if !faulty.is_stopped() {
                outcome.unwrap();
                break;
            }
            crashes += 1;
            assert!(outcome.is_err(), "{what}");
            is_dead(&faulty).await;
            check(memory, acknowledged, &what).await;
        }
    }
    assert!(crashes >= 24, "only {crashes} places to crash at");
}
