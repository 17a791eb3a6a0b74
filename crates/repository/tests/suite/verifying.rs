//! Verification: a sound repository is sound, and what a quick check sees and a full one.

use crate::place::TestStore;
use crate::support::{
    capture, chunk, copy_of, create, files, open, pack_of, point_id, restore, store_files,
    store_files_in,
};
use bytes::{Bytes, BytesMut};
use holdfast_archive::{Codec, Extent, FileClass, FileRecipe, Manifest, ShardRecipe};
use holdfast_repository::{Damage, Repository, VerifyLevel, VerifyOptions, WriteSession};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::{ChunkId, Timestamp};
use std::sync::Arc;

async fn captured() -> (Arc<TestStore>, Repository) {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&repository, epoch, n, &files(n.into()))
            .await
            .unwrap();
    }
    (store, repository)
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
    let (store, _) = captured().await;
    let pack = pack_of(&store, 1).await;
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
async fn a_name_that_nothing_explains_is_counted_and_not_believed() {
    let (_, repository) = captured().await;
    let epoch = repository.newest_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let (_, len, data) = chunk(&repository, 4, 5000);
    let wrong = ChunkId::from_bytes([3; 32]);
    session.put(wrong, Codec::Stored, len, data).await.unwrap();
    session.flush().await.unwrap();
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(full.is_sound(), "no point names it: {full:?}");
    assert_eq!(full.unexplained, 1);
    assert!(!repository.has_chunk(&wrong));
    let quick = repository.verify(VerifyLevel::Quick).await.unwrap();
    assert!(quick.is_sound(), "{quick:?}");
}

#[tokio::test]
async fn a_point_that_names_a_wrong_chunk_makes_it_damage() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let (_, len, data) = chunk(&repository, 4, 5000);
    let wrong = ChunkId::from_bytes([3; 32]);
    session.put(wrong, Codec::Stored, len, data).await.unwrap();
    let mut manifest = store_files(&repository, &session, 1, &files(1))
        .await
        .unwrap();
    let extent = Extent::Chunk { id: wrong, len };
    rewrite_recipe(&repository, &session, &mut manifest, vec![extent]).await;
    repository.commit_point(&manifest).await.unwrap();
    let full = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(matches!(full.damaged[0].damage, Damage::Hash), "{full:?}");
    assert_eq!(full.affected[0].shards[0].missing_chunks, 1, "{full:?}");
    assert_eq!(full.unexplained, 0);
}

#[tokio::test]
async fn chunks_of_other_namespaces_are_explained_by_the_points_that_name_them() {
    let (store, repository) = captured().await;
    let epoch = repository.newest_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let tenant = "tenant-b".parse().unwrap();
    let manifest = store_files_in(&tenant, &repository, &session, 3, &files(3))
        .await
        .unwrap();
    let before = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(before.is_sound(), "{before:?}");
    assert!(before.unexplained > 0, "no point names the namespace yet");
    // Whoever captures says so, and a capture under way goes on as if nothing was checked.
    let mut told = VerifyOptions::read_only(VerifyLevel::Full, Timestamp::EPOCH);
    told.namespaces = vec![tenant];
    let told = repository.verify_with(&told, &()).await.unwrap();
    assert!(told.is_sound() && told.unexplained == 0, "{told:?}");
    repository.commit_point(&manifest).await.unwrap();
    for repository in [repository, open(store).await] {
        let full = repository.verify(VerifyLevel::Full).await.unwrap();
        assert!(full.is_sound(), "{full:?}");
        assert_eq!((full.unexplained, full.points), (0, 3));
        assert_eq!(restore(&repository, 3).await.unwrap(), files(3));
    }
}

