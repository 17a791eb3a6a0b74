//! Holdfast's own pipeline in one process and without a wire: a folder into a repository, and back.
//!
//! It does what restic, Borg and rustic do in theirs, with the library that agent and coordinator share between them: cut,
//! hash, ask, encode, seal, pack, index, commit. It is for measuring only and runs as a process of its own, so
//! that its cost can be read like theirs.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use fs_err as fs;
use futures::StreamExt as _;
use holdfast_archive::{
    ChunkEvent, ChunkKey, CollectionEntry, Decoder, Encoder, Extent, FileChunker, FileRecipe, Kek,
    Manifest, NodeEntry, PointStats, ShardEntry, ShardRecipe, classify,
};
use holdfast_repository::{Repository, RepositoryOptions, Tuning, WriteSession};
use holdfast_store::DiskStore;
use holdfast_types::{ChunkId, Epoch, RecoveryPointId, ShardId, Timestamp};
use std::collections::VecDeque;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use tokio::runtime::Handle;

/// Bytes of a file read at once.
const READ_BYTES: usize = 1 << 20;
/// Chunks read ahead at a restore.
const AHEAD: usize = 8;
/// Files worked on at once.
const WORKERS: usize = 2;

/// Makes an empty repository in a folder.
pub(crate) async fn init(repository: &Path) -> Result<()> {
    let options = RepositoryOptions {
        cluster: "bench".parse()?,
        kek: kek()?,
        created: Timestamp::EPOCH,
        program: "holdfast-bench".to_owned(),
    };
    let store = Arc::new(DiskStore::create(repository)?);
    Repository::init(store, options).await?;
    Ok(())
}

/// Stores every file below `folder` as the recovery point with this number; packs have the usual size if none is given.
pub(crate) async fn backup(
    folder: &Path,
    repository: &Path,
    number: u32,
    pack_mib: Option<usize>,
) -> Result<()> {
    let usual = Tuning::default();
    let tuning = Tuning {
        pack_bytes: pack_mib.map_or(usual.pack_bytes, |mib| mib << 20),
        ..usual
    };
    let repository = open_with(repository, tuning).await?;
    let epoch = repository.claim_epoch().await?;
    let session = repository.begin(epoch).await?;
    let key = repository.chunk_key(&repository.namespace());
    let files = files_below(folder)?;
    let (writer, runtime, chunk_key) = (session.clone(), Handle::current(), key.clone());
    let recipe =
        tokio::task::spawn_blocking(move || store_files(files, &writer, &runtime, &chunk_key))
            .await??;
    commit(&repository, &session, epoch, number, recipe).await
}

/// Commits files whose chunks were put in this session as the recovery point with this number.
pub(crate) async fn commit(
    repository: &Repository,
    session: &WriteSession,
    epoch: Epoch,
    number: u32,
    recipe: Vec<FileRecipe>,
) -> Result<()> {
    let key = repository.chunk_key(&repository.namespace());
    let logical_bytes = recipe.iter().map(|file| file.size).sum();
    let count = u32::try_from(recipe.len())?;
    let encoded = ShardRecipe::new(recipe).encode()?;
    let (len, hash) = (encoded.len() as u64, ShardRecipe::hash(&encoded));
    let chunks = session.put_recipe(key, encoded).await?;
    session.flush().await?;
    let shard = ShardEntry {
        shard_id: ShardId(0),
        node: "bench".parse()?,
        server_version: "1.18.3".parse()?,
        method: "stored".to_owned(),
        captured_at: Timestamp::EPOCH,
        next_operation: None,
        wal: None,
        clocks: None,
        replica_state: None,
        replicas: Vec::new(),
        recipe: chunks,
        recipe_len: len,
        recipe_hash: hex::encode(hash),
        files: count,
        logical_bytes,
        reasons: Vec::new(),
    };
    let manifest = manifest(repository, epoch, number, shard)?;
    repository.commit_point(&manifest).await?;
    Ok(())
}

