//! Reading chunks: order, errors in place, and how much is read from the store.

use crate::place::TestStore;
use crate::support::{chunk, kek, options};
use futures::StreamExt;
use holdfast_archive::Codec;
use holdfast_repository::{Repository, RepositoryError, Tuning};
use holdfast_store::{CountingStore, ObjectStore};
use holdfast_types::ChunkId;
use std::sync::Arc;

/// Larger than a segment of the reader's cache, so that chunks lie across its seams.
const PACK_BYTES: usize = 10 << 20;

/// Three packs of chunks of odd lengths, behind a counting store.
async fn filled() -> (Arc<CountingStore<Arc<TestStore>>>, Repository, Vec<ChunkId>) {
    let memory = Arc::new(TestStore::without_locks());
    let tuning = Tuning {
        pack_bytes: PACK_BYTES,
        ..Tuning::default()
    };
    Repository::init(memory.clone(), options()).await.unwrap();
    let writer = Repository::open_with(memory.clone(), kek(), tuning)
        .await
        .unwrap();
    let epoch = writer.claim_epoch().await.unwrap();
    let session = writer.begin(epoch).await.unwrap();
    let mut ids = Vec::new();
    for seed in 0..90 {
        let (id, len, data) = chunk(&writer, seed, 300_001);
        session.put(id, Codec::Stored, len, data).await.unwrap();
        ids.push(id);
    }
    session.flush().await.unwrap();
    let counting = Arc::new(CountingStore::new(memory));
    let reader = Repository::open(counting.clone(), kek()).await.unwrap();
    (counting, reader, ids)
}

#[tokio::test]
async fn a_sequential_restore_reads_each_byte_about_once() {
    let (store, repository, ids) = filled().await;
    let before = store.counts();
    let mut chunks = std::pin::pin!(repository.read_chunks(ids.clone(), 8));
    for (seed, id) in (0..).zip(&ids) {
        let read = chunks.next().await.unwrap().unwrap();
        let (_, _, data) = chunk(&repository, seed, 300_001);
        assert_eq!((read.id, read.data), (*id, data), "chunk {seed}");
    }
    assert!(chunks.next().await.is_none());
    let counts = store.counts();
    let read = counts.bytes_read - before.bytes_read;
    let stored = repository.stats().stored_bytes;
    assert!(read <= stored + 3 * 64, "read {read} of {stored} bytes");
    // Of each of three packs its header, its stretches, and what is left at its end.
    let requests = stored / store.stretch() + 3 * 2;
    assert!(
        counts.range_gets - before.range_gets <= requests,
        "{counts:?}"
    );
}

#[tokio::test]
async fn one_chunk_reads_a_segment_not_a_pack() {
    let (store, repository, ids) = filled().await;
    let before = store.counts().bytes_read;
    repository.read_chunk(&ids[0]).await.unwrap();
    let read = store.counts().bytes_read - before;
    assert!(read <= 2 * store.stretch() + 64, "read {read} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_unknown_chunk_fails_in_its_place() {
    let (_, repository, mut ids) = filled().await;
    let unknown = ChunkId::from_bytes([9; 32]);
    ids.insert(3, unknown);
    let read: Vec<_> = repository.read_chunks(ids.clone(), 16).collect().await;
    assert_eq!(read.len(), ids.len());
    for (at, (read, id)) in read.into_iter().zip(ids).enumerate() {
        match read {
            Ok(chunk) => assert_eq!(chunk.id, id),
            Err(RepositoryError::ChunkMissing { id }) => assert_eq!((at, id), (3, unknown)),
            Err(other) => panic!("{other}"),
        }
    }
}
