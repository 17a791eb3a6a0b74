//! Keeps what is asked of a store within bounds: bytes and requests per second, and operations at a
//! time. It waits; it never refuses, and never reorders what one caller does.
//!
//! Wrap it in a [`crate::RetryStore`], not the other way round: each try is a request of its own, and
//! the waiting here must not count against a time limit below.
//!
//! Bytes written are paid for before they move. A read or a listing is paid for when its size is known,
//! and whoever comes next waits for it: the bound holds over seconds, not over each single one.

mod bucket;

use crate::{
    ColdClass, KeyPrefix, LockAttempt, LockMode, ObjectKeeper, ObjectKey, ObjectLock, ObjectMeta,
    ObjectStore, PutMode, StoreError,
};
use bucket::Bucket;
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_types::Timestamp;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Entries of a listing that count as one request, as they do on S3.
const ENTRIES_PER_REQUEST: u64 = 1000;

/// Bounds on what is asked of a store; the default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes of objects per second, written and read together.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Requests per second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Operations at a time.
    pub concurrent: Option<NonZeroU32>,
}

/// Passes operations on to `S` as fast as the limits allow.
#[derive(Debug)]
pub struct LimitStore<S> {
    inner: S,
    bytes: Option<Mutex<Bucket>>,
    requests: Option<Mutex<Bucket>>,
    places: Option<Semaphore>,
}

impl<S: ObjectStore> LimitStore<S> {
    /// Wraps a store. What was not used of the last second may be used at once.
    pub fn new(inner: S, limits: StoreLimits) -> Self {
        let now = Instant::now();
        let bucket = |rate: u64| Mutex::new(Bucket::new(rate, now));
        Self {
            inner,
            bytes: limits.bytes_per_second.map(|rate| bucket(rate.get())),
            requests: limits
                .requests_per_second
                .map(|rate| bucket(u64::from(rate.get()))),
            places: limits.concurrent.map(|most| {
                let most = usize::try_from(most.get()).unwrap_or(Semaphore::MAX_PERMITS);
                Semaphore::new(most.min(Semaphore::MAX_PERMITS))
            }),
        }
    }

    /// Waits for a place and for its turn; the place is free again when the answer is dropped.
    async fn enter(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so the only outcome is a place.
        let place = match &self.places {
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        wait(self.requests.as_ref(), 1).await;
        wait(self.bytes.as_ref(), bytes).await;
        place
    }

    /// What the inner store does for objects, at our pace.
    async fn keeping<'a, T>(
        &'a self,
        operation: impl FnOnce(&'a dyn ObjectKeeper) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _place = self.enter(0).await;
        // Most of them ask first, then change something, and look again.
        self.pay(2, 0);
        match self.inner.keeper() {
            Some(keeper) => operation(keeper).await,
            None => Err(StoreError::no_keeper(self.describe())),
        }
    }

    /// Accounts for what an answer turned out to be; whoever comes next waits for it.
    fn pay(&self, requests: u64, bytes: u64) {
        for (bucket, amount) in [(&self.requests, requests), (&self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                let _ = take(bucket, amount);
            }
        }
    }
}

/// Takes `amount` now; yields when it will have been earned.
fn take(bucket: &Mutex<Bucket>, amount: u64) -> Instant {
    // A bucket is a pair of plain values: a poisoned one is still good.
    let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
    bucket.take(amount, Instant::now())
}

/// Also for nothing: what earlier reads turned out to be is waited for by whoever comes next.
async fn wait(bucket: Option<&Mutex<Bucket>>, amount: u64) {
    if let Some(bucket) = bucket {
        tokio::time::sleep_until(take(bucket, amount)).await;
    }
}

impl<S: ObjectStore> ObjectStore for LimitStore<S> {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let _place = self.enter(data.len() as u64).await;
            self.inner.put(key, data, mode).await
        })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let _place = self.enter(0).await;
            let read = self.inner.get(key).await?;
            self.pay(0, read.len() as u64);
            Ok(read)
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            // Paid when read: a caller may ask for more than there is, and get an error.
            let _place = self.enter(0).await;
            let read = self.inner.get_range(key, offset, len).await?;
            self.pay(0, read.len() as u64);
            Ok(read)
        })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            let _place = self.enter(0).await;
            self.inner.head(key).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            let _place = self.enter(0).await;
            let listed = self.inner.list(prefix).await?;
            self.pay(listed.len() as u64 / ENTRIES_PER_REQUEST, 0);
            Ok(listed)
        })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let _place = self.enter(0).await;
            self.inner.is_empty().await
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let _place = self.enter(0).await;
            self.inner.delete(key).await
        })
    }

    fn clear_folders<'a>(&'a self, prefix: &'a KeyPrefix) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.clear_folders(prefix)
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        self.inner.try_lock(holder)
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        self.inner.keeper().map(|_| self as &dyn ObjectKeeper)
    }

    fn stretch(&self) -> u64 {
        self.inner.stretch()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl<S: ObjectStore> ObjectKeeper for LimitStore<S> {
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.keeping(|keeper| keeper.can_lock()))
    }

    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>> {
        Box::pin(self.keeping(move |keeper| keeper.lock_of(key)))
    }

    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>> {
        Box::pin(self.keeping(move |keeper| keeper.extend_lock(key, mode, until)))
    }

    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.keeping(move |keeper| keeper.move_to(key, class)))
    }
}

