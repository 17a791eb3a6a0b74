//! From a snapshot's bytes to chunks in batches: the one blocking thread of a capture.
//!
//! Memory is bounded by a [`Gate`]: every chunk that is copied out of the reader holds a share of it
//! until the repository is known to have it or it is on its way.

use crate::failure::Failed;
use crate::job::Halt;
use crate::progress::Meter;
use bytes::Bytes;
use holdfast_archive::{ChunkEvent, ChunkKey, FileChunker, FileRecipe, ShardRecipe, classify};
use holdfast_qdrant::{FileSink, ReadError, ShardContents, SnapshotError, read_shard_snapshot};
use holdfast_service::failure::Code;
use holdfast_types::ChunkId;
use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Plain bytes of chunks that a capture may hold at once.
const GATE_BYTES: usize = 20 << 20;
/// A batch is asked for when it has this many plain bytes …
const BATCH_BYTES: usize = 4 << 20;
/// … or this many chunks, whichever comes first.
const BATCH_CHUNKS: usize = 1024;
/// Unit of the gate's shares.
const SHARE: usize = 1 << 10;

/// A chunk with its place in memory.
#[derive(Debug)]
pub(super) struct PlainChunk {
    pub(super) id: ChunkId,
    pub(super) plain: Bytes,
    pub(super) share: OwnedSemaphorePermit,
}

/// Chunks to be asked for together; no id twice.
pub(super) type Batch = Vec<PlainChunk>;

/// Bounds the plain bytes in memory.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(GATE_BYTES / SHARE)))
    }

    fn shares(bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(SHARE)).unwrap_or(u32::MAX)
    }
}

/// What the reader found, if the snapshot was whole.
#[derive(Debug)]
pub(super) struct ReadShard {
    pub(super) contents: ShardContents,
    pub(super) recipe: ShardRecipe,
}

/// Reads the snapshot to its end, blocking, and sends its chunks to `batches`.
pub(super) fn read(
    source: impl Read,
    key: &ChunkKey,
    gate: Gate,
    batches: mpsc::Sender<Batch>,
    meter: Arc<Meter>,
    runtime: Handle,
) -> Result<ReadShard, Halt> {
    let mut sink = ChunkSink {
        key: key.clone(),
        file: None,
        files: Vec::new(),
        batcher: Batcher {
            gate,
            batches,
            runtime,
            batch: Vec::new(),
            ids: HashSet::new(),
            bytes: 0,
            stopped: false,
        },
    };
    let mut source = Metered { source, meter };
    let contents = read_shard_snapshot(&mut source, &mut sink).map_err(|error| match error {
        ReadError::Sink(Stopped) => Halt::Stopped,
        ReadError::Snapshot(error) => unreadable(&error),
    })?;
    // The archive may end before the source does; the checksum of a stored snapshot is of all of it.
    std::io::copy(&mut source, &mut std::io::sink())
        .map_err(|error| unreadable(&SnapshotError::Read(error)))?;
    sink.batcher.flush();
    if sink.batcher.stopped {
        return Err(Halt::Stopped);
    }
    Ok(ReadShard {
        contents,
        recipe: ShardRecipe::new(sink.files),
    })
}

fn unreadable(error: &SnapshotError) -> Halt {
    let code = error.code().parse().unwrap_or(Code::QdrantError);
    Halt::Failed(Failed {
        retryable: error.is_retryable(),
        ..Failed::from_error(code, error)
    })
}

/// The stages behind the reader have gone; their error is the one to report.
#[derive(Debug)]
struct Stopped;

struct ChunkSink {
    key: ChunkKey,
    file: Option<(String, FileChunker)>,
    files: Vec<FileRecipe>,
    batcher: Batcher,
}

impl ChunkSink {
    fn feed(
        &mut self,
        act: impl FnOnce(&mut FileChunker, &mut dyn FnMut(ChunkEvent<'_>)),
    ) -> Result<(), Stopped> {
        if let Some((_, chunker)) = &mut self.file {
            let batcher = &mut self.batcher;
            act(chunker, &mut |event| batcher.take(event));
        }
        self.batcher.check()
    }
}

impl FileSink for ChunkSink {
    type Error = Stopped;

    fn begin(&mut self, path: &str, _size: u64) -> Result<(), Stopped> {
        let chunker = FileChunker::new(classify(path), self.key.clone());
        self.file = Some((path.to_owned(), chunker));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.feed(|chunker, mut out| chunker.push(bytes, &mut out))
    }

    fn zeros(&mut self, len: u64) -> Result<(), Stopped> {
        self.feed(|chunker, mut out| chunker.push_zeros(len, &mut out))
    }

    fn end(&mut self) -> Result<(), Stopped> {
        if let Some((path, chunker)) = self.file.take() {
            let batcher = &mut self.batcher;
            let body = chunker.finish(&mut |event: ChunkEvent<'_>| batcher.take(event));
            self.files.push(body.at(path));
        }
        self.batcher.check()
    }
}

struct Batcher {
    gate: Gate,
    batches: mpsc::Sender<Batch>,
    runtime: Handle,
    batch: Batch,
    ids: HashSet<ChunkId>,
    bytes: usize,
    stopped: bool,
}

impl Batcher {
    fn take(&mut self, event: ChunkEvent<'_>) {
        let ChunkEvent::Chunk { id, plain } = event;
        if self.stopped || !self.ids.insert(id) {
            return;
        }
        let Some(share) = self.share(plain.len()) else {
            self.stopped = true;
            return;
        };
        // a flush while waiting for the share has emptied the set
        self.ids.insert(id);
        self.bytes += plain.len();
        self.batch.push(PlainChunk {
            id,
            plain: Bytes::copy_from_slice(plain),
            share,
        });
        if self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_CHUNKS {
            self.flush();
        }
    }

    /// Waits for room. The batch is sent before waiting, because the room may be its own.
    fn share(&mut self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let shares = Gate::shares(bytes);
        if let Ok(share) = Arc::clone(&self.gate.0).try_acquire_many_owned(shares) {
            return Some(share);
        }
        self.flush();
        let wait = Arc::clone(&self.gate.0).acquire_many_owned(shares);
        let batches = &self.batches;
        // If the stages behind have gone, nobody makes room.
        self.runtime.block_on(async {
            tokio::select! {
                share = wait => share.ok(),
                () = batches.closed() => None,
            }
        })
    }

    fn flush(&mut self) {
        self.ids.clear();
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() && self.batches.blocking_send(batch).is_err() {
            self.stopped = true;
        }
    }

    fn check(&self) -> Result<(), Stopped> {
        if self.stopped { Err(Stopped) } else { Ok(()) }
    }
}

struct Metered<R> {
    source: R,
    meter: Arc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.source.read(out)?;
        self.meter.add_done(n as u64);
        Ok(n)
    }
}
