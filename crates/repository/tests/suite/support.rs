//! A small deployment to capture: files of pseudo-random bytes, a way to store them as a recovery
//! point, and the way back.

use crate::place::TestStore;
use bytes::Bytes;
use futures::StreamExt;
use holdfast_archive::{
    ChunkEvent, CollectionEntry, Decoder, Encoder, Extent, FileChunker, FileClass, FileRecipe, Kek,
    Manifest, NodeEntry, PointStats, ShardEntry, ShardRecipe,
};
use holdfast_repository::{
    Repository, RepositoryError, RepositoryOptions, Tuning, VerifyLevel, WriteSession,
};
use holdfast_store::{KeyPrefix, ObjectKey, ObjectStore, PutMode};
use holdfast_types::{ChunkId, Epoch, Namespace, RecoveryPointId, ShardId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Packs of 72 KiB, which hold one longest chunk of these files; two on their way.
pub(crate) const SMALL: Tuning = Tuning {
    pack_bytes: 72 << 10,
    packs_in_flight: 2,
};

/// Paths and contents.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn kek() -> Kek {
    Kek::from_hex(&"5a".repeat(32)).unwrap()
}

pub(crate) fn options() -> RepositoryOptions {
    RepositoryOptions {
        cluster: "demo".parse().unwrap(),
        kek: kek(),
        created: Timestamp::EPOCH,
        program: "test".to_owned(),
    }
}

/// A fresh repository in the store, with small packs.
pub(crate) async fn create(store: Arc<dyn ObjectStore>) -> Repository {
    Repository::init(store.clone(), options()).await.unwrap();
    open(store).await
}

pub(crate) async fn open(store: Arc<dyn ObjectStore>) -> Repository {
    Repository::open_with(store, kek(), SMALL).await.unwrap()
}

/// A second store with the same objects.
pub(crate) async fn copy_of(store: &dyn ObjectStore) -> Arc<TestStore> {
    let copy = TestStore::without_locks();
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        let bytes = store.get(&found.key).await.unwrap();
        copy.put(&found.key, bytes, PutMode::CreateNew)
            .await
            .unwrap();
    }
    Arc::new(copy)
}

/// Incompressible bytes, a function of the seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// A shard of a few files, 300 KiB in all, most of it different for each seed.
pub(crate) fn files(seed: u64) -> Files {
    BTreeMap::from([
        ("segments/a/vectors.mmap".to_owned(), noise(seed, 200_000)),
        (
            "segments/a/payload.bin".to_owned(),
            noise(seed + 1000, 70_000),
        ),
        ("shared.json".to_owned(), noise(77, 30_000)),
        ("holes".to_owned(), vec![0; 200_000]),
    ])
}

pub(crate) fn point_id(n: u32) -> RecoveryPointId {
    RecoveryPointId::new(Timestamp::EPOCH, n)
}

/// Stores the files and flushes; the manifest is not committed yet.
pub(crate) async fn store_files(
    repository: &Repository,
    session: &WriteSession,
    n: u32,
    files: &Files,
) -> Result<Manifest, RepositoryError> {
    store_files_in(&repository.namespace(), repository, session, n, files).await
}

/// [`store_files`] with chunks named in this namespace.
pub(crate) async fn store_files_in(
    namespace: &Namespace,
    repository: &Repository,
    session: &WriteSession,
    n: u32,
    files: &Files,
) -> Result<Manifest, RepositoryError> {
    let key = repository.chunk_key(namespace);
    let mut recipe = Vec::new();
    let mut encoder = Encoder::new();
    for (path, content) in files {
        let mut chunks = Vec::new();
        let mut take = |ChunkEvent::Chunk { id, plain }: ChunkEvent<'_>| {
            let (codec, data) = encoder.encode(plain);
            let plain_len = u32::try_from(plain.len()).unwrap();
            chunks.push((id, codec, plain_len, Bytes::copy_from_slice(data)));
        };
        let mut chunker = FileChunker::new(FileClass::InPlace, key.clone());
        chunker.push(content, &mut take);
        recipe.push(chunker.finish(&mut take).at(path.clone()));
        for (id, codec, plain_len, data) in chunks {
            session.put(id, codec, plain_len, data).await?;
        }
    }
    store_recipe(namespace, repository, session, n, recipe).await
}

/// Stores the recipe of files whose chunks are stored, and flushes; the manifest is not committed yet.
pub(crate) async fn store_recipe(
    namespace: &Namespace,
    repository: &Repository,
    session: &WriteSession,
    n: u32,
    recipe: Vec<FileRecipe>,
) -> Result<Manifest, RepositoryError> {
    let key = repository.chunk_key(namespace);
    let files = u32::try_from(recipe.len()).unwrap();
    let logical_bytes = recipe.iter().map(|file| file.size).sum();
    let encoded = ShardRecipe::new(recipe).encode().unwrap();
    let (recipe_len, recipe_hash) = (encoded.len() as u64, ShardRecipe::hash(&encoded));
    let recipe = session.put_recipe(key, encoded).await?;
    session.flush().await?;
    let shard = ShardEntry {
        shard_id: ShardId(0),
        node: "n1".parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        method: "stored".to_owned(),
        reasons: Vec::new(),
        captured_at: Timestamp::EPOCH,
        next_operation: None,
        wal: None,
        clocks: None,
        replica_state: None,
        replicas: Vec::new(),
        recipe,
        recipe_len,
        recipe_hash: hex::encode(recipe_hash),
        files,
        logical_bytes,
    };
    Ok(manifest(namespace, session.epoch(), n, shard))
}

