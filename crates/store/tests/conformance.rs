//! The suite for every store, run on those of this crate and on each decorator.

use bytes::Bytes;
use holdfast_store::{
    CountingStore, DiskStore, FaultPlan, FaultStore, LimitStore, MemoryStore, ObjectKey,
    ObjectStore, PutMode, RetryPolicy, RetryStore, StoreLimits,
};
use holdfast_store_suite::{can_not_lock, conforms, keeps, racers_end_with_the_longest_lock};
use std::num::{NonZeroU32, NonZeroU64};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;

type Store = Arc<dyn ObjectStore>;
type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory() {
    conforms(MemoryStore::new()).await;
    conforms(MemoryStore::without_locks()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disk() {
    let dir = tempfile::tempdir().unwrap();
    conforms(DiskStore::open(dir.path()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counting() {
    conforms(CountingStore::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_that_are_felt() {
    let limits = StoreLimits {
        bytes_per_second: NonZeroU64::new(100_000_000),
        requests_per_second: NonZeroU32::new(5_000),
        concurrent: NonZeroU32::new(2),
    };
    conforms(LimitStore::new(MemoryStore::new(), limits)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_that_breaks_nothing() {
    conforms(FaultStore::new(MemoryStore::new(), FaultPlan::default())).await;
}

/// A store that fails often, retried often enough, is as good as one that never fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn retry_over_faults() {
    for seed in 1..=5 {
        let plan = FaultPlan {
            seed,
            fail_per_mille: 200,
            lose_answer_per_mille: 200,
            ..FaultPlan::default()
        };
        let policy = RetryPolicy {
            attempts: 40,
            first_pause: Duration::from_micros(10),
            longest_pause: Duration::from_micros(100),
        };
        eprintln!("seed {seed}");
        conforms(RetryStore::new(
            FaultStore::new(MemoryStore::new(), plan),
            policy,
        ))
        .await;
    }
}

/// A store that locks, in memory, and what places holds of its own there.
fn keeping() -> (
    Arc<MemoryStore>,
    impl Fn(ObjectKey, bool) -> Done + Send + Sync,
) {
    let memory = Arc::new(MemoryStore::keeping());
    let hold = {
        let memory = memory.clone();
        move |key: ObjectKey, on| {
            memory.hold(&key, on);
            Box::pin(async {}) as Done
        }
    };
    (memory, hold)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keepers() {
    conforms(MemoryStore::keeping()).await;
    racers_end_with_the_longest_lock(MemoryStore::keeping()).await;
    let (memory, hold) = keeping();
    keeps(memory, &hold, true).await;
    let (memory, hold) = keeping();
    keeps(CountingStore::new(memory), &hold, true).await;
    let (memory, hold) = keeping();
    let limits = StoreLimits {
        requests_per_second: NonZeroU32::new(5_000),
        concurrent: NonZeroU32::new(2),
        ..StoreLimits::default()
    };
    keeps(LimitStore::new(memory, limits), &hold, true).await;
    let (memory, hold) = keeping();
    keeps(FaultStore::new(memory, FaultPlan::default()), &hold, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_keeper_retried_over_faults() {
    for seed in 1..=20 {
        let plan = FaultPlan {
            seed,
            fail_per_mille: 200,
            lose_answer_per_mille: 200,
            ..FaultPlan::default()
        };
        let policy = RetryPolicy {
            attempts: 40,
            first_pause: Duration::from_micros(10),
            longest_pause: Duration::from_micros(100),
        };
        eprintln!("seed {seed}");
        let (memory, hold) = keeping();
        let store = RetryStore::new(FaultStore::new(memory, plan), policy);
        keeps(store, &hold, false).await;
    }
}

#[tokio::test]
async fn places_without_locks_take_none() {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(dir.path()).unwrap();
    assert!(disk.keeper().is_none());
    assert!(MemoryStore::new().keeper().is_none());
    can_not_lock(disk).await;
    can_not_lock(MemoryStore::new()).await;
    can_not_lock(FaultStore::new(MemoryStore::new(), FaultPlan::default())).await;
}

/// Two processes that share a directory are two stores over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_disk_stores_over_one_directory_race_fairly() {
    let dir = tempfile::tempdir().unwrap();
    let stores: Vec<Store> = (0..4)
        .map(|_| Arc::new(DiskStore::open(dir.path()).unwrap()) as Store)
        .collect();
    for round in 0..20 {
        let key: ObjectKey = format!("race/{round}").parse().unwrap();
        let gate = Arc::new(Barrier::new(stores.len()));
        let racers: Vec<_> = stores
            .iter()
            .map(|store| {
                let (store, gate) = (store.clone(), gate.clone());
                let key = key.clone();
                tokio::spawn(async move {
                    gate.wait().await;
                    store
                        .put(&key, Bytes::new(), PutMode::CreateNew)
                        .await
                        .is_ok()
                })
            })
            .collect();
        let mut winners = 0;
        for racer in racers {
            winners += usize::from(racer.await.unwrap());
        }
        assert_eq!(winners, 1, "round {round}");
    }
}
