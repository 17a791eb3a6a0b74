//! Locks and storage classes: what is locked and for how long, what becomes cheap, and that no lock is violated.

use crate::garbage::{GRACE, at, options, tombstone};
use crate::place::{TestStore, answers_are_lost};
use crate::support::{copy_of, create, files, open, point_id, restore, store_files};
use holdfast_repository::{
    ColdRule, GarbageOptions, KeepOptions, KeepReport, LockRule, Repository, RepositoryError,
};
use holdfast_store::{
    ColdClass, FaultPlan, FaultStore, KeyPrefix, LockMode, ObjectKeeper as _, ObjectKey,
    ObjectStore as _, PutMode, StopAt, StopEffect,
};
use holdfast_types::{Epoch, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1600);
/// A sixteenth of the period: locks end at most so much later than asked for.
const STEP: Duration = Duration::from_secs(100);
const COLD: ColdClass = ColdClass::InfrequentAccess;

fn locking(now: Timestamp) -> KeepOptions {
    KeepOptions {
        now,
        lock: Some(LockRule {
            mode: LockMode::Governance,
            period: PERIOD,
        }),
        cold: None,
    }
}

fn cooling(now: Timestamp, after: Duration) -> KeepOptions {
    KeepOptions {
        now,
        lock: None,
        cold: Some(ColdRule { class: COLD, after }),
    }
}

async fn capture_at(repository: &Repository, epoch: Epoch, n: u32, committed: Timestamp) {
    let session = repository.begin(epoch).await.unwrap();
    let files = files(n.into());
    let mut manifest = store_files(repository, &session, n, &files).await.unwrap();
    manifest.committed = committed;
    repository.commit_point(&manifest).await.unwrap();
}

/// Two points that share a file, committed at 0 and at 5000 seconds.
async fn two_points() -> (Arc<TestStore>, Repository, Epoch) {
    let store = Arc::new(TestStore::keeping());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture_at(&repository, epoch, 1, at(0)).await;
    capture_at(&repository, epoch, 2, at(5000)).await;
    (store, repository, epoch)
}

async fn keys(store: &TestStore, prefix: &str) -> Vec<ObjectKey> {
    let listed = store.list(&prefix.parse().unwrap()).await.unwrap();
    listed.into_iter().map(|found| found.key).collect()
}

/// The packs without which point `n` can't be restored.
async fn needed_by(store: &TestStore, n: u32) -> BTreeSet<ObjectKey> {
    let mut needed = BTreeSet::new();
    for pack in keys(store, "packs").await {
        let without = copy_of(store).await;
        without.delete(&pack).await.unwrap();
        if restore(&open(without).await, n).await.is_err() {
            needed.insert(pack);
        }
    }
    assert!(!needed.is_empty());
    needed
}

async fn lock_of(store: &TestStore, key: &ObjectKey) -> Option<Timestamp> {
    let lock = store.lock_of(key).await.unwrap();
    lock.map(|lock| lock.until)
}

fn is_from(lock: Option<Timestamp>, end: Timestamp) -> bool {
    lock.is_some_and(|until| until >= end && until < end.after(STEP))
}

#[tokio::test]
async fn a_pack_is_locked_as_long_as_the_newest_point_that_needs_it() {
    let (store, repository, epoch) = two_points().await;
    let report = repository.keep(epoch, locking(at(10)), None).await.unwrap();
    assert_eq!((report.points, report.unreadable.len()), (2, 0));
    assert_eq!(report.extended, report.locked);
    let (old, new) = (at(0).after(PERIOD), at(5000).after(PERIOD));
    let of_newest = needed_by(&store, 2).await;
    for pack in keys(&store, "packs").await {
        let end = if of_newest.contains(&pack) { new } else { old };
        assert!(is_from(lock_of(&store, &pack).await, end), "{pack}");
    }
    assert!(
        needed_by(&store, 1)
            .await
            .iter()
            .any(|pack| !of_newest.contains(pack))
    );
    for (n, end) in [(1, old), (2, new)] {
        let lock = repository.locked_until(&point_id(n)).await.unwrap();
        assert!(is_from(lock, end), "{lock:?}");
    }
    let mut opens = vec!["holdfast.json".parse().unwrap()];
    opens.extend(keys(&store, "keys").await);
    opens.extend(keys(&store, "copy").await);
    assert!(opens.len() >= 4, "{opens:?}");
    for key in opens {
        assert!(is_from(lock_of(&store, &key).await, new), "{key}");
    }
    // What is known to be locked for long enough is not asked for by every new point, but by each look at everything.
    let both = [point_id(1), point_id(2)];
    let options = locking(at(10));
    let known = repository.keep(epoch, options, Some(&both)).await.unwrap();
    assert_eq!((known.locked, known.extended), (report.locked, 0));
    let again = repository.keep(epoch, options, None).await.unwrap();
    assert_eq!(again.extended, report.extended);
}

