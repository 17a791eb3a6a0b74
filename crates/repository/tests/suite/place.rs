//! Where the suite keeps its repositories: in memory, or in a bucket of a real S3 server.
//!
//! Every test makes its stores here, so the same tests run over both: `s3.rs` runs this program once more, with an environment
//! that names a server. A store in the bucket is used as the coordinator uses one, with as many tries for what may pass, but shorter
//! pauses between them. Whatever is larger than a few KiB is uploaded in parts.

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_store::{
    ColdClass, KeyPrefix, LockAttempt, LockMode, MemoryStore, ObjectKeeper, ObjectKey, ObjectLock,
    ObjectMeta, ObjectStore, PutMode, RetryPolicy, RetryStore, StoreError,
};
use holdfast_store_s3::{Credentials, S3Options, S3Store};
use holdfast_store_suite::S3Server;
use holdfast_types::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::OnceCell;

/// The server's address. Memory is used without it.
pub(crate) const ENDPOINT: &str = "HOLDFAST_SUITE_S3_ENDPOINT";
/// The file with its keys.
pub(crate) const KEYS: &str = "HOLDFAST_SUITE_S3_KEYS";
/// Set if answers are lost on the way.
pub(crate) const FAULTS: &str = "HOLDFAST_SUITE_S3_FAULTS";

/// Packs and indexes of the suite are larger.
const IN_PARTS_ABOVE: usize = 16 << 10;
/// The clock of the tests begins at a multiple of this, so that the grid on which locks end lies as it does from the epoch on.
const GRID_SECONDS: u64 = 90_000;

/// Stores made by this process: each has a folder of its own.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A fresh and empty place.
pub(crate) struct TestStore {
    /// All of the store, or only its writer's lock, which a bucket does not have.
    memory: MemoryStore,
    /// What was moved to a cheaper class over a server, which the store does not tell.
    moved: Mutex<BTreeMap<ObjectKey, ColdClass>>,
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

    /// Without one, and with locks for objects.
    pub(crate) fn locking() -> Self {
        Self::with(MemoryStore::keeping_without_locks())
    }

    /// With a working writer lock, and with locks for objects.
    pub(crate) fn keeping() -> Self {
        Self::with(MemoryStore::keeping())
    }

    /// In the bucket of this server, whatever the environment says.
    pub(crate) fn at(endpoint: String, keys: PathBuf) -> Self {
        Self::with_server(MemoryStore::without_locks(), Some((endpoint, keys)))
    }

    fn with(memory: MemoryStore) -> Self {
        let server = std::env::var(ENDPOINT).ok();
        let server = server.map(|endpoint| (endpoint, std::env::var_os(KEYS).unwrap().into()));
        Self::with_server(memory, server)
    }

    fn with_server(memory: MemoryStore, server: Option<(String, PathBuf)>) -> Self {
        let bucket = if memory.keeper().is_some() {
            S3Server::LOCKING
        } else {
            S3Server::BUCKET
        };
        let bucket = server.map(|(endpoint, keys)| {
            let n = MADE.fetch_add(1, Ordering::Relaxed);
            Bucket {
                options: S3Options {
                    prefix: format!("suite/{}-{n}", std::process::id()),
                    endpoint: Some(endpoint.parse().unwrap()),
                    path_style: true,
                    credentials: Credentials::Profile {
                        name: S3Server::WRITER.to_owned(),
                        file: Some(keys),
                    },
                    request_timeout: Duration::from_secs(4),
                    multipart_threshold: IN_PARTS_ABOVE,
                    ..S3Options::new(bucket)
                },
                store: OnceCell::new(),
            }
        });
        Self {
            memory,
            moved: Mutex::default(),
            bucket,
        }
    }

    /// The class of an object that was moved.
    pub(crate) fn class_of(&self, key: &ObjectKey) -> Option<ColdClass> {
        match &self.bucket {
            Some(_) => self.moved.lock().unwrap().get(key).copied(),
            None => self.memory.class_of(key),
        }
    }

    async fn place(&self) -> &dyn ObjectStore {
        let Some(bucket) = &self.bucket else {
            return &self.memory;
        };
        let open = || async {
            let policy = RetryPolicy {
                first_pause: Duration::from_millis(20),
                longest_pause: Duration::from_millis(500),
                ..RetryPolicy::default()
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
        self.memory.keeper().map(|_| self as &dyn ObjectKeeper)
    }

    fn describe(&self) -> String {
        "a place for tests".to_owned()
    }
}

impl TestStore {
    async fn place_keeper(&self) -> &dyn ObjectKeeper {
        self.place().await.keeper().unwrap()
    }
}

impl ObjectKeeper for TestStore {
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.place_keeper().await.can_lock().await })
    }

    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>> {
        Box::pin(async move { self.place_keeper().await.lock_of(key).await })
    }

    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>> {
        Box::pin(async move {
            let keeper = self.place_keeper().await;
            keeper.extend_lock(key, mode, until).await
        })
    }

    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let moved = self.place_keeper().await.move_to(key, class).await?;
            self.moved.lock().unwrap().insert(key.clone(), class);
            Ok(moved)
        })
    }
}

/// When the clock of the tests begins: the epoch. A server takes no lock that is over, so there it is tomorrow or the day after.
pub(crate) fn beginning() -> Timestamp {
    static BEGINNING: OnceLock<Timestamp> = OnceLock::new();
    *BEGINNING.get_or_init(|| {
        if std::env::var_os(ENDPOINT).is_none() {
            return Timestamp::EPOCH;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let begins = (now.as_secs() / GRID_SECONDS + 2) * GRID_SECONDS;
        Timestamp::EPOCH.after(Duration::from_secs(begins))
    })
}

/// Whether a move that was answered by "it is there" may have been our own, whose answer was lost.
pub(crate) fn answers_are_lost() -> bool {
    std::env::var_os(FAULTS).is_some()
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
