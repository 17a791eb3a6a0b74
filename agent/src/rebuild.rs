//! From chunks to an archive that Qdrant takes in: decode, verify, lay out, hand on. Blocking.
//!
//! Every chunk is decoded within its announced length and hashed before a byte of it goes on, and every
//! file must come out at its recorded size. Nothing touches the disk here: the archive goes to any writer.

use crate::failure::{Failed, chain, io_code};
use crate::job::Halt;
use crate::progress::Meter;
use crate::replay::LogSource;
use bytes::Bytes;
use holdfast_archive::{ChunkKey, Codec, Decoder, Extent, FileRecipe, ShardRecipe};
use holdfast_proto::v1;
use holdfast_qdrant::{
    ArchiveFile, ArchiveWriter, CollectionFile, ComposeError, ComposedArchive, FileSink as _,
};
use holdfast_service::failure::Code;
use holdfast_types::{ChunkId, ShardId};
use holdfast_wal::splice::{self, SpliceFile, SpliceWriter};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use tokio::sync::mpsc;

/// The folder of a shard's log.
const LOG: &str = "wal/";

/// Bytes of a log's file that are written at once, at least.
const LOG_PIECE: usize = 256 << 10;

/// The recipes of an archive's files, and the archive planned from them.
#[derive(Debug)]
pub struct Blueprint {
    /// In the archive's order.
    files: Vec<Part>,
    /// Written behind those.
    own: Vec<CollectionFile>,
    archive: ComposedArchive,
}

/// Where a file of the archive comes from.
#[derive(Debug)]
enum Part {
    /// Captured.
    Captured(FileRecipe),
    /// A file of a log that takes the place of the captured one.
    Log(SpliceFile),
    /// A small file, whose content is at hand.
    Made(String, Vec<u8>),
}

impl Part {
    fn path(&self) -> Cow<'_, str> {
        match self {
            Self::Captured(file) => Cow::Borrowed(&file.path),
            Self::Log(file) => Cow::Owned(format!("{LOG}{}", file.name())),
            Self::Made(path, _) => Cow::Borrowed(path),
        }
    }
}

impl Blueprint {
    /// The archive of one shard with another log: files that hold the entries from `first` on, for the server to replay.
    ///
    /// # Errors
    /// If the other files are no whole shard.
    pub fn spliced(
        mut recipe: ShardRecipe,
        first: u64,
        log: Vec<SpliceFile>,
    ) -> Result<Self, Failed> {
        recipe.files.retain(|file| !file.path.starts_with(LOG));
        let mark = format!("{LOG}{}", splice::FIRST_INDEX);
        let mut parts: Vec<Part> = log.into_iter().map(Part::Log).collect();
        parts.push(Part::Made(mark, splice::first_index(first)));
        let mut planned = plan_all(&recipe).map_err(|error| no_whole("shard", &error))?;
        planned.extend(parts.iter().map(|part| match part {
            Part::Captured(file) => ArchiveFile::dense(&file.path, file.size),
            Part::Log(file) => ArchiveFile::dense(&part.path(), file.size),
            Part::Made(path, content) => ArchiveFile::dense(path, content.len() as u64),
        }));
        let archive = ComposedArchive::new(planned);
        let archive = archive.map_err(|error| no_whole("shard", &error))?;
        parts.extend(recipe.files.into_iter().map(Part::Captured));
        Ok(Self::of(parts, Vec::new(), archive))
    }

    /// The archive of one shard.
    ///
    /// # Errors
    /// If the files are no whole shard.
    pub fn new(recipe: ShardRecipe) -> Result<Self, Failed> {
        let archive = plan_all(&recipe).and_then(ComposedArchive::new);
        let archive = archive.map_err(|error| no_whole("shard", &error))?;
        let parts = recipe.files.into_iter().map(Part::Captured).collect();
        Ok(Self::of(parts, Vec::new(), archive))
    }

    /// The archive of a whole collection, with the files that stand beside its shards.
    ///
    /// # Errors
    /// If the files of a shard are no whole one.
    pub fn collection(
        shards: Vec<(ShardId, ShardRecipe)>,
        own: Vec<CollectionFile>,
    ) -> Result<Self, Failed> {
        let planned = shards
            .iter()
            .map(|(id, recipe)| Ok((*id, plan_all(recipe)?)))
            .collect::<Result<Vec<_>, _>>();
        let beside = own
            .iter()
            .map(|(name, content)| ArchiveFile::dense(name, content.len() as u64))
            .collect();
        let archive = planned.and_then(|shards| ComposedArchive::collection(shards, beside));
        let archive = archive.map_err(|error| no_whole("collection", &error))?;
        let files = shards.into_iter().flat_map(|(id, recipe)| {
            recipe.files.into_iter().map(move |mut file| {
                file.path = format!("{id}/{}", file.path);
                Part::Captured(file)
            })
        });
        Ok(Self::of(files.collect(), own, archive))
    }

