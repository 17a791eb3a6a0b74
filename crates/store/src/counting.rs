//! Counts what is asked of a store, for tests that bound the number of calls and for metrics.

use crate::{
    KeyPrefix, LockAttempt, ObjectKeeper, ObjectKey, ObjectMeta, ObjectStore, PutMode, StoreError,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls made and bytes moved since the store was wrapped. Failed calls count as calls only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Calls of `put`.
    pub puts: u64,
    /// Calls of `get`.
    pub gets: u64,
    /// Calls of `get_range`.
    pub range_gets: u64,
    /// Calls of `head`.
    pub heads: u64,
    /// Calls of `list`.
    pub lists: u64,
    /// Calls of `delete`.
    pub deletes: u64,
    /// Bytes of objects written.
    pub bytes_written: u64,
    /// Bytes read, whole objects and ranges.
    pub bytes_read: u64,
}

#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    gets: AtomicU64,
    range_gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    bytes_written: AtomicU64,
    bytes_read: AtomicU64,
}

/// Counts the calls that pass through to `S`.
#[derive(Debug)]
pub struct CountingStore<S> {
    inner: S,
    counters: Counters,
}

fn add(counter: &AtomicU64, n: u64) {
    // Only ever read as a sum: no other memory depends on the order.
    counter.fetch_add(n, Ordering::Relaxed);
}

impl<S> CountingStore<S> {
    /// Starts counting at zero.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            counters: Counters::default(),
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> StoreCounts {
        let c = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounts {
            puts: read(&c.puts),
            gets: read(&c.gets),
            range_gets: read(&c.range_gets),
            heads: read(&c.heads),
            lists: read(&c.lists),
            deletes: read(&c.deletes),
            bytes_written: read(&c.bytes_written),
            bytes_read: read(&c.bytes_read),
        }
    }
}

impl<S: ObjectStore> ObjectStore for CountingStore<S> {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        add(&self.counters.puts, 1);
        Box::pin(async move {
            let size = data.len() as u64;
            self.inner.put(key, data, mode).await?;
            add(&self.counters.bytes_written, size);
            Ok(())
        })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        add(&self.counters.gets, 1);
        Box::pin(async move {
            let data = self.inner.get(key).await?;
            add(&self.counters.bytes_read, data.len() as u64);
            Ok(data)
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        add(&self.counters.range_gets, 1);
        Box::pin(async move {
            let data = self.inner.get_range(key, offset, len).await?;
            add(&self.counters.bytes_read, data.len() as u64);
            Ok(data)
        })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        add(&self.counters.heads, 1);
        self.inner.head(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        add(&self.counters.lists, 1);
        self.inner.list(prefix)
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        add(&self.counters.lists, 1);
        self.inner.is_empty()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        add(&self.counters.deletes, 1);
        self.inner.delete(key)
    }

    fn clear_folders<'a>(&'a self, prefix: &'a KeyPrefix) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.clear_folders(prefix)
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        self.inner.try_lock(holder)
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        self.inner.keeper()
    }

    fn stretch(&self) -> u64 {
        self.inner.stretch()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::{CountingStore, StoreCounts};
    use crate::{MemoryStore, ObjectKey, ObjectStore, PutMode};
    use bytes::Bytes;

    #[tokio::test]
    async fn counts_calls_and_bytes() {
        let store = CountingStore::new(MemoryStore::new());
        let key: ObjectKey = "a".parse().unwrap();
        let body = Bytes::from_static(b"12345");
        store
            .put(&key, body.clone(), PutMode::CreateNew)
            .await
            .unwrap();
        store.put(&key, body, PutMode::CreateNew).await.unwrap_err();
        store.get(&key).await.unwrap();
        store.get_range(&key, 1, 2).await.unwrap();
        let want = StoreCounts {
            puts: 2,
            gets: 1,
            range_gets: 1,
            bytes_written: 5,
            bytes_read: 7,
            ..StoreCounts::default()
        };
        assert_eq!(store.counts(), want);
    }
}
