//! One extra out of the repository: its listing, and its files into a directory.
//!
//! Every chunk is authenticated and hashed, every file hashed again as a whole and compared with what its node read.

use super::extra_dir::ExtraDir;
use super::origin::{Origin, Reader};
use super::target::code;
use super::write::{interrupted, told};
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use holdfast_agent::failure::{Failed, chain};
use holdfast_agent::flow::both;
use holdfast_agent::job::Halt;
use holdfast_agent::rebuild::ChunkSource;
use holdfast_archive::extra_listing::{LISTING_PATH, MAX_LISTING_BYTES};
use holdfast_archive::{
    CapturedExtra, ChunkKey, EntryKind, Extent, ExtraListing, FileRecipe, ListedEntry, Manifest,
    ShardRecipe,
};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{ChunkId, ExtraName, NodeId};
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Chunks between their source and whoever takes them.
const CHUNKS: usize = 16;

/// An extra of a recovery point that was captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldExtra<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) node: &'a NodeId,
    pub(crate) name: &'a ExtraName,
    pub(crate) captured: &'a CapturedExtra,
}

/// What stands in its listing.
pub(crate) async fn list(
    origin: &mut Origin,
    extra: HeldExtra<'_>,
    interrupt: &Interrupt,
) -> Outcome<ExtraListing> {
    let reader = origin
        .open_extra(extra.manifest, extra.node, extra.name)
        .await?;
    let listed = tokio::select! {
        listed = Box::pin(open(&reader, extra)) => listed.map(|opened| opened.listing),
        () = interrupt.wait() => Err(interrupted()),
    };
    origin.close(reader, listed.as_ref().err()).await;
    listed
}

/// Writes its files into the directory. When it returns, they are whole and on disk.
pub(crate) async fn write(
    origin: &mut Origin,
    extra: HeldExtra<'_>,
    dir: ExtraDir,
    interrupt: &Interrupt,
) -> Outcome<ExtraListing> {
    let reader = origin
        .open_extra(extra.manifest, extra.node, extra.name)
        .await?;
    let written = tokio::select! {
        written = Box::pin(write_from(&reader, extra, dir)) => written,
        () = interrupt.wait() => Err(interrupted()),
    };
    origin.close(reader, written.as_ref().err()).await;
    written
}

struct Opened {
    recipe: ShardRecipe,
    key: ChunkKey,
    listing: ExtraListing,
}

async fn open(reader: &Reader, extra: HeldExtra<'_>) -> Outcome<Opened> {
    let owner = format!("extra {} of node {}", extra.name, extra.node);
    let stored = extra.captured.stored_recipe();
    let (recipe, key) = reader.extra_recipe(&owner, stored).await.map_err(told)?;
    let damaged = |why: String| {
        let what = format!("{owner}: {why}");
        told(Failed::new(Code::RepositoryDamaged, what).into())
    };
    let file = recipe.files.iter().find(|file| file.path == LISTING_PATH);
    let file = file.filter(|file| file.size <= MAX_LISTING_BYTES).cloned();
    let file = file.ok_or_else(|| damaged("it has no listing".to_owned()))?;
    let (wanted, own) = (chunks([&file]), key.clone());
    let json = taken(reader, wanted, move |chunks| {
        let mut json = Vec::new();
        pour(&file, &mut ChunkSource::new(&own, chunks), &mut json)?;
        Ok(json)
    });
    let json = json.await.map_err(told)?;
    let listing = ExtraListing::from_json(&json).map_err(|error| damaged(chain(&error)))?;
    listing
        .files(&recipe)
        .map_err(|error| damaged(chain(&error)))?;
    Ok(Opened {
        recipe,
        key,
        listing,
    })
}

async fn write_from(reader: &Reader, extra: HeldExtra<'_>, dir: ExtraDir) -> Outcome<ExtraListing> {
    let Opened {
        recipe,
        key,
        listing,
    } = open(reader, extra).await?;
    let files = recipe.files.iter();
    let wanted = chunks(files.filter(|file| file.path != LISTING_PATH));
    let written = taken(reader, wanted, move |chunks| {
        let mut source = ChunkSource::new(&key, chunks);
        let files = listing.files(&recipe);
        let files = files
            .map_err(|error| Halt::from(Failed::new(Code::RepositoryDamaged, chain(&error))))?;
        for (entry, file) in files {
            write_one(&dir, entry, file, &mut source)?;
        }
        dir.complete(&listing.entries)
            .map_err(|error| disk(&error))?;
        Ok(listing)
    });
    written.await.map_err(told)
}

fn write_one(
    dir: &ExtraDir,
    entry: &ListedEntry,
    file: &FileRecipe,
    source: &mut ChunkSource<'_>,
) -> Result<(), Halt> {
    let mut out = Hashing {
        file: dir.begin(entry).map_err(|error| disk(&error))?,
        hash: blake3::Hasher::new(),
    };
    pour(file, source, &mut out)?;
    let found = out.hash.finalize().to_hex();
    match &entry.kind {
        EntryKind::File { blake3, .. } if *blake3 == found.as_str() => {}
        EntryKind::File { .. } | EntryKind::Directory | EntryKind::Link { .. } => {
            let what = format!("{} is not what its node read: its hash differs", entry.path);
            return Err(Failed::new(Code::RepositoryDamaged, what).into());
        }
    }
    dir.finish(entry, out.file).map_err(|error| disk(&error))
}

/// The content of a file, each chunk proven.
fn pour(file: &FileRecipe, source: &mut ChunkSource<'_>, out: &mut impl Write) -> Result<(), Halt> {
    for extent in &file.extents {
        match extent {
            Extent::Zero { len } => {
                io::copy(&mut io::Read::take(io::repeat(0), *len), out)
                    .map_err(|error| disk(&error))?;
            }
            Extent::Chunk { id, len } => {
                let plain = source.next(id, *len)?;
                out.write_all(plain).map_err(|error| disk(&error))?;
            }
        }
    }
    Ok(())
}

/// Fetches chunks and hands them to `take`, which blocks.
async fn taken<T: Send + 'static>(
    reader: &Reader,
    wanted: Vec<(ChunkId, u32)>,
    take: impl FnOnce(mpsc::Receiver<v1::FetchedChunk>) -> Result<T, Halt> + Send + 'static,
) -> Result<T, Halt> {
    let (chunks, chunks_rx) = mpsc::channel(CHUNKS);
    let taking = tokio::task::spawn_blocking(move || take(chunks_rx));
    let taking = async { taking.await.map_err(|error| Halt::crashed(&error))? };
    let ((), taken) = both(reader.chunks(wanted, chunks), taking).await?;
    Ok(taken)
}

fn chunks<'a>(files: impl IntoIterator<Item = &'a FileRecipe>) -> Vec<(ChunkId, u32)> {
    let extents = files.into_iter().flat_map(|file| &file.extents);
    extents
        .filter_map(|extent| match extent {
            Extent::Chunk { id, len } => Some((*id, *len)),
            Extent::Zero { .. } => None,
        })
        .collect()
}

fn disk(error: &io::Error) -> Halt {
    Halt::Failed(Failed::from_error(code(error), error))
}

/// Hashes what is written.
struct Hashing {
    file: tempfile::NamedTempFile,
    hash: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
