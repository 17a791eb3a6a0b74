//! The chunks of extras are as safe as those of shards: garbage collection, checks, commits and copies know them.

use crate::copying::Twins;
use crate::garbage::{GRACE, at, options, tombstone};
use crate::place::TestStore;
use crate::support::{
    Files, capture, create, files, noise, open, point_id, rebuilt, restore, rot, store_files,
};
use holdfast_archive::{CapturedExtra, ExtraEntry, Manifest};
use holdfast_repository::{Repository, RepositoryError, VerifyLevel};
use holdfast_store::ObjectStore;
use holdfast_types::Epoch;
use std::collections::BTreeMap;
use std::sync::Arc;

fn dump(n: u32) -> Files {
    BTreeMap::from([(
        "files/var/dump".to_owned(),
        noise(9000 + u64::from(n), 400_000),
    )])
}

/// Captures the files of point `n` and an extra beside them. The manifest is not committed yet.
async fn stored(repository: &Repository, epoch: Epoch, n: u32) -> Manifest {
    let session = repository.begin(epoch).await.unwrap();
    let extra = store_files(repository, &session, n, &dump(n))
        .await
        .unwrap();
    let extra = extra.collections[0].shards[0].clone();
    let own = files(n.into());
    let mut manifest = store_files(repository, &session, n, &own).await.unwrap();
    manifest.nodes[0].extras = vec![ExtraEntry {
        name: "redis".parse().unwrap(),
        config: false,
        captured: Some(CapturedExtra {
            captured_at: extra.captured_at,
            recipe: extra.recipe,
            recipe_len: extra.recipe_len,
            recipe_hash: extra.recipe_hash,
            files: extra.files,
            bytes: extra.logical_bytes,
            warnings: vec![],
        }),
        missing: None,
    }];
    manifest.format = Manifest::format_of(&manifest.nodes);
    manifest
}

async fn commit(repository: &Repository, epoch: Epoch, n: u32) {
    let manifest = stored(repository, epoch, n).await;
    repository.commit_point(&manifest).await.unwrap();
}

/// The files of the extra of point `n`.
async fn extra(repository: &Repository, n: u32) -> Result<Files, RepositoryError> {
    let manifest = repository.read_point(&point_id(n)).await?;
    let (owner, stored) = manifest.recipes().last().unwrap();
    let recipe = repository
        .read_stored_recipe(&owner.to_string(), stored)
        .await?;
    rebuilt(repository, &manifest.namespace, recipe).await
}

async fn remove(repository: &Repository, epoch: Epoch, n: u32) {
    let stone = tombstone(n, at(0));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let later = at(0).after(GRACE);
    let swept = repository.sweep_point(epoch, &point_id(n), later).await;
    swept.unwrap();
}

/// The key of the largest pack whose loss spoils the extra of point 1, and nothing of its shard.
async fn pack_of_extra(store: &TestStore) -> holdfast_store::ObjectKey {
    let mut packs = store.list(&"packs".parse().unwrap()).await.unwrap();
    packs.sort_by_key(|found| std::cmp::Reverse(found.size));
    for found in packs {
        let without = crate::support::copy_of(store).await;
        without.delete(&found.key).await.unwrap();
        let without = open(without).await;
        let manifest = without.read_point(&point_id(1)).await.unwrap();
        let (owner, stored) = manifest.recipes().last().unwrap();
        let owner = owner.to_string();
        let known = without.read_stored_recipe(&owner, stored).await.is_ok();
        let shard = restore(&without, 1).await.is_ok();
        if known && shard && extra(&without, 1).await.is_err() {
            return found.key;
        }
    }
    panic!("no pack is needed by the extra alone")
}

#[tokio::test]
async fn garbage_collection_keeps_what_an_extra_needs_and_takes_it_with_the_point() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    commit(&repository, epoch, 1).await;
    commit(&repository, epoch, 2).await;
    let full = repository.stats().stored_bytes;
    remove(&repository, epoch, 1).await;
    for run in 1..4_u64 {
        let now = at(10_000 * run);
        repository
            .collect_garbage(epoch, options(now))
            .await
            .unwrap();
    }
    let left = repository.stats().stored_bytes;
    assert!(
        left < full * 2 / 3,
        "{left} of {full}: the extra of point 1 has gone"
    );
    // And what is there is known to a program that has just been started.
    let anew = open(store).await;
    assert_eq!(extra(&anew, 2).await.unwrap(), dump(2));
    assert_eq!(restore(&anew, 2).await.unwrap(), files(2));
    let verified = anew.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

#[tokio::test]
async fn no_point_is_committed_without_what_its_extra_needs() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let other = Arc::new(TestStore::without_locks());
    let elsewhere = create(other).await;
    let its_epoch = elsewhere.claim_epoch().await.unwrap();
    // Of a repository with other chunks: only the extra is not here.
    let foreign = stored(&elsewhere, its_epoch, 1).await;
    let session = repository.begin(epoch).await.unwrap();
    let mut manifest = store_files(&repository, &session, 1, &files(1))
        .await
        .unwrap();
    manifest.nodes[0].extras = foreign.nodes[0].extras.clone();
    manifest.format = 2;
    let refused = repository.commit_point(&manifest).await.unwrap_err();
    let incomplete = matches!(refused, RepositoryError::Incomplete { .. });
    assert!(incomplete, "{refused}");
    let none = repository.list_points().await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_check_names_the_extra_and_says_that_collections_are_whole() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    commit(&repository, epoch, 1).await;
    let pack = pack_of_extra(&store).await;
    rot(&store, &pack).await;
    let repository = open(store.clone()).await;
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(full.needs_attention());
    let affected = &full.affected[0];
    assert_eq!((affected.shards.len(), affected.extras.len()), (0, 1));
    let found = &affected.extras[0];
    assert_eq!((found.node.as_str(), found.name.as_str()), ("n1", "redis"));
    assert!(
        found.missing_chunks > 0 && !full.missing.is_empty(),
        "{full:?}"
    );
    let manifest = repository.read_point(&point_id(1)).await.unwrap();
    let (owner, stored) = manifest.recipes().last().unwrap();
    let whole = repository.is_whole(&owner.to_string(), stored).await;
    assert!(!whole.unwrap());
    // The next capture of the same files stores anew what is lost.
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    store_files(&repository, &session, 3, &dump(1))
        .await
        .unwrap();
    assert_eq!(extra(&repository, 1).await.unwrap(), dump(1));
}

#[tokio::test]
async fn a_copy_gets_extras_with_their_points() {
    let twins = Twins::new(0).await;
    commit(&twins.primary, twins.epoch, 1).await;
    capture(&twins.primary, twins.epoch, 2, &files(2))
        .await
        .unwrap();
    for n in 1..=2 {
        twins.bring(n).await.unwrap();
    }
    let alone = open(twins.theirs.clone()).await;
    assert_eq!(extra(&alone, 1).await.unwrap(), dump(1));
    let verified = alone.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}