    fn of(mut files: Vec<Part>, own: Vec<CollectionFile>, archive: ComposedArchive) -> Self {
        // Moved, not copied: a recipe may be the largest thing in memory.
        let places: HashMap<&str, usize> = archive
            .files()
            .iter()
            .enumerate()
            .map(|(place, file)| (file.path(), place))
            .collect();
        files.sort_by_key(|file| places.get(&*file.path()).copied());
        drop(places);
        Self {
            files,
            own,
            archive,
        }
    }

    /// Sum of the files' logical sizes in bytes: what the meter will have counted at the end.
    #[must_use]
    pub fn logical_bytes(&self) -> u64 {
        self.captured().map(|file| file.size).sum()
    }

    /// The files that were captured, in the archive's order.
    fn captured(&self) -> impl Iterator<Item = &FileRecipe> {
        self.files.iter().filter_map(|part| match part {
            Part::Captured(file) => Some(file),
            Part::Log(_) | Part::Made(..) => None,
        })
    }

    /// Exact length of the archive.
    #[must_use]
    pub fn archive_len(&self) -> u64 {
        self.archive.archive_len()
    }

    /// The chunks in the order in which [`Blueprint::write`] takes them.
    #[must_use]
    pub fn chunks(&self) -> Vec<(ChunkId, u32)> {
        let extents = self.captured().flat_map(|file| &file.extents);
        extents
            .filter_map(|extent| match extent {
                Extent::Chunk { id, len } => Some((*id, *len)),
                Extent::Zero { .. } => None,
            })
            .collect()
    }

    /// Writes the archive from `chunks` to `out`, and returns it flushed.
    ///
    /// # Errors
    /// A chunk that is not what the recipe names; a failure of `out`. [`Halt::Stopped`] if the sender of chunks or
    /// the receiver behind `out` (`BrokenPipe`) has gone: its own error is the one to report.
    pub fn write<W: Write>(
        &self,
        key: &ChunkKey,
        chunks: mpsc::Receiver<v1::FetchedChunk>,
        out: W,
        meter: &Meter,
    ) -> Result<W, Halt> {
        self.write_with(key, chunks, None, out, meter)
    }

    /// Like [`Self::write`], with the entries of the log of [`Self::spliced`].
    ///
    /// # Errors
    /// As [`Self::write`], and for an entry that is not the log's next one.
    pub fn write_with<W: Write>(
        &self,
        key: &ChunkKey,
        chunks: mpsc::Receiver<v1::FetchedChunk>,
        mut log: Option<LogSource>,
        out: W,
        meter: &Meter,
    ) -> Result<W, Halt> {
        let mut source = ChunkSource::new(key, chunks);
        let mut writer = self.archive.writer(out);
        for part in &self.files {
            match part {
                Part::Captured(file) => write_file(file, &mut writer, &mut source, meter)?,
                Part::Made(path, content) => write_made(path, content, &mut writer)?,
                Part::Log(file) => {
                    let log = log.as_mut().ok_or(Halt::Stopped)?;
                    write_log(&part.path(), file, &mut writer, log)?;
                }
            }
        }
        if let Some(log) = log {
            log.finish()?;
        }
        for (name, content) in &self.own {
            write_made(name, content, &mut writer)?;
        }
        writer.finish().map_err(|error| off_plan(&error))
    }
}

/// Whether these files are a whole shard, with everything that a server needs.
///
/// # Errors
/// What is missing.
pub fn check_whole(recipe: &ShardRecipe) -> Result<(), Failed> {
    let archive = plan_all(recipe).and_then(ComposedArchive::new);
    archive.map(drop).map_err(|error| no_whole("shard", &error))
}

fn no_whole(what: &str, error: &ComposeError) -> Failed {
    let why = chain(error);
    Failed::new(
        Code::RepositoryDamaged,
        format!("the recovery point holds no whole {what}: {why}"),
    )
}

fn plan_all(recipe: &ShardRecipe) -> Result<Vec<ArchiveFile>, ComposeError> {
    recipe.files.iter().map(plan).collect()
}

fn plan(file: &FileRecipe) -> Result<ArchiveFile, ComposeError> {
    let mut at = 0_u64;
    let mut holes = Vec::new();
    for extent in &file.extents {
        match extent {
            Extent::Zero { len } => {
                holes.push((at, *len));
                at += len;
            }
            Extent::Chunk { len, .. } => at += u64::from(*len),
        }
    }
    ArchiveFile::with_holes(&file.path, file.size, &holes)
}

