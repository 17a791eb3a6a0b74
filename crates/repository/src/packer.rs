//! Gathers the chunks of all captures into packs and writes them.
//!
//! Accepting a chunk only takes note of its bytes. A full pack is sealed and hashed on a blocking
//! thread and written while the next one fills; when [`Tuning::packs_in_flight`] packs are on their
//! way, accepting waits. Memory: the open pack, and for each pack on its way up to twice its size.
//! Buffers for sealed packs are used again, and freed at a flush.
//!
//! A chunk answered as present may still be on its way, for another capture even. If its pack then
//! fails, every session that began before the failure fails at its flush, so none can commit a point
//! that relies on it.

use crate::buffers::Buffers;
use crate::core_state::CoreState;
use crate::fill::Fill;
use crate::reader::StoredChunk;
use crate::{RepositoryError, epochs, layout, system};
use bytes::Bytes;
use holdfast_archive::pack::PackSize;
use holdfast_archive::{
    Codec, FinishedPack, IndexObject, MAX_CHUNK_BYTES, ObjectKind, PackBuilder, PackError,
    PackIndex, sealed,
};
use holdfast_store::{PutMode, StoreError};
use holdfast_types::{ChunkId, Epoch, PackId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Chunks in one index object: about 23 MB.
pub(crate) const MAX_INDEX_CHUNKS: usize = 500_000;

/// Sizes that trade memory for throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Size in bytes of a full pack. At most 64 MiB.
    pub pack_bytes: usize,
    /// Packs that may be sealed and written at once, 1 or more.
    pub packs_in_flight: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            pack_bytes: 32 << 20,
            packs_in_flight: 2,
        }
    }
}

/// A chunk to be stored. Its hash was verified.
#[derive(Clone)]
pub(crate) struct NewChunk {
    pub(crate) id: ChunkId,
    pub(crate) codec: Codec,
    pub(crate) plain_len: u32,
    pub(crate) data: Bytes,
}

impl From<StoredChunk> for NewChunk {
    fn from(chunk: StoredChunk) -> Self {
        Self {
            id: chunk.id,
            codec: chunk.codec,
            plain_len: chunk.plain_len,
            data: chunk.data,
        }
    }
}

/// Number of failures so far: what a session compares to see whether one concerns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failures(u64);

/// The one writer of packs and indexes of an open repository.
pub(crate) struct Packer {
    core: Arc<CoreState>,
    state: Mutex<State>,
    slots: Arc<Semaphore>,
    buffers: Buffers,
    /// Rung whenever a pack has been written or has failed.
    done: Notify,
    /// Held while an index is written.
    index_writer: tokio::sync::Mutex<()>,
}

struct State {
    open: Vec<NewChunk>,
    open_bytes: usize,
    fill: Fill,
    /// Chunks in the open pack and in those on their way, with their plain length in bytes.
    pending: HashMap<ChunkId, u32>,
    next_batch: u64,
    in_flight: BTreeSet<u64>,
    /// Packs that are stored but in no index yet.
    unindexed: Vec<Arc<PackIndex>>,
    failures: u64,
    last_failure: Option<RepositoryError>,
}

struct Batch {
    number: u64,
    epoch: Epoch,
    size: PackSize,
    chunks: Vec<NewChunk>,
}

enum Acceptance {
    Taken,
    Known,
    Full,
}

impl Packer {
    /// `unindexed` are packs that opening found outside every index.
    pub(crate) fn new(core: Arc<CoreState>, tuning: Tuning, unindexed: Vec<PackIndex>) -> Self {
        Self {
            core,
            slots: Arc::new(Semaphore::new(tuning.packs_in_flight.max(1))),
            buffers: Buffers::new(tuning.packs_in_flight.max(1)),
            state: Mutex::new(State {
                open: Vec::new(),
                open_bytes: 0,
                fill: Fill::new(tuning.pack_bytes),
                pending: HashMap::new(),
                next_batch: 0,
                in_flight: BTreeSet::new(),
                unindexed: unindexed.into_iter().map(Arc::new).collect(),
                failures: 0,
                last_failure: None,
            }),
            done: Notify::new(),
            index_writer: tokio::sync::Mutex::default(),
        }
    }

    /// The failures that a session beginning now does not care about.
    pub(crate) fn failures(&self) -> Failures {
        Failures(self.state().failures)
    }

    /// The plain length in bytes of each chunk that is stored or on its way.
    pub(crate) fn plain_lens(&self, ids: &[ChunkId]) -> Vec<Option<u32>> {
        let state = self.state();
        let catalog = self.core.catalog();
        let of = |id| {
            state
                .pending
                .get(id)
                .copied()
                .or_else(|| catalog.plain_len(id))
        };
        ids.iter().map(of).collect()
    }