/// A coordinator that dies at any lock or move, before it or before it learns of it, leaves nothing that its successor does not
/// finish, and no lock shorter.
#[tokio::test]
async fn a_pass_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let both = |now| KeepOptions {
        cold: Some(ColdRule {
            class: COLD,
            after: Duration::from_secs(3000),
        }),
        ..locking(now)
    };
    for effect in [StopEffect::Before, StopEffect::After] {
        let mut cut_off = 0;
        for nth in 1.. {
            let memory = Arc::new(TestStore::locking());
            let store = Arc::new(FaultStore::new(memory.clone(), FaultPlan::default()));
            let repository = create(store.clone()).await;
            let epoch = repository.claim_epoch().await.unwrap();
            capture_at(&repository, epoch, 1, at(0)).await;
            capture_at(&repository, epoch, 2, at(5000)).await;
            let mutation = store.mutations() + nth;
            store.set_plan(FaultPlan {
                stop_at: Some(StopAt { mutation, effect }),
                ..FaultPlan::default()
            });
            let outcome = repository.keep(epoch, both(at(5100)), None).await;
            assert_eq!(outcome.is_err(), store.is_stopped(), "{outcome:?}");
            let before = all_locks(&memory).await;

            let next = open(memory.clone()).await;
            let epoch = next.claim_epoch().await.unwrap();
            let report = next.keep(epoch, both(at(5100)), None).await.unwrap();
            let after = all_locks(&memory).await;
            assert_eq!(after.len(), report.locked);
            for (key, until) in before {
                assert!(after[&key] >= until, "the lock of {key} is shorter");
            }
            let of_newest = needed_by(&memory, 2).await;
            for pack in keys(&memory, "packs").await {
                let is_needed = of_newest.contains(&pack);
                assert_eq!(after.contains_key(&pack), is_needed, "{pack}");
                assert_eq!(memory.class_of(&pack).is_some(), !is_needed, "{pack}");
            }
            assert_eq!(restore(&next, 1).await.unwrap(), files(1));
            if !store.is_stopped() {
                break;
            }
            cut_off += 1;
        }
        assert!(cut_off > 5, "{cut_off} moments were tried");
    }
}

async fn all_locks(store: &TestStore) -> BTreeMap<ObjectKey, Timestamp> {
    let mut locks = BTreeMap::new();
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        if let Some(until) = lock_of(store, &found.key).await {
            locks.insert(found.key, until);
        }
    }
    locks
}