fn write_file<W: Write>(
    file: &FileRecipe,
    writer: &mut ArchiveWriter<'_, W>,
    source: &mut ChunkSource<'_>,
    meter: &Meter,
) -> Result<(), Halt> {
    writer
        .begin(&file.path, file.size)
        .map_err(|error| off_plan(&error))?;
    for extent in &file.extents {
        match extent {
            Extent::Zero { len } => {
                writer.zeros(*len).map_err(|error| off_plan(&error))?;
                meter.add_done(*len);
            }
            Extent::Chunk { id, len } => {
                let plain = source.next(id, *len)?;
                writer.data(plain).map_err(|error| off_plan(&error))?;
                meter.add_done(u64::from(*len));
            }
        }
    }
    writer.end().map_err(|error| off_plan(&error))
}

fn write_made<W: Write>(
    path: &str,
    content: &[u8],
    writer: &mut ArchiveWriter<'_, W>,
) -> Result<(), Halt> {
    let written = writer
        .begin(path, content.len() as u64)
        .and_then(|()| writer.data(content))
        .and_then(|()| writer.end());
    written.map_err(|error| off_plan(&error))
}

fn write_log<W: Write>(
    path: &str,
    file: &SpliceFile,
    writer: &mut ArchiveWriter<'_, W>,
    log: &mut LogSource,
) -> Result<(), Halt> {
    let begun = writer.begin(path, file.size);
    begun.map_err(|error| off_plan(&error))?;
    let (mut entries, header) = SpliceWriter::new(log.seed());
    let mut bytes = header.to_vec();
    for _ in 0..file.entries {
        entries.push(&log.entry()?, &mut bytes);
        if bytes.len() >= LOG_PIECE {
            let written = writer.data(&bytes);
            written.map_err(|error| off_plan(&error))?;
            bytes.clear();
        }
    }
    let written = writer.data(&bytes).and_then(|()| writer.end());
    written.map_err(|error| off_plan(&error))
}

fn off_plan(error: &ComposeError) -> Halt {
    match error {
        // A queue whose receiver has gone, and knows why.
        ComposeError::Write(io) if io.kind() == std::io::ErrorKind::BrokenPipe => Halt::Stopped,
        ComposeError::Write(io) => Halt::Failed(Failed::from_error(io_code(io), io)),
        ComposeError::Path(_)
        | ComposeError::Duplicate(_)
        | ComposeError::Incomplete(_)
        | ComposeError::Holes(_)
        | ComposeError::OffPlan { .. } => {
            Halt::Failed(Failed::new(Code::RepositoryDamaged, chain(error)))
        }
    }
}

/// Chunks as they were asked for, decoded and verified. Blocking.
pub struct ChunkSource<'a> {
    key: &'a ChunkKey,
    chunks: mpsc::Receiver<v1::FetchedChunk>,
    current: Bytes,
    decoder: Decoder,
}

impl<'a> ChunkSource<'a> {
    /// What comes from `chunks`, hashed with `key`.
    #[must_use]
    pub fn new(key: &'a ChunkKey, chunks: mpsc::Receiver<v1::FetchedChunk>) -> Self {
        Self {
            key,
            chunks,
            current: Bytes::new(),
            decoder: Decoder::new(),
        }
    }

    /// The next chunk, decoded and proven to be the one that the recipe names.
    ///
    /// # Errors
    /// Another chunk than `id`, or none: [`Halt::Stopped`].
    pub fn next(&mut self, id: &ChunkId, len: u32) -> Result<&[u8], Halt> {
        let chunk = self.chunks.blocking_recv().ok_or(Halt::Stopped)?;
        let damaged = |why: &str| {
            Halt::Failed(Failed::new(
                Code::RepositoryDamaged,
                format!("chunk {id} {why}"),
            ))
        };
        if chunk.chunk_id.as_ref() != id.as_bytes() || chunk.plain_len != len {
            return Err(damaged("was asked for, another came"));
        }
        let codec = Codec::try_from(chunk.codec).map_err(|error| damaged(&chain(&error)))?;
        self.current = chunk.data;
        let plain = self
            .decoder
            .decode(codec, &self.current, len as usize)
            .map_err(|error| damaged(&chain(&error)))?;
        if self.key.id(plain) == *id {
            Ok(plain)
        } else {
            Err(damaged("does not hash to its id"))
        }
    }
}

impl std::fmt::Debug for ChunkSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkSource").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
