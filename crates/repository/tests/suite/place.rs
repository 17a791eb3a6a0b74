//! Where the suite keeps its repositories: in memory, or in a bucket of a real S3 server.
//!
//! Every test makes its stores here, so the same tests run over both: `s3.rs` runs this program once more, with an environment
//! that names a server. A store in the bucket is used as the coordinator uses one, with another try for what may pass.

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_store::{
    KeyPrefix, LockAttempt, MemoryStore, ObjectKeeper, ObjectKey, ObjectMeta, ObjectStore, PutMode,
    RetryPolicy, RetryStore, StoreError,
};
use holdfast_store_s3::{Credentials, S3Options, S3Store};
use holdfast_store_suite::S3Server;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The server's address. Memory is used without it.
pub(crate) const ENDPOINT: &str = "HOLDFAST_SUITE_S3_ENDPOINT";
/// The file with its keys.
pub(crate) const KEYS: &str = "HOLDFAST_SUITE_S3_KEYS";

/// Stores made by this process: each has a folder of its own.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A fresh and empty place.
pub(crate) struct TestStore {
    /// All of the store, or only its writer's lock, which a bucket does not have.
    memory: MemoryStore,
    bucket: Option<Bucket>,
}

struct Bucket {
    options: S3Options,
    store: OnceCell<RetryStore<S3Store>>,
}

impl TestStore {
    /// With a working writer lock.
    pub(crate) fn new() -> Self {
        Self::with(MemoryStore::new())
    }

    /// Without one, as a bucket is.
    pub(crate) fn without_locks() -> Self {
        Self::with(MemoryStore::without_locks())
    }

    /// Without one, and with locks for objects where it is in memory: the server's bucket has none.
    pub(crate) fn locking() -> Self {
        Self::with(MemoryStore::keeping_without_locks())
    }

    fn with(memory: MemoryStore) -> Self {
        let bucket = std::env::var(ENDPOINT).ok().map(|endpoint| {
            let n = MADE.fetch_add(1, Ordering::Relaxed);
            Bucket {
                options: S3Options {
                    prefix: format!("suite/{}-{n}", std::process::id()),
                    endpoint: Some(endpoint.parse().unwrap()),
                    path_style: true,
                    credentials: Credentials::Profile {
                        name: S3Server::WRITER.to_owned(),
                        file: Some(std::env::var_os(KEYS).unwrap().into()),
                    },
                    request_timeout: Duration::from_secs(4),
                    ..S3Options::new(S3Server::BUCKET)
                },
                store: OnceCell::new(),
            }
        });
        Self { memory, bucket }
    }

    async fn place(&self) -> &dyn ObjectStore {
        let Some(bucket) = &self.bucket else {
            return &self.memory;
        };
        let open = || async {
            let policy = RetryPolicy {
                attempts: 30,
                first_pause: Duration::from_millis(5),
                longest_pause: Duration::from_millis(200),
            };
            let opened = S3Store::open(bucket.options.clone()).await;
            RetryStore::new(opened.unwrap(), policy)
        };
        bucket.store.get_or_init(open).await
    }
}

impl ObjectStore for TestStore {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.place().await.put(key, data, mode).await })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.place().await.get(key).await })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.place().await.get_range(key, offset, len).await })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(async move { self.place().await.head(key).await })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(async move { self.place().await.list(prefix).await })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.place().await.is_empty().await })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.place().await.delete(key).await })
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        self.memory.try_lock(holder)
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        match &self.bucket {
            Some(_) => None,
            None => self.memory.keeper(),
        }
    }

    fn describe(&self) -> String {
        "a place for tests".to_owned()
    }
}

/// What becomes of an object on its way to the store, and when it gets there.
pub(crate) type OnPut = Box<dyn Fn(&ObjectKey, Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// A store with something in front of its puts.
pub(crate) struct HookedStore {
    pub(crate) inner: TestStore,
    pub(crate) on_put: OnPut,
}

impl ObjectStore for HookedStore {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let data = (self.on_put)(key, data).await;
            self.inner.put(key, data, mode).await
        })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.inner.get(key)
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.inner.get_range(key, offset, len)
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        self.inner.head(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        self.inner.list(prefix)
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.is_empty()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.delete(key)
    }

    fn describe(&self) -> String {
        "hooked".to_owned()
    }
}