#[tokio::test]
async fn a_quick_check_sees_what_is_missing_or_cut() {
    for cut in [true, false] {
        let (store, repository) = captured().await;
        let pack = pack_of(&store, 1).await;
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

/// Lets the manifest's first shard consist of one file of these chunks of 5000 bytes.
async fn rewrite_recipe(
    repository: &Repository,
    session: &WriteSession,
    manifest: &mut Manifest,
    extents: Vec<Extent>,
) {
    let encoded = ShardRecipe::new(vec![FileRecipe {
        path: "a".to_owned(),
        size: 5000 * extents.len() as u64,
        class: FileClass::General,
        extents,
    }]);
    let encoded = encoded.encode().unwrap();
    let shard = &mut manifest.collections[0].shards[0];
    shard.recipe_len = encoded.len() as u64;
    shard.recipe_hash = ShardRecipe::hash(&encoded)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let key = repository.chunk_key(&repository.namespace());
    shard.recipe = session.put_recipe(key, encoded).await.unwrap();
    session.flush().await.unwrap();
}

/// One point of two collections that share nothing, and the packs that only the first one needs.
async fn two_collections() -> (Arc<TestStore>, Vec<ObjectKey>) {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let [mut first, mut second] = [files(1), files(2)];
    first.remove("shared.json");
    second.remove("shared.json");
    let mut manifest = store_files(&repository, &session, 1, &first).await.unwrap();
    let packs = store.list(&"packs".parse().unwrap()).await.unwrap();
    let other = store_files(&repository, &session, 1, &second)
        .await
        .unwrap();
    let mut other = other.collections.into_iter().next().unwrap();
    other.name = "other".parse().unwrap();
    manifest.collections.push(other);
    repository.commit_point(&manifest).await.unwrap();
    (store, packs.into_iter().map(|found| found.key).collect())
}

#[tokio::test]
async fn bit_rot_is_found_by_reading_a_collection() {
    let (sound, packs) = two_collections().await;
    let mut found = 0;
    for pack in packs {
        let store = copy_of(sound.as_ref()).await;
        let mut rotten = BytesMut::from(&store.get(&pack).await.unwrap()[..]);
        // The first chunk begins at byte 56.
        rotten[60] ^= 1;
        let rotten = rotten.freeze();
        store.put(&pack, rotten, PutMode::Overwrite).await.unwrap();
        let repository = open(store).await;
        let manifest = repository.read_point(&point_id(1)).await.unwrap();
        let [first, other] = &manifest.collections[..] else {
            panic!("two collections were committed");
        };
        if !repository.check_collection(first).await.unwrap().is_empty() {
            // The recipe itself is hit, which any check reads.
            continue;
        }
        found += 1;
        let namespace = &manifest.namespace;
        let affected = repository
            .authenticate_collection(namespace, first)
            .await
            .unwrap();
        assert_eq!(affected.len(), 1, "{affected:?}");
        assert_eq!(
            (affected[0].missing_chunks, &affected[0].collection),
            (1, &first.name)
        );
        assert!(affected[0].recipe.is_none());
        let affected = repository
            .authenticate_collection(namespace, other)
            .await
            .unwrap();
        assert!(affected.is_empty(), "{affected:?}");
        // From now on it is known without reading, and a capture would store the chunk anew.
        assert_eq!(repository.check_collection(first).await.unwrap().len(), 1);
    }
    assert!(found > 0, "no pack was tried that holds no recipe");
}

#[tokio::test]
async fn a_sound_seal_over_wrong_content_is_found_by_reading_a_collection() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let (right, len, data) = chunk(&repository, 4, 5000);
    let wrong = ChunkId::from_bytes([3; 32]);
    for id in [right, wrong] {
        let data = data.clone();
        session.put(id, Codec::Stored, len, data).await.unwrap();
    }
    let mut manifest = store_files(&repository, &session, 1, &files(1))
        .await
        .unwrap();
    let extents = [right, wrong, right].map(|id| Extent::Chunk { id, len });
    rewrite_recipe(&repository, &session, &mut manifest, extents.to_vec()).await;
    repository.commit_point(&manifest).await.unwrap();
    let collection = &manifest.collections[0];
    assert!(
        repository
            .check_collection(collection)
            .await
            .unwrap()
            .is_empty()
    );
    let affected = repository
        .authenticate_collection(&repository.namespace(), collection)
        .await
        .unwrap();
    assert_eq!(affected[0].missing_chunks, 1, "{affected:?}");
    assert!(!repository.has_chunk(&wrong) && repository.has_chunk(&right));
}
