//! From a snapshot's bytes to chunks in batches: the one blocking thread of a capture.
//!
//! Memory is bounded by a [`Gate`]: every chunk that is copied out of the reader holds a share of it
//! until the repository is known to have it or it is on its way.

use super::recipe_size::{RecipeSize, TooLong};
use crate::failure::Failed;
use crate::job::Halt;
use crate::pace::Pace;
use crate::progress::Meter;
use bytes::Bytes;
use holdfast_archive::{
    ChunkEvent, ChunkKey, Extent, FileChunker, FileRecipe, ShardRecipe, classify,
};
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
pub struct ReadShard {
    /// What it holds.
    pub contents: ShardContents,
    /// How its files are rebuilt.
    pub recipe: ShardRecipe,
}

/// Where a reader's chunks go, and what bounds them.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) key: ChunkKey,
    pub(super) gate: Gate,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) meter: Arc<Meter>,
    /// For what a reader takes from elsewhere than its source.
    pub(super) pace: Arc<Pace>,
    /// The shard's name in messages.
    pub(super) shard: String,
    /// Most bytes of its recipe; reading ends early when it gets longer.
    pub(super) recipe_limit: usize,
}

/// Reads the snapshot to its end, blocking, and sends its chunks on.
pub(super) fn read(source: impl Read, stage: &Stage) -> Result<ReadShard, Halt> {
    let (mut sink, mut source) = stage.begin(source);
    let contents =
        read_shard_snapshot(&mut source, &mut sink).map_err(|error| stage.failed(error))?;
    stage.drain(&mut source)?;
    Ok(ReadShard {
        contents,
        recipe: sink.finish()?,
    })
}

impl Stage {
    /// The sink for a snapshot's files, and its bytes, counted.
    pub(super) fn begin<R: Read>(&self, source: R) -> (ChunkSink, Metered<R>) {
        let meter = Arc::clone(&self.meter);
        (self.sink(), Metered { source, meter })
    }

    /// The sink for files, wherever they come from.
    pub(super) fn sink(&self) -> ChunkSink {
        ChunkSink {
            key: self.key.clone(),
            file: None,
            files: Vec::new(),
            size: RecipeSize::new(self.recipe_limit),
            batcher: Batcher {
                gate: self.gate.clone(),
                batches: self.batches.clone(),
                runtime: Handle::current(),
                batch: Vec::new(),
                ids: HashSet::new(),
                bytes: 0,
                stopped: false,
            },
        }
    }

    /// The archive may end before the source does; the checksum of a stored snapshot is of all of it.
    pub(super) fn drain(&self, source: &mut impl Read) -> Result<(), Halt> {
        let drained = std::io::copy(source, &mut std::io::sink());
        drained
            .map(drop)
            .map_err(|error| unreadable(&SnapshotError::Read(error)))
    }

    pub(super) fn failed(&self, error: ReadError<Ended>) -> Halt {
        match error {
            ReadError::Sink(ended) => self.ended(ended),
            ReadError::Snapshot(error) => unreadable(&error),
        }
    }

    pub(super) fn ended(&self, ended: Ended) -> Halt {
        match ended {
            Ended::Stopped => Halt::Stopped,
            Ended::TooLong(error) => error.failed(&self.shard, self.meter.done()).into(),
        }
    }
}

fn unreadable(error: &SnapshotError) -> Halt {
    let code = error.code().parse().unwrap_or(Code::QdrantError);
    Halt::Failed(Failed {
        retryable: error.is_retryable(),
        ..Failed::from_error(code, error)
    })
}

/// Why the reader ends before the snapshot does.
#[derive(Debug)]
pub(super) enum Ended {
    /// The stages behind the reader have gone; their error is the one to report.
    Stopped,
    /// Nobody would take the recipe.
    TooLong(TooLong),
}

pub(super) struct ChunkSink {
    key: ChunkKey,
    file: Option<(String, FileChunker)>,
    files: Vec<FileRecipe>,
    size: RecipeSize,
    batcher: Batcher,
}

