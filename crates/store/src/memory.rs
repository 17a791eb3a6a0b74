//! Objects in memory: for tests, and as the simplest reading of the trait.

use crate::{
    ColdClass, KeyPrefix, LockAttempt, LockMode, ObjectKeeper, ObjectKey, ObjectLock, ObjectMeta,
    ObjectStore, PutMode, StoreError, StoreLock,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store that lives and dies with its process. Its clock counts writes instead of time.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<Objects>,
    lock: Option<Arc<Mutex<Option<String>>>>,
    /// Whether it locks and moves objects.
    keeps: bool,
}

#[derive(Debug, Default)]
struct Objects {
    by_key: BTreeMap<ObjectKey, (Bytes, Timestamp)>,
    writes: i64,
    /// Of what is there now: what is written anew has none, as in a bucket, where the former version keeps its lock.
    locks: BTreeMap<ObjectKey, ObjectLock>,
    held: BTreeSet<ObjectKey>,
    cold: BTreeMap<ObjectKey, ColdClass>,
}

impl Objects {
    /// Nothing is known of a version that is not there yet.
    fn forget(&mut self, key: &ObjectKey) {
        self.locks.remove(key);
        self.held.remove(key);
        self.cold.remove(key);
    }
}

/// Empties the holder's place when the lock is dropped.
struct Release(Arc<Mutex<Option<String>>>);

impl Drop for Release {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl MemoryStore {
    /// An empty store with a working writer lock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            objects: Mutex::default(),
            lock: Some(Arc::default()),
            keeps: false,
        }
    }

    /// An empty store without a writer lock, as a bucket is.
    #[must_use]
    pub fn without_locks() -> Self {
        Self::default()
    }

    /// An empty store that locks objects and moves them, as some buckets do. Like there, a deletion is not refused:
    /// whoever wants to obey a lock has to look for it.
    #[must_use]
    pub fn keeping() -> Self {
        Self {
            keeps: true,
            ..Self::new()
        }
    }

    /// The same without a writer lock.
    #[must_use]
    pub fn keeping_without_locks() -> Self {
        Self {
            keeps: true,
            ..Self::without_locks()
        }
    }

    /// The class of an object that was moved.
    pub fn class_of(&self, key: &ObjectKey) -> Option<ColdClass> {
        self.objects().cold.get(key).copied()
    }

    /// Places a hold of the store's own on an object, or lifts it.
    pub fn hold(&self, key: &ObjectKey, on: bool) {
        let mut objects = self.objects();
        if on {
            objects.held.insert(key.clone());
        } else {
            objects.held.remove(key);
        }
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        // Every critical section leaves the map consistent, so a poisoned one is still good.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_now(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<(), StoreError> {
        StoreError::check_size(key, data.len() as u64)?;
        let mut objects = self.objects();
        if mode == PutMode::CreateNew && objects.by_key.contains_key(key) {
            return Err(StoreError::AlreadyExists { key: key.clone() });
        }
        objects.writes += 1;
        let written = Timestamp::from_micros(objects.writes);
        objects.forget(key);
        objects.by_key.insert(key.clone(), (data, written));
        Ok(())
    }

    fn get_now(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        match self.objects().by_key.get(key) {
            Some((data, _)) => Ok(data.clone()),
            None => Err(StoreError::NotFound { key: key.clone() }),
        }
    }

    fn get_range_now(&self, key: &ObjectKey, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let data = self.get_now(key)?;
        let size = data.len() as u64;
        let end = offset.checked_add(len).filter(|end| *end <= size);
        let range =
            end.and_then(|end| Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?));
        match range {
            Some(range) => Ok(data.slice(range)),
            None => Err(StoreError::OutOfRange {
                key: key.clone(),
                offset,
                len,
                size,
            }),
        }
    }
}

fn meta(key: &ObjectKey, (data, modified): &(Bytes, Timestamp)) -> ObjectMeta {
    ObjectMeta {
        key: key.clone(),
        size: data.len() as u64,
        modified: *modified,
    }
}

impl ObjectStore for MemoryStore {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.put_now(key, data, mode) })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.get_now(key) })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.get_range_now(key, offset, len) })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(async move { Ok(self.objects().by_key.get(key).map(|found| meta(key, found))) })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            let objects = self.objects();
            let inside = objects
                .by_key
                .iter()
                .filter(|(key, _)| prefix.contains(key));
            Ok(inside.map(|(key, found)| meta(key, found)).collect())
        })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.objects().by_key.is_empty()) })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut objects = self.objects();
            objects.forget(key);
            objects.by_key.remove(key);
            Ok(())
        })
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        Box::pin(async move {
            let Some(place) = &self.lock else {
                return Ok(LockAttempt::Unsupported);
            };
            let mut current = place.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(match current.clone() {
                Some(holder) => LockAttempt::Busy { holder },
                None => {
                    *current = Some(holder.to_owned());
                    LockAttempt::Held(StoreLock::new(Release(place.clone())))
                }
            })
        })
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        self.keeps.then_some(self as &dyn ObjectKeeper)
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

impl ObjectKeeper for MemoryStore {
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }

    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>> {
        Box::pin(async move {
            self.get_now(key)?;
            let objects = self.objects();
            let lock = objects.locks.get(key).copied();
            Ok(if objects.held.contains(key) {
                Some(ObjectLock {
                    mode: lock.map_or(LockMode::Governance, |lock| lock.mode),
                    until: Timestamp::MAX,
                })
            } else {
                lock
            })
        })
    }

    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>> {
        Box::pin(async move {
            self.get_now(key)?;
            let until = Timestamp::from_micros(
                until
                    .as_micros()
                    .saturating_add(999_999)
                    .div_euclid(1_000_000)
                    * 1_000_000,
            );
            let mut objects = self.objects();
            let lock = objects
                .locks
                .entry(key.clone())
                .or_insert(ObjectLock { mode, until });
            lock.until = lock.until.max(until);
            if mode == LockMode::Compliance {
                lock.mode = mode;
            }
            Ok(*lock)
        })
    }

    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.get_now(key)?;
            let mut objects = self.objects();
            let now = objects.cold.get(key).copied();
            let colder = match class {
                ColdClass::InfrequentAccess => now.is_none(),
                ColdClass::InstantArchive => now != Some(class),
            };
            if colder {
                objects.cold.insert(key.clone(), class);
            }
            Ok(colder)
        })
    }
}
