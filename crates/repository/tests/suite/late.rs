//! A store in which an object appears at an awkward moment: what a writer sent before it was deposed. It can also refuse to
//! delete anything, as one does where objects are locked or the credentials may only add.

use crate::place::TestStore;
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_store::{KeyPrefix, ObjectKey, ObjectMeta, ObjectStore, PutMode, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What arrives before the n-th listing of the prefix.
pub(crate) struct Arrival {
    pub(crate) prefix: KeyPrefix,
    pub(crate) nth: u32,
    pub(crate) key: ObjectKey,
    pub(crate) bytes: Bytes,
}

pub(crate) struct LateStore {
    inner: Arc<TestStore>,
    arrival: Mutex<Option<Arrival>>,
    keeps_all: AtomicBool,
}

impl LateStore {
    pub(crate) fn new(inner: Arc<TestStore>) -> Self {
        Self {
            inner,
            arrival: Mutex::default(),
            keeps_all: AtomicBool::default(),
        }
    }

    pub(crate) fn expect(&self, arrival: Arrival) {
        *self.arrival.lock().unwrap() = Some(arrival);
    }

    /// Whether deletions are refused from now on.
    pub(crate) fn keep_all(&self, keeps_all: bool) {
        self.keeps_all.store(keeps_all, Ordering::SeqCst);
    }

    /// Whether it is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.arrival.lock().unwrap().is_some()
    }

    fn due(&self, prefix: &KeyPrefix) -> Option<Arrival> {
        let mut arrival = self.arrival.lock().unwrap();
        let waiting = arrival.as_mut().filter(|it| it.prefix == *prefix)?;
        waiting.nth -= 1;
        if waiting.nth == 0 {
            arrival.take()
        } else {
            None
        }
    }
}

impl ObjectStore for LateStore {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.put(key, data, mode)
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
        Box::pin(async move {
            if let Some(late) = self.due(prefix) {
                self.inner
                    .put(&late.key, late.bytes, PutMode::CreateNew)
                    .await?;
            }
            self.inner.list(prefix).await
        })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.is_empty()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        if self.keeps_all.load(Ordering::SeqCst) {
            let place = key.to_string();
            let source = Arc::new(std::io::ErrorKind::PermissionDenied.into());
            return Box::pin(async { Err(StoreError::Permission { place, source }) });
        }
        self.inner.delete(key)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
