//! The coordinator dies before or after its n-th put or delete on the copy, for every n, from the making of the copy to the
//! end of its garbage collection. Whatever stands on the copy restores in full, and the next run completes it.

use crate::copying::name;
use crate::garbage::{GRACE, at, options, tombstone};
use crate::place::TestStore;
use crate::support::{SMALL, capture, create, files, open, point_id, restore};
use holdfast_repository::{Repository, RepositoryError, VerifyLevel};
use holdfast_store::{FaultPlan, FaultStore, ObjectStore, StopAt, StopEffect};
use holdfast_types::Epoch;
use std::sync::Arc;

/// Makes a copy, brings three points, removes the first one from the copy, and collects its garbage. Repeatable.
async fn run(
    primary: &Repository,
    term: Epoch,
    store: Arc<dyn ObjectStore>,
) -> Result<(), RepositoryError> {
    primary.make_copy(store.as_ref(), &name(), at(0)).await?;
    let copy = primary.open_copy(store.clone(), &name(), SMALL).await?;
    copy.claim_copy(primary, &name(), term).await?;
    primary.sync_keys(&copy, None).await?;
    primary.sync_marks(&copy, term, None).await?;
    let removed = copy.stats().stored_bytes > 0 && !has(&copy, 1).await? && has(&copy, 3).await?;
    if !removed {
        for n in 1..=3 {
            primary.sync_point(&copy, term, &point_id(n)).await?;
        }
        copy.tombstone_point(term, &tombstone(1, at(0))).await?;
        let (id, later) = (point_id(1), at(0).after(GRACE));
        copy.sweep_point(term, &id, later).await?;
    }
    for seconds in [200, 400, 600] {
        copy.collect_garbage(term, options(at(seconds))).await?;
    }
    Ok(())
}

async fn has(copy: &Repository, n: u32) -> Result<bool, RepositoryError> {
    Ok(copy.list_point_ids().await?.contains(&point_id(n)))
}

/// I1, with the copy alone. What is not a repository yet holds nothing that could be taken for one.
async fn check(store: Arc<TestStore>, what: &str) {
    if store
        .head(&"holdfast.json".parse().unwrap())
        .await
        .unwrap()
        .is_none()
    {
        for later in ["packs", "points", "index", "epochs"] {
            let listed = store.list(&later.parse().unwrap()).await.unwrap();
            assert!(listed.is_empty(), "{what}: {listed:?}");
        }
        return;
    }
    let alone = open(store).await;
    let damaged = &alone.report().damaged;
    assert!(damaged.is_empty(), "{what}: {damaged:?}");
    for listing in alone.list_points().await.unwrap() {
        listing.manifest.unwrap();
        let n = (1..=3).find(|n| point_id(*n) == listing.id).unwrap();
        let restored = restore(&alone, n).await;
        assert_eq!(restored.unwrap(), files(n.into()), "{what}: point {n}");
    }
    let verified = alone.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{what}: {verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_leaves_whole_points_only() {
    let ours = Arc::new(TestStore::without_locks());
    let primary = create(ours.clone()).await;
    let epoch = primary.claim_epoch().await.unwrap();
    for n in 1..=3 {
        let files = files(n.into());
        capture(&primary, epoch, n, &files).await.unwrap();
    }
    let mut crashes = 0;
    for effect in [StopEffect::Before, StopEffect::After] {
        for mutation in 1.. {
            let theirs = Arc::new(TestStore::without_locks());
            let plan = FaultPlan {
                stop_at: Some(StopAt { mutation, effect }),
                ..FaultPlan::default()
            };
            let faulty = Arc::new(FaultStore::new(theirs.clone(), plan));
            let primary = open(ours.clone()).await;
            let term = primary.claim_epoch().await.unwrap();
            let outcome = run(&primary, term, faulty.clone()).await;
            let what = format!("stopped {effect:?} mutation {mutation}");
            if !faulty.is_stopped() {
                outcome.unwrap();
                break;
            }
            crashes += 1;
            check(theirs.clone(), &what).await;
            // Gone on with by the same coordinator, and by the next.
            let term = if mutation % 2 == 0 {
                primary.claim_epoch().await.unwrap()
            } else {
                term
            };
            run(&primary, term, theirs.clone()).await.unwrap();
            check(theirs.clone(), &what).await;
            let alone = open(theirs).await;
            for n in 2..=3 {
                let restored = restore(&alone, n).await.unwrap();
                assert_eq!(restored, files(n.into()), "{what}: point {n}");
            }
        }
    }
    assert!(crashes >= 60, "only {crashes} places to crash at");
}
