//! One exported file: fetch, verify, compose, hash, write, sync.

use super::origin::{Origin, Reader};
use super::target::Target;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::{Amount, Progress};
use fs_err as fs;
use holdfast_agent::failure::{Failed, io_code};
use holdfast_agent::flow::both;
use holdfast_agent::job::Halt;
use holdfast_agent::progress::Meter;
use holdfast_agent::rebuild::Blueprint;
use holdfast_archive::{ChunkKey, CollectionEntry, Manifest};
use holdfast_qdrant::collection_files;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;
use ring::digest::{Context, SHA256};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Chunks between their source and the composer.
const CHUNKS: usize = 16;

/// Bytes written to the disk at once.
const BUFFER: usize = 1 << 20;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

const RISK: &str = "nothing: no file was written, and this command only reads the repository";

/// What becomes one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// The recovery point.
    pub(crate) manifest: &'a Manifest,
    /// The collection.
    pub(crate) collection: &'a CollectionEntry,
    /// One shard of it, or all.
    pub(crate) shard: Option<ShardId>,
}

/// A file that was written: its length in bytes and its SHA-256.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Writes one file. When it returns, the file is whole and on disk.
pub(crate) async fn write(
    origin: &mut Origin,
    piece: Piece<'_>,
    target: &Target,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Outcome<Written> {
    let reader = origin.open(piece.manifest, &piece.collection.name).await?;
    let meter = Arc::new(Meter::default());
    let result = {
        let mut writing = Box::pin(write_from(&reader, piece, target, &meter));
        loop {
            tokio::select! {
                result = &mut writing => break result,
                () = interrupt.wait() => break Err(interrupted()),
                () = tokio::time::sleep(SHOW_EVERY) => show(progress, piece, &meter),
            }
        }
    };
    origin.close(reader, result.as_ref().err()).await;
    result
}

async fn write_from(
    reader: &Reader,
    piece: Piece<'_>,
    target: &Target,
    meter: &Arc<Meter>,
) -> Outcome<Written> {
    let (blueprint, key) = blueprint(reader, piece).await?;
    let bytes = blueprint.archive_len();
    meter.restart(blueprint.logical_bytes());
    let (file, unfinished) = target.begin(bytes)?;
    let (chunks, chunks_rx) = mpsc::channel(CHUNKS);
    let (wanted, counter) = (blueprint.chunks(), Arc::clone(meter));
    let composing = tokio::task::spawn_blocking(move || {
        let out = BufWriter::with_capacity(BUFFER, Hashing::new(file));
        let out = blueprint.write(&key, chunks_rx, out, &counter)?;
        let out = out.into_inner().map_err(|error| full(error.error()))?;
        out.sync().map_err(|error| full(&error))
    });
    let composing = async { composing.await.map_err(|error| Halt::crashed(&error))? };
    let done = both(reader.chunks(wanted, chunks), composing).await;
    let ((), sha256) = done.map_err(told)?;
    target.finish(unfinished)?;
    Ok(Written { bytes, sha256 })
}

/// Reads the recipes and plans the archive.
async fn blueprint(reader: &Reader, piece: Piece<'_>) -> Outcome<(Blueprint, ChunkKey)> {
    let Piece {
        collection, shard, ..
    } = piece;
    let wanted = |id| shard.is_none_or(|only| only == id);
    let (mut recipes, mut key) = (Vec::new(), None);
    for entry in collection.shards.iter().filter(|s| wanted(s.shard_id)) {
        let (recipe, its_key) = reader.recipe(entry).await.map_err(told)?;
        recipes.push((entry.shard_id, recipe));
        key = Some(its_key);
    }
    let missing = || {
        let which = shard.map_or_else(|| "no shards".to_owned(), |s| format!("no shard {s}"));
        let what = format!(
            "collection {} has {which} in this recovery point",
            collection.name
        );
        Failure::new(Code::CollectionNotFound, what).risking(RISK)
    };
    let key = key.ok_or_else(missing)?;
    let planned = if shard.is_some() {
        let (_, recipe) = recipes.pop().ok_or_else(missing)?;
        Blueprint::new(recipe)
    } else {
        let own = collection_files(&collection.info, collection.cluster.as_ref());
        let own = own.map_err(|error| {
            Failure::new(Code::RepositoryDamaged, error.to_string())
                .risking(RISK)
                .todo("export its shards one by one with --shard")
        })?;
        Blueprint::collection(recipes, own)
    };
    planned
        .map(|blueprint| (blueprint, key))
        .map_err(|failed| told(failed.into()))
}

fn show(progress: &mut Progress, piece: Piece<'_>, meter: &Meter) {
    let total: u64 = piece
        .collection
        .shards
        .iter()
        .filter(|s| piece.shard.is_none_or(|only| only == s.shard_id))
        .map(|s| s.logical_bytes)
        .sum();
    let amount = Amount {
        done: meter.done(),
        total,
        sent: None,
        bytes: true,
    };
    progress.update(piece.collection.name.as_str(), "writing", amount);
}

fn full(error: &io::Error) -> Halt {
    Halt::Failed(Failed::from_error(io_code(error), error))
}

pub(super) fn told(halt: Halt) -> Failure {
    let failed = match halt {
        Halt::Failed(failed) | Halt::Broken(failed) => failed,
        Halt::Stopped => Failed::new(Code::Internal, "a stage ended without an error"),
    };
    crate::failure::advised(failed.code, failed.message).risking(RISK)
}

pub(super) fn interrupted() -> Failure {
    Failure::new(Code::Interrupted, "the export was interrupted")
        .risking(RISK)
        .todo("run it again: it begins anew")
}

/// Hashes what passes.
struct Hashing {
    file: fs::File,
    context: Context,
}

impl Hashing {
    fn new(file: fs::File) -> Self {
        Self {
            file,
            context: Context::new(&SHA256),
        }
    }

    /// Returns the SHA-256 when everything is on disk.
    fn sync(self) -> io::Result<String> {
        self.file.sync_all()?;
        let digest = self.context.finish();
        Ok(digest.as_ref().iter().map(|b| format!("{b:02x}")).collect())
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.context.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