/// Writes the files of a recovery point below `folder`, each chunk's hash verified.
pub(crate) async fn restore(repository: &Path, number: u32, folder: &Path) -> Result<()> {
    let repository = open(repository).await?;
    let manifest = repository.read_point(&point(number)).await?;
    let key = repository.chunk_key(&manifest.namespace);
    let (_, shard) = manifest
        .shards()
        .next()
        .context("a point without a shard")?;
    let recipe = repository.read_shard_recipe(shard).await?;
    let files = Arc::new(Mutex::new(VecDeque::from(recipe.files)));
    let workers = (0..WORKERS).map(|_| {
        let (repository, key, files) = (repository.clone(), key.clone(), Arc::clone(&files));
        let folder = folder.to_owned();
        tokio::spawn(async move {
            let mut decoder = Decoder::new();
            while let Some(file) = next(&files) {
                restore_file(&repository, &key, &file, &folder, &mut decoder).await?;
            }
            anyhow::Ok(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(())
}

/// Every file below a folder, with its path in it, in order.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)?
                    .to_str()
                    .context("a path is no UTF-8")?;
                found.push((path.clone(), name.to_owned()));
            }
        }
    }
    found.sort();
    Ok(found)
}

async fn open(repository: &Path) -> Result<Repository> {
    open_with(repository, Tuning::default()).await
}

/// Opens a repository that [`init`] made.
pub(crate) async fn open_with(repository: &Path, tuning: Tuning) -> Result<Repository> {
    let store = Arc::new(DiskStore::open(repository)?);
    Ok(Repository::open_with(store, kek()?, tuning).await?)
}

fn kek() -> Result<Kek> {
    Ok(Kek::from_hex(&"5a".repeat(32))?)
}

fn point(number: u32) -> RecoveryPointId {
    RecoveryPointId::new(Timestamp::EPOCH, number)
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().expect("no worker panics").pop_front()
}

fn store_files(
    files: Vec<(PathBuf, String)>,
    session: &WriteSession,
    runtime: &Handle,
    key: &ChunkKey,
) -> Result<Vec<FileRecipe>> {
    let queue = Mutex::new(VecDeque::from(files));
    thread::scope(|scope| {
        let work = || {
            let (mut encoder, mut recipes) = (Encoder::new(), Vec::new());
            while let Some((path, name)) = next(&queue) {
                recipes.push(store_file(
                    &path,
                    name,
                    session,
                    runtime,
                    key,
                    &mut encoder,
                )?);
            }
            anyhow::Ok(recipes)
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().expect("no worker panics")?);
        }
        Ok(all)
    })
}

fn store_file(
    path: &Path,
    name: String,
    session: &WriteSession,
    runtime: &Handle,
    key: &ChunkKey,
    encoder: &mut Encoder,
) -> Result<FileRecipe> {
    let mut failed = None;
    let mut take = |ChunkEvent::Chunk { id, plain }: ChunkEvent<'_>| {
        if failed.is_some() || session.has(&id) {
            return;
        }
        let (codec, data) = encoder.encode(plain);
        let len = u32::try_from(plain.len()).expect("a chunk has at most 1 MiB");
        let put = session.put(id, codec, len, Bytes::copy_from_slice(data));
        failed = runtime.block_on(put).err();
    };
    let mut chunker = FileChunker::new(classify(&name), key.clone());
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        chunker.push(&buffer[..len], &mut take);
    }
    let recipe = chunker.finish(&mut take).at(name);
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(recipe),
    }
}

async fn restore_file(
    repository: &Repository,
    key: &ChunkKey,
    recipe: &FileRecipe,
    folder: &Path,
    decoder: &mut Decoder,
) -> Result<()> {
    let path = folder.join(&recipe.path);
    fs::create_dir_all(path.parent().context("a file without a folder")?)?;
    let mut file = fs::File::create(path)?;
    let ids: Vec<ChunkId> = recipe
        .extents
        .iter()
        .filter_map(|extent| match extent {
            Extent::Chunk { id, .. } => Some(*id),
            Extent::Zero { .. } => None,
        })
        .collect();
    let mut chunks = std::pin::pin!(repository.read_chunks(ids, AHEAD));
    for extent in &recipe.extents {
        match *extent {
            Extent::Zero { len } => {
                file.seek(SeekFrom::Current(i64::try_from(len)?))?;
            }
            Extent::Chunk { id, len } => {
                let chunk = chunks.next().await.context("a chunk is missing")??;
                let plain = decoder.decode(chunk.codec, &chunk.data, len as usize)?;
                ensure!(key.id(plain) == id, "chunk {id} has another content");
                file.write_all(plain)?;
            }
        }
    }
    file.set_len(recipe.size)?;
    Ok(())
}

fn manifest(
    repository: &Repository,
    epoch: Epoch,
    number: u32,
    shard: ShardEntry,
) -> Result<Manifest> {
    Ok(Manifest {
        format: 1,
        id: point(number),
        cluster: "bench".parse()?,
        namespace: repository.namespace(),
        begun: Timestamp::EPOCH,
        committed: Timestamp::EPOCH,
        epoch,
        program: "holdfast-bench".to_owned(),
        note: String::new(),
        tags: [].into(),
        nodes: vec![NodeEntry {
            node: "bench".parse()?,
            qdrant_version: "1.18.3".parse()?,
            qdrant_commit: None,
            peer_id: 0,
            extras: vec![],
            extras_unknown: None,
        }],
        collections: vec![CollectionEntry {
            name: "bench".parse()?,
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
    })
}