impl ChunkSink {
    /// Takes a file over from an earlier recipe; its chunks are returned, since nobody asks for them otherwise.
    pub(super) fn reuse(&mut self, file: FileRecipe) -> Result<Vec<ChunkId>, Ended> {
        let chunks = file.extents.iter().filter_map(|extent| match extent {
            Extent::Chunk { id, .. } => Some(*id),
            Extent::Zero { .. } => None,
        });
        let chunks = chunks.collect();
        self.size.file(&file);
        self.files.push(file);
        self.check().map(|()| chunks)
    }

    /// Gives the file up that is being read: its chunks belong to nothing, and nothing keeps them.
    pub(super) fn abandon(&mut self) {
        self.file = None;
        self.size.abandon();
    }

    /// Sends the last chunks on.
    pub(super) fn finish(mut self) -> Result<ShardRecipe, Halt> {
        self.batcher.flush();
        if self.batcher.stopped {
            return Err(Halt::Stopped);
        }
        Ok(ShardRecipe::new(self.files))
    }

    fn feed(
        &mut self,
        act: impl FnOnce(&mut FileChunker, &mut dyn FnMut(ChunkEvent<'_>)),
    ) -> Result<(), Ended> {
        if let Some((_, chunker)) = &mut self.file {
            let (batcher, size) = (&mut self.batcher, &mut self.size);
            act(chunker, &mut |event| {
                size.chunk();
                batcher.take(event);
            });
        }
        self.check()
    }

    fn check(&self) -> Result<(), Ended> {
        if self.batcher.stopped {
            return Err(Ended::Stopped);
        }
        self.size.check().map_err(Ended::TooLong)
    }
}

impl FileSink for ChunkSink {
    type Error = Ended;

    fn begin(&mut self, path: &str, _size: u64) -> Result<(), Ended> {
        let chunker = FileChunker::new(classify(path), self.key.clone());
        self.file = Some((path.to_owned(), chunker));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.feed(|chunker, mut out| chunker.push(bytes, &mut out))
    }

    fn zeros(&mut self, len: u64) -> Result<(), Ended> {
        self.feed(|chunker, mut out| chunker.push_zeros(len, &mut out))
    }

    fn end(&mut self) -> Result<(), Ended> {
        if let Some((path, chunker)) = self.file.take() {
            let batcher = &mut self.batcher;
            let body = chunker.finish(&mut |event: ChunkEvent<'_>| batcher.take(event));
            let mut file = body.at(path);
            file.extents.shrink_to_fit();
            self.size.file(&file);
            self.files.push(file);
        }
        self.check()
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
}

pub(super) struct Metered<R> {
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

#[cfg(test)]
mod tests {
    use super::{Gate, Stage, read};
    use crate::agent::tests::shard;
    use crate::job::Halt;
    use crate::pace::Pace;
    use crate::progress::Meter;
    use holdfast_archive::ChunkKey;
    use holdfast_service::failure::Code;
    use std::sync::Arc;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_shard_with_too_long_a_recipe_is_given_up_early() {
        let archive = shard::archive(&shard::files(24, 1));
        let len = archive.len() as u64;
        let (batches, mut taken) = mpsc::channel(1);
        let taking = tokio::spawn(async move { while taken.recv().await.is_some() {} });
        let meter = Arc::new(Meter::default());
        let metered = Arc::clone(&meter);
        let reading = tokio::task::spawn_blocking(move || {
            let stage = Stage {
                key: ChunkKey::from_bytes([7; 32]),
                gate: Gate::new(),
                batches,
                meter: metered,
                pace: Arc::new(Pace::free()),
                shard: "shard 0 of docs".to_owned(),
                recipe_limit: 500,
            };
            read(&archive[..], &stage)
        });
        let Err(Halt::Failed(failed)) = reading.await.unwrap() else {
            panic!("it must fail")
        };
        assert_eq!(failed.code, Code::PlanBlocked);
        assert!(failed.message.contains("shard 0 of docs"), "{failed}");
        assert!(meter.done() < len / 2, "{} of {len}", meter.done());
        taking.await.unwrap();
    }
}
