//! Breaks a store on purpose, by a plan and a seed, so that a failing test can be run again.
//!
//! Only for tests. It never damages bytes: a store that does is tested by writing the damage into
//! the store underneath.

mod keeping;

use crate::{
    KeyPrefix, LockAttempt, ObjectKeeper, ObjectKey, ObjectMeta, ObjectStore, PutMode, StoreError,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The error that a planned fault shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultKind {
    /// [`StoreError::Unavailable`].
    #[default]
    Unavailable,
    /// [`StoreError::NoSpace`].
    NoSpace,
    /// [`StoreError::ReadOnly`].
    ReadOnly,
}

/// Whether the operation at which a store stops still takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEffect {
    /// The process died just before it.
    Before,
    /// The process died just after it, before it learnt of its success.
    After,
}

/// A crash: from this put or delete on, every operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopAt {
    /// Number of the put, delete, lock or move, the first being 1.
    pub mutation: u64,
    /// Whether that one takes effect.
    pub effect: StopEffect,
}

/// What goes wrong and how often. The default plan breaks nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Chooses which operations fail.
    pub seed: u64,
    /// Operations of a thousand that fail without effect.
    pub fail_per_mille: u16,
    /// Puts, deletes, locks and moves of a thousand that take effect and yet report a failure.
    pub lose_answer_per_mille: u16,
    /// How these failures look.
    pub kind: FaultKind,
    /// When to stop for good.
    pub stop_at: Option<StopAt>,
    /// From this put or delete on (the first being 1) the store is full, or read-only, by `kind`: puts fail, deletes fail only
    /// where nothing may be written, reads go on.
    pub refuse_from: Option<u64>,
}

/// Passes operations on to `S`, except for those the plan breaks.
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: S,
    plan: Mutex<FaultPlan>,
    operations: AtomicU64,
    mutations: AtomicU64,
    stopped: AtomicBool,
}

enum Verdict {
    Pass,
    Fail,
    LoseAnswer,
}

/// `SplitMix64` (Steele, Lea, Flood 2014): a good hash of seed and operation number.
fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl<S: ObjectStore> FaultStore<S> {
    /// Wraps a store.
    pub fn new(inner: S, plan: FaultPlan) -> Self {
        Self {
            inner,
            plan: Mutex::new(plan),
            operations: AtomicU64::new(0),
            mutations: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Breaks nothing any more, and a stopped store works again.
    pub fn heal(&self) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = FaultPlan::default();
        self.stopped.store(false, Ordering::SeqCst);
    }

    /// Goes on by another plan.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    fn plan(&self) -> FaultPlan {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts, deletes, locks and moves seen so far.
    pub fn mutations(&self) -> u64 {
        self.mutations.load(Ordering::SeqCst)
    }

    /// Whether the planned crash has happened.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn by_chance(&self) -> Verdict {
        let n = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let plan = self.plan();
        let draw = mix(plan.seed, n) % 1000;
        let fail = u64::from(plan.fail_per_mille);
        if draw < fail {
            Verdict::Fail
        } else if draw < fail + u64::from(plan.lose_answer_per_mille) {
            Verdict::LoseAnswer
        } else {
            Verdict::Pass
        }
    }

    fn judge_mutation(&self, is_put: bool) -> Verdict {
        let n = self.mutations.fetch_add(1, Ordering::SeqCst) + 1;
        let plan = self.plan();
        if plan.refuse_from.is_some_and(|first| n >= first)
            && (is_put || plan.kind != FaultKind::NoSpace)
        {
            return Verdict::Fail;
        }
        if self.is_stopped() {
            return Verdict::Fail;
        }
        match plan.stop_at {
            Some(stop) if n >= stop.mutation => {
                self.stopped.store(true, Ordering::SeqCst);
                match stop.effect {
                    StopEffect::After if n == stop.mutation => Verdict::LoseAnswer,
                    StopEffect::After | StopEffect::Before => Verdict::Fail,
                }
            }
            Some(_) | None => self.by_chance(),
        }
    }

    fn check_read(&self) -> Result<(), StoreError> {
        if self.is_stopped() {
            return Err(self.fault());
        }
        match self.by_chance() {
            Verdict::Fail => Err(self.fault()),
            Verdict::Pass | Verdict::LoseAnswer => Ok(()),
        }
    }

    fn fault(&self) -> StoreError {
        let (place, plan) = (self.inner.describe(), self.plan());
        let system = |kind| Arc::new(io::Error::from(kind));
        match plan.kind {
            FaultKind::Unavailable => StoreError::Unavailable {
                store: place,
                reason: format!("planned fault (seed {})", plan.seed),
            },
            FaultKind::NoSpace => StoreError::NoSpace {
                place,
                source: system(io::ErrorKind::StorageFull),
            },
            FaultKind::ReadOnly => StoreError::ReadOnly {
                place,
                source: system(io::ErrorKind::ReadOnlyFilesystem),
            },
        }
    }

    async fn mutate<T>(
        &self,
        is_put: bool,
        operation: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.judge_mutation(is_put) {
            Verdict::Pass => operation.await,
            Verdict::Fail => Err(self.fault()),
            Verdict::LoseAnswer => {
                operation.await?;
                Err(self.fault())
            }
        }
    }
}

