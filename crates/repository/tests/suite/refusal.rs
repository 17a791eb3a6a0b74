//! Garbage in a store that refuses to delete it.

use crate::garbage::{at, options, tombstone};
use crate::late::LateStore;
use crate::place::TestStore;
use crate::support::{capture, create, files, open, point_id, restore};
use holdfast_repository::{Repository, VerifyLevel};
use holdfast_store::{KeyPrefix, ObjectStore};
use holdfast_types::Epoch;
use std::collections::BTreeSet;
use std::sync::Arc;

async fn names(store: &dyn ObjectStore, prefix: &str) -> BTreeSet<String> {
    let prefix: KeyPrefix = prefix.parse().unwrap();
    let listed = store.list(&prefix).await.unwrap().into_iter();
    listed.map(|found| found.key.to_string()).collect()
}

async fn collect(repository: &Repository, epoch: Epoch, seconds: u64) {
    let collected = repository.collect_garbage(epoch, options(at(seconds)));
    collected.await.unwrap();
}

/// What is refused stays and harms nobody, nothing is written again and again for it, and it goes when it may.
#[tokio::test]
async fn what_the_store_keeps_stays_until_it_may_go() {
    let bucket = Arc::new(TestStore::without_locks());
    let store = Arc::new(LateStore::new(bucket.clone()));
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        let files = files(u64::from(n));
        capture(&repository, epoch, n, &files).await.unwrap();
    }
    let before = names(&bucket, "packs").await;
    repository
        .tombstone_point(epoch, &tombstone(1, at(0)))
        .await
        .unwrap();
    repository
        .sweep_point(epoch, &point_id(1), at(5000))
        .await
        .unwrap();
    collect(&repository, epoch, 5000).await;

    store.keep_all(true);
    let mut indexes = Vec::new();
    for run in 2..6 {
        collect(&repository, epoch, 5000 * run).await;
        assert!(names(&bucket, "packs").await.is_superset(&before), "{run}");
        indexes.push(names(&bucket, "index").await);
    }
    assert_eq!(indexes[0], indexes[3], "nothing is written again and again");
    let other = open(store.clone()).await;
    let verified = other.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!(
        other.stats(),
        repository.stats(),
        "its chunks are gone all the same"
    );

    store.keep_all(false);
    collect(&repository, epoch, 50_000).await;
    let left = names(&bucket, "packs").await;
    assert!(!left.is_superset(&before), "{left:?}");
    for run in 11..14 {
        collect(&repository, epoch, 5000 * run).await;
    }
    assert!(names(&bucket, "tombstones").await.is_empty());
    let last = open(bucket).await;
    let verified = last.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!(restore(&last, 2).await.unwrap(), files(2));
}