#[tokio::test]
async fn a_new_point_is_locked_by_itself() {
    let (store, repository, epoch) = two_points().await;
    let only = [point_id(1)];
    let options = locking(at(10));
    let report = repository.keep(epoch, options, Some(&only)).await.unwrap();
    assert_eq!(report.points, 1);
    let of_oldest = needed_by(&store, 1).await;
    for pack in keys(&store, "packs").await {
        assert_eq!(
            lock_of(&store, &pack).await.is_some(),
            of_oldest.contains(&pack)
        );
    }
    assert_eq!(repository.locked_until(&point_id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_locked_is_not_deleted() {
    let (store, repository, epoch) = two_points().await;
    repository.keep(epoch, locking(at(10)), None).await.unwrap();
    let id = point_id(1);
    let stone = tombstone(1, at(10));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let early = at(1000);
    let refused = repository.sweep_point(epoch, &id, early).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::PointLocked { .. }),
        "{refused}"
    );
    assert_eq!(restore(&repository, 1).await.unwrap(), files(1));

    // Its packs are locked for longer by somebody else.
    let of_newest = needed_by(&store, 2).await;
    let oldest_alone: Vec<_> = needed_by(&store, 1)
        .await
        .difference(&of_newest)
        .cloned()
        .collect();
    let end = at(9000);
    for pack in &oldest_alone {
        store
            .extend_lock(pack, LockMode::Governance, end)
            .await
            .unwrap();
    }
    let after_lock = at(0).after(PERIOD).after(STEP);
    repository
        .sweep_point(epoch, &id, after_lock)
        .await
        .unwrap();
    let mut now = after_lock;
    for _ in 0..3 {
        repository
            .collect_garbage(epoch, options(now))
            .await
            .unwrap();
        now = now.after(GRACE);
    }
    for pack in &oldest_alone {
        assert!(
            store.head(pack).await.unwrap().is_some(),
            "{pack} was deleted"
        );
    }
    repository
        .collect_garbage(epoch, options(end))
        .await
        .unwrap();
    for pack in &oldest_alone {
        assert!(
            store.head(pack).await.unwrap().is_none(),
            "{pack} stays for ever"
        );
    }
    assert_eq!(restore(&open(store).await, 2).await.unwrap(), files(2));
}

#[tokio::test]
async fn what_only_old_points_need_becomes_cheap_unless_it_is_locked() {
    let (store, repository, epoch) = two_points().await;
    let of_newest = needed_by(&store, 2).await;
    let oldest_alone: Vec<_> = needed_by(&store, 1)
        .await
        .difference(&of_newest)
        .cloned()
        .collect();
    let locked = oldest_alone.first().unwrap();
    let end = at(8000);
    store
        .extend_lock(locked, LockMode::Governance, end)
        .await
        .unwrap();

    let after = Duration::from_secs(3000);
    let report = repository
        .keep(epoch, cooling(at(6000), after), None)
        .await
        .unwrap();
    is_moved(&report, oldest_alone.len() as u64 - 1);
    for pack in keys(&store, "packs").await {
        let due = oldest_alone.contains(&pack) && pack != *locked;
        assert_eq!(store.class_of(&pack), due.then_some(COLD), "{pack}");
    }
    let later = repository
        .keep(epoch, cooling(end, after), None)
        .await
        .unwrap();
    // The lock is over, and point 2 is old.
    is_moved(&later, 1 + of_newest.len() as u64);
    for n in [1, 2] {
        assert_eq!(
            restore(&open(store.clone()).await, n).await.unwrap(),
            files(n.into())
        );
    }
}

/// Where the answer to a move is lost, another try finds it done, and can't know by whom.
fn is_moved(report: &KeepReport, packs: u64) {
    let moved = report.moved.packs;
    assert!(
        moved == packs || answers_are_lost() && moved < packs,
        "{moved} of {packs}"
    );
}

#[tokio::test]
async fn nothing_is_moved_while_a_point_can_not_be_read() {
    let (store, repository, epoch) = two_points().await;
    let key: ObjectKey = format!("points/{}", point_id(2)).parse().unwrap();
    store
        .put(&key, "rotten".into(), PutMode::Overwrite)
        .await
        .unwrap();
    let cold = cooling(at(9000), Duration::ZERO);
    let report = repository.keep(epoch, cold, None).await.unwrap();
    assert_eq!(report.unreadable, [point_id(2)]);
    assert_eq!(report.moved.packs, 0);
    // What can be read is locked all the same.
    repository.keep(epoch, locking(at(10)), None).await.unwrap();
    assert!(
        repository
            .locked_until(&point_id(1))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_locked_pack_is_not_rewritten() {
    let (_, repository, epoch) = two_points().await;
    let sparse = GarbageOptions {
        rewrite_below_percent: 100,
        ..options(at(5000))
    };
    let before = repository.preview_garbage(sparse).await.unwrap();
    assert!(before.rewritten.packs > 0, "{before:?}");
    // Of every pack, for all are needed by a point of now.
    let all = KeepOptions {
        lock: Some(LockRule {
            mode: LockMode::Governance,
            period: Duration::from_secs(9000),
        }),
        ..locking(at(5000))
    };
    repository.keep(epoch, all, None).await.unwrap();
    let locked = repository.collect_garbage(epoch, sparse).await.unwrap();
    assert_eq!(locked.rewritten.packs, 0, "{locked:?}");
}