impl<S: ObjectStore> ObjectStore for FaultStore<S> {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.mutate(true, self.inner.put(key, data, mode)))
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.inner.get(key).await
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.inner.get_range(key, offset, len).await
        })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.inner.head(key).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.inner.list(prefix).await
        })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check_read()?;
            self.inner.is_empty().await
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.mutate(false, self.inner.delete(key)))
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

#[cfg(test)]
mod tests {
    use super::{FaultPlan, FaultStore, StopAt, StopEffect};
    use crate::{KeyPrefix, MemoryStore, ObjectKey, ObjectStore, PutMode};
    use bytes::Bytes;
    use std::sync::Arc;

    fn key(n: usize) -> ObjectKey {
        format!("k{n}").parse().unwrap()
    }

    async fn survivors(effect: StopEffect) -> usize {
        let memory = Arc::new(MemoryStore::new());
        let stop_at = Some(StopAt {
            mutation: 3,
            effect,
        });
        let plan = FaultPlan {
            stop_at,
            ..FaultPlan::default()
        };
        let store = FaultStore::new(memory.clone(), plan);
        for n in 1..=5 {
            let put = store.put(&key(n), Bytes::new(), PutMode::CreateNew).await;
            assert_eq!(put.is_ok(), n < 3, "put {n}");
        }
        assert!(store.is_stopped());
        assert!(
            store.get(&key(1)).await.is_err(),
            "a dead process reads nothing"
        );
        let survivors = memory.list(&KeyPrefix::root()).await.unwrap().len();
        store.heal();
        assert!(store.get(&key(1)).await.is_ok());
        survivors
    }

    #[tokio::test]
    async fn stops_before_or_after_the_planned_put() {
        assert_eq!(survivors(StopEffect::Before).await, 2);
        assert_eq!(survivors(StopEffect::After).await, 3);
    }

    #[tokio::test]
    async fn one_seed_breaks_the_same_operations_each_time() {
        let run = async |seed| {
            let plan = FaultPlan {
                seed,
                fail_per_mille: 300,
                ..FaultPlan::default()
            };
            let store = FaultStore::new(MemoryStore::new(), plan);
            let mut outcomes = Vec::new();
            for n in 0..100 {
                let put = store.put(&key(n), Bytes::new(), PutMode::CreateNew).await;
                outcomes.push(put.is_ok());
            }
            outcomes
        };
        let first = run(7).await;
        assert_eq!(first, run(7).await);
        assert_ne!(first, run(8).await);
        let failed = first.iter().filter(|ok| !**ok).count();
        assert!((10..60).contains(&failed), "{failed} of 100 failed");
    }
}
