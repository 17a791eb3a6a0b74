//! Verification: a sound repository is sound, and what a quick check sees and a full one.

use crate::support::{capture, chunk, create, files, open, point_id, restore};
use bytes::{Bytes, BytesMut};
use holdfast_archive::Codec;
use holdfast_repository::{Damage, Repository, VerifyLevel};
use holdfast_store::{MemoryStore, ObjectKey, ObjectStore, PutMode};
use holdfast_types::ChunkId;
use std::sync::Arc;

async fn captured() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&repository, epoch, n, &files(n.into()))
            .await
            .unwrap();
    }
    (store, repository)
}

/// The key of a pack that holds a chunk which only point 1 needs: the largest file's.
async fn pack_of_point_1(store: &MemoryStore, repository: &Repository) -> ObjectKey {
    for found in store.list(&"packs".parse().unwrap()).await.unwrap() {
        let without = crate::support::copy_of(store).await;
        without.delete(&found.key).await.unwrap();
        let reopened = open(without).await;
        if restore(&reopened, 1).await.is_err() && restore(&reopened, 2).await.is_ok() {
            return found.key;
        }
    }
    panic!(
        "{} packs, none of which only point 1 needs",
        repository.stats().packs
    )
}

#[tokio::test]
async fn a_sound_repository_is_found_sound() {
    let (_, repository) = captured().await;
    let quick = repository.verify(VerifyLevel::Quick).await.unwrap();
    assert!(quick.is_sound(), "{quick:?}");
    assert_eq!((quick.points, quick.bytes_read), (2, 0));
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(full.is_sound(), "{full:?}");
    let stats = repository.stats();
    assert_eq!((full.packs, full.chunks), (stats.packs, stats.chunks));
    assert_eq!(full.bytes_read, stats.stored_bytes);
}

#[tokio::test]
async fn damage_is_traced_to_the_points_it_concerns_and_healed_by_a_capture() {
    let (store, repository) = captured().await;
    let pack = pack_of_point_1(&store, &repository).await;
    let sound = store.get(&pack).await.unwrap();
    // Every chunk of it, so that whichever point 1 needs is hit.
    let rotten: Bytes = sound.iter().map(|byte| byte ^ 1).collect();
    store.put(&pack, rotten, PutMode::Overwrite).await.unwrap();

    let repository = open(store.clone()).await;
    let quick = repository.verify(VerifyLevel::Quick).await.unwrap();
    assert!(
        quick.damaged.is_empty(),
        "a quick check reads no chunks: {quick:?}"
    );
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    let named: Vec<_> = full
        .damaged
        .iter()
        .map(|found| found.object.as_str())
        .collect();
    assert_eq!(named, [pack.as_str()]);
    assert_eq!(full.affected.len(), 1, "{full:?}");
    let affected = &full.affected[0];
    assert_eq!(affected.id, point_id(1));
    assert!(affected.shards[0].missing_chunks > 0 || affected.shards[0].recipe.is_some());

    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 3, &files(1)).await.unwrap();
    for n in [1, 3] {
        assert_eq!(
            restore(&repository, n).await.unwrap(),
            files(1),
            "point {n}"
        );
    }
    assert_eq!(restore(&open(store).await, 1).await.unwrap(), files(1));
}

#[tokio::test]
async fn a_full_check_finds_a_chunk_stored_under_a_wrong_name() {
    let (_, repository) = captured().await;
    let epoch = repository.newest_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let (_, len, data) = chunk(&repository, 4, 5000);
    let wrong = ChunkId::from_bytes([3; 32]);
    session.put(wrong, Codec::Stored, len, data).await.unwrap();
    session.flush().await.unwrap();
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    assert_eq!(full.damaged.len(), 1, "{full:?}");
    assert!(matches!(full.damaged[0].damage, Damage::Hash));
    assert!(!repository.has_chunk(&wrong));
    assert!(full.affected.is_empty());
}

#[tokio::test]
async fn a_quick_check_sees_what_is_missing_or_cut() {
    for cut in [true, false] {
        let (store, repository) = captured().await;
        let pack = pack_of_point_1(&store, &repository).await;
        if cut {
            let mut short = BytesMut::from(&store.get(&pack).await.unwrap()[..]);
            short.truncate(short.len() - 1);
            store
                .put(&pack, short.freeze(), PutMode::Overwrite)
                .await
                .unwrap();
        } else {
            store.delete(&pack).await.unwrap();
        }
        let quick = repository.verify(VerifyLevel::Quick).await.unwrap();
        assert_eq!(quick.damaged[0].object, pack.as_str());
        assert_eq!(quick.affected.len(), 1, "{quick:?}");
        assert_eq!(quick.affected[0].id, point_id(1));
    }
}
