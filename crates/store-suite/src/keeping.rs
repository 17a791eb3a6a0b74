//! What [`ObjectKeeper`] promises, tried on one implementation.
//!
//! Nothing here waits for a lock to end: whether one is over is for its reader to judge, by a clock that it trusts.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a failed expectation is a failed test"
)]

use bytes::Bytes;
use holdfast_store::{
    ColdClass, LockMode, ObjectKeeper, ObjectKey, ObjectLock, ObjectStore, PutMode, StoreError,
};
use holdfast_types::Timestamp;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Barrier;

use ColdClass::{InfrequentAccess, InstantArchive};
use LockMode::{Compliance, Governance};

type Store = Arc<dyn ObjectStore>;
/// Places a hold of the store's own on an object, or lifts it: no user of the trait can.
type Hold<'a> =
    &'a (dyn Fn(ObjectKey, bool) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync);

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

fn keeper(store: &Store) -> &dyn ObjectKeeper {
    store.keeper().unwrap()
}

/// In so many hours, a quarter of a second past a second: locks are kept to the second.
fn ahead(hours: u32) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap();
    Timestamp::from_micros(seconds * 1_000_000 + 250_000).after(HOUR * hours)
}

/// Whether a lock asked for until then is kept to the second, rounded up.
fn is_until(lock: ObjectLock, asked: Timestamp) -> bool {
    lock.until >= asked
        && lock.until.since(asked) < SECOND
        && lock.until.as_micros() % 1_000_000 == 0
}

async fn written(store: &Store, name: &str) -> ObjectKey {
    let (key, body) = (key(name), Bytes::from(name.to_owned()));
    store.put(&key, body, PutMode::CreateNew).await.unwrap();
    key
}

async fn lock_of(store: &Store, key: &ObjectKey) -> Option<ObjectLock> {
    keeper(store).lock_of(key).await.unwrap()
}

async fn extend(store: &Store, key: &ObjectKey, mode: LockMode, until: Timestamp) -> ObjectLock {
    let extended = keeper(store).extend_lock(key, mode, until).await;
    let lock = extended.unwrap();
    assert_eq!(lock_of(store, key).await, Some(lock), "{key}");
    lock
}

async fn what_is_missing_is_named(store: &Store) {
    let absent = key("kept/absent");
    let errors = [
        keeper(store).lock_of(&absent).await.map(drop),
        keeper(store)
            .extend_lock(&absent, Governance, ahead(1))
            .await
            .map(drop),
        keeper(store)
            .move_to(&absent, InfrequentAccess)
            .await
            .map(drop),
    ];
    for (n, outcome) in errors.into_iter().enumerate() {
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, StoreError::NotFound { key } if *key == absent),
            "operation {n}: {error:?}"
        );
    }
}

async fn a_lock_is_extended_and_never_shortened(store: &Store) {
    let key = written(store, "kept/long").await;
    assert_eq!(lock_of(store, &key).await, None, "nobody locked it");
    let [short, middle, long] = [1, 2, 3].map(ahead);
    for (asked, kept) in [
        (middle, middle),
        (short, middle),
        (middle, middle),
        (long, long),
    ] {
        let lock = extend(store, &key, Governance, asked).await;
        assert_eq!(lock.mode, Governance);
        assert!(is_until(lock, kept), "{lock:?} for {kept}");
    }
    assert_eq!(store.get(&key).await.unwrap(), "kept/long");
    let other = written(store, "kept/long-not").await;
    assert_eq!(lock_of(store, &other).await, None, "only what was named");
}

async fn the_stricter_mode_stays(store: &Store) {
    let key = written(store, "kept/strict").await;
    let [short, middle, long] = [1, 2, 3].map(ahead);
    let strict = extend(store, &key, Compliance, middle).await;
    assert_eq!(strict.mode, Compliance);
    assert!(is_until(strict, middle), "{strict:?}");
    for (asked, kept) in [(short, middle), (long, long)] {
        let lock = extend(store, &key, Governance, asked).await;
        assert_eq!(lock.mode, Compliance, "{lock:?}");
        assert!(is_until(lock, kept), "{lock:?}");
    }
    // Whether the mode of a lock can be changed is the place's to say; its time is kept, and the rest done, in any case.
    let key = written(store, "kept/stricter").await;
    extend(store, &key, Governance, middle).await;
    for (asked, kept) in [(short, middle), (long, long)] {
        let lock = extend(store, &key, Compliance, asked).await;
        assert!(is_until(lock, kept), "{lock:?}");
    }
}