fn manifest(namespace: &Namespace, epoch: Epoch, n: u32, shard: ShardEntry) -> Manifest {
    Manifest {
        format: 1,
        id: point_id(n),
        cluster: "demo".parse().unwrap(),
        namespace: namespace.clone(),
        begun: Timestamp::EPOCH,
        committed: Timestamp::EPOCH,
        epoch,
        program: "test".to_owned(),
        note: String::new(),
        tags: [].into(),
        nodes: vec![NodeEntry {
            node: shard.node.clone(),
            qdrant_version: shard.server_version.clone(),
            qdrant_commit: None,
            peer_id: 0,
            extras: vec![],
            extras_unknown: None,
        }],
        collections: vec![CollectionEntry {
            name: "docs".parse().unwrap(),
            info: serde_json::json!({"status": "green"}),
            aliases: Vec::new(),
            cluster: None,
            shard_count: 1,
            uuid: None,
            shard_keys: Vec::new(),
            points: None,
            shards: vec![shard],
        }],
        stats: PointStats::default(),
        safety_for: None,
        left_out: vec![],
        peers: vec![],
    }
}

/// Captures the files as point `n`.
pub(crate) async fn capture(
    repository: &Repository,
    epoch: Epoch,
    n: u32,
    files: &Files,
) -> Result<(), RepositoryError> {
    let session = repository.begin(epoch).await?;
    let manifest = store_files(repository, &session, n, files).await?;
    repository.commit_point(&manifest).await
}

/// The files of point `n`, each chunk's hash verified.
pub(crate) async fn restore(repository: &Repository, n: u32) -> Result<Files, RepositoryError> {
    let manifest = repository.read_point(&point_id(n)).await?;
    let mut files = Files::new();
    for (_, shard) in manifest.shards() {
        let recipe = repository.read_shard_recipe(shard).await?;
        files.extend(rebuilt(repository, &manifest.namespace, recipe).await?);
    }
    Ok(files)
}

/// The files of a recipe, each chunk's hash verified.
pub(crate) async fn rebuilt(
    repository: &Repository,
    namespace: &Namespace,
    recipe: ShardRecipe,
) -> Result<Files, RepositoryError> {
    let key = repository.chunk_key(namespace);
    let ids: Vec<ChunkId> = recipe.chunks().map(|(id, _)| id).collect();
    let mut chunks = std::pin::pin!(repository.read_chunks(ids, 4));
    let mut decoder = Decoder::new();
    let mut files = Files::new();
    for file in recipe.files {
        let mut content = Vec::new();
        for extent in file.extents {
            match extent {
                Extent::Zero { len } => {
                    content.resize(content.len() + usize::try_from(len).unwrap(), 0);
                }
                Extent::Chunk { id, len } => {
                    let chunk = chunks.next().await.unwrap()?;
                    let plain_len = chunk.plain_len as usize;
                    let plain = decoder.decode(chunk.codec, &chunk.data, plain_len).unwrap();
                    assert_eq!((key.id(plain), plain_len), (id, len as usize));
                    content.extend_from_slice(plain);
                }
            }
        }
        files.insert(file.path, content);
    }
    Ok(files)
}

/// A chunk of noise with its identity: what `WriteSession::put` takes, stored plain.
pub(crate) fn chunk(repository: &Repository, seed: u64, len: usize) -> (ChunkId, u32, Bytes) {
    let plain = noise(seed, len);
    let id = repository.chunk_key(&repository.namespace()).id(&plain);
    (id, u32::try_from(len).unwrap(), plain.into())
}

/// Two points, and a pack that only point 1 needs, every byte of which is wrong.
pub(crate) async fn rotten() -> (Arc<TestStore>, ObjectKey) {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        let files = files(n.into());
        capture(&repository, epoch, n, &files).await.unwrap();
    }
    let pack = pack_of(&store, 1).await;
    rot(&store, &pack).await;
    (store, pack)
}

/// Flips a bit of every byte; twice is never.
pub(crate) async fn rot(store: &TestStore, key: &ObjectKey) {
    let sound = store.get(key).await.unwrap();
    let rotten: Bytes = sound.iter().map(|byte| byte ^ 1).collect();
    store.put(key, rotten, PutMode::Overwrite).await.unwrap();
}

/// The key of the largest pack of data that point `n` needs, and of points 1 and 2 no other. Without it, it is still known
/// what the point needs: chunks are spread over packs at random, and one may hold the recipe.
pub(crate) async fn pack_of(store: &TestStore, n: u32) -> ObjectKey {
    let mut packs = store.list(&"packs".parse().unwrap()).await.unwrap();
    packs.sort_by_key(|found| std::cmp::Reverse(found.size));
    for found in packs {
        let without = copy_of(store).await;
        without.delete(&found.key).await.unwrap();
        let without = open(without).await;
        let manifest = without.read_point(&point_id(n)).await.unwrap();
        let (_, shard) = manifest.shards().next().unwrap();
        let is_known = without.read_shard_recipe(shard).await.is_ok();
        let other = match restore(&without, 3 - n).await {
            Ok(_) | Err(RepositoryError::PointNotFound { .. }) => true,
            Err(_) => false,
        };
        if is_known && other && restore(&without, n).await.is_err() {
            return found.key;
        }
    }
    panic!("no pack is needed by point {n} alone")
}

/// Whether the pack is known to be bad, without reading it.
pub(crate) async fn is_bad_pack(repository: &Repository, pack: &ObjectKey) -> bool {
    let quick = repository.verify(VerifyLevel::Quick).await.unwrap();
    let mut damaged = quick.damaged.iter();
    damaged.any(|found| found.object == pack.as_str())
}