    /// Takes note of packs that are stored, and known to the catalogue, but perhaps in no index.
    pub(crate) fn adopt(&self, packs: Vec<PackIndex>) {
        let packs = packs.into_iter().map(Arc::new);
        self.state().unindexed.extend(packs);
    }

    /// Puts packs that are being deleted into no index any more.
    pub(crate) fn forget(&self, packs: &BTreeSet<PackId>) {
        let mut state = self.state();
        state.unindexed.retain(|pack| !packs.contains(&pack.id));
    }

    /// Takes a chunk, unless it is known. Returns whether it was taken. Waits while the open pack is
    /// full and too many are on their way.
    pub(crate) async fn put(
        self: &Arc<Self>,
        chunk: NewChunk,
        epoch: Epoch,
        began: Failures,
    ) -> Result<bool, RepositoryError> {
        check_lengths(&chunk)?;
        loop {
            match self.try_put(&chunk, began)? {
                Acceptance::Taken => return Ok(true),
                Acceptance::Known => return Ok(false),
                Acceptance::Full => {}
            }
            let slot = self.slot().await?;
            self.close_pack(epoch, slot, chunk.data.len());
        }
    }

    /// Makes everything durable that was taken before: writes the open pack, waits for those on
    /// their way, and writes an index.
    pub(crate) async fn flush(
        self: &Arc<Self>,
        epoch: Epoch,
        began: Failures,
    ) -> Result<(), RepositoryError> {
        if self.state().open_bytes > 0 {
            let slot = self.slot().await?;
            self.close_pack(epoch, slot, usize::MAX);
        }
        let upto = self.state().next_batch;
        self.written(upto).await;
        self.buffers.free();
        self.check(&self.state(), began)?;
        epochs::check(&self.core, epoch).await?;
        self.write_index(epoch).await
    }

    /// Writes every stored pack that is in no index into one.
    pub(crate) async fn write_index(&self, epoch: Epoch) -> Result<(), RepositoryError> {
        let _one_at_a_time = self.index_writer.lock().await;
        loop {
            let packs = self.some_unindexed();
            if packs.is_empty() {
                return Ok(());
            }
            let written: HashSet<PackId> = packs.iter().map(|pack| pack.id).collect();
            self.store_index(packs, epoch).await?;
            let mut state = self.state();
            state.unindexed.retain(|pack| !written.contains(&pack.id));
        }
    }

    fn try_put(&self, chunk: &NewChunk, began: Failures) -> Result<Acceptance, RepositoryError> {
        let mut state = self.state();
        self.check(&state, began)?;
        if state.pending.contains_key(&chunk.id) || self.core.catalog().has(&chunk.id) {
            return Ok(Acceptance::Known);
        }
        if self.is_full(&state, chunk.data.len()) {
            return Ok(Acceptance::Full);
        }
        state.pending.insert(chunk.id, chunk.plain_len);
        state.open_bytes += chunk.data.len();
        state.open.push(chunk.clone());
        Ok(Acceptance::Taken)
    }

    fn is_full(&self, state: &State, more: usize) -> bool {
        let bytes = state.open_bytes.saturating_add(more);
        !state.open.is_empty() && state.fill.exceeded(bytes, state.open.len() + 1)
    }

