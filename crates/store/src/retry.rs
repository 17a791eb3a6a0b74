//! Tries again what may succeed a moment later. Call sites never loop themselves.
//!
//! A conditional put whose answer was lost is the delicate case: the second try finds the key taken,
//! perhaps by the first. Then the object is read back, and equal bytes count as our own success. Two
//! writers that may both put the *same* bytes under one key must therefore make them unique (an
//! epoch claim carries a random number for this).

use crate::{
    ColdClass, KeyPrefix, LockAttempt, LockMode, ObjectKeeper, ObjectKey, ObjectLock, ObjectMeta,
    ObjectStore, PutMode, StoreError,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_types::Timestamp;
use std::time::Duration;

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included; at least one is made.
    pub attempts: u32,
    /// Pause after the first failure; doubles with each further one.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// Six tries within about six seconds.
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// Pause after the `failures`-th failure: between half and all of the doubled pause, so that
    /// clients that failed together do not come back together.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(
                1_u32
                    .checked_shl(failures.saturating_sub(1))
                    .unwrap_or(u32::MAX),
            )
            .min(self.longest_pause);
        let spread = getrandom::u32().unwrap_or(0) % 1000;
        doubled / 2 + (doubled / 2).saturating_mul(spread) / 1000
    }
}

/// Retries every operation of `S` whose error says that it can be retried.
#[derive(Debug)]
pub struct RetryStore<S> {
    inner: S,
    policy: RetryPolicy,
}

impl<S: ObjectStore> RetryStore<S> {
    /// Wraps a store.
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    async fn retry<'a, T>(
        &'a self,
        mut operation: impl FnMut(&'a S) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            match operation(&self.inner).await {
                Ok(value) => return Ok(value),
                Err(error) => self.pause_or_give_up(error, &mut failures).await?,
            }
        }
    }

    /// The same of what a keeper does.
    async fn retry_keeping<'a, T>(
        &'a self,
        mut operation: impl FnMut(&'a dyn ObjectKeeper) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.retry(|inner| match inner.keeper() {
            Some(keeper) => operation(keeper),
            None => {
                let gone = StoreError::no_keeper(self.describe());
                Box::pin(async { Err(gone) })
            }
        })
        .await
    }

    async fn pause_or_give_up(
        &self,
        error: StoreError,
        failures: &mut u32,
    ) -> Result<(), StoreError> {
        *failures += 1;
        if !error.is_retryable() || *failures >= self.policy.attempts {
            return Err(error);
        }
        tracing::debug!(%error, failures, "store operation failed, trying again");
        tokio::time::sleep(self.policy.pause(*failures)).await;
        Ok(())
    }

    async fn put_retrying(
        &self,
        key: &ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> Result<(), StoreError> {
        let mut failures = 0;
        loop {
            match self.inner.put(key, data.clone(), mode).await {
                Ok(()) => return Ok(()),
                Err(StoreError::AlreadyExists { .. }) if failures > 0 => {
                    let found = self.get(key).await?;
                    return if found == data {
                        Ok(())
                    } else {
                        Err(StoreError::AlreadyExists { key: key.clone() })
                    };
                }
                Err(error) => self.pause_or_give_up(error, &mut failures).await?,
            }
        }
    }
}

impl<S: ObjectStore> ObjectStore for RetryStore<S> {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.put_retrying(key, data, mode))
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(self.retry(move |inner| inner.get(key)))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(self.retry(move |inner| inner.get_range(key, offset, len)))
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(self.retry(move |inner| inner.head(key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(self.retry(move |inner| inner.list(prefix)))
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.retry(S::is_empty))
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.retry(move |inner| inner.delete(key)))
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

/// Every one of these may be done twice without harm.
impl<S: ObjectStore> ObjectKeeper for RetryStore<S> {
    fn can_lock(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.retry_keeping(|keeper| keeper.can_lock()))
    }

    fn lock_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectLock>, StoreError>> {
        Box::pin(self.retry_keeping(move |keeper| keeper.lock_of(key)))
    }

    fn extend_lock<'a>(
        &'a self,
        key: &'a ObjectKey,
        mode: LockMode,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<ObjectLock, StoreError>> {
        Box::pin(self.retry_keeping(move |keeper| keeper.extend_lock(key, mode, until)))
    }

    fn move_to<'a>(
        &'a self,
        key: &'a ObjectKey,
        class: ColdClass,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.retry_keeping(move |keeper| keeper.move_to(key, class)))
    }
}

#[cfg(test)]
mod tests {
    use super::{RetryPolicy, RetryStore};
    use crate::{
        CountingStore, FaultKind, FaultPlan, FaultStore, MemoryStore, ObjectKey, ObjectStore,
        PutMode, StoreError,
    };
    use bytes::Bytes;
    use std::sync::Arc;
    use std::time::Duration;

    const QUICK: RetryPolicy = RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_micros(10),
        longest_pause: Duration::from_micros(50),
    };

    fn key() -> ObjectKey {
        "a".parse().unwrap()
    }

    #[tokio::test]
    async fn gives_up_after_the_last_attempt() {
        let counted = Arc::new(CountingStore::new(FaultStore::new(
            MemoryStore::new(),
            FaultPlan {
                fail_per_mille: 1000,
                ..FaultPlan::default()
            },
        )));
        let store = RetryStore::new(counted.clone(), QUICK);
        let error = store.get(&key()).await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(counted.counts().gets, 4);
    }

    #[tokio::test]
    async fn does_not_retry_what_cannot_succeed() {
        let counted = Arc::new(CountingStore::new(FaultStore::new(
            MemoryStore::new(),
            FaultPlan {
                fail_per_mille: 1000,
                kind: FaultKind::NoSpace,
                ..FaultPlan::default()
            },
        )));
        let store = RetryStore::new(counted.clone(), QUICK);
        let put = store.put(&key(), Bytes::new(), PutMode::Overwrite).await;
        assert!(matches!(put, Err(StoreError::NoSpace { .. })));
        assert_eq!(counted.counts().puts, 1);
    }

    #[tokio::test]
    async fn a_lost_answer_to_our_own_conditional_put_is_success() {
        let memory = Arc::new(MemoryStore::new());
        // Every put takes effect and none is acknowledged.
        let plan = FaultPlan {
            lose_answer_per_mille: 1000,
            ..FaultPlan::default()
        };
        let store = RetryStore::new(FaultStore::new(memory.clone(), plan), QUICK);
        let ours = Bytes::from_static(b"ours");
        store
            .put(&key(), ours.clone(), PutMode::CreateNew)
            .await
            .unwrap();
        assert_eq!(memory.get(&key()).await.unwrap(), ours);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let policy = RetryPolicy::default();
        assert!(policy.pause(1) <= policy.first_pause);
        assert!(policy.pause(1) >= policy.first_pause / 2);
        for failures in [6, 40, u32::MAX] {
            assert!(policy.pause(failures) <= policy.longest_pause);
            assert!(policy.pause(failures) >= policy.longest_pause / 2);
        }
    }
}
