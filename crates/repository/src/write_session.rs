//! The handle by which one capture stores its chunks.

use crate::packer::{Failures, NewChunk, Packer};
use crate::sessions::SessionGuard;
use crate::{RepositoryError, system};
use bytes::Bytes;
use holdfast_archive::{ChunkEvent, ChunkKey, Codec, Encoder, chunk_blob};
use holdfast_types::{ChunkId, Epoch};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Whether it was new. If not, nothing was added.
    pub stored: bool,
    /// Encoded bytes added.
    pub bytes: u64,
}

/// What a session has handed over so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Chunks handed over.
    pub chunks: u64,
    /// Those of them that were new.
    pub stored_chunks: u64,
    /// Encoded bytes of the new ones.
    pub stored_bytes: u64,
}

/// One capture's access to the writer. Clone it freely: clones are one session, and any number of
/// tasks may use it at once. All sessions fill the same packs. Dropping it loses nothing that
/// [`flush`](Self::flush) made durable.
#[derive(Clone)]
pub struct WriteSession {
    shared: Arc<Shared>,
}

struct Shared {
    packer: Arc<Packer>,
    /// Garbage collection leaves alone what this session was told to be there.
    _protection: SessionGuard,
    epoch: Epoch,
    began: Failures,
    chunks: AtomicU64,
    stored_chunks: AtomicU64,
    stored_bytes: AtomicU64,
}

impl WriteSession {
    pub(crate) fn new(packer: Arc<Packer>, protection: SessionGuard, epoch: Epoch) -> Self {
        Self {
            shared: Arc::new(Shared {
                began: packer.failures(),
                packer,
                _protection: protection,
                epoch,
                chunks: AtomicU64::new(0),
                stored_chunks: AtomicU64::new(0),
                stored_bytes: AtomicU64::new(0),
            }),
        }
    }

    /// The epoch it writes under.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// Whether a chunk is stored or on its way to be. If it is on its way and fails, so does this
    /// session's [`flush`](Self::flush).
    #[must_use]
    pub fn has(&self, id: &ChunkId) -> bool {
        self.has_many(std::slice::from_ref(id))[0]
    }

    /// [`has`](Self::has) of each, in order.
    #[must_use]
    pub fn has_many(&self, ids: &[ChunkId]) -> Vec<bool> {
        let known = self.plain_lens(ids).into_iter();
        known.map(|len| len.is_some()).collect()
    }

    /// The plain length in bytes of each chunk that is stored or on its way to be; `None` for others.
    #[must_use]
    pub fn plain_lens(&self, ids: &[ChunkId]) -> Vec<Option<u32>> {
        self.shared.packer.plain_lens(ids)
    }

    /// Stores an encoded chunk, unless it is known. The caller has verified that it decodes to
    /// `plain_len` bytes that hash to `id`. Waits while too much is on its way to the store;
    /// returning does not mean that the chunk is durable, [`flush`](Self::flush) does.
    ///
    /// # Errors
    /// [`RepositoryError::Invalid`] for impossible lengths; any failure of a pack since the session
    /// began, also when it was another session's.
    pub async fn put(
        &self,
        id: ChunkId,
        codec: Codec,
        plain_len: u32,
        encoded: Bytes,
    ) -> Result<PutOutcome, RepositoryError> {
        let shared = &self.shared;
        let bytes = encoded.len() as u64;
        let chunk = NewChunk {
            id,
            codec,
            plain_len,
            data: encoded,
        };
        let stored = shared.packer.put(chunk, shared.epoch, shared.began).await?;
        let bytes = if stored { bytes } else { 0 };
        shared.chunks.fetch_add(1, Ordering::Relaxed);
        shared.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
        shared
            .stored_chunks
            .fetch_add(u64::from(stored), Ordering::Relaxed);
        Ok(PutOutcome { stored, bytes })
    }

    /// Stores an encoded recipe as chunks of the namespace whose ids `key` computes, and returns
    /// them in order.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_recipe(
        &self,
        key: ChunkKey,
        encoded: impl Into<Bytes>,
    ) -> Result<Vec<ChunkId>, RepositoryError> {
        let recipe: Bytes = encoded.into();
        let (ids, chunks) = system::blocking(move || Ok(cut_recipe(&key, &recipe))).await?;
        for chunk in chunks {
            self.put(chunk.id, chunk.codec, chunk.plain_len, chunk.data)
                .await?;
        }
        Ok(ids)
    }

    /// Makes every chunk durable that this session has put, or was told to be present. Call it before
    /// a point is committed, and seldom otherwise: it closes the open pack.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`]; any failure of a pack since the session began, after which the
    /// session is of no more use: begin another, and ask again which chunks are there.
    pub async fn flush(&self) -> Result<(), RepositoryError> {
        let shared = &self.shared;
        shared.packer.flush(shared.epoch, shared.began).await
    }

    /// What was handed over so far.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionStats {
            chunks: read(&self.shared.chunks),
            stored_chunks: read(&self.shared.stored_chunks),
            stored_bytes: read(&self.shared.stored_bytes),
        }
    }
}

fn cut_recipe(key: &ChunkKey, recipe: &[u8]) -> (Vec<ChunkId>, Vec<NewChunk>) {
    let mut encoder = Encoder::new();
    let mut chunks = Vec::new();
    let ids = chunk_blob(recipe, key, &mut |ChunkEvent::Chunk { id, plain }| {
        let (codec, data) = encoder.encode(plain);
        chunks.push(NewChunk {
            id,
            codec,
            plain_len: u32::try_from(plain.len()).expect("a chunk has at most 1 MiB"),
            data: Bytes::copy_from_slice(data),
        });
    });
    (ids, chunks)
}