    fn check(&self, state: &State, began: Failures) -> Result<(), RepositoryError> {
        match &state.last_failure {
            Some(error) if state.failures > began.0 => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, RepositoryError> {
        let slot = self.slots.clone().acquire_owned().await;
        slot.map_err(|_| RepositoryError::Aborted {
            reason: "the repository is closing".to_owned(),
        })
    }

    /// Sends the open pack on its way, unless another put did so already and `more` bytes fit now.
    fn close_pack(self: &Arc<Self>, epoch: Epoch, slot: OwnedSemaphorePermit, more: usize) {
        let batch = {
            let mut state = self.state();
            if !self.is_full(&state, more) {
                return;
            }
            let number = state.next_batch;
            state.next_batch += 1;
            state.in_flight.insert(number);
            // A flush asks for room that no pack has: what it closes is not full.
            let (bytes, chunks) = (state.open_bytes, state.open.len());
            let size = state.fill.next(bytes, chunks, more == usize::MAX);
            state.open_bytes = 0;
            Batch {
                number,
                epoch,
                size,
                chunks: std::mem::take(&mut state.open),
            }
        };
        let packer = self.clone();
        tokio::spawn(async move {
            packer.run(batch).await;
            drop(slot);
        });
    }

    async fn run(self: Arc<Self>, batch: Batch) {
        let number = batch.number;
        let ids: Vec<ChunkId> = batch.chunks.iter().map(|chunk| chunk.id).collect();
        // On a task of its own, so that even a panic ends as a failure and not as a wait for ever.
        let writing = tokio::spawn(write_pack(self.core.clone(), self.buffers.clone(), batch));
        let outcome = writing.await.unwrap_or_else(|join| {
            Err(RepositoryError::Aborted {
                reason: format!("a pack was not written: {join}"),
            })
        });
        self.finished(number, &ids, outcome);
        self.done.notify_waiters();
    }

    fn finished(&self, number: u64, ids: &[ChunkId], outcome: Result<PackIndex, RepositoryError>) {
        let mut state = self.state();
        match outcome {
            Ok(index) => {
                // Before the chunks cease to be pending, so that they are known at every moment.
                self.core.catalog_mut().add(&index);
                state.unindexed.push(Arc::new(index));
            }
            Err(error) => {
                tracing::debug!(%error, chunks = ids.len(), "a pack failed");
                state.failures += 1;
                state.last_failure = Some(error);
            }
        }
        for id in ids {
            state.pending.remove(id);
        }
        state.in_flight.remove(&number);
    }

    /// Waits until every batch below `upto` has been written or has failed.
    async fn written(&self, upto: u64) {
        loop {
            let rung = self.done.notified();
            if self.state().in_flight.range(..upto).next().is_none() {
                return;
            }
            rung.await;
        }
    }

    fn some_unindexed(&self) -> Vec<Arc<PackIndex>> {
        let state = self.state();
        let mut chunks = 0;
        let fits = |pack: &&Arc<PackIndex>| {
            let first = chunks == 0;
            chunks += pack.entries.len();
            first || chunks <= MAX_INDEX_CHUNKS
        };
        state.unindexed.iter().take_while(fits).cloned().collect()
    }

    /// Writes one index object.
    pub(crate) async fn store_index(
        &self,
        packs: Vec<Arc<PackIndex>>,
        epoch: Epoch,
    ) -> Result<(), RepositoryError> {
        let core = self.core.clone();
        let salt = system::random()?;
        let (key, object) = system::blocking(move || {
            let packs = packs.iter().map(|pack| PackIndex::clone(pack)).collect();
            let payload = IndexObject { packs }.encode();
            let object = sealed::seal(
                ObjectKind::Index,
                epoch,
                salt,
                core.master.newest(),
                &payload,
            )
            .map_err(|error| RepositoryError::invalid("an index", error))?;
            // A sealed object ends in its own hash.
            let hash = object.last_chunk().copied().unwrap_or(salt);
            Ok((layout::index(&hash), Bytes::from(object)))
        })
        .await?;
        put_new(&self.core, &key, object).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No statement between lock and unlock can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What would make a whole pack fail is refused before it is taken.
fn check_lengths(chunk: &NewChunk) -> Result<(), RepositoryError> {
    let plain_len = chunk.plain_len;
    let encoded_len = chunk.data.len();
    let plain = plain_len as usize;
    if plain == 0 || plain > MAX_CHUNK_BYTES || encoded_len > plain {
        let error = PackError::BadChunk {
            plain_len,
            encoded_len,
        };
        return Err(RepositoryError::invalid(
            format!("chunk {}", chunk.id),
            error,
        ));
    }
    Ok(())
}

async fn write_pack(
    core: Arc<CoreState>,
    buffers: Buffers,
    batch: Batch,
) -> Result<PackIndex, RepositoryError> {
    let salt = system::random()?;
    let (sealing, buffer) = (core.clone(), buffers.take());
    let FinishedPack { id, bytes, entries } = system::blocking(move || {
        let mut builder = PackBuilder::new(batch.epoch, salt, sealing.master.newest());
        for chunk in batch.chunks {
            let id = chunk.id;
            builder
                .add(id, chunk.codec, chunk.plain_len, chunk.data)
                .map_err(|error| RepositoryError::invalid(format!("chunk {id}"), error))?;
        }
        Ok(builder.finish_into(buffer, batch.size))
    })
    .await?;
    let size = bytes.len() as u64;
    put_new(&core, &layout::pack(&id), buffers.lend(bytes)).await?;
    Ok(PackIndex { id, size, entries })
}

/// Stores an object that is named by its content: if it is there already, it is this one.
async fn put_new(
    core: &CoreState,
    key: &holdfast_store::ObjectKey,
    object: Bytes,
) -> Result<(), RepositoryError> {
    match core.store.put(key, object, PutMode::CreateNew).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
