//! What is locked and moved when, what a wrong clock may not do, and what is told of it.

use super::{Due, Keeping, Place};
use crate::core::Core;
use crate::fixture::{commit_point_at, config, repository_in};
use crate::start::open_core;
use bytes::Bytes;
use holdfast_repository::{ColdRule, LockRule, RepositoryError};
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use holdfast_service::shutdown::Shutdown;
use holdfast_store::{
    ColdClass, LockMode, MemoryStore, ObjectKeeper as _, ObjectKey, ObjectStore as _, PutMode,
};
use holdfast_types::{RecoveryPointId, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

const DAY: Duration = Duration::from_hours(24);
const CLASS: ColdClass = ColdClass::InfrequentAccess;

/// A coordinator whose repository has one recovery point, ten days old.
struct Scene {
    core: Core,
    clock: FixedClock,
    store: Arc<MemoryStore>,
    point: RecoveryPointId,
    committed: Timestamp,
    _dir: TempDir,
}

fn keeping(lock_days: Option<u32>, cold_days: Option<u32>) -> Keeping {
    Keeping {
        lock: lock_days.map(|days| LockRule {
            mode: LockMode::Governance,
            period: DAY * days,
        }),
        cold: cold_days.map(|days| ColdRule {
            class: CLASS,
            after: DAY * days,
        }),
        obeys: OnceCell::new_with(Some(true)),
        due: Mutex::new(Due::default()),
        wake: Notify::new(),
    }
}

impl Scene {
    async fn new(lock_days: Option<u32>, cold_days: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = FixedClock::new(SystemClock.now());
        let time = Arc::new(clock.clone());
        let opened = open_core(&config(dir.path()), Shutdown::new(), time).await;
        let mut core = Arc::try_unwrap(opened.unwrap()).expect("nobody else has it");
        let store = Arc::new(MemoryStore::keeping());
        let committed = clock.now().before(DAY * 10);
        core.repository = repository_in(Arc::clone(&store)).await;
        let point = commit_point_at(&core.repository, committed).await;
        // Above the claim of the commit.
        core.epoch = core.repository.claim_epoch().await.unwrap();
        core.keeping = keeping(lock_days, cold_days);
        Self {
            core,
            clock,
            store,
            point,
            committed,
            _dir: dir,
        }
    }

    async fn pass(&self) {
        let failed = |error: &RepositoryError| self.core.repository_failed(error);
        let place = Place {
            repository: &self.core.repository,
            failed: &failed,
        };
        self.core.keeping.pass(&self.core, &place).await;
    }

    async fn keys(&self, prefix: &str) -> Vec<ObjectKey> {
        let listed = self.store.list(&prefix.parse().unwrap()).await.unwrap();
        let keys: Vec<_> = listed.into_iter().map(|found| found.key).collect();
        assert!(!keys.is_empty(), "{prefix}");
        keys
    }

    /// The class of every pack.
    async fn classes(&self) -> Vec<Option<ColdClass>> {
        let packs = self.keys("packs").await;
        packs.iter().map(|pack| self.store.class_of(pack)).collect()
    }

    /// Until when each pack, each manifest and each key file is locked.
    async fn locks(&self) -> BTreeSet<Option<Timestamp>> {
        let mut locks = BTreeSet::new();
        for prefix in ["packs", "points", "keys"] {
            for key in self.keys(prefix).await {
                let lock = self.store.lock_of(&key).await.unwrap();
                locks.insert(lock.map(|lock| lock.until));
            }
        }
        locks
    }
}

#[tokio::test]
async fn only_packs_of_old_points_are_moved() {
    for (days, class) in [(11, None), (9, Some(CLASS))] {
        let scene = Scene::new(None, Some(days)).await;
        scene.pass().await;
        assert_eq!(scene.classes().await, [class], "after {days} days");
        for other in ["points", "index", "keys"] {
            for key in scene.keys(other).await {
                assert_eq!(scene.store.class_of(&key), None, "{key}");
            }
        }
        assert_eq!(scene.locks().await, BTreeSet::from([None]));
        assert_eq!(scene.core.keeping.warnings(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn packs_are_looked_at_again_when_data_was_rewritten_and_not_for_each_new_point() {
    let mut scene = Scene::new(None, Some(11)).await;
    scene.pass().await;
    scene.core.keeping.cold = keeping(None, Some(9)).cold;
    scene.core.keeping.committed(&scene.point);
    scene.pass().await;
    assert_eq!(scene.classes().await, [None], "nothing was due");
    scene.core.keeping.rewritten();
    scene.pass().await;
    assert_eq!(scene.classes().await, [Some(CLASS)]);
}

#[tokio::test]
async fn what_a_new_point_needs_is_locked_at_once_and_nothing_is_moved_for_it() {
    let scene = Scene::new(Some(32), Some(9)).await;
    scene.core.keeping.due().looked = Some(Instant::now());
    scene.core.keeping.committed(&scene.point);
    scene.pass().await;
    let (from, to) = (
        scene.committed.after(DAY * 32),
        scene.committed.after(DAY * 33),
    );
    let locked = |until: Timestamp| (from..=to).contains(&until);
    let pack = scene.keys("packs").await.remove(0);
    let lock = scene.store.lock_of(&pack).await.unwrap();
    assert!(lock.is_some_and(|lock| locked(lock.until)), "{lock:?}");
    assert_eq!(scene.classes().await, [None]);
    assert!(scene.core.keeping.due().points.is_empty());
    scene.core.keeping.rewritten();
    scene.pass().await;
    let locks = scene.locks().await;
    assert!(locks.iter().all(|until| until.is_some()), "{locks:?}");
    assert_eq!(scene.classes().await, [None], "what is locked is not moved");
}

#[tokio::test]
async fn a_wrong_clock_neither_locks_nor_moves_and_that_is_told_until_it_is_right() {
    for (lock, cold, risk) in [
        (Some(30), None, "can still be deleted by whoever may write"),
        (None, Some(9), "stay in the dearer storage class"),
    ] {
        let scene = Scene::new(lock, cold).await;
        let right = scene.clock.now();
        for wrong in [right.after(DAY), right.before(DAY)] {
            scene.clock.set(wrong);
            scene.pass().await;
            assert_eq!(scene.locks().await, BTreeSet::from([None]), "{wrong}");
            assert_eq!(scene.classes().await, [None], "{wrong}");
            let warnings = scene.core.keeping.warnings();
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            for words in ["the clock jumped by", "set the clocks by NTP", risk] {
                assert!(warnings[0].contains(words), "{words:?}: {warnings:?}");
            }
        }
        scene.clock.set(right);
        scene.pass().await;
        assert_eq!(scene.core.keeping.warnings(), Vec::<String>::new());
        let locked = scene.locks().await.iter().all(|until| until.is_some());
        assert_eq!(
            (locked, scene.classes().await),
            match cold {
                None => (true, vec![None]),
                Some(_) => (false, vec![Some(CLASS)]),
            }
        );
    }
}

#[tokio::test]
async fn nothing_is_moved_while_a_point_can_not_be_read() {
    let scene = Scene::new(None, Some(9)).await;
    let manifest = scene.keys("points").await.remove(0);
    let sound = scene.store.get(&manifest).await.unwrap();
    let put = async |bytes: Bytes| {
        let put = scene.store.put(&manifest, bytes, PutMode::Overwrite);
        put.await.unwrap();
    };
    put(Bytes::from_static(b"rotten")).await;
    scene.pass().await;
    assert_eq!(scene.classes().await, [None]);
    let warnings = scene.core.keeping.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(scene.point.as_str()), "{warnings:?}");
    put(sound).await;
    scene.pass().await;
    assert_eq!(scene.classes().await, [Some(CLASS)], "it was due again");
    assert_eq!(scene.core.keeping.warnings(), Vec::<String>::new());
}
