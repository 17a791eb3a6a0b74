//! The suite for every store, run on those of this crate and on each decorator.

use bytes::Bytes;
use holdfast_store::{
    CountingStore, DiskStore, FaultPlan, FaultStore, LimitStore, MemoryStore, ObjectKey,
    ObjectStore, PutMode, RetryPolicy, RetryStore, StoreLimits,
};
use holdfast_store_suite::conforms;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;

type Store = Arc<dyn ObjectStore>;

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
