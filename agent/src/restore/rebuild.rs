//! From chunks to the archive that Qdrant takes in: decode, verify, lay out, hand on. Blocking.
//!
//! Every chunk is decoded within its announced length and hashed before a byte of it goes on, and every
//! file must come out at its recorded size. Nothing touches the disk.

use crate::failure::{Failed, chain};
use crate::job::Halt;
use crate::progress::Meter;
use bytes::{BufMut as _, Bytes, BytesMut};
use holdfast_archive::{ChunkKey, Codec, Decoder, Extent, FileRecipe, ShardRecipe};
use holdfast_proto::v1;
use holdfast_qdrant::{ArchiveFile, ArchiveWriter, ComposeError, ComposedArchive, FileSink as _};
use holdfast_service::failure::Code;
use holdfast_types::ChunkId;
use std::collections::HashMap;
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Bytes of the archive handed on at once.
const PIECE: usize = 256 << 10;

/// A shard's recipe and the archive planned from it.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// In the archive's order.
    files: Vec<FileRecipe>,
    archive: ComposedArchive,
}

impl Blueprint {
    pub(super) fn new(mut recipe: ShardRecipe) -> Result<Self, Failed> {
        let planned = recipe.files.iter().map(plan).collect::<Result<Vec<_>, _>>();
        let archive = planned.and_then(ComposedArchive::new).map_err(|error| {
            Failed::new(
                Code::RepositoryDamaged,
                format!("the recovery point holds no whole shard: {}", chain(&error)),
            )
        })?;
        // Moved, not copied: a recipe may be the largest thing in memory.
        let places: HashMap<&str, usize> = archive
            .files()
            .iter()
            .enumerate()
            .map(|(place, file)| (file.path(), place))
            .collect();
        let mut files = std::mem::take(&mut recipe.files);
        files.sort_by_key(|file| places.get(file.path.as_str()).copied());
        drop(places);
        Ok(Self { files, archive })
    }

    /// Exact length of the archive.
    pub(super) fn archive_len(&self) -> u64 {
        self.archive.archive_len()
    }

    /// The chunks in the order in which [`Blueprint::write`] takes them.
    pub(super) fn chunks(&self) -> Vec<(ChunkId, u32)> {
        let extents = self.files.iter().flat_map(|file| &file.extents);
        extents
            .filter_map(|extent| match extent {
                Extent::Chunk { id, len } => Some((*id, *len)),
                Extent::Zero { .. } => None,
            })
            .collect()
    }

    /// Writes the archive from `chunks` to `body`.
    pub(super) fn write(
        &self,
        key: &ChunkKey,
        chunks: mpsc::Receiver<v1::FetchedChunk>,
        body: mpsc::Sender<Bytes>,
        meter: &Meter,
    ) -> Result<(), Halt> {
        let mut source = Source {
            key,
            chunks,
            current: Bytes::new(),
            decoder: Decoder::new(),
        };
        let mut writer = self.archive.writer(BodyWriter {
            body,
            buffer: BytesMut::with_capacity(PIECE),
        });
        for file in &self.files {
            write_file(file, &mut writer, &mut source, meter)?;
        }
        writer.finish().map_err(|error| off_plan(&error))?;
        Ok(())
    }
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

fn write_file(
    file: &FileRecipe,
    writer: &mut ArchiveWriter<'_, BodyWriter>,
    source: &mut Source<'_>,
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

fn off_plan(error: &ComposeError) -> Halt {
    match error {
        // The only output is the queue to the upload, whose own error is the one to report.
        ComposeError::Write(_) => Halt::Stopped,
        ComposeError::Path(_)
        | ComposeError::Duplicate(_)
        | ComposeError::Incomplete(_)
        | ComposeError::Holes(_)
        | ComposeError::OffPlan { .. } => {
            Halt::Failed(Failed::new(Code::RepositoryDamaged, chain(error)))
        }
    }
}

struct Source<'a> {
    key: &'a ChunkKey,
    chunks: mpsc::Receiver<v1::FetchedChunk>,
    current: Bytes,
    decoder: Decoder,
}

impl Source<'_> {
    /// The next chunk, decoded and proven to be the one that the recipe names.
    fn next(&mut self, id: &ChunkId, len: u32) -> Result<&[u8], Halt> {
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

/// Gathers the archive's bytes into pieces for the upload.
struct BodyWriter {
    body: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl BodyWriter {
    fn hand_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(PIECE);
        self.body
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.buffer.len();
        let now = bytes.len().min(room);
        self.buffer.put_slice(&bytes[..now]);
        if self.buffer.len() == PIECE {
            self.hand_on()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()
    }
}

#[cfg(test)]
mod tests;