#[cfg(test)]
mod tests {
    use super::{LimitStore, StoreLimits};
    use crate::{MemoryStore, ObjectKey, ObjectStore, PutMode};
    use bytes::Bytes;
    use std::num::{NonZeroU32, NonZeroU64};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::time::Instant;

    fn key(n: usize) -> ObjectKey {
        format!("k{n}").parse().unwrap()
    }

    async fn put(store: &impl ObjectStore, n: usize, len: usize) {
        let data = Bytes::from(vec![0; len]);
        store.put(&key(n), data, PutMode::CreateNew).await.unwrap();
    }

    fn seconds_since(began: Instant) -> u64 {
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_per_second_hold_over_writes_and_reads() {
        let limits = StoreLimits {
            bytes_per_second: NonZeroU64::new(1000),
            ..StoreLimits::default()
        };
        let store = LimitStore::new(MemoryStore::new(), limits);
        let began = Instant::now();
        put(&store, 0, 1000).await;
        assert_eq!(seconds_since(began), 0, "the first second is in hand");
        put(&store, 1, 5000).await;
        assert_eq!(seconds_since(began), 5, "an object may exceed a second");
        store.get(&key(1)).await.unwrap();
        assert_eq!(seconds_since(began), 5, "reads are paid for afterwards");
        store.get_range(&key(0), 0, 1000).await.unwrap();
        assert_eq!(seconds_since(began), 10, "by the next, be it a read");
        put(&store, 2, 1).await;
        assert_eq!(seconds_since(began), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_per_second_hold_for_racing_callers() {
        let limits = StoreLimits {
            requests_per_second: NonZeroU32::new(10),
            ..StoreLimits::default()
        };
        let store = LimitStore::new(MemoryStore::new(), limits);
        let began = Instant::now();
        let keys: Vec<_> = (0..110).map(key).collect();
        futures::future::join_all(keys.iter().map(|key| store.head(key))).await;
        assert_eq!(seconds_since(began), 10, "ten at once, then ten a second");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let rested = Instant::now();
        futures::future::join_all(keys.iter().take(20).map(|key| store.head(key))).await;
        assert_eq!(seconds_since(rested), 1, "an hour of rest earns one second");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_operations_at_a_time_than_allowed() {
        let limits = StoreLimits {
            concurrent: NonZeroU32::new(3),
            ..StoreLimits::default()
        };
        let store = LimitStore::new(MemoryStore::new(), limits);
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let work = (0..12).map(|_| async {
            let _place = store.enter(0).await;
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            inside.fetch_sub(1, Ordering::SeqCst);
        });
        let began = Instant::now();
        futures::future::join_all(work).await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(seconds_since(began), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_waits() {
        let store = LimitStore::new(MemoryStore::new(), StoreLimits::default());
        let began = Instant::now();
        for n in 0..100 {
            put(&store, n, 1_000).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