async fn a_hold_has_no_end_and_is_no_lock(store: &Store, hold: Hold<'_>) {
    let [bare, locked] = [
        written(store, "kept/held").await,
        written(store, "kept/held-and-locked").await,
    ];
    let until = ahead(1);
    let lock = extend(store, &locked, Compliance, until).await;
    for key in [&bare, &locked] {
        hold(key.clone(), true).await;
        let held = lock_of(store, key).await.unwrap();
        assert_eq!(held.until, Timestamp::MAX, "{key}");
    }
    assert_eq!(lock_of(store, &locked).await.unwrap().mode, Compliance);
    // It may be lifted at any time, so it is no reason to leave out a lock.
    let beneath = keeper(store).extend_lock(&bare, Governance, until).await;
    beneath.unwrap();
    for key in [&bare, &locked] {
        hold(key.clone(), false).await;
    }
    assert_eq!(lock_of(store, &locked).await, Some(lock));
    let left = lock_of(store, &bare).await.unwrap();
    assert!(is_until(left, until), "{left:?}");
}

async fn what_is_written_anew_has_no_lock(store: &Store) {
    let key = written(store, "kept/anew").await;
    extend(store, &key, Governance, ahead(1)).await;
    let anew = Bytes::from_static(b"other");
    store.put(&key, anew, PutMode::Overwrite).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "other");
    assert_eq!(lock_of(store, &key).await, None);
    extend(store, &key, Governance, ahead(1)).await;
}

/// Whoever comes last must not cut short what another has just been told. Not part of [`keeps`]: where looking and locking
/// are two requests, this is the place's own to keep, and SeaweedFS does not; only one coordinator locks at a time.
pub async fn racers_end_with_the_longest_lock(store: impl ObjectStore) {
    let store: &Store = &(Arc::new(store) as Store);
    let key = written(store, "kept/raced").await;
    let times = [1, 2, 3, 4, 5, 6].map(ahead);
    let gate = Arc::new(Barrier::new(times.len()));
    let racers: Vec<_> = times
        .into_iter()
        .map(|until| {
            let (store, key, gate) = (store.clone(), key.clone(), gate.clone());
            tokio::spawn(async move {
                gate.wait().await;
                let lock = keeper(&store).extend_lock(&key, Governance, until).await;
                (until, lock)
            })
        })
        .collect();
    for racer in racers {
        let (asked, lock) = racer.await.unwrap();
        let lock = lock.unwrap();
        assert!(lock.until >= asked, "{lock:?} for {asked}");
    }
    let left = lock_of(store, &key).await.unwrap();
    assert!(left.until >= times[5], "{left:?}: one of them cut it short");
}

async fn a_colder_class_keeps_the_bytes(store: &Store, exact: bool) {
    let key = written(store, "kept/cold").await;
    for (class, moved) in [
        (InfrequentAccess, true),
        (InfrequentAccess, false),
        (InstantArchive, true),
        // Never to a dearer one.
        (InfrequentAccess, false),
        (InstantArchive, false),
    ] {
        let outcome = keeper(store).move_to(&key, class).await;
        let said = outcome.unwrap();
        // After a lost answer another try finds it moved, and can't know by whom.
        assert!(said == moved || (!exact && !said), "{class:?}: {said}");
        assert_eq!(store.get(&key).await.unwrap(), "kept/cold");
    }
}

/// Tries every promise of a keeper that can lock. `exact`: no answer is lost below it, so that it knows for sure what it
/// has moved. Panics at the first promise that is broken.
pub async fn keeps(store: impl ObjectStore, hold: Hold<'_>, exact: bool) {
    let store: Store = Arc::new(store);
    assert!(keeper(&store).can_lock().await.unwrap());
    what_is_missing_is_named(&store).await;
    a_lock_is_extended_and_never_shortened(&store).await;
    the_stricter_mode_stays(&store).await;
    a_hold_has_no_end_and_is_no_lock(&store, hold).await;
    what_is_written_anew_has_no_lock(&store).await;
    a_colder_class_keeps_the_bytes(&store, exact).await;
}

/// Tries a place that can't lock: it says so, and takes no lock that it would not keep.
pub async fn can_not_lock(store: impl ObjectStore) {
    let store: Store = Arc::new(store);
    let Some(keeper) = store.keeper() else { return };
    assert!(!keeper.can_lock().await.unwrap());
    let key = written(&store, "kept/not").await;
    match keeper.lock_of(&key).await {
        Ok(lock) => assert_eq!(lock, None),
        // Buckets without locks refuse the question.
        Err(error) => assert!(!error.is_retryable(), "{error:?}"),
    }
    for mode in [Governance, Compliance] {
        let error = keeper.extend_lock(&key, mode, ahead(1)).await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
    }
}
